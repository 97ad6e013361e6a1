/**
 * Schedulers: what turns a batch script into a running job. One file each; contract tests loop over {@link SCHEDULERS}.
 *
 * To add a scheduler: one file beside this one that exports a {@link Scheduler}, and one line in {@link SCHEDULERS}.
 */
import type { Transport } from "../cluster/transport.js";
import type { ClusterInfo, JobSpec, JobState, TaskCounts, Usage } from "../protocol.js";

/** Everything a batch script is made of; all values are already checked. */
export interface ScriptPlan {
  id: string;
  /** Token by which a submission is found again after a lost answer; goes into the job's comment and name. */
  token: string;
  spec: JobSpec;
  /** Absolute path of the job folder. */
  jobDir: string;
  /** The runner's command as an argument list; relative paths are relative to the job folder. */
  command: readonly string[];
  /** Lines run before the command, already quoted: modules, conda, exports. */
  prologue: readonly string[];
  /** Scheduler ids for `spec.after`, in the same order. */
  afterIds?: readonly string[];
  /** Most tasks of an array that run at once; default as many as there is room for. */
  tasksAtOnce?: number;
  /** Counts from 1; the log of a further attempt begins with a heading. */
  attempt: number;
  /** How often a person asked for it to be run again: each time its pages in error are tried once more. */
  asked?: number;
  /** Tasks of the array that run, if the others are done. */
  onlyTasks?: readonly number[];
}

/** What the scheduler knows of one job now. */
export interface Observation {
  state: JobState;
  /** Its own word. */
  raw: string;
  /** Its reason in a sentence for people. */
  reason?: string;
  exitCode?: number;
  signal?: number;
  startedAt?: string;
  endedAt?: string;
  /** Expected start, where it tells. */
  expectedStart?: string;
  held?: boolean;
  /** Times that it was requeued. */
  restarts?: number;
  /** For an array: its tasks, counted. `state` is then that of the whole: an end only when every task has ended. */
  tasks?: TaskCounts;
  usage?: Usage;
  /** What else is worth saying, such as a step that failed in a script that returned 0. */
  notes?: string[];
  /** True if it can never start and its scheduler will not end it by itself: whoever watches it cancels it. */
  never?: boolean;
}

/** A job that is asked about. */
export interface Asked {
  id: string;
  /** How many tasks it has, if it is an array, or which. */
  tasks?: number | readonly number[];
}

/** What a scheduler answered. */
export interface Answers {
  /** By id. A job that is missing is not known (yet, or any more), or is known only to a part that is silent. */
  jobs: Map<string, Observation>;
  /** Parts of the scheduler that did not answer, in words for people; empty if all that was asked has answered. */
  silent: string[];
}

/** What the scheduler would do with a script: when it would start, or its own words why it never would. */
export type TestAnswer = { start?: string; nodes?: string } | { refusal: string };

/** What a scheduler can tell of its cluster. */
export type Described = Pick<ClusterInfo, "version" | "partitions" | "accounts" | "qos" | "maxArraySize">;

/** A scheduler. Pure where it can be: `script` is a value, the rest talk through the transport. */
export interface Scheduler {
  readonly kind: "slurm" | "local";
  /** The batch script as text. The same for every transport. */
  script(plan: ScriptPlan): string;
  /** The argument list that {@link submit} runs, for people to see. */
  submitCommand(path: string): string[];
  /**
   * Submits the script at `path` and returns the scheduler's id. `token` is that of the script; where it is given, the
   * job can be found by it even on sites that keep no comments. Throws SchedulerError with the scheduler's own words;
   * its `later` says if the same call may succeed another time.
   */
  submit(transport: Transport, path: string, token?: string): Promise<string>;
  /**
   * The id of the job that was submitted with this token, or undefined: asked after a lost answer. Looks back to `since`
   * (ISO 8601; default 30 days ago). Throws SchedulerError if it can't be known because a part does not answer.
   */
  find(transport: Transport, token: string, since?: string): Promise<string | undefined>;
  /**
   * One question for all jobs. `early` is called with what is known before a slow part has answered, if there is one.
   * Throws ConnectionError only.
   */
  query(transport: Transport, jobs: readonly Asked[], early?: (answers: Answers) => void): Promise<Answers>;
  cancel(transport: Transport, ids: readonly string[]): Promise<void>;
  /** Keeps queued jobs from starting. Throws SchedulerError. */
  hold(transport: Transport, ids: readonly string[]): Promise<void>;
  /** Lets held jobs go. Throws SchedulerError. */
  release(transport: Transport, ids: readonly string[]): Promise<void>;
  /** What it would do with the batch script, given as text; nothing is submitted. */
  test(transport: Transport, script: string): Promise<TestAnswer>;
  /** What the cluster has and allows, as far as the scheduler can tell. */
  describe(transport: Transport): Promise<Described>;
}
