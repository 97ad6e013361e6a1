/** How fast a runner is on the hardware asked for: by this user's own finished jobs, else by its card. Pure. */
import { count } from "../display/index.js";
import { isEnd, type JobRecord, type JobSpec } from "../protocol.js";
import type { RunnerCard } from "../runners.js";
import { gpuRequest } from "./rules.js";

/** Jobs that are looked back at. */
const LOOK_BACK = 10;
/** Pages that make a figure: fewer say more of the start than of the speed. */
const ENOUGH_PAGES = 20;

/** Pages a second of one task, and where that comes from. */
export interface Speed {
  pagesPerSecond: number;
  basis: string;
}

/** Undefined where nobody has measured it. `records` are newest first. */
export function speedOf(
  spec: JobSpec,
  card: RunnerCard,
  records: readonly JobRecord[],
  cores: number,
): Speed | undefined {
  return ofRecords(spec, card, records) ?? ofCard(spec, card, cores);
}

function ofRecords(spec: JobSpec, card: RunnerCard, records: readonly JobRecord[]): Speed | undefined {
  let [pages, seconds, jobs] = [0, 0, 0];
  for (const record of records) {
    if (jobs === LOOK_BACK) break;
    const work = workOf(record, spec, card);
    if (work === undefined) continue;
    pages += work.pages;
    seconds += work.seconds;
    jobs += 1;
  }
  if (pages < ENOUGH_PAGES || seconds <= 0) return undefined;
  const what = jobs === 1 ? "your last job" : `your last ${jobs} jobs`;
  return { pagesPerSecond: pages / seconds, basis: `${what} of this kind (${count(pages, "page")})` };
}

/** Pages and seconds of work of one ended job of the same runner on the same hardware. */
function workOf(record: JobRecord, spec: JobSpec, card: RunnerCard): { pages: number; seconds: number } | undefined {
  const { done, failed } = record.progress;
  const [was, is] = [gpuRequest(record.spec.resources.gpus), gpuRequest(spec.resources.gpus)];
  if (!isEnd(record.state) || record.spec.runner !== card.name || record.attempt !== 1 || done - failed < 1)
    return undefined;
  if (record.spec.cluster !== spec.cluster || was.type !== is.type || was.count !== is.count) return undefined;
  if (is.count === 0 && record.spec.resources.cpus !== spec.resources.cpus) return undefined;
  const tasks = record.spec.shards ?? 1;
  const gpuSeconds = record.usage?.gpuSeconds;
  const wall =
    record.usage?.elapsedSeconds ?? (Date.parse(record.endedAt ?? "") - Date.parse(record.startedAt ?? "")) / 1000;
  // Of an array only the sum over its tasks says how long they worked.
  const seconds = tasks > 1 ? (gpuSeconds === undefined ? Number.NaN : gpuSeconds / is.count) : wall;
  if (!(seconds > 0)) return undefined;
  const start = Math.min((card.startSeconds ?? 0) * tasks, seconds / 2);
  return { pages: done, seconds: seconds - start };
}

function ofCard(spec: JobSpec, card: RunnerCard, cores: number): Speed | undefined {
  const speeds = card.pagesPerSecond ?? {};
  const { type, count: gpus } = gpuRequest(spec.resources.gpus);
  if (gpus === 0) {
    const each = speeds.core;
    if (each === undefined) return undefined;
    const asked = spec.options.batchSize;
    // The runner takes a page for each core, and no more than four at once unless it is told so.
    const used = Math.min(cores, typeof asked === "number" ? asked : 4);
    return { pagesPerSecond: each * used, basis: `the runner's card, ${count(used, "core")}` };
  }
  const each = type === undefined ? undefined : speeds[type];
  if (each === undefined) return undefined;
  return { pagesPerSecond: each * gpus, basis: `the runner's card, on ${type}` };
}
