/** Two ways to Tesseract: the installed program, or the WebAssembly build that travels with the runner. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createWorker, OEM, type PSM, type Worker } from "tesseract.js";

/** Left, top, right, bottom in pixels of the page image. */
type Box = [number, number, number, number];

/** A line of text. */
export interface Line {
  bbox: Box;
  text: string;
  confidence: number;
  /** Where each word stands: a search in a PDF or viewer leads there. */
  words: { bbox: Box; text: string; confidence: number }[];
}
/** A block of lines, as the engine found it. */
export interface Block {
  category: "Text";
  bbox: Box;
  text: string;
  lines: Line[];
}
/** What was found on a page. */
export interface Recognised {
  text: string;
  layout: Block[];
  /** Mean over the words, 0 to 100; null for a page without words. */
  confidence: number | null;
}

/** An OCR engine with as many pages at once as it was opened for. */
export interface Engine {
  /** Name and version, for provenance. */
  about: { engine: string; version: string };
  recognise(image: Uint8Array): Promise<Recognised>;
  close(): Promise<void>;
}

interface EngineOptions {
  lang: string;
  psm: number;
  batchSize: number;
}

/** Milliseconds for one page; a page that takes longer is an error, not a job that hangs. */
const PAGE_LIMIT = 300_000;

/** Words with their places in block, paragraph and line, to text and layout. */
interface Word {
  block: string;
  paragraph: string;
  line: string;
  text: string;
  confidence: number;
  bbox: Box;
}

function assemble(words: readonly Word[]): Recognised {
  const blocks = new Map<string, Map<string, Map<string, Word[]>>>();
  for (const w of words) {
    const paragraphs = blocks.get(w.block) ?? new Map<string, Map<string, Word[]>>();
    blocks.set(w.block, paragraphs);
    const lines = paragraphs.get(w.paragraph) ?? new Map<string, Word[]>();
    paragraphs.set(w.paragraph, lines);
    lines.set(w.line, [...(lines.get(w.line) ?? []), w]);
  }
  const layout: Block[] = [];
  const paragraphsText: string[] = [];
  for (const paragraphs of blocks.values()) {
    const all: Line[] = [];
    const texts: string[] = [];
    for (const lines of paragraphs.values()) {
      const made = [...lines.values()].map(
        (ws): Line => ({
          bbox: around(ws.map((w) => w.bbox)),
          text: ws.map((w) => w.text).join(" "),
          confidence: tenths(mean(ws.map((w) => w.confidence)) ?? 0),
          words: ws.map((w) => ({ bbox: w.bbox, text: w.text, confidence: tenths(w.confidence) })),
        }),
      );
      all.push(...made);
      texts.push(made.map((l) => l.text).join("\n"));
    }
    paragraphsText.push(...texts);
    layout.push({ category: "Text", bbox: around(all.map((l) => l.bbox)), text: texts.join("\n\n"), lines: all });
  }
  const text = paragraphsText.length === 0 ? "" : `${paragraphsText.join("\n\n")}\n`;
  return { text, layout, confidence: mean(words.map((w) => w.confidence)) };
}

function around(boxes: readonly Box[]): Box {
  return [
    Math.min(...boxes.map((b) => b[0])),
    Math.min(...boxes.map((b) => b[1])),
    Math.max(...boxes.map((b) => b[2])),
    Math.max(...boxes.map((b) => b[3])),
  ];
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10;
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;
}

/** Runs a program with bytes on its input. */
function run(
  program: string,
  args: string[],
  input?: Uint8Array,
): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      // One page a process and one thread a page: Tesseract's own threads only disturb each other.
      env: { ...process.env, OMP_THREAD_LIMIT: "1" },
      timeout: PAGE_LIMIT,
      killSignal: "SIGKILL",
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (c: Buffer) => out.push(c));
    child.stderr.on("data", (c: Buffer) => err.push(c));
    child.stdin.on("error", () => undefined);
    child.on("error", reject);
    child.on("close", (code) =>
      resolve({ code, out: Buffer.concat(out).toString("utf8"), err: Buffer.concat(err).toString("utf8") }),
    );
    child.stdin.end(input);
  });
}

/** The installed `tesseract`, or why it can't be used. */
export async function nativeEngine(options: EngineOptions): Promise<{ engine: Engine } | { missing: string }> {
  const version = await run("tesseract", ["--version"]).catch(() => undefined);
  if (version?.code !== 0)
    return {
      missing: `The program tesseract is not installed, and only English is built in (asked for: ${options.lang}).`,
    };
  const languages = (await run("tesseract", ["--list-langs"])).out.split(/\s+/);
  const absent = options.lang.split("+").filter((l) => !languages.includes(l));
  if (absent.length > 0) return { missing: `The installed tesseract has no data for ${absent.join(", ")}.` };
  const number = /tesseract v?([\d.]+\S*)/.exec(version.out + version.err)?.[1] ?? "unknown";
  const engine: Engine = {
    about: { engine: "tesseract", version: number },
    async recognise(image) {
      const args = ["stdin", "stdout", "-l", options.lang, "--psm", String(options.psm), "tsv"];
      const { code, out, err } = await run("tesseract", args, image);
      if (code !== 0)
        throw new Error(`tesseract ended with ${code ?? "a signal"}: ${err.trim().split("\n").at(-1) ?? ""}`);
      return assemble(readTsv(out));
    },
    close: async () => undefined,
  };
  return { engine };
}

/** Words of Tesseract's TSV: level, page, block, paragraph, line, word, left, top, width, height, confidence, text. */
function readTsv(tsv: string): Word[] {
  const words: Word[] = [];
  for (const row of tsv.split("\n").slice(1)) {
    const f = row.split("\t");
    const text = f[11]?.trim() ?? "";
    if (f[0] !== "5" || text === "") continue;
    const [left = 0, top = 0, width = 0, height = 0] = f.slice(6, 10).map(Number);
    words.push({
      block: f[2] ?? "",
      paragraph: `${f[2]}.${f[3]}`,
      line: `${f[2]}.${f[3]}.${f[4]}`,
      text,
      confidence: Number(f[10]),
      bbox: [left, top, left + width, top + height],
    });
  }
  return words;
}

/** The built-in engine: one worker thread for each page at once. */
export async function wasmEngine(options: EngineOptions): Promise<Engine> {
  const idle: Worker[] = [];
  const waiting: ((worker: Worker) => void)[] = [];
  const all = new Set<Worker>();
  const make = async (): Promise<Worker> => {
    const worker = await createWorker(options.lang, OEM.LSTM_ONLY, {
      workerPath: join(__dirname, "worker.cjs"),
      langPath: join(__dirname, "lang"),
      gzip: true,
      // Nothing is written beside the language data, and nothing is fetched.
      cacheMethod: "none",
      // The call that failed rejects; without a handler the same error would be thrown a second time, at nobody.
      errorHandler: () => undefined,
    }).catch((error: unknown) => {
      throw new Error(`The built-in Tesseract did not start: ${String(error)}`);
    });
    // The default of tesseract.js takes the page for one block: two columns come out at 73 % errors.
    await worker.setParameters({ tessedit_pageseg_mode: String(options.psm) as unknown as PSM });
    all.add(worker);
    return worker;
  };
  const free = (worker: Worker) => {
    const next = waiting.shift();
    if (next !== undefined) next(worker);
    else idle.push(worker);
  };
  const first = await make();
  idle.push(first);
  let made = 1;
  return {
    about: { engine: "tesseract.js", version: "7.0.0" },
    async recognise(image) {
      let worker = idle.pop();
      if (worker === undefined && made < options.batchSize) {
        made += 1;
        worker = await make();
      }
      worker ??= await new Promise<Worker>((resolve) => waiting.push(resolve));
      let lost = false;
      try {
        const limit = new Promise<never>((_, reject) =>
          setTimeout(() => {
            lost = true;
            reject(new Error(`The page took longer than ${PAGE_LIMIT / 1000} s.`));
          }, PAGE_LIMIT).unref(),
        );
        const work = worker.recognize(Buffer.from(image), {}, { text: false, blocks: true });
        const { data } = await Promise.race([work, limit]);
        const words: Word[] = [];
        for (const [b, block] of (data.blocks ?? []).entries())
          for (const [p, paragraph] of block.paragraphs.entries())
            for (const [l, line] of paragraph.lines.entries())
              for (const word of line.words) {
                if (word.text.trim() === "") continue;
                const { x0, y0, x1, y1 } = word.bbox;
                const at = { block: `${b}`, paragraph: `${b}.${p}`, line: `${b}.${p}.${l}` };
                words.push({ ...at, text: word.text, confidence: word.confidence, bbox: [x0, y0, x1, y1] });
              }
        return assemble(words);
      } catch (error) {
        throw new Error(typeof error === "string" ? error.replace(/^Error: /, "") : (error as Error).message);
      } finally {
        if (lost) {
          all.delete(worker);
          void worker.terminate();
          free(await make());
        } else free(worker);
      }
    },
    async close() {
      await Promise.all([...all].map((w) => w.terminate()));
    },
  };
}
