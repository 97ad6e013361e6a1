/** Jobs on SLURM through the door that people use. All ends are in slurm-ends.test.ts, silence in slurm-daemons.test.ts. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Job } from "../../kernel-lib/src/jobs/job.js";
import type { RunOptions } from "../../kernel-lib/src/jobs/spec.js";
import type { JobRecord, JobState } from "../../kernel-lib/src/protocol.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { sharedBed } from "../support/bed.js";
import { Sandbox } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
let yale: Yale;

beforeAll(async () => {
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
  await bed.reset();
});
beforeEach(() => {
  yale = new Yale({ agent: false, config: bed.configPath });
});
afterEach(() => yale.close());
afterAll(async () => {
  await bed.reset();
  await box.close();
});

/** A bash script as a job on the toy cluster; nothing is tried again unless a test says so. */
function submit(text: string, options: RunOptions = {}): Promise<Job> {
  return yale.run(`#!/bin/bash\n${text}\n`, { cluster: "key", retries: 0, time: "00:10:00", ...options }).submit();
}

async function when(job: Job, check: (record: JobRecord) => boolean): Promise<JobRecord> {
  for await (const record of job.changes()) if (check(record)) return record;
  return job.record;
}
const state = (wanted: JobState) => (record: JobRecord) => record.state === wanted;
async function ended(job: Job): Promise<JobRecord> {
  await job.wait({ bar: false }).catch(() => undefined);
  return job.record;
}

describe("the end of a job", () => {
  it("is told as it was: exit codes, signals, commands that are missing, steps that failed unnoticed", async () => {
    const [done, three, missing, killed, step] = await Promise.all([
      submit("echo fine"),
      submit("exit 3"),
      submit("no-such-program"),
      submit("kill -SEGV $$"),
      submit("srun --overlap false; exit 0"),
    ]);
    expect(await ended(done)).toMatchObject({ state: "completed", raw: "COMPLETED", exitCode: 0 });
    expect(done.record.usage).toMatchObject({
      elapsedSeconds: expect.any(Number),
      nodes: expect.stringContaining("01"),
    });
    expect(await ended(three)).toMatchObject({ state: "failed", exitCode: 3, error: { code: "job_failed" } });
    expect(three.record.reason).toMatch(/exit code 3/);
    expect((await ended(missing)).error?.what).toMatch(/command.*not found/i);
    expect((await ended(killed)).reason).toMatch(/signal 11/);
    expect(await ended(step)).toMatchObject({ state: "completed", notes: [expect.stringMatching(/step/i)] });
  });

  it("is told with its cause: cancelled here, cancelled elsewhere, cancelled before it began", async () => {
    const [here, elsewhere, waiting] = await Promise.all([
      submit("sleep 600"),
      submit("sleep 600"),
      submit("sleep 600", { extra: ["#SBATCH --begin=now+1hour"] }),
    ]);
    await when(here, state("running"));
    await here.cancel();
    await when(elsewhere, state("running"));
    await bed.as(bed.user, ["scancel", elsewhere.record.schedulerId ?? ""]);
    expect((await when(waiting, (r) => /begin/i.test(r.reason ?? ""))).state).toBe("queued");
    await waiting.cancel();
    for (const job of [here, elsewhere, waiting])
      expect(await ended(job)).toMatchObject({ state: "cancelled", raw: expect.stringMatching(/^CANCELLED/) });
  });

  it("comes for a job whose dependency can never be satisfied", async () => {
    const first = await submit("exit 1");
    const second = await submit("echo never", { after: first });
    expect((await ended(second)).state).toBe("cancelled");
    expect(second.record.reason).toMatch(new RegExp(`${first.id}|dependency|after`, "i"));
  });
});

describe("a job in the queue", () => {
  it("says in words why it waits, can be held and let go, and never begins unnoticed", async () => {
    const held = await submit("echo fine", { extra: ["#SBATCH --hold"] });
    const record = await when(held, (r) => r.state === "queued" && r.held === true);
    expect(record.reason).toMatch(/held/i);
    await held.release();
    expect((await ended(held)).state).toBe("completed");
    const large = await submit("echo fine", { extra: ["#SBATCH --begin=now+1hour"] });
    await when(large, state("queued"));
    await large.hold();
    expect((await when(large, (r) => r.held === true)).held).toBe(true);
    await large.cancel();
    await ended(large);
  });

  it("that SLURM refuses ends at once with SLURM's own words", async () => {
    const refused = await submit("true", { account: "nobodys" }).then(ended);
    expect(refused.state).toBe("failed");
    expect(refused.error).toMatchObject({ code: "scheduler", what: expect.stringMatching(/account/i) });
    await expect(submit("true", { extra: ["#SBATCH --output=elsewhere"] })).rejects.toThrow(/output/);
  });
});
