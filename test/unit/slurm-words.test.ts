import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { waiting } from "../../kernel-lib/src/schedulers/slurm-reasons.js";
import { refusal, slurmWords } from "../../kernel-lib/src/schedulers/slurm-refusals.js";
import { silence } from "../../kernel-lib/src/schedulers/slurm-run.js";
import { ROOT } from "../support/sandbox.js";

/** Reasons of SLURM 22.05 to 26.05 for which a job waits, as squeue prints them. */
const REASONS =
  `None Prolog Priority Dependency Resources PartitionNodeLimit PartitionTimeLimit PartitionDown PartitionInactive
JobHeldAdmin JobHeldUser BeginTime Licenses Reservation ReqNodeNotAvail SchedDefer NodeDown BadConstraints SystemFailure
JobLaunchFailure InvalidAccount InvalidQOS QOSUsageThreshold QOSJobLimit QOSResourceLimit QOSTimeLimit Cleaning QOSNotAllowed
AccountNotAllowed DependencyNeverSatisfied QOSGrpCpuLimit QOSGrpCPUMinutesLimit QOSGrpCPURunMinutesLimit QOSGrpJobsLimit
QOSGrpMemLimit QOSGrpNodeLimit QOSGrpSubmitJobsLimit QOSGrpWallLimit QOSMaxCpuPerJobLimit QOSMaxCpuMinutesPerJobLimit
QOSMaxNodePerJobLimit QOSMaxWallDurationPerJobLimit QOSMaxCpuPerUserLimit QOSMaxJobsPerUserLimit QOSMaxNodePerUserLimit
QOSMaxSubmitJobPerUserLimit QOSMinCpuNotSatisfied AssocGrpCpuLimit AssocGrpCPUMinutesLimit AssocGrpJobsLimit AssocGrpMemLimit
AssocGrpNodeLimit AssocGrpSubmitJobsLimit AssocGrpWallLimit AssocMaxJobsLimit AssocMaxCpuPerJobLimit
AssocMaxWallDurationPerJobLimit AssocMaxSubmitJobLimit JobHoldMaxRequeue JobArrayTaskLimit AssocGrpGRES QOSMaxGRESPerUser
QOSGrpGRES QOSMinGRES QOSMinMemory MaxGRESPerAccount MaxJobsPerAccount DeadLine MaxMemPerLimit AssocGrpBilling
QOSMaxMemoryPerJob ReservationDeleted ReservationInvalid Constraints PartitionConfig MaxPoweredUpNodes`.split(/\s+/);

describe("why a job waits", () => {
  it.each(REASONS)("%s is a sentence, with SLURM's own word", (reason) => {
    const { text } = waiting(reason);
    expect(text).toMatch(/^[A-Z].*[.]$/);
    expect(text).not.toMatch(/^SLURM says/);
    if (reason !== "None") expect(text).toContain(`(${reason})`);
  });

  it("tells what passes from what does not, and from what can never be", () => {
    expect(waiting("QOSMaxCpuPerUserLimit").text).toBe(
      "You have as much in use (CPUs) as your QOS allows (QOSMaxCpuPerUserLimit). It starts when jobs of yours end.",
    );
    expect(waiting("AssocGrpGRES").text).toMatch(/^Your group has as much in use \(GPUs\) as its account allows/);
    expect(waiting("AssocGrpCPUMinutesLimit").text).toMatch(/budget of CPUs over time is used up/);
    for (const stuck of ["PartitionTimeLimit", "QOSMaxWallDurationPerJobLimit", "QOSMinGRES", "BadConstraints"])
      expect(waiting(stuck).text).toMatch(/will not start as it is/);
    expect(REASONS.filter((r) => waiting(r).never)).toEqual(["DependencyNeverSatisfied"]);
  });

  it("knows what is held, in words of slurmctld's own, too", () => {
    expect(waiting("JobHeldUser").held).toBe(true);
    expect(waiting("job requeued in held state")).toEqual({
      text: "Held: it waits until it is released (job requeued in held state).",
      held: true,
    });
    expect(waiting("launch failed requeued held").held).toBe(true);
  });

  it("leaves what nobody knows as it is, and reads details away", () => {
    expect(waiting("NewReasonOf2030").text).toBe("SLURM says: NewReasonOf2030.");
    expect(waiting("ReqNodeNotAvail, UnavailableNodes:a[01-09]").text).toMatch(/not available.*\(ReqNodeNotAvail\)/);
  });
});

/** Commands, their words and exit codes, as SLURM 22.05.8 gave them on the toy cluster. */
const refused = readFileSync(join(ROOT, "test", "files", "slurm", "refusals.txt"), "utf8")
  .split(/^\$ /m)
  .slice(1)
  .map((part) => {
    const [command = "", ...lines] = part.trimEnd().split("\n");
    return { command, code: Number(/rc=(\d+)/.exec(lines.pop() ?? "")?.[1]), words: lines.join("\n") };
  });

describe("what sbatch refuses", () => {
  it.each(refused)("$command", ({ command, code, words }) => {
    const error = refusal(words, code);
    expect(error.code).toBe("scheduler");
    expect(error.fix).not.toBe("");
    expect(error.what).not.toMatch(/sbatch: error|\n/);
    const own =
      words
        .split("\n")
        .at(-1)
        ?.replace(/^.*(?:error|failed): /, "") ?? "";
    if (!command.includes("badopt")) expect(error.what).toContain(own);
    const later = /MaxSubmitJobs/.test(command)
      ? "limit"
      : /contact slurm controller/.test(words)
        ? "silent"
        : undefined;
    expect(error.later).toBe(later);
  });

  it("says what to do about the well-known", () => {
    const fix = (words: string) => refusal(`sbatch: error: Batch job submission failed: ${words}`, 1).fix;
    expect(fix("Invalid partition name specified")).toMatch(/partition/);
    expect(fix("Invalid account or account/partition combination specified")).toMatch(/account/);
    expect(fix("Invalid qos specification")).toMatch(/qos/);
    expect(fix("Invalid generic resource (gres) specification")).toMatch(/type:count/);
    expect(fix("Requested time limit is invalid (missing or exceeds some limit)")).toMatch(/time/);
  });

  it("knows a limit that passes from one that does not", () => {
    const policy =
      "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
    // Yale's words, from its documentation.
    expect(refusal(`sbatch: error: Reached jobs per hour limit\n${policy}`, 1).later).toBe("limit");
    expect(refusal(`sbatch: error: QOSMaxSubmitJobPerUserLimit\n${policy}`, 1).later).toBe("limit");
    expect(refusal(policy, 1).later).toBe("limit");
    expect(refusal(`sbatch: error: QOSMaxGRESPerJob\n${policy}`, 1).later).toBeUndefined();
    expect(refusal(`sbatch: error: QOSMaxWallDurationPerJobLimit\n${policy}`, 1).later).toBeUndefined();
  });

  it("is named where there is no sbatch at all", () => {
    expect(refusal("sbatch: command not found", 127).what).toBe("sbatch was not found on the cluster.");
    expect(refusal("", null).what).toMatch(/no word/);
    expect(slurmWords(`sbatch: error: ${"x".repeat(2000)}`).length).toBe(600);
  });
});

describe("a question without an answer", () => {
  it("is told by the daemon that was asked", () => {
    const said = (code: number | null, stderr = "") => ({ code, stdout: "", stderr });
    expect(silence("squeue", said(0), 13)).toBeUndefined();
    expect(silence("squeue", said(124), 13)).toBe("slurmctld did not answer within 13 s");
    expect(silence("sacct", said(1, "sacct: error: Problem talking to the database: Connection refused"), 13)).toBe(
      "slurmdbd (SLURM's accounting) does not answer",
    );
    expect(silence("sacct", said(1, "Slurm accounting storage is disabled"), 13)).toBe(
      "sacct failed: Slurm accounting storage is disabled",
    );
    expect(silence("squeue", said(127, "not found"), 13)).toBe("squeue was not found on the cluster");
  });
});
