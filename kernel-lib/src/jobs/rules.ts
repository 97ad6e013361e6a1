/**
 * A job held against what its cluster allows, before anything is prepared or sent: partition, GPU type and time limit by
 * what the cluster said when it was last asked, else by the profile of its site. What a job leaves open is filled in
 * where there is no doubt. Pure.
 */
import type { ClusterConfig } from "../config/index.js";
import { duration } from "../display/index.js";
import { UsageError } from "../errors.js";
import { timeSeconds } from "../options.js";
import type { ClusterInfo, JobSpec, Resources } from "../protocol.js";
import type { RunnerCard } from "../runners.js";
import type { SiteProfile } from "../sites/index.js";
import { nearest } from "../text.js";

/** What {@link applyRules} looks at. */
export interface RuledJob {
  /** With the defaults of config.yaml filled in. */
  spec: JobSpec;
  /** What was asked for in so many words, without those defaults. */
  asked: Resources;
  cluster: ClusterConfig;
  card?: RunnerCard | undefined;
  /** What the cluster said when it was last asked. */
  known?: ClusterInfo | undefined;
}

/** A partition by whoever knows it best. */
interface Place {
  name: string;
  use: "batch" | "devel" | "scavenge" | "special";
  isDefault: boolean;
  maxSeconds?: number | undefined;
  /** Types; `gpu` stands for GPUs whose type the scheduler was not told. */
  gpus: readonly string[];
  cpusPerUser?: number | undefined;
  gpusPerUser?: number | undefined;
  submittedPerUser?: number | undefined;
}

/**
 * The resources as they will be asked for. `warnings` gets what is worth knowing. Throws UsageError, which says what there
 * is instead.
 */
export function applyRules(job: RuledJob, warnings: string[]): Pick<JobSpec, "resources" | "modules"> {
  const { spec, cluster, card, known } = job;
  const { site } = cluster;
  if (cluster.scheduler !== "slurm") return { resources: spec.resources };
  if (site?.windingDown !== undefined) warnings.push(site.windingDown);
  const places = placesOf(cluster, known);
  let resources = withGpus(job);
  resources = withPartition({ ...job, resources, places }, warnings);
  const place = places.find((p) => p.name === resources.partition);
  checkGpus(job, resources, places, place);
  checkTime(resources, cluster, places, place);
  checkCounts(resources, spec, cluster, place, known);
  if (place?.use === "scavenge")
    warnings.push(`Jobs in ${place.name} are ended whenever others need the nodes; they are queued again and go on.`);
  if (card !== undefined) checkFit(card, job, resources, warnings);
  // A runner sees one node: GPUs on others would stay idle.
  if (card !== undefined && gpuRequest(resources.gpus).count > 1) resources = { nodes: 1, ...resources };
  const conda = site?.condaModule;
  return {
    resources,
    // Where conda comes by a module, a job with an environment needs it.
    ...(spec.modules === undefined && (spec.env ?? "") !== "" && conda !== undefined ? { modules: [conda] } : {}),
  };
}

/** Tasks of one array that may run at once: the file's word, and what the site lets one person run in that partition. */
export function tasksAtOnce(cluster: ClusterConfig, partition: string | undefined): number | undefined {
  const place = cluster.site?.partitions.find((p) => p.name === partition);
  const limits = [cluster.policy.maxArrayRunning, place?.runningPerUser].filter((n) => n !== undefined);
  return limits.length === 0 ? undefined : Math.min(...limits);
}

/** `type` and count of a `gpus` value; no type where any will do. */
export function gpuRequest(gpus: string | undefined): { type?: string; count: number } {
  const m = /^(?:([a-z][a-z0-9_.-]*):?)?(\d+)?$/i.exec(gpus ?? "0");
  const count = Number(m?.[2] ?? 1);
  return m?.[1] === undefined ? { count } : { type: m[1], count };
}

function placesOf(cluster: ClusterConfig, known: ClusterInfo | undefined): Place[] {
  const profile = cluster.site?.partitions ?? [];
  if (known === undefined) return profile.map((p, i) => ({ ...p, gpus: p.gpus ?? [], isDefault: i === 0 }));
  const order = (name: string) => {
    const i = profile.findIndex((p) => p.name === name);
    return i < 0 ? profile.length : i;
  };
  return [...known.partitions]
    .sort((a, b) => order(a.name) - order(b.name))
    .map((p) => {
      const described = profile.find((d) => d.name === p.name);
      return {
        name: p.name,
        use: described?.use ?? guessUse(p.name, profile.length > 0),
        isDefault: p.default,
        maxSeconds: p.maxSeconds ?? described?.maxSeconds,
        gpus: p.gpus.map((g) => g.type),
        cpusPerUser: described?.cpusPerUser,
        gpusPerUser: p.gpusPerUser ?? described?.gpusPerUser,
        submittedPerUser: p.submittedPerUser ?? described?.submittedPerUser,
      };
    });
}

/** Where a profile describes what is for everybody, the rest is for single groups. */
function guessUse(name: string, described: boolean): Place["use"] {
  if (/scav|preempt/i.test(name)) return "scavenge";
  if (/devel|debug|interact|test/i.test(name)) return "devel";
  return described ? "special" : "batch";
}

/** A runner that works on GPUs gets what it uses. */
function withGpus({ spec, card, cluster }: RuledJob): Resources {
  if (card === undefined || card.gpus === 0 || gpuRequest(spec.resources.gpus).count > 0) return spec.resources;
  if (spec.resources.gpus !== undefined)
    throw new UsageError(
      `The runner ${card.name} needs ${card.gpus === 1 ? "a GPU" : `${card.gpus} GPUs`}, and none was asked for.`,
      `Leave gpus out, or name a type: ${types(cluster).join(", ") || "such as a100:1"}.`,
    );
  return { ...spec.resources, gpus: String(card.gpus) };
}

function withPartition(job: RuledJob & { resources: Resources; places: Place[] }, warnings: string[]): Resources {
  const { resources, places, asked, cluster, known, card } = job;
  const { type, count } = gpuRequest(resources.gpus);
  const named = places.find((p) => p.name === resources.partition);
  // The default partition of a config.yaml is meant for most jobs: one that needs no GPU does not hold a GPU node.
  const unfit = asked.partition === undefined && count === 0 && (named?.gpus.length ?? 0) > 0 && named?.use === "batch";
  if (resources.partition !== undefined && !unfit) {
    if (named === undefined) unknownPartition(resources.partition, cluster, places, known, warnings);
    return resources;
  }
  const seconds = timeSeconds(resources.time ?? "") ?? 0;
  const memory = (p: Place) =>
    type !== undefined ||
    p.gpus.every((g) => (gigabytes(cluster.site, g) ?? Number.POSITIVE_INFINITY) >= (card?.gpuMemory ?? 0));
  const fits = (p: Place) =>
    p.use === "batch" &&
    (p.maxSeconds ?? Number.POSITIVE_INFINITY) >= seconds &&
    (count === 0 ? p.gpus.length === 0 : p.gpus.length > 0 && has(p, type) && memory(p));
  const candidates = places.filter(fits);
  const chosen = candidates.find((p) => p.isDefault) ?? candidates[0];
  if (chosen === undefined) return resources;
  if (unfit)
    warnings.push(
      `The job needs no GPU: it goes to ${chosen.name} instead of ${resources.partition}, the default of config.yaml.`,
    );
  return { ...resources, partition: chosen.name };
}

function unknownPartition(
  name: string,
  cluster: ClusterConfig,
  places: Place[],
  known: ClusterInfo | undefined,
  warnings: string[],
): void {
  const names = places.map((p) => p.name);
  const near = nearest(name, names);
  const meant = near === undefined ? "" : ` (did you mean "${near}"?)`;
  if (known !== undefined)
    throw new UsageError(
      `${cluster.name} has no partition ${JSON.stringify(name)} for you${meant}.`,
      `It has: ${names.join(", ")}. \`yale cluster info ${cluster.name}\` asks again.`,
    );
  // A profile holds what everybody may use; a group's own partition is not in it.
  if (cluster.site !== undefined && near !== undefined)
    warnings.push(`The profile of ${cluster.site.title} knows no partition ${JSON.stringify(name)}${meant}.`);
}

function checkGpus(job: RuledJob, resources: Resources, places: Place[], place: Place | undefined): void {
  const { cluster, known } = job;
  const { type, count } = gpuRequest(resources.gpus);
  if (count === 0) return;
  const all = [...new Set(places.flatMap((p) => p.gpus))];
  const elsewhere = places.filter((p) => type !== undefined && p.gpus.includes(type));
  if (type !== undefined && all.length > 0 && elsewhere.length === 0 && !all.includes("gpu")) {
    // A group's own partition may have what the profile does not know.
    if (known === undefined && resources.partition !== undefined && place === undefined) return;
    const near = nearest(type, all);
    throw new UsageError(
      `${cluster.name} has no GPU of type ${JSON.stringify(type)}${near === undefined ? "" : ` (did you mean "${near}"?)`}.`,
      `It has: ${all.join(", ")}${source(cluster, known)}.`,
    );
  }
  if (place === undefined) return;
  if (place.gpus.length === 0 || !has(place, type))
    throw new UsageError(
      `The partition ${place.name} of ${cluster.name} has no ${type === undefined ? "GPUs" : `GPU of type ${JSON.stringify(type)}`}.`,
      [
        ...(place.gpus.length === 0 ? [] : [`It has: ${place.gpus.join(", ")}.`]),
        ...(elsewhere.length === 0 && type !== undefined
          ? []
          : [
              `Use ${(type === undefined ? places.filter((p) => p.gpus.length > 0) : elsewhere).map((p) => p.name).join(" or ")}, or leave partition out.`,
            ]),
      ].join(" "),
    );
  if (place.gpusPerUser !== undefined && count > place.gpusPerUser)
    throw new UsageError(
      `In ${place.name} one person may have ${place.gpusPerUser === 1 ? "one GPU" : `${place.gpusPerUser} GPUs`} at once, and ${count} were asked for.`,
      "Ask for fewer: split the pages with shards, and each task needs its own only while it runs.",
    );
}

function checkTime(resources: Resources, cluster: ClusterConfig, places: Place[], place: Place | undefined): void {
  const seconds = timeSeconds(resources.time ?? "");
  if (seconds === undefined) return;
  const fits = (p: Place) => (p.maxSeconds ?? Number.POSITIVE_INFINITY) >= seconds;
  const { type, count } = gpuRequest(resources.gpus);
  const like = places.filter((p) => (count === 0 ? p.gpus.length === 0 : p.gpus.length > 0 && has(p, type)));
  // No partition was named or chosen, and not one would take it.
  const [longest] = [...like].sort((a, b) => (b.maxSeconds ?? 0) - (a.maxSeconds ?? 0));
  const limit = place ?? (resources.partition === undefined && !like.some(fits) ? longest : undefined);
  if (limit === undefined || fits(limit)) return;
  const longer = like.filter((p) => fits(p) && p.use !== "devel").map((p) => p.name);
  throw new UsageError(
    `time: ${resources.time} is more than the ${duration(limit.maxSeconds ?? 0)} that ${limit.name} of ${cluster.name} allows.`,
    longer.length > 0
      ? `Ask for less, or for the partition ${longer.join(" or ")}.`
      : "Ask for less: a job that runs out of time goes on where it stopped when it is run again.",
  );
}

function checkCounts(
  resources: Resources,
  spec: JobSpec,
  cluster: ClusterConfig,
  place: Place | undefined,
  known: ClusterInfo | undefined,
): void {
  const tasks = spec.shards ?? 1;
  const array = known?.maxArraySize;
  if (array !== undefined && tasks > array)
    throw new UsageError(
      `shards: an array of ${cluster.name} has at most ${array} tasks, and ${tasks} were asked for.`,
    );
  // Every task of an array counts as a job.
  const most = place?.submittedPerUser;
  if (most !== undefined && tasks > most)
    throw new UsageError(
      `shards: in ${place?.name} one person may have ${most === 1 ? "one job" : `${most} jobs`} at once, and ${tasks} were asked for.`,
      "Use a partition for batch work, or fewer shards.",
    );
  const cpus = place?.cpusPerUser;
  if (cpus !== undefined && (resources.cpus ?? 1) > cpus)
    throw new UsageError(
      `cpus: in ${place?.name} one person may have ${cpus} at once, and ${resources.cpus} were asked for.`,
      "Ask for fewer, or for another partition.",
    );
}

/** Generations before Ampere: vLLM refuses models in bfloat16 there, and nearly all are. By the names that sites give them. */
const WITHOUT_BFLOAT16 = /^(?:[kmp]\d+|gtx.*|titan.*|v100s?|t4|(?:quadro_?)?rtx_?(?:20[5-8]0.*|[34568]000))$/i;

/** What the runner would make of the GPUs that are asked for: none of them may stay idle, and the model should fit. */
function checkFit(card: RunnerCard, job: RuledJob, resources: Resources, warnings: string[]): void {
  const { spec, cluster } = job;
  const { type, count } = gpuRequest(resources.gpus);
  if (card.gpus === 0 || count === 0) return;
  const has = type === undefined ? undefined : gigabytes(cluster.site, type);
  const needs = card.gpuMemory ?? 0;
  if (type !== undefined && WITHOUT_BFLOAT16.test(type)) {
    const what = `The runner ${card.name} computes in bfloat16, which ${type} does not know`;
    const able = types(cluster).filter((t) => !WITHOUT_BFLOAT16.test(t));
    const fit = able.filter((t) => (gigabytes(cluster.site, t) ?? 0) >= needs);
    // Other weights may be in other numbers.
    if (spec.options.modelId === undefined)
      throw new UsageError(
        `${what}: vLLM would not start there.`,
        `Ask for one of Ampere or later: ${(fit.length > 0 ? fit : able).join(", ") || "such as a100:1"}.`,
      );
    warnings.push(`${what}: vLLM starts there only if these weights are in float16.`);
  }
  const asked = spec.options.tensorParallel;
  const each = typeof asked === "number" ? asked : gpusForOne(needs, has, count);
  if (count % each !== 0) {
    const fewer = count - (count % each);
    const gpus = (n: number) => (type === undefined ? `${n}` : `${type}:${n}`);
    throw new UsageError(
      `One copy of the model of ${card.name} takes ${each} GPUs, and ${count} were asked for: ${count % each} would stay idle.`,
      `Ask for ${fewer === 0 ? gpus(each) : `${gpus(fewer)} or ${gpus(fewer + each)}`}.`,
    );
  }
  if (has !== undefined && has * each < needs)
    warnings.push(
      `The runner ${card.name} wants ${needs} GB of GPU memory, and ${each === 1 ? `${type} has` : `${each} of ${type} have`} ${has * each}.`,
    );
}

/** GPUs that hold one copy of a model, as the runner reckons them (`gpus_for_one` in runners/vision/server.py). */
function gpusForOne(needs: number, has: number | undefined, most: number): number {
  let each = 1;
  while (has !== undefined && each * 2 <= most && has * each < needs * 0.92) each *= 2;
  return each;
}

function gigabytes(site: SiteProfile | undefined, type: string): number | undefined {
  return site?.gpus.find((g) => g.type === type)?.gigabytes;
}

function has(place: Place, type: string | undefined): boolean {
  return type === undefined || place.gpus.includes(type) || place.gpus.includes("gpu");
}

function types(cluster: ClusterConfig): string[] {
  return cluster.site?.gpus.map((g) => g.type) ?? [];
}

function source(cluster: ClusterConfig, known: ClusterInfo | undefined): string {
  if (known !== undefined) return ` (asked on ${known.askedAt.slice(0, 10)})`;
  return cluster.site === undefined ? "" : ` (by the site's pages of ${cluster.site.checked})`;
}
