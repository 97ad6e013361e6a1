import { describe, expect, it } from "vitest";
import { turnOf } from "../../kernel-lib/src/jobs/after.js";
import { newRecord } from "../../kernel-lib/src/jobs/records.js";
import { decideRetry, memoryBytes } from "../../kernel-lib/src/jobs/retry.js";
import type { EarlierAttempt, JobRecord, JobSpec, JobState } from "../../kernel-lib/src/protocol.js";

function record(more: Partial<JobRecord> = {}, spec: Partial<JobSpec> = {}): JobRecord {
  return {
    ...newRecord("abcdef0001", {
      kind: "ocr",
      name: "a",
      cluster: "grace",
      sources: [],
      options: {},
      resources: {},
      ...spec,
    }),
    state: "completing",
    ...more,
  };
}

const earlier = (done: number, automatic = true): EarlierAttempt => ({ attempt: 1, state: "timeout", done, automatic });
const pages = (done: number) => ({ progress: { prepared: 0, done, failed: 0 } });

describe("a job that ended badly", () => {
  it.each<[string, JobState, JobRecord, boolean, RegExp | undefined]>([
    ["node failed", "node_fail", record(), true, /attempt 2 goes on/],
    ["preempted", "preempted", record(), true, /attempt 2 goes on/],
    ["preempted script", "preempted", record({}, { kind: "run" }), true, /from its beginning/],
    ["time limit with pages", "timeout", record(pages(5)), true, /goes on where it stopped/],
    ["time limit without pages", "timeout", record(), false, /added no page/],
    ["time limit, no new pages", "timeout", record({ ...pages(5), earlier: [earlier(5)] }), false, /added no page/],
    ["time limit of a script", "timeout", record(pages(5), { kind: "run" }), false, undefined],
    ["stopped with 75 and pages", "failed", record({ ...pages(2), exitCode: 75 }), true, /goes on/],
    ["stopped with 75 without", "failed", record({ exitCode: 75 }), false, /added no page/],
    ["wrong options", "failed", record({ ...pages(5), exitCode: 64 }), false, undefined],
    ["own fault", "failed", record({ ...pages(5), exitCode: 70 }), false, undefined],
    ["cancelled", "cancelled", record(pages(5)), false, undefined],
    ["lost", "lost", record(pages(5)), false, undefined],
    ["completed", "completed", record(pages(5)), false, undefined],
    ["not wanted", "node_fail", record({}, { retries: 0 }), false, undefined],
    ["wanted once, done once", "node_fail", record({ earlier: [earlier(0)] }, { retries: 1 }), false, /once by itself/],
    ["three times", "node_fail", record({ earlier: [earlier(1), earlier(2), earlier(3)] }), false, /3 times/],
    [
      "a person asked since",
      "node_fail",
      record({ earlier: [earlier(1), earlier(2), earlier(3, false)] }),
      true,
      /attempt 2/,
    ],
  ])("%s", (_, state, r, again, note) => {
    const decided = decideRetry(r, { state, reason: "It happened." });
    expect(decided.again).toBe(again);
    if (note === undefined) expect(decided.note).toBeUndefined();
    else expect(decided.note).toMatch(note);
  });

  it.each<[string | undefined, number | undefined, number | undefined, string | undefined]>([
    ["4G", undefined, undefined, "8G"],
    ["512M", undefined, undefined, "1G"],
    ["300M", undefined, undefined, "600M"],
    ["5000M", undefined, undefined, "10G"],
    ["64G", undefined, undefined, "96G"],
    ["4G", undefined, 6 * 2 ** 30, "6144M"],
    ["4G", undefined, 4.2 * 2 ** 30, undefined],
    ["4G", undefined, 2 ** 30, undefined],
    [undefined, 5 * 2 ** 30, undefined, "10G"],
    [undefined, undefined, undefined, undefined],
  ])("gets more memory: %s (or %s by the scheduler), at most %s: %s", (memory, asked, cap, more) => {
    const r = record(asked === undefined ? {} : { usage: { memoryAskedBytes: asked } }, {
      resources: memory === undefined ? {} : { memory },
    });
    const decided = decideRetry(r, { state: "out_of_memory" }, cap === undefined ? {} : { memoryBytes: cap });
    expect(decided.again && decided.resources?.memory).toBe(more ?? false);
    expect(decided.note).toBeDefined();
  });

  it("counts what a person's attempt did of the pages in error", () => {
    const before = { ...earlier(10, false), failed: 4 };
    const ended = (done: number, last = before) =>
      decideRetry(record({ ...pages(done), earlier: [last] }), { state: "timeout" }).again;
    expect([ended(6), ended(7), ended(10)]).toEqual([false, true, true]);
    expect(ended(10, { ...before, automatic: true })).toBe(false);
  });

  it("reads memory as SLURM writes it", () => {
    expect([memoryBytes("1K"), memoryBytes("2M"), memoryBytes("1T"), memoryBytes("1"), memoryBytes(undefined)]).toEqual(
      [1024, 2 * 2 ** 20, 2 ** 40, undefined, undefined],
    );
  });
});

describe("the turn of a job", () => {
  const first = (more: Partial<JobRecord>, spec: Partial<JobSpec> = {}) => record({ id: "first00001", ...more }, spec);
  const after = (condition: "afterok" | "afterany") => record({}, { after: [{ job: "first00001", condition }] }).spec;

  it.each<[string, JobRecord | undefined, "wait" | "never" | "now", "wait" | "never" | "now", number]>([
    ["still preparing", first({ state: "preparing" }), "wait", "wait", 0],
    ["queued there", first({ state: "queued", schedulerId: "7" }), "now", "now", 1],
    ["ending", first({ state: "completing", schedulerId: "7" }), "wait", "wait", 0],
    ["completed", first({ state: "completed", schedulerId: "7" }), "now", "now", 0],
    ["failed", first({ state: "failed", schedulerId: "7" }), "never", "now", 0],
    ["cancelled early", first({ state: "cancelled" }), "never", "now", 0],
    ["elsewhere", first({ state: "running", schedulerId: "7" }, { cluster: "misha" }), "wait", "wait", 0],
    ["forgotten", undefined, "never", "never", 0],
  ])("after one that is %s", (_, other, ok, any, ids) => {
    for (const [condition, turn] of [
      ["afterok", ok],
      ["afterany", any],
    ] as const) {
      const decided = turnOf(after(condition), () => other);
      expect(decided.turn).toBe(turn);
      if (decided.turn === "now") expect(decided.after.length).toBe(ids);
      else expect(decided.reason).toContain("first00001");
    }
  });

  it("is now if it comes after nobody", () => {
    expect(turnOf(record().spec, () => undefined)).toEqual({ turn: "now", after: [] });
  });
});
