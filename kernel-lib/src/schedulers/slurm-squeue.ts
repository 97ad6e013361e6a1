/** What `squeue` says: jobs that wait or run, and those that ended a few minutes ago (MinJobAge). Pure. */
import { type ExitStatus, exitStatus, isoTime, jobName } from "./slurm-values.js";

/** Columns, in the order of {@link QueueRow}; the reason is free text and stands last. */
const COLUMNS = [
  ...["JobArrayID", "State", "RestartCnt", "exit_code", "DerivedEC", "SubmitTime", "StartTime", "EndTime"],
  ...["NodeList", "UserID", "Reason"],
];

/** One row: a job, a task, or the tasks of an array that still wait together. */
export interface QueueRow {
  job: string;
  tasks?: number[];
  /** SLURM's word. */
  state: string;
  restarts: number;
  exit?: ExitStatus;
  /** The highest exit code of its steps. */
  derived?: ExitStatus;
  submittedAt?: string;
  /** For one that waits: when SLURM expects to start it. */
  startedAt?: string;
  endedAt?: string;
  nodes: string;
  /** Number of the user that it belongs to. */
  uid: string;
  reason: string;
}

/** Longest list of ids; an argument may have 128 KiB (Linux), and everything of this user is a good answer too. */
const LONGEST = 100_000;

/**
 * Arguments of `squeue` for these ids: everything of this user by one question to slurmctld, whatever number of ids.
 * `TYPE:|` prints a column at its full length with that suffix, where `TYPE` alone would be cut to 20 characters.
 */
export function squeueArguments(ids: readonly string[]): string[] {
  const list = ids.join(",");
  return [
    ...["--me", "--states=all", "--noheader"],
    ...(list.length > LONGEST ? [] : [`--jobs=${list}`]),
    `--Format=${COLUMNS.map((c) => `${c}:|`).join(",")}`,
  ];
}

/** Rows of the answer; lines that are none are left out. */
export function parseSqueue(text: string): QueueRow[] {
  const rows: QueueRow[] = [];
  for (const line of text.split("\n")) {
    const parts = line.trimEnd().replace(/\|$/, "").split("|");
    if (parts.length < COLUMNS.length) continue;
    const [id = "", state = "", restarts = "", exit = "", derived = "", submit = "", start = "", end = "", ...rest] =
      parts.map((p) => p.trim());
    const [nodes = "", uid = ""] = rest;
    const name = jobName(id);
    if (name === undefined) continue;
    rows.push({
      job: name.job,
      ...(name.tasks === undefined ? {} : { tasks: name.tasks }),
      state,
      restarts: Number(restarts) || 0,
      ...some("exit", exitStatus(exit)),
      ...some("derived", exitStatus(derived)),
      ...some("submittedAt", isoTime(submit)),
      ...some("startedAt", isoTime(start)),
      ...some("endedAt", isoTime(end)),
      nodes,
      uid,
      reason: parts.slice(10).join("|").trim(),
    });
  }
  return rows;
}

/** A property that is there only if it has a value. */
function some<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}

/** Arguments of `squeue` that list the comments of all jobs of this user. */
export const COMMENT_ARGUMENTS: readonly string[] = [
  ...["--me", "--states=all", "--noheader"],
  "--Format=ArrayJobID:|,Comment:|",
];

/** The id of the job with this comment. */
export function jobWithComment(text: string, comment: string): string | undefined {
  for (const line of text.split("\n")) {
    const [id = "", ...rest] = line.trimEnd().replace(/\|$/, "").split("|");
    if (/^\d+$/.test(id) && rest.join("|") === comment) return id;
  }
  return undefined;
}
