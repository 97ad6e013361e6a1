import { describe, expect, it } from "vitest";
import { ProgressReader } from "../../kernel-lib/src/jobs/progress.js";
import type { Progress } from "../../kernel-lib/src/protocol.js";

const empty: Progress = { prepared: 0, done: 0, failed: 0 };
const bytes = (...lines: object[]) => new TextEncoder().encode(lines.map((l) => `${JSON.stringify(l)}\n`).join(""));
const at = (second: number) => new Date(1_700_000_000_000 + second * 1000).toISOString();

describe("progress of a runner", () => {
  it("counts pages, errors and pace", () => {
    const reader = new ProgressReader();
    const progress = reader.feed(
      bytes(
        { n: 1, time: at(0), type: "start", total: 10, done: 0, attempt: 1 },
        { n: 2, time: at(1), type: "page", key: "a", seconds: 1 },
        { n: 3, time: at(2), type: "error", key: "b", reason: "torn" },
        { n: 4, time: at(3), type: "page", key: "c", seconds: 1 },
      ),
      empty,
    );
    expect(progress).toMatchObject({ done: 3, failed: 1, total: 10, rate: 1, etaSeconds: 7 });
  });

  it("reads lines that arrive in pieces, cut anywhere", () => {
    const whole = bytes(
      { n: 1, time: at(0), type: "start", total: 2, done: 0, attempt: 1 },
      { n: 2, time: at(1), type: "phase", message: "größer" },
      { n: 3, time: at(1), type: "page", key: "a", seconds: 1 },
    );
    for (let cut = 1; cut < whole.length; cut++) {
      const reader = new ProgressReader();
      let p: Progress = empty;
      for (const part of [whole.subarray(0, cut), whole.subarray(cut)]) p = reader.feed(part, p) ?? p;
      expect(p).toMatchObject({ done: 1, total: 2, message: "größer" });
      expect(reader.offset).toBe(whole.length);
    }
  });

  it("begins anew where a second attempt says how much is done", () => {
    const reader = new ProgressReader();
    const first = reader.feed(bytes({ n: 1, time: at(0), type: "page", key: "a", seconds: 1 }), empty) ?? empty;
    const p = reader.feed(bytes({ n: 1, time: at(9), type: "start", total: 5, done: 1, attempt: 2 }), first);
    expect(p).toMatchObject({ done: 1, total: 5 });
  });

  it("ignores what is no event", () => {
    const text = 'hello\n{"type":"page"\n{"type":"rate","time":"x","done":"many"}\n{"type":"new","time":"x"}\n[]\n';
    expect(new ProgressReader().feed(new TextEncoder().encode(text), empty)).toBeUndefined();
  });
});
