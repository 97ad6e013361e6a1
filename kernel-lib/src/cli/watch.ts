/** The verbs that look at jobs: ls, status, wait, logs, cancel, results, download, rm. */
import { exitCodeOf, InterruptedError, UsageError } from "../errors.js";
import type { Job } from "../jobs/job.js";
import { attended } from "../jobs/login.js";
import { isEnd, JOB_STATES, type JobFilter, type JobRecord, type JobState } from "../protocol.js";
import { core } from "./core.js";
import { countFlag, type Flags, pairs } from "./flags.js";
import { terminalAttend } from "./question.js";
import { ProgressLine, print, printJson, remark } from "./terminal.js";

async function jobOf(id: string | undefined, flags: Flags): Promise<Job> {
  const named = id ?? (flags.jobName as string | undefined);
  if (named === undefined) throw new UsageError("Which job?", "Give its id, or --job-name.");
  const c = await core();
  return new (await import("../jobs/job.js")).Job(c, await c.get(named));
}

/** `yale jobs ls`. */
export async function ls(flags: Flags): Promise<void> {
  const filter: JobFilter = {};
  if (flags.state !== undefined) filter.state = states(String(flags.state));
  if (flags.active === true) filter.state = (filter.state ?? JOB_STATES).filter((s) => !isEnd(s));
  if (flags.cluster !== undefined) filter.cluster = String(flags.cluster);
  if (flags.name !== undefined) filter.name = String(flags.name);
  const label = pairs("--label", flags.label);
  if (label !== undefined) filter.label = label;
  const limit = countFlag("--limit", flags.limit);
  if (limit !== undefined) filter.limit = limit;
  const records = await (await core()).list(filter);
  if (flags.json === true) return printJson(records);
  if (flags.quiet === true) return records.length === 0 ? undefined : print(records.map((r) => r.id).join("\n"));
  print((await import("../display/job.js")).jobsText(records));
}

function states(text: string): JobState[] {
  return text.split(",").map((word) => {
    const state = word.trim().toLowerCase();
    if (!(JOB_STATES as readonly string[]).includes(state))
      throw new UsageError(`--state: got ${JSON.stringify(word)}.`, `Allowed: ${JOB_STATES.join(", ")}.`);
    return state as JobState;
  });
}

/** `yale jobs status <id...>`. */
export async function status(ids: string[], flags: Flags): Promise<void> {
  const c = await core();
  const records = await Promise.all(ids.map((id) => c.get(id)));
  if (flags.json === true) return printJson(records.length === 1 ? records[0] : records);
  const { jobText } = await import("../display/job.js");
  for (const record of records) {
    print(jobText(record));
    for (const note of record.notes ?? []) print(`  ${note.replace(/\s+/g, " ")}`);
    faults(record);
  }
}

/** `yale jobs wait <id...>`. */
export async function wait(ids: string[], flags: Flags): Promise<void> {
  const { Job } = await import("../jobs/job.js");
  const c = await core();
  const jobs = await Promise.all(ids.map(async (id) => new Job(c, await c.get(id))));
  await waitFor(jobs, flags);
}

/** Waits for jobs, shows how far they are, and sets the exit code by how they ended: the first that is not 0. */
export async function waitFor(jobs: readonly Job[], flags: Flags): Promise<void> {
  const interrupted = new AbortController();
  const onInterrupt = () => interrupted.abort();
  process.once("SIGINT", onInterrupt);
  const configs = new Map(jobs.map(({ record: { spec } }) => [spec.cluster, spec.config]));
  configs.delete("local");
  const work = () => waitForAll(jobs, flags, interrupted.signal);
  try {
    if (configs.size === 0) return await work();
    const { connect } = await import("../agent/client.js");
    const core = await connect();
    const attend = terminalAttend({
      onDecline: onInterrupt,
      login: (cluster) => core.login(cluster, configs.get(cluster)),
    });
    await attended(attend, core, async () => (cluster) => configs.has(cluster), work, 0);
  } finally {
    process.off("SIGINT", onInterrupt);
  }
}

async function waitForAll(jobs: readonly Job[], flags: Flags, signal: AbortSignal): Promise<void> {
  const timeout = countFlag("--timeout", flags.timeout);
  const { progressText } = await import("../display/progress.js");
  let exit = 0;
  for (const job of jobs) {
    const line = flags.quiet === true || flags.json === true ? undefined : new ProgressLine(progressText);
    let code = 0;
    try {
      await job.wait({
        bar: false,
        signal,
        ...(timeout === undefined ? {} : { timeout }),
        onProgress: (_, record) => line?.show(record),
      });
      code = job.record.progress.failed > 0 || job.record.faultCount > 0 ? 3 : 0;
      line?.end();
    } catch (error) {
      line?.end();
      if (signal.aborted)
        throw new InterruptedError(
          `Interrupted; job ${job.id} keeps running.`,
          `\`yale jobs wait ${job.id}\` waits again, \`yale jobs cancel ${job.id}\` ends it.`,
        );
      if (!isEnd(job.state)) throw error;
      code = exitCodeOf(error);
      if (flags.json !== true) remark((error as Error).message);
    }
    if (flags.json !== true && flags.quiet !== true) summary(job.record);
    exit ||= code;
  }
  if (flags.json === true) printJson(jobs.length === 1 ? jobs[0]?.record : jobs.map((j) => j.record));
  process.exitCode = exit;
}

function summary(record: JobRecord): void {
  const { done, failed } = record.progress;
  if (record.spec.kind === "ocr")
    print(`${record.state}: ${done} ${done === 1 ? "page" : "pages"}${failed > 0 ? `, ${failed} in error` : ""}.`);
  else print(`${record.state}.`);
  faults(record);
  if (record.pushedTo !== undefined) print(`Pushed to ${record.pushedTo}`);
  if (record.resultsDir !== undefined) print(`Results are in ${record.resultsDir}`);
  else if (record.state === "completed" && record.spec.kind === "ocr")
    remark(`  yale jobs results ${record.id}   shows them`);
}

function faults(record: JobRecord): void {
  if (record.faultCount === 0) return;
  print(`${record.faultCount} of the source could not be read:`);
  for (const f of record.faults)
    print(`  ${f.key.replace(/\s/g, " ")}: ${f.reason}${f.fix === undefined ? "" : ` ${f.fix}`}`);
  if (record.faultCount > record.faults.length) print(`  … and ${record.faultCount - record.faults.length} more`);
}

/** `yale jobs logs [id]`. */
export async function logs(id: string | undefined, flags: Flags): Promise<void> {
  const job = await jobOf(id, flags);
  const tail = countFlag("--tail", flags.tail);
  const task = countFlag("--task", flags.task, 0);
  const { escapeTerminal } = await import("./terminal.js");
  const options = {
    follow: flags.follow === true,
    ...(tail === undefined ? {} : { tail }),
    ...(task === undefined ? {} : { task }),
  };
  for await (const text of job.logs(options)) process.stdout.write(escapeTerminal(text));
}

/** `yale jobs cancel <id...>`. */
export async function cancel(ids: string[], flags: Flags): Promise<void> {
  const c = await core();
  const records: JobRecord[] = [];
  for (const id of ids) records.push(await c.cancel(id));
  if (flags.json === true) return printJson(records.length === 1 ? records[0] : records);
  for (const r of records) print(isEnd(r.state) ? `Job ${r.id} is ${r.state}.` : `Job ${r.id} is being cancelled.`);
}

/** `yale jobs hold <id...>` and `yale jobs release <id...>`. */
export async function holdOrRelease(verb: "hold" | "release", ids: string[], flags: Flags): Promise<void> {
  const c = await core();
  const records: JobRecord[] = [];
  for (const id of ids) records.push(await c[verb](id));
  if (flags.json === true) return printJson(records.length === 1 ? records[0] : records);
  for (const r of records) print(`Job ${r.id} is ${verb === "hold" ? "held" : "released"}.`);
}

/** `yale jobs results <id>`. */
export async function results(id: string, flags: Flags): Promise<void> {
  const c = await core();
  const { folder } = await c.results(id);
  if (flags.folder === true) return print(folder);
  const page = countFlag("--page", flags.page);
  const { readResults } = await import("../dataset/index.js");
  const { resultsText } = await import("../display/pages.js");
  for await (const row of readResults(folder)) {
    if (page !== undefined && row.page !== page) continue;
    if (flags.json === true) printJson(row, 0);
    else print(resultsText([row]));
  }
}

/** `yale jobs download [id]`. */
export async function download(id: string | undefined, flags: Flags): Promise<void> {
  const job = await jobOf(id, flags);
  const { resolve } = await import("node:path");
  const folder = resolve(typeof flags.outputDir === "string" ? flags.outputDir : job.id);
  const done = await job.download(folder);
  if (flags.json === true) return printJson(done);
  print(`${done.files} files are new in ${done.folder}.`);
}

/** `yale jobs rm <id...>`. */
export async function rm(ids: string[], flags: Flags): Promise<void> {
  const c = await core();
  for (const id of ids) await c.remove(id, { files: flags.files === true });
}
