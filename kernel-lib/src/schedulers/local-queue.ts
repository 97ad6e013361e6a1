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
import type { JobState } from "../protocol.js";

/** What was submitted: the `#SBATCH` lines of the script, read. */
export interface LocalJob {
  id: string;
  script: string;
  chdir: string;
  name: string;
  comment: string;
  output: string;
  append: boolean;
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

/** Folder of one job. Ids are numbers, so no path can be made of one. */
export function jobFolder(id: string): string {
  if (!/^\d{1,12}$/.test(id)) throw new TypeError(`${id} is no id of the local scheduler.`);
  return join(queueDir(), "jobs", id);
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

/** Status of a job; a job that has none yet is queued. */
export function statusOf(id: string): LocalStatus | undefined {
  const folder = jobFolder(id);
  if (readText(join(folder, "job.json")) === undefined) return undefined;
  return readJson<LocalStatus>(join(folder, "status.json")) ?? { state: "queued", restarts: 0 };
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

/** Identity of the machine's present boot. */
export function bootId(): string {
  return readText("/proc/sys/kernel/random/boot_id")?.trim() ?? "";
}
