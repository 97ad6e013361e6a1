import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type ResultRow, readResults, writeDataset } from "../../kernel-lib/src/dataset/index.js";
import { PageSource } from "../../kernel-lib/src/jobs/page-source.js";
import { readCards } from "../../kernel-lib/src/runners.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { jsonLines, python, ROOT, Sandbox, until } from "../support/sandbox.js";
import { putVllm } from "../support/vllm.js";

/** What the server does with a page at one request; see test/support/vllm.py. */
interface Step {
  text?: string;
  finish?: string;
  status?: number;
  message?: string;
  crash?: true;
  dies?: number;
  hangs?: true;
  seconds?: number;
  after?: number;
  date?: true;
  until?: string;
}
type Behaviour = { [page: string]: Step[] | string };

const PAGES = 6;
let box: Sandbox;
let input: string;
const children: ChildProcess[] = [];

/** Page `n` is 28 * (10 + n) pixels wide, by which the server knows it; black bars are its ink. */
async function page(n: number, blank = false): Promise<Buffer> {
  const bar = { create: { width: 120, height: 12, channels: 3 as const, background: "black" } };
  return sharp({ create: { width: 28 * (10 + n), height: 280, channels: 3, background: "white" } })
    .composite(
      blank
        ? []
        : [
            { input: bar, left: 40, top: 60 },
            { input: bar, left: 40, top: 120 },
          ],
    )
    .png()
    .toBuffer();
}

async function dataset(name: string, images: Buffer[]): Promise<string> {
  const folder = join(box.home, `${name}-images`);
  mkdirSync(folder);
  images.forEach((bytes, i) => {
    writeFileSync(join(folder, `page-${String(i + 1).padStart(3, "0")}.png`), bytes);
  });
  const to = join(box.home, name);
  await writeDataset(new PageSource("directory", folder, {}).pages(), { folder: to });
  return to;
}

beforeAll(async () => {
  box = new Sandbox().enter();
  input = await dataset("input", await Promise.all([1, 2, 3, 4, 5, 6].map((n) => page(n))));
  putVllm(join(box.home, "bin"));
});
afterEach(() => {
  for (const child of children.splice(0)) if (child.exitCode === null) child.kill("SIGKILL");
});
afterAll(() => box.close());

/** One job folder with a server of its own. */
class Run {
  readonly folder: string;
  constructor(
    readonly name: string,
    behaviour: Behaviour,
    readonly options: object = {},
    readonly source = input,
    readonly card = "dots-ocr",
  ) {
    // A second try of a test begins with nothing of the first.
    this.folder = mkdtempSync(join(box.home, `${name}-`));
    this.behave(behaviour);
  }
  get output(): string {
    return join(this.folder, "output");
  }
  get #environment(): NodeJS.ProcessEnv {
    return {
      ...box.env,
      PATH: `${join(box.home, "bin")}:${process.env.PATH}`,
      FAKE_VLLM_PLAN: join(this.folder, "plan.json"),
      FAKE_VLLM_LOG: join(this.folder, "requests.jsonl"),
    };
  }
  behave(behaviour: Behaviour): void {
    writeFileSync(join(this.folder, "plan.json"), JSON.stringify(behaviour));
  }
  start(env: NodeJS.ProcessEnv = {}, options = this.options): ChildProcess {
    writeFileSync(
      join(this.folder, "options.json"),
      JSON.stringify(this.card === "dots-ocr" ? { promptMode: "ocr", ...options } : options),
    );
    const main = join(ROOT, "kernel-lib", "dist", "runners", this.card, "main.py");
    const args = ["-B", main, "--input", this.source, "--output", "output", "--options", "options.json"];
    const child = spawn(python(), args, {
      cwd: this.folder,
      env: { ...this.#environment, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    children.push(child);
    return child;
  }
  stdout = "";
  stderr = "";
  async end(child = this.start()): Promise<number | null> {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    return await new Promise((resolve) => child.on("close", (code) => resolve(code)));
  }
  requests(): { page?: number; start?: number; child?: number; port?: number; [more: string]: unknown }[] {
    return existsSync(join(this.folder, "requests.jsonl")) ? jsonLines(join(this.folder, "requests.jsonl")) : [];
  }
  /** Pages in the order in which they were asked for. */
  asked(): number[] {
    return this.requests().flatMap((r) => (r.page === undefined ? [] : [r.page]));
  }
  progress(): Record<string, unknown>[] {
    const path = join(this.folder, "progress.jsonl");
    return existsSync(path) ? jsonLines(path) : [];
  }
  async results(): Promise<ResultRow[]> {
    const rows: ResultRow[] = [];
    for await (const row of readResults(this.output)) rows.push(row);
    return rows;
  }
}

/** The number of a page, which each is an image of its own. */
const numberOf = (row: ResultRow) => Number(/page-(\d+)/.exec(`${row.source} ${row.key}`)?.[1]);
const alive = (pid: number | undefined) => {
  try {
    process.kill(pid ?? 0, 0);
    return pid !== undefined;
  } catch {
    return false;
  }
};

describe("the runner for vision models", () => {
  it("starts a server of its own, puts every page through, and leaves nothing running", async () => {
    const run = new Run("whole", { start: "child" }, { promptMode: "layout-all", revision: "abc123" });
    expect(await run.end()).toBe(0);
    const rows = await run.results();
    expect(rows.map(numberOf)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(rows[1]?.markdown).toBe("# Page 2\n\nGröße, d'œuvre.");
    expect(rows[1]?.text).toBe("Running head\n\nPage 2\n\nGröße, d'œuvre.");
    expect(rows[1]?.layout).toMatchObject([
      { category: "Page-header", bbox: [0, 0, 28, 14] },
      { category: "Title", bbox: [14, 28, 140, 56], text: "Page 2" },
      { category: "Text" },
    ]);
    expect(rows[1]?.inferenceInfo).toMatchObject({
      engine: "vllm",
      model: "rednote-hilab/dots.ocr",
      revision: "abc123",
      promptMode: "layout-all",
      attempts: 1,
      tokensIn: 100,
    });
    const [started] = run.requests();
    const argv = String(started?.argv).replaceAll(",", " ");
    expect(argv).toMatch(/^serve rednote-hilab\/dots.ocr .*--revision abc123 --code-revision abc123/);
    expect(argv).toContain("--chat-template-content-format string --trust-remote-code --host 127.0.0.1");
    expect(started?.key).toBe(true);
    expect(existsSync(started?.tmp as string)).toBe(false);
    expect(run.requests().find((r) => r.page !== undefined)?.prompt).toMatch(
      /^<\|img\|><\|imgpad\|><\|endofimg\|>Please/,
    );
    const pids = run.requests().flatMap((r) => [r.start, r.child].filter((p) => p !== undefined));
    expect(pids).toHaveLength(2);
    expect(pids.map(alive)).toEqual([false, false]);
    expect(readFileSync(join(run.folder, "log", "server.log"), "utf8")).toContain("Loading weights");
    expect(run.progress().map((e) => e.type)).toEqual(expect.arrayContaining(["start", "phase", "page", "end"]));
    expect(run.progress().at(-1)).toMatchObject({ type: "end", done: 6, failed: 0, total: 6, exit: 0 });
    const env = JSON.parse(readFileSync(join(run.output, "environment-1.json"), "utf8"));
    expect(env.prompt).toMatch(/^Please output the layout/);
    const read = await box.run(python(), [
      "-c",
      `from datasets import load_from_disk; d = load_from_disk(${JSON.stringify(run.output)}); print([k[-7:-4] for k in d["key"][:]], d[0]["markdown"][:8], d.features["layout"])`,
    ]);
    expect(read.stdout).toMatch(/'001'.*'006'.* # Page 1 Value/);
  });

  describe("with pages that come while it runs", () => {
    const early = { YALE_JOBS_EARLY: "1", YALE_JOBS_ID: "early" };
    let whole: string;
    let shards: string[];
    beforeAll(async () => {
      whole = join(box.home, "in-shards");
      const pages = new PageSource("directory", join(box.home, "input-images"), {}).pages();
      shards = (await writeDataset(pages, { folder: whole, shardBytes: 1, batchBytes: 1 })).shards.map((s) => s.file);
    });

    /** A job's input as it is while so many shards of it are there. */
    class Growing {
      readonly input: string;
      readonly #folder: string;
      constructor() {
        this.#folder = mkdtempSync(join(box.home, "coming-"));
        this.input = `${this.#folder}.input`;
        writeFileSync(join(this.#folder, "coming.json"), "{}");
        symlinkSync(this.#folder, this.input);
      }
      list(count: number): void {
        const files = shards.slice(0, count).map((file, i) => {
          const name = `shard-${i}.arrow`;
          if (!existsSync(join(this.#folder, name))) symlinkSync(join(whole, file), join(this.#folder, name));
          return { filename: name };
        });
        const path = join(this.#folder, "state.json");
        writeFileSync(`${path}.part`, JSON.stringify({ _data_files: files, _fingerprint: "coming" }));
        renameSync(`${path}.part`, path);
      }
      /** All are there: the growing folder is gone a moment later. */
      replace(by = whole): void {
        symlinkSync(by, `${this.input}.part`);
        renameSync(`${this.input}.part`, this.input);
        rmSync(this.#folder, { recursive: true });
      }
    }

    it("does each once, in order, also if it is killed between two of them", async () => {
      const growing = new Growing();
      growing.list(2);
      const run = new Run("growing", {}, {}, growing.input);
      const pages = (count: number) => () => run.progress().filter((e) => e.type === "page").length === count;
      const first = run.start(early);
      await until("the first pages", pages(2));
      growing.list(4);
      await until("the next pages", pages(4));
      first.kill("SIGKILL");
      await run.end(first);
      const second = run.start(early);
      growing.list(5);
      await until("one more", pages(5));
      growing.replace();
      expect(await run.end(second)).toBe(0);
      expect((await run.results()).map(numberOf)).toEqual([1, 2, 3, 4, 5, 6]);
      expect(run.asked().sort()).toEqual([1, 2, 3, 4, 5, 6]);
      expect(run.progress().at(-1)).toMatchObject({ type: "end", done: 6, total: 6, exit: 0 });
    });

    /** A run that has done the first page and waits for the next. */
    async function waiting(name: string): Promise<{ growing: Growing; run: Run; child: ChildProcess }> {
      const growing = new Growing();
      growing.list(1);
      const run = new Run(name, {}, {}, growing.input);
      const child = run.start(early);
      await until("the first page", () => run.progress().some((e) => e.type === "page"));
      return { growing, run, child };
    }

    it("stops when it is told to while it waits for them, and is to be run again", async () => {
      const { run, child } = await waiting("waiting");
      child.kill("SIGUSR1");
      expect(await run.end(child)).toBe(75);
      expect((await run.results()).map(numberOf)).toEqual([1]);
    });

    it("refuses a whole that is not the one it began with", async () => {
      const { growing, run, child } = await waiting("other");
      const images = mkdtempSync(join(box.home, "another-"));
      writeFileSync(join(images, "page-000.png"), await page(3));
      await writeDataset(new PageSource("directory", images, {}).pages(), { folder: `${images}-dataset` });
      growing.replace(`${images}-dataset`);
      expect(await run.end(child)).toBe(64);
      expect(run.stderr).toContain("The input is not the one that the job started on.");
    });
  });

  it("lets no page wait for a slow one", async () => {
    const gate = join(box.home, "gate-slow");
    const run = new Run("slow", { 1: [{ until: gate }] }, { batchSize: 2 });
    const child = run.start();
    await until("the other pages", () => run.progress().filter((e) => e.type === "page").length === PAGES - 1);
    writeFileSync(gate, "");
    expect(await run.end(child)).toBe(0);
    expect((await run.results()).map(numberOf)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("tells every fault from a text, tries again, and reports it in words", async () => {
    const loop = { text: `Once. ${"and so on ".repeat(200)}`, finish: "length" };
    const run = new Run("faults", {
      1: [{ text: "A beginning", finish: "length" }],
      2: [loop, { text: "Right at last." }],
      3: [{ text: "" }],
      4: [{ status: 400, message: "cannot identify image" }],
      5: [{ status: 500 }, { status: 503 }, { text: "```markdown\nIn a fence.\n```" }],
      6: [loop],
    });
    expect(await run.end()).toBe(3);
    const rows = await run.results();
    expect(rows.map((r) => r.error?.replace(/:.*/s, "") ?? r.text)).toEqual([
      "cut",
      "Right at last.",
      "empty",
      "refused",
      "In a fence.",
      "repetition",
    ]);
    expect(rows.filter((r) => r.error !== null && r.text !== null)).toEqual([]);
    expect(rows[0]?.inferenceInfo).toMatchObject({ raw: "A beginning", attempts: 4 });
    const asked = run.asked();
    expect([1, 2, 3, 4, 5, 6].map((n) => asked.filter((p) => p === n).length)).toEqual([4, 2, 4, 1, 3, 4]);
    const warmer = run.requests().filter((r) => r.page === 1);
    expect(warmer.map((r) => r.temperature)).toEqual([0.1, 0.1, 0.3, 0.6]);
    expect(run.progress().filter((e) => e.type === "error")).toHaveLength(4);
  });

  it("asks with the plainer prompt after two layouts that are none, and mends what loses nothing", async () => {
    const run = new Run(
      "layouts",
      {
        1: [{ text: '[{"bbox": [1, 2, 3' }, { text: "no JSON" }, { text: "Plain text." }],
        2: [{ text: '```json\n[{"bbox":[1,1,9,9],"category":"Formula","text":"\\alpha + \\frac{1}{2}"}\n```' }],
        3: [{ text: "never JSON" }],
      },
      { promptMode: "layout-all", maxSamples: 3, tries: 2 },
    );
    expect(await run.end()).toBe(3);
    expect(await run.end(run.start({}, { promptMode: "layout-all", maxSamples: 3, tries: 4 }))).toBe(3);
    const fresh = new Run("plainer", JSON.parse(readFileSync(join(run.folder, "plan.json"), "utf8")), {
      promptMode: "layout-all",
      maxSamples: 3,
    });
    expect(await fresh.end()).toBe(0);
    const rows = await fresh.results();
    expect(rows.map((r) => [r.markdown, r.error])).toEqual([
      ["Plain text.", null],
      ["$$\n\\alpha + \\frac{1}{2}\n$$", null],
      ["never JSON", null],
    ]);
    expect(rows[0]?.inferenceInfo).toMatchObject({ promptMode: "ocr", attempts: 3 });
    expect(rows[1]?.inferenceInfo).toMatchObject({ promptMode: "layout-all", mended: true });
    const before = await run.results();
    expect(before.map((r) => r.error?.slice(0, 10) ?? null)).toEqual(["unparsable", null, "unparsable"]);
    expect(before[2]?.inferenceInfo).toMatchObject({ raw: "never JSON" });
  });

  it("asks with a prompt of one's own once, and takes the answer as text", async () => {
    const mine = { text: "What I asked for." };
    const run = new Run("own", { all: [mine] }, { customPrompt: "Mine" }, input, "dots-mocr");
    expect(await run.end()).toBe(0);
    const asked = new Run("own-layout", { all: [mine] }, { customPrompt: "Mine", promptMode: "layout-all" });
    expect(await asked.end()).toBe(0);
    for (const one of [run, asked]) {
      const rows = await one.results();
      expect(rows).toMatchObject(Array(6).fill({ text: mine.text, inferenceInfo: { promptMode: "ocr" } }));
      expect(one.asked()).toHaveLength(6);
    }
  });

  it("survives whatever a model may say", async () => {
    const cell = (bbox: string, text: string) => `[{"bbox":${bbox},"category":"Text","text":"${text}"}]`;
    const run = new Run(
      "odd-answers",
      {
        1: [{ text: cell("[1,1,20,30]", "half \\ud835 a pair") }],
        2: [{ text: cell("[NaN,1,1e999,-Infinity]", "no numbers") }],
        3: [{ text: cell(`[1${"0".repeat(320)},1,20,30]`, "a huge one") }],
        4: [{ text: Array.from({ length: 5000 }, (_, i) => `{"k${i}":`).join("") }],
        5: [{ text: cell(`[1${"0123456789".repeat(500)},1,20,30]`, "too many digits") }],
        6: [{ text: "half \ud835 a pair" }],
      },
      { promptMode: "layout-all", tries: 2 },
    );
    expect(await run.end()).toBe(3);
    expect((await run.results()).map((r) => r.error?.slice(0, 10) ?? r.text)).toEqual([
      "half \ufffd a pair",
      "no numbers",
      "a huge one",
      "unparsable",
      "too many digits",
      "unparsable",
    ]);
  });

  it("asks for no blank page and for no broken one", async () => {
    const source = await dataset("odd", [await page(1, true), await page(2)]);
    const run = new Run("blank", {}, {}, source);
    expect(await run.end()).toBe(0);
    expect(run.asked()).toEqual([2]);
    const rows = await run.results();
    expect(rows[0]).toMatchObject({ text: "", markdown: "", error: null, width: 308, height: 280 });
    expect(rows[0]?.inferenceInfo).toMatchObject({ blank: true });
    expect(run.stdout).toMatch(/page-001.*: taken for blank/);
    expect(run.stdout).toContain("2 of 2 pages are done, 0 in error, 1 of this attempt taken for blank.");
  });

  it("is told to stop, keeps what is done, and does the rest and nothing twice", async () => {
    const gate = join(box.home, "gate-stop");
    const run = new Run("stopped", { 3: [{ until: gate }], 4: [{ until: gate }] }, { batchSize: 2 });
    const child = run.start();
    await until("two pages in flight", () => run.asked().includes(4));
    child.kill("SIGUSR1");
    await until("the signal", () => run.progress().some((e) => e.type === "signal"));
    // The second cuts the time of those in flight short.
    child.kill("SIGTERM");
    expect(await run.end(child)).toBe(75);
    expect((await run.results()).map(numberOf).sort()).toEqual([1, 2]);
    expect(run.requests().map((r) => alive(r.start))).not.toContain(true);
    run.behave({});
    expect(await run.end()).toBe(0);
    expect((await run.results()).map(numberOf)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(run.asked().filter((p) => p <= 2)).toHaveLength(2);
    expect(run.progress().filter((e) => e.type === "start")).toMatchObject([{ attempt: 1 }, { attempt: 2, done: 2 }]);
  });

  it("loses no page that was done when it is killed, and its server goes with it", async () => {
    const gate = join(box.home, "gate-kill");
    const run = new Run("killed", { start: "child", 5: [{ until: gate }] }, { batchSize: 1 });
    const child = run.start();
    await until("the page in flight", () => run.asked().includes(5));
    child.kill("SIGKILL");
    await run.end(child);
    const pids = run.requests().flatMap((r) => [r.start, r.child].filter((p) => p !== undefined));
    await until("the end of the server", () => !pids.some(alive));
    // As a line that was being written.
    writeFileSync(join(run.output, "journal.jsonl"), '{"key": "torn', { flag: "a" });
    run.behave({});
    expect(await run.end()).toBe(0);
    const rows = await run.results();
    expect(rows.map((r) => [numberOf(r), r.error])).toEqual([1, 2, 3, 4, 5, 6].map((n) => [n, null]));
    expect(run.asked().filter((p) => p <= 4)).toHaveLength(4);
  });

  it("tries pages in error again when a person asks for it, once for each time, and not by itself", async () => {
    const run = new Run("asked", { 3: [{ status: 400 }], 5: [{ text: "" }] }, { tries: 1 });
    expect(await run.end()).toBe(3);
    run.behave({ 5: [{ text: "" }] });
    expect(await run.end()).toBe(3);
    expect(run.asked().filter((p) => p === 3)).toHaveLength(1);
    const asked = (times: number) => run.end(run.start({ YALE_JOBS_ASKED: `${times}` }));
    expect(await asked(1)).toBe(3);
    const rows = await run.results();
    expect(rows.map((r) => [numberOf(r), r.error?.slice(0, 5) ?? null])).toEqual(
      [1, 2, 3, 4, 5, 6].map((n) => [n, n === 5 ? "empty" : null]),
    );
    expect(run.asked().sort()).toEqual([1, 2, 3, 3, 4, 5, 5, 6]);
    // As a requeue of that attempt.
    expect(await asked(1)).toBe(3);
    expect(run.asked()).toHaveLength(8);
    run.behave({});
    expect(await asked(2)).toBe(0);
    expect(run.asked().filter((p) => p === 5)).toHaveLength(3);
    expect(readdirSync(run.output).filter((f) => f.endsWith(".arrow"))).toEqual(["data-00000-of-00001.arrow"]);
  });

  it("sets the page aside that ends the server twice, and no other", async () => {
    const run = new Run("poison", { 3: [{ crash: true }] }, { batchSize: 4 });
    expect(await run.end()).toBe(3);
    const rows = await run.results();
    expect(rows.map((r) => r.error?.slice(0, 6) ?? null)).toEqual([null, null, "poison", null, null, null]);
    expect(run.asked().filter((p) => p === 3)).toHaveLength(2);
    expect(run.requests().filter((r) => r.start !== undefined)).toHaveLength(3);
  });

  it("sets the page aside that kills the engine twice, where a server answers all in flight with 500 before it ends", async () => {
    const run = new Run("engine", { all: [{ seconds: 0.4 }], 3: [{ dies: 0.2 }] }, { batchSize: 6 });
    expect(await run.end()).toBe(3);
    const rows = await run.results();
    expect(rows.map((r) => r.error?.slice(0, 6) ?? null)).toEqual([null, null, "poison", null, null, null]);
    expect(run.asked().filter((p) => p === 3)).toHaveLength(2);
    expect(run.requests().filter((r) => r.start !== undefined)).toHaveLength(3);
  });

  it("says with 69 and the end of its log why no server is to be had", async () => {
    const run = new Run("oom", { start: "fail" });
    expect(await run.end()).toBe(69);
    expect(run.stderr).toContain("CUDA out of memory");
    expect(run.stderr).toContain("Loading weights red");
    const slow = new Run("never", { start: "hang" }, { startTimeout: 1 });
    expect(await slow.end()).toBe(69);
    expect(slow.stderr).toContain("did not get ready within 1 s");
    const gone = new Run("model-gone", { model: "gone" });
    expect(await gone.end()).toBe(69);
    expect(gone.stderr).toContain("does not exist");
    for (const run of [slow, gone]) expect(run.requests().map((r) => alive(r.start))).not.toContain(true);
  });

  it("gives up a page that hangs, which frees its place, and waits for no server that is not there", async () => {
    const run = new Run("hang", { 2: [{ until: "/nonexistent" }] }, { pageTimeout: 1, tries: 2, batchSize: 2 });
    expect(await run.end()).toBe(3);
    expect((await run.results()).map((r) => r.error?.slice(0, 7) ?? null)).toEqual([
      null,
      "timeout",
      null,
      null,
      null,
      null,
    ]);
    expect(run.asked().filter((p) => p === 2)).toHaveLength(2);
    expect(run.requests().filter((r) => r.start !== undefined)).toHaveLength(1);
    const none = new Run("nobody", {}, { serverUrl: "http://127.0.0.1:9", startTimeout: 1 });
    expect(await none.end()).toBe(69);
    expect(none.stderr).toContain("The server at http://127.0.0.1:9 did not get ready within 1 s");
  });

  it("tells the rate, the use of the GPU, and on which it ran", async () => {
    const smi = join(box.home, "bin", "nvidia-smi");
    writeFileSync(
      smi,
      `#!/bin/sh\ncase "$*" in\n*utilization*--id=3*) echo "87, 20480" ;;\n*name*) echo "NVIDIA H200, 143771, 570.86.15" ;;\nesac\n`,
    );
    chmodSync(smi, 0o755);
    const gate = join(box.home, "gate-rate");
    const run = new Run("rate", { 6: [{ until: gate }] });
    const child = run.start({ CUDA_VISIBLE_DEVICES: "3" });
    const rate = await until("a rate", () => run.progress().find((e) => e.type === "rate"));
    expect(rate).toMatchObject({ done: 5, failed: 0, total: 6 });
    expect(rate.message).toMatch(/^GPU 87 %, 20 GiB · 1 in flight · \d+ tokens\/s$/);
    writeFileSync(gate, "");
    expect(await run.end(child)).toBe(0);
    const env = JSON.parse(readFileSync(join(run.output, "environment-1.json"), "utf8"));
    expect(env.gpus).toEqual(["NVIDIA H200, 143771, 570.86.15"]);
  });

  /** A stand-in for nvidia-smi that knows GPUs with so many MiB each. */
  function smi(mebibytes: number): string {
    const folder = mkdtempSync(join(box.home, "smi-"));
    const lines = [0, 1].map((i) => `case "$*" in *id=*${i}*) echo ${mebibytes};; esac`).join("; ");
    writeFileSync(join(folder, "nvidia-smi"), `#!/bin/sh\ncase "$*" in *memory.total*) ${lines};; *) exit 1;; esac\n`);
    chmodSync(join(folder, "nvidia-smi"), 0o755);
    return `${folder}:${join(box.home, "bin")}:${process.env.PATH}`;
  }
  const both = { CUDA_VISIBLE_DEVICES: "0,1" };

  it("has a server on each of its GPUs, and a page that kills one holds up no page of the other", async () => {
    const run = new Run("gpus", { all: [{ seconds: 0.3 }], 3: [{ dies: 0.1 }] }, { batchSize: 2 });
    expect(await run.end(run.start({ ...both, PATH: smi(24_576) }))).toBe(3);
    const starts = run.requests().filter((r) => r.start !== undefined);
    expect(starts.map((r) => r.gpus).sort()).toHaveLength(4);
    expect(new Set(starts.map((r) => r.gpus))).toEqual(new Set(["0", "1"]));
    expect(String(starts[0]?.argv)).not.toContain("parallel");
    const rows = await run.results();
    expect(rows.map((r) => r.error?.slice(0, 6) ?? null)).toEqual([null, null, "poison", null, null, null]);
    // Those of one server, and none of the other, were asked twice.
    const twice = [1, 2, 4, 5, 6].filter((n) => run.asked().filter((p) => p === n).length > 1);
    expect(twice.length).toBeLessThanOrEqual(1);
    expect(starts.map((r) => alive(r.start))).not.toContain(true);
    expect(readdirSync(join(run.folder, "log")).sort()).toEqual(["server-gpu0.log", "server-gpu1.log"]);
  });

  it("spreads a model over GPUs that are too small for it, or as many as are asked for", async () => {
    for (const [card, options] of [
      ["qwen3-vl", {}],
      ["dots-ocr", { tensorParallel: 2 }],
    ] as const) {
      const run = new Run("spread", {}, { maxSamples: 1, ...options }, input, card);
      expect(await run.end(run.start({ ...both, PATH: smi(24_576) }))).toBe(0);
      const starts = run.requests().filter((r) => r.start !== undefined);
      expect(starts).toMatchObject([{ gpus: "0,1", argv: expect.arrayContaining(["--tensor-parallel-size", "2"]) }]);
    }
    const more = new Run("too-many", {}, { tensorParallel: 4 });
    expect(await more.end(more.start(both))).toBe(64);
    expect(more.stderr).toContain("the job has 2");
  });

  it("splits the pages over the tasks of an array, which come back as one", async () => {
    const run = new Run("array", {});
    const task = (i: number) =>
      run.start({ YALE_JOBS_SHARD: `${i}`, YALE_JOBS_SHARDS: "2", YALE_JOBS_PROGRESS: `progress-${i}.jsonl` });
    expect(await run.end(task(1))).toBe(0);
    expect((await run.results()).map(numberOf)).toEqual([4, 5, 6]);
    expect(await run.end(task(0))).toBe(0);
    expect((await run.results()).map(numberOf)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(readdirSync(run.output).filter((f) => f.endsWith(".part"))).toEqual([]);
  });

  it("refuses what does not fit: options, another model, another prompt, an input that is none", async () => {
    const run = new Run("refused", {}, { maxSamples: 1 });
    expect(await run.end()).toBe(0);
    expect(await run.end(run.start({}, { maxSamples: 2, promptMode: "layout-all" }))).toBe(64);
    expect(run.stderr).toContain("promptMode was 'ocr' and is 'layout-all'");
    expect(await run.end(run.start({}, { batchsize: 2 }))).toBe(64);
    expect(await run.end(run.start({}, { batchSize: 0 }))).toBe(64);
    expect(await run.end(run.start({}, { batchSize: true }))).toBe(64);
    const none = new Run("no-input", {}, {}, box.home);
    expect(await none.end()).toBe(66);
  });
});

describe("a server that is not what it should be", () => {
  /** One that runs already; resolves with its address. */
  async function served(name: string, plan: Behaviour, env: NodeJS.ProcessEnv = {}): Promise<string> {
    const folder = mkdtempSync(join(box.home, `${name}-`));
    const log = join(folder, "served.jsonl");
    writeFileSync(join(folder, "plan.json"), JSON.stringify(plan));
    const server = spawn(python(), ["-B", join(ROOT, "test/support/vllm.py")], {
      env: { ...box.env, FAKE_VLLM_PLAN: join(folder, "plan.json"), FAKE_VLLM_LOG: log, ...env },
      stdio: "ignore",
    });
    children.push(server);
    const port = await until("the server", () => existsSync(log) && jsonLines(log).find((l) => l.port)?.port);
    return `http://127.0.0.1:${port}`;
  }

  it("is named at once where it does not know the key or is none, whatever the time for its start", async () => {
    const withKey = mkdtempSync(join(box.home, "key-"));
    mkdirSync(join(withKey, ".config", "yale-jobs"), { recursive: true });
    writeFileSync(join(withKey, ".config", "yale-jobs", "server-key"), "right\n");
    for (const plan of [{}, { health: "none" }]) {
      const url = await served("key", plan, { VLLM_API_KEY: "right" });
      const wrong = new Run("wrong-key", {}, { serverUrl: `${url}/v1/`, startTimeout: 600 });
      expect(await wrong.end(wrong.start({ YALE_JOBS_SERVER_KEY: "wrong" }))).toBe(69);
      expect(wrong.stderr).toContain(`The server at ${url} refuses the key`);
      const right = new Run("right-key", {}, { serverUrl: `${url}/v1/`, startTimeout: 600 });
      expect(await right.end(right.start({ HOME: withKey }))).toBe(0);
      const other = new Run("other-path", {}, { serverUrl: `${url}/api`, startTimeout: 600 });
      expect(await other.end()).toBe(69);
      expect(other.stderr).toContain("There is no OpenAI-compatible server at");
    }
    const none = new Run("no-address", {}, { serverUrl: "localhost:8000" });
    expect(await none.end()).toBe(64);
  });

  it("is left alone for as long as it asks, and longer each time where it does not say", async () => {
    const run = new Run(
      "busy",
      {
        1: [...Array(4).fill({ after: 1 }), {}],
        2: [{ after: 3, date: true }, {}],
        3: [{ status: 503 }, { status: 503 }, {}],
        4: [{ after: 5000 }],
      },
      { tries: 2 },
    );
    expect(await run.end()).toBe(3);
    const rows = await run.results();
    expect(rows.map((r) => r.error)).toEqual([null, null, null, expect.stringContaining("429"), null, null]);
    const gaps = (page: number) => {
      const times = run.requests().flatMap((r) => (r.page === page ? [Number(r.time)] : []));
      return times.slice(1).map((t, i) => t - (times[i] ?? 0));
    };
    expect(gaps(1)).toHaveLength(4);
    expect(Math.min(...gaps(1))).toBeGreaterThanOrEqual(1);
    // HTTP's dates have whole seconds.
    expect(Math.min(...gaps(2))).toBeGreaterThanOrEqual(1.9);
    expect(gaps(3).map((g, i) => g >= 2 ** i)).toEqual([true, true]);
    expect(gaps(4)).toEqual([]);
  });

  it("is started again where it hangs and seems well, and the page that does it twice is set aside", async () => {
    const run = new Run("hung", { 3: [{ hangs: true }] }, { pageTimeout: 1, batchSize: 6 });
    expect(await run.end()).toBe(3);
    const rows = await run.results();
    expect(rows.map((r) => r.error?.slice(0, 6) ?? null)).toEqual([null, null, "poison", null, null, null]);
    expect(run.requests().filter((r) => r.start !== undefined)).toHaveLength(3);
    expect(run.asked().filter((p) => p === 3)).toHaveLength(2);
  });
});

describe("a page on its side", () => {
  it("is turned as olmOCR says, and asked again", async () => {
    const head = (valid: boolean, turn: number) =>
      `---\nprimary_language: en\nis_rotation_valid: ${valid}\nrotation_correction: ${turn}\n---\nText`;
    const steps = [{ text: head(false, 90) }, { text: head(false, 180) }, { text: head(true, 0) }];
    const run = new Run("turned", { 1: steps }, { maxSamples: 1 }, input, "olmocr-2");
    expect(await run.end()).toBe(0);
    const asked = run.requests().filter((r) => r.page === 1);
    expect(asked.map((r) => r.dark)).toEqual(["left", "bottom", "top"]);
    expect(asked.map((r) => r.height)).toEqual([280, 308, 308]);
    const [row] = await run.results();
    expect(row).toMatchObject({ text: "Text", width: 308, height: 280 });
    expect(row?.inferenceInfo).toMatchObject({ turned: 270, attempts: 3, temperature: 0.1 });
  });
});

describe("each model's card", () => {
  const cells = '[{"bbox":[28,28,100,56],"category":"Text","text":"As it stands."}]';
  const answers: Record<string, string> = {
    "dots-ocr": cells,
    "dots-mocr": cells,
    "olmocr-2": "---\nprimary_language: en\nis_rotation_valid: True\n---\nAs it stands.",
    "deepseek-ocr": "<|ref|>text<|/ref|><|det|>[[100, 100, 500, 200]]<|/det|>\nAs it stands.",
  };
  const cards = readCards().filter((c) => c.engine === "vllm");

  it.each(cards.map((c) => c.name))("%s starts its server and reads what it answers", async (name) => {
    const card = cards.find((c) => c.name === name);
    const text = answers[name] ?? "As it stands.";
    const options = name === "dots-ocr" ? { promptMode: "layout-all" } : {};
    const run = new Run(`card-${name}`, { all: [{ text }] }, { maxSamples: 1, ...options }, input, name);
    expect(await run.end()).toBe(0);
    const [row] = await run.results();
    expect(row).toMatchObject({ text: "As it stands.", markdown: "As it stands.", error: null, width: 308 });
    expect(row?.inferenceInfo).toMatchObject({ model: card?.model });
    const boxed = row?.layout as { bbox: number[] }[] | null;
    if (text !== "As it stands." && name !== "olmocr-2") expect(boxed?.[0]?.bbox[2]).toBeLessThan(308);
    const [started] = run.requests();
    expect(String(started?.argv)).toContain(`serve,${card?.model},--served-model-name`);
    const order = run.requests().find((r) => r.page !== undefined)?.order;
    expect(order).toEqual(
      name === "olmocr-2" ? ["text", "image_url"] : name === "lighton-ocr-2" ? ["image_url"] : ["image_url", "text"],
    );
  });
});

describe("a whole job", () => {
  it("goes from images to Markdown through a server that runs already, and tries pages in error again", async () => {
    const folder = join(box.home, "job-images");
    mkdirSync(folder);
    for (const n of [1, 2, 3]) writeFileSync(join(folder, `page-00${n}.png`), await page(n));
    const plan = join(box.home, "served.json");
    writeFileSync(plan, JSON.stringify({ 2: [{ status: 400 }, {}] }));
    const log = join(box.home, "served.jsonl");
    const env = { ...box.env, FAKE_VLLM_PLAN: plan, FAKE_VLLM_LOG: log };
    const server = spawn(python(), ["-B", join(ROOT, "test/support/vllm.py")], { env, stdio: "ignore" });
    children.push(server);
    const port = await until("the server", () => existsSync(log) && jsonLines(log).find((l) => l.port)?.port);
    // The job's own Python: that of the PATH.
    const path = process.env.PATH;
    process.env.PATH = `${join(python(), "..")}:${path}`;
    const yale = new Yale({ agent: false });
    try {
      const job = await yale
        .ocr(folder)
        .on("local")
        .model("rednote-hilab/dots.ocr")
        .promptMode("layout-all")
        .option("serverUrl", `http://127.0.0.1:${port}`)
        .submit();
      await job.wait({ bar: false });
      expect(job.record).toMatchObject({ state: "completed", progress: { done: 3, failed: 1, total: 3 } });
      await (await job.retry()).wait({ bar: false });
      await job.refresh();
      expect(job.record).toMatchObject({ attempt: 2, progress: { done: 3, failed: 0, total: 3 } });
      expect(jsonLines(log).filter((l) => l.page !== undefined)).toHaveLength(4);
      const texts: (string | null)[] = [];
      for await (const row of await job.results()) texts.push(row.markdown);
      expect(texts).toEqual([1, 2, 3].map((n) => `# Page ${n}\n\nGröße, d'œuvre.`));
    } finally {
      process.env.PATH = path;
      await yale.close();
    }
  });
});

describe("the check before it", () => {
  const start = (name: string, env: NodeJS.ProcessEnv, options = "{}") => {
    const folder = join(box.home, name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "options.json"), options);
    const script = join(ROOT, "kernel-lib", "dist", "runners", "dots-ocr", "start.sh");
    const other = new Sandbox(env);
    return other
      .run("/bin/bash", [script, "--input", "none", "--output", "out", "--options", join(folder, "options.json")], {
        cwd: folder,
      })
      .finally(() => other.close());
  };
  const bin = () => join(python(), "..");

  it("ends with 127 where there is no Python, and with 69 and the names of what is missing", async () => {
    expect(await start("no-python", { PATH: "/nonexistent" })).toMatchObject({
      code: 127,
      stderr: expect.stringContaining("there is no python3"),
    });
    const bare = await start("no-vllm", { PATH: `${bin()}:/usr/bin:/bin`, CONDA_PREFIX: "/env" });
    expect(bare).toMatchObject({ code: 69 });
    expect(bare.stderr).toMatch(/lacks vllm>=0.11, transformers<5\./);
  });

  it("becomes the runner where all is there, and asks no vLLM for a server that runs already", async () => {
    // 66: the runner itself looked for the input.
    expect(
      (await start("with-url", { PATH: `${bin()}:/usr/bin:/bin` }, '{"serverUrl":"http://127.0.0.1:9"}')).code,
    ).toBe(66);
    const site = join(box.home, "site");
    for (const [name, version] of [
      ["vllm", "0.32.0+cu128"],
      ["transformers", "4.57.1"],
    ]) {
      const info = join(site, `${name}-${version}.dist-info`);
      mkdirSync(info, { recursive: true });
      writeFileSync(join(info, "METADATA"), `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`);
    }
    expect((await start("with-vllm", { PATH: `${bin()}:/usr/bin:/bin`, PYTHONPATH: site })).code).toBe(66);
  });
});
