/**
 * Brings a job to its end: prepare, upload, wait for its turn, submit, watch, fetch, and once more if that may help.
 * Every step looks at what is there already, so a job is taken up anywhere: after a lost line by the same core, after a
 * killed core by the next one that finds its record.
 */
import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { errorData } from "../errors.js";
import type { AgentEvent, JobRecord, JobState } from "../protocol.js";
import type { Observation } from "../schedulers/index.js";
import { turnOf } from "./after.js";
import { JOB_FILE, jobFileText } from "./job-file.js";
import type { Lines } from "./lines.js";
import { endOf, type Outcome } from "./outcome.js";
import { jobFiles, type ResolvedJob, resolveJob, scriptPlan } from "./plan.js";
import { isActive, type JobRecords } from "./records.js";
import { beginAttempt, decideRetry } from "./retry.js";
import { type Submission, submissionToken, submitOnce, withdrawSubmission } from "./submit.js";
import { Watcher } from "./watch.js";

/** Milliseconds between two writes of a record whose progress grows; changes of state are written at once. */
const SAVE_INTERVAL = 1000;
/** Milliseconds between two events of one job. */
const EMIT_INTERVAL = 200;
/** Milliseconds after which jobs that another process drives are looked at again by a job that waits for them. */
const LOOK_INTERVAL = 2000;
/** Milliseconds between two tries where the line stands and the far side does not answer; doubled up to a minute. */
const PAUSE = 1000;

/** What a driver works with. */
export interface DriverHost {
  records: JobRecords;
  lines: Lines;
  emit: (event: AgentEvent) => void;
  /** Copies a job's output into a local folder. */
  fetch: (transport: Transport, record: JobRecord, folder: string, signal: AbortSignal) => Promise<void>;
}

/** One job that this core drives: its live record, which is newer than the file. */
interface Driven {
  record: JobRecord;
  abort: AbortController;
  /** A person has just asked for it: opening the line may ask them for their second factor. */
  asked: boolean;
  saved: number;
  savedState?: JobState;
  timer?: NodeJS.Timeout;
  /** The reason in the record, where it is of this file's making. */
  waits?: string;
  /** Told once by the watcher that the scheduler is done with it. */
  ended?: (observation: Observation) => void;
}

/** Why a driven job stopped: its core closes and another will go on. */
class CoreClosed extends Error {}
/** Why a driven job stopped: somebody cancelled it before the scheduler had it. */
class Cancelled extends Error {}
/** Why a driven job stopped: a job before it ended badly. */
class NeverItsTurn extends Error {}

/** Drives the jobs of one core. */
export class Driver {
  readonly #host: DriverHost;
  readonly #driven = new Map<string, Driven>();
  readonly #watchers = new Map<string, Watcher>();
  /** Those who wait for any job to change. */
  readonly #listeners = new Set<() => void>();

  constructor(host: DriverHost) {
    this.#host = host;
  }

  /** Jobs that this core drives now. */
  get active(): number {
    return this.#driven.size;
  }

  /** The newest that is known of a job: live, or as it was read from its file. */
  live(record: JobRecord): JobRecord {
    return this.#driven.get(record.id)?.record ?? record;
  }

  /** True if this core drives it. */
  drives(id: string): boolean {
    return this.#driven.has(id);
  }

  /** Drives every active job that no living core drives. */
  adopt(): void {
    for (const record of this.#host.records.list())
      if (isActive(record)) this.drive(structuredClone(record), { asked: false });
  }

  /** Takes a job up, wherever its record says it is; false if another process has it. */
  drive(record: JobRecord, options: { asked: boolean }): boolean {
    if (this.#driven.has(record.id) || !this.#host.records.lock(record.id)) return false;
    const driven: Driven = { record, abort: new AbortController(), asked: options.asked, saved: 0 };
    this.#driven.set(record.id, driven);
    this.#bring(driven).catch((error: unknown) => {
      const cause = driven.abort.signal.aborted ? (driven.abort.signal.reason as unknown) : error;
      if (cause instanceof CoreClosed) return;
      if (cause instanceof Cancelled) this.#end(driven, { state: "cancelled", reason: cause.message });
      else if (cause instanceof NeverItsTurn) this.#end(driven, neverItsTurn(cause.message));
      else this.#end(driven, { state: "failed", error: errorData(error) });
    });
    return true;
  }

  /** Tells everyone that somebody changed a driven record, and writes it. */
  changed(record: JobRecord): void {
    const driven = this.#driven.get(record.id);
    if (driven?.record === record) this.#changed(driven, true);
  }

  /** Looks at a job at once: somebody cancelled, held or released it. */
  soon(record: JobRecord): void {
    this.#watchers.get(watcherKey(record))?.soon();
  }

  /**
   * Cancels a driven job. Before the scheduler has it, that is its end; later the wish stands in the record, and is
   * carried out as soon as the line is there. Throws SchedulerError if the scheduler can be asked and refuses.
   */
  async cancel(record: JobRecord): Promise<void> {
    const driven = this.#driven.get(record.id);
    if (driven === undefined) return;
    if (record.schedulerId === undefined && record.submitting !== true) {
      driven.abort.abort(new Cancelled("Cancelled before it was submitted."));
      return;
    }
    record.cancelling = true;
    driven.asked = true;
    this.#changed(driven, true);
    // What is being submitted is cancelled by the submission itself, as soon as it knows the id.
    if (record.schedulerId === undefined) return;
    const job = await resolveJob(record.spec);
    try {
      const transport = await this.#host.lines.open(job.cluster, { interactive: false });
      await job.scheduler.cancel(transport, [record.schedulerId]);
      this.soon(record);
    } catch (error) {
      if (!isOfTheLine(error)) throw error;
      this.#waits(driven, lineWords(job.cluster, error, false));
      void this.#carryOutCancel(job, driven).catch(() => undefined);
    }
  }

  /** Stops driving; the jobs go on. */
  close(): void {
    for (const watcher of this.#watchers.values()) watcher.close();
    for (const [id, { abort, record, timer }] of this.#driven) {
      clearTimeout(timer);
      abort.abort(new CoreClosed());
      this.#host.records.save(record);
      this.#host.records.unlock(id);
    }
    this.#driven.clear();
  }

  // ---- the way of a job --------------------------------------------------------------------------------------------

  async #bring(driven: Driven): Promise<void> {
    const { record, abort } = driven;
    for (;;) {
      const job = await this.#resolve(driven);
      if (record.schedulerId === undefined) await this.#toTheScheduler(job, driven);
      const observation = await this.#watch(job, driven);
      abort.signal.throwIfAborted();
      const outcome = endOf(record, observation);
      // Its dependency failed, and the job before it may be run again: then this one waits for it again.
      const again = dependencyFailed(record, observation)
        ? { again: true as const, note: "The job before it did not complete in that attempt." }
        : record.cancelling === true
          ? { again: false as const }
          : decideRetry(record, outcome);
      if (again.note !== undefined) record.notes = [...(record.notes ?? []), again.note];
      if (!again.again) return this.#finish(job, driven, outcome);
      beginAttempt(record, outcome.state, { automatic: true, ...again });
      this.#changed(driven, true);
    }
  }

  /** What a specification means here. Of a job that the scheduler has, a broken config.yaml is not the end. */
  async #resolve(driven: Driven): Promise<ResolvedJob> {
    const { record, abort } = driven;
    for (;;) {
      try {
        const job = await resolveJob(record.spec);
        this.#goesOn(driven);
        return job;
      } catch (error) {
        if (record.schedulerId === undefined && record.submitting !== true) throw error;
        this.#waits(driven, `It can't be watched: ${errorData(error).what}`);
        await sleep(30_000, undefined, { signal: abort.signal, ref: false });
      }
    }
  }

  async #toTheScheduler(job: ResolvedJob, driven: Driven): Promise<void> {
    const { record, abort } = driven;
    if (record.submitting !== true) await this.#stage(job, driven);
    const after = record.submitting === true ? [] : await this.#turn(driven);
    const id = await this.#overLine(job, driven, (transport) => this.#submit(job, driven, transport, after));
    if (id === undefined) throw new Cancelled("Cancelled before the scheduler had it.");
    record.schedulerId = id;
    delete record.submitting;
    record.submittedAt = new Date().toISOString();
    record.state = "queued";
    delete record.reason;
    this.#changed(driven, true);
    await this.#note(job, driven).catch((error: unknown) => {
      abort.signal.throwIfAborted();
      // The scheduler has it: what job.json lacks, `yale jobs sync` asks the scheduler for.
      if (!isOfTheLine(error)) record.notes = [...(record.notes ?? []), `job.json: ${errorData(error).what}`];
    });
  }

  /** Pages, runner and job folder to the cluster. */
  async #stage(job: ResolvedJob, driven: Driven): Promise<void> {
    const { record, abort } = driven;
    const { spec } = job;
    const { signal } = abort;
    let folder: string | undefined;
    if (spec.sources.length > 0) {
      const { prepare } = await import("./prepare.js");
      const info = await prepare(spec, {
        signal,
        onProgress: (prepared, total, faults) => {
          record.progress = { ...record.progress, prepared, ...(total === undefined ? {} : { preparedTotal: total }) };
          record.faults = faults.slice(0, 1000);
          record.faultCount = faults.length;
          this.#changed(driven);
        },
      }).finally(() => this.#changed(driven));
      folder = info.folder;
      record.dataset = { hash: info.hash, pages: info.pages, bytes: info.bytes };
      record.faults = info.faults;
      record.faultCount = info.faultCount;
      record.progress = { ...record.progress, prepared: info.pages, total: info.pages };
    }
    record.state = "uploading";
    this.#changed(driven, true);
    const { stageJob } = await import("./stage.js");
    record.jobDir = await this.#overLine(job, driven, (transport) =>
      stageJob(transport, job, {
        id: record.id,
        ...(folder === undefined ? {} : { dataset: { folder, hash: record.dataset?.hash ?? "" } }),
        signal,
        onProgress: (done, total) => {
          record.progress = { ...record.progress, uploadedBytes: done, uploadTotalBytes: total };
          this.#changed(driven);
        },
      }),
    );
  }

  /** Waits until the jobs before it allow it; returns those that the scheduler is to wait for. */
  async #turn(driven: Driven): Promise<{ schedulerId: string; condition: "afterok" | "afterany" }[]> {
    const { record, abort } = driven;
    for (;;) {
      abort.signal.throwIfAborted();
      const turn = turnOf(record.spec, (id) => this.#find(id));
      if (turn.turn === "never") throw new NeverItsTurn(turn.reason);
      const held = record.held === true ? "Held: it waits until it is released." : undefined;
      if (turn.turn === "now" && held === undefined) {
        this.#goesOn(driven);
        return turn.after;
      }
      record.state = "queued";
      this.#waits(driven, held ?? (turn.turn === "wait" ? turn.reason : ""));
      await this.#nextChange(abort.signal);
    }
  }

  /** Submits exactly once; undefined if it was cancelled and will not be submitted any more. */
  async #submit(
    job: ResolvedJob,
    driven: Driven,
    transport: Transport,
    after: { schedulerId: string; condition: "afterok" | "afterany" }[],
  ): Promise<string | undefined> {
    const { record, abort } = driven;
    const jobDir = record.jobDir ?? "";
    const submission: Submission = {
      transport,
      scheduler: job.scheduler,
      jobDir,
      attempt: record.attempt,
      token: submissionToken(record.id, record.attempt),
      begun: record.submitting === true,
      signal: abort.signal,
      onWait: (reason) => this.#waits(driven, reason),
    };
    if (record.cancelling === true) {
      const id = await withdrawSubmission(submission);
      if (id !== undefined) await job.scheduler.cancel(transport, [id]);
      return id;
    }
    if (!submission.begun) {
      const { writeJobFiles } = await import("./stage.js");
      const files = jobFiles(job, scriptPlan(job, record.id, jobDir, record.attempt, after));
      const about = { path: JOB_FILE, text: jobFileText(record), mode: 0o600 };
      await writeJobFiles(transport, jobDir, [...files, about]);
      abort.signal.throwIfAborted();
      // From here on a lost answer means that it may have been submitted.
      record.submitting = true;
      this.#changed(driven, true);
    }
    const id = await submitOnce(submission);
    this.#goesOn(driven);
    // Somebody cancelled while the scheduler was asked.
    if (isCancelling(record)) await job.scheduler.cancel(transport, [id]);
    return id;
  }

  /** Writes the scheduler's id into the job folder, where another machine finds it. */
  async #note(job: ResolvedJob, driven: Driven): Promise<void> {
    const { record } = driven;
    const transport = await this.#host.lines.open(job.cluster, { interactive: false });
    const { writeJobFiles } = await import("./stage.js");
    await writeJobFiles(transport, record.jobDir ?? "", [{ path: JOB_FILE, text: jobFileText(record), mode: 0o600 }]);
  }

  async #watch(job: ResolvedJob, driven: Driven): Promise<Observation> {
    const { record, abort } = driven;
    const watcher = this.#watcher(job, watcherKey(record));
    if (record.cancelling === true) void this.#carryOutCancel(job, driven).catch(() => undefined);
    const ended = new Promise<Observation>((resolve, reject) => {
      driven.ended = resolve;
      abort.signal.addEventListener("abort", () => reject(abort.signal.reason as Error), { once: true });
    });
    watcher.add(record);
    return ended;
  }

  #watcher(job: ResolvedJob, key: string): Watcher {
    const known = this.#watchers.get(key);
    if (known !== undefined) return known;
    const { cluster, scheduler } = job;
    const { lines } = this.#host;
    const watched = () =>
      [...this.#driven.values()].filter((d) => d.ended !== undefined && watcherKey(d.record) === key);
    let told: Transport | undefined;
    let waiting = false;
    const lost = (error: unknown, had: boolean) => {
      for (const driven of watched()) this.#waits(driven, lineWords(cluster, error, had));
      if (waiting) return;
      waiting = true;
      // The watcher's own pace may be slow by now: the line's return is the moment to look.
      lines.whenOpen(cluster).then(
        () => {
          waiting = false;
          watcher.soon();
        },
        () => {
          waiting = false;
        },
      );
    };
    const open = async () => {
      try {
        const asked = watched().some((d) => d.asked);
        const transport = await lines.open(cluster, { interactive: asked });
        for (const driven of watched()) {
          driven.asked = false;
          this.#goesOn(driven);
        }
        if (told !== transport) {
          told = transport;
          void transport.lost.then((reason) => {
            if (told === transport) lost(reason, true);
          });
        }
        return transport;
      } catch (error) {
        if (isOfTheLine(error)) lost(error, false);
        throw error;
      }
    };
    const watcher = new Watcher(
      { cluster, scheduler, open },
      (record) => {
        const driven = this.#driven.get(record.id);
        if (driven !== undefined) this.#changed(driven);
      },
      async (record, observation) => {
        const driven = this.#driven.get(record.id);
        const ended = driven?.ended;
        if (driven !== undefined) delete driven.ended;
        ended?.(observation);
      },
    );
    this.#watchers.set(key, watcher);
    return watcher;
  }

  /** Results to where they were asked for, then the end. */
  async #finish(job: ResolvedJob, driven: Driven, outcome: Outcome): Promise<void> {
    const { record, abort } = driven;
    const { output } = record.spec;
    if (outcome.state === "completed" && output !== undefined) {
      this.#changed(driven, true);
      try {
        await this.#overLine(job, driven, (transport) => this.#host.fetch(transport, record, output, abort.signal));
        record.resultsDir = output;
      } catch (error) {
        abort.signal.throwIfAborted();
        // The job itself is done; what failed can be asked for again.
        outcome.reason = `Done, but the results could not be put into ${output}: ${errorData(error).what}`;
      }
    }
    this.#end(driven, outcome);
  }

  #end(driven: Driven, end: Outcome): void {
    const { record } = driven;
    for (const key of ["submitting", "cancelling", "held", "reason", "expectedStart"] as const) delete record[key];
    Object.assign(record, end);
    record.endedAt ??= new Date().toISOString();
    this.#changed(driven, true);
    this.#driven.delete(record.id);
    this.#host.records.unlock(record.id);
    this.#wake();
  }

  // ---- the line ----------------------------------------------------------------------------------------------------

  /**
   * Does `work` with the line, and again, from what is there by then, as often as the line is lost. The record says what
   * it waits for meanwhile. What would happen again (a refusal, a full disk) is thrown.
   */
  async #overLine<T>(job: ResolvedJob, driven: Driven, work: (transport: Transport) => Promise<T>): Promise<T> {
    const { lines } = this.#host;
    const { signal } = driven.abort;
    for (let failures = 0; ; failures++) {
      let had = false;
      try {
        const { asked } = driven;
        driven.asked = false;
        const transport = await lines.open(job.cluster, { interactive: asked, signal });
        had = true;
        this.#goesOn(driven);
        return await work(transport);
      } catch (error) {
        signal.throwIfAborted();
        if (!isOfTheLine(error)) throw error;
        this.#waits(driven, lineWords(job.cluster, error, had));
        await lines.whenOpen(job.cluster, signal);
        // The line stands and the call failed all the same: a scheduler or file system that does not answer.
        if (failures > 0) await sleep(Math.min(PAUSE * 2 ** failures, 60_000), undefined, { signal });
      }
    }
  }

  async #carryOutCancel(job: ResolvedJob, driven: Driven): Promise<void> {
    const { schedulerId } = driven.record;
    if (schedulerId === undefined) return;
    await this.#overLine(job, driven, (transport) => job.scheduler.cancel(transport, [schedulerId]));
    this.soon(driven.record);
  }

  #waits(driven: Driven, reason: string): void {
    const { record } = driven;
    const said = record.cancelling === true ? `Is cancelled as soon as that is possible. ${reason}` : reason;
    driven.waits = said;
    if (record.reason === said) return;
    record.reason = said;
    this.#changed(driven, true);
  }

  #goesOn(driven: Driven): void {
    const { record, waits } = driven;
    if (waits === undefined) return;
    delete driven.waits;
    if (record.reason !== waits) return;
    delete record.reason;
    this.#changed(driven, true);
  }

  // ---- records -----------------------------------------------------------------------------------------------------

  #find(id: string): JobRecord | undefined {
    const live = this.#driven.get(id)?.record;
    if (live !== undefined) return live;
    try {
      return this.#host.records.get(id);
    } catch (error) {
      if (errorData(error).code === "job_not_found") return undefined;
      throw error;
    }
  }

  /** Tells everyone, and writes the record: at once if its state changed or `now`, else once a second at most. */
  #changed(driven: Driven, now = false): void {
    const { record } = driven;
    const { records, emit } = this.#host;
    if (this.#driven.get(record.id) !== driven) return;
    if (now || record.state !== driven.savedState) {
      clearTimeout(driven.timer);
      delete driven.timer;
      records.save(record);
      driven.saved = Date.now();
      driven.savedState = record.state;
      emit({ type: "job", job: structuredClone(record) });
      this.#wake();
    } else if (driven.timer === undefined) {
      driven.timer = setTimeout(() => {
        delete driven.timer;
        if (Date.now() - driven.saved >= SAVE_INTERVAL) {
          records.save(record);
          driven.saved = Date.now();
        } else record.revision += 1;
        emit({ type: "job", job: structuredClone(record) });
      }, EMIT_INTERVAL);
    }
  }

  #wake(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** The next change of any job; those that other processes drive are looked at every few seconds. */
  #nextChange(signal: AbortSignal): Promise<void> {
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
}

/** Jobs of one watcher: one cluster of one config.yaml. */
function watcherKey(record: JobRecord): string {
  return `${record.spec.cluster}\n${record.spec.config ?? ""}`;
}

/** A function, since a record changes while its driver waits, which the compiler does not see. */
function isCancelling(record: JobRecord): boolean {
  return record.cancelling === true;
}

/** True for what a line that comes back, or a person who logs in, mends. */
function isOfTheLine(error: unknown): boolean {
  return ["connection", "login", "host_key"].includes(errorData(error).code);
}

/** Why a job stands still, in words; `had` says that the line was there. */
function lineWords(cluster: ClusterConfig, error: unknown, had: boolean): string {
  const { code, what } = errorData(error);
  const { name } = cluster;
  const said = what.replace(/\.$/, "");
  if (code === "login" || code === "host_key") return `Login needed (${said}); goes on after \`yale login ${name}\`.`;
  const at = new Date();
  const clock = `${String(at.getHours()).padStart(2, "0")}:${String(at.getMinutes()).padStart(2, "0")}`;
  return had
    ? `The line to ${name} was lost at ${clock} (${said}); goes on when it is back.`
    : `${name} can't be reached since ${clock} (${said}); goes on when it can.`;
}

/** The scheduler ended it before it began, because of the job before it. SLURM then names no user (`CANCELLED`, not `CANCELLED by 1001`). */
function dependencyFailed(record: JobRecord, o: Observation): boolean {
  const { after } = record.spec;
  return (
    o.state === "cancelled" &&
    record.cancelling !== true &&
    o.startedAt === undefined &&
    after?.some((a) => a.condition === "afterok") === true &&
    /^CANCELLED$/i.test(o.raw)
  );
}

function neverItsTurn(reason: string): Outcome {
  const fix = "Retry it when that one has completed, or submit it with `afterany`.";
  return { state: "cancelled", reason, error: { code: "cancelled", what: reason, fix } };
}

/** Path of a job's output folder. */
export function outputDir(record: JobRecord): string {
  return posix.join(record.jobDir ?? "", "output");
}
