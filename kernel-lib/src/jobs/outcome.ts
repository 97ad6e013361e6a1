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
  3: { what: "The runner finished, with pages in error.", fix: "" },
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

/** Signals that end jobs, and what they mean there (signal(7); 53 is SLURM's own, for a script that it could not start). */
const SIGNALS: Readonly<Record<number, { name: string; means: string; fix?: string }>> = {
  1: { name: "SIGHUP", means: "its terminal or its parent process went away" },
  2: { name: "SIGINT", means: "it was interrupted" },
  4: {
    name: "SIGILL",
    means: "it used an instruction that the node's processor does not have",
    fix: "Choose another kind of node with `constraint`, or use a program that was built for it.",
  },
  6: { name: "SIGABRT", means: "it gave up by itself" },
  7: { name: "SIGBUS", means: "it lost memory that it used, often because a disk is full" },
  8: { name: "SIGFPE", means: "it made an arithmetic error" },
  9: { name: "SIGKILL", means: "it was killed, often for want of memory" },
  11: { name: "SIGSEGV", means: "a fault of the program itself" },
  13: { name: "SIGPIPE", means: "what it wrote to went away" },
  15: { name: "SIGTERM", means: "somebody told it to end" },
  24: { name: "SIGXCPU", means: "it used up its CPU time" },
  25: { name: "SIGXFSZ", means: "a file grew beyond its limit" },
  53: { name: "53", means: "its folder or its log file can't be opened on the node" },
};

/** Ends that say all by their state. `what` is used where the scheduler gave no reason. */
const ENDS: Partial<Record<JobState, { code: string; what: string; fix: (again: string) => string }>> = {
  timeout: {
    code: "timeout",
    what: "It reached its time limit.",
    fix: (again) => `${again}; ask for more with \`time\`.`,
  },
  out_of_memory: {
    code: "out_of_memory",
    what: "It used more memory than it had asked for.",
    fix: (again) => `Ask for more with \`memory\`; ${again}.`,
  },
  node_fail: { code: "node_lost", what: "The node that it ran on failed.", fix: (again) => `${again}.` },
  preempted: {
    code: "node_lost",
    what: "It had to make room for another job.",
    fix: (again) => `${again}; a partition without preemption would let it run through.`,
  },
  lost: { code: "job_failed", what: "The scheduler knows nothing of it any more.", fix: (again) => `${again}.` },
};

/** The state a job ends in. Exit 3 of a runner is `completed`: pages in error are counted and stand in their column. */
export function endOf(record: JobRecord, o: Observation): Outcome {
  const ocr = record.spec.kind === "ocr";
  const again = `\`yale jobs retry ${record.id}\` ${ocr ? "goes on where it stopped" : "runs it again"}`;
  const { failed } = record.progress;
  if (o.state === "completed" || (o.state === "failed" && o.exitCode === 3 && ocr)) {
    const pages = failed > 0 ? `${failed} ${failed === 1 ? "page" : "pages"} ended in an error.` : undefined;
    return { state: "completed", ...(pages === undefined ? {} : { reason: pages }) };
  }
  if (o.state === "cancelled") {
    const reason = o.reason ?? "It was cancelled.";
    // Not by anybody's command: the job before it did not end as was asked.
    const fix = /DependencyNeverSatisfied/.test(reason)
      ? `See why that job failed; after it has completed, ${again}.`
      : `${again}.`;
    return { state: "cancelled", reason, error: { code: "cancelled", what: reason, fix } };
  }
  const known = ENDS[o.state];
  if (known !== undefined) {
    const what = o.reason ?? known.what;
    return { state: o.state, reason: what, error: { code: known.code, what, fix: known.fix(again) } };
  }
  const { what, fix } = failure(o, ocr);
  return {
    state: "failed",
    reason: what,
    error: { code: "job_failed", what, fix: fix ?? `The log says why; ${again}.` },
  };
}

/** Why a job failed: by a signal, by an exit code, or because it never ran. */
function failure(o: Observation, ocr: boolean): { what: string; fix?: string } {
  const exitCode = o.exitCode ?? 0;
  // A shell says 128 and the signal's number of a child that a signal ended.
  const signal = o.signal || (exitCode > 128 && exitCode <= 192 ? exitCode - 128 : 0);
  if (signal === 53)
    return {
      what: "It could not be started: its folder or its log file can't be opened on the node.",
      fix: "Check that `job_dir` lies where compute nodes see it, and that its disk is not full; then try again.",
    };
  if (signal > 0) {
    const known = SIGNALS[signal];
    const named = known === undefined ? `signal ${signal}` : `signal ${signal} (${known.name}): ${known.means}`;
    return {
      what: `It was ended by ${named}.`,
      ...(known?.fix === undefined ? {} : { fix: known.fix }),
    };
  }
  if (o.reason !== undefined) return { what: o.reason };
  const exit = o.exitCode === undefined ? undefined : RUNNER_EXITS[o.exitCode];
  if (exit !== undefined && (ocr || exitCode > 100))
    return { what: exit.what, ...(exit.fix === "" ? {} : { fix: exit.fix }) };
  return { what: `${ocr ? "The runner" : "The script"} ended with exit code ${o.exitCode ?? "unknown"}.` };
}
