import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PDFDocument, StandardFonts } from "pdf-lib";
import readXlsxFile from "read-excel-file/node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exportRows } from "../../kernel-lib/src/exports/index.js";
import { FORMAT_LIST } from "../../kernel-lib/src/exports/names.js";
import type { Job } from "../../kernel-lib/src/index.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { sentence, textPdf } from "../support/material.js";
import { python, ROOT, Sandbox } from "../support/sandbox.js";
import { VISION_ROWS } from "../support/vision-rows.js";

const PAGES = 3;
const LINES = 4;

let box: Sandbox;
let job: Job;
let found: {
  alto: { faults: string[]; words: [string, number, number, number, number][] }[];
  page: { faults: string[]; words: [string, string][] }[];
  hocr: string[][];
  annotations: { canvases: number; manifest: { items: never[] }; pages: { items: Annotation[] }[] }[];
  pdf: { problems: string[]; pages: number; title: string; images: number[] }[];
  tables: {
    parquet: { features: Record<string, string>; text: string[] };
    dataset: string[];
    csv: Record<string, string>[];
    jsonl: Record<string, unknown>[];
  };
};
interface Annotation {
  motivation: string;
  body: { value: string };
  target: string;
}

beforeAll(async () => {
  box = new Sandbox().enter();
  const pdf = await textPdf(box.home, "book.pdf", PAGES, LINES);
  job = await new Yale().ocr(pdf).name("a book").submit();
  await job.wait();
  for (const format of FORMAT_LIST) {
    const ran = await box.yale("jobs", "export", job.id, join("out", format), "--format", format);
    expect(ran, format).toMatchObject({ code: 0, stderr: "" });
  }
  found = await check("out", "alto", "page", "hocr", "annotations", "pdf", "tables");
}, 120_000);
afterAll(() => box.close());

/** What other people's programs say of the exports in a folder. */
async function check<T>(folder: string, ...checks: string[]): Promise<T> {
  const script = join(ROOT, "test", "python", "exports_check.py");
  const schemas = join(ROOT, "test", "files", "schemas");
  const checked = await box.run(python(), [script, join(box.home, folder), schemas, ...checks]);
  expect(checked.code, checked.stderr).toBe(0);
  return JSON.parse(checked.stdout.split("\n").find((line) => line.startsWith("{")) ?? "");
}

/** Where a word of a page of {@link textPdf} stands, in pixels at 200 dpi. */
async function placeOf(
  page: number,
  line: number,
  word: number,
): Promise<{ left: number; right: number; base: number }> {
  const font = await (await PDFDocument.create()).embedFont(StandardFonts.TimesRoman);
  const words = sentence(page * 10 + line).split(" ");
  const before = words.slice(0, word).join(" ");
  const left = 24 + font.widthOfTextAtSize(before === "" ? "" : `${before} `, 14);
  const right = left + font.widthOfTextAtSize(words[word] ?? "", 14);
  const base = 60 + LINES * 24 - (30 + (LINES - 1 - line) * 24);
  const scale = 200 / 72;
  return { left: left * scale, right: right * scale, base: base * scale };
}

describe("results as files of other programs", () => {
  it("hold the right words at the right place, by ALTO's own schema", async () => {
    expect(found.alto.map((p) => p.faults)).toEqual([[], [], []]);
    for (const [p, { words }] of found.alto.entries()) {
      const all = Array.from({ length: LINES }, (_, l) => sentence((p + 1) * 10 + l)).join(" ");
      expect(words.map(([text]) => text).join(" ")).toBe(all);
    }
    for (const [page, line, word] of [
      [1, 0, 1],
      [2, 3, 5],
      [3, 1, 9],
    ] as const) {
      const [text, x, y, width, height] = found.alto[page - 1]?.words[line * 10 + word] ?? ["", 0, 0, 0, 0];
      expect(text).toBe(sentence(page * 10 + line).split(" ")[word]);
      const place = await placeOf(page, line, word);
      expect(Math.abs(x - place.left)).toBeLessThan(6);
      expect(Math.abs(x + width - place.right)).toBeLessThan(6);
      // Letters with tails reach below the base line.
      expect(y + height - place.base).toBeGreaterThan(-4);
      expect(y + height - place.base).toBeLessThan(14);
    }
  });

  it("say the same in PAGE XML, by its schema, and in hOCR, by its validator", () => {
    expect(found.page.map((p) => p.faults)).toEqual([[], [], []]);
    for (const [p, { words }] of found.page.entries()) {
      const alto = found.alto[p]?.words ?? [];
      expect(words).toEqual(
        alto.map(([text, x, y, w, h]) => [text, `${x},${y} ${x + w},${y} ${x + w},${y + h} ${x},${y + h}`]),
      );
    }
    expect(found.hocr).toEqual([[]]);
    const hocr = readFileSync(join(box.home, "out", "hocr", "book.hocr"), "utf8");
    const words = [...hocr.matchAll(/class="ocrx_word"[^>]*title="bbox ([\d ]+); x_wconf \d+">([^<]*)</g)];
    expect(words.map((m) => [m[2], m[1]])).toEqual(
      found.alto.flatMap((p) => p.words.map(([text, x, y, w, h]) => [text, `${x} ${y} ${x + w} ${y + h}`])),
    );
  });

  it("are a PDF that poppler searches, with the page images as they were", async () => {
    const images = readdirSync(join(box.home, "out", "images", "book")).map(
      (name) => statSync(join(box.home, "out", "images", "book", name)).size,
    );
    expect(found.pdf).toEqual([{ problems: [], pages: PAGES, title: "Test of 3", images: expect.anything() }]);
    expect(images).toHaveLength(PAGES);
    const pdf = join(box.home, "out", "pdf", "book.pdf");
    const text = await box.run("pdftotext", ["-layout", pdf, "-"]);
    const said = text.stdout
      .split("\f")
      .slice(0, PAGES)
      .map((page) => page.split("\n").flatMap((l) => (l.trim() === "" ? [] : [l.trim().replace(/ +/g, " ")])));
    expect(said).toEqual(
      Array.from({ length: PAGES }, (_, p) => Array.from({ length: LINES }, (_, l) => sentence((p + 1) * 10 + l))),
    );
    const boxes = await box.run("pdftotext", ["-bbox", pdf, "-"]);
    const words = [...boxes.stdout.matchAll(/xMin="([\d.]+)" yMin="[\d.]+" xMax="([\d.]+)"[^>]*>([^<]*)</g)];
    const alto = found.alto.flatMap((p) => p.words);
    expect(words.map((m) => m[3])).toEqual(alto.map(([word]) => word));
    for (const [i, m] of words.entries()) {
      const [, x = 0, , width = 0] = alto[i] ?? [];
      // Points against pixels at 200 dpi.
      expect(Math.abs(Number(m[1]) - (x * 72) / 200)).toBeLessThan(0.5);
      expect(Number(m[2]) - ((x + width) * 72) / 200).toBeLessThan(8);
    }
  });

  it("are annotations over canvases that a IIIF library takes", () => {
    const [work] = found.annotations;
    expect(work?.canvases).toBe(PAGES);
    const first = work?.pages[0]?.items ?? [];
    expect(first.map((a) => a.body.value.replaceAll("\n", " ")).join(" ")).toContain(sentence(10));
    const canvas = (work?.manifest.items[0] as unknown as { id: string; annotations: { items: unknown[] }[] }) ?? {};
    expect(first[0]?.motivation).toBe("supplementing");
    expect(first[0]?.target).toMatch(new RegExp(`^${canvas.id}#xywh=\\d+,\\d+,\\d+,\\d+$`));
    expect(canvas.annotations[0]?.items).toEqual(first);
    expect(existsSync(join(box.home, "out", "annotations", "book", "images", "0001.png"))).toBe(
      readdirSync(join(box.home, "out", "images", "book"))[0]?.endsWith(".png"),
    );
  });

  it("are tables: Parquet and a dataset for Python, CSV, Excel and JSON Lines", async () => {
    const text = Array.from({ length: PAGES }, (_, p) =>
      Array.from({ length: LINES }, (_, l) => sentence((p + 1) * 10 + l)).join("\n"),
    );
    const trimmed = (all: unknown[]) => all.map((t) => String(t).trim().replaceAll("\n\n", "\n"));
    expect(trimmed(found.tables.parquet.text)).toEqual(text);
    expect(found.tables.parquet.features).toMatchObject({ key: "string", page: "int64", confidence: "float64" });
    expect(trimmed(found.tables.dataset)).toEqual(text);
    expect(trimmed(found.tables.csv.map((r) => r.text))).toEqual(text);
    expect(found.tables.csv[0]).toMatchObject({ source: "book.pdf", page: "1", title: "Test of 3" });
    expect(trimmed(found.tables.jsonl.map((r) => r.text))).toEqual(text);
    expect(found.tables.jsonl[0]).toMatchObject({ metadata: { title: "Test of 3" }, inferenceInfo: { lang: "eng" } });
    const sheet = await readXlsxFile(join(box.home, "out", "xlsx", "results.xlsx"));
    const rows = (
      Array.isArray(sheet) && "data" in (sheet[0] as object) ? (sheet[0] as { data: unknown[][] }).data : sheet
    ) as unknown[][];
    expect(rows[0]).toContain("text");
    expect(trimmed(rows.slice(1).map((r) => r[rows[0]?.indexOf("text") ?? 0]))).toEqual(text);
  });

  it("are told by the end of a file's name, and overwrite nothing that is there", async () => {
    const path = join(box.home, "mine.pdf");
    writeFileSync(path, "mine");
    const refused = await box.yale("jobs", "export", job.id, path);
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toContain("is there already; nothing was written");
    expect(readFileSync(path, "utf8")).toBe("mine");
    const results = await job.results();
    expect(await results.export(join(box.home, "all.txt"))).toMatchObject({ format: "text", pages: PAGES, errors: 0 });
    expect(readFileSync(join(box.home, "all.txt"), "utf8").split("\f")).toHaveLength(PAGES);
    const wrong = await box.yale("jobs", "export", job.id, "x.xml");
    expect(wrong.stderr).toContain("Several formats are XML");
    expect((await box.yale("jobs", "export", job.id, "--format", "word")).stderr).toContain("There is no format");
  });
});

describe("results of vision models as files of other programs", () => {
  it("are valid by the rules of each format, whatever was recognised", async () => {
    const context = { metadata: () => ({ title: 'A <work> & "more"' }), image: async () => undefined };
    for (const format of ["alto", "page", "hocr", "annotations", "pdf", "tei"] as const)
      await exportRows(VISION_ROWS, context, box.home, format, join(box.home, "vision", format));
    const seen = await check<typeof found>("vision", "alto", "page", "hocr", "annotations", "pdf");
    expect(seen.alto.map((p) => p.faults)).toEqual(VISION_ROWS.map(() => []));
    expect(seen.page.map((p) => p.faults)).toEqual(VISION_ROWS.map(() => []));
    expect(seen.hocr).toEqual([[], []]);
    expect(seen.annotations.map((work) => work.canvases)).toEqual([VISION_ROWS.length / 2, VISION_ROWS.length / 2]);
    expect(seen.pdf.map((p) => p.problems)).toEqual([[], []]);
    expect(seen.pdf.reduce((n, p) => n + p.pages, 0)).toBe(VISION_ROWS.length);
    const text = readdirSync(join(box.home, "vision", "pdf")).map((name) => join(box.home, "vision", "pdf", name));
    const said = await Promise.all(text.map((path) => box.run("pdftotext", [path, "-"])));
    for (const phrase of ["Several words that fill", "one two", "天地玄黃，宇宙洪荒。𠀋", "without a place"])
      expect(
        said.some((ran) => ran.stdout.replace(/\s+/g, " ").includes(phrase)),
        phrase,
      ).toBe(true);
  });

  it("are TEI by the schema of all of it, like those of Tesseract", async () => {
    const { tei } = await check<{ tei: { files: Record<string, string[]>; refuses: boolean } }>(".", "tei");
    expect(tei.refuses).toBe(true);
    expect(Object.values(tei.files)).toEqual([[], [], []]);
  });
});

describe("the quality of results", () => {
  it("is told for each page, and shown on a page that holds no script", async () => {
    const ran = await box.yale("jobs", "report", job.id, "--json");
    const figures = JSON.parse(ran.stdout);
    expect(figures).toHaveLength(PAGES);
    expect(figures[0]).toMatchObject({ language: "eng", page: 1, source: "book.pdf" });
    expect(figures[0].dictionary).toBeGreaterThan(0.9);
    await box.yale("jobs", "report", job.id, "r.html");
    const html = readFileSync(join(box.home, "r.html"), "utf8");
    expect(html.match(/<img /g)).toHaveLength(PAGES);
    expect(html).toContain(sentence(10));
    expect(html).toContain("default-src 'none'");
  });

  it("is measured against a ground truth, and against another job", async () => {
    const truth = join(box.home, "truth");
    await box.yale("jobs", "export", job.id, truth, "--format", "text", "--per", "page");
    const file = join(truth, "book", "0002.txt");
    // Two characters of page 2 that the ground truth has otherwise: one word.
    writeFileSync(file, readFileSync(file, "utf8").replace("number 20", "number 31"));
    const ran = await box.yale("jobs", "compare", job.id, truth, "--json", "--report", "d.html");
    const done = JSON.parse(ran.stdout);
    expect(
      done.pages.map((p: { characterErrors: number; wordErrors: number }) => [p.characterErrors, p.wordErrors]),
    ).toEqual([
      [0, 0],
      [2, 1],
      [0, 0],
    ]);
    const characters = done.pages.reduce((n: number, p: { characters: number }) => n + p.characters, 0);
    expect(done.characterErrorRate).toBeCloseTo(2 / characters, 10);
    expect(readFileSync(join(box.home, "d.html"), "utf8")).toContain("<ins>31</ins>");
    expect((await box.yale("jobs", "compare", job.id, job.id)).stdout).toContain("Character error rate 0.00 %");
    const nothing = await box.yale("jobs", "compare", job.id, "no such thing");
    expect(nothing).toMatchObject({ code: 2 });
    expect(nothing.stderr).toContain("There is no job and no file");
  });
});
