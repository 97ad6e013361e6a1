/**
 * The other two faces of the same core, for those who know the Python original: functions {@link runJob} and
 * {@link runOcrJob}, and the class {@link YaleJobs}.
 */
import { UsageError } from "./errors.js";
import type { Job } from "./jobs/job.js";
import type { OcrOptions, RunOptions, SourceInput } from "./jobs/spec.js";
import { Yale, type YaleOptions } from "./yale.js";

/** Options of {@link runJob}. */
export interface RunJobOptions extends RunOptions {
  /** Path of a script, or its text. */
  script: string;
  /** Wait for the end. Default false. */
  wait?: boolean;
  /** Path of a config.yaml. */
  config?: string;
}

/** Options of {@link runOcrJob}. */
export interface RunOcrJobOptions extends OcrOptions {
  wait?: boolean;
  config?: string;
}

/** Submits a script as a job. Throws UsageError for wrong options, before anything is sent. */
export async function runJob(options: RunJobOptions): Promise<Job> {
  const { script, wait, config, ...rest } = options;
  return using(config, async (yale) => finish(await yale.run(script, rest).submit(), wait));
}

/** Recognises the pages of `source` and puts the results into the local folder `output`. */
export async function runOcrJob(
  source: SourceInput | readonly SourceInput[],
  output: string,
  options: RunOcrJobOptions = {},
): Promise<Job> {
  const { wait, config, ...rest } = options;
  return using(config, async (yale) => finish(await yale.ocr(source, { ...rest, output }).submit(), wait));
}

async function using(config: string | undefined, work: (yale: Yale) => Promise<Job>): Promise<Job> {
  return work(new Yale(config === undefined ? {} : { config }));
}

async function finish(job: Job, wait: boolean | undefined): Promise<Job> {
  return wait === true ? job.wait() : job;
}

/**
 * The object-oriented form: connect, submit, ask, close. {@link YaleJobs.use} always closes.
 *
 * ```ts
 * await YaleJobs.use({}, async (jobs) => {
 *   const job = await jobs.submitJob({ source: "scans.pdf" });
 *   return jobs.getJobStatus(job.id);
 * });
 * ```
 */
export class YaleJobs {
  readonly #yale: Yale;

  constructor(options: YaleOptions = {}) {
    this.#yale = new Yale(options);
  }

  /** Runs `work` with a connected instance and closes it, whatever happens. */
  static async use<T>(options: YaleOptions, work: (jobs: YaleJobs) => Promise<T>): Promise<T> {
    const jobs = new YaleJobs(options);
    try {
      await jobs.connect();
      return await work(jobs);
    } finally {
      await jobs.close();
    }
  }

  /** Reaches the core; with a cluster, opens the line to it too. */
  async connect(cluster?: string): Promise<this> {
    await this.#yale.core();
    if (cluster !== undefined) await this.#yale.login(cluster);
    return this;
  }

  /** Submits a script (`script`) or an OCR job (`source`). */
  async submitJob(
    options: (RunOptions & { script: string }) | (OcrOptions & { source: SourceInput | readonly SourceInput[] }),
  ): Promise<Job> {
    if ("script" in options) {
      const { script, ...rest } = options;
      return this.#yale.run(script, rest).submit();
    }
    if ("source" in options) {
      const { source, ...rest } = options;
      return this.#yale.ocr(source, rest).submit();
    }
    throw new UsageError("submitJob: neither `script` nor `source` was given.", "Give one of them.");
  }

  /** The job as it is now. Throws JobNotFoundError. */
  async getJobStatus(id: string): Promise<Job> {
    return this.#yale.job(id);
  }

  /** Closes this side; jobs go on. */
  async close(): Promise<void> {
    await this.#yale.close();
  }

  /** For `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
