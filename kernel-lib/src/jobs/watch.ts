/**
 * Watches running jobs: one question to the scheduler for all jobs of a cluster, then a look at what each job's runner
 * appended. Seldom where nothing changes, never faster than the site allows, and honest when nobody answers: the last
 * state stands with its age.
 */
import { posix } from "node:path";
import { isMissing, type Sftp, type Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { isEnd, type JobRecord } from "../protocol.js";
import type { Observation, Scheduler } from "../schedulers/index.js";
import { ProgressReader } from "./progress.js";

/** Path of a job's log inside its folder. */
export const LOG_FILE = "log/job.log";
/** Bytes of a log's end that are looked at for the last lines. */
const TAIL_BYTES = 8192;
const TAIL_LINES = 12;

/** What a watcher needs of its cluster. */
export interface WatchedCluster {
  cluster: ClusterConfig;
  scheduler: Scheduler;
  open(): Promise<Transport>;
}

/** One cluster's watcher: lives while it has jobs. */
export class Watcher {
  readonly #target: WatchedCluster;
  readonly #update: (record: JobRecord) => void;
  readonly #ended: (record: JobRecord, observation: Observation) => Promise<void>;
  readonly #jobs = new Map<string, { record: JobRecord; progress: ProgressReader; logSize: number }>();
  #timer: NodeJS.Timeout | undefined;
  #quiet = 0;
  #busy = false;
  #closed = false;

  constructor(
    target: WatchedCluster,
    update: (record: JobRecord) => void,
    ended: (record: JobRecord, observation: Observation) => Promise<void>,
  ) {
    this.#target = target;
    this.#update = update;
    this.#ended = ended;
  }

  /** Begins to watch a submitted job. */
  add(record: JobRecord): void {
    this.#jobs.set(record.id, { record, progress: new ProgressReader(), logSize: -1 });
    this.#quiet = 0;
    this.soon();
  }

  /** Stops watching one job. */
  drop(id: string): void {
    this.#jobs.delete(id);
  }

  /** Looks again at once: somebody cancelled, or submitted. */
  soon(): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => void this.#look(), 20);
  }

  /** Stops. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** Milliseconds to the next look: the site's shortest interval, longer the longer nothing changes. */
  #interval(): number {
    const { scheduler, cluster } = this.#target;
    if (scheduler.kind === "local") return Math.min(250 * 1.2 ** this.#quiet, 2000);
    const shortest = cluster.policy.pollSeconds * 1000;
    return Math.min(shortest * 1.3 ** this.#quiet, Math.max(60_000, shortest));
  }

  async #look(): Promise<void> {
    if (this.#busy || this.#closed) return;
    this.#busy = true;
    try {
      if (await this.#round()) this.#quiet = 0;
      else this.#quiet += 1;
    } catch {
      // Line or scheduler did not answer: nothing is known that was not known before.
      this.#quiet += 1;
    } finally {
      this.#busy = false;
      if (!this.#closed && this.#jobs.size > 0) this.#timer = setTimeout(() => void this.#look(), this.#interval());
    }
  }

  /** One look at everything; true if anything changed. */
  async #round(): Promise<boolean> {
    const transport = await this.#target.open();
    const jobs = [...this.#jobs.values()].filter((j) => j.record.schedulerId !== undefined);
    if (jobs.length === 0) return false;
    const seen = await this.#target.scheduler.query(
      transport,
      jobs.map((j) => j.record.schedulerId ?? ""),
    );
    const heardAt = new Date().toISOString();
    const sftp = await transport.sftp();
    let changed = false;
    for (const job of jobs) {
      const observation = seen.get(job.record.schedulerId ?? "");
      const before = JSON.stringify(observed(job.record));
      // What is not in the answer is not known yet: a job just submitted stays queued.
      if (observation !== undefined) apply(job.record, observation);
      const over = observation !== undefined && isEnd(observation.state);
      const news = over || job.record.state !== "queued" ? await this.#read(sftp, job) : false;
      job.record.heardAt = heardAt;
      if (over) {
        this.#jobs.delete(job.record.id);
        changed = true;
        // `completing` until the service has put the results where they belong.
        job.record.state = "completing";
        await this.#ended(job.record, observation);
      } else if (news || before !== JSON.stringify(observed(job.record))) {
        changed = true;
        this.#update(job.record);
      }
    }
    return changed;
  }

  async #read(sftp: Sftp, job: { record: JobRecord; progress: ProgressReader; logSize: number }): Promise<boolean> {
    const { record, progress } = job;
    const folder = record.jobDir ?? "";
    let news = false;
    const added = await readFrom(sftp, posix.join(folder, "progress.jsonl"), progress.offset);
    const now = added === undefined ? undefined : progress.feed(added, record.progress);
    if (now !== undefined) {
      record.progress = now;
      news = true;
    }
    const log = posix.join(folder, LOG_FILE);
    const size = await sizeOf(sftp, log);
    if (size !== undefined && size !== job.logSize) {
      job.logSize = size;
      const tail = await readFrom(sftp, log, Math.max(0, size - TAIL_BYTES));
      record.logTail = lastLines(tail ?? new Uint8Array(0), size > TAIL_BYTES);
      news = true;
    }
    return news;
  }
}

function observed(r: JobRecord): unknown {
  return [r.state, r.raw, r.reason, r.startedAt, r.progress.message];
}

function apply(record: JobRecord, o: Observation): void {
  record.raw = o.raw;
  if (!isEnd(o.state)) record.state = o.state;
  if (o.reason !== undefined) record.reason = o.reason;
  else if (!isEnd(o.state)) delete record.reason;
  if (o.startedAt !== undefined) record.startedAt = o.startedAt;
  if (o.endedAt !== undefined) record.endedAt = o.endedAt;
  if (o.exitCode !== undefined) record.exitCode = o.exitCode;
  if (o.signal !== undefined) record.signal = o.signal;
}

/** The last lines of a log, without the half line at its beginning. */
function lastLines(bytes: Uint8Array, cut: boolean): string[] {
  const lines = new TextDecoder().decode(bytes).split(/\r?\n|\r/);
  if (cut) lines.shift();
  if (lines.at(-1) === "") lines.pop();
  return lines.slice(-TAIL_LINES).map((line) => line.slice(0, 500));
}

async function sizeOf(sftp: Sftp, path: string): Promise<number | undefined> {
  try {
    return (await sftp.stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Bytes from `offset` to the end of a file, at most 4 MiB at a time; undefined if there is no such file or nothing new. */
export async function readFrom(sftp: Sftp, path: string, offset: number): Promise<Uint8Array | undefined> {
  const size = await sizeOf(sftp, path);
  if (size === undefined || size <= offset) return undefined;
  const handle = await sftp.open(path, "r");
  try {
    return await handle.read(Math.min(size - offset, 4 << 20), offset);
  } finally {
    await handle.close();
  }
}
