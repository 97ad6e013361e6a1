/**
 * Fluent, immutable, typed builders: each call returns a new builder, checks its value at once, and sends nothing.
 *
 * ```ts
 * const job = await yale.ocr("scans.pdf").gpus("a100:1").time("02:00:00").submit();
 * ```
 */
import { estimateBundle, estimateText, shown } from "../display/index.js";
import type { Core, Estimate, JobSpec, Json, Plan } from "../protocol.js";
import { newJobId } from "../protocol.js";
import { Job } from "./job.js";
import {
  type AfterJob,
  type EarlierJob,
  type GpuSpec,
  isEarlierJob,
  type JobOptions,
  type OcrOptions,
  ocrSpec,
  type PromptMode,
  type RunOptions,
  runSpec,
  type SourceInput,
} from "./spec.js";

/** How a builder reaches the core, and how sources that exist only in this process become a dataset first. */
export interface BuilderHost {
  core(): Promise<Core>;
  /** Turns the caller's own {@link Source} objects into specifications that another process can read. */
  settle(sources: readonly unknown[]): Promise<SourceInput[]>;
  /** Adds what only this process knows: the config.yaml in force here. */
  finish(spec: JobSpec): Promise<JobSpec>;
}

/** What OCR and script jobs have in common. */
abstract class JobBuilder<O extends JobOptions> {
  protected readonly host: BuilderHost;
  protected readonly options: O;

  protected constructor(host: BuilderHost, options: O) {
    this.host = host;
    this.options = options;
  }

  /** The specification as data: what `submit` would send. Throws UsageError. */
  abstract spec(): JobSpec;
  protected abstract with(options: JobOptions): this;
  protected abstract settled(): Promise<JobSpec>;

  /** The cluster to run on: `local` or one of config.yaml. */
  on(cluster: string): this {
    return this.with({ cluster });
  }
  /** Name for people and for the scheduler. */
  name(name: string): this {
    return this.with({ name });
  }
  /** GPUs as SLURM writes them: `"a100:1"`, `"h200"`, `2`. */
  gpus(gpus: GpuSpec): this {
    return this.with({ gpus });
  }
  /** CPUs per task. */
  cpus(cpus: number): this {
    return this.with({ cpus });
  }
  /** Memory with its unit: `"32G"`. */
  memory(memory: string): this {
    return this.with({ memory });
  }
  /** Time limit: `"02:00:00"` or `"1-00:00:00"`; a bare number is refused. */
  time(time: string): this {
    return this.with({ time });
  }
  /** SLURM partition. */
  partition(partition: string): this {
    return this.with({ partition });
  }
  /** Number of nodes. */
  nodes(nodes: number): this {
    return this.with({ nodes });
  }
  /** SLURM account that is charged. */
  account(account: string): this {
    return this.with({ account });
  }
  /** SLURM quality of service. */
  qos(qos: string): this {
    return this.with({ qos });
  }
  /** Features the node must have. */
  constraint(constraint: string): this {
    return this.with({ constraint });
  }
  /** Further `#SBATCH` lines, as they are. */
  extra(...lines: string[]): this {
    return this.with({ extra: [...(this.options.extra ?? []), ...lines] });
  }
  /** Mail of the scheduler at `type` (SLURM's words, default `END,FAIL`). */
  mail(user: string, type?: string): this {
    return this.with({ mail: type === undefined ? { user } : { user, type } });
  }
  /** Conda environment by name. */
  env(env: string): this {
    return this.with({ env });
  }
  /** `module load` lines. */
  modules(...modules: string[]): this {
    return this.with({ modules });
  }
  /** Environment variables for the job, added to those already given. They stand in job.sh: no secrets. */
  variables(variables: Readonly<Record<string, string>>): this {
    return this.with({ variables: { ...this.options.variables, ...variables } });
  }
  /** At most so many pages. */
  maxSamples(maxSamples: number): this {
    return this.with({ maxSamples });
  }
  /** A dataset folder that is on the cluster already, instead of a source. */
  datasetPath(datasetPath: string): this {
    return this.with({ datasetPath });
  }
  /** Local folder that the results are put into when the job is done. */
  output(output: string): this {
    return this.with({ output });
  }
  /** A label to find the job by. */
  label(name: string, value: string): this {
    return this.with({ labels: { ...this.options.labels, [name]: value } });
  }
  /** Split the pages over so many array tasks; results come back as one. */
  shards(shards: number): this {
    return this.with({ shards });
  }
  /** Start after another job: only if it completed (`afterok`, the default), or whatever its end (`afterany`). */
  after(job: AfterJob | readonly AfterJob[], condition: "afterok" | "afterany" = "afterok"): this {
    return this.with({ after: job, afterCondition: condition });
  }
  /** How often it may be run again by itself after a failure that may pass (a lost node, too little memory); 0 for never. */
  retries(retries: number): this {
    return this.with({ retries });
  }

  /** Everything that would be sent, and nothing sent. */
  async plan(): Promise<Plan> {
    return (await this.host.core()).plan(await this.settled());
  }

  /**
   * What it will take: pages, time, GPU hours, when it would start, what it would cost on Hugging Face Jobs, and advice.
   * Nothing is sent to the queue. The last value of a cell shows it as a table.
   */
  async estimate(): Promise<Estimate> {
    return shown(await (await this.host.core()).estimate(await this.settled()), estimateText, estimateBundle);
  }

  /** Sends the job and returns its handle; the pages are prepared and uploaded meanwhile. */
  async submit(): Promise<Job> {
    const [core, spec] = [await this.host.core(), await this.settled()];
    return new Job(core, await core.submit(spec, newJobId()));
  }
}

/** An OCR job being put together. Made by `yale.ocr(source)`. */
export class OcrBuilder extends JobBuilder<OcrOptions> {
  readonly #sources: readonly unknown[];

  constructor(host: BuilderHost, sources: readonly unknown[], options: OcrOptions = {}) {
    super(host, options);
    this.#sources = sources;
    // Checked at the call: making the specification throws for anything that is not allowed.
    this.spec();
  }

  /** The same with more options; earlier ones stay. */
  protected override with(options: Partial<OcrOptions>): this {
    return new OcrBuilder(this.host, this.#sources, { ...this.options, ...options }) as this;
  }

  /** The specification as data: what `submit` would send. Throws UsageError. */
  override spec(): JobSpec {
    return ocrSpec(this.#sources.map(asInput), this.options);
  }

  /** The specification, with the caller's own sources in a form that another process can read. */
  protected override async settled(): Promise<JobSpec> {
    return this.host.finish(ocrSpec(await this.host.settle(this.#sources), this.options));
  }

  /** A runner by name (`yale models`) or a model id. */
  model(model: string): this {
    return this.with({ model });
  }
  /** What the model is asked for: `ocr`, `layout-all` or `layout-only`. */
  promptMode(promptMode: PromptMode): this {
    return this.with({ promptMode });
  }
  /** Pages in work at once. */
  batchSize(batchSize: number): this {
    return this.with({ batchSize });
  }
  /** Longest prompt and answer together, in tokens. */
  maxModelLen(maxModelLen: number): this {
    return this.with({ maxModelLen });
  }
  /** Longest answer a page, in tokens. */
  maxTokens(maxTokens: number): this {
    return this.with({ maxTokens });
  }
  /** Language of the text in Tesseract's codes, for engines that must be told. */
  lang(lang: string): this {
    return this.with({ lang });
  }
  /** Resolution at which PDF pages are rendered; default 200. */
  dpi(dpi: number): this {
    return this.with({ dpi });
  }
  /** Kind of the source, where it should not be found by content. */
  sourceType(sourceType: NonNullable<OcrOptions["sourceType"]>): this {
    return this.with({ sourceType });
  }
  /** Dataset on the Hugging Face Hub that the results are pushed to when the job is done: `"ab123/letters"`. Private. */
  pushToHub(dataset: string): this {
    return this.with({ pushToHub: dataset });
  }
  /**
   * Submits as soon as the first pages are on the cluster; the others are prepared and sent while the job waits in the
   * queue and runs.
   */
  startEarly(): this {
    return this.with({ startEarly: true });
  }
  /** Any option of the runner's card by its name. */
  option(name: string, value: Json): this {
    return this.with({ options: { ...this.options.options, [name]: value } });
  }
}

/** A source given as an object of the caller's has no specification yet; any stands for it while options are checked. */
function asInput(source: unknown): SourceInput {
  if (typeof source === "string") return source;
  if (typeof source === "object" && source !== null && "kind" in source && "location" in source)
    return source as SourceInput;
  if (typeof source === "object" && source !== null && "spec" in source) return source as SourceInput;
  return { kind: "dataset", location: "pages" };
}

/** A script job being put together. Made by `yale.run(script)`. */
export class RunBuilder extends JobBuilder<RunOptions> {
  readonly #script: string;

  constructor(host: BuilderHost, script: string, options: RunOptions = {}) {
    super(host, options);
    this.#script = script;
    this.spec();
  }

  /** The same with more options; earlier ones stay. */
  protected override with(options: Partial<RunOptions>): this {
    return new RunBuilder(this.host, this.#script, { ...this.options, ...options }) as this;
  }

  /** The specification as data: what `submit` would send. Throws UsageError. */
  override spec(): JobSpec {
    const { data } = this.options;
    return runSpec(this.#script, { ...this.options, data: isEarlierJob(data) ? data : list(data).map(asInput) });
  }

  /** The specification, with the caller's own sources in a form that another process can read. */
  protected override async settled(): Promise<JobSpec> {
    const { data } = this.options;
    const settled = isEarlierJob(data) ? data : await this.host.settle(list(data));
    return this.host.finish(runSpec(this.#script, { ...this.options, data: settled }));
  }

  /**
   * Pages for the script, readable as `dataset` in its working directory: a source, several, or an earlier job, whose
   * results stay on the cluster and are waited for.
   */
  data(data: SourceInput | EarlierJob | readonly SourceInput[]): this {
    return this.with({ data });
  }
  /** Arguments for the script. */
  args(...args: string[]): this {
    return this.with({ args });
  }
  /** `python3`, `bash` or `node`; default by the file's name or first line. */
  interpreter(interpreter: "python3" | "bash" | "node"): this {
    return this.with({ interpreter });
  }
  /** Resolution at which PDF pages are rendered; default 200. */
  dpi(dpi: number): this {
    return this.with({ dpi });
  }
}

function list<T>(value: T | readonly T[] | undefined): readonly T[] {
  return value === undefined ? [] : Array.isArray(value) ? value : [value as T];
}
