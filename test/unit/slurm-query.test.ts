/** How the answers of queue and accounts are put together where they disagree, lag or are missing: on recorded answers. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { ExecResult, Transport } from "../../kernel-lib/src/cluster/transport.js";
import type { Asked } from "../../kernel-lib/src/schedulers/index.js";
import { slurm } from "../../kernel-lib/src/schedulers/slurm.js";
import { ROOT } from "../support/sandbox.js";

const file = (name: string) => readFileSync(join(ROOT, "test", "files", "slurm", name), "utf8");
const MIXED = file("squeue-mixed.txt");
const REQUEUE = file("squeue-requeue.txt");
const ENDS = file("sacct-ends.txt");

type Answer = string | { code: number; stderr: string };
const DOWN = { code: 1, stderr: "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" };
const NO_ACCOUNTS = { code: 1, stderr: "sacct: error: Problem talking to the database: Connection refused" };

/** A line on which squeue and sacct answer as they once did. */
class Recorded {
  squeue: Answer = "";
  sacct: Answer = "";
  readonly asked: string[][] = [];
  readonly line: { -readonly [K in keyof Transport]: Transport[K] } = {
    kind: "ssh",
    asked: false,
    lost: new Promise(() => undefined),
    close: async () => undefined,
    sftp: () => Promise.reject(new Error("no files here")),
    exec: async (argv): Promise<ExecResult> => {
      const at = argv.findIndex((word) => word === "squeue" || word === "sacct");
      this.asked.push(argv.slice(at));
      const answer = argv[at] === "squeue" ? this.squeue : this.sacct;
      return typeof answer === "string" ? { code: 0, stdout: answer, stderr: "" } : { ...answer, stdout: "" };
    },
  };
  async ask(...jobs: (string | Asked)[]) {
    return slurm.query(
      this.line,
      jobs.map((j) => (typeof j === "string" ? { id: j } : j)),
    );
  }
  programs(): string[] {
    return this.asked.splice(0).map((argv) => argv[0] ?? "");
  }
}

/** Lines of a recorded answer about these jobs. */
const only = (text: string, ...ids: string[]) =>
  text
    .split("\n")
    .filter((line) => ids.includes(/^\d+/.exec(line)?.[0] ?? ""))
    .join("\n");

afterEach(() => void vi.useRealTimers());

describe("one job", () => {
  it("that waits or runs needs no question to the accounts", async () => {
    const r = new Recorded();
    r.squeue = MIXED;
    const { jobs, silent } = await r.ask("3237", "3259", "3253");
    expect([...jobs].map(([id, o]) => [id, o.state])).toEqual([
      ["3237", "running"],
      ["3259", "queued"],
      ["3253", "queued"],
    ]);
    expect([silent, r.programs()]).toEqual([[], ["squeue"]]);
  });

  it("that ended is told with the exit code of the queue and the figures of the accounts", async () => {
    const r = new Recorded();
    [r.squeue, r.sacct] = [MIXED, ENDS];
    const { jobs } = await r.ask("3244", "3241");
    expect(r.programs()).toEqual(["squeue", "sacct"]);
    // The accounts say 11:0 of the first.
    expect(jobs.get("3244")).toMatchObject({ state: "failed", exitCode: 139, usage: { nodes: "mbed01" } });
    expect(jobs.get("3241")).toMatchObject({ state: "failed", exitCode: 5 });
  });

  it("that left the queue is told by the accounts alone", async () => {
    const r = new Recorded();
    r.sacct = ENDS;
    const { jobs } = await r.ask("3267", "3239", "3246");
    expect([...jobs].map(([, o]) => o.state)).toEqual(["node_fail", "preempted", "out_of_memory"]);
  });

  it("that is run again is not ended, whatever the accounts say", async () => {
    const r = new Recorded();
    r.squeue = REQUEUE;
    // The accounts of that moment: the first run is over, of the second there is nothing yet.
    r.sacct = only(ENDS, "3239").replaceAll("3239", "3240");
    const { jobs } = await r.ask("3240", "3239");
    expect(jobs.get("3240")).toMatchObject({ state: "completing", raw: "COMPLETING", restarts: 1 });
    expect(jobs.has("3239")).toBe(true);
  });

  it("may be run again where only the accounts answer and say PREEMPTED, NODE_FAIL or REQUEUED", async () => {
    const r = new Recorded();
    r.squeue = DOWN;
    r.sacct = ENDS;
    const { jobs, silent } = await r.ask("3239", "3267", "3241", "3237");
    expect([...jobs].map(([id, o]) => [id, o.state])).toEqual([
      ["3241", "failed"],
      ["3237", "timeout"],
    ]);
    expect(silent).toEqual(["slurmctld does not answer"]);
    r.sacct = only(ENDS, "3241").replaceAll("FAILED", "REQUEUED");
    expect((await r.ask("3241")).jobs.size).toBe(0);
    // They learn of a start late: a job that they call waiting may run.
    r.sacct = only(ENDS, "3241").replaceAll("FAILED", "PENDING");
    expect((await r.ask("3241")).jobs.size).toBe(0);
    r.sacct = only(ENDS, "3241").replaceAll("FAILED", "RUNNING");
    expect((await r.ask("3241")).jobs.get("3241")?.state).toBe("running");
  });

  it("waits a while for its figures, and ends without them", async () => {
    vi.useFakeTimers();
    const r = new Recorded();
    r.squeue = MIXED;
    r.sacct = only(ENDS, "3241").replaceAll("FAILED", "RUNNING");
    expect((await r.ask("3241")).jobs.get("3241")).toMatchObject({ state: "completing", raw: "FAILED" });
    vi.advanceTimersByTime(25_000);
    const end = (await r.ask("3241")).jobs.get("3241");
    expect(end).toMatchObject({ state: "failed", exitCode: 5, notes: [expect.stringContaining("no figures")] });
    // Where nobody answers, once is an accident, and twice is waited for no longer.
    const other = new Recorded();
    [other.squeue, other.sacct] = [MIXED, NO_ACCOUNTS];
    expect((await other.ask("3241")).jobs.get("3241")?.state).toBe("completing");
    expect((await other.ask("3241")).jobs.get("3241")?.state).toBe("failed");
  });

  it("is told also where the queue has forgotten it before the accounts could be asked again", async () => {
    const r = new Recorded();
    [r.squeue, r.sacct] = [MIXED, NO_ACCOUNTS];
    expect((await r.ask("3241")).jobs.get("3241")?.state).toBe("completing");
    r.squeue = { code: 1, stderr: "slurm_load_jobs error: Invalid job id specified" };
    expect((await r.ask("3241")).jobs.get("3241")).toMatchObject({ state: "failed", exitCode: 5 });
    const other = new Recorded();
    [other.squeue, other.sacct] = [MIXED, NO_ACCOUNTS];
    await other.ask("3241");
    [other.squeue, other.sacct] = [r.squeue, ENDS];
    expect((await other.ask("3241")).jobs.get("3241")?.usage).toBeDefined();
  });

  it("keeps its figures where the accounts miss one look", async () => {
    const r = new Recorded();
    [r.squeue, r.sacct] = [MIXED, NO_ACCOUNTS];
    expect((await r.ask("3241")).jobs.get("3241")?.state).toBe("completing");
    r.sacct = ENDS;
    const end = (await r.ask("3241")).jobs.get("3241");
    expect(end).toMatchObject({ state: "failed", exitCode: 5 });
    expect(end?.usage).toBeDefined();
  });

  it("is not told from half of what the accounts will know", async () => {
    vi.useFakeTimers();
    // Recorded while slurmdbd was behind: the state is there before the time, the exit code, and who cancelled it.
    const half =
      "129|CANCELLED|0:0|0:0|2026-11-29T04:20:06|2026-11-29T04:20:06|Unknown|1|60|1|00:00:00|||None assigned|1001||None|wrap\n";
    const whole = half.replace("CANCELLED", "CANCELLED by 1001").replace("Unknown", "2026-11-29T04:20:06");
    const r = new Recorded();
    r.squeue = "129|CANCELLED|0|0|0|2026-11-29T04:20:06|2026-11-29T04:20:06|2026-11-29T04:20:06||1001|JobHeldUser|\n";
    r.sacct = half;
    expect((await r.ask("129")).jobs.get("129")).toMatchObject({ state: "completing", raw: "CANCELLED" });
    r.sacct = whole;
    const end = { state: "cancelled", raw: "CANCELLED by 1001", reason: "Cancelled by you before it started." };
    expect((await r.ask("129")).jobs.get("129")).toMatchObject(end);
    // Also where the queue has forgotten it; but nobody waits for ever for the other half.
    const other = new Recorded();
    other.sacct = half;
    expect((await other.ask("129")).jobs.size).toBe(0);
    other.sacct = whole;
    expect((await other.ask("129")).jobs.get("129")).toMatchObject(end);
    other.sacct = half;
    expect((await other.ask("129")).jobs.size).toBe(0);
    vi.advanceTimersByTime(25_000);
    expect((await other.ask("129")).jobs.get("129")?.state).toBe("cancelled");
  });

  it("that nobody knows is missing, and so is one that accounts without a queue call running for ever", async () => {
    const r = new Recorded();
    expect(await r.ask("77")).toEqual({ jobs: new Map(), silent: [] });
    r.squeue = { code: 1, stderr: "slurm_load_jobs error: Invalid job id specified" };
    expect(await r.ask("77")).toEqual({ jobs: new Map(), silent: [] });
    r.sacct = only(ENDS, "3241").replaceAll("FAILED", "RUNNING");
    expect(await r.ask("3241")).toEqual({ jobs: new Map(), silent: [] });
  });

  it("with a word that nobody knows goes on", async () => {
    const r = new Recorded();
    r.squeue = only(MIXED, "3237").replace("RUNNING", "TELEPORTING");
    expect((await r.ask("3237")).jobs.get("3237")).toMatchObject({ state: "unknown", raw: "TELEPORTING" });
    r.squeue = "";
    r.sacct = only(ENDS, "3241").replaceAll("FAILED", "TELEPORTED");
    expect((await r.ask("3241")).jobs.size).toBe(0);
  });
});

describe("an array", () => {
  const row = (tasks: string, state: string, exit = "0", reason = "None") =>
    `50_${tasks}|${state}|0|${exit}|0|2026-11-25T04:07:07|2026-11-25T04:07:07|2026-11-25T04:08:07|n1|1043|${reason}|`;
  const account = (task: string, state: string, exit = "0:0") =>
    `${task}|${state}|${exit}|0:0|2026-11-25T04:07:07|2026-11-25T04:07:07|2026-11-25T04:08:07|60|60|60|00:30.000||billing=1,cpu=1,gres/gpu=1,mem=1G,node=1|n1|1043||None|x`;

  it("is followed task by task, and ended tasks are asked about once", async () => {
    const r = new Recorded();
    const array = { id: "50", tasks: 6 };
    r.squeue = [
      row("[3-5%2]", "PENDING", "0", "JobArrayTaskLimit"),
      row("1", "RUNNING"),
      row("2", "RUNNING"),
      row("0", "COMPLETED"),
    ].join("\n");
    r.sacct = account("50_0", "COMPLETED");
    let now = (await r.ask(array)).jobs.get("50");
    expect(now).toMatchObject({
      state: "running",
      tasks: { total: 6, queued: 3, running: 2, completed: 1, failed: 0 },
    });
    expect(r.asked.at(-1)?.find((a) => a.startsWith("--jobs"))).toBe("--jobs=50_0");
    r.programs();
    await r.ask(array);
    expect(r.programs()).toEqual(["squeue"]);
    // One comes back after its end.
    r.squeue = [row("[3-5%2]", "PENDING"), row("0", "PENDING"), row("1", "RUNNING"), row("2", "RUNNING")].join("\n");
    now = (await r.ask(array)).jobs.get("50");
    expect(now?.tasks).toEqual({ total: 6, queued: 4, running: 2, completed: 0, failed: 0 });
    // All but two have ended and are out of the queue; the last two were cancelled together before they started.
    r.squeue = "";
    r.sacct = [
      account("50_0", "COMPLETED"),
      account("50_1", "FAILED", "7:0"),
      account("50_2", "TIMEOUT"),
      account("50_3", "COMPLETED"),
      "50|CANCELLED by 1043|0:0|0:0|2026-11-25T04:07:07|2026-11-25T04:07:07|2026-11-25T04:08:07|0||0|00:00:00|||None assigned|0||None|x",
    ].join("\n");
    const end = (await r.ask(array)).jobs.get("50");
    expect(end).toMatchObject({
      state: "failed",
      exitCode: 7,
      tasks: { total: 6, queued: 0, running: 0, completed: 2, failed: 4 },
      usage: { gpuSeconds: 240, cpuSeconds: 120, nodes: "n1" },
    });
    expect(end?.notes).toEqual([
      "4 of 6 tasks did not complete.",
      "Task 1: ended as FAILED with exit code 7.",
      "Task 2: It reached its time limit of 01:00:00.",
      "Task 4: Cancelled by you before it started.",
      "Task 5: Cancelled by you before it started.",
    ]);
  });

  it("ends also where single tasks were cancelled in the queue and left no trace", async () => {
    vi.useFakeTimers();
    const r = new Recorded();
    r.sacct = [account("50_0", "COMPLETED"), account("50_1", "COMPLETED")].join("\n");
    expect((await r.ask({ id: "50", tasks: 3 })).jobs.get("50")?.state).toBe("completing");
    vi.advanceTimersByTime(30_000);
    expect((await r.ask({ id: "50", tasks: 3 })).jobs.get("50")).toMatchObject({ state: "cancelled" });
    // Half of an end says more than no trace.
    const other = new Recorded();
    const half = account("50_2", "TIMEOUT").replace(/\|[^|]*\|(\d+\|60\|)/, "|Unknown|$1");
    expect(half).toContain("|Unknown|");
    other.sacct = `${r.sacct}\n${half}`;
    expect((await other.ask({ id: "50", tasks: 3 })).jobs.get("50")?.state).toBe("completing");
    vi.advanceTimersByTime(30_000);
    expect((await other.ask({ id: "50", tasks: 3 })).jobs.get("50")).toMatchObject({ state: "timeout" });
  });

  it("ends as the queue told, also where that has forgotten it before the accounts could be asked again", async () => {
    const r = new Recorded();
    const array = { id: "50", tasks: 2 };
    r.squeue = [row("0", "COMPLETED"), row("1", "FAILED", "1792")].join("\n");
    r.sacct = NO_ACCOUNTS;
    expect((await r.ask(array)).jobs.get("50")?.state).toBe("completing");
    r.squeue = "";
    const end = (await r.ask(array)).jobs.get("50");
    expect(end).toMatchObject({ state: "failed", exitCode: 7, tasks: { total: 2, completed: 1, failed: 1 } });
  });

  it("is not known at all before anybody has told anything", async () => {
    expect((await new Recorded().ask({ id: "50", tasks: 3 })).jobs.size).toBe(0);
  });

  it("may have only some of its tasks run", async () => {
    const r = new Recorded();
    r.squeue = row("4", "RUNNING");
    r.sacct = account("50_2", "COMPLETED");
    const now = (await r.ask({ id: "50", tasks: [2, 4] })).jobs.get("50");
    expect(now?.tasks).toEqual({ total: 2, queued: 0, running: 1, completed: 1, failed: 0 });
  });
});

describe("a part that hangs", () => {
  it("is not waited for again so soon, and tried again after a while", async () => {
    vi.useFakeTimers();
    const r = new Recorded();
    const { exec } = r.line;
    r.line.exec = async (argv, options) => {
      const said = await exec(argv, options);
      if (!argv.includes("sacct")) return said;
      vi.advanceTimersByTime(13_000);
      return { code: 124, stdout: "", stderr: "" };
    };
    r.squeue = MIXED;
    const early: number[] = [];
    const ask = () => slurm.query(r.line, [{ id: "3237" }, { id: "3241" }], (a) => early.push(a.jobs.size));
    expect((await ask()).silent).toEqual(["slurmdbd (SLURM's accounting) did not answer within 13 s"]);
    // What the queue knew was told before the accounts were waited for.
    expect([early, r.programs()]).toEqual([[1], ["squeue", "sacct"]]);
    expect((await ask()).silent.length).toBe(1);
    expect(r.programs()).toEqual(["squeue"]);
    vi.advanceTimersByTime(14_000);
    await ask();
    expect(r.programs()).toEqual(["squeue", "sacct"]);
  });
});

describe("what is asked", () => {
  it("is bounded, and every job has its turn", async () => {
    const r = new Recorded();
    const ids = Array.from({ length: 2_500 }, (_, i) => String(10_000 + i));
    const seen = new Set<string>();
    for (let look = 0; look < 2; look++) {
      await r.ask(...ids);
      const jobs =
        (r.asked.at(-1) ?? [])
          .find((word) => word.startsWith("--jobs="))
          ?.slice(7)
          .split(",") ?? [];
      expect(jobs.length).toBe(2_000);
      for (const id of jobs) seen.add(id);
    }
    expect(seen.size).toBe(ids.length);
  });

  it("runs in a clean environment, with a deadline on the far side, in the shared shell", async () => {
    const seen: { argv: readonly string[]; options: unknown }[] = [];
    const r = new Recorded();
    const { exec } = r.line;
    r.line.exec = (argv, options) => {
      seen.push({ argv, options });
      return exec(argv, options);
    };
    await r.ask("1", "2", "3");
    expect(seen.length).toBe(2);
    for (const { argv, options } of seen) {
      expect(argv.join(" ")).toMatch(/TZ=UTC .*SLURM_BITSTR_LEN=0 timeout -k 2 13 (squeue|sacct) /);
      expect(options).toMatchObject({ shared: true, timeout: 18_000 });
    }
  });
});
