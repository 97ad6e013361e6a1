/**
 * A job as its caller holds it: a handle that knows nothing the core does not, so that any number of them, in any
 * process, show the same job.
 */
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  INSPECT,
  inspectHook,
  jobBundle,
  jobText,
  type LoginState,
  loginText,
  progressBundle,
  showInKernel,
} from "../display/index.js";
import { errorData, InterruptedError, JobFailedError, WaitTimeoutError } from "../errors.js";
import { type Core, isEnd, type JobRecord, type JobState, type Progress } from "../protocol.js";
import { attended, readLogins, takeLogin } from "./login.js";
import { showLogin } from "./login-card.js";
import { Results } from "./results.js";
import { type RetryOptions, specChanges } from "./spec.js";

/** Milliseconds between two looks at a log that is followed: often enough to read along, seldom enough for a login node. */
const LOG_INTERVAL = 500;

/** Options of {@link Job.wait}. */
export interface WaitOptions {
  /** Seconds after which WaitTimeoutError is thrown; the job goes on. Default: no limit. */
  timeout?: number;
  signal?: AbortSignal;
  /** Called with every change. */
  onProgress?: (progress: Progress, record: JobRecord) => void;
  /** Show a progress bar in the notebook; default true. Nothing is shown outside a notebook. */
  bar?: boolean;
}

/** A submitted job. Ending a notebook cell with it shows a card that lives on while the job runs. */
export class Job {
  readonly #core: Core;
  #record: JobRecord;

  /** Made by `submit()` and `yale.job(id)`. */
  constructor(core: Core, record: JobRecord) {
    this.#core = core;
    this.#record = record;
  }

  /** Ten letters and digits; any unique beginning names the job. */
  get id(): string {
    return this.#record.id;
  }
  /** The name it was given. */
  get name(): string {
    return this.#record.spec.name;
  }
  /** State when last heard of; {@link refresh} asks again. */
  get state(): JobState {
    return this.#record.state;
  }
  /** All that was known when last heard of. */
  get record(): JobRecord {
    return this.#record;
  }

  /** Asks the core for the newest state. */
  async refresh(): Promise<this> {
    this.#take(await this.#core.get(this.id));
    return this;
  }

  #take(record: JobRecord): void {
    if (record.revision >= this.#record.revision) this.#record = record;
  }

  /** The present state, then every change up to the end. Leaves early, without error, when `signal` aborts. */
  async *changes(signal?: AbortSignal): AsyncGenerator<JobRecord> {
    for await (const { changed } of this.#news(signal)) if (changed) yield this.#record;
  }

  /** As {@link changes}, and whenever the login that its cluster may wait for changes: `waits` is that in words. */
  async *#news(signal?: AbortSignal): AsyncGenerator<{ changed: boolean; waits?: string }> {
    const { cluster } = this.#record.spec;
    let login: LoginState = { cluster };
    // What this stream has yielded: another one on the same job (a card beside a bar) may have taken the event already.
    let seen = -1;
    for await (const event of this.#core.events(signal)) {
      let changed = true;
      if (event.type === "listening") {
        await this.refresh();
        if (cluster !== "local") [login = { cluster }] = await readLogins(this.#core, (name) => name === cluster);
      } else if (event.type === "job" && event.job.id === this.id) {
        this.#take(event.job);
        if (this.#record.revision <= seen) continue;
      } else if (takeLogin(login, event)) changed = false;
      else continue;
      if (changed) seen = this.#record.revision;
      const waits = isEnd(this.#record.state) ? undefined : loginText(login);
      yield { changed, ...(waits === undefined ? {} : { waits }) };
      if (isEnd(this.#record.state)) return;
    }
  }

  /** How far it is, as a stream that ends with the job. */
  async *progress(signal?: AbortSignal): AsyncGenerator<Progress> {
    for await (const record of this.changes(signal)) yield record.progress;
  }

  /**
   * Waits for the end and returns the job. Throws JobFailedError (with the reason and the end of the log) if it ended
   * in any other way than `completed`, WaitTimeoutError and InterruptedError as asked for; the job itself goes on.
   */
  async wait(options: WaitOptions = {}): Promise<this> {
    const timeout = options.timeout === undefined ? undefined : AbortSignal.timeout(options.timeout * 1000);
    const signals = [timeout, options.signal].filter((s) => s !== undefined);
    const signal = signals.length === 0 ? undefined : AbortSignal.any(signals);
    const bar = options.bar === false ? undefined : showInKernel(progressBundle(this.#record));
    const follow = async () => {
      for await (const { changed, waits } of this.#news(signal)) {
        bar?.update(progressBundle(this.#record, undefined, waits));
        if (changed) options.onProgress?.(this.#record.progress, this.#record);
      }
    };
    const { cluster } = this.#record.spec;
    try {
      if (bar === undefined || cluster === "local") await follow();
      else await attended(showLogin, this.#core, async () => (name) => name === cluster, follow);
    } finally {
      bar?.close();
    }
    if (!isEnd(this.state)) {
      if (timeout?.aborted)
        throw new WaitTimeoutError(
          `Job ${this.id} is still ${this.state} after ${options.timeout} s.`,
          "It goes on; wait again, or look at its log.",
        );
      throw new InterruptedError(
        `Waiting for job ${this.id} was interrupted.`,
        "The job goes on; wait again any time.",
      );
    }
    if (this.state !== "completed") throw endError(this.#record);
    return this;
  }

  /** The log as it is by now, as one text. A cell of tslab whose only await is `for await` is no JavaScript to it; this is. */
  async logText(options: { tail?: number; task?: number } = {}): Promise<string> {
    let text = "";
    for await (const piece of this.logs(options)) text += piece;
    return text;
  }

  /**
   * The log. `follow` yields what is there and then what comes, until the job ends; otherwise one pass over what is
   * there. `tail` begins so many lines before the end. Of a job with shards all tasks, each piece under a line that names
   * its task, or only `task`, counted from 0.
   */
  async *logs(
    options: { follow?: boolean; tail?: number; task?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<string> {
    const { task, tail, follow, signal } = options;
    const count = this.#record.spec.shards ?? 1;
    const several = task === undefined && count > 1;
    const tasks = Array.from({ length: several ? count : 1 }, (_, n) => ({
      task: several ? n : task,
      offset: tail === undefined ? 0 : -Math.max(1, tail),
      over: false,
    }));
    let last: number | undefined;
    while (tasks.some((t) => !t.over)) {
      let grew = false;
      for (const t of tasks) {
        while (!t.over) {
          const about = { offset: t.offset, ...(t.task === undefined ? {} : { task: t.task }) };
          const chunk = await this.#core.logs(this.id, about).catch((error: unknown) => {
            // Who follows reads on when the line is back; the offset says where.
            if (follow !== true || errorData(error).code !== "connection") throw error;
            return { text: "", next: t.offset, end: false };
          });
          const more = chunk.next !== t.offset;
          t.offset = chunk.next;
          if (chunk.text !== "") {
            if (several && last !== t.task) yield `${last === undefined ? "" : "\n"}==> task ${t.task} <==\n`;
            last = t.task;
            yield chunk.text;
          }
          if (signal?.aborted) return;
          if (!more) {
            t.over = chunk.end || follow !== true;
            break;
          }
          grew = true;
        }
      }
      if (!grew && tasks.some((t) => !t.over)) await sleep(LOG_INTERVAL, undefined, { signal }).catch(() => undefined);
      if (signal?.aborted) return;
    }
  }

  /** Cancels it; pages that are done stay. */
  async cancel(): Promise<this> {
    this.#take(await this.#core.cancel(this.id));
    return this;
  }

  /** Keeps it from starting; only a job that has not started can be held. */
  async hold(): Promise<this> {
    this.#take(await this.#core.hold(this.id));
    return this;
  }

  /** Lets a held job go. */
  async release(): Promise<this> {
    this.#take(await this.#core.release(this.id));
    return this;
  }

  /**
   * Runs it again, with `changes` if it is to be otherwise: `job.retry({ memory: "64G" })`. The same job goes on where it
   * stopped, unless the changes make other results of it: then it is a new job.
   */
  async retry(changes: RetryOptions = {}): Promise<Job> {
    const { kind } = this.#record.spec;
    return new Job(this.#core, await this.#core.retry(this.id, specChanges(kind, changes)));
  }

  /** The rows that are there by now: text, layout, errors; page images are read when looked at. */
  async results(): Promise<Results> {
    await this.refresh();
    const { folder, complete } = await this.#core.results(this.id);
    return Results.open(folder, { complete, record: this.#record });
  }

  /** Copies all of the job's output into `folder`. */
  async download(folder: string): Promise<{ files: number; bytes: number; folder: string }> {
    // The agent has a working directory of its own: a relative path is the caller's.
    return this.#core.download(this.id, resolve(folder));
  }

  /** The record, as `JSON.stringify` sees it. */
  toJSON(): JobRecord {
    return this.#record;
  }

  /** In a notebook: a cell that ends in the job shows the live card; elsewhere one line of text. */
  [INSPECT](depth: number, options: { depth?: number | null }): string {
    return inspectHook({
      depth,
      options,
      text: jobText(this.#record),
      bundle: () => jobBundle(this.#record),
      live: (display) => void this.#follow(display),
    });
  }

  async #follow(display: { update(bundle: Record<string, unknown>): void; close(): void }): Promise<void> {
    try {
      for await (const { waits } of this.#news()) display.update(jobBundle(this.#record, undefined, waits));
    } catch {
      // The agent went away for good: the card keeps the last state that was seen.
    } finally {
      display.close();
    }
  }
}

/** Codes of what ends a job before it runs. */
const KEPT_FROM_RUNNING = ["login", "host_key", "connection", "transfer", "scheduler", "quota"] as const;

/** The error that says how a job ended, with the end of its log. */
export function endError(record: JobRecord): JobFailedError {
  const codes = {
    failed: "job_failed",
    lost: "job_failed",
    cancelled: "cancelled",
    timeout: "timeout",
    out_of_memory: "out_of_memory",
    node_fail: "node_lost",
    preempted: "node_lost",
  } as const;
  const ended = record.state in codes ? codes[record.state as keyof typeof codes] : "job_failed";
  // What kept it from running has a code of its own; a fault of ours, or of its pages, is a job that failed.
  const kept = KEPT_FROM_RUNNING.find((code) => record.state === "failed" && code === record.error?.code);
  const code = kept ?? ended;
  const what = record.error?.what ?? record.reason ?? `It ended as ${record.state}.`;
  // A job that was kept from running has at most the log of an earlier attempt, which has nothing to do with it.
  const tail =
    kept !== undefined || record.logTail.length === 0
      ? ""
      : `\n  The log ends with:\n${record.logTail.map((l) => `  | ${l}`).join("\n")}`;
  const fix =
    record.error?.fix ||
    `See \`yale jobs logs ${record.id}\`; \`yale jobs retry ${record.id}\` goes on where it stopped.`;
  return new JobFailedError(code, `Job ${record.id} (${record.spec.name}): ${what}${tail}`, fix);
}
