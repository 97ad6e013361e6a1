/** SLURM's words for the state of a job (job_state_string in 22.05 to 26.05), and what they are here. Pure. */
import type { JobState } from "../protocol.js";

const STATES: Readonly<Record<string, JobState>> = {
  PENDING: "queued",
  CONFIGURING: "queued",
  POWER_UP_NODE: "queued",
  EXPEDITING: "queued",
  // `sacct` has these for a run that is over while the job waits for its next one.
  REQUEUED: "queued",
  REQUEUE_FED: "queued",
  REQUEUE_HOLD: "queued",
  SPECIAL_EXIT: "queued",
  RESV_DEL_HOLD: "queued",
  LAUNCH_FAILED: "queued",
  RUNNING: "running",
  SUSPENDED: "running",
  STOPPED: "running",
  SIGNALING: "running",
  RESIZING: "running",
  COMPLETING: "completing",
  STAGE_OUT: "completing",
  COMPLETED: "completed",
  FAILED: "failed",
  CANCELLED: "cancelled",
  REVOKED: "cancelled",
  TIMEOUT: "timeout",
  DEADLINE: "timeout",
  OUT_OF_MEMORY: "out_of_memory",
  NODE_FAIL: "node_fail",
  BOOT_FAIL: "node_fail",
  PREEMPTED: "preempted",
};

/** Words that may stand for one run of a job that SLURM has put back into the queue: an end only if the queue agrees. */
const MAY_COME_BACK: ReadonlySet<string> = new Set(["PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REQUEUED", "SPECIAL_EXIT"]);

/** The word itself: `CANCELLED` of `CANCELLED by 1001` and of a table's `CANCELLED+`. */
export function stateWord(raw: string): string {
  return /^[A-Z_]+/.exec(raw)?.[0] ?? raw;
}

/** The state that a word stands for; `unknown` for a word nobody knows. */
export function stateOf(raw: string): JobState {
  return STATES[stateWord(raw)] ?? "unknown";
}

/** True for a word after which the same job may run again. */
export function mayComeBack(raw: string): boolean {
  return MAY_COME_BACK.has(stateWord(raw));
}
