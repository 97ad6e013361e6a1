import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { JobRecords } from "../../kernel-lib/src/jobs/records.js";
import type { JobRecord } from "../../kernel-lib/src/protocol.js";
import { sharedBed } from "../support/bed.js";
import { Sandbox, until } from "../support/sandbox.js";
import { JobBench, type TestJob } from "../support/slurm-jobs.js";

const MANY = 1000;
const bed = sharedBed();
let bench: JobBench;
let jobs: TestJob[];

beforeAll(async () => {
  await bed.reset();
  bench = await JobBench.open(bed);
  const script = "#!/bin/bash\n#SBATCH --output=/dev/null --mem=10M\nexit 0\n";
  writeFileSync(bed.home("many.sh"), script, { mode: 0o755 });
  const loop = `for n in $(seq ${MANY}); do sbatch --parsable --hold many.sh; done`;
  const { stdout } = await bed.as(bed.user, ["bash", "-c", loop]);
  const ids = stdout.trim().split("\n");
  expect(ids.length).toBe(MANY);
  jobs = ids.map((id) => bench.watch(bench.spec({ text: "" }), id));
}, 120_000);
afterAll(async () => {
  await bench.close();
  await bed.reset();
});

describe(`${MANY} jobs at once`, () => {
  it("are known by at most two commands at each look", async () => {
    await bench.when(jobs[0] as TestJob, (r) => r.held === true);
    const from = bench.looks;
    bench.takeCommands();
    // Some end in different ways while all are watched.
    const some = jobs.slice(100, 140);
    const release = (few: TestJob[]) =>
      bench.scheduler.release(
        bench.line,
        few.map((j) => j.schedulerId),
      );
    await release(some.slice(0, 20));
    bench.watcher.soon();
    // The end of these takes one look, so that of the others takes another, however fast the machine is.
    await Promise.all(some.slice(0, 20).map((j) => j.end));
    await release(some.slice(20));
    await bench.scheduler.cancel(
      bench.line,
      jobs.slice(200, 260).map((j) => j.schedulerId),
    );
    bench.watcher.soon();
    const ends = await Promise.all([...some, ...jobs.slice(200, 260)].map((j) => j.end));
    const looks = bench.looks - from;
    const commands = bench.takeCommands().filter((c) => c === "squeue" || c === "sacct");
    expect(looks).toBeGreaterThan(1);
    expect(commands.length).toBeLessThanOrEqual(2 * looks);
    expect(ends.map((e) => e.outcome.state)).toEqual([...Array(40).fill("completed"), ...Array(60).fill("cancelled")]);
    expect(jobs.filter((j) => j.record.held === true).length).toBe(MANY - 100);
    // A hundred that wish for a look at once get one, and one when the interval is over.
    const before = bench.looks;
    const began = Date.now();
    for (let n = 0; n < 100; n++) bench.watcher.soon();
    await until("a look", () => bench.looks > before);
    for (let n = 0; n < 100; n++) bench.watcher.soon();
    await until("the next", () => bench.looks > before + 1);
    expect(Date.now() - began).toBeGreaterThanOrEqual(900);
  });

  it("leave the agent small", async () => {
    const box = new Sandbox();
    try {
      bed.writeSshFolder(box.home);
      const records = new JobRecords(join(box.home, "state", "yale-jobs", "jobs"));
      for (const [n, job] of jobs.slice(300, 1000).concat(jobs.slice(0, 100), jobs.slice(140, 200)).entries()) {
        const record: JobRecord = { ...job.record, spec: { ...job.record.spec, config: bed.configPath } };
        delete record.heardAt;
        delete record.held;
        record.createdAt = new Date(Date.now() - n * 1000).toISOString();
        records.save(record);
      }
      const { code, stderr } = await box.yale("jobs", "ls", "-q");
      expect([code, stderr]).toEqual([0, ""]);
      const heard = await until("all to be heard of", () => {
        const all = records.list().filter((r) => r.held === true);
        return all.length === 860 && all;
      });
      expect(heard.length).toBe(860);
      const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${box.agentPid()}/status`, "latin1"))?.[1];
      expect(Number(peak) / 1024, "MiB").toBeLessThan(150);
    } finally {
      await box.close();
    }
  });
});
