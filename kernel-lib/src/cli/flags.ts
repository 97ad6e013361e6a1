/** The flags of `yale jobs ocr` and `run`, and what they mean as options of the library. */
import type { Command } from "commander";
import { UsageError } from "../errors.js";
import type { JobOptions, OcrOptions, RetryOptions, RunOptions } from "../jobs/spec.js";
import type { Json } from "../protocol.js";

/** Flags as commander gives them: names in camel case. */
export type Flags = Readonly<Record<string, unknown>>;

/** Lines of examples for a verb's help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((l) => `  $ ${l}`).join("\n")}`;
}

/** What is asked of the scheduler. */
function resourceOptions(command: Command): Command {
  return command
    .option("--gpus <gpus>", "GPUs as type:count, type or count, such as a100:1")
    .option("--cpus <count>", "CPUs per task")
    .option("--memory <size>", "memory with its unit, such as 32G")
    .option("--time <limit>", "time limit, such as 02:00:00 or 1-00:00:00")
    .option("--partition <name>", "SLURM partition")
    .option("--account <name>", "SLURM account")
    .option("--qos <name>", "SLURM quality of service")
    .option("--constraint <features>", "features the node must have");
}

function jobOptions(command: Command): Command {
  return resourceOptions(command)
    .option("--nodes <count>", "number of nodes")
    .option("--job-name <name>", "name for people and for the scheduler")
    .option("--cluster <name>", "local, or a cluster of config.yaml")
    .option("--env <name>", "conda environment")
    .option("--module <name...>", "modules to load")
    .option("--var <name=value...>", "environment variables; no secrets, they stand in job.sh")
    .option("--sbatch <line...>", "further #SBATCH lines, as they are")
    .option("--mail <address>", "mail at the end, by the scheduler")
    .option("--mail-type <types>", "when to mail; default END,FAIL")
    .option("--max-samples <count>", "at most so many pages")
    .option("--dataset-path <path>", "dataset that is on the cluster already, instead of a source")
    .option("--source-type <kind>", "kind of the source: auto, pdf, iiif, web, directory, hf, dataset")
    .option("--dpi <number>", "resolution of rendered PDF pages; default 200")
    .option("--label <name=value...>", "labels to find the job by")
    .option("--shards <count>", "split the pages over so many array tasks")
    .option("--after <id...>", "start when these jobs have completed")
    .option("--after-any <id...>", "start when these jobs have ended, however")
    .option("--retries <count>", "run it again by itself at most so often after a failure that may pass; default 3")
    .option("--no-retry", "never run it again by itself")
    .option("--config <path>", "config.yaml to use")
    .option("--dry-run", "show what would be sent, and send nothing")
    .option("--estimate", "say what it would take and when it would start, and send nothing")
    .option("-w, --wait", "wait for the end; the exit code says how it ended")
    .option("--timeout <seconds>", "with --wait: give up waiting after so long; the job goes on")
    .option("--json", "print the record, or with --dry-run the plan, or the estimate, as JSON")
    .option("-q, --quiet", "print the id only");
}

/** Adds the flags of `yale jobs ocr`. */
export function ocrOptions(command: Command): Command {
  return jobOptions(command)
    .option("--model <name>", "runner or model id; `yale models` lists them")
    .option("--prompt-mode <mode>", "ocr, layout-all or layout-only")
    .option("--batch-size <count>", "pages in work at once")
    .option("--max-model-len <tokens>", "longest prompt and answer together")
    .option("--max-tokens <tokens>", "longest answer a page")
    .option("--lang <code>", "language of the text in Tesseract's codes, such as eng or deu+lat")
    .option("--option <name=value...>", "any option of the runner's card")
    .option("-o, --output-dir <folder>", "local folder for the results, as the argument OUTPUT")
    .option("--push-to-hub <dataset>", "push the results to this dataset of the Hugging Face Hub when done; private")
    .option(
      "--start-early",
      "submit when the first pages are on the cluster; the others follow while it waits and runs",
    );
}

/** Adds the flags of `yale cluster check` and `download`. */
export function modelOptions(command: Command): Command {
  return resourceOptions(command.requiredOption("--model <name>", "runner or model id; `yale models` lists them"))
    .option("--env <name>", "conda environment")
    .option("--module <name...>", "modules to load")
    .option("--var <name=value...>", "environment variables, such as HF_HOME; no secrets")
    .option("--config <path>", "config.yaml to use");
}

/** Adds the flags of `yale jobs run`. */
export function runOptions(command: Command): Command {
  return jobOptions(command)
    .option("--data <source...>", "pages for the script: paths, URLs or datasets")
    .option("--data-from <id>", "the output of this job is the data; waits for it")
    .option("--interpreter <program>", "python3, bash or node; default by the file's name")
    .option("-o, --output-dir <folder>", "local folder for the results");
}

/** Adds the flags of `yale jobs retry`. */
export function retryOptions(command: Command): Command {
  return resourceOptions(command).option(
    "--set <name=value...>",
    "any other option by its name in the library, such as batchSize=2; results that would differ make a new job",
  );
}

/** A number where it is one; anything else stays text, so that the refusal shows what was written. */
function number(value: unknown): unknown {
  return typeof value === "string" && /^[+-]?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
}

/** `name=value` flags as an object. Throws UsageError. */
export function pairs(flag: string, values: unknown): Record<string, string> | undefined {
  if (values === undefined) return undefined;
  return Object.fromEntries(
    (values as string[]).map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new UsageError(`${flag}: got ${JSON.stringify(text)}.`, `Write ${flag} name=value.`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** Values of options that may be numbers or truth values. */
export function jsonPairs(flag: string, values: unknown): Record<string, Json> | undefined {
  const given = pairs(flag, values);
  if (given === undefined) return undefined;
  return Object.fromEntries(
    Object.entries(given).map(([name, text]) => [
      name,
      text === "true" ? true : text === "false" ? false : (number(text) as Json),
    ]),
  );
}

function common(f: Flags): JobOptions {
  const after = f.after ?? f.afterAny;
  if (f.after !== undefined && f.afterAny !== undefined)
    throw new UsageError("--after and --after-any can't stand together.", "Use one of them.");
  return known({
    name: f.jobName,
    cluster: f.cluster,
    gpus: f.gpus,
    cpus: number(f.cpus),
    memory: f.memory,
    time: f.time,
    partition: f.partition,
    nodes: number(f.nodes),
    account: f.account,
    qos: f.qos,
    constraint: f.constraint,
    env: f.env,
    modules: f.module,
    variables: pairs("--var", f.var),
    extra: f.sbatch,
    mail: f.mail === undefined ? undefined : known({ user: f.mail, type: f.mailType }),
    maxSamples: number(f.maxSamples),
    datasetPath: f.datasetPath,
    output: f.outputDir,
    labels: pairs("--label", f.label),
    shards: number(f.shards),
    after,
    afterCondition: f.afterAny === undefined ? undefined : "afterany",
    retries: f.retry === false ? 0 : number(f.retries),
  }) as JobOptions;
}

/** Options of an OCR job from its flags. */
export function ocrFlags(f: Flags): OcrOptions {
  return {
    ...common(f),
    ...(known({
      sourceType: f.sourceType,
      dpi: number(f.dpi),
      model: f.model,
      promptMode: f.promptMode,
      batchSize: number(f.batchSize),
      maxModelLen: number(f.maxModelLen),
      maxTokens: number(f.maxTokens),
      lang: f.lang,
      options: jsonPairs("--option", f.option),
      pushToHub: f.pushToHub,
      startEarly: f.startEarly,
    }) as OcrOptions),
  };
}

/** Options of a script job from its flags. */
export function runFlags(f: Flags): RunOptions {
  if (f.data !== undefined && f.dataFrom !== undefined)
    throw new UsageError("--data and --data-from can't stand together.", "Use one of them.");
  return {
    ...common(f),
    ...(known({
      sourceType: f.sourceType,
      dpi: number(f.dpi),
      data: f.dataFrom === undefined ? f.data : { id: f.dataFrom },
      interpreter: f.interpreter,
    }) as RunOptions),
  };
}

/** Changes of a retry from its flags: `--memory`, … and `--set name=value` for any option of the library by its name. */
export function retryFlags(f: Flags): RetryOptions {
  const named = jsonPairs("--set", f.set) ?? {};
  const set = Object.entries(named).map(([name, value]) => [
    name.replace(/-([a-z])/g, (_, c) => c.toUpperCase()),
    value,
  ]);
  const given = known({
    gpus: f.gpus,
    cpus: number(f.cpus),
    memory: f.memory,
    time: f.time,
    partition: f.partition,
    account: f.account,
    qos: f.qos,
    constraint: f.constraint,
  });
  return { ...Object.fromEntries(set), ...given } as RetryOptions;
}

/** What was given: undefined values are left out. */
function known(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, v]) => v !== undefined));
}

/** A whole number of at least `min` from a flag. Throws UsageError. */
export function countFlag(flag: string, value: unknown, min = 1): number | undefined {
  if (value === undefined) return undefined;
  const n = number(value);
  if (typeof n !== "number" || !Number.isInteger(n) || n < min)
    throw new UsageError(`${flag}: got ${JSON.stringify(value)}.`, `Allowed: a whole number of ${min} or more.`);
  return n;
}
