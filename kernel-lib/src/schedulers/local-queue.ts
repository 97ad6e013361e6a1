/**
 * The files of the local scheduler, shared by those who submit and the daemon that runs: one folder a job. Small files
 * that appear by rename, so that any process may be killed at any moment.
 *
 * ```
 * <state>/local-scheduler/
 *   daemon            pid and start time of the running daemon
 *   jobs/<id>/        job.json   what was submitted
 *                     pid        the wrapper's process group, once started
 *                     shell      the batch script's own shell
 *                     exit       its exit code, written by the wrapper
 *                     cancel, requeue, hold   requests, as empty files
 *                     status.json       what the daemon made of it
 *                     tasks/<n>/        the same for each task of an array: pid, shell, exit, requeue, status.json
 * ```
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { stateDir } from "../paths.js";
import { isEnd, type JobState, type TaskCounts } from "../protocol.js";

/** What was submitted: the `#SBATCH` lines of the script, read. */
export interface LocalJob {
  id: string;
  script: string;
  chdir: string;
  name: string;
  comment: string;
  /** With SLURM's patterns, relative to `chdir`. */
  output: string;
  append: boolean;
  /** Number of tasks, counted from 0, if it is an array; they run one after another like jobs. */
  tasks?: number;
  cpus?: number;
  /** Seconds; absent is no limit. */
  limit?: number;
  /** A signal to the batch shell so many seconds before the limit. */
  warn?: { signal: NodeJS.Signals; seconds: number };
  after: { id: string; condition: "afterok" | "afterany" }[];
  submittedAt: string;
  /** The machine's boot, so that a reboot is not taken for a running job. */
  boot: string;
}

/** What became of it. */
export interface LocalStatus {
  state: JobState;
  reason?: string;
  exitCode?: number;
  signal?: number;
  startedAt?: string;
  endedAt?: string;
  restarts: number;
}

/** Folder of everything. */
export function queueDir(): string {
  const folder = join(stateDir(), "local-scheduler");
  mkdirSync(join(folder, "jobs"), { recursive: true, mode: 0o700 });
  return folder;
}

/** Folder of one job, or of one task (`12_3`). Ids are numbers, so no path can be made of one. */
export function jobFolder(id: string): string {
  const m = /^(\d{1,12})(?:_(\d{1,7}))?$/.exec(id);
  if (m === null) throw new TypeError(`${id} is no id of the local scheduler.`);
  const [, job = "", task] = m;
  return task === undefined ? join(queueDir(), "jobs", job) : join(queueDir(), "jobs", job, "tasks", task);
}

/** What of a job is run by itself: the job, or each of its tasks. */
export function unitsOf(job: Pick<LocalJob, "id" | "tasks">): string[] {
  return job.tasks === undefined ? [job.id] : Array.from({ length: job.tasks }, (_, n) => `${job.id}_${n}`);
}

/** What was submitted, of a job or of the array that a task belongs to. */
export function jobOf(id: string): LocalJob | undefined {
  return readJson<LocalJob>(join(jobFolder(id.replace(/_.*$/, "")), "job.json"));
}

/** Content of a small file, or undefined. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** A JSON file, or undefined if it is missing or torn. */
export function readJson<T>(path: string): T | undefined {
  const text = readText(path);
  try {
    return text === undefined ? undefined : (JSON.parse(text) as T);
  } catch {
    return undefined;
  }
}

/** Writes a small file so that nobody sees half of it. */
export function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.part`, text, { mode: 0o600 });
  renameSync(`${path}.part`, path);
}

/** All ids, in the order of submission. */
export function jobIds(): string[] {
  return readdirSync(join(queueDir(), "jobs"))
    .filter((n) => /^\d+$/.test(n))
    .sort((a, b) => Number(a) - Number(b));
}

/** Makes a new folder with the next free number; exclusive creation settles who gets it. */
export function newJobFolder(): { id: string; folder: string } {
  const jobs = join(queueDir(), "jobs");
  const last = Number(readText(join(queueDir(), "last-id")) ?? "0");
  for (let n = Math.max(last, Number(jobIds().at(-1) ?? "0")) + 1; ; n++) {
    const folder = join(jobs, String(n));
    try {
      mkdirSync(folder, { mode: 0o700 });
      writeWhole(join(queueDir(), "last-id"), String(n));
      return { id: String(n), folder };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

/** Status of a job, or of an array as a whole; a job that has none yet is queued. */
export function statusOf(id: string): (LocalStatus & { tasks?: TaskCounts }) | undefined {
  const job = jobOf(id);
  if (job === undefined) return undefined;
  return job.tasks === undefined || id.includes("_") ? unitStatus(id) : wholeStatus(unitsOf(job).map(unitStatus));
}

/** Status of what is run by itself. */
export function unitStatus(unit: string): LocalStatus {
  return readJson<LocalStatus>(join(jobFolder(unit), "status.json")) ?? { state: "queued", restarts: 0 };
}

/** How much an end says about the whole; 3 is a runner's "done, with pages in error". */
function gravity(s: LocalStatus): number {
  if (s.state === "completed") return 0;
  if (s.exitCode === 3) return 1;
  return s.state === "cancelled" ? 2 : 3;
}

function wholeStatus(all: readonly LocalStatus[]): LocalStatus & { tasks: TaskCounts } {
  const ends = all.filter((s) => isEnd(s.state));
  const running = all.filter((s) => s.state === "running");
  const completed = ends.filter((s) => s.state === "completed").length;
  const tasks: TaskCounts = {
    total: all.length,
    queued: all.length - ends.length - running.length,
    running: running.length,
    completed,
    failed: ends.length - completed,
  };
  const starts = all.map((s) => s.startedAt).filter((t) => t !== undefined);
  const first = starts.sort()[0];
  const common = {
    restarts: Math.max(...all.map((s) => s.restarts)),
    ...(first === undefined ? {} : { startedAt: first }),
    tasks,
  };
  if (ends.length === all.length) {
    const worst = ends.reduce((w, s) => (gravity(s) > gravity(w) ? s : w));
    const last = ends
      .map((s) => s.endedAt ?? "")
      .sort()
      .at(-1);
    return { ...worst, ...common, ...(last === undefined ? {} : { endedAt: last }) };
  }
  const waiting = all.find((s) => s.state === "queued" && s.reason !== undefined)?.reason;
  if (running.length > 0) return { state: "running", ...common };
  return { state: "queued", ...common, ...(waiting === undefined ? {} : { reason: waiting }) };
}

/** Leaves a request for the daemon. */
export function request(id: string, what: "cancel" | "requeue" | "hold"): void {
  closeSync(openSync(join(jobFolder(id), what), "w", 0o600));
}

/** Takes a request back. */
export function withdraw(id: string, what: "cancel" | "requeue" | "hold" | "exit" | "pid" | "shell"): void {
  rmSync(join(jobFolder(id), what), { force: true });
}

/** True while the job is held. */
export function isHeld(id: string): boolean {
  return existsSync(join(jobFolder(id), "hold"));
}

/** True if somebody has cancelled it, or the array that it belongs to. */
export function isCancelled(id: string): boolean {
  return existsSync(join(jobFolder(id), "cancel")) || existsSync(join(jobFolder(id.replace(/_.*$/, "")), "cancel"));
}

/** Identity of the machine's present boot. */
export function bootId(): string {
  return readText("/proc/sys/kernel/random/boot_id")?.trim() ?? "";
}
