/** The verbs that make something of results: export, push, report, compare. */
import { existsSync } from "node:fs";
import { isYaleError, UsageError } from "../errors.js";
import type { ExportFormat, Unit } from "../exports/index.js";
import { fileName } from "../exports/pages.js";
import { Results } from "../jobs/results.js";
import { checkRepo } from "../options.js";
import { core } from "./core.js";
import type { Flags } from "./flags.js";
import { print, printJson, remark } from "./terminal.js";

/** The results of a job by its id, as far as they are there. */
async function resultsOf(id: string): Promise<{ results: Results; name: string }> {
  const c = await core();
  const record = await c.get(id);
  const { folder, complete } = await c.results(record.id);
  return { results: await Results.open(folder, { complete, record, shown: false }), name: record.spec.name };
}

/** `yale jobs export <id> [target]`. */
export async function exportJob(id: string, target: string | undefined, flags: Flags): Promise<void> {
  const format = flags.format as ExportFormat | undefined;
  if (target === undefined && format === undefined)
    throw new UsageError("It is not said which format is wanted.", "Give --format, or a file such as book.pdf.");
  const { results, name } = await resultsOf(id);
  const to = target ?? `${fileName(name)}-${format}`;
  const options = {
    ...(flags.per === undefined ? {} : { per: flags.per as Unit }),
    ...(flags.base === undefined ? {} : { base: String(flags.base) }),
    force: flags.force === true,
  };
  const done = await (format === undefined ? results.export(to, options) : results.export(format, to, options));
  if (flags.json === true) return printJson(done);
  const files = done.files.length === 1 ? (done.files[0] ?? to) : `${done.files.length} files in ${done.target}`;
  print(`${done.pages} ${done.pages === 1 ? "page" : "pages"}: ${files}`);
  if (!results.complete) remark("The job has not ended: these are the pages that are done.");
  if (done.errors > 0) remark(`${done.errors} of them are in error and have no text.`);
  if (done.imagesMissing > 0)
    remark(`${done.imagesMissing} page images are not on this machine any more; the text is exported without them.`);
}

/** `yale jobs report <id> [file]`. */
export async function report(id: string, file: string | undefined, flags: Flags): Promise<void> {
  const { results, name } = await resultsOf(id);
  const options = typeof flags.dictionary === "string" ? { dictionary: flags.dictionary } : {};
  if (flags.json === true) return printJson(await results.quality(options));
  const to = file ?? `${fileName(name)}-report.html`;
  await results.report(to, options);
  print(`${results.length} ${results.length === 1 ? "page" : "pages"}, the worst first: ${to}`);
}

/** `yale jobs compare <id> <other>`. */
export async function compare(id: string, other: string, flags: Flags): Promise<void> {
  const { results } = await resultsOf(id);
  const options = typeof flags.report === "string" ? { report: flags.report } : {};
  const done = await results.compare(await otherOf(other), options);
  if (flags.json === true) return printJson(done);
  const percent = (share: number) => `${(share * 100).toFixed(2)} %`;
  print(
    `Character error rate ${percent(done.characterErrorRate)}, word error rate ${percent(done.wordErrorRate)}, over ${done.pages.length} ${done.pages.length === 1 ? "page" : "pages"}.`,
  );
  const worst = [...done.pages].sort((a, b) => b.characterErrorRate - a.characterErrorRate).slice(0, 10);
  for (const page of worst)
    if (page.characterErrors > 0)
      print(`  ${percent(page.characterErrorRate).padStart(8)}  ${page.source}, page ${page.page}`);
  if (done.unpaired.length > 0) remark(`${done.unpaired.length} pages are in one of both only.`);
  if (typeof flags.report === "string") print(`Side by side: ${flags.report}`);
}

/** Another job's results, or the path of a ground truth. A path that is there is meant before a job is looked for. */
async function otherOf(other: string): Promise<Results | string> {
  if (existsSync(other)) return other;
  try {
    return (await resultsOf(other)).results;
  } catch (error) {
    if (isYaleError(error) && error.code === "job_not_found")
      throw new UsageError(
        `There is no job and no file ${JSON.stringify(other)}.`,
        "Give a job's id, a text file, or a folder.",
      );
    throw error;
  }
}

/** `yale jobs push <id> <dataset>`. */
export async function push(id: string, dataset: string, flags: Flags): Promise<void> {
  checkRepo(dataset);
  const { results } = await resultsOf(id);
  const done = await results.pushToHub(dataset, {
    private: flags.public !== true,
    images: flags.images !== false,
    ...(typeof flags.revision === "string" ? { revision: flags.revision } : {}),
    ...(typeof flags.message === "string" ? { message: flags.message } : {}),
    ...(flags.json === true ? {} : { say: (line) => remark(`  ${line}`) }),
  });
  if (flags.json === true) return printJson(done);
  print(`${done.pages} ${done.pages === 1 ? "page is" : "pages are"} in ${done.url}`);
  if (done.imagesMissing > 0)
    remark(`${done.imagesMissing} page images are not on this machine any more; their rows are there without.`);
}
