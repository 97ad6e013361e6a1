import { mkdirSync, mkdtempSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { readResults } from "../../kernel-lib/src/dataset/index.js";
import { LiveJobs } from "../../kernel-lib/src/jobs/live.js";
import { JobRecords, newRecord } from "../../kernel-lib/src/jobs/records.js";
import type { AgentEvent, JobRecord } from "../../kernel-lib/src/protocol.js";
import { Output, type OutputRow } from "../../runners/common/output.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "full-"));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

it("the end of a job that can't be written is told, and written when it can", async () => {
  const records = new JobRecords(join(folder, "jobs"));
  const events: AgentEvent[] = [];
  const jobs = new LiveJobs(records, (event) => events.push(event));
  const record: JobRecord = {
    ...newRecord("abcdef0001", { kind: "run", name: "a", cluster: "local", sources: [], options: {}, resources: {} }),
    state: "running",
  };
  records.save(record);
  const live = jobs.take(record, false);
  vi.useFakeTimers();
  // As a full disk does, for root too: nothing can be written there any more.
  renameSync(join(folder, "jobs"), join(folder, "away"));
  live?.end({ state: "completed" });
  expect(events.at(-1)).toMatchObject({ type: "job", job: { id: record.id, state: "completed" } });
  expect(jobs.size).toBe(1);
  renameSync(join(folder, "away"), join(folder, "jobs"));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(records.get(record.id).state).toBe("completed");
  expect(jobs.size).toBe(0);
});

it("pages whose shard could not be written are in the next one", async () => {
  const input = join(folder, "input");
  mkdirSync(input);
  writeFileSync(join(input, "yale-dataset.json"), '{"hash":"abcdef01"}');
  const out = join(folder, "output");
  const output = await Output.open(out, { input, settings: {} });
  const row = (page: number): OutputRow => ({
    key: `a#${page}`,
    source: "a",
    page,
    label: null,
    text: `text ${page}`,
    markdown: null,
    layout: null,
    error: null,
    confidence: null,
    seconds: 1,
    width: 1,
    height: 1,
    inference_info: "{}",
  });
  for (const page of [1, 2, 3]) output.add(row(page));
  mkdirSync(join(out, "part-1-00000.arrow"));
  await expect(output.foldIfDue()).rejects.toThrow();
  rmdirSync(join(out, "part-1-00000.arrow"));
  output.add(row(4));
  await output.close({ finished: true });
  const pages: (number | null)[] = [];
  for await (const { page } of readResults(out)) pages.push(page);
  expect(pages.sort()).toEqual([1, 2, 3, 4]);
});
