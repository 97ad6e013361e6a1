import { rmSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Answers } from "../../kernel-lib/src/schedulers/index.js";
import { slurm } from "../../kernel-lib/src/schedulers/slurm.js";
import { sharedBed } from "../support/bed.js";
import { until } from "../support/sandbox.js";
import { JobBench, type TestJob } from "../support/slurm-jobs.js";

const bed = sharedBed();
let bench: JobBench;
beforeAll(async () => {
  await bed.reset();
  bench = await JobBench.open(bed);
});
afterEach(() => bed.reset());
afterAll(async () => {
  await bench.close();
  rmSync(bed.home("yale"), { recursive: true, force: true });
});

/** Milliseconds that one question may take: its deadline on the far side, and what a loaded machine adds. */
const DEADLINE = 18_000;

/** squeue tries for 9 to 18 s to reach a slurmctld that is not there (22.05), so its deadline may come first. */
const SILENT = /^slurmctld (does not answer|did not answer within 13 s)$/;

/** One look at some jobs, with the times at which the two answers came. */
async function look(
  ...jobs: TestJob[]
): Promise<Answers & { took: number; early?: { answers: Answers; after: number } }> {
  const from = Date.now();
  let early: { answers: Answers; after: number } | undefined;
  const answers = await slurm.query(
    bench.line,
    jobs.map((j) => ({ id: j.schedulerId })),
    (a) => {
      early = { answers: a, after: Date.now() - from };
    },
  );
  return { ...answers, took: Date.now() - from, ...(early === undefined ? {} : { early }) };
}

const running = (text = "sleep 300") => bench.submit({ text, resources: { memory: "100M" } });
const isRunning = (job: TestJob) => bench.when(job, (r) => r.state === "running");

describe("without slurmdbd", () => {
  it("stopped: jobs are followed to their end, only the figures are missing", async () => {
    const [stays, ends] = await Promise.all([running(), running("sleep 3; exit 4")]);
    await Promise.all([isRunning(stays), isRunning(ends)]);
    await bed.daemon("stop", "slurmdbd");
    const late = await running("sleep 1");
    const { observation, outcome } = await ends.end;
    expect(outcome).toMatchObject({ state: "failed", reason: "The script ended with exit code 4." });
    expect(observation.usage).toBeUndefined();
    expect(observation.notes).toEqual(["SLURM's accounting did not tell what it used, so there are no figures."]);
    expect((await late.end).outcome.state).toBe("completed");
    expect(stays.record).toMatchObject({ state: "running" });
    expect(stays.record.reason).toBeUndefined();
    const { took, silent } = await look(stays, ends);
    expect(took).toBeLessThan(5_000);
    expect(silent).toEqual(["slurmdbd (SLURM's accounting) does not answer"]);
  });

  it("frozen: the queue's answer is there at once, nothing hangs, and it is asked less often", async () => {
    const [stays, ends] = await Promise.all([running(), running("sleep 2")]);
    await Promise.all([isRunning(stays), isRunning(ends)]);
    await bed.daemon("freeze", "slurmdbd");
    expect((await ends.end).outcome.state).toBe("completed");
    // A line of its own: the other remembers that slurmdbd hangs.
    const other = await JobBench.open(bed);
    try {
      const ids = [{ id: stays.schedulerId }, { id: ends.schedulerId }];
      let early = Number.POSITIVE_INFINITY;
      const from = Date.now();
      const first = await slurm.query(other.line, ids, (a) => {
        early = Date.now() - from;
        expect(a.jobs.get(stays.schedulerId)?.state).toBe("running");
      });
      expect(early).toBeLessThan(5_000);
      expect(Date.now() - from).toBeLessThan(DEADLINE);
      expect(first.jobs.get(stays.schedulerId)?.state).toBe("running");
      // Its figures may still come.
      expect(first.jobs.get(ends.schedulerId)).toMatchObject({ state: "completing", raw: "COMPLETED" });
      expect(first.silent).toEqual(["slurmdbd (SLURM's accounting) did not answer within 13 s"]);
      const again = Date.now();
      const second = await slurm.query(other.line, ids);
      expect(Date.now() - again).toBeLessThan(5_000);
      expect(second.silent).toEqual(first.silent);
      let last = second;
      await until(
        "the end without figures",
        async () => {
          last = await slurm.query(other.line, ids);
          return last.jobs.get(ends.schedulerId)?.state !== "completing";
        },
        3 * DEADLINE,
      );
      expect(last.jobs.get(ends.schedulerId)).toMatchObject({ state: "completed", exitCode: 0 });
    } finally {
      await other.close();
    }
  });
});

describe("without slurmctld", () => {
  it("stopped: the last state stands with its age and the reason, and the truth comes out afterwards", async () => {
    const [stays, ends] = await Promise.all([running(), running("sleep 12")]);
    await Promise.all([isRunning(stays), isRunning(ends)]);
    const done = await running("true");
    await done.end;
    // slurmctld tells the accounts a moment after the queue.
    await until("the accounts to know all three", async () => {
      const ids = [stays, ends, done].map((j) => j.schedulerId).join(",");
      const states = await bed.root("sacct", "-X", "-n", "-P", `--jobs=${ids}`, "--format=state");
      return states === "RUNNING\nRUNNING\nCOMPLETED\n";
    });
    await bed.daemon("stop", "slurmctld");
    const refusal = (work: Promise<unknown>) =>
      work.then(
        () => undefined,
        (error: unknown) => error,
      );
    const [seen, submitted, found, cancelled] = await Promise.all([
      look(stays, ends, done),
      refusal(running()),
      refusal(slurm.find(bench.line, "yale-nothing-1")),
      refusal(slurm.cancel(bench.line, [stays.schedulerId])),
    ]);
    expect(seen.took).toBeLessThan(DEADLINE);
    expect(seen.silent).toEqual([expect.stringMatching(SILENT)]);
    // The accounts call both running, which is the last that they were told, and the third at its end.
    expect(seen.jobs.get(stays.schedulerId)?.state).toBe("running");
    expect(seen.jobs.get(ends.schedulerId)?.state).toBe("running");
    expect(seen.jobs.get(done.schedulerId)).toMatchObject({ state: "completed", exitCode: 0 });
    expect(submitted).toMatchObject({ code: "scheduler", later: "silent" });
    expect(String(submitted)).toContain("slurmctld did not answer");
    expect(found).toMatchObject({ later: "silent" });
    expect(cancelled).toMatchObject({ later: "silent" });
    // Without the accounts, too, nothing at all is known.
    await bed.daemon("stop", "slurmdbd");
    await bench.when(stays, (r) => /^Last heard of .* ago: slurmctld .*; slurmdbd/.test(r.reason ?? ""));
    expect(stays.record).toMatchObject({ state: "running", raw: "RUNNING" });
    const heard = stays.record.heardAt;
    const nothing = await look(stays);
    expect([[...nothing.jobs.keys()], nothing.silent.length]).toEqual([[], 2]);
    expect(stays.record.heardAt).toBe(heard);
    await bed.daemon("start", "slurmdbd");
    await bed.daemon("start", "slurmctld");
    expect((await ends.end).outcome.state).toBe("completed");
    await bench.when(stays, (r) => r.reason === undefined);
    expect([...stays.states, ...ends.states].filter((s) => !/^(queued|running|completing)$/.test(s))).toEqual([]);
    expect(stays.record.state).toBe("running");
  }, 180_000);

  it("frozen: every call ends by its deadline", async () => {
    const stays = await running();
    await isRunning(stays);
    await bed.daemon("freeze", "slurmctld");
    const other = await JobBench.open(bed);
    try {
      const timed = async (work: () => Promise<unknown>) => {
        const from = Date.now();
        const result = await work().catch((error: unknown) => error);
        return { result, took: Date.now() - from };
      };
      const ids = [{ id: stays.schedulerId }];
      const script = bed.home("yale", stays.record.id, "job.sh");
      const [query, submit, cancel] = await Promise.all([
        timed(() => slurm.query(other.line, ids)),
        timed(() => slurm.submit(other.line, script, "yale-frozen-1")),
        timed(() => slurm.cancel(bench.line, ["999999"])),
      ]);
      expect(query.took).toBeLessThan(2 * DEADLINE);
      const answers = query.result as Answers;
      expect(answers.silent.join()).toMatch(SILENT);
      // The accounts answer; they know it as running.
      expect(answers.jobs.get(stays.schedulerId)?.state).toBe("running");
      expect(submit.result).toMatchObject({ later: "silent" });
      expect(submit.took).toBeLessThan(95_000);
      expect(cancel.result).toMatchObject({ later: "silent" });
      // Not asked again so soon.
      const second = await timed(() => slurm.query(other.line, ids));
      expect(second.took).toBeLessThan(5_000);
      await bed.daemon("thaw", "slurmctld");
      expect(stays.record.state).toBe("running");
      // What lay in its socket is taken now: the submission that seemed to fail is found by its token.
      await expect
        .poll(() => slurm.find(bench.line, "yale-frozen-1"), { timeout: 40_000, interval: 500 })
        .toMatch(/^\d+$/);
    } finally {
      await other.close();
    }
  }, 180_000);
});
