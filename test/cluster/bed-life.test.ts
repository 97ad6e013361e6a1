import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { dropLock } from "../../kernel-lib/src/process.js";
import { type Bed, type BedPlace, bringUp, sharedBed } from "../support/bed.js";
import { freePlace, keep } from "../support/bed-setup.js";
import { until } from "../support/sandbox.js";

let lock = "";
afterEach(() => dropLock(lock));

async function secondBed(): Promise<{ bed: Bed; place: BedPlace }> {
  const free = await freePlace();
  lock = free.lock;
  return { bed: await bringUp(free.place), place: free.place };
}

/** Everything on this machine that is of a bed. */
function traces({ name, state }: BedPlace): string[] {
  const processes = readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        // Of a zombie nothing can be read. slurmstepd shows only where it works.
        const seen = readFileSync(`/proc/${pid}/cmdline`, "latin1") + readlinkSync(`/proc/${pid}/cwd`);
        return seen.includes(`${state}/`) || seen.endsWith(state) || seen.includes(`${state} (deleted)`);
      } catch {
        return false;
      }
    });
  const users = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .filter((line) => line.startsWith(`${name}-`));
  const groups = readFileSync("/etc/group", "utf8")
    .split("\n")
    .filter((line) => line.startsWith(`${name}-`));
  const services = readdirSync("/etc/pam.d").filter((file) => file.startsWith(`yale-${name}-`));
  const cgroups = execFileSync("find", ["/sys/fs/cgroup", "-maxdepth", "2", "-name", `slurm_${name}*`], {
    encoding: "utf8",
  });
  return [...processes, ...users, ...groups, ...services, ...cgroups.split("\n").filter((l) => l !== "")].concat(
    existsSync(state) ? [state] : [],
  );
}

it("stands beside another bed, and leaves nothing when it goes, whatever runs in it", async () => {
  const began = Date.now();
  const { bed, place } = await secondBed();
  expect(Date.now() - began).toBeLessThan(120_000);
  // Both work, and know nothing of each other's jobs.
  const first = sharedBed();
  const script = "#!/bin/bash\nsleep 300 & sleep 300\n";
  for (const b of [first, bed]) expect((await b.as(b.user, ["sbatch", "--parsable"], { input: script })).code).toBe(0);
  const running = async (b: Bed) => (await b.root("squeue", "-h", "-t", "R", "-o", "%u")).trim();
  for (const b of [first, bed]) await until("the job", async () => (await running(b)) === b.user);
  const node = spawn("ssh", ["-F", `${bed.state}/ssh_config`, `${bed.name}-key`, "nohup sleep 300 & echo in; cat"]);
  await once(node.stdout, "data");
  expect(traces(place)).not.toEqual([]);
  await bed.down();
  node.kill();
  expect(traces(place)).toEqual([]);
  expect(await running(first)).toBe(first.user);
  await first.reset();
});

it("goes when the test run that brought it up is killed", async () => {
  const run = spawn("sleep", ["300"]);
  const { place } = await secondBed();
  keep(place, run.pid);
  run.kill("SIGKILL");
  await until("the end of the bed", () => traces(place).length === 0);
});
