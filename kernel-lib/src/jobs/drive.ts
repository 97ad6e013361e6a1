/**
 * Brings a job to its end: into the queue (enqueue.ts), watch, fetch, and once more if that may help. Every step looks at
 * what is there already, so a job is taken up anywhere: after a lost line by the same core, after a killed core by the next
 * one that finds its record.
 */
import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Transport } from "../cluster/transport.js";
import { errorData } from "../errors.js";
import type { AgentEvent, JobRecord, Resources } from "../protocol.js";
import type { Observation } from "../schedulers/index.js";
import type { SubmissionBudget } from "./budget.js";
import { Cancelled, Enqueuer, NeverItsTurn } from "./enqueue.js";
import type { Lines } from "./lines.js";
import { type LiveJob, LiveJobs } from "./live.js";
import { endOf, type Outcome } from "./outcome.js";
import { isOfTheLine, lineWords, overLine } from "./over-line.js";
import { type ResolvedJob, resolveJob, scriptPlan, submittedJob } from "./plan.js";
import { isActive, type JobRecords } from "./records.js";
import { beginAttempt, decideRetry } from "./retry.js";
import { Watching } from "./watching.js";

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
  /** Folder with a job's results on this machine, fetched if need be. */
  results: (transport: Transport, record: JobRecord, signal: AbortSignal) => Promise<string>;
}

/** Why driving a job stopped: its core closes and another will go on. */
class CoreClosed extends Error {}

/** Drives the jobs of one core. */
export class Driver {
  /** The jobs that it drives now. */
  readonly jobs: LiveJobs;
  readonly #host: DriverHost;
  readonly #watching: Watching;
  readonly #enqueuer: Enqueuer;

  constructor(host: DriverHost) {
    this.#host = host;
    this.jobs = new LiveJobs(host.records, host.emit);
    this.#watching = new Watching(host.lines, this.jobs);
    this.#enqueuer = new Enqueuer(host, this.jobs);
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
    this.#bring(live).catch(async (error: unknown) => {
      const cause = live.signal.aborted ? (live.signal.reason as unknown) : error;
      if (cause instanceof CoreClosed) return;
      // No pages come to a job that has ended, and none to the next attempt in its folder.
      await live.feed?.stop();
      if (cause instanceof Cancelled) live.end({ state: "cancelled", reason: cause.message });
      else if (cause instanceof NeverItsTurn) live.end(neverItsTurn(cause.message));
      else live.end({ state: "failed", error: errorData(cause) });
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
      if (record.schedulerId === undefined) await this.#enqueuer.bring(job, live);
      else if (record.coming === true) this.#enqueuer.feed(job, live);
      const observation = await this.#watchUntilEnd(job, live);
      signal.throwIfAborted();
      const outcome = endOf(record, observation);
      await this.#fed(job, live, outcome);
      const again = await this.#again(job, live, outcome, observation);
      // Also who cancelled while that was found out wants no other attempt.
      if (again === undefined || live.isCancelling()) return this.#finish(job, live, outcome);
      beginAttempt(record, outcome.state, { automatic: true, resources: again });
      live.changed(true);
    }
  }

  /** Ends what still brings pages to it. Throws what that failed of, if the job then ended because of it. */
  async #fed(job: ResolvedJob, live: LiveJob, outcome: Outcome): Promise<void> {
    const { feed, record } = live;
    const completed = outcome.state === "completed";
    if (feed !== undefined) {
      // One that is done with all pages has them; there only the last words are still to be said.
      await (completed ? feed.end.catch(() => undefined) : feed.stop());
      live.feed = undefined;
      delete record.coming;
      if (!completed && feed.failed !== undefined) throw feed.failed;
    }
    if (!completed || record.spec.startEarly !== true) return;
    const { clearComing } = await import("./coming.js");
    // Whoever ran on it is done. Where the line is gone, a little stays.
    await this.#host.lines
      .open(job.cluster, { interactive: false })
      .then((transport) => clearComing(transport, record.jobDir ?? ""))
      .catch(() => undefined);
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
    const answer = await overLine(this.#host.lines, job, live, async (transport) =>
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

  async #watchUntilEnd(job: ResolvedJob, live: LiveJob): Promise<Observation> {
    if (live.isCancelling()) void this.#carryOutCancel(job, live).catch(() => undefined);
    return this.#watching.until(job, live);
  }

  /** Results to where they were asked for, then the end. */
  async #finish(job: ResolvedJob, live: LiveJob, outcome: Outcome): Promise<void> {
    const { record, signal } = live;
    const { output } = record.spec;
    // The job itself is done; what failed of this can be asked for again.
    const failed: string[] = [];
    if (outcome.state === "completed" && output !== undefined) {
      live.changed(true);
      try {
        await overLine(this.#host.lines, job, live, (transport) => this.#host.fetch(transport, record, output, signal));
        record.resultsDir = output;
      } catch (error) {
        signal.throwIfAborted();
        failed.push(`Done, but the results could not be put into ${output}: ${errorData(error).what}`);
      }
    }
    const { pushToHub } = record.spec;
    if (outcome.state === "completed" && pushToHub !== undefined) {
      live.changed(true);
      try {
        const folder = await overLine(this.#host.lines, job, live, (transport) =>
          this.#host.results(transport, record, signal),
        );
        const { Results } = await import("./results.js");
        const results = await Results.open(folder, { record, shown: false });
        record.pushedTo = (await results.pushToHub(pushToHub)).url;
      } catch (error) {
        signal.throwIfAborted();
        failed.push(
          `Done, but the results could not be pushed to ${pushToHub}: ${errorData(error).what} Push them with \`yale jobs push ${record.id} ${pushToHub}\`.`,
        );
      }
    }
    if (failed.length > 0) outcome.reason = failed.join(" ");
    live.end(outcome);
  }

  async #carryOutCancel(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { schedulerId } = live.record;
    if (schedulerId === undefined) return;
    await overLine(this.#host.lines, job, live, (transport) => job.scheduler.cancel(transport, [schedulerId]));
    this.soon(live.record);
  }
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
