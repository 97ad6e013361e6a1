/**
 * The core: all verbs of {@link Core} on records, sources, lines and schedulers. The agent hosts one; a script with
 * `agent: false` hosts its own. Every step can be repeated, so a job whose core was killed is taken up where its record
 * says, by whichever core finds it first.
 */
import { join, posix } from "node:path";
import { isMissing, readFile, type Sftp, type Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { errorData, JobNotFoundError, SchedulerError, UsageError } from "../errors.js";
import { cacheDir, stateDir } from "../paths.js";
import {
  type AgentEvent,
  type ClusterInfo,
  type Connection,
  type Core,
  type Estimate,
  isEnd,
  type JobFilter,
  type JobRecord,
  type JobSpec,
  type JobState,
  type LogChunk,
  newJobId,
  type Plan,
  type Prompt,
} from "../protocol.js";
import type { Observation } from "../schedulers/index.js";
import { EventHub } from "./events.js";
import { Lines } from "./lines.js";
import { endOf } from "./outcome.js";
import { clusterOf, jobFiles, planOf, type ResolvedJob, resolveJob, scriptPlan, submissionToken } from "./plan.js";
import { Prompts } from "./prompts.js";
import { isActive, JobRecords } from "./records.js";
import { LOG_FILE, readFrom, Watcher } from "./watch.js";

/** Milliseconds between two writes of a record whose progress grows; changes of state are written at once. */
const SAVE_INTERVAL = 1000;
/** Milliseconds between two events of one job. */
const EMIT_INTERVAL = 200;
/** Files in an output folder that are not results: the link to the input and the runner's own books. */
const NOT_RESULTS = new Set(["dataset", "journal.jsonl"]);

/** A core that can be closed. */
export interface OpenCore extends Core {
  /** Stops watching and closes the lines. Jobs go on. */
  close(): Promise<void>;
  /** Jobs that this core drives now. */
  active(): number;
}

/** Opens a core in this process and takes up the jobs that nobody drives. */
export async function openCore(): Promise<OpenCore> {
  const core = new JobService();
  core.adopt();
  return core;
}

class JobService implements OpenCore {
  readonly #records = new JobRecords(join(stateDir(), "jobs"));
  readonly #hub = new EventHub();
  readonly #prompts = new Prompts(
    (prompt) => this.#hub.emit({ type: "prompt", prompt }),
    (id, reason) => this.#hub.emit({ type: "prompt_gone", id, reason }),
  );
  readonly #lines = new Lines({
    ask: (question, signal) => this.#prompts.ask(question, signal),
    onChange: (connection) => this.#hub.emit({ type: "connection", connection }),
  });
  readonly #watchers = new Map<string, Watcher>();
  /** Jobs driven by this core: the live records, which are newer than the files. */
  readonly #driven = new Map<
    string,
    { record: JobRecord; abort: AbortController; saved: number; savedState?: JobState; timer?: NodeJS.Timeout }
  >();

  /** Drives every active job that no living core drives. */
  adopt(): void {
    for (const record of this.#records.list()) if (isActive(record)) this.#drive(structuredClone(record));
  }

  active(): number {
    return this.#driven.size;
  }

  async close(): Promise<void> {
    this.#prompts.close();
    for (const watcher of this.#watchers.values()) watcher.close();
    for (const [id, { abort, record, timer }] of this.#driven) {
      clearTimeout(timer);
      abort.abort(new CoreClosed());
      this.#records.save(record);
      this.#records.unlock(id);
    }
    this.#driven.clear();
    await this.#lines.closeAll();
  }

  async submit(spec: JobSpec, id: string = newJobId()): Promise<JobRecord> {
    if (!/^[0-9a-z]{4,32}$/.test(id)) throw new UsageError(`${JSON.stringify(id)} is no job id.`);
    const known = this.#driven.get(id)?.record ?? this.#find(id);
    if (known !== undefined) return structuredClone(known);
    // What can be refused is refused now, while the caller is there to read it.
    const job = await resolveJob(spec);
    for (const { job: other } of job.spec.after ?? []) this.#record(other);
    const record: JobRecord = {
      id,
      spec: job.spec,
      state: "preparing",
      createdAt: new Date().toISOString(),
      faults: [],
      faultCount: 0,
      progress: { prepared: 0, done: 0, failed: 0 },
      logTail: [],
      attempt: 1,
      revision: 0,
    };
    this.#records.save(record);
    this.#drive(record);
    return structuredClone(record);
  }

  async plan(spec: JobSpec): Promise<Plan> {
    return planOf(await resolveJob(spec));
  }

  async list(filter: JobFilter = {}): Promise<JobRecord[]> {
    return this.#records.list(filter).map((r) => structuredClone(this.#driven.get(r.id)?.record ?? r));
  }

  async get(id: string): Promise<JobRecord> {
    return structuredClone(this.#record(id));
  }

  async cancel(id: string): Promise<JobRecord> {
    const record = this.#record(id);
    if (isEnd(record.state)) return structuredClone(record);
    const driven = this.#driven.get(record.id);
    if (driven === undefined)
      throw new SchedulerError(
        `Job ${record.id} is driven by another process.`,
        "Cancel it there, or end that process.",
      );
    if (record.schedulerId === undefined && record.submitting !== true) {
      driven.abort.abort(new Cancelled());
    } else {
      const { cluster, scheduler } = await resolveJob(record.spec);
      const transport = await this.#lines.open(cluster);
      const schedulerId =
        record.schedulerId ?? (await scheduler.find(transport, submissionToken(record.id, record.attempt)));
      driven.abort.abort(new Cancelled());
      if (schedulerId !== undefined) await scheduler.cancel(transport, [schedulerId]);
      this.#watchers.get(this.#watcherKey(record))?.soon();
    }
    return structuredClone(driven.record);
  }

  async hold(id: string): Promise<JobRecord> {
    return this.#inQueue(id, "hold");
  }

  async release(id: string): Promise<JobRecord> {
    return this.#inQueue(id, "release");
  }

  async #inQueue(id: string, verb: "hold" | "release"): Promise<JobRecord> {
    const record = this.#record(id);
    if (record.schedulerId === undefined || isEnd(record.state))
      throw new UsageError(
        `Job ${record.id} is ${record.state}: there is nothing to ${verb}.`,
        "Only a job that waits in the queue can be held and released.",
      );
    const { cluster, scheduler } = await resolveJob(record.spec);
    await scheduler[verb](await this.#lines.open(cluster), [record.schedulerId]);
    record.held = verb === "hold";
    this.#changed(record, true);
    this.#watchers.get(this.#watcherKey(record))?.soon();
    return structuredClone(record);
  }

  async estimate(spec: JobSpec): Promise<Estimate> {
    const { estimateJob } = await import("./estimate.js");
    return estimateJob(await resolveJob(spec), (cluster) => this.#lines.open(cluster));
  }

  async cluster(name: string, config?: string): Promise<ClusterInfo> {
    const { cluster } = await clusterOf({ cluster: name, ...(config === undefined ? {} : { config }) });
    const { clusterInfo } = await import("./cluster-info.js");
    return clusterInfo(cluster, await this.#lines.open(cluster));
  }

  async sync(name: string, config?: string): Promise<{ found: number; added: number; skipped: string[] }> {
    const { cluster } = await clusterOf({ cluster: name, ...(config === undefined ? {} : { config }) });
    throw new UsageError(`The job folders of ${cluster.name} can't be read yet.`);
  }

  async retry(id: string, changes?: Partial<JobSpec>): Promise<JobRecord> {
    const old = this.#record(id);
    if (!isEnd(old.state))
      throw new UsageError(
        `Job ${old.id} is still ${old.state}.`,
        `Wait for its end, or \`yale jobs cancel ${old.id}\` first.`,
      );
    if (changes !== undefined && Object.keys(changes).length > 0) {
      const record = await this.submit({ ...old.spec, ...changes });
      record.retryOf = old.id;
      const driven = this.#driven.get(record.id);
      if (driven !== undefined) driven.record.retryOf = old.id;
      return record;
    }
    const record: JobRecord = { ...structuredClone(old), state: "preparing", attempt: old.attempt + 1, logTail: [] };
    for (const key of [
      "schedulerId",
      "submitting",
      "endedAt",
      "startedAt",
      "exitCode",
      "signal",
      "error",
      "reason",
      "raw",
    ] as const)
      delete record[key];
    this.#records.save(record);
    this.#drive(record);
    return structuredClone(record);
  }

  async remove(id: string, options: { files?: boolean } = {}): Promise<void> {
    const record = this.#record(id);
    if (!isEnd(record.state))
      throw new UsageError(`Job ${record.id} is still ${record.state}.`, `\`yale jobs cancel ${record.id}\` first.`);
    if (options.files && record.jobDir !== undefined) {
      const { transport } = await this.#lineOf(record);
      // The folder is ours by its name; a record that was tampered with does not delete anything else.
      if (posix.basename(record.jobDir) === record.id) await transport.exec(["rm", "-rf", "--", record.jobDir]);
    }
    this.#records.remove(record.id);
    this.#hub.emit({ type: "job_removed", id: record.id });
  }

  async logs(id: string, options: { offset?: number } = {}): Promise<LogChunk> {
    const record = this.#record(id);
    const end = isEnd(record.state);
    if (record.jobDir === undefined) return { text: "", next: 0, end };
    const { sftp } = await this.#lineOf(record);
    const path = posix.join(record.jobDir, LOG_FILE);
    let offset = options.offset ?? 0;
    if (offset < 0) offset = await lineStart(sftp, path, -offset);
    const bytes = await readFrom(sftp, path, offset);
    if (bytes === undefined) return { text: "", next: offset, end };
    // A character that is cut at the end is left for the next chunk, unless nothing will follow.
    const whole = end ? bytes.length : bytes.length - cutCharacter(bytes);
    return { text: new TextDecoder().decode(bytes.subarray(0, whole)), next: offset + whole, end };
  }

  async results(id: string): Promise<{ folder: string; complete: boolean }> {
    const record = this.#record(id);
    const complete = record.state === "completed";
    if (record.jobDir === undefined)
      throw new UsageError(
        `Job ${record.id} is ${record.state} and has no results yet.`,
        record.error?.fix ?? "Wait for its first pages.",
      );
    const output = posix.join(record.jobDir, "output");
    const { transport, sftp } = await this.#lineOf(record);
    if (transport.kind === "local") {
      await expectResults(sftp, output, record);
      return { folder: output, complete };
    }
    await expectResults(sftp, output, record);
    const folder = join(cacheDir(), "results", record.id);
    await this.#fetch(transport, output, folder);
    return { folder, complete };
  }

  async download(id: string, folder: string): Promise<{ files: number; bytes: number; folder: string }> {
    const record = this.#record(id);
    if (record.jobDir === undefined)
      throw new UsageError(`Job ${record.id} is ${record.state} and has no output yet.`, "Wait until it runs.");
    const { transport } = await this.#lineOf(record);
    const { files, bytes } = await this.#fetch(transport, posix.join(record.jobDir, "output"), folder);
    return { files, bytes, folder };
  }

  async connections(): Promise<Connection[]> {
    return this.#lines.list();
  }

  async login(name: string, config?: string): Promise<Connection> {
    const { cluster } = await clusterOf({ cluster: name, ...(config === undefined ? {} : { config }) });
    await this.#lines.login(cluster);
    return this.#lines.list().find((c) => c.cluster === cluster.name) ?? { cluster: cluster.name, state: "connected" };
  }

  async logout(cluster: string): Promise<Connection> {
    return this.#lines.close(cluster);
  }

  async prompts(): Promise<Prompt[]> {
    return this.#prompts.list();
  }

  async answer(promptId: string, answers: string[] | null): Promise<void> {
    this.#prompts.answer(promptId, answers);
  }

  events(signal?: AbortSignal): AsyncIterable<AgentEvent> {
    return this.#hub.listen(signal);
  }

  // ---- records -------------------------------------------------------------------------------------------------

  #record(id: string): JobRecord {
    const record = this.#records.get(id);
    return this.#driven.get(record.id)?.record ?? record;
  }

  #find(id: string): JobRecord | undefined {
    try {
      return this.#records.get(id);
    } catch (error) {
      if (errorData(error).code === "job_not_found") return undefined;
      throw error;
    }
  }

  /** Tells everyone, and writes the record: at once if its state changed or `now`, else once a second at most. */
  #changed(record: JobRecord, now = false): void {
    const driven = this.#driven.get(record.id);
    if (driven === undefined || driven.record !== record) return;
    if (now || record.state !== driven.savedState) {
      clearTimeout(driven.timer);
      delete driven.timer;
      this.#records.save(record);
      driven.saved = Date.now();
      driven.savedState = record.state;
      this.#hub.emit({ type: "job", job: structuredClone(record) });
    } else if (driven.timer === undefined) {
      driven.timer = setTimeout(() => {
        delete driven.timer;
        if (Date.now() - driven.saved >= SAVE_INTERVAL) {
          this.#records.save(record);
          driven.saved = Date.now();
        } else record.revision += 1;
        this.#hub.emit({ type: "job", job: structuredClone(record) });
      }, EMIT_INTERVAL);
    }
  }

  // ---- driving a job ---------------------------------------------------------------------------------------------

  #drive(record: JobRecord): void {
    if (this.#driven.has(record.id) || !this.#records.lock(record.id)) return;
    const abort = new AbortController();
    this.#driven.set(record.id, { record, abort, saved: 0 });
    this.#bring(record, abort.signal).catch((error: unknown) => {
      const cause = abort.signal.aborted ? (abort.signal.reason as unknown) : error;
      if (cause instanceof CoreClosed) return;
      if (cause instanceof Cancelled) {
        // A job that reached the scheduler ends when the scheduler says so.
        if (record.schedulerId !== undefined) return;
        this.#end(record, { state: "cancelled", reason: "Cancelled before it was submitted." });
      } else this.#end(record, { state: "failed", error: errorData(error) });
    });
  }

  /** From wherever the record says it is, to the scheduler and into the watcher. */
  async #bring(record: JobRecord, signal: AbortSignal): Promise<void> {
    const job = await resolveJob(record.spec);
    if (record.schedulerId === undefined) {
      const transport = await this.#stage(job, record, signal);
      signal.throwIfAborted();
      record.schedulerId = await this.#submitOnce(job, record, transport);
      delete record.submitting;
      record.submittedAt = new Date().toISOString();
      record.state = "queued";
      this.#changed(record, true);
      // Somebody cancelled between the scheduler's answer and this line.
      if (signal.aborted) await job.scheduler.cancel(transport, [record.schedulerId]);
    }
    this.#watch(job, record);
  }

  /** Pages, runner and job folder to the cluster. */
  async #stage(job: ResolvedJob, record: JobRecord, signal: AbortSignal): Promise<Transport> {
    const { spec, cluster } = job;
    let folder: string | undefined;
    if (spec.sources.length > 0) {
      const { prepare } = await import("./prepare.js");
      const info = await prepare(spec, {
        signal,
        onProgress: (prepared, total, faults) => {
          record.progress = { ...record.progress, prepared, ...(total === undefined ? {} : { preparedTotal: total }) };
          record.faults = faults.slice(0, 1000);
          record.faultCount = faults.length;
          this.#changed(record);
        },
      }).finally(() => this.#changed(record));
      folder = info.folder;
      record.dataset = { hash: info.hash, pages: info.pages, bytes: info.bytes };
      record.faults = info.faults;
      record.faultCount = info.faultCount;
      record.progress = { ...record.progress, prepared: info.pages, total: info.pages };
    }
    record.state = "uploading";
    this.#changed(record, true);
    const { stageJob } = await import("./stage.js");
    const transport = await this.#lines.open(cluster);
    const jobDir = await stageJob(transport, job, {
      id: record.id,
      ...(folder === undefined ? {} : { dataset: { folder, hash: record.dataset?.hash ?? "" } }),
      signal,
      onProgress: (done, total) => {
        record.progress = { ...record.progress, uploadedBytes: done, uploadTotalBytes: total };
        this.#changed(record);
      },
      files: (dir) => jobFiles(job, scriptPlan(job, record.id, dir, record.attempt, this.#afterIds(spec))),
    });
    record.jobDir = jobDir;
    return transport;
  }

  #afterIds(spec: JobSpec): string[] {
    return (spec.after ?? []).map(({ job }) => {
      const { schedulerId, state } = this.#record(job);
      if (schedulerId === undefined)
        throw new SchedulerError(
          `Job ${job}, after which this one was to start, is ${state} and not submitted yet.`,
          "Submit this job once that one is queued.",
        );
      return schedulerId;
    });
  }

  /** Submits exactly once: what an earlier try of this attempt left behind is found by its token and taken over. */
  async #submitOnce(job: ResolvedJob, record: JobRecord, transport: Transport): Promise<string> {
    const token = submissionToken(record.id, record.attempt);
    if (record.submitting === true) {
      const found = await job.scheduler.find(transport, token);
      if (found !== undefined) return found;
    }
    record.submitting = true;
    this.#changed(record, true);
    return job.scheduler.submit(transport, posix.join(record.jobDir ?? "", "job.sh"));
  }

  #watcherKey(record: JobRecord): string {
    return `${record.spec.cluster}\n${record.spec.config ?? ""}`;
  }

  #watch(job: ResolvedJob, record: JobRecord): void {
    const key = this.#watcherKey(record);
    let watcher = this.#watchers.get(key);
    if (watcher === undefined) {
      const { cluster, scheduler } = job;
      watcher = new Watcher(
        { cluster, scheduler, open: () => this.#lines.open(cluster, { interactive: false }) },
        (changed) => this.#changed(changed),
        (ended, observation) => this.#finish(ended, observation),
      );
      this.#watchers.set(key, watcher);
    }
    watcher.add(record);
  }

  /** The scheduler said that it is over: what it means, and the results to where they were asked for. */
  async #finish(record: JobRecord, observation: Observation): Promise<void> {
    const end = endOf(record, observation);
    if (end.state === "completed" && record.spec.output !== undefined) {
      this.#changed(record, true);
      try {
        record.resultsDir = (await this.download(record.id, record.spec.output)).folder;
      } catch (error) {
        // The job itself is done; what failed can be asked for again.
        record.reason = `Done, but the results could not be put into ${record.spec.output}: ${errorData(error).what}`;
      }
    }
    this.#end(record, end);
  }

  #end(record: JobRecord, end: Pick<JobRecord, "state"> & Partial<Pick<JobRecord, "reason" | "error">>): void {
    Object.assign(record, end);
    record.endedAt ??= new Date().toISOString();
    delete record.submitting;
    this.#changed(record, true);
    this.#driven.delete(record.id);
    this.#records.unlock(record.id);
  }

  // ---- files -----------------------------------------------------------------------------------------------------

  async #lineOf(record: JobRecord): Promise<{ transport: Transport; sftp: Sftp; cluster: ClusterConfig }> {
    const { cluster } = await clusterOf(record.spec);
    const transport = await this.#lines.open(cluster);
    return { transport, sftp: await transport.sftp(), cluster };
  }

  async #fetch(transport: Transport, from: string, to: string): Promise<{ files: number; bytes: number }> {
    const { downloadTree } = await import("../cluster/transfer.js");
    return downloadTree(transport, from, to, { exclude: (path) => NOT_RESULTS.has(path) });
  }
}

/** Why a driven job stopped: its core closes and another will go on. */
class CoreClosed extends Error {}
/** Why a driven job stopped: somebody cancelled it. */
class Cancelled extends Error {}

async function expectResults(sftp: Sftp, output: string, record: JobRecord): Promise<void> {
  try {
    await readFile(sftp, posix.join(output, "state.json"));
  } catch (error) {
    if (!isMissing(error)) throw error;
    if (record.spec.kind === "run")
      throw new JobNotFoundError(
        `Job ${record.id} wrote no dataset; its files are in ${output}.`,
        `\`yale jobs download ${record.id}\` brings them here.`,
      );
    throw new UsageError(
      `Job ${record.id} is ${record.state} and has no results yet.`,
      isEnd(record.state) ? `\`yale jobs logs ${record.id}\` says why.` : "The first appear after a few pages.",
    );
  }
}

/** Offset at which the last `lines` lines of a file begin. */
async function lineStart(sftp: Sftp, path: string, lines: number): Promise<number> {
  let size: number;
  try {
    ({ size } = await sftp.stat(path));
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
  const from = Math.max(0, size - lines * 400 - 4096);
  const bytes = await readFrom(sftp, path, from);
  if (bytes === undefined) return size;
  let left = lines + (bytes.at(-1) === 10 ? 1 : 0);
  for (let i = bytes.length - 1; i >= 0; i--) if (bytes[i] === 10 && --left === 0) return from + i + 1;
  return from;
}

/** How many bytes at the end begin a UTF-8 character that is not whole. */
function cutCharacter(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}
