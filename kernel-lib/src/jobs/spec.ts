/**
 * From what a person says (a source, a script, options) to a {@link JobSpec}: checked at the call, nothing sent.
 * Builder, functions and CLI all come through here, so there is one set of rules and one set of messages.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename, extname, isAbsolute, resolve } from "node:path";
import { UsageError } from "../errors.js";
import {
  checkChoice,
  checkCount,
  checkGpus,
  checkKeys,
  checkMemory,
  checkName,
  checkRepo,
  checkTime,
  checkVariable,
  checkWord,
} from "../options.js";
import type { JobSpec, Json, Resources, SourceKind, SourceSpec } from "../protocol.js";

/** The prompt modes of DoTS.ocr: text only, text with layout, layout only. */
export const PROMPT_MODES = ["ocr", "layout-all", "layout-only"] as const;
/** One of {@link PROMPT_MODES}. */
export type PromptMode = (typeof PROMPT_MODES)[number];

const GPU_TYPES = ["a100", "h100", "h200", "b200", "l40s", "a40", "v100", "rtx_5000_ada"] as const;
/** GPUs as SLURM writes them: `type:count`, `type` or a count. Known types complete; any other type may be written too. */
export type GpuSpec = `${(typeof GPU_TYPES)[number]}:${1 | 2 | 4 | 8}` | (string & {}) | number;

/** Kinds of source by name, and `auto`. */
export const SOURCE_KINDS = ["auto", "pdf", "iiif", "web", "directory", "hf", "dataset"] as const;

/** Another job, by handle or id, that must have ended before this one starts. */
export type AfterJob = string | { readonly id: string };

/** A job whose output is the input of the next: its handle, or `{ id }`. */
export interface EarlierJob {
  readonly id: string;
}

/** True for a job where a source could stand. */
export function isEarlierJob(value: unknown): value is EarlierJob {
  return typeof value === "object" && value !== null && "id" in value && !("kind" in value) && !("pages" in value);
}

/** All options of a job, by name. The same in builder, functions and (with dashes) CLI. */
export interface JobOptions {
  /** Name for people and for the scheduler. Default: made of the source's or script's file name. */
  name?: string;
  /** `local` or a cluster of config.yaml. Default: the config's default cluster, `local` without a config. */
  cluster?: string;
  gpus?: GpuSpec;
  /** CPUs per task. */
  cpus?: number;
  /** With its unit, such as `32G`. */
  memory?: string;
  /** `HH:MM:SS` or `D-HH:MM:SS`. */
  time?: string;
  partition?: string;
  nodes?: number;
  account?: string;
  qos?: string;
  constraint?: string;
  /** Lines for the batch script, each beginning with `#SBATCH `. */
  extra?: readonly string[];
  mail?: { user: string; type?: string };
  /** Conda environment. */
  env?: string;
  modules?: readonly string[];
  /** Environment variables for the job. They stand in job.sh: no secrets. */
  variables?: Readonly<Record<string, string>>;
  /** Use at most so many pages. */
  maxSamples?: number;
  /** A dataset folder that is on the cluster already; then no source is prepared or uploaded. */
  datasetPath?: string;
  /** Local folder for the results, filled when the job is done. */
  output?: string;
  labels?: Readonly<Record<string, string>>;
  /** Split the pages over so many array tasks. */
  shards?: number;
  after?: AfterJob | readonly AfterJob[];
  /** `afterok` (default: only if they completed) or `afterany`. */
  afterCondition?: "afterok" | "afterany";
  /** How often it may be run again by itself after a failure that may pass; default 3, 0 for never. */
  retries?: number;
}

/** Options of an OCR job: {@link JobOptions} and those of source and runner. */
export interface OcrOptions extends JobOptions {
  /** Dataset on the Hugging Face Hub, `owner/name`, that the results are pushed to when the job is done; private. */
  pushToHub?: string;
  /**
   * Submit the job as soon as the first pages are on the cluster; the others are prepared and sent while it waits in the
   * queue and runs. Not with `shards`, which must know how many pages there are.
   */
  startEarly?: boolean;
  sourceType?: (typeof SOURCE_KINDS)[number];
  /** Resolution at which PDF pages are rendered. Default 200. */
  dpi?: number;
  /** Name of a runner (`yale models`) or a model id such as `rednote-hilab/dots.ocr`. */
  model?: string;
  promptMode?: PromptMode;
  /** Pages in work at once. */
  batchSize?: number;
  maxModelLen?: number;
  maxTokens?: number;
  /** Language of the text, for engines that must be told, in Tesseract's codes such as `eng` or `deu+lat`. */
  lang?: string;
  /** Any option of the runner's card by its name. */
  options?: Readonly<Record<string, Json>>;
}

/** Options of a job that runs a script of the user's. */
export interface RunOptions extends JobOptions {
  /** Pages for the script, or the job whose output it takes: `dataset` in its working directory. */
  data?: SourceInput | EarlierJob | readonly SourceInput[];
  sourceType?: (typeof SOURCE_KINDS)[number];
  dpi?: number;
  /** Arguments for the script. */
  args?: readonly string[];
  interpreter?: "python3" | "bash" | "node";
}

/** A source as it may be given: a path, glob or URL (its kind is found by content), or its specification. */
export type SourceInput = string | SourceSpec | { readonly spec: SourceSpec };

/** Names of all options of a job; {@link OCR_KEYS} and {@link RUN_KEYS} add those of either kind. */
export const JOB_KEYS: readonly string[] = [
  ...["name", "cluster", "gpus", "cpus", "memory", "time", "partition", "nodes", "account", "qos", "constraint"],
  ...["extra", "mail", "env", "modules", "variables", "maxSamples", "datasetPath", "output", "labels", "shards"],
  ...["after", "afterCondition", "retries"],
];
const RUNNER_KEYS = ["promptMode", "batchSize", "maxModelLen", "maxTokens", "lang"] as const;
/** Names of all options of an OCR job. */
export const OCR_KEYS: readonly string[] = [
  ...JOB_KEYS,
  "pushToHub",
  "startEarly",
  "sourceType",
  "dpi",
  "model",
  "options",
  ...RUNNER_KEYS,
];
/** Names of all options of a script job. */
export const RUN_KEYS: readonly string[] = [...JOB_KEYS, "data", "sourceType", "dpi", "args", "interpreter"];

/** The specification of an OCR job. Throws UsageError. `""` as cluster stands for the config's default. */
export function ocrSpec(source: SourceInput | readonly SourceInput[] | undefined, options: OcrOptions = {}): JobSpec {
  checkKeys("OCR job", options, OCR_KEYS);
  const { sources, name } = sourceSpecs(source, options);
  if (sources.length === 0 && options.datasetPath === undefined)
    throw new UsageError("An OCR job needs a source.", "Give a path, a URL or a list of them, or `datasetPath`.");
  if (options.startEarly !== undefined && typeof options.startEarly !== "boolean")
    throw new UsageError(`startEarly: got ${JSON.stringify(options.startEarly)}.`, "Allowed: true or false.");
  const startEarly = options.startEarly === true && sources.length > 0;
  if (startEarly && (options.shards ?? 1) > 1)
    throw new UsageError(
      "startEarly and shards can't stand together: the pages can't be divided before all of them are known.",
      "Leave out one of them.",
    );
  return {
    ...common("ocr", name ?? "ocr", options),
    sources,
    options: runnerOptions(options),
    ...(options.model === undefined ? {} : { runner: checkModel(options.model) }),
    ...(options.pushToHub === undefined ? {} : { pushToHub: checkRepo(options.pushToHub) }),
    ...(startEarly ? { startEarly } : {}),
  };
}

/** The specification of a job that runs `script`: a path of a file, or the text itself with a line break in it. */
export function runSpec(script: string, options: RunOptions = {}): JobSpec {
  checkKeys("Script job", options, RUN_KEYS);
  if (typeof script !== "string" || script.trim() === "")
    throw new UsageError("A script job needs a script.", "Give the path of a .py, .sh or .mjs file, or its text.");
  const inline = script.includes("\n");
  let text = script;
  let file = "script";
  if (!inline) {
    file = basename(script);
    try {
      text = readFileSync(resolve(script), "utf8");
    } catch (cause) {
      throw new UsageError(`The script ${JSON.stringify(script)} can't be read.`, "Check its path.", { cause });
    }
  }
  const interpreter = options.interpreter ?? guessInterpreter(file, text);
  checkChoice("interpreter", interpreter, ["python3", "bash", "node"]);
  const { data } = options;
  const from = isEarlierJob(data) ? jobId(data) : undefined;
  const { sources } = sourceSpecs(isEarlierJob(data) ? [] : (data ?? []), options);
  const spec = common("run", options.name ?? file.replace(/\.[^.]*$/, ""), options);
  if (from !== undefined) {
    spec.dataFrom = from;
    // Its input is there only after that job; who said otherwise by `after` meant it.
    if (!spec.after?.some((a) => a.job === from))
      spec.after = [...(spec.after ?? []), { job: from, condition: "afterok" }];
  }
  return {
    ...spec,
    sources,
    options: {},
    script: {
      name: inline ? `script${{ python3: ".py", bash: ".sh", node: ".mjs" }[interpreter]}` : safeFile(file),
      text,
      interpreter,
      args: (options.args ?? []).map((a) => checkArgument(a)),
    },
  };
}

/** What may be changed when a job is run again: everything but what it works on. */
export type RetryOptions = Omit<
  OcrOptions & RunOptions,
  "data" | "sourceType" | "dpi" | "startEarly" | "after" | "afterCondition"
>;

const NOT_CHANGED = ["data", "sourceType", "dpi", "startEarly", "after", "afterCondition", "datasetPath"];

/** Changes to a specification, checked as the options of a new job are; only what is given. Throws UsageError. */
export function specChanges(kind: JobSpec["kind"], options: RetryOptions): Partial<JobSpec> {
  const allowed = (kind === "ocr" ? OCR_KEYS : RUN_KEYS).filter((key) => !NOT_CHANGED.includes(key));
  checkKeys("Retry", options, allowed);
  const { resources, ...rest } = common(kind, "changes", options);
  const changes: Partial<JobSpec> = {};
  if (Object.keys(resources).length > 0) changes.resources = resources;
  const { kind: _kind, name, cluster, ...others } = rest;
  Object.assign(changes, others);
  if (options.name !== undefined) changes.name = name;
  if (options.cluster !== undefined) changes.cluster = cluster;
  if (options.model !== undefined) changes.runner = checkModel(options.model);
  if (options.args !== undefined || options.interpreter !== undefined)
    throw new UsageError("args and interpreter belong to the script.", "Submit the script again with others.");
  const runner = runnerOptions(options);
  if (Object.keys(runner).length > 0) changes.options = runner;
  return changes;
}

function runnerOptions(options: OcrOptions): { [key: string]: Json } {
  const runner: { [key: string]: Json } = { ...options.options };
  if (options.promptMode !== undefined) runner.promptMode = checkChoice("promptMode", options.promptMode, PROMPT_MODES);
  for (const key of ["batchSize", "maxModelLen", "maxTokens"] as const)
    if (options[key] !== undefined) runner[key] = checkCount(key, options[key]);
  if (options.lang !== undefined) runner.lang = checkWord("lang", options.lang);
  return runner;
}

function common(kind: "ocr" | "run", name: string, o: JobOptions): Omit<JobSpec, "sources" | "options"> {
  const resources: Resources = {};
  if (o.gpus !== undefined) resources.gpus = checkGpus(o.gpus);
  if (o.cpus !== undefined) resources.cpus = checkCount("cpus", o.cpus, 1, 1024);
  if (o.memory !== undefined) resources.memory = checkMemory(o.memory);
  if (o.time !== undefined) resources.time = checkTime(o.time);
  if (o.nodes !== undefined) resources.nodes = checkCount("nodes", o.nodes, 1, 1024);
  for (const word of ["partition", "account", "qos", "constraint"] as const)
    if (o[word] !== undefined) resources[word] = checkWord(word, o[word]);
  if (o.extra !== undefined) resources.extra = o.extra.map(checkExtra);
  if (o.mail !== undefined)
    resources.mail = { user: checkMail(o.mail.user), type: checkWord("mail.type", o.mail.type ?? "END,FAIL") };
  const after = o.after === undefined ? [] : Array.isArray(o.after) ? o.after : [o.after];
  const condition = checkChoice("afterCondition", o.afterCondition ?? "afterok", ["afterok", "afterany"]);
  return {
    kind,
    name: checkName(o.name ?? name),
    cluster: o.cluster === undefined ? "" : checkWord("cluster", o.cluster),
    resources,
    ...(o.datasetPath === undefined ? {} : { datasetPath: checkText("datasetPath", o.datasetPath) }),
    ...(o.maxSamples === undefined ? {} : { maxSamples: checkCount("maxSamples", o.maxSamples) }),
    ...(o.env === undefined ? {} : { env: checkNoOption("env", o.env) }),
    ...(o.modules === undefined ? {} : { modules: o.modules.map((m) => checkNoOption("modules", m)) }),
    ...(o.variables === undefined
      ? {}
      : { variables: Object.fromEntries(Object.entries(o.variables).map(([k, v]) => [k, checkVariable(k, v)])) }),
    ...(o.shards === undefined ? {} : { shards: checkCount("shards", o.shards, 1, 1000) }),
    ...(after.length === 0 ? {} : { after: after.map((a: AfterJob) => ({ job: jobId(a), condition })) }),
    ...(o.retries === undefined ? {} : { retries: checkCount("retries", o.retries, 0, 20) }),
    ...(o.labels === undefined ? {} : { labels: { ...o.labels } }),
    ...(o.output === undefined ? {} : { output: resolve(checkText("output", o.output)) }),
  };
}

function jobId(after: AfterJob): string {
  return checkWord("after", typeof after === "string" ? after : after?.id);
}

function sourceSpecs(
  given: SourceInput | readonly SourceInput[] | undefined,
  options: { sourceType?: (typeof SOURCE_KINDS)[number]; dpi?: number },
): { sources: SourceSpec[]; name?: string } {
  const list = given === undefined ? [] : Array.isArray(given) ? given : [given];
  const kind = checkChoice("sourceType", options.sourceType ?? "auto", SOURCE_KINDS);
  if (options.dpi !== undefined) checkCount("dpi", options.dpi, 36, 1200);
  const sources = list.map((item: SourceInput): SourceSpec => {
    if (typeof item !== "string" && "spec" in item) return item.spec;
    const spec = typeof item === "string" ? { kind, location: item } : item;
    checkChoice("source kind", spec.kind, SOURCE_KINDS);
    const more = options.dpi !== undefined && (spec.kind === "pdf" || spec.kind === "auto") ? { dpi: options.dpi } : {};
    return {
      kind: spec.kind,
      location: absolute(checkLocation(spec.location), spec.kind),
      ...(spec.options === undefined && options.dpi === undefined ? {} : { options: { ...more, ...spec.options } }),
    };
  });
  const first = sources[0]?.location;
  return first === undefined ? { sources } : { sources, name: nameOf(first) };
}

/** Local paths become absolute before the specification leaves this process; URLs and ids of datasets stay. */
export function absolute(location: string, kind: SourceKind | "auto"): string {
  if (/^([a-z][a-z0-9+.-]*:\/\/|hf:)/i.test(location) || kind === "hf" || isAbsolute(location)) return location;
  const path = resolve(location);
  // `owner/name` is a path of two parts as well: what is not here, and has no file's ending, may be a dataset's id.
  const id = kind === "auto" && /^\w[\w.-]*\/\w[\w-]*$/.test(location) && !existsSync(path);
  return id ? location : path;
}

function nameOf(location: string): string {
  const clean = location.replace(/[?#].*$/, "").replace(/\/+$/, "");
  const last = clean.slice(clean.lastIndexOf("/") + 1).replace(/\.[A-Za-z0-9]{1,5}$/, "");
  return `ocr ${last.replace(/[\u0000-\u001f\u007f]/g, "?")}`.trim().slice(0, 128);
}

function safeFile(name: string): string {
  const safe = name.replace(/[^A-Za-z0-9._-]/g, "_").replace(/^[.-]+/, "");
  return safe === "" ? "script" : safe;
}

function guessInterpreter(file: string, text: string): "python3" | "bash" | "node" {
  const first = /^#!.*?(python|bash|\bsh\b|node)/.exec(text.split("\n", 1)[0] ?? "")?.[1];
  const by = { ".py": "python3", ".sh": "bash", ".js": "node", ".mjs": "node", ".cjs": "node" } as const;
  const extension = extname(file);
  if (extension in by) return by[extension as keyof typeof by];
  if (first === "bash" || first === "sh") return "bash";
  return first === "node" ? "node" : "python3";
}

function checkModel(model: unknown): string {
  if (typeof model !== "string" || !/^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/.test(model))
    throw new UsageError(
      `model: got ${JSON.stringify(model)}.`,
      'Give a runner such as "tesseract" (`yale models`) or a model id such as "rednote-hilab/dots.ocr".',
    );
  return model;
}

function checkText(option: string, value: unknown): string {
  if (typeof value !== "string" || value === "" || value.includes("\u0000") || value.includes("\n"))
    throw new UsageError(`${option}: got ${JSON.stringify(value)}.`, "Give a text on one line.");
  return value;
}

/** A text that becomes an argument of `conda activate` or `module load`, which would take `-x` for an option of theirs. */
function checkNoOption(option: string, value: unknown): string {
  const text = checkText(option, value);
  if (text.startsWith("-"))
    throw new UsageError(`${option}: got ${JSON.stringify(text)}.`, "A name does not begin with a dash.");
  return text;
}

/** A file name may hold a line break; nothing can hold a zero byte. */
function checkLocation(value: unknown): string {
  if (typeof value !== "string" || value === "" || value.includes("\u0000"))
    throw new UsageError(`source: got ${JSON.stringify(value)}.`, "Give a path, a glob, a URL or a dataset id.");
  return value;
}

function checkArgument(value: unknown): string {
  if (typeof value !== "string" || value.includes("\u0000"))
    throw new UsageError(`args: got ${JSON.stringify(value)}.`, "Each argument is a text without zero bytes.");
  return value;
}

function checkExtra(line: unknown): string {
  if (typeof line !== "string" || !/^#SBATCH -[^\n\r\u0000]+$/.test(line))
    throw new UsageError(`extra: got ${JSON.stringify(line)}.`, 'Each line is like "#SBATCH --exclusive".');
  return line;
}

function checkMail(user: unknown): string {
  if (typeof user !== "string" || !/^[A-Za-z0-9._%+-]+(@[A-Za-z0-9.-]+)?$/.test(user))
    throw new UsageError(`mail: got ${JSON.stringify(user)}.`, 'Give an address such as "netid@yale.edu".');
  return user;
}
