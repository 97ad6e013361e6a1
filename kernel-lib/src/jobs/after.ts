/** Whether a job may be submitted as far as the jobs before it are concerned. Pure. */
import { isEnd, type JobRecord, type JobSpec } from "../protocol.js";

/** The answer: wait here, never, or now, with the scheduler ids that the scheduler is to wait for. */
export type Turn =
  | { turn: "wait"; reason: string }
  | { turn: "never"; reason: string }
  | { turn: "now"; after: { schedulerId: string; condition: "afterok" | "afterany" }[] };

/**
 * Decides by the records of the jobs before. What has ended is decided here: SLURM runs a job whose dependency names an
 * id that it has forgotten (22.05; `afterok` on an unknown id is taken as met). `record` gives undefined for a job that
 * nobody knows any more.
 */
export function turnOf(spec: JobSpec, record: (id: string) => JobRecord | undefined): Turn {
  const after: { schedulerId: string; condition: "afterok" | "afterany" }[] = [];
  for (const { job, condition } of spec.after ?? []) {
    const other = record(job);
    if (other === undefined)
      return { turn: "never", reason: `Job ${job}, after which it was to start, is not known any more.` };
    if (isEnd(other.state)) {
      // `completed` covers pages in error (exit 3): the next job finds them in their column.
      if (condition === "afterok" && other.state !== "completed")
        return {
          turn: "never",
          reason: `Job ${other.id}, after which it was to start, ended as ${other.state.replaceAll("_", " ")}.`,
        };
    } else if (other.schedulerId === undefined)
      return { turn: "wait", reason: `Waits until job ${other.id} is submitted; that one is ${other.state}.` };
    else if (other.spec.cluster !== spec.cluster || other.spec.config !== spec.config)
      return { turn: "wait", reason: `Waits for the end of job ${other.id} on ${other.spec.cluster}.` };
    else if (other.state !== "completing") after.push({ schedulerId: other.schedulerId, condition });
    // The scheduler is done with it and may forget it; what it ended as is known in a moment.
    else return { turn: "wait", reason: `Waits for job ${other.id}, which is ending.` };
  }
  return { turn: "now", after };
}
