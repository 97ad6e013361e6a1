import { expect, it } from "vitest";
import { type ErrorCode, errorData, exitCodeOf } from "../../kernel-lib/src/errors.js";
import { endError } from "../../kernel-lib/src/jobs/job.js";
import { newRecord } from "../../kernel-lib/src/jobs/records.js";
import type { JobRecord, JobState } from "../../kernel-lib/src/protocol.js";

function ended(state: JobState, code: ErrorCode): JobRecord {
  return {
    ...newRecord("abcdef0001", {
      kind: "ocr",
      name: "letters",
      cluster: "grace",
      sources: [],
      options: {},
      resources: {},
    }),
    state,
    error: { code, what: "Why.", fix: "What to do." },
  };
}

it.each([
  ["failed", "job_failed", 4],
  ["failed", "internal", 4],
  ["failed", "source", 4],
  ["failed", "login", 10],
  ["failed", "host_key", 10],
  ["failed", "connection", 11],
  ["failed", "transfer", 11],
  ["failed", "scheduler", 12],
  ["failed", "quota", 13],
  ["cancelled", "cancelled", 5],
  ["timeout", "timeout", 6],
  ["out_of_memory", "out_of_memory", 7],
  ["preempted", "node_lost", 8],
  ["node_fail", "node_lost", 8],
  ["lost", "job_failed", 4],
] as const)("a job that ends as %s for %s: exit code %i", (state, code, exit) => {
  const error = endError(ended(state, code));
  expect(exitCodeOf(error)).toBe(exit);
  expect(error.message).toContain("abcdef0001 (letters): Why.");
  expect(error.fix).toBe("What to do.");
});

it("the log of an earlier attempt is no reason why a job was kept from running", () => {
  const logTail = ["tick"];
  expect(endError({ ...ended("failed", "scheduler"), logTail }).message).not.toContain("tick");
  expect(endError({ ...ended("failed", "job_failed"), logTail }).message).toContain("| tick");
});

it("a place that can't be written to is told as such, and as no fault of ours", () => {
  const { fix } = errorData(Object.assign(new Error("EACCES: permission denied, mkdir '/x'"), { code: "EACCES" }));
  expect(fix).toContain("XDG_STATE_HOME");
  expect(errorData(new Error("odd")).fix).toContain("please report it");
});
