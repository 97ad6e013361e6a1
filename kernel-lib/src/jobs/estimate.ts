/**
 * What a job will take, before it is submitted: pages, time, GPU hours, when it would start, and what the same would cost
 * on Hugging Face Jobs. What is not known is said, not guessed.
 */
import { availableParallelism } from "node:os";
import { posix } from "node:path";
import { readFile, type Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { count, duration } from "../display/index.js";
import { errorData } from "../errors.js";
import { timeSeconds } from "../options.js";
import type { Estimate, JobRecord } from "../protocol.js";
import { HF_PRICES, hfCost, hfFlavor } from "./hf-prices.js";
import { knownCluster } from "./known.js";
import { type ResolvedJob, scriptPlan } from "./plan.js";
import { gpuRequest, tasksAtOnce } from "./rules.js";
import { planShards, shardNotes } from "./shards.js";
import { type Speed, speedOf } from "./speed.js";

/** What {@link estimateJob} is given. */
export interface EstimateOptions {
  /** The line to the cluster, if it is open or needs nobody; throws otherwise. */
  open: (cluster: ClusterConfig) => Promise<Transport>;
  /** Jobs of this user, newest first. */
  records: readonly JobRecord[];
}

/** Estimates a job. Sends nothing to the queue. Throws what opening its sources throws. */
export async function estimateJob(job: ResolvedJob, options: EstimateOptions): Promise<Estimate> {
  const { spec, cluster, card } = job;
  const notes = [...job.warnings];
  const line = await options.open(cluster).catch((error: unknown) => {
    notes.push(
      `When it would start was not asked: ${errorData(error).what} \`yale login ${cluster.name}\` opens the line.`,
    );
    return undefined;
  });
  const pages = await pagesOf(job, options.records, line);
  const cores = spec.resources.cpus ?? (cluster.scheduler === "local" ? availableParallelism() : 1);
  const speed = card === undefined ? undefined : speedOf(spec, card, options.records, cores);
  if (card !== undefined && speed === undefined) notes.push(unknownSpeed(job));
  if (pages === undefined && spec.kind === "ocr")
    notes.push("How many pages there are can't be told before they are read.");
  const seconds = speed === undefined || pages === undefined ? undefined : secondsOf(job, pages, speed);
  const tasks = spec.shards ?? 1;
  const { count: gpus } = gpuRequest(spec.resources.gpus);
  if (seconds !== undefined && pages !== undefined && speed !== undefined) advise(job, pages, speed, seconds, notes);
  return {
    ...(pages === undefined ? {} : { pages }),
    ...(speed === undefined ? {} : speed),
    ...(seconds === undefined ? {} : { seconds, gpuHours: (gpus * tasks * seconds) / 3600 }),
    ...(line === undefined ? {} : await startOf(job, line, options.records)),
    ...(seconds === undefined ? {} : huggingFace(job, tasks, seconds, cores, notes)),
    notes,
  };
}

/** Pages of the sources, as far as they can tell without being read; of a dataset on the cluster, what it says itself. */
async function pagesOf(
  job: ResolvedJob,
  records: readonly JobRecord[],
  line: Transport | undefined,
): Promise<number | undefined> {
  const { spec } = job;
  const cut = (n: number | undefined) => (n === undefined ? undefined : Math.min(n, spec.maxSamples ?? n));
  if (spec.dataFrom !== undefined) {
    const from = records.find((r) => r.id === spec.dataFrom)?.progress;
    return cut(from?.total ?? from?.done);
  }
  if (spec.datasetPath !== undefined) return cut(line === undefined ? undefined : await rowsOf(line, spec.datasetPath));
  if (spec.sources.length === 0) return undefined;
  const [{ openSource }, { combineSources }] = await Promise.all([
    import("../sources/registry.js"),
    import("../sources/combine.js"),
  ]);
  const sources = await Promise.all(spec.sources.map((source) => openSource(source)));
  return cut(await combineSources(sources, spec.maxSamples).count?.());
}

/** Rows of a dataset folder on the cluster, by our manifest or by what `datasets` writes beside it. */
async function rowsOf(line: Transport, folder: string): Promise<number | undefined> {
  const sftp = await line.sftp();
  const json = async (name: string): Promise<unknown> =>
    JSON.parse(new TextDecoder().decode(await readFile(sftp, posix.join(folder, name))));
  try {
    const { pages } = (await json("yale-dataset.json")) as { pages?: unknown };
    if (typeof pages === "number") return pages;
  } catch {
    // Not one of ours.
  }
  try {
    const { splits } = (await json("dataset_info.json")) as { splits?: { [name: string]: { num_examples?: number } } };
    const rows = Object.values(splits ?? {}).reduce((n, split) => n + (split.num_examples ?? Number.NaN), 0);
    return rows > 0 ? rows : undefined;
  } catch {
    return undefined;
  }
}

function secondsOf(job: ResolvedJob, pages: number, speed: Speed): number {
  return (job.card?.startSeconds ?? 0) + Math.ceil(pages / (job.spec.shards ?? 1)) / speed.pagesPerSecond;
}

function unknownSpeed(job: ResolvedJob): string {
  const { type, count: gpus } = gpuRequest(job.spec.resources.gpus);
  const where = gpus === 0 ? "the CPU" : (type ?? "whatever GPU it would get");
  return `How fast ${job.card?.name} is on ${where} has not been measured. Your first job there will tell; \`maxSamples\` makes it a short one.`;
}

/** Advice where the plan could be better. */
function advise(job: ResolvedJob, pages: number, speed: Speed, seconds: number, notes: string[]): void {
  const { spec, cluster, card } = job;
  const start = card?.startSeconds ?? 0;
  const { count: gpus } = gpuRequest(spec.resources.gpus);
  const known = knownCluster(cluster)?.partitions.find((p) => p.name === spec.resources.partition);
  const given = timeSeconds(spec.resources.time ?? "");
  const limit =
    given ?? (cluster.scheduler === "local" ? undefined : (known?.defaultSeconds ?? cluster.site?.defaultSeconds));
  if (limit !== undefined && seconds > limit)
    notes.push(
      `It needs about ${duration(seconds)}, and ${given === undefined ? "without time it gets" : "time is"} ${duration(limit)}: it would be queued again and go on where it stopped, ${count(Math.ceil(seconds / limit) - 1, "time")}. Ask for more time, or split it with shards.`,
    );
  const most = tasksAtOnce(cluster, spec.resources.partition);
  const policy = { ...cluster.policy, ...(most === undefined ? {} : { maxArrayRunning: most }) };
  const shards = spec.shards ?? 1;
  notes.push(...shardNotes(shards, pages, speed.pagesPerSecond, policy, start));
  if (most !== undefined && shards > most)
    notes.push(
      `Of ${count(shards, "task")} ${most} run at once there: the whole takes about ${duration(seconds * Math.ceil(shards / most))}.`,
    );
  const better = planShards(pages, speed.pagesPerSecond, policy, start);
  if (cluster.scheduler !== "local" && shards === 1 && better.shards > 1 && seconds > 3600)
    notes.push(
      `Split with shards(${better.shards}) it would be done about ${duration(better.seconds)} after its start.`,
    );
  if (gpus > 0 && start > 0 && seconds - start < start)
    notes.push(
      `The model takes about ${duration(start)} to start and the pages ${duration(seconds - start)}: the GPU mostly waits. Put more pages into one job.`,
    );
}

/** When it would start, and how far that can be trusted. */
async function startOf(
  job: ResolvedJob,
  line: Transport,
  records: readonly JobRecord[],
): Promise<Pick<Estimate, "expectedStart" | "reliability" | "refusal">> {
  const script = job.scheduler.script(scriptPlan(job, "estimate", "/tmp", 1, []));
  const answer = await job.scheduler.test(line, script);
  if ("refusal" in answer) return { refusal: answer.refusal };
  const waits = waitsOf(job, records);
  const half = waits[Math.floor(waits.length / 2)];
  const own =
    half === undefined || waits.length < 3
      ? ""
      : ` Your last ${waits.length} jobs there waited ${duration(half)} in the middle, ${duration(waits.at(-1) ?? 0)} at most.`;
  if (answer.start === undefined) return own === "" ? {} : { reliability: own.trim() };
  const forecast =
    job.cluster.scheduler === "local"
      ? "Nothing else runs here."
      : "The scheduler's forecast, not a promise: it takes the jobs before this one to use all of their time, which few do, and others may come between.";
  return { expectedStart: answer.start, reliability: `${forecast}${own}` };
}

/** Seconds that this user's last jobs waited in the same partition, shortest first. */
function waitsOf(job: ResolvedJob, records: readonly JobRecord[]): number[] {
  const { cluster, resources } = job.spec;
  return records
    .filter((r) => r.spec.cluster === cluster && r.spec.resources.partition === resources.partition && r.attempt === 1)
    .map((r) => (Date.parse(r.startedAt ?? "") - Date.parse(r.submittedAt ?? "")) / 1000)
    .filter((wait) => wait >= 0)
    .slice(0, 10)
    .sort((a, b) => a - b);
}

function huggingFace(
  job: ResolvedJob,
  tasks: number,
  seconds: number,
  cores: number,
  notes: string[],
): Pick<Estimate, "huggingFace"> {
  const { spec, cluster, card } = job;
  const { type, count: gpus } = gpuRequest(spec.resources.gpus);
  const gigabytes = cluster.site?.gpus.find((g) => g.type === type)?.gigabytes ?? card?.gpuMemory;
  const found = hfFlavor({ cpus: cores, gpus, gpu: type, gigabytes });
  if (found === undefined) {
    notes.push("What it would cost on Hugging Face Jobs is not known: their list has no such hardware.");
    return {};
  }
  if (!found.same)
    notes.push(
      `Hugging Face Jobs has no ${type ?? "GPU that is named here"}: the price is for the same time on ${found.flavor.flavor}, whose speed was not compared.`,
    );
  return {
    huggingFace: { flavor: found.flavor.flavor, ...hfCost(found.flavor, tasks, seconds), checked: HF_PRICES.checked },
  };
}
