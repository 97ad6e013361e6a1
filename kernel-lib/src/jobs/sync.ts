/**
 * Finds jobs again by their folders on a cluster: those that were submitted from another machine, or from this one
 * before its records were lost. What a folder says is checked (job-file.ts); how a job stands, the scheduler is asked,
 * and of what it has forgotten the folder's own traces tell.
 */
import { posix } from "node:path";
import { isMissing, readFile, type Sftp, type Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { isEnd, type JobRecord } from "../protocol.js";
import type { Observation, Scheduler } from "../schedulers/index.js";
import { JOB_FILE, JOB_ID, type JobFileContent, parseJobFile } from "./job-file.js";
import { JobFolder } from "./job-folder.js";
import { jobRoot } from "./job-root.js";
import { endOf } from "./outcome.js";
import { newRecord } from "./records.js";

/** A job.json larger than this is not ours: scripts are at most 4 MiB. */
const MOST_BYTES = 16 << 20;
/** Folders beside the jobs'. */
const NOT_JOBS = new Set(["datasets", "runners"]);
/** Folders that are read at once. */
const AT_ONCE = 8;

/** What was found. */
export interface FoundJobs {
  records: JobRecord[];
  /** Folders that are no jobs of ours, each with why. */
  skipped: string[];
}

/** What {@link findJobs} is given. */
export interface SyncOptions {
  cluster: ClusterConfig;
  /** Path of the config.yaml that names the cluster here. */
  config?: string | undefined;
  scheduler: Scheduler;
  transport: Transport;
  /** Jobs that are known here are passed over. */
  known: (id: string) => boolean;
}

/** Reads the job folders of a cluster. Throws ConnectionError, ConfigError and SchedulerError. */
export async function findJobs(options: SyncOptions): Promise<FoundJobs & { known: number }> {
  const { transport, scheduler } = options;
  const sftp = await transport.sftp();
  const root = await jobRoot(transport, sftp, options.cluster.jobDir);
  const found: { dir: string; content: JobFileContent }[] = [];
  const skipped: string[] = [];
  let known = 0;
  const entries = (await sftp.readdir(root)).filter((e) => !NOT_JOBS.has(e.name) && !e.name.startsWith("."));
  await inTurn(entries, async ({ name, stat }) => {
    // A link could lead anywhere; a name that is no id could be anything.
    if (stat.type !== "directory" || !JOB_ID.test(name)) {
      if (stat.type === "directory") skipped.push(`${JSON.stringify(name)}: it is no folder of a job`);
      return;
    }
    if (options.known(name)) {
      known += 1;
      return;
    }
    const dir = posix.join(root, name);
    const content = await contentOf(sftp, dir, name);
    if (typeof content === "string") skipped.push(`${name}: ${content}`);
    else found.push({ dir, content });
  });
  for (const { dir, content } of found.filter((f) => f.content.schedulerId === undefined)) {
    const id = await submissionOf(sftp, dir, content, options);
    if (id !== undefined) content.schedulerId = id;
    else skipped.push(`${content.id}: it was prepared and never submitted`);
  }
  const submitted = found.filter((f) => f.content.schedulerId !== undefined);
  const { jobs, silent } = await scheduler.query(
    transport,
    submitted.map(({ content }) => ({
      id: content.schedulerId ?? "",
      ...(content.spec.shards === undefined ? {} : { tasks: content.onlyTasks ?? content.spec.shards }),
    })),
  );
  const records: JobRecord[] = [];
  await inTurn(submitted, async ({ dir, content }) => {
    const observed = jobs.get(content.schedulerId ?? "");
    const record = await recordOf(sftp, dir, content, observed, options);
    if (observed === undefined && silent.length > 0 && record.state === "lost") {
      // Nothing is known of it because somebody does not answer: whoever watches it asks again.
      for (const key of ["raw", "reason", "error", "endedAt"] as const) delete record[key];
      record.state = "unknown";
    }
    records.push(record);
  });
  return { records, skipped: skipped.sort(), known };
}

/**
 * The scheduler's id of a job whose folder does not name it, because the line was lost when it was to be written down:
 * by the answer that lies in the folder, else by asking the scheduler.
 */
async function submissionOf(
  sftp: Sftp,
  dir: string,
  content: JobFileContent,
  options: SyncOptions,
): Promise<string | undefined> {
  const { transport, scheduler } = options;
  const begun = (await sftp.readdir(dir)).filter((e) => e.name.startsWith(`submit-${content.attempt}.`));
  if (begun.length === 0 && scheduler.kind !== "local") return undefined;
  for (const { name } of begun) {
    const answer = await readFile(sftp, posix.join(dir, name, "answer")).catch(() => undefined);
    // The last line, after whatever a site has to say before it; slurm.ts reads it so too.
    const id = /(?:^|\n)(\d{1,20})(?:;\S+)?\n?$/.exec(new TextDecoder().decode(answer))?.[1];
    if (id !== undefined) return id;
  }
  return scheduler.find(transport, content.token, content.createdAt);
}

/** What a folder's job.json says, or why it is none. */
async function contentOf(sftp: Sftp, dir: string, id: string): Promise<JobFileContent | string> {
  const path = posix.join(dir, JOB_FILE);
  try {
    const stat = await sftp.stat(path, { link: true });
    if (stat.type !== "file") return "its job.json is no file";
    if (stat.size > MOST_BYTES) return "its job.json is too large";
    return parseJobFile(new TextDecoder().decode(await readFile(sftp, path)), id);
  } catch (error) {
    if (isMissing(error)) return "it has no job.json";
    if (error instanceof TypeError) return error.message;
    throw error;
  }
}

async function recordOf(
  sftp: Sftp,
  dir: string,
  content: JobFileContent,
  observed: Observation | undefined,
  options: SyncOptions,
): Promise<JobRecord> {
  const { id, attempt, createdAt, schedulerId, submittedAt, dataset, earlier, onlyTasks, retryOf } = content;
  const spec = {
    ...content.spec,
    cluster: options.cluster.name,
    ...(options.config === undefined ? {} : { config: options.config }),
  };
  const record: JobRecord = {
    ...newRecord(id, spec),
    state: "queued",
    createdAt,
    ...(schedulerId === undefined ? {} : { schedulerId }),
    ...(submittedAt === undefined ? {} : { submittedAt }),
    jobDir: dir,
    ...(dataset === undefined ? {} : { dataset }),
    ...(earlier === undefined ? {} : { earlier }),
    ...(onlyTasks === undefined ? {} : { onlyTasks }),
    ...(retryOf === undefined ? {} : { retryOf }),
    progress: { prepared: dataset?.pages ?? 0, done: 0, failed: 0, ...(dataset ? { total: dataset.pages } : {}) },
    attempt,
  };
  await new JobFolder(record).read(sftp);
  const o = observed ?? (await tracesOf(sftp, dir, record));
  record.raw = o.raw;
  for (const key of ["startedAt", "endedAt", "exitCode", "signal", "usage", "tasks"] as const)
    if (o[key] !== undefined) Object.assign(record, { [key]: o[key] });
  if (isEnd(o.state)) Object.assign(record, endOf(record, o));
  else record.state = o.state;
  return record;
}

/** Of a job that the scheduler has forgotten: the exit codes that its batch script left. */
async function tracesOf(sftp: Sftp, dir: string, record: JobRecord): Promise<Observation> {
  const tasks = record.spec.shards ?? 1;
  const files = tasks === 1 ? ["exit"] : Array.from({ length: tasks }, (_, n) => `exit-${n}`);
  let endedAt = 0;
  let worst = 0;
  for (const file of files) {
    const path = posix.join(dir, file);
    try {
      const code = Number(new TextDecoder().decode(await readFile(sftp, path)).trim());
      if (!Number.isInteger(code)) return { state: "lost", raw: "UNKNOWN" };
      endedAt = Math.max(endedAt, (await sftp.stat(path)).mtime);
      if (code !== 0 && (worst === 0 || worst === 3)) worst = code;
    } catch (error) {
      if (!isMissing(error)) throw error;
      return { state: "lost", raw: "UNKNOWN" };
    }
  }
  const state = worst === 0 ? "completed" : "failed";
  return { state, raw: state.toUpperCase(), exitCode: worst, endedAt: new Date(endedAt).toISOString() };
}

async function inTurn<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, worker));
}
