/** What `sacct` says: every job that ever ran, with its steps and its figures, some seconds late. Pure. */
import { type ExitStatus, exitStatus, isoTime, jobName } from "./slurm-values.js";

/** Columns, all known to SLURM 20.11 and later; the two that hold free text stand last. */
const COLUMNS = [
  ...["JobID", "State", "ExitCode", "DerivedExitCode", "Submit", "Start", "End", "ElapsedRaw", "TimelimitRaw"],
  ...["CPUTimeRAW", "TotalCPU", "MaxRSS", "AllocTRES", "NodeList", "UID", "TRESUsageInAve", "Reason", "JobName"],
];

/** One line: a job, a task, or one of its steps. */
export interface AccountRow {
  state: string;
  exit?: ExitStatus;
  startedAt?: string;
  endedAt?: string;
  /** Seconds. */
  elapsed: number;
  /** CPUs × wall time, in seconds. */
  cpuTime: number;
  /** CPU time used, as SLURM writes it. */
  totalCpu: string;
  maxRss: string;
  allocTres: string;
  usageTres: string;
  name: string;
}

/** One job or task in its newest run. */
export interface Account extends AccountRow {
  job: string;
  /** Tasks that it stands for; undefined for a job, or for all of an array that was cancelled before it started. */
  tasks?: number[];
  /** Worst of its steps. */
  derived?: ExitStatus;
  submittedAt?: string;
  /** Minutes that it may run. */
  limit?: number;
  nodes: string;
  /** Number of the user that it belongs to. */
  uid: string;
  reason: string;
  steps: (AccountRow & { step: string })[];
}

/** Arguments of `sacct` for these jobs and tasks. With `--jobs` it looks back without bound (22.05). */
export function sacctArguments(ids: readonly string[]): string[] {
  return ["--parsable2", "--noheader", `--jobs=${ids.join(",")}`, `--format=${COLUMNS.join(",")}`];
}

/** Jobs and tasks of the answer. Without `--duplicates` there is one run of each, the newest. */
export function parseSacct(text: string): Account[] {
  const accounts = new Map<string, Account>();
  for (const line of text.split("\n")) {
    const parts = line.split("|");
    if (parts.length < COLUMNS.length) continue;
    const [id = "", state = "", exit = "", derived = "", submit = "", start = "", end = "", elapsed = ""] = parts;
    const [limit = "", cpu = "", totalCpu = "", maxRss = "", allocTres = "", nodes = "", uid = "", usageTres = ""] =
      parts.slice(8);
    const name = jobName(id);
    if (name === undefined) continue;
    const exited = exitStatus(exit);
    const [submittedAt, startedAt, endedAt] = [submit, start, end].map(isoTime);
    const row: AccountRow = {
      state,
      ...(exited === undefined ? {} : { exit: exited }),
      ...(startedAt === undefined ? {} : { startedAt }),
      ...(endedAt === undefined ? {} : { endedAt }),
      elapsed: Number(elapsed) || 0,
      cpuTime: Number(cpu) || 0,
      totalCpu,
      maxRss,
      allocTres,
      usageTres,
      name: parts.slice(17).join("|"),
    };
    const key = id.replace(/\..*$/, "");
    if (name.step !== undefined) {
      accounts.get(key)?.steps.push({ ...row, step: name.step });
      continue;
    }
    const worst = exitStatus(derived);
    accounts.set(key, {
      ...row,
      job: name.job,
      ...(name.tasks === undefined ? {} : { tasks: name.tasks }),
      ...(worst === undefined ? {} : { derived: worst }),
      ...(submittedAt === undefined ? {} : { submittedAt }),
      ...(/^\d+$/.test(limit) ? { limit: Number(limit) } : {}),
      nodes: nodes === "None assigned" ? "" : nodes,
      uid,
      reason: parts[16] ?? "",
      steps: [],
    });
  }
  return [...accounts.values()];
}

/** Arguments of `sacct` that list comments and command lines of the jobs of this user since so many hours ago. */
export function submitLineArguments(hours: number): string[] {
  return [
    ...["--parsable2", "--noheader", "--allocations"],
    // A distance from now in the cluster's own clock, which may differ from this machine's.
    `--starttime=now-${Math.ceil(hours)}hours`,
    "--format=JobID,Comment,SubmitLine",
  ];
}

/** The id of the job with this comment, in the accounts or, where they keep none, in the command line of `sbatch`. */
export function jobSubmittedWith(text: string, comment: string): string | undefined {
  for (const line of text.split("\n")) {
    const [id = "", kept, ...rest] = line.split("|");
    const name = jobName(id);
    if (name === undefined || name.step !== undefined) continue;
    if (kept === comment || rest.join("|").split(" ").includes(`--comment=${comment}`)) return name.job;
  }
  return undefined;
}
