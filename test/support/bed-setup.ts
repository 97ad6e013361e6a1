/**
 * Before the tests in test/cluster: one bed for all of them, under a name and ports that no other test run on this
 * machine has; taken down after them, also if this process is killed. With `YALE_TEST_BED=…/bed.json` they use a bed
 * that is up already, and leave it up.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { dropLock, takeLock } from "../../kernel-lib/src/process.js";
import { BED_SCRIPTS, Bed, type BedPlace, bedEnv, bringUp, readInfo } from "./bed.js";

/** Ports of a bed, and where those of tests begin: below the ones that the system gives to outgoing connections. */
const PORTS = 40;
const FIRST = 20_000;
const SLOTS = 200;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env["YALE_TEST_BED"];
  if (given === undefined && process.getuid?.() !== 0)
    throw new Error(
      "The tests in test/cluster bring up a toy cluster, for which they must be root.\n" +
        "  → Run them in a container, or leave them out: npm test -- --project unit --project contract --project integration",
    );
  if (given !== undefined) {
    const bed = new Bed(readInfo(given));
    await bed.reset();
    project.provide("bed", bed.info);
    return async () => undefined;
  }
  const { place, lock } = await freePlace();
  const keeper = keep(place);
  const end = () => {
    if (keeper.pid !== undefined) process.kill(-keeper.pid, "SIGKILL");
    dropLock(lock);
  };
  try {
    const bed = await bringUp(place);
    project.provide("bed", bed.info);
    return async () => {
      await bed.down();
      end();
    };
  } catch (error) {
    end();
    throw error;
  }
}

/** A name and ports that nobody uses, kept by a lock file until {@link dropLock}. */
export async function freePlace(): Promise<{ place: BedPlace; lock: string }> {
  for (let slot = 0; slot < SLOTS; slot++) {
    const place = { name: `test${slot}`, state: `/tmp/yale-test${slot}`, port0: FIRST + slot * PORTS };
    const lock = `${place.state}.lock`;
    if (!takeLock(lock)) continue;
    // What is there belongs to a run that was killed, and its keeper is at it.
    if (!existsSync(place.state) && (await portsFree(place.port0))) return { place, lock };
    dropLock(lock);
  }
  throw new Error(`No ${PORTS} ports in a row are free on 127.0.0.1 from ${FIRST} on.`);
}

async function portsFree(first: number): Promise<boolean> {
  const free = (port: number) =>
    new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
  const all = await Promise.all(Array.from({ length: PORTS }, (_, n) => free(first + n)));
  return all.every(Boolean);
}

/** A process that outlives this one (or that of `pid`) just to take the bed down. */
export function keep(place: BedPlace, pid: number = process.pid): ChildProcess {
  const script = 'tail --pid="$1" -f /dev/null; exec "$2"';
  const child = spawn("bash", ["-c", script, "keeper", String(pid), join(BED_SCRIPTS, "down.sh")], {
    detached: true,
    stdio: "ignore",
    env: bedEnv(place),
  });
  child.unref();
  return child;
}
