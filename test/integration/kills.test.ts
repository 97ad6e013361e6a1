import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readResults, writeDataset } from "../../kernel-lib/src/dataset/index.js";
import type { PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { jsonLines, python, ROOT, Sandbox, until } from "../support/sandbox.js";
import { putVllm } from "../support/vllm.js";

const PAGES = 500;
const KILLS = 20;
const IN_FLIGHT = 4;

let box: Sandbox;
let input: string;
let running: ChildProcess | undefined;

/** Small pages, each of a width of its own, by which the model's server knows it (test/support/vllm.py). */
async function* pages(): AsyncGenerator<PageOrFault> {
  const bar = await sharp({ create: { width: 120, height: 12, channels: 3, background: "black" } })
    .png()
    .toBuffer();
  for (let n = 1; n <= PAGES; n++) {
    const width = 28 * (10 + n);
    const image = await sharp({ create: { width, height: 112, channels: 3, background: "white" } })
      .composite([{ input: bar, left: width / 2 - 60, top: 50 }])
      .png()
      .toBuffer();
    yield { key: `book#${n}`, image, mime: "image/png", width, height: 112, source: "book", page: n, metadata: {} };
  }
}

beforeAll(async () => {
  box = new Sandbox().enter();
  input = join(box.home, "input");
  await writeDataset(pages(), { folder: input });
  putVllm(join(box.home, "bin"));
}, 120_000);
afterAll(async () => {
  running?.kill("SIGKILL");
  await box.close();
});

/** Numbers that are the same at every run, so that a failure comes again; what they meet is not. */
function* chances(seed: number): Generator<number> {
  for (let state = seed; ; ) {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    yield state / 2 ** 31;
  }
}

interface Runner {
  command: string[];
  options: object;
  /** Longest time after the first page of an attempt until it is killed. */
  most: number;
  /** How often pages were worked on, in all attempts. */
  worked: (folder: string) => number;
}

const RUNNERS: { [name: string]: () => Runner } = {
  tesseract: () => ({
    command: [process.execPath, join(ROOT, "kernel-lib", "dist", "runners", "tesseract", "main.cjs")],
    options: { engine: "native", batchSize: IN_FLIGHT },
    most: 500,
    // What was finished; what was in flight at a kill comes on top of it and is worked on again.
    worked: (folder) => events(folder).length,
  }),
  "dots-ocr": () => ({
    command: [python(), "-B", join(ROOT, "kernel-lib", "dist", "runners", "dots-ocr", "main.py")],
    options: { promptMode: "ocr", batchSize: IN_FLIGHT },
    most: 150,
    worked: (folder) => jsonLines(join(folder, "requests.jsonl")).filter((r) => r.page !== undefined).length,
  }),
};

/** Pages that were told as done, in all attempts. */
function events(folder: string): Record<string, unknown>[] {
  const path = join(folder, "progress.jsonl");
  if (!existsSync(path)) return [];
  // The last line may be in the middle of being written.
  const whole = readFileSync(path, "utf8").split("\n").slice(0, -1);
  return whole.flatMap((line) => {
    try {
      const event = JSON.parse(line) as Record<string, unknown>;
      return event.type === "page" || event.type === "error" ? [event] : [];
    } catch {
      // A line that a kill has cut.
      return [];
    }
  });
}

describe.each(Object.keys(RUNNERS))("a job of 500 pages whose runner %s is killed twenty times", (name) => {
  it("has every page once, and does no more again than was in flight", async () => {
    const runner = (RUNNERS[name] as () => Runner)();
    const folder = join(box.home, `${name}-${process.hrtime.bigint()}`);
    mkdirSync(folder);
    writeFileSync(join(folder, "options.json"), JSON.stringify(runner.options));
    writeFileSync(join(folder, "plan.json"), "{}");
    const scratch = join(folder, "scratch");
    mkdirSync(scratch);
    const [program = "", ...args] = runner.command;
    const start = () => {
      const child = spawn(program, [...args, "--input", input, "--output", "output", "--options", "options.json"], {
        cwd: folder,
        env: {
          ...box.env,
          PATH: `${join(box.home, "bin")}:${process.env.PATH}`,
          YALE_JOBS_PROGRESS: join(folder, "progress.jsonl"),
          SLURM_TMPDIR: scratch,
          FAKE_VLLM_PLAN: join(folder, "plan.json"),
          FAKE_VLLM_LOG: join(folder, "requests.jsonl"),
        },
        stdio: ["ignore", "ignore", "pipe"],
      });
      running = child;
      let stderr = "";
      child.stderr.on("data", (text) => {
        stderr += text;
      });
      return {
        child,
        ended: new Promise<number | null>((resolve) => child.on("close", (code) => resolve(code))),
        stderr: () => stderr,
      };
    };
    const chance = chances(7);
    for (let kill = 0; kill < KILLS; kill++) {
      const before = events(folder).length;
      const { child, ended, stderr } = start();
      await until("a page", () => {
        if (child.exitCode !== null) throw new Error(`It ended with ${child.exitCode}: ${stderr()}`);
        return events(folder).length > before;
      });
      await sleep((chance.next().value as number) * runner.most);
      child.kill("SIGKILL");
      await ended;
    }
    await until("a node's disk without leavings", () => readdirSync(scratch).length === 0);
    const done = events(folder).length;
    expect(done).toBeLessThan(PAGES);
    const last = start();
    expect(await last.ended, last.stderr()).toBe(0);
    const rows: string[] = [];
    for await (const row of readResults(join(folder, "output"))) {
      expect(row.error).toBeNull();
      rows.push(row.key);
    }
    expect(rows).toHaveLength(PAGES);
    expect(new Set(rows).size).toBe(PAGES);
    expect(runner.worked(folder)).toBeGreaterThanOrEqual(PAGES);
    expect(runner.worked(folder)).toBeLessThanOrEqual(PAGES + KILLS * IN_FLIGHT);
  }, 240_000);
});
