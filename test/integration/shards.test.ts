import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { composeShards, readResults, writeDataset } from "../../kernel-lib/src/dataset/index.js";
import { PageSource } from "../../kernel-lib/src/jobs/page-source.js";
import { textPdf } from "../support/material.js";
import { python, ROOT, Sandbox } from "../support/sandbox.js";

const PAGES = 7;
let box: Sandbox;
let input: string;
beforeAll(async () => {
  box = new Sandbox().enter();
  input = join(box.home, "input");
  const pdf = await textPdf(box.home, "seven.pdf", PAGES, 2);
  await writeDataset(new PageSource("pdf", pdf, { dpi: 100 }).pages(), { folder: input });
});
afterAll(() => box.close());

/** Runs the runner as one task of an array; resolves with its exit code. */
function task(output: string, shard: number, shards: number): Promise<number | null> {
  const main = join(ROOT, "kernel-lib", "dist", "runners", "tesseract", "main.cjs");
  writeFileSync(join(box.home, "options.json"), '{"batchSize":1}');
  return new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      [main, "--input", input, "--output", output, "--options", join(box.home, "options.json")],
      {
        stdio: ["ignore", "ignore", "inherit"],
        env: {
          ...process.env,
          YALE_JOBS_SHARD: String(shard),
          YALE_JOBS_SHARDS: String(shards),
          YALE_JOBS_PROGRESS: join(output, `../progress-${shard}.jsonl`),
        },
      },
    );
    child.on("close", resolve);
  });
}

describe("pages over the tasks of an array", () => {
  it("are each in one part, parts in order, none larger than another by more than one", async () => {
    // Runners see nothing of the library's project, and it nothing of theirs.
    const { shardRange } = (await import("../../runners/common/shard.js" as string)) as {
      shardRange: (pages: number, shard: { index: number; count: number }) => [number, number];
    };
    for (const pages of [0, 1, 5, 8, 17, 1000])
      for (const count of [2, 3, 8, 16]) {
        const parts = Array.from({ length: count }, (_, index) => shardRange(pages, { index, count }));
        expect(parts.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i))).toEqual(
          Array.from({ length: pages }, (_, i) => i),
        );
        const sizes = parts.map(([from, to]) => to - from);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }
  });

  it("come back as one dataset, in page order, to us and to Python", async () => {
    const output = join(box.home, "job", "output");
    mkdirSync(output, { recursive: true });
    // Side by side, as an array runs them.
    expect(await Promise.all([0, 1, 2].map((i) => task(output, i, 3)))).toEqual([0, 0, 0]);
    const pages: number[] = [];
    for await (const row of readResults(output)) {
      expect(row.error).toBeNull();
      pages.push(row.page);
    }
    expect(pages).toEqual([1, 2, 3, 4, 5, 6, 7]);
    const read = await box.run(python(), [
      "-c",
      `from datasets import load_from_disk; d = load_from_disk(${JSON.stringify(output)}); print(d["page"][:], len(set(d["key"])), d.features["text"])`,
    ]);
    expect(read.stdout).toContain("[1, 2, 3, 4, 5, 6, 7] 7 Value");
    expect(readdirSync(output).filter((f) => f.endsWith(".part"))).toEqual([]);
  });

  it("are there as far as the tasks are, whatever order they end in, also with more tasks than pages", async () => {
    const output = join(box.home, "few", "output");
    mkdirSync(output, { recursive: true });
    expect(await task(output, 8, 9)).toBe(0);
    expect(await task(output, 0, 9)).toBe(0);
    expect(await task(output, 5, 9)).toBe(0);
    const pages: number[] = [];
    for await (const row of readResults(output)) pages.push(row.page);
    expect(pages).toEqual([4, 7]);
  });

  it("are refused by an output that was split otherwise", async () => {
    const output = join(box.home, "job", "output");
    expect(await task(output, 0, 4)).toBe(64);
  });

  it("can't lead out of the folder by their list", async () => {
    const output = join(box.home, "evil");
    mkdirSync(output);
    writeFileSync(
      join(output, "state.json"),
      JSON.stringify({ _data_files: [{ filename: "../job/output/shard-0/x" }] }),
    );
    await composeShards(output);
    await expect(async () => {
      for await (const _ of readResults(output));
    }).rejects.toThrow(join(output, "x"));
  });
});
