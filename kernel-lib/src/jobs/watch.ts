/**
 * Watches running jobs: one question to the scheduler for all jobs of a cluster, then a look at what each job's runner
 * appended. Seldom where nothing changes, never faster than the site allows, and honest when nobody answers: the last
 * state stands, with its age and the reason.
 */
import type { Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { errorData } from "../errors.js";
import { isEnd, type JobRecord } from "../protocol.js";
import type { Answers, Observation, Scheduler } from "../schedulers/index.js";
import { inTurn, JobFolder } from "./job-folder.js";

/** Longest pause between two looks where nothing changes, in milliseconds. */
const LONGEST = 60_000;
/** Jobs whose files are read at once. */
const AT_ONCE = 12;
/**
 * Milliseconds that the whole scheduler must answer without knowing a job before the job counts as lost. Long, because
 * slurmdbd may be told of an end late: after an outage slurmctld sends what it has kept, minutes after it answers again.
 */
const LOST_AFTER = 30 * 60_000;
/** Milliseconds after which a record that does not change is told again, so that its age is known to those who show it. */
const TELL_AGAIN = 45_000;

/** Beginning of the note that counts the runs of one submission. */
const STARTED_AGAIN = "The scheduler has started it again";

/** What a watcher needs of its cluster. */
export interface WatchedCluster {
  cluster: ClusterConfig;
  scheduler: Scheduler;
  /** The line; a background look asks nobody for a second factor. */
  open(): Promise<Transport>;
}

interface Tracked {
  record: JobRecord;
  folder?: JobFolder;
  /** Since when everybody answers and nobody knows it. */
  missing?: number;
  /** When its record was last told. */
  told: number;
  /** The reason in the record, where it is of this file's making. */
  silence?: string;
  /** Notes of the record before it was watched; what the scheduler says now follows them. */
  notes: readonly string[];
  /** Set if it was cancelled here because it can never start: what to say instead of "cancelled by you". */
  hopeless?: Pick<Observation, "raw" | "reason">;
}

/** One cluster's watcher: lives while it has jobs. */
export class Watcher {
  readonly #target: WatchedCluster;
  readonly #update: (record: JobRecord) => void;
  readonly #ended: (record: JobRecord, observation: Observation) => Promise<void>;
  readonly #jobs = new Map<string, Tracked>();
  #timer: NodeJS.Timeout | undefined;
  #quiet = 0;
  #busy = false;
  #again = false;
  #closed = false;
  /** When the last look began, and the last that somebody wished for. */
  #looked = 0;
  #wished = 0;

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
    const notes = (record.notes ?? []).filter((note) => !note.startsWith(STARTED_AGAIN));
    this.#jobs.set(record.id, { record, told: Date.now(), notes });
    this.soon();
  }

  /** Stops watching one job. */
  drop(id: string): void {
    this.#jobs.delete(id);
  }

  /**
   * Looks again at once: somebody cancelled, or submitted. One such look is free in each of the site's intervals; the
   * next waits for its turn, so that a hundred submissions in a row are no hundred questions.
   */
  soon(): void {
    this.#quiet = 0;
    if (this.#busy) this.#again = true;
    else this.#schedule(this.#pauseForWish());
  }

  /** Stops. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #schedule(pause: number): void {
    clearTimeout(this.#timer);
    if (!this.#closed && this.#jobs.size > 0) this.#timer = setTimeout(() => void this.#look(), pause);
  }

  #pauseForWish(): number {
    const now = Date.now();
    const free = this.#wished + this.#shortest();
    if (free > now) return Math.max(20, Math.min(free, this.#looked + this.#shortest()) - now);
    this.#wished = now;
    return 20;
  }

  /** Milliseconds between two looks, at least. Looking at this machine's own scheduler costs nothing. */
  #shortest(): number {
    const { scheduler, cluster } = this.#target;
    return scheduler.kind === "local" ? 250 : cluster.policy.pollSeconds * 1000;
  }

  /** Milliseconds to the next look: the shortest, longer the longer nothing changes. */
  #interval(): number {
    const shortest = this.#shortest();
    if (this.#target.scheduler.kind === "local") return Math.min(shortest * 1.2 ** this.#quiet, 2000);
    return Math.min(shortest * 1.3 ** this.#quiet, Math.max(LONGEST, shortest));
  }

  async #look(): Promise<void> {
    if (this.#busy || this.#closed) return;
    this.#busy = true;
    this.#again = false;
    this.#looked = Date.now();
    try {
      if (await this.#round()) this.#quiet = 0;
      else this.#quiet += 1;
    } catch {
      // The line is gone or was lost: nothing is known that was not known before. Whoever opens lines tells about it.
      this.#quiet += 1;
    } finally {
      this.#busy = false;
      this.#schedule(this.#again ? this.#pauseForWish() : this.#interval());
    }
  }

  /** One look at everything; true if anything changed. */
  async #round(): Promise<boolean> {
    const transport = await this.#target.open();
    const jobs = [...this.#jobs.values()].filter((j) => j.record.schedulerId !== undefined);
    if (jobs.length === 0) return false;
    let changed = false;
    const asked = jobs.map(({ record }) => ({
      id: record.schedulerId ?? "",
      ...((record.spec.shards ?? 1) > 1 ? { tasks: record.onlyTasks ?? record.spec.shards ?? 1 } : {}),
    }));
    const answers = await this.#target.scheduler.query(transport, asked, (early) => {
      for (const job of jobs) if (this.#apply(job, early, true)) changed = true;
    });
    const over: { job: Tracked; observation: Observation }[] = [];
    for (const job of jobs) {
      if (!this.#jobs.has(job.record.id)) continue;
      const observation = answers.jobs.get(job.record.schedulerId ?? "") ?? this.#lost(job, answers);
      if (observation !== undefined && isEnd(observation.state))
        over.push({ job, observation: { ...observation, ...job.hopeless } });
      else if (this.#apply(job, answers, false)) changed = true;
    }
    await this.#cancelHopeless(transport, jobs, answers);
    if (await this.#readFiles(transport, jobs, over)) changed = true;
    for (const { job, observation } of over) {
      if (this.#jobs.get(job.record.id) !== job) continue;
      this.#jobs.delete(job.record.id);
      applyEnd(job, observation);
      changed = true;
      await this.#ended(job.record, observation);
    }
    return changed;
  }

  /** What became of one job, into its record; true if that changed it. `early`: not everybody has answered yet. */
  #apply(job: Tracked, answers: Answers, early: boolean): boolean {
    const { record } = job;
    const before = observed(record);
    const observation = answers.jobs.get(record.schedulerId ?? "");
    const now = Date.now();
    if (observation !== undefined && !isEnd(observation.state)) {
      delete job.silence;
      applyNow(job, observation);
      record.heardAt = new Date(now).toISOString();
    } else if (!early && observation === undefined) {
      if (answers.silent.length > 0) this.#tellSilence(job, answers.silent, now);
      // Everybody answered and does not know it yet: a job just submitted stays queued.
      else record.heardAt = new Date(now).toISOString();
    }
    const changed = before !== observed(record);
    if (changed || (!early && now - job.told > TELL_AGAIN)) {
      job.told = now;
      this.#update(record);
    }
    return changed;
  }

  /** Says in the record why nothing new is known. */
  #tellSilence(job: Tracked, silent: readonly string[], now: number): void {
    const { record } = job;
    const since = record.heardAt ?? record.submittedAt;
    const minutes = since === undefined ? 0 : Math.floor((now - Date.parse(since)) / 60_000);
    const age = minutes < 1 ? "less than a minute" : minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
    // Whoever drives the job may have said something that matters more.
    if (record.reason !== undefined && record.reason !== job.silence && record.cancelling === true) return;
    job.silence = `Last heard of ${age} ago: ${silent.join("; ")}. The job itself is not affected.`;
    record.reason = job.silence;
  }

  /** The end of a job that nobody knows any more, once that has lasted. */
  #lost(job: Tracked, answers: Answers): Observation | undefined {
    if (answers.silent.length > 0) return undefined;
    const now = Date.now();
    job.missing ??= now;
    if (now - job.missing < LOST_AFTER) return undefined;
    return { state: "lost", raw: "", reason: "The scheduler has known nothing of it for half an hour." };
  }

  /** Jobs that wait for what can't happen are ended, since nobody else would do it. */
  async #cancelHopeless(transport: Transport, jobs: readonly Tracked[], answers: Answers): Promise<void> {
    const told = (job: Tracked) => answers.jobs.get(job.record.schedulerId ?? "");
    const hopeless = jobs.filter((j) => told(j)?.never === true && j.hopeless === undefined);
    if (hopeless.length === 0) return;
    try {
      await this.#target.scheduler.cancel(
        transport,
        hopeless.map((j) => j.record.schedulerId ?? ""),
      );
      for (const job of hopeless) {
        const reason = told(job)?.reason;
        job.hopeless = { raw: "CANCELLED", ...(reason === undefined ? {} : { reason }) };
      }
      this.#again = true;
    } catch {
      // The next look tries again.
    }
  }

  /** Progress and log of what runs, and for the last time of what has ended. */
  async #readFiles(
    transport: Transport,
    jobs: readonly Tracked[],
    over: readonly { job: Tracked }[],
  ): Promise<boolean> {
    const ending = new Set(over.map(({ job }) => job));
    const reading = jobs.filter(
      (j) => ending.has(j) || j.record.state === "running" || j.record.state === "completing",
    );
    if (reading.length === 0) return false;
    const sftp = await transport.sftp();
    let changed = false;
    await inTurn(reading, AT_ONCE, async (job) => {
      job.folder ??= new JobFolder(job.record);
      const news = await job.folder.read(sftp).catch((error: unknown) => {
        if (errorData(error).code === "connection") throw error;
        // One folder that can't be read (removed, no permission) must not keep the others from being watched.
        return false;
      });
      if (!news) return;
      changed = true;
      if (ending.has(job)) return;
      job.told = Date.now();
      this.#update(job.record);
    });
    return changed;
  }
}

/** What of a record comes from the scheduler, to see if it changed. */
function observed(r: JobRecord): string {
  return JSON.stringify([r.state, r.raw, r.reason, r.startedAt, r.held, r.expectedStart, r.tasks, r.notes]);
}

/** A job that has not ended. */
function applyNow(job: Tracked, o: Observation): void {
  const { record } = job;
  delete job.missing;
  record.raw = o.raw;
  record.state = o.state;
  put(record, "reason", o.reason);
  put(record, "startedAt", o.startedAt);
  put(record, "expectedStart", o.expectedStart);
  put(record, "tasks", o.tasks);
  if (o.held === true) record.held = true;
  else delete record.held;
  for (const key of ["exitCode", "signal", "endedAt"] as const) delete record[key];
  applyNotes(job, o);
}

/** A job that has ended. `completing` until the service has put the results where they belong. */
function applyEnd(job: Tracked, o: Observation): void {
  const { record } = job;
  record.heardAt = new Date().toISOString();
  record.raw = o.raw;
  record.state = "completing";
  put(record, "reason", o.reason);
  if (o.startedAt !== undefined) record.startedAt = o.startedAt;
  put(record, "endedAt", o.endedAt);
  put(record, "exitCode", o.exitCode);
  put(record, "signal", o.signal);
  if (o.tasks !== undefined) record.tasks = o.tasks;
  put(record, "usage", o.usage);
  for (const key of ["held", "expectedStart"] as const) delete record[key];
  applyNotes(job, o);
}

/** What the scheduler has to note now, after what was noted before. */
function applyNotes(job: Tracked, o: Observation): void {
  const again =
    o.restarts === undefined || o.restarts === 0
      ? []
      : [`${STARTED_AGAIN} ${o.restarts === 1 ? "once" : `${o.restarts} times`}.`];
  const notes = [...new Set([...job.notes, ...again, ...(o.notes ?? [])])];
  if (notes.length > 0) job.record.notes = notes;
  else delete job.record.notes;
}

function put<
  K extends "reason" | "startedAt" | "endedAt" | "expectedStart" | "tasks" | "exitCode" | "signal" | "usage",
>(record: JobRecord, key: K, value: JobRecord[K] | undefined): void {
  if (value === undefined) delete record[key];
  else record[key] = value;
}
