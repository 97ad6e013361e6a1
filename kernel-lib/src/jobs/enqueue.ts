/**
 * The first half of a job's way: from its sources into the scheduler's queue. Prepare, upload, wait for the jobs before it
 * and for the site's budget, submit once.
 */
import type { Transport } from "../cluster/transport.js";
import type { DatasetInfo } from "../dataset/index.js";
import { errorData } from "../errors.js";
import type { JobRecord } from "../protocol.js";
import { turnOf } from "./after.js";
import type { SubmissionBudget } from "./budget.js";
import { JOB_FILE, jobFileText } from "./job-file.js";
import { knownCluster } from "./known.js";
import type { Lines } from "./lines.js";
import type { Feed, LiveJob, LiveJobs } from "./live.js";
import { isOfTheLine, overLine, pauseAfter } from "./over-line.js";
import { checkedJob, gpuCount, type JobFile, jobFiles, type ResolvedJob, scriptPlan } from "./plan.js";
import type { PrepareOptions } from "./prepare.js";
import { timesAsked } from "./retry.js";
import { type Submission, submissionToken, submitOnce, withdrawSubmission } from "./submit.js";

/** Somebody cancelled it, and the scheduler will not get it any more. */
export class Cancelled extends Error {}
/** A job before it ended badly. */
export class NeverItsTurn extends Error {}

/** Brings jobs into the queues of their schedulers. */
export class Enqueuer {
  readonly #host: { lines: Lines; budget: SubmissionBudget };
  readonly #jobs: LiveJobs;
  /** By cluster: resolved when the last submission in the row has its answer. */
  readonly #submitting = new Map<string, Promise<void>>();

  constructor(host: { lines: Lines; budget: SubmissionBudget }, jobs: LiveJobs) {
    this.#host = host;
    this.#jobs = jobs;
  }

  /** From the sources to the scheduler; afterwards the record has the scheduler's id. Throws {@link Cancelled} and {@link NeverItsTurn}. */
  async bring(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { record, signal } = live;
    this.#openEarly(job, live);
    if (startsEarly(record)) {
      await this.feed(job, live).first;
      if (record.submitting !== true) await this.#completeByCluster(job, live);
    } else if (record.submitting !== true) await this.#stage(job, live);
    record.schedulerId = await this.#submitInTurn(job, live);
    delete record.submitting;
    // Its pages may have failed while it was submitted.
    void this.#callOff(job, live);
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
    const { ShardsAhead } = await import("./ahead.js");
    const { cluster } = job;
    const { jobDir } = record;
    const early = job.spec.startEarly === true && jobDir !== undefined;
    const { comingPath, EARLY_SHARD_BYTES } = await import("./coming.js");
    const ahead = new ShardsAhead({
      cluster,
      over: async (work) => work(await this.#host.lines.open(cluster, { interactive: false, signal })),
      signal,
      // What an earlier attempt has brought lies there.
      ...(early ? { job: { place: async ({ sha256 }) => comingPath(jobDir, sha256), arrived: () => undefined } } : {}),
    });
    const dataset =
      (await this.#stagedBefore(job, live)) ??
      (job.spec.sources.length === 0
        ? undefined
        : await this.#prepare(job, live, {
            signal,
            onShard: (shard) => ahead.add(shard),
            ...(early ? { shardBytes: EARLY_SHARD_BYTES } : {}),
          }).finally(() => void ahead.end()));
    record.state = "uploading";
    live.changed(true);
    await ahead.end();
    signal.throwIfAborted();
    await this.#completeByCluster(job, live);
    record.jobDir = await overLine(this.#host.lines, job, live, (transport) =>
      stageJob(transport, job, {
        id: record.id,
        ...(dataset === undefined ? {} : { dataset }),
        signal,
        onProgress: (done, total) => live.uploaded(done, total),
      }),
    );
  }

  /** Begins, or takes up again, to bring the pages to a job that does not wait for all of them. */
  feed(job: ResolvedJob, live: LiveJob): Feed {
    const { record } = live;
    const stop = new AbortController();
    const signal = AbortSignal.any([live.signal, stop.signal]);
    let onFirst = () => {};
    const isFirst = new Promise<void>((resolve) => {
      onFirst = resolve;
    });
    const end = import("./feed.js").then((f) =>
      f.feed(job, live, {
        over: (work, signal) => overLine(this.#host.lines, job, live, work, signal),
        signal,
        prepare: (options) => this.#prepare(job, live, options),
        onFirst,
      }),
    );
    const feed: Feed = {
      first: Promise.race([isFirst, end]),
      end,
      stop: async () => {
        stop.abort(new Error("The job has ended."));
        await end.catch(() => undefined);
      },
    };
    feed.first.catch(() => undefined);
    end.catch(async (error: unknown) => {
      if (signal.aborted) return;
      feed.failed = error;
      if (record.schedulerId === undefined && record.submitting !== true) live.abort.abort(error);
      else await this.#callOff(job, live);
    });
    // Which dataset it is, whoever finds the job from another machine must know.
    end.then(() => (record.schedulerId === undefined ? undefined : this.#noteId(job, live))).catch(() => undefined);
    live.feed = feed;
    return feed;
  }

  /** Cancels a job whose pages will not come. Where the line is gone, its runner gives up by itself. */
  async #callOff(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { schedulerId } = live.record;
    if (live.feed?.failed === undefined || schedulerId === undefined) return;
    await overLine(this.#host.lines, job, live, (transport) => job.scheduler.cancel(transport, [schedulerId])).catch(
      () => undefined,
    );
  }

  /**
   * A job for GPUs that was submitted before its cluster was ever asked, as the first one to a new cluster is, has no
   * partition, and SLURM's default one seldom has GPUs: it is held against the rules again now that the line is open.
   */
  async #completeByCluster(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { spec, cluster } = job;
    if (cluster.scheduler !== "slurm" || spec.resources.partition !== undefined || gpuCount(spec) === 0) return;
    if (knownCluster(cluster) === undefined) {
      const { clusterInfo } = await import("./cluster-info.js");
      await overLine(this.#host.lines, job, live, (transport) =>
        // If it can't say, the submission itself will.
        clusterInfo(cluster, transport).catch((error: unknown) => {
          if (isOfTheLine(error)) throw error;
        }),
      );
    }
    const completed = await checkedJob(live.record.spec);
    spec.resources = completed.spec.resources;
    live.record.spec = { ...live.record.spec, resources: spec.resources };
    live.changed(true);
  }

  /**
   * The pages of an earlier attempt, if they are still on the cluster: this one is to work on the very same, also where
   * the source has changed since or lies on another machine.
   */
  async #stagedBefore(job: ResolvedJob, live: LiveJob): Promise<{ hash: string } | undefined> {
    const { dataset, jobDir, attempt } = live.record;
    if (attempt === 1 || dataset === undefined || jobDir === undefined) return undefined;
    const { isStaged } = await import("./stage.js");
    const there = await overLine(this.#host.lines, job, live, (transport) => isStaged(transport, jobDir, dataset.hash));
    return there ? { hash: dataset.hash } : undefined;
  }

  /** Prepares the pages, and tells in the record how far that is. */
  async #prepare(job: ResolvedJob, live: LiveJob, options: PrepareOptions): Promise<DatasetInfo> {
    const { record } = live;
    const { prepare } = await import("./prepare.js");
    const info = await prepare(job.spec, {
      ...options,
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
    return info;
  }

  /** Waits until the jobs before it allow it; returns those that the scheduler is to wait for. */
  async #turn(live: LiveJob): Promise<Dependency[]> {
    const { record, signal } = live;
    for (;;) {
      signal.throwIfAborted();
      const turn = turnOf(record.spec, (id) => this.#jobs.find(id));
      if (turn.turn === "never") throw new NeverItsTurn(turn.reason);
      const held = record.held === true ? "Held: it waits until it is released." : undefined;
      if (turn.turn === "now" && held === undefined) {
        live.goesOn();
        return turn.after;
      }
      record.state = "queued";
      live.waits(held ?? (turn.turn === "wait" ? turn.reason : ""));
      await this.#jobs.nextChange(signal);
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
          if (live.isCancelling()) throw new Cancelled("Cancelled before the scheduler had it.");
          if (live.feed?.failed !== undefined) throw live.feed.failed;
          await budget.refused(job.cluster);
        } else if (later === "silent") {
          // It may have taken the job: `submitting` stands, so it is looked up before anything is sent again.
          live.waits(`${errorData(error).what} It is asked again.`);
          await pauseAfter(silent++, signal);
        } else throw error;
      }
    }
  }

  /** The batch script and what goes with it, for the jobs that the scheduler is to wait for. */
  async #writeScript(job: ResolvedJob, live: LiveJob, after: Dependency[]): Promise<void> {
    const { record } = live;
    const jobDir = record.jobDir ?? "";
    const { unfinishedTasks, writeJobFiles } = await import("./stage.js");
    await overLine(this.#host.lines, job, live, async (transport) => {
      const byPerson = record.earlier?.at(-1)?.automatic === false;
      const tasks = record.attempt > 1 ? await unfinishedTasks(transport, job, jobDir, byPerson) : undefined;
      if (tasks === undefined) delete record.onlyTasks;
      else record.onlyTasks = tasks;
      const plan = scriptPlan(job, record.id, jobDir, record.attempt, after, tasks);
      const files = jobFiles(job, { ...plan, asked: timesAsked(record) });
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
    return overLine(this.#host.lines, job, live, async (transport) => {
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

  /** Writes the scheduler's id, and the dataset, into the job folder, where another machine finds them. */
  async #noteId(job: ResolvedJob, live: LiveJob): Promise<void> {
    const { record } = live;
    const transport = await this.#host.lines.open(job.cluster, { interactive: false });
    const { writeJobFiles } = await import("./stage.js");
    await writeJobFiles(transport, record.jobDir ?? "", [jobFile(record)]);
  }
}

/** Whether pages may still come when it is submitted: at its first attempt; a later one waits for all of them. */
function startsEarly({ spec, attempt, jobDir, coming, submitting }: JobRecord): boolean {
  if (spec.startEarly !== true || attempt > 1 || spec.sources.length === 0 || (spec.shards ?? 1) > 1) return false;
  // Its pages were all there when an earlier core submitted it.
  return coming === true || submitting !== true || jobDir === undefined;
}

function jobFile(record: JobRecord): JobFile {
  return { path: JOB_FILE, text: jobFileText(record), mode: 0o600 };
}

/** A job that the scheduler is to wait for. */
type Dependency = { schedulerId: string; condition: "afterok" | "afterany" };
