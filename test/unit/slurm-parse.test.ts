import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { JOB_STATES } from "../../kernel-lib/src/protocol.js";
import { fromAccounts, fromQueue } from "../../kernel-lib/src/schedulers/slurm-end.js";
import { jobSubmittedWith, parseSacct, sacctArguments } from "../../kernel-lib/src/schedulers/slurm-sacct.js";
import { jobWithComment, parseSqueue, squeueArguments } from "../../kernel-lib/src/schedulers/slurm-squeue.js";
import { mayComeBack, stateOf } from "../../kernel-lib/src/schedulers/slurm-states.js";
import { wasteOf } from "../../kernel-lib/src/schedulers/slurm-usage.js";
import {
  cpuSeconds,
  exitStatus,
  gpusOf,
  isoTime,
  jobName,
  sizeBytes,
  tresOf,
} from "../../kernel-lib/src/schedulers/slurm-values.js";
import { ROOT } from "../support/sandbox.js";

/** What SLURM 22.05.8 printed on the toy cluster. */
const file = (name: string) => readFileSync(join(ROOT, "test", "files", "slurm", name), "utf8");

describe("values as SLURM prints them", () => {
  it("are read, and what is none is undefined", () => {
    expect(isoTime("2026-11-25T04:07:08")).toBe("2026-11-25T04:07:08.000Z");
    expect(["N/A", "Unknown", "None", ""].map(isoTime)).toEqual([undefined, undefined, undefined, undefined]);
    expect(exitStatus("3:0")).toEqual({ exitCode: 3, signal: 0 });
    expect(exitStatus("0:125")).toEqual({ exitCode: 0, signal: 125 });
    // As wait(2) gives it: exit code 3, signal 11, signal 53 with the bit of a core file.
    expect(["768", "11", "4021"].map(exitStatus)).toEqual([
      { exitCode: 3, signal: 0 },
      { exitCode: 0, signal: 11 },
      { exitCode: 0, signal: 53 },
    ]);
    expect(exitStatus("")).toBeUndefined();
    expect(["00:00.006", "01:02", "3:00:01", "1-02:03:04.5"].map(cpuSeconds)).toEqual([0.006, 62, 10_801, 93_784.5]);
    expect(["3260K", "1.5G", "0", "", "7x"].map(sizeBytes)).toEqual([
      3_338_240,
      1_610_612_736,
      0,
      undefined,
      undefined,
    ]);
    expect(gpusOf(tresOf("billing=1,gres/gpu:a100=2,gres/gpu=2,mem=1G"))).toBe(2);
    expect(gpusOf(tresOf("cpu=1,gres/gpu:a100=2,gres/gpu:h100=1"))).toBe(3);
    expect(gpusOf(tresOf(""))).toBe(0);
  });

  it("are job ids with tasks and steps", () => {
    expect(jobName("23")).toEqual({ job: "23" });
    expect(jobName("23.batch")).toEqual({ job: "23", step: "batch" });
    expect(jobName("23_4.0")).toEqual({ job: "23", tasks: [4], step: "0" });
    expect(jobName("23_[4-7,9%3]")).toEqual({ job: "23", tasks: [4, 5, 6, 7, 9] });
    expect(jobName("23_[0-12:4]")).toEqual({ job: "23", tasks: [0, 4, 8, 12] });
    // Cut after 64 characters, where SLURM_BITSTR_LEN did not get through.
    expect(jobName("24_[0,2,4...")).toEqual({ job: "24", tasks: [0, 2] });
    for (const foreign of ["", "JobID", "23_", "x23", "--help", "23\u001b[2J"])
      expect(jobName(foreign)).toBeUndefined();
  });

  it("are states that are known, and any other is unknown and no end", () => {
    expect(stateOf("CANCELLED by 1001")).toBe("cancelled");
    expect(stateOf("CANCELLED+")).toBe("cancelled");
    expect(["HIBERNATING", "", "completed", "<b>"].map(stateOf)).toEqual(Array(4).fill("unknown"));
    expect(["PREEMPTED", "NODE_FAIL", "REQUEUED", "COMPLETED"].map(mayComeBack)).toEqual([true, true, true, false]);
    expect(JOB_STATES).toContain(stateOf("OUT_OF_MEMORY"));
  });
});

describe("squeue", () => {
  const rows = parseSqueue(file("squeue-mixed.txt"));
  const of = (job: string) => rows.find((r) => r.job === job) ?? expect.fail(job);

  it("is read with its arrays, exit codes and times", () => {
    expect(rows.length).toBe(file("squeue-mixed.txt").trim().split("\n").length);
    expect(of("3261")).toMatchObject({ tasks: [0, 1, 2, 3, 4], state: "PENDING", reason: "Priority", uid: "1043" });
    expect(of("3244").exit).toEqual({ exitCode: 139, signal: 0 });
    expect(of("3247").derived).toEqual({ exitCode: 0, signal: 125 });
    expect(of("3256")).toMatchObject({ state: "COMPLETING", restarts: 1 });
    expect(of("3256").startedAt).toBeUndefined();
  });

  it("tells of what waits why, and when it may start", () => {
    expect(fromQueue(of("3259"))).toMatchObject({
      state: "queued",
      held: false,
      reason: "Others are before it in the queue (Priority).",
      expectedStart: "2026-11-25T05:07:00.000Z",
    });
    expect(fromQueue(of("3253"))).toMatchObject({
      held: true,
      reason: "Held: it waits until it is released (JobHeldUser).",
    });
    expect(fromQueue(of("3237"))).toMatchObject({ state: "running", startedAt: "2026-11-25T04:07:07.000Z" });
    expect(fromQueue({ ...of("3237"), state: "SUSPENDED" })).toMatchObject({
      state: "running",
      reason: expect.stringMatching(/stopped it/),
    });
    expect(fromQueue({ ...of("3237"), state: "DREAMING" })).toMatchObject({ state: "unknown", raw: "DREAMING" });
  });

  it("is asked by ids, unless there are so many that no argument could hold them", () => {
    expect(squeueArguments(["1", "2"])).toContain("--jobs=1,2");
    const many = Array.from({ length: 20_000 }, (_, n) => String(1_000_000 + n));
    expect(squeueArguments(many).join(" ").length).toBeLessThan(1000);
  });

  it("finds a comment whole", () => {
    const text = "7|yale-abc-1|\n8|yale-abc-11|\n9|(null)|\n";
    expect(jobWithComment(text, "yale-abc-1")).toBe("7");
    expect(jobWithComment(text, "yale-abc")).toBeUndefined();
  });
});

describe("sacct", () => {
  const accounts = parseSacct(file("sacct-ends.txt"));
  const named = (name: string) => accounts.find((a) => a.name === name) ?? expect.fail(name);

  it("is read as jobs with their steps", () => {
    expect(accounts.filter((a) => a.name === "array").map((a) => a.tasks?.[0])).toEqual([0, 1, 2, 4, 3]);
    expect(named("failed step").steps.map((s) => [s.step, s.state, s.name])).toEqual([
      ["batch", "COMPLETED", "batch"],
      ["extern", "COMPLETED", "extern"],
      ["0", "FAILED", "false"],
    ]);
    expect(named("node").steps[0]?.exit).toBeUndefined();
    expect(sacctArguments(["1", "2_3"])).toContain("--jobs=1,2_3");
  });

  it("tells how each ended, by whom, and what it used", () => {
    expect(fromAccounts(named("cancelled"))).toMatchObject({ state: "cancelled", reason: "Cancelled by you." });
    expect(fromAccounts(named("cancelled by root")).reason).toBe("Cancelled by an administrator of the cluster.");
    expect(fromAccounts({ ...named("cancelled"), state: "CANCELLED by 7" }).reason).toBe("Cancelled by user 7.");
    expect(fromAccounts(named("limit"))).toMatchObject({
      state: "timeout",
      reason: "It reached its time limit of 00:01:00.",
      usage: { elapsedSeconds: 79, cpuSeconds: 0.006, cpuAllocatedSeconds: 79, maxMemoryBytes: 7_081_984, gpus: 0 },
    });
    expect(fromAccounts(named("node, run again")).usage).toMatchObject({ gpus: 2, nodes: "mbed02" });
    expect(fromAccounts(named("memory of a step, told"))).toMatchObject({
      state: "out_of_memory",
      raw: "FAILED",
      notes: ["Step 0 (tail) ran out of memory."],
    });
    expect(fromAccounts(named("no log"))).toMatchObject({
      state: "failed",
      signal: 53,
      reason: expect.stringMatching(/log file can't be opened/),
    });
    // Where memory is looked at now and then instead of being kept by cgroups.
    const killed = { ...named("signal"), exit: { exitCode: 0, signal: 9 } };
    const large = { ...killed, steps: killed.steps.map((s) => ({ ...s, maxRss: "120M" })) };
    expect([fromAccounts(killed).state, fromAccounts(large).state]).toEqual(["failed", "out_of_memory"]);
  });

  it("finds a job by its comment, and by the command line where comments are not kept", () => {
    const text =
      "5||sbatch --parsable --comment=yale-a-1 /j/job.sh\n6|yale-b-1|sbatch job.sh\n7_[0-3]||sbatch --comment=yale-c-1 x\n";
    expect(["yale-a-1", "yale-b-1", "yale-c-1", "yale-a"].map((t) => jobSubmittedWith(text, t))).toEqual([
      "5",
      "6",
      "7",
      undefined,
    ]);
  });
});

describe("what was wasted", () => {
  const gib = 2 ** 30;
  it("is said where it is worth it", () => {
    expect(
      wasteOf(
        {
          elapsedSeconds: 600,
          cpuSeconds: 720,
          cpuAllocatedSeconds: 4800,
          memoryAskedBytes: 64 * gib,
          maxMemoryBytes: 6 * gib,
        },
        { limit: 28_800 },
      ),
    ).toBe(
      "Of 8 CPUs 1.2 were busy, of 64 GiB of memory 6 were used, and of 8 h it took 10 min. Asking for less starts sooner.",
    );
    expect(wasteOf({ elapsedSeconds: 3600, gpus: 2 }, { gpuBusy: 12 })).toMatch(
      /^Its GPUs were busy for 12 % of the time\./,
    );
  });
  it("is not made of jobs that were short, or used what they had", () => {
    expect(wasteOf({ elapsedSeconds: 30, cpuAllocatedSeconds: 240, cpuSeconds: 1 })).toBeUndefined();
    expect(
      wasteOf({ elapsedSeconds: 3000, cpuAllocatedSeconds: 6000, cpuSeconds: 5000 }, { limit: 3600 }),
    ).toBeUndefined();
  });
});
