/** What the end of a job means: from the scheduler's word and the runner's exit code to a state and a sentence. */
import type { JobRecord, JobState } from "../protocol.js";
import type { Observation } from "../schedulers/index.js";

/** How a job ended. */
export interface Outcome {
  state: JobState;
  reason?: string;
  error?: { code: string; what: string; fix: string };
}

/** Exit codes of the runner contract, in words. */
const RUNNER_EXITS: Readonly<Record<number, { what: string; fix: string }>> = {
  64: { what: "The runner refused its options.", fix: "The log says which; correct it and submit again." },
  66: {
    what: "The runner could not read its input dataset.",
    fix: "Submit again; the pages are prepared and uploaded anew.",
  },
  69: {
    what: "The model's server never got ready.",
    fix: "The log holds its messages: memory, driver or model weights are the usual causes.",
  },
  70: { what: "The runner failed by a fault of its own.", fix: "The log shows where; please report it." },
  75: { what: "The job was stopped before all pages were done.", fix: "" },
  126: { what: "The job's command can't be executed.", fix: "Check `env` and `modules`." },
  127: { what: "A command of the job was not found.", fix: "Check `env` and `modules`; the log names the command." },
};

/** The state a job ends in. Exit 3 of a runner is `completed`: pages in error are counted and stand in their column. */
export function endOf(record: JobRecord, o: Observation): Outcome {
  const again = `\`yale jobs retry ${record.id}\` goes on where it stopped`;
  const { failed } = record.progress;
  if (o.state === "completed" || (o.state === "failed" && o.exitCode === 3 && record.spec.kind === "ocr"))
    return {
      state: "completed",
      ...(failed > 0 ? { reason: `${failed} ${failed === 1 ? "page" : "pages"} ended in an error.` } : {}),
    };
  const errors: Partial<Record<JobState, { code: string; what: string; fix: string }>> = {
    cancelled: { code: "cancelled", what: o.reason ?? "It was cancelled.", fix: `${again}.` },
    timeout: { code: "timeout", what: "It reached its time limit.", fix: `${again}; ask for more with \`time\`.` },
    out_of_memory: {
      code: "out_of_memory",
      what: "It used more memory than it had asked for.",
      fix: `Ask for more with \`memory\`; ${again}.`,
    },
    node_fail: { code: "node_lost", what: "The node that it ran on failed.", fix: `${again}.` },
    preempted: { code: "node_lost", what: "It had to make room for another job.", fix: `${again}.` },
    lost: { code: "job_failed", what: "The scheduler knows nothing of it any more.", fix: `${again}.` },
  };
  const known = errors[o.state];
  if (known !== undefined) return { state: o.state, reason: o.reason ?? known.what, error: known };
  // A shell says 128 and the signal's number of a child that a signal ended.
  const signal = o.signal || ((o.exitCode ?? 0) > 128 && (o.exitCode ?? 0) <= 192 ? (o.exitCode ?? 0) - 128 : 0);
  const exit = o.exitCode === undefined ? undefined : RUNNER_EXITS[o.exitCode];
  const what =
    signal > 0
      ? `It was ended by signal ${signal}${signal === 9 ? " (killed)" : ""}.`
      : exit !== undefined && (record.spec.kind === "ocr" || (o.exitCode ?? 0) > 100)
        ? exit.what
        : `${record.spec.kind === "run" ? "The script" : "The runner"} ended with exit code ${o.exitCode ?? "unknown"}.`;
  const fix = exit?.fix || `The log says why; ${again}.`;
  return { state: "failed", reason: what, error: { code: "job_failed", what, fix } };
}
