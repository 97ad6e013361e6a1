/**
 * The object that notebooks import: sources, jobs, and the way to the core (the agent, or this process).
 *
 * ```ts
 * import { yale } from "yale-jobs";
 * const job = await yale.ocr("scans.pdf").submit();
 * job
 * ```
 */
import { resolve } from "node:path";
import {
  clusterBundle,
  clusterText,
  howToAnswer,
  INSPECT,
  type InspectRequest,
  inKernel,
  inspectHook,
  jobsBundle,
  jobsText,
  shown,
} from "./display/index.js";
import { isYaleError, LoginError, UsageError } from "./errors.js";
import { type BuilderHost, OcrBuilder, RunBuilder } from "./jobs/builder.js";
import { Job } from "./jobs/job.js";
import { attendedCore } from "./jobs/login.js";
import { showLogin } from "./jobs/login-card.js";
import type { ModelCheck } from "./jobs/model-check.js";
import { PageSource, settleSources } from "./jobs/page-source.js";
import type { OcrOptions, RunOptions, SourceInput } from "./jobs/spec.js";
import type { ClusterInfo, Connection, Core, JobFilter, Json, Prompt } from "./protocol.js";
import type { RunnerCard } from "./runners.js";
import type { Source } from "./sources/index.js";

/** How a {@link Yale} reaches the core. */
export interface YaleOptions {
  /** Path of a config.yaml; default: `$YALE_JOBS_CONFIG`, `./config.yaml`, then the user's own. */
  config?: string;
  /** False: the core runs in this process, for scripts and tests. Default true: one agent a user. */
  agent?: boolean;
}

/** Options of a source by name; which there are stands with each source. */
export type SourceOptions = { readonly [name: string]: Json };

/** Jobs, newest first. Ending a cell with it shows a table. */
export class JobList extends Array<Job> {
  /** In a notebook: a table; elsewhere lines of text. */
  [INSPECT](depth: number, options: InspectRequest["options"]): string {
    const records = [...this].map((job) => job.record);
    return inspectHook({ depth, options, text: jobsText(records), bundle: () => jobsBundle(records) });
  }
}

/** Jobs of a sheet that are put together and not sent, in the order of its rows. */
export class JobSheet extends Array<OcrBuilder | RunBuilder> {
  /** Sends them one after another; a site's limit of submissions makes the later ones wait their turn by themselves. */
  async submit(): Promise<JobList> {
    const jobs: Job[] = [];
    for (const builder of this) jobs.push(await builder.submit());
    return JobList.from(jobs) as JobList;
  }
}

/** Everything a notebook or script needs. One ready-made instance is exported as `yale`. */
export class Yale {
  readonly #options: YaleOptions;
  #core: Promise<Core & { close?(): Promise<void> }> | undefined;
  readonly #host: BuilderHost;

  constructor(options: YaleOptions = {}) {
    this.#options = options;
    this.#host = {
      core: () => this.core(),
      settle: (sources) => settleSources(sources),
      finish: async (spec) => {
        const config = await this.configPath();
        return config === undefined ? spec : { ...spec, config };
      },
    };
  }

  /** An OCR job of a source, or of several: path, glob, URL, `yale.pdf(…)` and its siblings, or your own {@link Source}. */
  ocr(source: SourceInput | Source | readonly (SourceInput | Source)[], options: OcrOptions = {}): OcrBuilder {
    return new OcrBuilder(this.#host, Array.isArray(source) ? source : [source], options);
  }

  /** A job that runs a script: the path of a .py, .sh or .mjs file, or its text. */
  run(script: string, options: RunOptions = {}): RunBuilder {
    return new RunBuilder(this.#host, script, options);
  }

  /**
   * Many jobs from a CSV, TSV or Excel file, one a row: a column `source` (or `script`), and any option beside it.
   * `options` hold for rows that say nothing else. Every row is checked here and nothing is sent. Throws UsageError.
   */
  async sheet(path: string, options: OcrOptions = {}): Promise<JobSheet> {
    const { readSheet } = await import("./jobs/sheet.js");
    const builders = (await readSheet(path)).map(({ row, source, script, options: own }) => {
      try {
        if (script !== undefined) {
          const { model: _model, ...common } = options;
          return this.run(script, { ...common, ...own });
        }
        return this.ocr(source === undefined ? [] : [source], { ...options, ...own });
      } catch (error) {
        if (!isYaleError(error)) throw error;
        throw new UsageError(`${path}, row ${row}: ${error.what}`, `${error.fix} Nothing was submitted.`);
      }
    });
    return JobSheet.from(builders) as JobSheet;
  }

  /**
   * Whether a model would run: Python and packages, GPU and driver, weights, free space, looked at by a job of a minute with
   * the environment that a real one would have (`env`, `modules`, `gpus`, `partition` as for a job; a partition for trying
   * things out by itself). Throws UsageError, and what a job throws that can't run.
   */
  async checkModel(model: string, options: RunOptions = {}): Promise<ModelCheck[]> {
    const { checkOptions, findings, modelCard, modelScript } = await import("./jobs/model-check.js");
    const card = modelCard(model);
    const { script, args } = modelScript(card, "check");
    const info = options.cluster === "local" ? undefined : await this.cluster(options.cluster);
    const asked = checkOptions(card, info, options);
    const job = await this.run(script, { ...asked, args, interpreter: "python3" }).submit();
    await job.wait({ bar: false });
    return findings(await job.logText());
  }

  /**
   * A job that fetches a model's weights into the cluster's shared cache (`HF_HOME`), without a GPU: submit it, and let OCR
   * jobs wait for it with `after`. Its token, for gated models, is the one on the cluster. Throws UsageError.
   */
  async downloadModel(model: string, options: RunOptions = {}): Promise<RunBuilder> {
    const { modelCard, modelScript } = await import("./jobs/model-check.js");
    const card = modelCard(model);
    const { script, args } = modelScript(card, "download");
    return this.run(script, {
      name: `download ${card.name}`,
      time: "02:00:00",
      ...options,
      args,
      interpreter: "python3",
    });
  }

  /** Jobs, newest first, from every notebook and terminal of this user. */
  async jobs(filter: JobFilter = {}): Promise<JobList> {
    const core = await this.core();
    return JobList.from((await core.list(filter)).map((record) => new Job(core, record))) as JobList;
  }

  /** One job by id, unique beginning of an id, scheduler id, or name. Throws JobNotFoundError. */
  async job(id: string): Promise<Job> {
    const core = await this.core();
    return new Job(core, await core.get(id));
  }

  /**
   * Finds jobs again that were submitted from another machine, by their folders on the cluster. Resolves with how many
   * there are, how many are new here, and which folders are no jobs of ours, each with why.
   */
  async sync(cluster: string): Promise<{ found: number; added: number; skipped: string[] }> {
    return (await this.core()).sync(cluster, await this.configPath());
  }

  /** PDF files: a path, a glob or a folder. Options: `dpi`, `pages`, `password`, `recursive`, … */
  pdf(location: string, options?: SourceOptions): PageSource {
    return new PageSource("pdf", location, options);
  }
  /** A IIIF manifest or collection: URL or local file. */
  iiif(location: string, options?: SourceOptions): PageSource {
    return new PageSource("iiif", location, options);
  }
  /** Images on the web: a URL, a list of URLs, or a text file or table that lists them. */
  web(location: string | readonly string[], options?: SourceOptions): PageSource {
    if (typeof location === "string") return new PageSource("web", location, options);
    return new PageSource("web", location[0] ?? "", { ...options, urls: [...location] });
  }
  /** A folder of images. */
  directory(location: string, options?: SourceOptions): PageSource {
    return new PageSource("directory", location, options);
  }
  /** A dataset on the Hugging Face Hub, by its id. */
  hf(id: string, options?: SourceOptions): PageSource {
    return new PageSource("hf", id, options);
  }
  /** A local `save_to_disk` folder or Parquet file. */
  dataset(location: string, options?: SourceOptions): PageSource {
    return new PageSource("dataset", location, options);
  }
  /** Any location; its kind is found by content. */
  source(location: string, options?: SourceOptions): PageSource {
    return new PageSource("auto", location, options);
  }

  /** The runners there are, with what each needs and takes. */
  async models(): Promise<readonly RunnerCard[]> {
    return (await import("./runners.js")).readCards();
  }

  /**
   * What a cluster has and allows, asked now: partitions, GPUs free, limits, accounts, storage, submissions of the last
   * hour. Without a name that of config.yaml's default. The last value of a cell shows it as tables. Throws UsageError,
   * SchedulerError, LoginError and ConnectionError.
   */
  async cluster(name: string = ""): Promise<ClusterInfo> {
    const core = await this.core();
    return shown(await core.cluster(name, await this.configPath()), clusterText, clusterBundle);
  }

  /**
   * Opens the line to a cluster. A second factor is asked for wherever somebody is: a terminal with `yale login`, the
   * dialog in JupyterLab, or {@link answer}. In a notebook a card says so. Throws LoginError, HostKeyError and ConnectionError.
   */
  async login(cluster: string): Promise<void> {
    await (await this.core()).login(cluster, await this.configPath());
  }

  /** Closes the line to a cluster; jobs go on, and it stays closed until somebody logs in. */
  async logout(cluster: string): Promise<void> {
    await (await this.core()).logout(cluster);
  }

  /** The lines to clusters: state, since when, and what there is to say. */
  async connections(): Promise<Connection[]> {
    return (await this.core()).connections();
  }

  /** The questions of clusters that stand now. */
  async prompts(): Promise<Prompt[]> {
    return (await this.core()).prompts();
  }

  /**
   * Answers a question of a cluster: a text, one for each field, or null to decline. `prompt` says which where several
   * stand. A notebook runs one cell at a time, so this works while no other cell waits, such as after `submit()`; and
   * passwords and passphrases are refused there, since a cell is saved with what was typed. Throws LoginError if no
   * question stands, UsageError if the answer does not fit.
   */
  async answer(answers: string | readonly string[] | null, prompt?: Prompt): Promise<void> {
    const core = await this.core();
    const standing = await core.prompts();
    const [only] = prompt === undefined ? standing : standing.filter((p) => p.id === prompt.id);
    if (only === undefined)
      throw new LoginError("No cluster asks for anything now.", "`yale.login(cluster)` opens a line.");
    if (prompt === undefined && standing.length > 1)
      throw new UsageError(
        `${standing.length} questions stand: ${standing.map((p) => p.cluster).join(", ")}.`,
        "Say which: `yale.answer(answers, prompt)` with one of `await yale.prompts()`.",
      );
    if (answers !== null && (only.kind === "password" || only.kind === "passphrase") && inKernel())
      throw new UsageError(
        `A ${only.kind} that is typed into a cell would be saved with the notebook.`,
        `Answer with ${howToAnswer(only.cluster)}.`,
      );
    await core.answer(only.id, answers === null ? null : typeof answers === "string" ? [answers] : [...answers]);
  }

  /** The core behind everything: the agent's client, started on demand, or the core in this process. */
  core(): Promise<Core> {
    if (this.#core === undefined) {
      const opening = (this.#options.agent === false ? inline() : viaAgent()).then((core) =>
        attendedCore(core, showLogin),
      );
      opening.catch(() => {
        this.#core = undefined;
      });
      this.#core = opening;
    }
    return this.#core;
  }

  /** Absolute path of the config.yaml in force, or undefined where there is none. Throws ConfigError if it is named but missing. */
  async configPath(): Promise<string | undefined> {
    const { findConfig } = await import("./config/index.js");
    return findConfig(this.#options.config === undefined ? {} : { path: resolve(this.#options.config) });
  }

  /** Closes this process's side: the agent and the jobs go on. */
  async close(): Promise<void> {
    const core = await this.#core?.catch(() => undefined);
    this.#core = undefined;
    await core?.close?.();
  }
}

async function viaAgent(): Promise<Core & { close?(): Promise<void> }> {
  return (await import("./agent/client.js")).connect();
}

async function inline(): Promise<Core & { close(): Promise<void> }> {
  return (await import("./jobs/service.js")).openCore();
}
