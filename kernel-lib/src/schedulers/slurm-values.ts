/** Values as SLURM's commands print them, read. Pure. */

/**
 * A time of `squeue` or `sacct` as ISO 8601: they print it without a zone, and are asked with `TZ=UTC`. Undefined for
 * `N/A`, `Unknown` and `None`, which mean that it has not come yet.
 */
export function isoTime(value: string): string | undefined {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/.test(value) ? `${value}.000Z` : undefined;
}

/** How a process ended: its exit code, or the signal that ended it (then the code is 0). */
export interface ExitStatus {
  exitCode: number;
  signal: number;
}

/**
 * `code:signal` of `sacct`, and what `squeue` prints: the same since 23.11, the number of wait(2) before (768 for exit
 * code 3). Undefined if it is neither, such as the empty field of a step whose node was lost.
 */
export function exitStatus(value: string): ExitStatus | undefined {
  const pair = /^(\d+):(\d+)$/.exec(value);
  if (pair !== null) return { exitCode: Number(pair[1]), signal: Number(pair[2]) };
  if (!/^\d+$/.test(value)) return undefined;
  const status = Number(value);
  // The low seven bits are the signal, the eighth tells of a core file.
  const signal = status & 127;
  return signal === 0 ? { exitCode: (status >> 8) & 255, signal: 0 } : { exitCode: 0, signal };
}

/** Seconds of `[DD-[HH:]]MM:SS[.mmm]`, the form of `TotalCPU`. */
export function cpuSeconds(value: string): number | undefined {
  const m = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)$/.exec(value);
  if (m === null) return undefined;
  return ((Number(m[1] ?? 0) * 24 + Number(m[2] ?? 0)) * 60 + Number(m[3])) * 60 + Number(m[4]);
}

const UNITS = "KMGTP";

/** Bytes of a size such as `3260K`, `1.5G` or `0`; SLURM's units are powers of 1024. */
export function sizeBytes(value: string): number | undefined {
  const m = /^(\d+(?:\.\d+)?)([KMGTP])?$/.exec(value);
  if (m === null) return undefined;
  return Math.round(Number(m[1]) * 1024 ** (m[2] === undefined ? 0 : UNITS.indexOf(m[2]) + 1));
}

/** A list of trackable resources, such as `billing=1,cpu=4,gres/gpu:a100=1,gres/gpu=1,mem=16G,node=1`, by name. */
export function tresOf(value: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const part of value.split(",")) {
    const at = part.indexOf("=");
    if (at > 0) found.set(part.slice(0, at), part.slice(at + 1));
  }
  return found;
}

/** GPUs among trackable resources; sites that count only types are summed up. */
export function gpusOf(tres: ReadonlyMap<string, string>): number {
  const all = tres.get("gres/gpu");
  if (all !== undefined) return Number(all);
  let sum = 0;
  for (const [name, count] of tres) if (name.startsWith("gres/gpu:")) sum += Number(count);
  return sum;
}

/** A job id taken apart. */
export interface JobName {
  /** The number under which it was submitted. */
  job: string;
  /** Tasks of an array that this row stands for; undefined for a job, or an array as a whole. */
  tasks?: number[];
  /** Step, such as `batch`, `extern` or `0`. */
  step?: string;
}

/** `23`, `23_4`, `23_[4-7,9%3]`, `23_4.batch` and `23.0`; undefined for what is none of them. */
export function jobName(text: string): JobName | undefined {
  const m = /^(\d+)(?:_(?:(\d+)|\[([^\]]*)\]?))?(?:\+\d+)?(?:\.(.+))?$/.exec(text);
  if (m === null) return undefined;
  const [, job = "", task, range, step] = m;
  const tasks = task !== undefined ? [Number(task)] : range === undefined ? undefined : taskRange(range);
  return { job, ...(tasks === undefined ? {} : { tasks }), ...(step === undefined ? {} : { step }) };
}

/** `4-7,9%3` or `0-12:4` as numbers. */
function taskRange(range: string): number[] {
  const tasks: number[] = [];
  for (const part of range.replace(/%\d+$/, "").split(",")) {
    const m = /^(\d+)(?:-(\d+)(?::(\d+))?)?$/.exec(part);
    if (m === null) continue;
    const first = Number(m[1]);
    // More tasks than SLURM allows (MaxArraySize is at most 4,000,001) are no answer of SLURM's.
    const last = Math.min(Number(m[2] ?? first), first + 4_000_001);
    for (let n = first; n <= last; n += Math.max(1, Number(m[3] ?? 1))) tasks.push(n);
  }
  return tasks;
}
