/**
 * The process that runs the jobs of the local scheduler, one for each user: starts what is queued, keeps time limits,
 * obeys requests, writes down how each job ended, and goes when nothing is left. Everything it knows is in files, so
 * it may be killed at any moment: the next one goes on, and running jobs do not notice.
 */
import { spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  watch,
  writeFileSync,
} from "node:fs";
import { cpus } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { dropLock, identity, lives, takeLock } from "../process.js";
import { isEnd } from "../protocol.js";
import { AWAIT_CHILD } from "./await-child.js";
import {
  bootId,
  isCancelled,
  isHeld,
  jobFolder,
  jobIds,
  jobOf,
  type LocalJob,
  type LocalStatus,
  queueDir,
  readText,
  statusOf,
  unitStatus,
  unitsOf,
  withdraw,
  writeWhole,
} from "./local-queue.js";

/** Seconds between TERM and KILL, as SLURM's KillWait. */
const KILL_WAIT = 30;
/** Jobs at once: an OCR engine uses every core, so more would only slow each other down. */
const AT_ONCE = Math.max(1, Number(process.env.YALE_JOBS_LOCAL_MAX) || 1);
/** Milliseconds without work after which the daemon ends. */
const IDLE = 2000;
/** Milliseconds between two looks at running jobs; requests and exits are seen at once by watching the folders. */
const TICK = 250;

/**
 * Runs the batch script in a shell whose exit code is surely written down, and passes nothing on by itself: `trap :`
 * keeps this shell alive through signals to the group, and unlike ignoring them is not inherited by the script.
 */
const WRAPPER = `trap : TERM INT USR1 USR2 HUP
/bin/bash "$2" &
child=$!
echo "$child" > "$1/shell"
${AWAIT_CHILD}
echo "$code" > "$1/exit.part"; mv "$1/exit.part" "$1/exit"`;

/** Commands of SLURM's that batch scripts use to ask to be run again. */
const STAND_INS: Readonly<Record<string, string>> = {
  scontrol: `#!/bin/sh
# Stands in for SLURM's scontrol in jobs of this machine.
case "$1 $2" in
  "requeue "[0-9]*_[0-9]*) : > "$YALE_JOBS_LOCAL_QUEUE/jobs/\${2%%_*}/tasks/\${2#*_}/requeue" ;;
  "requeue "[0-9]*) : > "$YALE_JOBS_LOCAL_QUEUE/jobs/$2/requeue" ;;
  *) echo "scontrol: only 'requeue ID' is known on this machine" >&2; exit 1 ;;
esac
`,
  squeue: `#!/bin/sh
# Stands in for SLURM's squeue in jobs of this machine.
case "$1 $2 $4 $5" in
  "-h -j -o %T") if [ -e "$YALE_JOBS_LOCAL_QUEUE/jobs/\${3%%_*}/cancel" ]; then echo COMPLETING; else echo RUNNING; fi ;;
  *) echo "squeue: only '-h -j ID -o %T' is known on this machine" >&2; exit 1 ;;
esac
`,
};

/** The log of a job or task: SLURM's patterns replaced. */
function outputPath(job: LocalJob, unit: string): string {
  const values: Record<string, string> = {
    "%": "%",
    A: job.id,
    a: unit.split("_")[1] ?? "4294967294",
    j: job.id,
    x: job.name.replaceAll("/", "_"),
  };
  return resolve(
    job.chdir,
    job.output.replace(/%([%AajxX])/g, (whole, c: string) => values[c] ?? whole),
  );
}

interface Running {
  job: LocalJob;
  status: LocalStatus;
  /** `pid start` of the wrapper, which leads the process group. */
  group: string;
  warned: boolean;
  /** Why it is being ended, and when KILL follows TERM. */
  ending?: { state: "cancelled" | "timeout" | "requeue"; killAt: number };
}

const running = new Map<string, Running>();
/** Ended jobs, which need no look any more. */
const over = new Set<string>();
let idleSince = Date.now();

function log(text: string): void {
  process.stdout.write(`${new Date().toISOString()} ${text}\n`);
}

function save(id: string, status: LocalStatus): void {
  writeWhole(join(jobFolder(id), "status.json"), `${JSON.stringify(status)}\n`);
}

function end(id: string, status: LocalStatus): void {
  running.delete(id);
  save(id, { ...status, endedAt: new Date().toISOString() });
  for (const file of ["cancel", "requeue"] as const) withdraw(id, file);
  log(`job ${id}: ${status.state}${status.exitCode === undefined ? "" : ` (exit ${status.exitCode})`}`);
}

function start(job: LocalJob, unit: string, before: LocalStatus): void {
  const folder = jobFolder(unit);
  for (const file of ["exit", "pid", "shell", "requeue"] as const) withdraw(unit, file);
  let output: number;
  try {
    const path = outputPath(job, unit);
    mkdirSync(dirname(path), { recursive: true });
    output = openSync(path, job.append || before.restarts > 0 ? "a" : "w", 0o600);
  } catch (error) {
    // SLURM: FAILED with signal 53 if the output file can't be opened.
    end(unit, { ...before, state: "failed", exitCode: 0, signal: 53, reason: (error as Error).message });
    return;
  }
  const bin = join(queueDir(), "bin");
  const count = String(job.cpus ?? cpus().length);
  const child = spawn("/bin/bash", ["-c", WRAPPER, "yale-job", folder, job.script], {
    cwd: existsSync(job.chdir) ? job.chdir : "/",
    detached: true,
    stdio: ["ignore", output, output],
    env: {
      ...withoutSlurm(process.env),
      PATH: [bin, process.env.PATH ?? "/usr/bin:/bin"].join(delimiter),
      YALE_JOBS_LOCAL_QUEUE: queueDir(),
      SLURM_JOB_ID: job.id,
      SLURM_JOBID: job.id,
      SLURM_JOB_NAME: job.name,
      SLURM_SUBMIT_DIR: job.chdir,
      SLURM_CPUS_ON_NODE: count,
      SLURM_CPUS_PER_TASK: count,
      SLURM_RESTART_COUNT: String(before.restarts),
      ...(job.tasks === undefined
        ? {}
        : {
            SLURM_ARRAY_JOB_ID: job.id,
            SLURM_ARRAY_TASK_ID: unit.split("_")[1] ?? "",
            SLURM_ARRAY_TASK_COUNT: String(job.tasks),
            SLURM_ARRAY_TASK_MIN: "0",
            SLURM_ARRAY_TASK_MAX: String(job.tasks - 1),
          }),
    },
  });
  closeSync(output);
  child.on("error", (error) => log(`job ${unit}: ${error.message}`));
  // The exit file, not this event, says how it ended: the next daemon will not be its parent.
  child.on("exit", () => soon());
  child.unref();
  const group = identity(child.pid);
  writeWhole(join(folder, "pid"), group);
  const status: LocalStatus = { state: "running", startedAt: new Date().toISOString(), restarts: before.restarts };
  save(unit, status);
  running.set(unit, { job, status, group, warned: false });
  log(`job ${unit}: started as process group ${child.pid}`);
}

/** Inside a job of a real SLURM its variables would be taken for those of the job that is started here. */
function withoutSlurm(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("SLURM_")));
}

function signalGroup(group: string, signal: NodeJS.Signals): void {
  if (!lives(group)) return;
  try {
    process.kill(-Number(group.split(" ")[0]), signal);
  } catch {
    // It ended meanwhile.
  }
}

/** Signals the batch shell that its time is nearly up. */
function warn(shell: number, signal: NodeJS.Signals): void {
  try {
    if (shell > 0) process.kill(shell, signal);
  } catch {
    // It has ended, and its exit code is about to be written.
  }
}

/** One look at a running job. */
function check(id: string, r: Running, now: number): void {
  const folder = jobFolder(id);
  const exit = readText(join(folder, "exit"));
  if (exit === undefined && lives(r.group)) {
    if (r.ending === undefined) {
      const elapsed = (now - Date.parse(r.status.startedAt ?? "")) / 1000;
      if (isCancelled(id)) stop(r, "cancelled", now);
      else if (existsSync(join(folder, "requeue"))) stop(r, "requeue", now);
      else if (r.job.limit !== undefined && elapsed >= r.job.limit) stop(r, "timeout", now);
      else if (
        !r.warned &&
        r.job.limit !== undefined &&
        r.job.warn !== undefined &&
        elapsed >= r.job.limit - r.job.warn.seconds
      ) {
        r.warned = true;
        // A job that is shorter than the warning is warned at once by SLURM too.
        warn(Number(readText(join(folder, "shell"))), r.job.warn.signal);
      }
    } else if (now >= r.ending.killAt) signalGroup(r.group, "SIGKILL");
    return;
  }
  const code = exit === undefined ? undefined : Number(exit);
  // What the group left behind (a server that nobody stopped) ends with it, as on a node.
  try {
    process.kill(-Number(r.group.split(" ")[0]), "SIGKILL");
  } catch {
    // Nothing was left.
  }
  if (r.ending?.state === "requeue" || (r.ending === undefined && existsSync(join(folder, "requeue")))) {
    running.delete(id);
    for (const file of ["requeue", "exit", "pid", "shell"] as const) withdraw(id, file);
    save(id, { state: "queued", reason: "Requeued: it goes on where it stopped.", restarts: r.status.restarts + 1 });
    log(`job ${id}: requeued`);
  } else if (r.ending?.state === "cancelled")
    end(id, {
      ...r.status,
      state: "cancelled",
      reason: "Cancelled by you.",
      ...(code === undefined ? {} : { exitCode: code }),
    });
  else if (r.ending?.state === "timeout")
    end(id, { ...r.status, state: "timeout", reason: "It reached its time limit." });
  else if (code === undefined)
    end(id, { ...r.status, state: "failed", signal: 9, reason: "Its processes were killed." });
  else end(id, { ...r.status, state: code === 0 ? "completed" : "failed", exitCode: code });
}

function stop(r: Running, state: "cancelled" | "timeout" | "requeue", now: number): void {
  r.ending = { state, killAt: now + KILL_WAIT * 1000 };
  signalGroup(r.group, "SIGTERM");
}

/** Why a queued job waits, or undefined if it may start. */
function obstacle(job: LocalJob): { reason: string; never?: true } | undefined {
  for (const { id, condition } of job.after) {
    const other = statusOf(id);
    if (other === undefined) return { reason: `Job ${id}, after which it was to start, does not exist.`, never: true };
    if (!isEnd(other.state)) return { reason: `Waits for job ${id} (Dependency).` };
    const fine = other.state === "completed" || other.exitCode === 3;
    if (condition === "afterok" && !fine)
      return { reason: `Job ${id}, after which it was to start, ended as ${other.state}.`, never: true };
  }
  return undefined;
}

/** One look at everything. */
function look(): void {
  const now = Date.now();
  for (const [id, r] of running) check(id, r, now);
  let waiting = false;
  for (const id of jobIds()) {
    if (over.has(id)) continue;
    const job = jobOf(id);
    if (job === undefined) continue;
    const units = unitsOf(job).filter((unit) => !over.has(unit));
    if (units.length === 0) over.add(id);
    for (const unit of units) {
      if (running.has(unit)) continue;
      const verdict = lookAt(job, unit);
      if (verdict !== "waits") continue;
      waiting = true;
      // What keeps one task of an array waiting keeps the others, too.
      break;
    }
  }
  if (running.size > 0 || waiting) idleSince = now;
}

/** One look at what does not run here: starts it, ends it, or leaves it waiting. */
function lookAt(job: LocalJob, unit: string): "waits" | "moved" {
  const status = unitStatus(unit);
  if (isEnd(status.state)) {
    over.add(unit);
    return "moved";
  }
  if (status.state === "running") {
    adopt(job, unit, status);
    return "moved";
  }
  if (isCancelled(unit)) {
    end(unit, { ...status, state: "cancelled", reason: "Cancelled by you before it started." });
    return "moved";
  }
  if (isHeld(job.id)) return "waits";
  const against = obstacle(job);
  if (against?.never) end(unit, { ...status, state: "cancelled", reason: against.reason });
  else if (against === undefined && running.size < AT_ONCE) start(job, unit, status);
  else {
    const reason =
      against?.reason ??
      `Waits for its turn: ${running.size === 1 ? "another job runs" : `${running.size} jobs run`} (Resources).`;
    if (status.reason !== reason) save(unit, { ...status, reason });
    return "waits";
  }
  return "moved";
}

/** A job that an earlier daemon started. */
function adopt(job: LocalJob, unit: string, status: LocalStatus): void {
  const group = readText(join(jobFolder(unit), "pid")) ?? "";
  if (job.boot !== bootId()) {
    end(unit, { ...status, state: "node_fail", reason: "This machine was restarted while it ran." });
    return;
  }
  running.set(unit, { job, status, group, warned: false });
  log(`job ${unit}: taken over`);
}

let again: NodeJS.Timeout | undefined;
function soon(): void {
  clearTimeout(again);
  again = setTimeout(turn, 10);
}

function turn(): void {
  look();
  if (Date.now() - idleSince > IDLE) {
    // Whoever submits now finds no daemon and starts one; whoever submitted before this line is seen by one more look.
    dropLock(join(queueDir(), "daemon"));
    look();
    if (running.size === 0) process.exit(0);
    takeLock(join(queueDir(), "daemon"));
  }
  clearTimeout(again);
  again = setTimeout(turn, TICK);
}

if (takeLock(join(queueDir(), "daemon"))) {
  const bin = join(queueDir(), "bin");
  mkdirSync(bin, { recursive: true });
  for (const [name, text] of Object.entries(STAND_INS)) {
    rmSync(join(bin, name), { force: true });
    writeFileSync(join(bin, name), text);
    chmodSync(join(bin, name), 0o755);
  }
  // Runners ask for `node`: the very one that runs this, whatever else the PATH holds. The rest of the PATH stays as it is.
  rmSync(join(bin, "node"), { force: true });
  symlinkSync(process.execPath, join(bin, "node"));
  // New folders are submissions; files in them are noticed by the tick.
  watch(join(queueDir(), "jobs"), () => soon()).on("error", () => undefined);
  process.on("SIGTERM", () => {
    dropLock(join(queueDir(), "daemon"));
    process.exit(0);
  });
  turn();
}
