import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sharedBed } from "../support/bed.js";
import { JobBench, type TestJob } from "../support/slurm-jobs.js";

const bed = sharedBed();
const [node1, node2] = [`${bed.name}01`, `${bed.name}02`];
let bench: JobBench;
/** All jobs are under way before the first test looks at one: most of their time is SLURM's waiting. */
const jobs = new Map<string, TestJob>();
const of = (name: string): TestJob => jobs.get(name) ?? expect.fail(`no job ${name}`);

beforeAll(async () => {
  await bed.reset();
  bench = await JobBench.open(bed);
  const submit = async (name: string, wish: Parameters<JobBench["submit"]>[0]) => {
    const job = await bench.submit({ name, ...wish });
    jobs.set(name, job);
    return job;
  };
  const small = (more: object = {}) => ({ memory: "100M", ...more });
  // Longest first.
  await submit("limit", { text: "trap '' TERM USR1; sleep 300", resources: small({ time: "00:01:00" }) });
  await submit("warned", {
    kind: "ocr",
    // As a runner does: a page, then it waits until it is told to stop; the second run finishes.
    text: `trap 'echo warned; exit 75' USR1
echo '{"n":1,"time":"'$(date -uIs)'","type":"start","total":2,"done":0,"attempt":1}' >> progress.jsonl
echo '{"n":2,"time":"'$(date -uIs)'","type":"page","key":"'$SLURM_RESTART_COUNT'","seconds":1}' >> progress.jsonl
[ "\${SLURM_RESTART_COUNT:-0}" = 0 ] || exit 0
sleep 300 & wait`,
    resources: small({ time: "00:02:00" }),
  });
  await submit("preempted", {
    text: "sleep 300",
    resources: small({
      partition: "scavenge",
      cpus: 4,
      extra: [`#SBATCH --nodelist=${node2}`, "#SBATCH --no-requeue"],
    }),
  });
  await submit("preempted and run again", {
    text: 'echo run "$SLURM_RESTART_COUNT"; [ "$SLURM_RESTART_COUNT" = 1 ] || sleep 300',
    resources: small({ partition: "scavenge", cpus: 4, extra: [`#SBATCH --nodelist=${node2}`] }),
  });
  const failed = await submit("exit 5", { text: "exit 5", resources: small() });
  await submit("fine", { text: "echo done well", resources: small() });
  await submit("not found", { text: "no-such-command-here", resources: small() });
  await submit("child's signal", { text: "kill -SEGV $$", resources: small() });
  await submit("signal", { text: "kill -SEGV $PPID; sleep 5", resources: small() });
  await submit("memory", { text: "tail /dev/zero", resources: small({ memory: "60M" }) });
  await submit("memory of a step", { text: "srun tail /dev/zero; true", resources: small({ memory: "60M" }) });
  await submit("memory of a step, told", { text: "srun tail /dev/zero", resources: small({ memory: "60M" }) });
  await submit("failed step", { text: "srun false; true", resources: small() });
  await submit("no log", { text: "true", noLogFolder: true, resources: small() });
  await submit("cancelled", { text: "sleep 300", resources: small() });
  await submit("cancelled by root", { text: "sleep 300", resources: small() });
  await submit("cancelled in the queue", { text: "true", resources: small({ extra: ["#SBATCH --hold"] }) });
  await submit("cancelled at 75", {
    kind: "ocr",
    text: `trap 'exit 75' TERM
echo '{"n":1,"time":"2026-01-01T00:00:00Z","type":"page","key":"a","seconds":1}' >> progress.jsonl
sleep 300 & wait`,
    resources: small(),
  });
  await submit("75 for nothing", { kind: "ocr", text: "exit 75", resources: small() });
  await submit("75 twice", {
    kind: "ocr",
    text: `echo '{"n":1,"time":"2026-01-01T00:00:00Z","type":"page","key":"'$SLURM_RESTART_COUNT'","seconds":1}' >> progress.jsonl
[ "$SLURM_RESTART_COUNT" = 2 ] || exit 75`,
    resources: small(),
  });
  await submit("requeued", { text: '[ "$SLURM_RESTART_COUNT" = 1 ] || sleep 300', resources: small() });
  await submit("after a failure", { text: "true", after: [{ job: failed, condition: "afterok" }], resources: small() });
  await submit("after any end", { text: "true", after: [{ job: failed, condition: "afterany" }], resources: small() });
  // Not of our making: without --kill-on-invalid-dep SLURM would let it wait for ever.
  const waiting = await bed.as(bed.user, [
    "sbatch",
    "--parsable",
    `--dependency=afterok:${failed.schedulerId}`,
    "--wrap=true",
  ]);
  jobs.set("waits for ever", bench.watch(bench.spec({ text: "" }), waiting.stdout.trim()));
  await submit("array", {
    kind: "ocr",
    text: `echo task $YALE_JOBS_SHARD of $YALE_JOBS_SHARDS in $YALE_JOBS_OUTPUT
for n in 1 2; do echo '{"n":1,"time":"2026-01-01T00:00:00Z","type":"page","key":"'$n'","seconds":1}' >> "$YALE_JOBS_PROGRESS"; done
[ "$YALE_JOBS_SHARD" != 2 ] || exit 70
[ "$YALE_JOBS_SHARD" != 3 ] || [ "$SLURM_RESTART_COUNT" = 1 ] || exit 75`,
    resources: small(),
    shards: 5,
  });

  await Promise.all(
    ["cancelled", "cancelled by root", "requeued", "preempted", "preempted and run again"].map((name) =>
      bench.when(of(name), (r) => r.state === "running"),
    ),
  );
  await bench.scheduler.cancel(bench.line, [of("cancelled").schedulerId, of("cancelled in the queue").schedulerId]);
  await bed.root("scancel", of("cancelled by root").schedulerId);
  await bed.as(bed.user, ["scontrol", "requeue", of("requeued").schedulerId]);
  await bench.when(of("cancelled at 75"), (r) => r.progress.done === 1);
  await bench.scheduler.cancel(bench.line, [of("cancelled at 75").schedulerId]);
  // Makes both on the second node give way.
  await submit("stronger", { text: "sleep 2", resources: small({ partition: "gpu", cpus: 8 }) });
  await of("stronger").end;
  await submit("node", {
    text: "sleep 300",
    resources: small({ partition: "gpu", gpus: "a100:1", extra: ["#SBATCH --no-requeue"] }),
  });
  await submit("node, run again", {
    text: '[ "$SLURM_RESTART_COUNT" = 1 ] || sleep 300',
    resources: small({ partition: "gpu", gpus: "h100:2" }),
  });
  await Promise.all(["node", "node, run again"].map((name) => bench.when(of(name), (r) => r.state === "running")));
  await bed.root("scontrol", "update", `nodename=${node2}`, "state=down", "reason=test");
  await of("node").end;
  // By itself it is back within seconds (ReturnToService=2); then this is refused.
  await bed.as("root", ["scontrol", "update", `nodename=${node2}`, "state=resume"]);
}, 180_000);

afterAll(async () => {
  await bench.close();
  rmSync(bed.home("yale"), { recursive: true, force: true });
  await bed.reset();
});

/** State, code of the error, and a part of the sentence that people read. */
const ENDS: [string, string, string | undefined, RegExp | undefined, RegExp][] = [
  ["fine", "completed", undefined, undefined, /^COMPLETED$/],
  ["exit 5", "failed", "job_failed", /The script ended with exit code 5\./, /^FAILED$/],
  ["not found", "failed", "job_failed", /A command of the job was not found/, /^FAILED$/],
  ["child's signal", "failed", "job_failed", /ended by signal 11 \(SIGSEGV\)/, /^FAILED$/],
  ["signal", "failed", "job_failed", /ended by signal 11 \(SIGSEGV\)/, /^FAILED$/],
  ["cancelled", "cancelled", "cancelled", /^Cancelled by you\.$/, /^CANCELLED by \d+$/],
  [
    "cancelled by root",
    "cancelled",
    "cancelled",
    /^Cancelled by an administrator of the cluster\.$/,
    /^CANCELLED by 0$/,
  ],
  ["cancelled in the queue", "cancelled", "cancelled", /^Cancelled by you before it started\.$/, /^CANCELLED by \d+$/],
  ["cancelled at 75", "cancelled", "cancelled", /^Cancelled by you\.$/, /^CANCELLED by \d+$/],
  ["limit", "timeout", "timeout", /^It reached its time limit of 00:01:00\.$/, /^TIMEOUT$/],
  [
    "memory",
    "out_of_memory",
    "out_of_memory",
    /^It used more memory than the 60 MiB that it had\.$/,
    /^OUT_OF_MEMORY$/,
  ],
  ["memory of a step, told", "out_of_memory", "out_of_memory", /^It used more memory than/, /^(FAILED|OUT_OF_MEMORY)$/],
  [
    "no log",
    "failed",
    "job_failed",
    /^It could not be started: its folder or its log file can't be opened/,
    /^FAILED$/,
  ],
  ["75 for nothing", "failed", "job_failed", /stopped before all pages were done/, /^FAILED$/],
  ["75 twice", "completed", undefined, undefined, /^COMPLETED$/],
  ["requeued", "completed", undefined, undefined, /^COMPLETED$/],
  ["after any end", "completed", undefined, undefined, /^COMPLETED$/],
  ["after a failure", "cancelled", "cancelled", /did not end well.*DependencyNeverSatisfied/, /^CANCELLED$/],
  ["waits for ever", "cancelled", "cancelled", /did not end well.*DependencyNeverSatisfied/, /^CANCELLED$/],
  ["preempted", "preempted", "node_lost", /^It had to make room for a job of higher priority\.$/, /^PREEMPTED$/],
  ["preempted and run again", "completed", undefined, undefined, /^COMPLETED$/],
  ["node", "node_fail", "node_lost", /^The node .*02, on which it ran, failed\.$/, /^NODE_FAIL$/],
  ["node, run again", "completed", undefined, undefined, /^COMPLETED$/],
  ["warned", "completed", undefined, undefined, /^COMPLETED$/],
];

describe("the end of a SLURM job", () => {
  it.each(ENDS)("%s: %s", async (name, state, code, sentence, raw) => {
    const { outcome, observation } = await of(name).end;
    expect([observation.raw, outcome.state, outcome.error?.code]).toEqual([expect.stringMatching(raw), state, code]);
    if (sentence !== undefined) {
      expect(outcome.reason).toMatch(sentence);
      expect(outcome.error?.fix).not.toBe("");
    }
  });

  it("comes with figures of what was used", async () => {
    const { observation } = await of("limit").end;
    expect(observation.usage).toMatchObject({ gpus: 0, gpuSeconds: 0, nodes: node1, memoryAskedBytes: 100 << 20 });
    expect(observation.usage?.elapsedSeconds).toBeGreaterThanOrEqual(55);
    expect(observation.usage?.cpuAllocatedSeconds).toBe(observation.usage?.elapsedSeconds);
    const { usage } = (await of("node, run again").end).observation;
    expect(usage).toMatchObject({ gpus: 2, nodes: node2 });
    expect(of("fine").record.startedAt).toMatch(/^\d{4}-.*Z$/);
    expect(Math.abs(Date.parse(of("fine").record.startedAt ?? "") - Date.now())).toBeLessThan(600_000);
  });

  it("tells of a step that failed in a script that returned 0", async () => {
    const { observation, outcome } = await of("failed step").end;
    expect(outcome.state).toBe("completed");
    expect(observation.notes).toEqual(["Step 0 (false) ended with exit code 1, although the script returned 0."]);
    const memory = await of("memory of a step").end;
    expect(memory.observation.notes?.join()).toMatch(
      /Step 0 \(tail\) ran out of memory, although the script returned 0/,
    );
  });
});

describe("a job that is run again", () => {
  it.each([
    ["preempted and run again", 1],
    ["node, run again", 1],
    ["requeued", 1],
    ["75 twice", 2],
    ["warned", 1],
  ])("is not ended on the way: %s", async (name, times) => {
    const job = of(name);
    await job.end;
    // Each end would have been the last state but one: only the way to it counts here.
    expect(job.states.filter((s) => !["queued", "running", "completing"].includes(s))).toEqual([]);
    expect(job.record.notes?.[0]).toBe(
      `The scheduler has started it again ${times === 1 ? "once" : `${times} times`}.`,
    );
  });

  it("goes on in the same log, and was told to stop before its limit", async () => {
    await of("warned").end;
    expect(await bench.log(of("warned"))).toMatch(/warned\nBack into the queue: 1 pages are done\./);
    expect(of("warned").record.progress.done).toBe(1);
  });

  it("is left alone after somebody cancelled it", async () => {
    await of("cancelled at 75").end;
    const { stdout } = await bed.as(bed.user, ["squeue", "-h", "-j", of("cancelled at 75").schedulerId, "-o", "%T"]);
    expect(stdout.trim()).toBe("");
  });
});

describe("an array job", () => {
  it("has tasks with files of their own, and one end", async () => {
    const job = of("array");
    const { observation, outcome } = await job.end;
    expect(outcome.state).toBe("failed");
    expect(outcome.reason).toBe("The runner failed by a fault of its own.");
    expect(observation.tasks).toEqual({ total: 5, queued: 0, running: 0, completed: 4, failed: 1 });
    expect(observation.notes).toEqual(["1 of 5 tasks did not complete.", "Task 2: ended as FAILED with exit code 70."]);
    expect(await bench.log(job, "log/job-1.log")).toContain(`task 1 of 5 in ${job.record.jobDir}/output/shard-1\n`);
    // Task 3 came a second time and added its pages again.
    expect(job.record.progress.done).toBe(12);
    expect(job.record.logTail.join("\n")).toMatch(/task \d of 5/);
  });
});
