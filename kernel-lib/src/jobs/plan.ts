/**
 * What a specification means on its cluster, as values: the batch script, the files of the job folder, the runner.
 * Nothing here is sent or written; `plan()` shows it and the service sends it.
 */
import { posix } from "node:path";
import type { ClusterConfig } from "../config/index.js";
import { loadConfig } from "../config/index.js";
import { UsageError } from "../errors.js";
import type { JobSpec, Plan, SourceKind } from "../protocol.js";
import { checkRunnerOptions, findCard, type RunnerCard, readCards, scriptCommand } from "../runners.js";
import type { Scheduler, ScriptPlan } from "../schedulers/index.js";
import { scheduler } from "../schedulers/registry.js";
import { detectSource } from "../sources/registry.js";
import { JOB_FILE } from "./job-file.js";
import { knownCluster } from "./known.js";
import { applyRules, tasksAtOnce } from "./rules.js";
import { SUBMIT_FILE, SUBMIT_SCRIPT, submissionToken } from "./submit.js";

/** A specification with everything looked up that it refers to. */
export interface ResolvedJob {
  spec: JobSpec;
  cluster: ClusterConfig;
  scheduler: Scheduler;
  /** The runner, for an OCR job. */
  card?: RunnerCard;
  warnings: string[];
}

/** Looks up cluster, runner and kinds of source. Throws ConfigError, UsageError and SourceError. */
export async function resolveJob(given: JobSpec): Promise<ResolvedJob> {
  const { cluster } = await clusterOf(given);
  const warnings: string[] = [];
  const sources = await Promise.all(
    given.sources.map(async (source) => {
      if (source.kind !== "auto") return source;
      const found = await detectSource(source.location);
      return { ...source, kind: found.kind as SourceKind };
    }),
  );
  const spec: JobSpec = {
    ...given,
    cluster: cluster.name,
    sources,
    resources: { ...cluster.defaults, ...given.resources },
  };
  if (spec.env === undefined && cluster.env !== undefined) spec.env = cluster.env;
  if (spec.modules === undefined && cluster.modules !== undefined) spec.modules = [...cluster.modules];
  let card: RunnerCard | undefined;
  if (spec.kind === "ocr") {
    card = runnerFor(spec, cluster);
    spec.runner = card.name;
    const known = knownOptions(card, spec, warnings);
    checkRunnerOptions(card, known);
    spec.options = known;
  }
  // A default of config.yaml is meant for runners that can use it.
  if (card !== undefined && given.resources.gpus === undefined && gpuCount(spec) > card.mostGpus) {
    const { gpus, ...resources } = spec.resources;
    spec.resources =
      card.mostGpus === 0 ? resources : { ...resources, gpus: `${gpus}`.replace(/\d+$/, `${card.mostGpus}`) };
  }
  if (cluster.scheduler === "local" && gpuCount(spec) > 0 && (card?.gpus ?? 0) === 0) {
    warnings.push(`${cluster.name} gives no GPUs; the job runs on the CPU, and "gpus" is left out.`);
    const { gpus: _, ...resources } = spec.resources;
    spec.resources = resources;
  }
  if (card !== undefined && gpuCount(spec) > card.mostGpus && cluster.scheduler !== "local") {
    const most =
      card.mostGpus === 0
        ? "no GPU"
        : card.mostGpus === 1
          ? "one GPU"
          : `at most the ${card.mostGpus} GPUs of one node`;
    throw new UsageError(
      `The runner ${card.name} uses ${most}, and ${spec.resources.gpus} was asked for.`,
      "Idle GPUs get a job cancelled on most clusters: ask for what it uses, or split the pages with shards.",
    );
  }
  return { spec, cluster, scheduler: scheduler(cluster.scheduler), warnings, ...(card === undefined ? {} : { card }) };
}

/** What is needed to go on with a job that the scheduler has: its cluster, whatever its runner or rules are by now. */
export async function submittedJob(spec: JobSpec): Promise<ResolvedJob> {
  const { cluster } = await clusterOf(spec);
  return { spec, cluster, scheduler: scheduler(cluster.scheduler), warnings: [] };
}

/** As {@link resolveJob} for a job that is new: held against the rules of its cluster, and completed by them. */
export async function checkedJob(given: JobSpec): Promise<ResolvedJob> {
  const job = await resolveJob(given);
  const { spec, cluster, card, warnings } = job;
  const known = knownCluster(cluster);
  Object.assign(spec, applyRules({ spec, asked: given.resources, cluster, card, known }, warnings));
  return job;
}

/** The cluster that a specification names, from its configuration. Throws ConfigError. */
export async function clusterOf(spec: Pick<JobSpec, "cluster" | "config">): Promise<{ cluster: ClusterConfig }> {
  const config = await loadConfig(spec.config === undefined ? { search: false } : { path: spec.config });
  const name = spec.cluster === "" ? config.default : spec.cluster;
  const cluster = config.clusters.get(name);
  if (cluster === undefined)
    throw new UsageError(
      `There is no cluster ${JSON.stringify(name)}${config.path === undefined ? " (no config.yaml was found)" : ` in ${config.path}`}.`,
      `Known: ${[...config.clusters.keys()].join(", ")}. Add it under \`clusters:\` in config.yaml.`,
    );
  return { cluster };
}

function runnerFor(spec: JobSpec, cluster: ClusterConfig): RunnerCard {
  const asked = spec.runner ?? cluster.model;
  if (asked !== undefined) return findCard(asked);
  const cards = readCards();
  // Without a word from anyone: the CPU engine on this machine, DoTS.ocr where there are GPUs.
  const wanted = cluster.scheduler === "local" ? "tesseract" : "dots-ocr";
  return cards.find((c) => c.name === wanted) ?? findCard("tesseract");
}

/** The options every OCR job may carry are left out, with a word, for runners that have no use for them. */
function knownOptions(card: RunnerCard, spec: JobSpec, warnings: string[]): JobSpec["options"] {
  const general = ["promptMode", "batchSize", "maxModelLen", "maxTokens", "lang"];
  const known: JobSpec["options"] = {};
  for (const [key, value] of Object.entries(spec.options)) {
    if (general.includes(key) && !(key in card.options))
      warnings.push(`The runner ${card.name} has no use for "${key}".`);
    else known[key] = value;
  }
  return known;
}

/** How many GPUs a specification asks for. */
export function gpuCount(spec: JobSpec): number {
  const gpus = spec.resources.gpus;
  return gpus === undefined ? 0 : Number(/(?:^|:)(\d+)$/.exec(gpus)?.[1] ?? "1");
}

/**
 * Everything the batch script is made of. `after` are the jobs that the scheduler is to wait for; others in `spec.after`
 * have been waited for already.
 */
export function scriptPlan(
  job: ResolvedJob,
  id: string,
  jobDir: string,
  attempt: number,
  after: readonly { schedulerId: string; condition: "afterok" | "afterany" }[],
  onlyTasks?: readonly number[],
): ScriptPlan {
  const { card } = job;
  const { after: _, ...rest } = job.spec;
  const spec: JobSpec =
    after.length === 0 ? rest : { ...rest, after: after.map((a) => ({ job: a.schedulerId, condition: a.condition })) };
  // Weights of models are shared by all jobs, and the home folder is too small for them. What a job says goes before it.
  if (job.cluster.scheduler === "slurm")
    spec.variables = { HF_HOME: posix.join(posix.dirname(jobDir), "huggingface"), ...spec.variables };
  const most = tasksAtOnce(job.cluster, spec.resources.partition);
  return {
    id,
    token: submissionToken(id, attempt),
    spec,
    jobDir,
    attempt,
    ...(onlyTasks === undefined ? {} : { onlyTasks }),
    command:
      card !== undefined
        ? [...card.command, "--input", "input", "--output", "output", "--options", "options.json"]
        : scriptCommand(spec.script ?? { name: "script", text: "", interpreter: "bash", args: [] }),
    prologue: [],
    ...(most !== undefined && (spec.shards ?? 1) > most ? { tasksAtOnce: most } : {}),
    ...(after.length === 0 ? {} : { afterIds: after.map((a) => a.schedulerId) }),
  };
}

/** A file that is written into the job folder. */
export interface JobFile {
  path: string;
  text: string;
  mode: number;
}

/** Files that the service writes into the job folder, but for job.json, which grows with the job. */
export function jobFiles(job: ResolvedJob, plan: ScriptPlan): JobFile[] {
  const files = [
    { path: "job.sh", text: job.scheduler.script(plan), mode: 0o700 },
    ...(job.scheduler.kind === "local" ? [] : [{ path: SUBMIT_FILE, text: SUBMIT_SCRIPT, mode: 0o700 }]),
    { path: "options.json", text: `${JSON.stringify(runnerOptions(job), null, 2)}\n`, mode: 0o600 },
  ];
  if (job.spec.script !== undefined)
    files.push({ path: `runner/${job.spec.script.name}`, text: job.spec.script.text, mode: 0o700 });
  return files;
}

/** What a runner reads as `options.json`: its options, and the cut that was asked for. */
function runnerOptions(job: ResolvedJob): JobSpec["options"] {
  // The source was cut already where there is one; a dataset that lies on the cluster is cut by the runner.
  const cut = job.spec.sources.length === 0 ? job.spec.maxSamples : undefined;
  return cut === undefined ? job.spec.options : { ...job.spec.options, maxSamples: cut };
}

/** The answer of `plan()`. */
export function planOf(job: ResolvedJob): Plan {
  const jobDir = posix.join(job.cluster.jobDir, "<id>");
  const after = (job.spec.after ?? []).map((a) => ({ schedulerId: `<${a.job}>`, condition: a.condition }));
  const plan = scriptPlan(job, "<id>", jobDir, 1, after);
  const { spec } = job;
  const input =
    spec.datasetPath ??
    (spec.dataFrom !== undefined
      ? `${spec.dataFrom}/output, the output of that job`
      : spec.sources.length === 0
        ? undefined
        : "datasets/<content hash>, uploaded once");
  return {
    spec: job.spec,
    scheduler: job.scheduler.kind,
    jobDir,
    script: job.scheduler.script(plan),
    files: [
      ...[...jobFiles(job, plan), { path: JOB_FILE }].map((f) => ({ path: f.path, from: "made here" })),
      ...(job.card === undefined
        ? []
        : [{ path: "runner", from: `link to the runner ${job.card.name}, uploaded once` }]),
      ...(input === undefined ? [] : [{ path: "input", from: `link to ${input}` }]),
    ],
    submit: job.scheduler.submitCommand(posix.join(jobDir, "job.sh")),
    warnings: job.warnings,
  };
}
