import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { readResults } from "../../kernel-lib/src/dataset/index.js";
import { Output, type OutputRow } from "../../runners/common/output.js";

let folder: string;
let input: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "errors-"));
  input = join(folder, "input");
  mkdirSync(input);
  writeFileSync(join(input, "yale-dataset.json"), '{"hash":"abcdef01"}');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const row = (page: number, error: string | null): OutputRow => ({
  ...{ key: `a#${page}`, source: "a", page, label: null, markdown: null, layout: null, confidence: null, seconds: 1 },
  ...{ text: error === null ? `text ${page}` : null, error, width: 1, height: 1, inference_info: "{}" },
});

/** One attempt, which does what is missing of four pages; returns their numbers. */
async function attempt(error: (page: number) => string | null, finished = true): Promise<number[]> {
  const output = await Output.open(join(folder, "output"), { input, settings: {} });
  await output.order([1, 2, 3, 4].map((p) => `a#${p}`));
  const missing = [1, 2, 3, 4].filter((p) => !output.has(`a#${p}`));
  for (const page of missing) {
    output.add(row(page, error(page)));
    await output.foldIfDue();
  }
  if (finished) await output.close({ finished: true });
  return missing;
}

it("pages in error are done again when a person asks for it, once for each time", async () => {
  const bad = (page: number) => (page === 2 || page === 4 ? "no" : null);
  expect(await attempt(bad)).toEqual([1, 2, 3, 4]);
  expect(await attempt(bad)).toEqual([]);
  vi.stubEnv("YALE_JOBS_ASKED", "1");
  // Killed before its end: page 4 is in the journal.
  expect(await attempt((page) => (page === 4 ? "no" : null), false)).toEqual([2, 4]);
  expect(await attempt(bad)).toEqual([]);
  vi.stubEnv("YALE_JOBS_ASKED", "2");
  expect(await attempt(() => null)).toEqual([4]);
  const rows = [];
  for await (const found of readResults(join(folder, "output"))) rows.push([found.page, found.text]);
  expect(rows).toEqual([1, 2, 3, 4].map((page) => [page, `text ${page}`]));
});
