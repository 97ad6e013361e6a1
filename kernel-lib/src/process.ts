/** Telling processes apart across restarts and reused pids. Imports nothing of ours. */
import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";

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

/** Milliseconds after which a door that nobody closed is opened: its work is one read and one removal. */
const DOOR_STANDS = 10_000;

/** Takes a lock file for this process; false if a living process has it. A dead holder's lock is taken over. */
export function takeLock(path: string): boolean {
  const mine = identity();
  // The lock appears with its content: who would see it empty would take its holder for dead.
  const own = `${path}.${randomBytes(4).toString("hex")}.own`;
  writeFileSync(own, mine, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        linkSync(own, path);
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = holderOf(path);
      if (holder === mine) return true;
      if (holder !== undefined && lives(holder)) return false;
      if (holder !== undefined) removeDead(path, holder);
    }
    return false;
  } finally {
    rmSync(own, { force: true });
  }
}

/** Removes the lock of a dead holder. One process at a time, or the second would remove the lock that the first has taken. */
function removeDead(path: string, holder: string): void {
  const door = `${path}.door`;
  try {
    mkdirSync(door);
  } catch {
    try {
      if (Date.now() - statSync(door).mtimeMs > DOOR_STANDS) rmdirSync(door);
    } catch {
      // It was closed meanwhile.
    }
    return;
  }
  if (holderOf(path) === holder) rmSync(path, { force: true });
  rmdirSync(door);
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
