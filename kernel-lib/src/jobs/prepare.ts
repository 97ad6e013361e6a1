/**
 * From sources to a dataset folder in this machine's cache, named by its content. What was prepared once, from files
 * that have not changed since, is not prepared again; what was interrupted goes on where it was.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { type DatasetInfo, readManifest, writeDataset } from "../dataset/index.js";
import { SourceError } from "../errors.js";
import { cacheDir, packageVersion } from "../paths.js";
import type { Fault, JobSpec, SourceSpec } from "../protocol.js";
import { combineSources } from "../sources/combine.js";
import { isFault } from "../sources/index.js";
import { openSource } from "../sources/registry.js";

/** What {@link prepare} tells while it works. */
export interface PrepareOptions {
  signal?: AbortSignal;
  onProgress?: (prepared: number, total: number | undefined, faults: Fault[]) => void;
}

/** Prepares the pages of a specification. Throws SourceError where not one page could be had, QuotaError, InterruptedError. */
export async function prepare(spec: JobSpec, options: PrepareOptions = {}): Promise<DatasetInfo> {
  const folder = join(cacheDir(), "datasets");
  await mkdir(folder, { recursive: true });
  const fingerprint = await fingerprintOf(spec);
  const note = join(folder, `${fingerprint}.json`);
  const known = await readFile(note, "utf8").catch(() => undefined);
  if (known !== undefined) {
    const info = await readManifest(join(folder, (JSON.parse(known) as { hash: string }).hash)).catch(() => undefined);
    if (info !== undefined) return info;
  }

  const sources = await Promise.all(spec.sources.map(openSource));
  const all = combineSources(sources, spec.maxSamples);
  // Counting must not hold the first page up, and a source that can't count has a right to.
  let total: number | undefined;
  void all.count?.().then(
    (n) => {
      total = n;
    },
    () => undefined,
  );
  const work = join(folder, `.preparing-${fingerprint}`);
  let prepared = 0;
  const faults: Fault[] = [];
  const info = await writeDataset(
    (have) => all.pages({ have, ...(options.signal === undefined ? {} : { signal: options.signal }) }),
    {
      folder: work,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      onItem: (item) => {
        if (isFault(item)) faults.push(item.fault);
        else prepared += 1;
        options.onProgress?.(prepared, total, faults);
      },
    },
  );
  if (info.pages === 0) {
    const first = info.faults[0];
    throw new SourceError(
      first === undefined
        ? `No pages were found in ${spec.sources.map((s) => s.location).join(", ")}.`
        : `Not one page could be read. ${info.faultCount === 1 ? "" : `The first of ${info.faultCount} faults: `}${first.source}: ${first.reason}`,
      first?.fix ?? "Check the source with `yale source inspect`.",
    );
  }
  const final = join(folder, info.hash);
  if (existsSync(final)) await rm(work, { recursive: true, force: true });
  else await rename(work, final);
  await writeFile(note, `${JSON.stringify({ hash: info.hash })}\n`);
  return { ...info, folder: final };
}

/**
 * What the pages depend on: the sources' specifications, the state of local files, and this version. A source on the
 * network can't be stamped without asking it, so it is read again; its downloads are cached below.
 */
async function fingerprintOf(spec: JobSpec): Promise<string> {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([packageVersion(), spec.sources, spec.maxSamples ?? null]));
  for (const source of spec.sources) {
    const stamp = await stampOf(source);
    hash.update(stamp ?? `${Date.now()} ${process.pid} ${Math.random()}`);
  }
  return hash.digest("hex").slice(0, 32);
}

async function stampOf(source: SourceSpec): Promise<string | undefined> {
  if (
    /^[a-z][a-z0-9+.-]*:\/\//i.test(source.location) ||
    source.kind === "hf" ||
    source.kind === "iiif" ||
    source.kind === "web"
  )
    return undefined;
  const one = await stat(source.location).catch(() => undefined);
  const files = one?.isFile()
    ? [source.location]
    : await glob(one?.isDirectory() ? "**/*" : source.location, {
        ...(one?.isDirectory() ? { cwd: source.location } : {}),
        absolute: true,
        dot: true,
      });
  const lines: string[] = [];
  for (const file of files.sort()) {
    const s = await stat(file).catch(() => undefined);
    if (s !== undefined) lines.push(`${file}\u0000${s.size}\u0000${s.mtimeMs}`);
  }
  return lines.join("\n");
}
