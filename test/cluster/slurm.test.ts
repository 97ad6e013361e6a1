/** Every way in which SLURM ends a job, provoked for real, as a record and a sentence; and what its silence does. */
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
const scontrol = (...argv: string[]) => bed.root("scontrol", ...argv);

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

  it("is told as a time limit, too little memory, a node that failed, room made for another", async () => {
    const [slow, large, lost, displaced] = await Promise.all([
      submit("sleep 600"),
      submit("python3 -c 'x = bytearray(600 << 20); print(len(x))'; exit $?", { memory: "200M" }),
      submit("sleep 600", { partition: "gpu", extra: ["#SBATCH --no-requeue"] }),
      submit("sleep 600", { partition: "scavenge", cpus: 8, extra: ["#SBATCH --no-requeue"] }),
    ]);
    await when(slow, state("running"));
    await scontrol("update", `jobid=${slow.record.schedulerId}`, "EndTime=now");
    await when(lost, state("running"));
    await scontrol("update", `nodename=${bed.name}02`, "state=down", "reason=test");
    expect(await ended(lost)).toMatchObject({ state: "node_fail", error: { code: "node_lost" } });
    // A node that was set down comes back by itself on this cluster (ReturnToService=2), sooner or later.
    await scontrol("update", `nodename=${bed.name}02`, "state=resume").catch(() => undefined);
    await when(displaced, state("running"));
    const strong = await submit("sleep 3", { partition: "day", cpus: 8 });
    const stronger = await submit("sleep 3", { partition: "gpu", cpus: 8 });
    expect(await ended(displaced)).toMatchObject({ state: "preempted", error: { code: "node_lost" } });
    await Promise.all([strong.cancel(), stronger.cancel()]);
    expect(await ended(slow)).toMatchObject({ state: "timeout", error: { code: "timeout" } });
    const end = await ended(large);
    expect(end.state).toBe("out_of_memory");
    expect(end.error?.fix).toMatch(/memory/);
  });

  it("comes for a job whose dependency can never be satisfied", async () => {
    const first = await submit("exit 1");
    const second = await submit("echo never", { after: first });
    expect((await ended(second)).state).toBe("cancelled");
    expect(second.record.reason).toMatch(new RegExp(`${first.id}|dependency|after`, "i"));
  });

  it("is none where SLURM starts the job again, by itself or because it was asked to", async () => {
    const job = await submit("test -e ran && exit 0; touch ran; sleep 600", { partition: "gpu" });
    await when(job, state("running"));
    await scontrol("requeue", job.record.schedulerId ?? "");
    const seen = new Set<JobState>();
    for await (const record of job.changes()) seen.add(record.state);
    expect(job.record).toMatchObject({ state: "completed", notes: [expect.stringMatching(/started it again once/)] });
    expect([...seen].filter((s) => ["failed", "cancelled", "node_fail", "preempted", "lost"].includes(s))).toEqual([]);
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

describe("a daemon that is silent", () => {
  it.each([
    ["slurmdbd", "stop", "start"],
    ["slurmdbd", "freeze", "thaw"],
  ] as const)("(%s, %s) costs figures, not states", async (daemon, silence, again) => {
    const job = await submit("sleep 3");
    await when(job, state("running"));
    await bed.daemon(silence, daemon);
    try {
      // From the queue it is seen to end; the end itself may wait for the accounts, within a time of its own.
      const end = await ended(job);
      expect(end.state).toBe("completed");
    } finally {
      await bed.daemon(again, daemon);
    }
  });

  it.each([
    ["slurmctld", "stop", "start"],
    ["slurmctld", "freeze", "thaw"],
  ] as const)(
    "(%s, %s) changes no state and invents none, and all is known when it is back",
    async (daemon, silence, again) => {
      const job = await submit("sleep 4");
      await when(job, state("running"));
      await bed.daemon(silence, daemon);
      try {
        // Heard of again after that: from the accounts, which still call it running.
        const from = new Date().toISOString();
        for (;;) {
          const { state: now, heardAt, reason } = (await job.refresh()).record;
          expect(["running", "completing"]).toContain(now);
          if ((heardAt ?? "") > from || /last heard of/i.test(reason ?? "")) break;
          await new Promise((done) => setTimeout(done, 200));
        }
      } finally {
        await bed.daemon(again, daemon);
      }
      expect((await ended(job)).state).toBe("completed");
    },
  );
});
