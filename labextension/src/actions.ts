/** What can be done with a job in its present state. */
import { isEnd, type JobRecord } from "yale-jobs/protocol";

/** The actions on jobs, by the last part of their command's name. */
export const ACTIONS = [
  "open",
  "results",
  "cancel",
  "hold",
  "release",
  "retry",
  "rerun",
  "download",
  "folder",
  "copy-cell",
  "copy-id",
  "remove",
] as const;
/** One of {@link ACTIONS}. */
export type Action = (typeof ACTIONS)[number];

/** True if the action makes sense for the job as it is. */
export function allows(job: JobRecord, action: Action): boolean {
  const ended = isEnd(job.state);
  switch (action) {
    case "open":
    case "copy-cell":
    case "copy-id":
      return true;
    case "results":
      return job.jobDir !== undefined && job.spec.kind === "ocr" && (ended || job.progress.done > 0);
    case "cancel":
      return !ended && job.state !== "completing" && job.cancelling !== true;
    case "hold":
      return job.state === "queued" && job.schedulerId !== undefined && job.held !== true;
    case "release":
      return job.state === "queued" && job.held === true;
    case "retry":
      // What is done is done: there is nothing left to go on with.
      return ended && job.state !== "completed";
    case "rerun":
    case "remove":
      return ended;
    case "download":
    case "folder":
      return job.jobDir !== undefined;
  }
}
