/**
 * The records of the jobs that one core drives: newer than their files, written and told to everybody as they change.
 */
import { errorData } from "../errors.js";
import type { AgentEvent, JobRecord, JobState } from "../protocol.js";
import type { Observation } from "../schedulers/index.js";
import type { Outcome } from "./outcome.js";
import type { JobRecords } from "./records.js";

/** Milliseconds between two writes of a record whose progress grows; changes of state are written at once. */
const SAVE_INTERVAL = 1000;
/** Milliseconds between two events of one job. */
const EMIT_INTERVAL = 200;
/** Milliseconds until the end of a job is written again that could not be: the disk is full. */
const SAVE_AGAIN = 5000;
/** Milliseconds after which jobs that another process drives are looked at again by a job that waits for them. */
const LOOK_INTERVAL = 2000;

/** Pages on their way to a job that does not wait for all of them. */
export interface Feed {
  /** Resolves when the job may be submitted. */
  first: Promise<void>;
  /** Resolves when all are there. Both reject with why they will not be. */
  end: Promise<void>;
  /** Why it failed, if it did by itself. */
  failed?: unknown;
  /** Ends it, since the job needs no more; resolves when it has ended. Never rejects. */
  stop: () => Promise<void>;
}

/** One driven job. */
export class LiveJob {
  readonly record: JobRecord;
  /** Aborted with the reason why driving it stops. */
  readonly abort: AbortController = new AbortController();
  /** A person has just asked for it: opening the line may ask them for their second factor. */
  asked: boolean;
  /** Called once, when the scheduler is done with it. */
  ended: ((observation: Observation) => void) | undefined;
  /** The pages that still come to it, if it was submitted on the first of them. */
  feed: Feed | undefined;
  readonly #jobs: LiveJobs;
  #saved = 0;
  #savedState: JobState | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The reason in the record, where it is one of ours and not the scheduler's. */
  #waits: string | undefined;

  constructor(jobs: LiveJobs, record: JobRecord, asked: boolean) {
    this.#jobs = jobs;
    this.record = record;
    this.asked = asked;
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }

  /** True once somebody has cancelled it. A method, since that happens while its driver waits for something else. */
  isCancelling(): boolean {
    return this.record.cancelling === true;
  }

  /** True while somebody wants it to wait. */
  isHeld(): boolean {
    return this.record.held === true;
  }

  /** Tells everyone, and writes the record: at once if its state changed or `now`, else once a second at most. */
  changed(now = false): void {
    const { record } = this;
    const jobs = this.#jobs;
    if (jobs.get(record.id) !== this) return;
    if (now || record.state !== this.#savedState) {
      this.stopTimer();
      jobs.records.save(record);
      this.#saved = Date.now();
      this.#savedState = record.state;
      jobs.emit({ type: "job", job: structuredClone(record) });
      jobs.wake();
    } else if (this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        if (Date.now() - this.#saved >= SAVE_INTERVAL) {
          jobs.records.save(record);
          this.#saved = Date.now();
        } else record.revision += 1;
        jobs.emit({ type: "job", job: structuredClone(record) });
      }, EMIT_INTERVAL);
    }
  }

  /** Says in the record how much of its pages is on the cluster, in bytes. */
  uploaded(done: number, total: number): void {
    const { record } = this;
    record.progress = { ...record.progress, uploadedBytes: done, uploadTotalBytes: total };
    this.changed();
  }

  /** Says in the record why it stands still. */
  waits(reason: string): void {
    const { record } = this;
    const said = this.isCancelling() ? `Is cancelled as soon as that is possible. ${reason}` : reason;
    this.#waits = said;
    if (record.reason === said) return;
    record.reason = said;
    this.changed(true);
  }

  /** Takes that reason back. */
  goesOn(): void {
    const { record } = this;
    const waits = this.#waits;
    this.#waits = undefined;
    if (waits === undefined || record.reason !== waits) return;
    delete record.reason;
    this.changed(true);
  }

  /** Adds something worth knowing. */
  note(text: string): void {
    this.record.notes = [...(this.record.notes ?? []), text].slice(-50);
  }

  /** Its end: written, told, and no longer driven. */
  end(outcome: Outcome): void {
    const { record } = this;
    for (const key of ["submitting", "cancelling", "coming", "held", "reason", "expectedStart"] as const)
      delete record[key];
    Object.assign(record, outcome);
    record.endedAt ??= new Date().toISOString();
    this.#end();
  }

  #end(): void {
    try {
      this.changed(true);
      this.#jobs.drop(this);
    } catch {
      // Who waits for it hears of it all the same; it stays here, as it is newer than its file.
      this.#jobs.emit({ type: "job", job: structuredClone(this.record) });
      this.#timer = setTimeout(() => this.#end(), SAVE_AGAIN);
    }
  }

  /** Forgets what was to be told a moment later. */
  stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** All of them. */
export class LiveJobs {
  readonly records: JobRecords;
  readonly emit: (event: AgentEvent) => void;
  readonly #jobs = new Map<string, LiveJob>();
  /** Those who wait for any job to change. */
  readonly #listeners = new Set<() => void>();

  constructor(records: JobRecords, emit: (event: AgentEvent) => void) {
    this.records = records;
    this.emit = emit;
  }

  /** How many there are. */
  get size(): number {
    return this.#jobs.size;
  }

  /** The job of that id, if this core drives it. */
  get(id: string): LiveJob | undefined {
    return this.#jobs.get(id);
  }

  /** All jobs that this core drives. */
  [Symbol.iterator](): IterableIterator<LiveJob> {
    return this.#jobs.values();
  }

  /** Takes the right to drive a job; undefined if this core or another process has it. */
  take(record: JobRecord, asked: boolean): LiveJob | undefined {
    if (this.#jobs.has(record.id) || !this.records.lock(record.id)) return undefined;
    const job = new LiveJob(this, record, asked);
    this.#jobs.set(record.id, job);
    return job;
  }

  /** Gives it back. */
  drop(job: LiveJob): void {
    this.#jobs.delete(job.record.id);
    this.records.unlock(job.record.id);
    this.wake();
  }

  /** The newest that is known of the job with that whole id, or undefined. */
  find(id: string): JobRecord | undefined {
    const live = this.#jobs.get(id)?.record;
    if (live !== undefined) return live;
    try {
      const record = this.records.get(id);
      return record.id === id ? record : undefined;
    } catch (error) {
      if (errorData(error).code === "job_not_found") return undefined;
      throw error;
    }
  }

  /** Tells those who wait that something changed. */
  wake(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** The next change of any job; those that other processes drive are looked at every few seconds. */
  nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#listeners.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, LOOK_INTERVAL);
      this.#listeners.add(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }

  /** Stops driving all of them; the jobs go on. */
  close(reason: Error): void {
    for (const job of this) {
      job.stopTimer();
      job.abort.abort(reason);
      this.records.save(job.record);
      this.records.unlock(job.record.id);
    }
    this.#jobs.clear();
  }
}
