/** Telling processes apart across restarts and reused pids. Imports nothing of ours. */
import { randomBytes } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

/** Start time of a process in clock ticks since boot, so that a reused pid is not taken for the old one; undefined if dead. */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie has ended; somebody just did not read its exit code yet.
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    if (process.platform === "linux") return undefined;
  }
  try {
    process.kill(pid, 0);
    return "alive";
  } catch {
    return undefined;
  }
}

/** `pid start`, as it stands in lock files. */
export function identity(pid: number = process.pid): string {
  return `${pid} ${processStart(pid) ?? ""}`;
}

/** True if `id` (from {@link identity}) names a process that lives. */
export function lives(id: string): boolean {
  const [pid, start] = id.trim().split(" ");
  return pid !== undefined && start !== undefined && start !== "" && processStart(Number(pid)) === start;
}

/** Takes a lock file for this process; false if a living process has it. A dead holder's lock is taken over. */
export function takeLock(path: string): boolean {
  const mine = identity();
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      writeFileSync(path, mine, { flag: "wx", mode: 0o600 });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = holderOf(path);
    if (holder === mine) return true;
    if (holder !== undefined && lives(holder)) return false;
    // The holder is dead. Renaming is atomic: of two processes that see this at once, one succeeds.
    try {
      const stale = `${path}.${randomBytes(4).toString("hex")}.stale`;
      renameSync(path, stale);
      rmSync(stale, { force: true });
    } catch {
      // The other was faster; look again.
    }
  }
  return false;
}

/** Who holds a lock file, or undefined. */
export function holderOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Gives a lock back, if this process has it. */
export function dropLock(path: string): void {
  if (holderOf(path)?.startsWith(`${process.pid} `)) rmSync(path, { force: true });
}
