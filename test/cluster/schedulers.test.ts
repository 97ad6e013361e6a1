/** What every scheduler keeps to, tried on a real one: SLURM on the toy cluster, and this machine's own. */
import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SCHEDULERS } from "../../kernel-lib/src/schedulers/registry.js";
import { directives } from "../../kernel-lib/src/schedulers/sbatch.js";
import { sharedBed } from "../support/bed.js";
import { JobBench, type TestJob, type Wish } from "../support/slurm-jobs.js";

const bed = sharedBed();

describe.each(SCHEDULERS.map((s) => [s.kind, s] as const))("the scheduler %s", (kind, scheduler) => {
  let bench: JobBench;
  let limited: TestJob | undefined;
  beforeAll(async () => {
    await bed.reset();
    bench = await JobBench.open(bed, scheduler);
    if (kind === "local") return;
    // SLURM's shortest limit is a minute, and it looks only now and then: it may do so while the others are tried.
    limited = await bench.submit({ text: "sleep 300", resources: { memory: "50M", time: "00:10:00" } });
    await bench.when(limited, (r) => r.state === "running");
    await bed.root("scontrol", "update", `jobid=${limited.schedulerId}`, "EndTime=now");
  });
  afterAll(async () => {
    await bench.close();
    rmSync(bed.home("yale"), { recursive: true, force: true });
    await bed.reset();
  });
  const submit = (wish: Wish) => bench.submit({ ...wish, resources: { memory: "50M", ...wish.resources } });

  it("takes a job, finds it by its token, and follows it to its end", async () => {
    const job = await submit({ text: 'echo "in $PWD, job $SLURM_JOB_ID"' });
    expect(job.schedulerId).toMatch(/^\d+$/);
    const token = `yale-${job.record.id}-1`;
    const since = new Date(Date.now() - 60_000).toISOString();
    expect(await scheduler.find(bench.line, token, since)).toBe(job.schedulerId);
    const { observation, outcome } = await job.end;
    expect(outcome).toEqual({ state: "completed" });
    expect(observation).toMatchObject({ state: "completed", raw: "COMPLETED", exitCode: 0 });
    expect(Date.parse(observation.endedAt ?? "")).toBeGreaterThanOrEqual(Date.parse(observation.startedAt ?? ""));
    expect(await bench.log(job)).toBe(`in ${job.record.jobDir}/output, job ${job.schedulerId}\n`);
    expect(await scheduler.find(bench.line, token)).toBe(job.schedulerId);
    expect(await scheduler.find(bench.line, `yale-${job.record.id}-11`)).toBeUndefined();
  });

  it("knows nothing of a job that there is not, and says that it was asked", async () => {
    expect(await scheduler.query(bench.line, [{ id: "999999" }])).toEqual({ jobs: new Map(), silent: [] });
    expect(await scheduler.query(bench.line, [])).toEqual({ jobs: new Map(), silent: [] });
  });

  it("tells exit codes and signals apart", async () => {
    const [code, signal] = await Promise.all([submit({ text: "exit 7" }), submit({ text: "kill -ABRT $$" })]);
    expect((await code.end).observation).toMatchObject({ state: "failed", exitCode: 7 });
    expect((await code.end).outcome.reason).toBe("The script ended with exit code 7.");
    expect((await signal.end).outcome.reason).toMatch(/signal 6 \(SIGABRT\)/);
  });

  it("cancels what runs and what waits, and minds nothing that has ended", async () => {
    const runs = await submit({ text: "sleep 300" });
    await bench.when(runs, (r) => r.state === "running");
    const waits = await submit({ text: "true", after: [{ job: runs, condition: "afterany" }] });
    await bench.when(waits, (r) => /\(Dependency\)/.test(r.reason ?? ""));
    await scheduler.cancel(bench.line, [waits.schedulerId]);
    expect((await waits.end).outcome).toMatchObject({
      state: "cancelled",
      reason: "Cancelled by you before it started.",
    });
    await scheduler.cancel(bench.line, [runs.schedulerId]);
    expect((await runs.end).outcome).toMatchObject({ state: "cancelled", reason: "Cancelled by you." });
    await scheduler.cancel(bench.line, [runs.schedulerId, "999998"]);
  });

  it("holds a job in the queue and lets it go", async () => {
    const first = await submit({ text: "sleep 300" });
    const job = await submit({ text: "true", after: [{ job: first, condition: "afterany" }] });
    await scheduler.hold(bench.line, [job.schedulerId]);
    await bench.when(job, (r) => r.held === true && r.state === "queued");
    expect(job.record.reason).toMatch(/^Held/);
    await scheduler.cancel(bench.line, [first.schedulerId]);
    await first.end;
    await scheduler.release(bench.line, [job.schedulerId]);
    expect((await job.end).outcome.state).toBe("completed");
    expect(job.record.held).toBeUndefined();
    await expect(scheduler.hold(bench.line, [job.schedulerId])).rejects.toMatchObject({ code: "scheduler" });
  });

  it("starts a job after another, and not after one that failed", async () => {
    const [good, bad] = [await submit({ text: "true" }), await submit({ text: "exit 1" })];
    const next = async (job: typeof good, condition: "afterok" | "afterany") =>
      (await (await submit({ text: "true", after: [{ job, condition }] })).end).outcome.state;
    expect(
      await Promise.all([next(good, "afterok"), next(bad, "afterok"), next(good, "afterany"), next(bad, "afterany")]),
    ).toEqual(["completed", "cancelled", "completed", "completed"]);
  });

  it("ends a job at its time limit", async () => {
    const job = limited ?? (await submit({ text: "sleep 300", resources: { time: "00:00:02" } }));
    expect((await job.end).outcome).toMatchObject({ state: "timeout", error: { code: "timeout" } });
  });

  it("runs a job again that asks for it, in the same log, but none that was cancelled", async () => {
    const page = (n: string) =>
      `echo '{"n":1,"time":"2026-01-01T00:00:00Z","type":"page","key":"'${n}'","seconds":1}' >> progress.jsonl`;
    const again = await submit({
      kind: "ocr",
      text: `${page("$SLURM_RESTART_COUNT")}; echo "run \${SLURM_RESTART_COUNT:-0}"; [ "$SLURM_RESTART_COUNT" = 1 ] || exit 75`,
    });
    expect((await again.end).outcome.state).toBe("completed");
    expect(await bench.log(again)).toMatch(/^run 0\n(.|\n)*\nrun 1\n/);
    expect(again.record.progress.done).toBe(2);
    const cancelled = await submit({ kind: "ocr", text: `${page("a")}; trap 'exit 75' TERM; sleep 300 & wait` });
    await bench.when(cancelled, (r) => r.progress.done === 1);
    await scheduler.cancel(bench.line, [cancelled.schedulerId]);
    expect((await cancelled.end).outcome.state).toBe("cancelled");
  });

  it("runs the tasks of an array, each with its number, its log and its folder", async () => {
    const job = await submit({
      kind: "ocr",
      text: 'echo "$YALE_JOBS_SHARD/$YALE_JOBS_SHARDS" | tee "$YALE_JOBS_OUTPUT/number"; [ "$YALE_JOBS_SHARD" != 1 ] || exit 9',
      shards: 3,
    });
    const { observation, outcome } = await job.end;
    expect(outcome).toMatchObject({ state: "failed", reason: "The runner ended with exit code 9." });
    expect(observation.tasks).toEqual({ total: 3, queued: 0, running: 0, completed: 2, failed: 1 });
    for (const task of [0, 1, 2]) {
      expect(await bench.log(job, `log/job-${task}.log`)).toContain(`${task}/3\n`);
      expect(await bench.log(job, `output/shard-${task}/number`)).toBe(`${task}/3\n`);
    }
  });

  it("says what it would do with a script, and refuses what it does not understand", async () => {
    const good = scheduler.script({
      id: "a1",
      token: "yale-a1-1",
      spec: bench.spec({ text: "true" }),
      jobDir: "/tmp",
      command: ["true"],
      prologue: [],
      attempt: 1,
    });
    expect(directives(good).get("comment")).toBe("yale-a1-1");
    expect(await scheduler.test(bench.line, good)).not.toHaveProperty("refusal");
    const bad = good.replace("#SBATCH --export", "#SBATCH --time=soon\n#SBATCH --export");
    expect(await scheduler.test(bench.line, bad)).toMatchObject({ refusal: expect.stringMatching(/time/) });
    expect((await scheduler.describe(bench.line)).partitions.length).toBeGreaterThan(0);
    expect(scheduler.submitCommand("/jobs/a/job.sh")).toContain("/jobs/a/job.sh");
  });

  it("refuses a script that is not there, in words", async () => {
    await expect(scheduler.submit(bench.line, "/nowhere/job.sh", "yale-none-1")).rejects.toMatchObject({
      code: "scheduler",
      what: expect.stringMatching(/nowhere/),
    });
  });
});
