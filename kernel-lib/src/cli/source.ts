/** The verbs that look at sources and runners: source inspect, source convert, models. */
import { PageSource } from "../jobs/page-source.js";
import { absolute, SOURCE_KINDS } from "../jobs/spec.js";
import { checkChoice, checkCount } from "../options.js";
import type { SourceKind } from "../protocol.js";
import type { RunnerCard } from "../runners.js";
import { countFlag, type Flags, jsonPairs } from "./flags.js";
import { ProgressLine, print, printJson, remark } from "./terminal.js";

async function sourceOf(location: string, flags: Flags): Promise<{ source: PageSource; why: string }> {
  const asked = checkChoice("--source-type", flags.sourceType ?? "auto", SOURCE_KINDS);
  const { detectSource } = await import("../sources/registry.js");
  const found = asked === "auto" ? await detectSource(absolute(location, "auto")) : { kind: asked, why: "you said so" };
  const dpi = countFlag("--dpi", flags.dpi);
  const options = {
    ...jsonPairs("--option", flags.option),
    ...(dpi === undefined ? {} : { dpi: checkCount("--dpi", dpi, 36, 1200) }),
  };
  const source = new PageSource(
    found.kind as SourceKind,
    location,
    Object.keys(options).length === 0 ? undefined : options,
  );
  return { source, why: found.why };
}

/** `yale source inspect <source>`. */
export async function inspect(location: string, flags: Flags): Promise<void> {
  const { source, why } = await sourceOf(location, flags);
  const found = await source.inspect();
  if (flags.json === true) return printJson(found);
  print(
    `${found.kind}${found.version === undefined ? "" : ` ${found.version}`} (${why})${found.count === undefined ? "" : `: ${found.count} ${found.count === 1 ? "page" : "pages"}`}`,
  );
  for (const page of found.pages.slice(0, 20))
    print(
      `  ${page.key}${page.label === undefined ? "" : `  ${page.label}`}${page.width === undefined ? "" : `  ${page.width} × ${page.height}`}`,
    );
  if (found.pages.length > 20) print(`  … and ${(found.count ?? found.pages.length) - 20} more`);
  if (found.skipped.length > 0) print("Would be skipped:");
  for (const s of found.skipped) print(`  ${s.key}: ${s.reason}`);
}

/** `yale source convert <source> <folder>`. */
export async function convert(location: string, folder: string, flags: Flags): Promise<void> {
  const { source } = await sourceOf(location, flags);
  const from = performance.now();
  const [{ convertSource }, { isFault }] = await Promise.all([
    import("../jobs/convert.js"),
    import("../sources/index.js"),
  ]);
  let passedThrough = 0;
  let pages = 0;
  const line = flags.json === true ? undefined : new ProgressLine(() => `${pages} pages`);
  const maxSamples = countFlag("--max-samples", flags.maxSamples);
  const info = await convertSource(source.spec, source, folder, {
    ...(maxSamples === undefined ? {} : { maxSamples }),
    onItem: (item) => {
      if (isFault(item)) return;
      pages += 1;
      if (item.metadata.passThrough === true) passedThrough += 1;
      if (pages % 10 === 0) line?.show({ state: "preparing" } as never);
    },
  });
  line?.end();
  const seconds = Math.round(performance.now() - from) / 1000;
  const done = { pages: info.pages, faults: info.faultCount, bytes: info.bytes, seconds, passedThrough };
  if (flags.json === true) printJson(done);
  else
    print(
      `${done.pages} pages (${passedThrough} as the scanner made them), ${done.bytes} bytes, ${seconds} s: ${info.folder}`,
    );
  for (const f of info.faults) remark(`  ${f.key}: ${f.reason}`);
  if (info.faultCount > 0) process.exitCode = 3;
}

/** `yale models [name]`. */
export async function models(name: string | undefined, flags: Flags): Promise<void> {
  const { findCard, readCards } = await import("../runners.js");
  const cards = name === undefined ? readCards() : [findCard(name)];
  if (flags.json === true) return printJson(name === undefined ? cards : cards[0]);
  for (const card of cards) {
    print(`${card.name}  ${card.title}`);
    print(`  ${[card.model, card.licence, gpusOf(card), card.speed].filter(Boolean).join(" · ")}`);
    if (name !== undefined) await explain(card);
  }
}

function gpusOf({ gpus, mostGpus, gpuMemory }: RunnerCard): string {
  if (gpus === 0) return "no GPU";
  return `${gpus === mostGpus ? gpus : `${gpus} to ${mostGpus}`} GPU${mostGpus === 1 ? "" : "s"} of ${gpuMemory ?? "any"} GB`;
}

/** What a runner needs and takes, at length. */
async function explain(card: RunnerCard): Promise<void> {
  if (card.evidence !== undefined) print(`  ${card.evidence}.`);
  const { gpuMemory, dependencies } = card;
  if (gpuMemory !== undefined) {
    const { SITES } = await import("../sites/index.js");
    for (const { title, gpus, outOfScope } of SITES) {
      const fit = gpus.filter((g) => g.gigabytes >= gpuMemory).map((g) => g.type);
      if (fit.length > 0 && outOfScope === undefined) print(`  enough memory on ${title}: ${fit.join(", ")}`);
    }
  }
  if (dependencies !== undefined)
    print(`  Python with ${dependencies.join(", ")}: a conda environment (--env), or uv makes it`);
  for (const [option, o] of Object.entries(card.options))
    print(
      `  ${option} (${o.allowed?.join(" | ") ?? o.type}${o.default === undefined ? "" : `; default ${o.default}`}): ${o.help}`,
    );
}
