/** What a job will take, before it is submitted. */
import type { Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import type { Estimate } from "../protocol.js";
import { type ResolvedJob, scriptPlan } from "./plan.js";

/** Estimates a job; `open` gives the line to its cluster. */
export async function estimateJob(
  job: ResolvedJob,
  open: (cluster: ClusterConfig) => Promise<Transport>,
): Promise<Estimate> {
  const transport = await open(job.cluster);
  const script = job.scheduler.script(scriptPlan(job, "estimate", "/tmp", 1, []));
  const answer = await job.scheduler.test(transport, script);
  if ("refusal" in answer) return { refusal: answer.refusal, notes: [] };
  return { ...(answer.start === undefined ? {} : { expectedStart: answer.start }), notes: [] };
}
