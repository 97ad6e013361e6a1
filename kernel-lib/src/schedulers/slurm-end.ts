/** What one job, or one task of an array, is now: from its rows in the queue and in the accounts. */
import { isEnd, type JobState } from "../protocol.js";
import type { Observation } from "./index.js";
import { waiting } from "./slurm-reasons.js";
import type { Account } from "./slurm-sacct.js";
import type { QueueRow } from "./slurm-squeue.js";
import { mayComeBack, stateOf, stateWord } from "./slurm-states.js";
import { memoryGiven, ranOutOfMemory, stepNotes, usageOf } from "./slurm-usage.js";

/**
 * Milliseconds that an end which only the queue knows, or a task that neither part knows, waits for the accounts: slurmctld
 * tells slurmdbd within a second or two, and later where the cluster is busy.
 */
export const PATIENCE = 20_000;

/** What the queue said last of what is over, and when it first did: it forgets them after MinJobAge. */
export interface Over {
  row: QueueRow;
  since: number;
}

/** Whether the accounts are waited for no longer: they are down, or had their time. */
export function waitedEnough({ since }: Pick<Over, "since">, down: boolean): boolean {
  return down || Date.now() - since > PATIENCE;
}

/** A job that waits, runs or is being cleaned up, from the queue. */
export function fromQueue(row: QueueRow): Observation {
  const state = stateOf(row.state);
  const o: Observation = { state, raw: row.state, restarts: row.restarts };
  if (state === "queued") {
    const why = waiting(row.reason);
    o.reason = row.state === "CONFIGURING" ? "Its nodes are being made ready." : why.text;
    o.held = why.held === true;
    if (why.never === true) o.never = true;
    if (row.startedAt !== undefined) o.expectedStart = row.startedAt;
  } else if (row.startedAt !== undefined && state !== "unknown") o.startedAt = row.startedAt;
  if (row.state === "SUSPENDED" || row.state === "STOPPED")
    o.reason = `SLURM has stopped it for a while to make room for another job (${row.state}).`;
  if (state === "unknown") o.reason = `SLURM says ${JSON.stringify(row.state)}, which this version does not know.`;
  return o;
}

/** The end of a job as the queue remembers it: state and exit code, no figures. */
export function endFromQueue(row: QueueRow): Observation {
  const { exitCode = 0, signal = 0 } = row.exit ?? {};
  const started = row.nodes === "" ? undefined : row.startedAt;
  const end = ended(row.state, {
    exitCode,
    signal,
    started: started !== undefined,
    reason: row.reason,
    nodes: row.nodes,
  });
  return {
    ...end,
    restarts: row.restarts,
    ...(started === undefined ? {} : { startedAt: started }),
    ...(row.endedAt === undefined ? {} : { endedAt: row.endedAt }),
    ...(end.state === "completed" && (row.derived?.exitCode ?? 0) + (row.derived?.signal ?? 0) > 0
      ? { notes: ["A step of it failed, although the script returned 0."] }
      : {}),
  };
}

/**
 * A job from the accounts: its end with all figures, or how it is where the queue does not answer. `row` is its end in the
 * queue, if that still has it. Its exit status is the true one: sacct subtracts 128 from exit codes above (22.05; no more
 * in 26.05), so that 139, a child that signal 11 ended, looks like exit code 11. So is its reason, which the accounts
 * forget when a job is cancelled.
 */
export function fromAccounts(a: Account, row?: QueueRow): Observation {
  const word = stateWord(a.state);
  const { exitCode = 0, signal = 0 } = row?.exit ?? a.exit ?? {};
  const times = {
    ...(a.startedAt === undefined || a.nodes === "" ? {} : { startedAt: a.startedAt }),
    ...(a.endedAt === undefined ? {} : { endedAt: a.endedAt }),
  };
  if (!isEnd(stateOf(word))) {
    const o: Observation = { state: stateOf(word), raw: a.state, ...times };
    return o.state === "queued" ? { ...o, reason: "It waits in the queue." } : o;
  }
  const by = /^CANCELLED by (\d+)/.exec(a.state)?.[1];
  const memory = memoryGiven(a);
  const noMemory = word === "FAILED" && ranOutOfMemory(a);
  const end = ended(noMemory ? "OUT_OF_MEMORY" : word, {
    exitCode,
    signal,
    started: a.nodes !== "",
    reason: row?.reason ?? a.reason,
    accounts: true,
    nodes: a.nodes,
    ...(by === undefined ? {} : { by, mine: by === a.uid }),
    ...(a.limit === undefined ? {} : { limit: a.limit }),
    ...(memory === undefined ? {} : { memory }),
  });
  const usage = usageOf(a);
  const notes = stepNotes(a);
  return {
    ...end,
    raw: a.state,
    ...times,
    ...(usage === undefined ? {} : { usage }),
    ...(notes.length === 0 ? {} : { notes }),
  };
}

/** What the reason of an end is made of. */
interface EndFacts {
  exitCode: number;
  signal: number;
  started: boolean;
  reason: string;
  nodes: string;
  /** True if they come from the accounts. */
  accounts?: boolean;
  /** Number of the user who cancelled it, and whether that is its owner. */
  by?: string;
  mine?: boolean;
  /** Minutes. */
  limit?: number;
  /** Bytes. */
  memory?: number;
}

/** State, exit status and a sentence; of failures the exit code says more than SLURM, so they have none. */
function ended(word: string, f: EndFacts): Observation {
  const state: JobState = stateOf(word);
  const reason = endReason(stateWord(word), f);
  // SLURM's exit code means something only if the script came to its own end.
  const own = state === "completed" || state === "failed";
  return {
    state,
    raw: word,
    ...(own ? { exitCode: f.exitCode } : {}),
    ...(f.signal > 0 && own ? { signal: f.signal } : {}),
    ...(reason === undefined ? {} : { reason }),
  };
}

function endReason(word: string, f: EndFacts): string | undefined {
  switch (word) {
    case "CANCELLED":
      if (f.by !== undefined) {
        const who = f.mine ? "by you" : f.by === "0" ? "by an administrator of the cluster" : `by user ${f.by}`;
        return `Cancelled ${who}${f.started ? "" : " before it started"}.`;
      }
      // The accounts name whoever cancels a job. What SLURM itself cancels before it starts is what waits in vain.
      if (/^Dependency/.test(f.reason) || (f.accounts === true && !f.started))
        return "SLURM cancelled it: the job after which it was to start did not end well (DependencyNeverSatisfied).";
      return f.started ? "It was cancelled." : "It was cancelled before it started.";
    case "REVOKED":
      return "Another cluster of the federation took it (REVOKED).";
    case "TIMEOUT":
      return `It reached its time limit${f.limit === undefined ? "" : ` of ${minutes(f.limit)}`}.`;
    case "DEADLINE":
      return "It could not end before its deadline any more (DEADLINE).";
    case "OUT_OF_MEMORY":
      return `It used more memory than ${f.memory === undefined ? "it had asked for" : `the ${size(f.memory)} that it had`}.`;
    case "NODE_FAIL":
      return `${f.nodes === "" ? "Its node" : `The node ${f.nodes}, on which it ran,`} failed.`;
    case "BOOT_FAIL":
      return "Its node could not be started (BOOT_FAIL).";
    case "PREEMPTED":
      return "It had to make room for a job of higher priority.";
    case "FAILED":
      // SLURM's own number for a batch script that could not be started. Its reason JobLaunchFailure says less: it stands
      // also for a script that any other signal ended (22.05).
      if (f.signal === 53) return "It could not be started: its folder or its log file can't be opened on the node.";
      return undefined;
    default:
      return undefined;
  }
}

function minutes(n: number): string {
  const [days, hours, rest] = [Math.floor(n / 1440), Math.floor((n % 1440) / 60), n % 60];
  const clock = `${String(hours).padStart(2, "0")}:${String(rest).padStart(2, "0")}:00`;
  return days > 0 ? `${days}-${clock}` : clock;
}

function size(bytes: number): string {
  const gib = bytes / 1024 ** 3;
  return gib >= 1 ? `${Number(gib.toFixed(1))} GiB` : `${Math.round(bytes / 1024 ** 2)} MiB`;
}

/**
 * True if the accounts tell the end of this job. `queue`: whether slurmctld answered, and so would have the job if it
 * were to run again. Without it a run that was preempted or lost its node may be followed by another.
 */
export function isSureEnd(a: Account, queue: boolean): boolean {
  return isEnd(stateOf(a.state)) && !isHalf(a) && (queue || !mayComeBack(a.state));
}

/**
 * True of an end whose time is missing. Of a job that ends before slurmdbd has taken in its start, slurmctld sends the start
 * with the state of the end first, and what is known of the end (its time, its exit code, who cancelled it) after it: where
 * slurmdbd is slow, seconds lie between them (22.05).
 */
export function isHalf(a: Account): boolean {
  return isEnd(stateOf(a.state)) && a.endedAt === undefined;
}
