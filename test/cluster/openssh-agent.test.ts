import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { sharedBed } from "../support/bed.js";
import { Sandbox, until } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
beforeEach(async () => {
  await bed.reset();
  box = new Sandbox({ YALE_JOBS_CONFIG: bed.configPath });
  bed.writeSshFolder(box.home);
});
afterEach(() => box.close());

/** Processes that carry the sandbox's connection. */
function connections(): number {
  const lines = readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0");
      } catch {
        return [];
      }
    });
  return lines.filter((argv) => argv[0] === "ssh" && argv.some((a) => a.includes(`ControlPath=${box.home}`))).length;
}

it("runs a job on a cluster that only a certificate opens, with one login for all, and takes the line along when it dies", async () => {
  const before = bed.authentications("cert");
  writeFileSync(join(box.home, "job.py"), "import os\nprint('I am job', os.environ['SLURM_JOB_ID'])\n");
  expect(await box.yale("login", "cert")).toMatchObject({ code: 0 });
  const ran = await box.yale("jobs", "run", join(box.home, "job.py"), "--cluster", "cert", "--wait");
  expect(ran.stderr + ran.stdout).toMatch(/completed/i);
  expect(ran.code).toBe(0);
  const [record] = box.records();
  expect(record).toMatchObject({ state: "completed", spec: { cluster: "cert" } });
  expect((await box.yale("jobs", "logs", record?.id ?? "")).stdout).toContain(`I am job ${record?.schedulerId}`);
  await Promise.all(Array.from({ length: 5 }, () => box.yale("cluster", "info", "cert")));
  expect(bed.authentications("cert")).toBe(before + 1);
  expect(connections()).toBe(1);
  process.kill(box.agentPid(), "SIGKILL");
  await until("the end of the connection", () => connections() === 0);
});
