/**
 * The runner of DoTS.ocr with a real vLLM that it starts itself, on the CPU, with a tiny model of DoTS.ocr's kind: the same
 * command line, prompt, images, requests, and end. What it answers is nonsense.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readResults, writeDataset } from "../../kernel-lib/src/dataset/index.js";
import { PageSource } from "../../kernel-lib/src/jobs/page-source.js";
import { textPdf } from "../support/material.js";
import { jsonLines, ROOT, Sandbox, until } from "../support/sandbox.js";

const PAGES = 12;
const NUMBERS = Array.from({ length: PAGES }, (_, i) => i + 1);

let box: Sandbox;
let input: string;
let model: string;
let child: ChildProcess | undefined;

function python(): string {
  const environment = process.env["YALE_TEST_VLLM"] ?? "";
  const path = join(environment, "bin", "python");
  if (!existsSync(path)) throw new Error("There is no vLLM: run these tests with `npm run test:vllm`.");
  return path;
}

beforeAll(async () => {
  box = new Sandbox().enter();
  model = join(box.home, "tiny-dots");
  const made = await box.run(python(), [join(ROOT, "test", "vllm", "tiny_dots.py"), model]);
  expect(made.stderr).toBe("");
  const pdf = await textPdf(box.home, "letters.pdf", PAGES);
  input = join(box.home, "input");
  await writeDataset(new PageSource("pdf", pdf, { dpi: 60 }).pages(), { folder: input });
});
afterEach(() => {
  if (child?.exitCode === null) child.kill("SIGKILL");
});
afterAll(() => box.close());

/** A job folder. */
class Run {
  readonly folder: string;
  stderr = "";

  constructor(name: string) {
    this.folder = join(box.home, name);
    mkdirSync(join(this.folder, "tmp"), { recursive: true });
  }

  start(options: object, env = {}): ChildProcess {
    const all = { promptMode: "ocr", modelId: model, maxModelLen: 4096, batchSize: 3, startTimeout: 400, ...options };
    writeFileSync(join(this.folder, "options.json"), JSON.stringify(all));
    const main = join(ROOT, "kernel-lib", "dist", "runners", "dots-ocr", "main.py");
    child = spawn(python(), ["-B", main, "--input", input, "--output", "output", "--options", "options.json"], {
      cwd: this.folder,
      env: {
        ...box.env,
        // Where the server has its scratch folder.
        TMPDIR: join(this.folder, "tmp"),
        HF_HUB_OFFLINE: "1",
        VLLM_CPU_KVCACHE_SPACE: "1",
        VLLM_CPU_OMP_THREADS_BIND: "nobind",
        OMP_NUM_THREADS: "2",
        ...env,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    return child;
  }

  async end(running: ChildProcess): Promise<number | null> {
    if (running.exitCode !== null) return running.exitCode;
    return await new Promise((resolve) => running.once("close", (code) => resolve(code)));
  }

  events(): Record<string, unknown>[] {
    const path = join(this.folder, "progress.jsonl");
    return existsSync(path) ? jsonLines(path) : [];
  }

  async rows() {
    const rows = [];
    for await (const row of readResults(join(this.folder, "output"))) rows.push(row);
    return rows;
  }

  /** Processes that work for this run. */
  processes(): string[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
          return environment.includes(this.folder) ? [readFileSync(`/proc/${pid}/cmdline`, "latin1")] : [];
        } catch {
          return [];
        }
      });
  }
}

describe("DoTS.ocr on a real vLLM", () => {
  it("puts every page through, in order, and says with what", async () => {
    const run = new Run("whole");
    const code = await run.end(run.start({ maxTokens: 256, tries: 2 }));
    const rows = await run.rows();
    expect(rows.map((row) => row.page)).toEqual(NUMBERS);
    // Nonsense may end by itself or be cut, and neither is lost.
    const failed = rows.filter((row) => row.error !== null);
    for (const { error } of failed) expect(error).toMatch(/^(cut|repetition): /);
    expect([code, run.stderr]).toEqual([failed.length === 0 ? 0 : 3, ""]);
    for (const row of rows) {
      const info = row.inferenceInfo as { [name: string]: unknown };
      expect(info).toMatchObject({ engine: "vllm", model, promptMode: "ocr", vllm: expect.stringMatching(/^0\.32/) });
      // An image of 28 × 28 pixels to a token, and the prompt.
      const [width, height] = info["size"] as [number, number];
      const image = (width / 28) * (height / 28);
      expect(info["tokensIn"]).toBeGreaterThan(image * (info["attempts"] as number));
      expect(info["tokensOut"]).toBeGreaterThan(0);
    }
    expect(run.events().at(-1)).toMatchObject({ type: "end", done: PAGES, failed: failed.length });
    const environment = JSON.parse(readFileSync(join(run.folder, "output", "environment-1.json"), "utf8"));
    expect(environment.serve).toEqual(expect.arrayContaining(["serve", model, "--trust-remote-code"]));
    expect(run.processes()).toEqual([]);
    expect(readdirSync(join(run.folder, "tmp"))).toEqual([]);
  });

  // A real server that is told to end waits for its requests for as long as they take.
  it("is told to stop with requests under way, leaves nothing running, and goes on where it was", async () => {
    const run = new Run("stopped");
    const first = run.start({ maxTokens: 3500, tries: 1, batchSize: 2 });
    // While the first page is told, the next ones are asked for.
    const told = () => first.exitCode !== null || run.events().some((e) => e["type"] === "page");
    await until("a page", told, 400_000);
    expect(run.processes().length).toBeGreaterThan(1);
    first.kill("SIGUSR1");
    expect([await run.end(first), run.stderr]).toEqual([75, ""]);
    expect(run.processes()).toEqual([]);
    expect(readdirSync(join(run.folder, "tmp"))).toEqual([]);
    const before = await run.rows();
    expect(before.length).toBeLessThan(PAGES);

    const code = await run.end(run.start({ maxTokens: 3500, tries: 1, batchSize: 6 }));
    expect([0, 3]).toContain(code);
    const rows = await run.rows();
    expect(rows.map((row) => row.page)).toEqual(NUMBERS);
    // What was done is as it was.
    const same = (page: number) => rows.find((row) => row.page === page);
    for (const row of before) expect(same(row.page ?? 0)).toEqual(row);
  });

  it.each<[string, { tensorParallel?: number }, string[][]]>([
    ["a server on each", {}, [["0"], ["1"]]],
    ["one server on both", { tensorParallel: 2 }, [["0", "1"]]],
  ])("makes use of two GPUs, %s, and ends all of it", async (how, options, servers) => {
    // torch compiles C++ for the CPU in the scratch folder, whose path must be without spaces.
    const run = new Run(how.replaceAll(" ", "-"));
    const env = { CUDA_VISIBLE_DEVICES: "0,1", OMP_NUM_THREADS: "1" };
    const code = await run.end(run.start({ maxTokens: 256, tries: 1, ...options }, env));
    expect([0, 3]).toContain(code);
    expect((await run.rows()).map((row) => row.page)).toEqual(NUMBERS);
    const environment = JSON.parse(readFileSync(join(run.folder, "output", "environment-1.json"), "utf8"));
    expect(environment.servers).toEqual(servers);
    expect(environment.serve.join(" ").includes("--tensor-parallel-size 2")).toBe(servers.length === 1);
    expect(run.processes()).toEqual([]);
    expect(readdirSync(join(run.folder, "tmp"))).toEqual([]);
  });
});
