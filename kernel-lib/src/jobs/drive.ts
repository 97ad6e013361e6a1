/**
 * Brings a job to its end: prepare, upload, wait for its turn, submit, watch, fetch, and once more if that may help.
 * Every step looks at what is there already, so a job is taken up anywhere: after a lost line by the same core, after a
 * killed core by the next one that finds its record.
 */
import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Transport } from "../cluster/transport.js";
import { errorData } from "../errors.js";
import type { AgentEvent, JobRecord, Resources } from "../protocol.js";
import type { Observation } from "../schedulers/index.js";
import { turnOf } from "./after.js";
import type { SubmissionBudget } from "./budget.js";
import { JOB_FILE, jobFileText } from "./job-file.js";
import type { Lines } from "./lines.js";
import { type LiveJob, LiveJobs } from "./live.js";
import { endOf, type Outcome } from "./outcome.js";
import { type JobFile, jobFiles, type ResolvedJob, resolveJob, scriptPlan, submittedJob } from "./plan.js";
import { isActive, type JobRecords } from "./records.js";
import { beginAttempt, decideRetry } from "./retry.js";
import { type Submission, submissionToken, submitOnce, withdrawSubmission } from "./submit.js";
import { isOfTheLine, lineWords, Watching } from "./watching.js";

/** Milliseconds before another try where the far side does not answer though the line stands; doubled up to a minute. */
const PAUSE = 1000;
const LONGEST_PAUSE = 60_000;
/** Milliseconds between two looks at a config.yaml that can't be read. */
const CONFIG_PAUSE = 10_000;

/** What a driver works with. */
export interface DriverHost {
  records: JobRecords;
  lines: Lines;
  budget: SubmissionBudget;
  emit: (event: AgentEvent) => void;
  /** Copies a job's output into a local folder. */
  fetch: (transport: Transport, record: JobRecord, folder: string, signal: AbortSignal) => Promise<void>;
}

/** Why driving a job stopped: its core closes and another will go on. */
class CoreClosed extends Error {}
/** Somebody cancelled it, and the scheduler will not get it any more. */
class Cancelled extends Error {}
/** A job before it ended badly. */
class NeverItsTurn extends Error {}

/** Drives the jobs of one core. */
export class Driver {
  /** The jobs that it drives now. */
  readonly jobs: LiveJobs;
  readonly #host: DriverHost;
  readonly #watching: Watching;
  /** By cluster: resolved when the last submission in the row has its answer. */
  readonly #submitting = new Map<string, Promise<void>>();

  constructor(host: DriverHost) {
    this.#host = host;
    this.jobs = new LiveJobs(host.records, host.emit);
    this.#watching = new Watching(host.lines, this.jobs);
  }

  /** Drives every active job that no living core drives. */
  adopt(): void {
    for (const record of this.#host.records.list())
      if (isActive(record)) this.drive(structuredClone(record), { asked: false });
  }

  /**
   * Takes a job up, wherever its record says it is, unless another process has it. `asked` says that a person wants it
   * now, and may be asked to log in.
   */
  drive(record: JobRecord, options: { asked: boolean }): void {
    const live = this.jobs.take(record, options.asked);
    if (live === undefined) return;
    this.#bring(live).catch((error: unknown) => {
      const cause = live.signal.aborted ? (live.signal.reason as unknown) : error;
      if (cause instanceof CoreClosed) return;
      if (cause instanceof Cancelled) live.end({ state: "cancelled", reason: cause.message });
      else if (cause instanceof NeverItsTurn) live.end(neverItsTurn(cause.message));
      else live.end({ state: "failed", error: errorData(error) });
    });
  }

  /** Looks at a job at once: somebody cancelled, held or released it. */
  soon(record: JobRecord): void {
    this.#watching.soon(record);
  }

  /**
   * Cancels a driven job. Before the scheduler has it, that is its end; later the wish stands in the record, and is
   * carried out as soon as the line is there. Throws SchedulerError if the scheduler can be asked and refuses.
   */
  async cancel(live: LiveJob): Promise<void> {
    const { record } = live;
    if (record.schedulerId === undefined && record.submitting !== true) {
      live.abort.abort(new Cancelled("Cancelled before it was submitted."));
      return;
    }
    record.cancelling = true;
    live.asked = true;
    live.changed(true);
    // What is being submitted is cancelled by the submission itself, as soon as it knows the id.
    if (record.schedulerId === undefined) return;
    const job = await submittedJob(record.spec);
    try {
      const transport = await this.#host.lines.open(job.cluster, { interactive: false });
      await job.scheduler.cancel(transport, [record.schedulerId]);
      this.soon(record);
    } catch (error) {
      if (!isOfTheLine(error)) throw error;
      live.waits(lineWords(job.cluster, error, false));
      void this.#carryOutCancel(job, live).catch(() => undefined);
    }
  }

  /** Stops driving; the jobs go on. */
  close(): void {
    this.#watching.close();
    this.jobs.close(new CoreClosed());
  }

  // ---- the way of a job --------------------------------------------------------------------------------------------

  async #bring(live: LiveJob): Promise<void> {
    const { record, signal } = live;
    for (;;) {
      const job = await this.#resolve(live);
      if (record.schedulerId === undefined) await this.#toTheScheduler(job, live);
      const observation = await this.#watchUntilEnd(job, live);
      signal.throwIfAborted();
      const outcome = endOf(record, observation);
      const again = await this.#again(job, live, outcome, observation);
      // Also who cancelled while that was found out wants no other attempt.
      if (again === undefined || live.isCancelling()) return this.#finish(job, live, outcome);
      beginAttempt(record, outcome.state, { automatic: true, resources: again });
      live.changed(true);
    }
  }

  /** Whether it is run again by itself: with which changes of what it asks for, or undefined for no. Says so in a note. */
  async #again(
    job: ResolvedJob,
    live: LiveJob,
    outcome: Outcome,
    observation: Observation,
  ): Promise<Partial<Resources> | undefined> {
    const { record } = live;
    if (live.isCancelling()) return undefined;
    if (dependencyFailed(record, observation)) {
      // The job before it may be run again by itself: then this one waits for it again.
      live.note(`Attempt ${record.attempt} was not started, because the job before it did not complete.`);
      return {};
    }
    const retry = decideRetry(record, outcome);
    if (!retry.again || retry.resources === undefined) {
      if (retry.note !== undefined) live.note(retry.note);
      return retry.again ? {} : undefined;
    }
    // How much a node has differs by partition and site; the scheduler knows.
    const { resources } = retry;
    const refusal = await this.#refusal(job, live, resources);
    live.note(refusal === undefined ? retry.note : `More memory (${resources.memory}) would be refused: ${refusal}`);
    return refusal === undefined ? resources : undefined;
  }

  /** What the scheduler would say to the job with other resources; undefined if it would take it. */
  async #refusal(job: ResolvedJob, live: LiveJob, resources: Partial<Resources>): Promise<string | undefined> {
    const { record } = live;
    const spec = { ...record.spec, resources: { ...record.spec.resources, ...resources } };
    const resolved = await resolveJob(spec);
    const script = job.scheduler.script(scriptPlan(resolved, record.id, record.jobDir ?? "", record.attempt + 1, []));
    const answer = await this.#overLine(job, live, async (transport) =>
      // If it can't say, the submission itself will.
      job.scheduler.test(transport, script).catch((error: unknown) => {
        if (isOfTheLine(error)) throw error;
        return {};
      }),
    );
    return "refusal" in answer ? answer.refusal : undefined;
  }

  /** What a specification means here. Of a job that the scheduler may have, a broken config.yaml is not the end. */
  async #resolve(live: LiveJob): Promise<ResolvedJob> {
    const { record, signal } = live;
    if (record.schedulerId === undefined && record.submitting !== true) return resolveJob(record.spec);
    for (;;) {
      try {
        const job = await submittedJob(record.spec);
        live.goesOn();
        return job;
      } catch (error) {
        live.waits(`It can't be watched: ${errorData(error).what}`);
        await sleep(CONFIG_PAUSE, undefined, { signal });
      }
    }
  }

  async #toTheScheduler(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { record, signal } = live;
    this.#openEarly(job, live);
    if (record.submitting !== true) await this.#stage(job, live);
    record.schedulerId = await this.#submitInTurn(job, live);
    delete record.submitting;
    record.submittedAt = new Date().toISOString();
    record.state = "queued";
    delete record.reason;
    live.changed(true);
    await this.#noteId(job, live).catch((error: unknown) => {
      signal.throwIfAborted();
      // The scheduler has it: what job.json lacks, `yale jobs sync` asks the scheduler for.
      if (!isOfTheLine(error)) live.note(`job.json: ${errorData(error).what}`);
    });
  }

  /** The person who asked for the job is here now, and may be gone when its pages are prepared. */
  #openEarly(job: ResolvedJob, live: LiveJob): void {
    if (!live.asked) return;
    live.asked = false;
    void this.#host.lines.open(job.cluster, { signal: live.signal }).catch(() => undefined);
  }

  /** Pages, runner and job folder to the cluster. */
  async #stage(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { record, signal } = live;
    const { stageJob } = await import("./stage.js");
    const dataset = (await this.#stagedBefore(job, live)) ?? (await this.#prepare(job, live));
    record.state = "uploading";
    live.changed(true);
    record.jobDir = await this.#overLine(job, live, (transport) =>
      stageJob(transport, job, {
        id: record.id,
        ...(dataset === undefined ? {} : { dataset }),
        signal,
        onProgress: (done, total) => {
          record.progress = { ...record.progress, uploadedBytes: done, uploadTotalBytes: total };
          live.changed();
        },
      }),
    );
  }

  /**
   * The pages of an earlier attempt, if they are still on the cluster: this one is to work on the very same, also where
   * the source has changed since or lies on another machine.
   */
  async #stagedBefore(job: ResolvedJob, live: LiveJob): Promise<{ hash: string } | undefined> {
    const { dataset, jobDir, attempt } = live.record;
    if (attempt === 1 || dataset === undefined || jobDir === undefined) return undefined;
    const { isStaged } = await import("./stage.js");
    const there = await this.#overLine(job, live, (transport) => isStaged(transport, jobDir, dataset.hash));
    return there ? { hash: dataset.hash } : undefined;
  }

  async #prepare(job: ResolvedJob, live: LiveJob): Promise<{ folder: string; hash: string } | undefined> {
    const { record, signal } = live;
    if (job.spec.sources.length === 0) return undefined;
    const { prepare } = await import("./prepare.js");
    const info = await prepare(job.spec, {
      signal,
      onProgress: (prepared, total, faults) => {
        record.progress = { ...record.progress, prepared, ...(total === undefined ? {} : { preparedTotal: total }) };
        record.faults = faults.slice(0, 1000);
        record.faultCount = faults.length;
        live.changed();
      },
    }).finally(() => live.changed());
    record.dataset = { hash: info.hash, pages: info.pages, bytes: info.bytes };
    record.faults = info.faults;
    record.faultCount = info.faultCount;
    record.progress = { ...record.progress, prepared: info.pages, total: info.pages };
    return { folder: info.folder, hash: info.hash };
  }

  /** Waits until the jobs before it allow it; returns those that the scheduler is to wait for. */
  async #turn(live: LiveJob): Promise<Dependency[]> {
    const { record, signal } = live;
    for (;;) {
      signal.throwIfAborted();
      const turn = turnOf(record.spec, (id) => this.jobs.find(id));
      if (turn.turn === "never") throw new NeverItsTurn(turn.reason);
      const held = record.held === true ? "Held: it waits until it is released." : undefined;
      if (turn.turn === "now" && held === undefined) {
        live.goesOn();
        return turn.after;
      }
      record.state = "queued";
      live.waits(held ?? (turn.turn === "wait" ? turn.reason : ""));
      await this.jobs.nextChange(signal);
    }
  }

  /** Submits when it may: after the jobs before it, within the site's budget, and when the scheduler takes it. */
  async #submitInTurn(job: ResolvedJob, live: LiveJob): Promise<string> {
    const { record, signal } = live;
    const { budget } = this.#host;
    for (let silent = 0; ; ) {
      if (record.submitting !== true) {
        await this.#turn(live);
        await budget.turn(job.cluster, {
          signal,
          onWait: (_, reason) => {
            record.state = "queued";
            live.waits(reason);
          },
        });
        await this.#writeScript(job, live, await this.#turn(live));
      }
      try {
        const id = await this.#alone(job, live, () => this.#submit(job, live, silent > 0));
        if (id !== undefined) return id;
      } catch (error) {
        signal.throwIfAborted();
        const { later } = error as { later?: "limit" | "silent" };
        if (later === "limit") {
          // Nothing was taken. When the next try may be made, and that it waits, the budget says.
          delete record.submitting;
          await budget.refused(job.cluster);
        } else if (later === "silent") {
          // It may have taken the job: `submitting` stands, so it is looked up before anything is sent again.
          live.waits(`${errorData(error).what} It is asked again.`);
          await sleep(Math.min(PAUSE * 2 ** silent++, LONGEST_PAUSE), undefined, { signal });
        } else throw error;
      }
    }
  }

  /** The batch script and what goes with it, for the jobs that the scheduler is to wait for. */
  async #writeScript(job: ResolvedJob, live: LiveJob, after: Dependency[]): Promise<void> {
    const { record } = live;
    const jobDir = record.jobDir ?? "";
    const { unfinishedTasks, writeJobFiles } = await import("./stage.js");
    await this.#overLine(job, live, async (transport) => {
      const tasks = record.attempt > 1 ? await unfinishedTasks(transport, job, jobDir) : undefined;
      if (tasks === undefined) delete record.onlyTasks;
      else record.onlyTasks = tasks;
      const files = jobFiles(job, scriptPlan(job, record.id, jobDir, record.attempt, after, tasks));
      await writeJobFiles(transport, jobDir, [...files, jobFile(record)]);
    });
  }

  /**
   * One submission at a time to each cluster: of hundreds that are ready when a line is cut, one is in doubt and must be
   * looked up, and the rest were surely not sent.
   */
  async #alone<T>(job: ResolvedJob, live: LiveJob, work: () => Promise<T>): Promise<T> {
    const key = `${job.cluster.name}\n${job.spec.config ?? ""}`;
    const before = this.#submitting.get(key) ?? Promise.resolve();
    let done = () => {};
    const mine = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#submitting.set(
      key,
      before.then(() => mine),
    );
    try {
      const aborted = new Promise<never>((_, reject) => {
        live.signal.addEventListener("abort", () => reject(live.signal.reason as Error), { once: true });
      });
      aborted.catch(() => undefined);
      await Promise.race([before, aborted]);
      live.signal.throwIfAborted();
      return await work();
    } finally {
      done();
    }
  }

  /**
   * Submits exactly once; undefined, and nothing sent, if it was held while it stood in the row or waited for the line.
   * Throws Cancelled if it was cancelled and will not be submitted any more.
   */
  async #submit(job: ResolvedJob, live: LiveJob, silent: boolean): Promise<string | undefined> {
    const { record, signal } = live;
    const submission = (transport: Transport): Submission => ({
      transport,
      scheduler: job.scheduler,
      jobDir: record.jobDir ?? "",
      attempt: record.attempt,
      token: submissionToken(record.id, record.attempt),
      since: record.createdAt,
      begun: record.submitting === true,
      silent,
      signal,
      onWait: (reason) => live.waits(reason),
    });
    return this.#overLine(job, live, async (transport) => {
      const s = submission(transport);
      if (live.isCancelling()) {
        const id = await withdrawSubmission(s);
        if (id === undefined) throw new Cancelled("Cancelled before the scheduler had it.");
        await job.scheduler.cancel(transport, [id]);
        return id;
      }
      signal.throwIfAborted();
      if (live.isHeld() && record.submitting !== true) return undefined;
      // From here on a lost answer means that it may have been submitted.
      record.submitting = true;
      live.changed(true);
      const id = await submitOnce(s);
      live.goesOn();
      // Somebody cancelled or held it while the scheduler was asked.
      if (live.isCancelling()) await job.scheduler.cancel(transport, [id]);
      else if (live.isHeld())
        await job.scheduler.hold(transport, [id]).catch((error: unknown) => {
          live.note(`It could not be held: ${errorData(error).what}`);
        });
      return id;
    });
  }

  /** Writes the scheduler's id into the job folder, where another machine finds it. */
  async #noteId(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { record } = live;
    const transport = await this.#host.lines.open(job.cluster, { interactive: false });
    const { writeJobFiles } = await import("./stage.js");
    await writeJobFiles(transport, record.jobDir ?? "", [jobFile(record)]);
  }

  async #watchUntilEnd(job: ResolvedJob, live: LiveJob): Promise<Observation> {
    if (live.isCancelling()) void this.#carryOutCancel(job, live).catch(() => undefined);
    return this.#watching.until(job, live);
  }

  /** Results to where they were asked for, then the end. */
  async #finish(job: ResolvedJob, live: LiveJob, outcome: Outcome): Promise<void> {
    const { record, signal } = live;
    const { output } = record.spec;
    if (outcome.state === "completed" && output !== undefined) {
      live.changed(true);
      try {
        await this.#overLine(job, live, (transport) => this.#host.fetch(transport, record, output, signal));
        record.resultsDir = output;
      } catch (error) {
        signal.throwIfAborted();
        // The job itself is done; what failed can be asked for again.
        outcome.reason = `Done, but the results could not be put into ${output}: ${errorData(error).what}`;
      }
    }
    live.end(outcome);
  }

  // ---- the line ----------------------------------------------------------------------------------------------------

  /**
   * Does `work` with the line, and again, from what is there by then, as often as the line is lost. The record says what
   * it waits for meanwhile. What would happen again (a refusal, a full disk) is thrown.
   */
  async #overLine<T>(job: ResolvedJob, live: LiveJob, work: (transport: Transport) => Promise<T>): Promise<T> {
    const { lines } = this.#host;
    const { signal } = live;
    for (let failures = 0; ; ) {
      let transport: Transport | undefined;
      try {
        const { asked } = live;
        live.asked = false;
        transport = await lines.open(job.cluster, { interactive: asked, signal });
        live.goesOn();
        return await work(transport);
      } catch (error) {
        signal.throwIfAborted();
        if (!isOfTheLine(error)) throw error;
        live.waits(lineWords(job.cluster, error, transport !== undefined));
        const next = await lines.whenOpen(job.cluster, signal);
        // The line stands and the call failed all the same: something beyond it does not answer.
        failures = next === transport ? failures + 1 : 0;
        if (failures > 0) await sleep(Math.min(PAUSE * 2 ** failures, LONGEST_PAUSE), undefined, { signal });
      }
    }
  }

  async #carryOutCancel(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { schedulerId } = live.record;
    if (schedulerId === undefined) return;
    await this.#overLine(job, live, (transport) => job.scheduler.cancel(transport, [schedulerId]));
    this.soon(live.record);
  }
}

function jobFile(record: JobRecord): JobFile {
  return { path: JOB_FILE, text: jobFileText(record), mode: 0o600 };
}

/** A job that the scheduler is to wait for. */
type Dependency = { schedulerId: string; condition: "afterok" | "afterany" };

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
