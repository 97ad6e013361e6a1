/**
 * Whether a job that ended badly is run again by itself, with what, and why: a pure table. Only what may pass is tried
 * again (a node that failed, room made for others, a limit that can be raised or gone on from), and only so often.
 */
import type { JobRecord, JobState, Resources } from "../protocol.js";
import type { Outcome } from "./outcome.js";

/** Times that a job is run again by itself if it says nothing else. */
export const RETRIES = 3;

/** What bounds the next attempt. */
export interface RetryLimits {
  /** Memory in bytes that the partition's nodes have, where that is known. */
  memoryBytes?: number;
}

/** What was decided; `note` is for the record. */
export type Retry = { again: false; note?: string } | { again: true; note: string; resources?: Partial<Resources> };

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** Decides on a job whose present attempt ended as `outcome`; `record` still stands as the attempt left it. */
export function decideRetry(record: JobRecord, outcome: Outcome, limits: RetryLimits = {}): Retry {
  const cause = causeOf(record, outcome);
  if (cause === undefined) return { again: false };
  const most = record.spec.retries ?? RETRIES;
  if (most === 0) return { again: false };
  const tried = automatic(record);
  const why = (outcome.reason ?? outcome.state.replaceAll("_", " ")).replace(/\.$/, "");
  const attempt = `Attempt ${record.attempt} ended (${why})`;
  if (tried >= most)
    return {
      again: false,
      note: `${attempt}; it was run again ${tried === 1 ? "once" : `${tried} times`} by itself and is not any more.`,
    };
  if (cause === "limit" && gained(record) <= 0)
    return { again: false, note: `${attempt} and added no page, so the next would not either: it is not run again.` };
  const how = record.spec.kind === "ocr" ? "goes on where it stopped" : "is run again from its beginning";
  const next = `attempt ${record.attempt + 1}`;
  if (cause !== "memory") return { again: true, note: `${attempt}; ${next} ${how}.` };

  const asked = memoryBytes(record.spec.resources.memory) ?? record.usage?.memoryAskedBytes;
  if (asked === undefined)
    return {
      again: false,
      note: `${attempt}; how much it had is not known, so more can't be asked for: set \`memory\`.`,
    };
  const memory = moreMemory(asked, limits.memoryBytes);
  if (memory === undefined)
    return { again: false, note: `${attempt}; it had ${memoryText(asked)}, and the nodes have no more to give.` };
  return {
    again: true,
    note: `${attempt}; ${next} gets ${memory} instead of ${memoryText(asked)} and ${how}.`,
    resources: { memory },
  };
}

/** `transient`: the same again may do. `limit`: go on. `memory`: ask for more. Undefined: it would end the same way. */
function causeOf(record: JobRecord, outcome: Outcome): "transient" | "limit" | "memory" | undefined {
  const causes: Partial<Record<JobState, "transient" | "limit" | "memory">> = {
    node_fail: "transient",
    preempted: "transient",
    out_of_memory: "memory",
  };
  // A script knows nothing of what it did before: the next run would reach the same limit.
  const goesOn = record.spec.kind === "ocr";
  if (goesOn && (outcome.state === "timeout" || (outcome.state === "failed" && record.exitCode === 75))) return "limit";
  return causes[outcome.state];
}

/** Attempts since a person last asked for one. */
function automatic(record: JobRecord): number {
  let n = 0;
  for (const earlier of [...(record.earlier ?? [])].reverse()) {
    if (!earlier.automatic) break;
    // Cancelled by the scheduler because of the job before it: no fault of this one.
    if (earlier.state !== "cancelled") n += 1;
  }
  return n;
}

/** Pages that the present attempt added. */
function gained(record: JobRecord): number {
  const before = record.earlier?.at(-1);
  if (before === undefined) return record.progress.done;
  // A person's attempt does the pages in error again.
  return record.progress.done - before.done + (before.automatic ? 0 : (before.failed ?? 0));
}

/** How often a person asked for the job to be run again. */
export function timesAsked(record: Pick<JobRecord, "earlier">): number {
  return (record.earlier ?? []).filter((e) => !e.automatic).length;
}

/** Twice as much up to 16 GiB, half as much again above, in whole GiB; undefined where that would be no real gain. */
function moreMemory(asked: number, cap: number | undefined): string | undefined {
  const wanted = asked < 16 * GIB ? asked * 2 : asked * 1.5;
  const given = Math.min(wanted, cap ?? Number.POSITIVE_INFINITY);
  // A tenth more of what was too little is a job that fails once more.
  if (given < asked * 1.1) return undefined;
  // Rounded up, but not beyond what there is.
  if (given < GIB) return `${Math.ceil(given / MIB)}M`;
  return given === cap ? `${Math.floor(given / MIB)}M` : `${Math.ceil(given / GIB)}G`;
}

/** Makes the record that of its next attempt, which goes on in the same folder; `state` is how the last one ended. */
export function beginAttempt(
  record: JobRecord,
  state: JobState,
  how: { automatic: boolean; resources?: Partial<Resources> },
): void {
  const { attempt, schedulerId, progress } = record;
  const ended = {
    attempt,
    ...(schedulerId === undefined ? {} : { schedulerId }),
    state,
    done: progress.done,
    failed: progress.failed,
    automatic: how.automatic,
  };
  record.earlier = [...(record.earlier ?? []), ended].slice(-100);
  record.attempt += 1;
  record.state = "preparing";
  record.spec = { ...record.spec, resources: { ...record.spec.resources, ...how.resources } };
  for (const key of PER_ATTEMPT) delete record[key];
}

/** What the record says of one attempt only. */
const PER_ATTEMPT = [
  ...([
    "schedulerId",
    "submitting",
    "cancelling",
    "coming",
    "submittedAt",
    "startedAt",
    "endedAt",
    "exitCode",
    "signal",
  ] as const),
  ...(["error", "reason", "raw", "held", "expectedStart", "tasks", "usage", "heardAt"] as const),
] as const;

/** Bytes of a memory in SLURM's form, `32G`; undefined for anything else. */
export function memoryBytes(text: string | undefined): number | undefined {
  const m = /^(\d+)([KMGT])$/.exec(text ?? "");
  return m === null ? undefined : Number(m[1]) * 1024 ** ("KMGT".indexOf(m[2] ?? "") + 1);
}

function memoryText(bytes: number): string {
  return bytes % GIB === 0 ? `${bytes / GIB}G` : `${Math.round(bytes / MIB)}M`;
}
