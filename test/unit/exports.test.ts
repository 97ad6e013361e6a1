import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PDFDocument } from "pdf-lib";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ResultRow } from "../../kernel-lib/src/dataset/index.js";
import { exportRows, type PageContext } from "../../kernel-lib/src/exports/index.js";
import { pageLayout } from "../../kernel-lib/src/exports/layout.js";
import { fileName, worksOf } from "../../kernel-lib/src/exports/pages.js";
import { pdfOf } from "../../kernel-lib/src/exports/pdf.js";
import { plainText } from "../../kernel-lib/src/exports/plain.js";
import { escapeXml } from "../../kernel-lib/src/exports/xml.js";
import type { Json } from "../../kernel-lib/src/protocol.js";
import { compareRows, qualityOf, qualityReport } from "../../kernel-lib/src/quality/index.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "yale-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const row = (more: Partial<ResultRow> = {}): ResultRow => ({
  key: "a.pdf#page=1",
  source: "a.pdf",
  page: 1,
  label: null,
  text: "one two",
  markdown: "one two",
  layout: null,
  error: null,
  confidence: null,
  seconds: 1,
  width: 1000,
  height: 1400,
  inferenceInfo: { engine: "test", version: "1" },
  ...more,
});

/** Cells as a vision model gives them: boxes of regions, and text with marks. */
const CELLS: Json = [
  { category: "Page-header", bbox: [100, 20, 900, 60], text: "THE HEAD" },
  { category: "Title", bbox: [100, 100, 900, 200], text: "# The **Title** of it" },
  { category: "Text", bbox: [100, 250, 900, 450], text: "Several words that fill more than one line of this box." },
  { category: "Table", bbox: [100, 500, 900, 700], text: "<table><tr><td>a &amp; b</td><td>2</td></tr></table>" },
  { category: "Formula", bbox: [100, 750, 900, 800], text: "$$E = mc^2$$" },
  { category: "Picture", bbox: [100, 850, 900, 1200] },
  { category: "Text", bbox: null, text: "without a place" },
];

const nothing: PageContext = { metadata: () => ({}), image: async () => undefined };
const out = (...path: string[]) => join(folder, "out", ...path);
const read = (...path: string[]) => readFileSync(out(...path), "utf8");
const write = (rows: ResultRow[], format: Parameters<typeof exportRows>[3], context = nothing, options = {}) =>
  exportRows(rows, context, folder, format, out(), options);

describe("the layout of a page", () => {
  it("is regions in reading order, whose lines and words lie inside their boxes where the engine gave none", () => {
    const { regions } = pageLayout(row({ layout: CELLS }), { width: 0, height: 0 });
    expect(regions.map((r) => [r.category, r.text])).toEqual([
      ["Page-header", "THE HEAD"],
      ["Title", "The Title of it"],
      ["Text", "Several words that fill more than one line of this box."],
      ["Table", "a & b\t2"],
      ["Formula", "E = mc^2"],
      ["Picture", ""],
      ["Text", "without a place"],
    ]);
    for (const region of regions) {
      const [left, top, right, bottom] = region.box;
      for (const { box, words, estimated } of region.lines) {
        expect(estimated).toBe(true);
        expect(words.length).toBeGreaterThan(0);
        for (const b of [box, ...words.map((w) => w.box)]) {
          expect(b[0]).toBeGreaterThanOrEqual(left);
          expect(b[1]).toBeGreaterThanOrEqual(top);
          expect(b[2]).toBeLessThanOrEqual(right);
          expect(b[3]).toBeLessThanOrEqual(bottom);
        }
      }
      expect(region.lines.flatMap((l) => l.words.map((w) => w.text)).join(" ")).toBe(region.text.replace(/\s+/g, " "));
    }
  });

  it("takes what an engine measured, and trusts no number from outside", () => {
    const line = {
      bbox: [10, 10, 90, 30],
      text: "a bc",
      confidence: 250,
      words: [{ bbox: [10, 10, 30, 30], text: "a" }],
    };
    const cells = [
      { category: "Text", bbox: [90, 40, 10, 10], lines: [line, { bbox: ["x"], text: "no" }, null] },
      { category: 7, bbox: [Number.NaN, 0, 1, 1], text: "kept" },
      { bbox: [-5, -5, 5000, 5000], text: "whole" },
      "nonsense",
      null,
    ] as unknown as Json;
    const { regions } = pageLayout(row({ layout: cells }), { width: 0, height: 0 });
    expect(regions.map((r) => [r.text, r.box])).toEqual([
      ["a bc", [10, 10, 90, 40]],
      ["kept", [0, 0, 1000, 1400]],
      ["whole", [0, 0, 1000, 1400]],
    ]);
    const [measured] = regions[0]?.lines ?? [];
    // Words that don't make up the line are not taken.
    expect(measured).toMatchObject({ estimated: false, wordsEstimated: true, confidence: 100 });
    expect(measured?.words.map((w) => w.text)).toEqual(["a", "bc"]);
  });

  it("has the text of the page where the layout has none", () => {
    const bare = pageLayout(row(), { width: 0, height: 0 });
    expect(bare.regions).toMatchObject([{ category: "Text", estimated: true, text: "one two" }]);
    const boxes = pageLayout(row({ layout: [{ category: "Text", bbox: [1, 1, 9, 9] }] }), { width: 0, height: 0 });
    expect(boxes.regions.map((r) => r.text)).toEqual(["", "one two"]);
    expect(pageLayout(row({ text: null, layout: null }), { width: 3, height: 4 }).regions).toEqual([]);
  });

  /** The words of a text as they stand from left to right in a box from 100 to 900, and the region. */
  const laid = (text: string, bbox = [100, 100, 900, 140]) => {
    const [region] = pageLayout(row({ layout: [{ category: "Text", bbox, text }] }), { width: 0, height: 0 }).regions;
    const lines = region?.lines.map((line) => ({
      ...line,
      seen: [...line.words].sort((a, b) => a.box[0] - b.box[0]).map((w) => w.text),
      // What a reader takes the line for stays in its order.
      read: line.words.map((w) => w.text).join(" "),
    }));
    return { region, lines: lines ?? [], line: lines?.[0] };
  };

  it("begins lines of Hebrew and Arabic at the right, and turns what in them runs the other way", () => {
    const hebrew = laid("שלום עולם טוב");
    expect(hebrew.line?.seen).toEqual(["טוב", "עולם", "שלום"]);
    expect(hebrew.line?.read).toBe("שלום עולם טוב");
    expect(hebrew.line?.words[0]?.box[2]).toBe(900);
    expect(hebrew.line?.words.at(-1)?.box[0]).toBe(100);
    expect(hebrew.region?.direction).toBe("rtl");
    expect(laid("הספר Introduction to Logic יצא בשנת 1948").line?.seen).toEqual([
      "1948",
      "בשנת",
      "יצא",
      "Introduction",
      "to",
      "Logic",
      "הספר",
    ]);
    expect(laid("The word שלום עולם means peace").line?.seen).toEqual([
      "The",
      "word",
      "עולם",
      "שלום",
      "means",
      "peace",
    ]);
    expect(laid("(1) 𞤀𞤣𞤤𞤢𞤥 𞤆𞤵𞤤𞤢𞤪").line).toMatchObject({ direction: "rtl", seen: ["𞤆𞤵𞤤𞤢𞤪", "𞤀𞤣𞤤𞤢𞤥", "(1)"] });
    expect(laid("12 (3)").line).toMatchObject({ direction: "ltr", seen: ["12", "(3)"] });
    // A line of a Hebrew paragraph that begins with a name is read from the right all the same.
    const paragraph = laid("שלום לכולם כאן\nLogic הספר", [100, 100, 900, 200]);
    expect(paragraph.lines[1]).toMatchObject({ direction: "rtl", seen: ["הספר", "Logic"] });
    expect(paragraph.lines[1]?.box[2]).toBe(900);
    expect(paragraph.lines[1]?.box[0]).toBeGreaterThan(300);
    // Vowel points take no room.
    expect(laid("בְּרֵאשִׁית ברא").line?.words.map((w) => w.box)).toEqual(laid("בראשית ברא").line?.words.map((w) => w.box));
  });

  it("has the words of a measured line without boxes of words run its way", () => {
    const lines = [{ bbox: [100, 10, 900, 30], text: "שלום עולם" }];
    const [region] = pageLayout(row({ layout: [{ category: "Text", lines }] }), { width: 0, height: 0 }).regions;
    expect(region?.lines[0]?.words[0]?.box[2]).toBe(900);
  });
});

describe("text without Markdown", () => {
  it.each([
    ["# Title\n\nSome **bold** text.", "Title\n\nSome bold text."],
    ["Title\n=====\ntext\n\n---\n\nmore", "Title\ntext\n\nmore"],
    ["***all* of** it, _this_ and __that__, ~~gone~~", "all of it, this and that, gone"],
    ["over **two\nlines** here\n\nand *not\n\nthis*", "over two\nlines here\n\nand *not\n\nthis*"],
    ["Name ______________ Date ________", "Name ______________ Date ________"],
    ["Name:________Date:______", "Name:________Date:______"],
    ["________", "________"],
    ["snake_case_name and 5 * 3 * 2, a*, b* (*see", "snake_case_name and 5 * 3 * 2, a*, b* (*see"],
    // As CommonMark has it; whoever writes code marks it as such.
    ["the method __init__ of `__init__`", "the method init of __init__"],
    ["日本**「太字」**です **太字**です", "日本**「太字」**です 太字です"],
    ["| x | y |\n|---|:-:|\n| 1 | **2** |\n\nafter | it", "x\ty\n1\t2\n\nafter | it"],
    ["a <table><tr><td>a*b*c</td><td>2 &lt; 3</td></tr></table> z", "a a*b*c\t2 < 3 z"],
    ["<table><tr><td>cut", "cut"],
    ['![Picture](#xywh=1,2,3,4)\n\n![a dog](x.png "dog")text<img>a seal</img>', "text"],
    ["[Yale](https://yale.edu) and [1](a b) and [sic]", "Yale and [1](a b) and [sic]"],
    [
      "<page_number>12</page_number> H<sub>2</sub>O<br/>next <b>x</b> <y> a < b &amp; c",
      "12 H2O\nnext x <y> a < b & c",
    ],
    ["> quoted\n> twice", "quoted\ntwice"],
    ["- one\n* two\n1986. three", "- one\n* two\n1986. three"],
    ["```markdown\n# T\n```\n\n```python\n# **kept**\n```", "T\n\n# **kept**"],
    ["$$\nE_1 * x_2 *\n$$ and $a_*b_*$ for $5 and *$6*", "E_1 * x_2 * and $a_*b_*$ for $5 and $6"],
    ["1\\. and \\*not\\* \\alpha", "1. and *not* \\alpha"],
    ["#hashtag and # 5", "#hashtag and # 5"],
  ])("%j", (markdown, text) => expect(plainText(markdown)).toBe(text));

  it("is quick with a model that was stuck", () => {
    for (const piece of [
      "[",
      "![",
      "<!--",
      "\\[",
      "\\(",
      "*a ",
      "**a_",
      "_(",
      "`",
      "$",
      "<img ",
      "<table",
      "| ",
      "   ",
      "&am",
      "~~",
    ]) {
      const begun = performance.now();
      plainText(piece.repeat(30_000));
      expect(performance.now() - begun, piece).toBeLessThan(2000);
    }
  });

  const MARKED = "# Title\n\nSome **bold** text.\n\n| x | y |\n|---|---|\n| 1 | 2 |";

  it("is what exports and figures are made of, where a runner gave Markdown for text", async () => {
    const old = row({ text: MARKED, markdown: MARKED });
    await write([old], "text");
    expect(read("a.txt")).toBe("Title\n\nSome bold text.\n\nx\ty\n1\t2\n");
    await write([old], "alto");
    const words = [...read("a", "0001.xml").matchAll(/CONTENT="([^"]*)"/g)].map((m) => m[1]);
    expect(words).toEqual(["Title", "Some", "bold", "text.", "x", "y", "1", "2"]);
    await write([old], "csv");
    expect(read("results.csv")).toContain(`"Title\n\nSome bold text.\n\nx\ty\n1\t2","${MARKED.replaceAll('"', '""')}"`);
    await write([old], "markdown");
    expect(read("a.md")).toContain(MARKED);
    const truth = [{ key: old.key, text: "Title Some bold text. x y 1 2" }];
    expect((await compareRows([old], truth)).characterErrorRate).toBe(0);
    const both = await compareRows(
      [row({ text: "Title Some bold text. x y 1 2", markdown: null })],
      [old].map((r) => ({ ...r, text: r.text ?? "" })),
    );
    expect(both.characterErrorRate).toBe(0);
    expect((await qualityOf([old]))[0]).toMatchObject({ characters: 31, words: 6 });
  });

  it("leaves alone what a runner says is plain, and what an engine measured letter by letter", async () => {
    const plain = row({ text: "# 12 *Main* Street", markdown: "\\# 12 \\*Main\\* Street" });
    const line = { bbox: [10, 10, 90, 30], text: "# 12 *Main* Street" };
    const layout = [{ category: "Text", bbox: [10, 10, 90, 30], lines: [line] }];
    const read1 = row({ key: "k2", page: 2, text: line.text, markdown: line.text, layout });
    await write([plain, read1], "text");
    expect(read("a.txt")).toBe("# 12 *Main* Street\n\f# 12 *Main* Street\n");
  });
});

describe("an export", () => {
  it("says in ALTO, PAGE and hOCR which boxes nobody measured", async () => {
    await write([row({ layout: CELLS })], "alto");
    expect(read("a", "0001.xml")).toContain('PROCESSINGREFS="laid-out"');
    expect(read("a", "0001.xml")).toContain('<Illustration ID="block-6"');
    await write([row({ layout: CELLS })], "page", nothing, { force: true });
    const page = read("a", "0001.xml");
    expect(page).toContain("estimated {line:true; words:true;}");
    expect(page).toMatch(/<TableRegion[\s\S]*a &amp; b\t2[\s\S]*<\/TableRegion>/);
    expect(page).toContain('type="heading"');
    await write([row({ layout: CELLS })], "hocr");
    expect(read("a.hocr")).toContain('class="ocr_line estimated_line"');
    expect(read("a.hocr")).toContain('<p class="ocr_par" id="par_page_1_2" role="heading" aria-level="1"');
  });

  it("is well-formed whatever is recognised, named or labelled", async () => {
    const evil = ']]>&amp;<script>alert(1)</script>" \u0000\u0008\ud800 \uffff --> -- {}\\';
    const rows = [
      row({
        key: evil,
        source: evil,
        text: evil,
        markdown: evil,
        label: { none: [evil] },
        inferenceInfo: { engine: evil },
      }),
      row({ key: "e", source: evil, page: 2, text: null, markdown: null, error: evil }),
    ];
    const context = { ...nothing, metadata: () => ({ title: evil, rights: evil, [evil]: evil }) };
    for (const format of [
      "alto",
      "page",
      "hocr",
      "tei",
      "annotations",
      "markdown",
      "csv",
      "xlsx",
      "parquet",
      "pdf",
    ] as const) {
      const done = await exportRows(rows, context, folder, format, out(format));
      for (const file of done.files) {
        expect(file.startsWith(`${out(format)}/`)).toBe(true);
        const bytes = readFileSync(file);
        if (/\.(xml|hocr)$/.test(file))
          execFileSync("python3", ["-c", "import sys,xml.dom.minidom as m; m.parse(sys.argv[1])", file]);
        if (/\.json$/.test(file)) JSON.parse(bytes.toString());
        if (/\.(hocr|json)$/.test(file))
          expect(bytes.toString()).not.toMatch(file.endsWith(".hocr") ? /<script/ : /\u0000/);
        if (file.endsWith(".md")) expect(bytes.toString().match(/-->/g)?.length).toBe(3);
        if (file.endsWith(".pdf")) expect((await PDFDocument.load(bytes)).getPageCount()).toBe(2);
      }
    }
    expect(escapeXml("a\u0000\ud83d\ude00\ud800<\r")).toBe("a\ud83d\ude00\ufffd&lt;&#13;");
  });

  it("runs no formula in a spreadsheet, and parts no cell at its line breaks", async () => {
    await write(
      [row({ text: '=HYPERLINK("x")\nsecond, "line"' }), row({ page: 2, key: "k2", text: "@SUM(A1)" })],
      "csv",
    );
    const csv = read("results.csv");
    expect(csv).toContain(`"'=HYPERLINK(""x"")\nsecond, ""line"""`);
    expect(csv).toContain("'@SUM(A1)");
    const code =
      "import csv,sys,json; print(json.dumps([r['text'] for r in csv.DictReader(open(sys.argv[1], newline=''))]))";
    const cells = JSON.parse(execFileSync("python3", ["-c", code, out("results.csv")]).toString());
    expect(cells).toEqual([`'=HYPERLINK("x")\nsecond, "line"`, "'@SUM(A1)"]);
  });

  it("can be searched in every script, and copies the page as the scanner saw it", async () => {
    const scripts = [
      "Überlänge ﬁn",
      "Ἀρχὴ τοῦ εὐαγγελίου",
      "日本語の本",
      "שלום עולם",
      "מלחמה ושלום",
      "مرحبا بالعالم",
      "𐎠𐎡",
      "ça",
    ];
    const cells = scripts.map((text, i) => ({
      category: "Text",
      bbox: [100, 100 + i * 100, 900, 150 + i * 100],
      text,
    }));
    const jpeg = await sharp({ create: { width: 1000, height: 1400, channels: 3, background: "#eee" } })
      .jpeg()
      .toBuffer();
    // More characters than one font has codes for.
    const many = Array.from({ length: 600 }, (_, i) => String.fromCodePoint(0x4e00 + i)).join("");
    const rows = [
      row({ layout: cells }),
      row({ key: "k2", page: 2, layout: [{ category: "Text", bbox: [0, 0, 1000, 1400], text: many }] }),
    ];
    const image = async () => ({ bytes: new Uint8Array(jpeg), mime: "image/jpeg", width: 1000, height: 1400 });
    await write(rows, "pdf", { metadata: () => ({ dpi: 200 }), image });
    const bytes = readFileSync(out("a.pdf"));
    expect(bytes.includes(jpeg)).toBe(true);
    const text = execFileSync("pdftotext", ["-raw", out("a.pdf"), "-"]).toString();
    const [first = "", second = ""] = text.split("\f");
    for (const line of scripts)
      for (const word of line.split(" ")) expect(first.normalize("NFC")).toContain(word.normalize("NFC"));
    expect(second.replace(/\s/g, "")).toBe(many);
    expect(execFileSync("pdfinfo", [out("a.pdf")]).toString()).toMatch(/Page size:\s+360 x 504 pts/);
  });

  /** What poppler's pdftotext makes of one line of text a page, without the marks of direction that it adds. */
  const popplerReads = async (texts: readonly string[], ...mode: string[]) => {
    const rows = texts.map((text, i) => {
      const wide = 17 * [...text.replace(/\p{Mn}/gu, "")].length;
      return row({ key: text, page: i + 1, layout: [{ category: "Text", bbox: [900 - wide, 200, 900, 240], text }] });
    });
    await write(rows, "pdf", nothing, { force: true });
    const said = execFileSync("pdftotext", [...mode, out("a.pdf"), "-"])
      .toString()
      .replace(/[\u202a-\u202e]/g, "");
    return said
      .split("\f")
      .slice(0, texts.length)
      .map((page) => page.trim().normalize("NFC").replace(/\s+/g, " "));
  };

  it("is read by poppler in the order in which people read, from either side", async () => {
    const lines = [
      "בראשית ברא אלהים את השמים ואת הארץ",
      "בְּרֵאשִׁית בָּרָא אֱלֹהִים",
      "קמה המדינה (ירושלים) כאן",
      "[א] {ב} <ג> (ד)",
      "צה״ל וגם ג׳ורג׳ בא.",
      "بِسْمِ اللَّهِ الرَّحْمَٰنِ الرَّحِيمِ",
      "بدأت سنة ١٩٤٨",
      "می\u200cخواهم کتاب ۱۳۵۷",
      "ܒܪܫܝܬ ܐܝܬܘܗܝ ܗܘܐ",
      "天地玄黃 宇宙洪荒",
      "हिन्दी में पाठ",
      "ภาษาไทย",
      "emoji 😀 family 👨\u200d👩\u200d👧 𠀋字",
      "\u200fשלום עולם\u200e",
    ];
    const wanted = lines.map((line) => line.normalize("NFC").replace(/[\u200e\u200f]/g, ""));
    expect(await popplerReads(lines)).toEqual(wanted);
    expect(await popplerReads(lines, "-layout")).toEqual(wanted);
    // A number or a Latin name parts a Hebrew line for poppler, which sets the space beside it wrong in any PDF.
    const mixed = await popplerReads(
      ["בשנת 1948 קמה", "سنة ١٩٤٨ (القاهرة)", "The word שלום עולם means", "𞤀𞤣𞤤𞤢𞤥 𞤆𞤵𞤤𞤢𞤪"],
      "-raw",
    );
    for (const [i, word] of ["1948", "١٩٤٨", "שלום", "𞤀𞤣𞤤𞤢𞤥"].entries()) expect(mixed[i]).toContain(word);
    const [year, , latin] = await popplerReads(["בשנת 1948 קמה", "سنة ١٩٤٨ (القاهرة)", "The word שלום עולם means"]);
    expect(year?.replaceAll(" ", "")).toBe("בשנת1948קמה");
    expect(latin).toContain("The word שלום עולם");
  });

  it("says in ALTO, PAGE and hOCR which way its lines are read", async () => {
    const rows = [row({ layout: [{ category: "Text", bbox: [100, 100, 900, 140], text: "שלום עולם" }] })];
    await write(rows, "alto");
    expect(read("a", "0001.xml")).toMatch(
      /<TextBlock [^>]*BASEDIRECTION="rtl"[\s\S]*<TextLine [^>]*BASEDIRECTION="rtl"/,
    );
    await write(rows, "page", nothing, { force: true });
    expect(read("a", "0001.xml")).toMatch(
      /<TextRegion [^>]*readingDirection="right-to-left"[\s\S]*<TextLine [^>]*readingDirection="right-to-left"/,
    );
    await write(rows, "hocr");
    expect(read("a.hocr")).toMatch(/<p [^>]*dir="rtl"[\s\S]*<span class="ocr_line[^>]*dir="rtl"/);
  });

  it("is written page by page: no image is asked for before the last is written", async () => {
    let written = 0;
    const asked: number[] = [];
    const bytes = new Uint8Array(
      await sharp({ create: { width: 10, height: 14, channels: 3, background: "red" } })
        .jpeg()
        .toBuffer(),
    );
    const rows = Array.from({ length: 50 }, (_, i) => row({ key: String(i), page: i + 1 }));
    const image = async () => {
      asked.push(written);
      return { bytes, mime: "image/jpeg", width: 10, height: 14 };
    };
    const [work] = worksOf(rows, { metadata: () => ({}), image });
    for await (const part of pdfOf({ title: "it", pages: work?.pages ?? [] }, "test")) if (part === bytes) written += 1;
    expect(asked).toEqual(rows.map((_, i) => i));
  });

  it("turns a page that lies on its side, and keeps one whose image is damaged or gone", async () => {
    const bytes = await sharp({ create: { width: 600, height: 400, channels: 3, background: "red" } })
      .jpeg()
      .withMetadata({ orientation: 6 })
      .toBuffer();
    const images = [bytes, Buffer.from("no image at all"), undefined];
    const rows = images.map((_, i) => row({ key: String(i), page: i + 1, width: 400, height: 600 }));
    const image = async ({ key }: ResultRow) => {
      const found = images[Number(key)];
      return found === undefined
        ? undefined
        : { bytes: new Uint8Array(found), mime: "image/jpeg", width: 400, height: 600 };
    };
    const done = await write(rows, "pdf", { metadata: () => ({ dpi: 72 }), image });
    expect(done.imagesMissing).toBe(1);
    const doc = await PDFDocument.load(readFileSync(out("a.pdf")));
    expect(doc.getPages().map((p) => p.getSize())).toEqual(images.map(() => ({ width: 400, height: 600 })));
    expect(
      execFileSync("pdftotext", [out("a.pdf"), "-"])
        .toString()
        .match(/one two/g),
    ).toHaveLength(3);
  });

  it("shows IIIF's text over IIIF's own canvases, in their size", async () => {
    const canvas = "https://iiif.example.edu/c/1";
    const metadata = () => ({
      canvas,
      manifest: "https://iiif.example.edu/m.json",
      canvasSize: [2000, 2800],
      url: "https://iiif.example.edu/i/full/max/0/default.jpg",
      title: "A work",
      rights: "http://rightsstatements.org/vocab/NoC-US/1.0/",
    });
    const source = "https://iiif.example.edu/m.json";
    await write(
      [row({ source, layout: CELLS })],
      "annotations",
      { ...nothing, metadata },
      { base: "https://a.example.edu/x/" },
    );
    const name = readdirSync(out())[0] ?? "";
    const manifest = JSON.parse(read(name, "manifest.json"));
    expect(manifest.rights).toBe(metadata().rights);
    expect(manifest.items[0]).toMatchObject({ id: canvas, width: 2000, height: 2800 });
    expect(manifest.items[0].items[0].items[0].body.id).toBe(metadata().url);
    const { items, id } = JSON.parse(read(name, "annotations", "0001.json"));
    expect(id).toBe(`https://a.example.edu/x/${name}/annotations/0001.json`);
    // Twice the pixels of the image: the canvas is twice as large. A picture has no text, and is no annotation.
    expect(items.map((a: { target: string }) => a.target)).toEqual([
      `${canvas}#xywh=200,40,1600,80`,
      `${canvas}#xywh=200,200,1600,200`,
      `${canvas}#xywh=200,500,1600,400`,
      `${canvas}#xywh=200,1000,1600,400`,
      `${canvas}#xywh=200,1500,1600,100`,
      canvas,
    ]);
    expect(existsSync(out(name, "images"))).toBe(false);
  });

  it("lays text over the part of a canvas that its image is painted on, and has such a canvas once", async () => {
    const canvas = "https://iiif.example.edu/c/1";
    const insets = ["2000,100,1000,1400", "percent:0,50,25,50", "nonsense"];
    const layout = [
      { category: "Text", bbox: [0, 0, 1000, 1400], text: "all of it" },
      { category: "Text", bbox: [500, 700, 1000, 1400], text: "its quarter" },
      { category: "Text", bbox: null, text: "no place" },
    ];
    const rows = insets.map((_, i) =>
      row({ key: String(i), page: i + 1, source: "https://iiif.example.edu/m", layout }),
    );
    const metadata = (key: string) => ({
      canvas,
      manifest: "https://iiif.example.edu/m",
      canvasSize: [4000, 3000],
      inset: insets[Number(key)] ?? "",
      url: `https://iiif.example.edu/i/${key}.jpg`,
    });
    await write(rows, "annotations", { ...nothing, metadata });
    const { items } = JSON.parse(read("m", "manifest.json"));
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({ id: canvas, width: 4000, height: 3000 });
    const targets = (of: { items: { target: string }[] }[]) =>
      of.flatMap((page) => page.items.map((a) => a.target.replace(canvas, "").replace("#xywh=", "")));
    expect(targets(items[0].items)).toEqual(["2000,100,1000,1400", "0,1500,1000,1500", ""]);
    expect(new Set(items[0].items[0].items.map((a: { id: string }) => a.id)).size).toBe(3);
    expect(targets(items[0].annotations)).toEqual([
      ...["2000,100,1000,1400", "2500,800,500,700", "2000,100,1000,1400"],
      ...["0,1500,1000,1500", "500,2250,500,750", "0,1500,1000,1500"],
      ...["0,0,4000,3000", "2000,1500,2000,1500", ""],
    ]);
    expect(JSON.parse(read("m", "annotations", "0001.json")).items[0].target).toBe(`${canvas}#xywh=2000,100,1000,1400`);
  });

  it("makes files by work or page, and stays inside its folder whatever sources are called", async () => {
    const rows = ["../../x.pdf", "a/b.pdf", "a\\b.pdf", "CON", "", "b.pdf"].map((source, i) =>
      row({ source, key: String(i) }),
    );
    const done = await write(rows, "text");
    expect(done.files.map((f) => f.slice(out().length + 1))).toEqual([
      "x.txt",
      "b.txt",
      "a-b.txt",
      "_CON.txt",
      "pages.txt",
      "b-2.txt",
    ]);
    expect(fileName("https://iiif.example.edu/works/MS%20408/manifest.json")).toBe("MS 408");
    expect(fileName(`${"é".repeat(300)}.pdf`).length).toBeLessThanOrEqual(80);
    const folderImages = ["x/1.jpg", "x/2.jpg"].map((source) => row({ source, key: source }));
    const context = { ...nothing, metadata: (key: string) => ({ path: key, folder: "x" }) };
    const pages = await exportRows(folderImages, context, folder, "text", join(folder, "p"), { per: "page" });
    expect(pages.files.map((f) => f.slice(folder.length))).toEqual(["/p/x/0001.txt", "/p/x/0002.txt"]);
  });

  it("refuses what can't be before anything is written", async () => {
    mkdirSync(out());
    writeFileSync(out("a.txt"), "mine");
    await expect(write([row(), row({ source: "0.pdf" })], "text")).rejects.toThrow(/is there already/);
    expect(readdirSync(out())).toEqual(["a.txt"]);
    await expect(write([], "text")).rejects.toThrow(/no pages/);
    await expect(write([row()], "alto", nothing, { per: "work" })).rejects.toThrow(/can't hold a work/);
    await expect(write([row()], "annotations", nothing, { base: "javascript:x" })).rejects.toThrow(/no web address/);
    const two = [row(), row({ source: "b.pdf" })];
    await expect(exportRows(two, nothing, folder, "alto", join(folder, "x.xml"))).rejects.toThrow(/there are more/);
    await expect(exportRows(two, nothing, folder, "alto", out("a.txt"))).rejects.toThrow(/is a file/);
  });
});

describe("quality", () => {
  it("puts pages in error, empty, stuck and garbled ones first", async () => {
    const good =
      "The library was opened in the morning, and many people came to read the old books that were kept there for them.";
    const rows = [
      row({ key: "good", text: good, confidence: 96 }),
      row({ key: "error", text: null, error: "boom" }),
      row({ key: "empty", text: "" }),
      row({ key: "blank", text: "", inferenceInfo: { blank: true } }),
      row({ key: "stuck", text: `${"and so it went on for ever ".repeat(40)}` }),
      row({ key: "garbled", text: good.replace(/[aeiou]/g, "x"), confidence: 41 }),
    ];
    const figures = await qualityOf(rows);
    const score = Object.fromEntries(figures.map((f) => [f.key, f.score]));
    expect(score.good).toBeGreaterThan(90);
    expect(score.blank).toBe(100);
    expect(score.error).toBe(0);
    for (const key of ["empty", "stuck", "garbled"]) expect(score[key], key).toBeLessThan(30);
    expect(figures.map((f) => f.problems.length > 0)).toEqual([false, true, true, false, true, true]);
    const list = join(folder, "words.txt");
    writeFileSync(list, "xnd\n");
    expect((await qualityOf([row({ text: "xnd xnd xnd xnd none" })], { dictionary: list }))[0]?.dictionary).toBe(0.8);
    await expect(qualityOf(rows, { dictionary: join(folder, "none.txt") })).rejects.toThrow(/can't be read/);
    const html = await qualityReport(
      "<b>",
      [row({ text: "<img src=x onerror=1>" })],
      await qualityOf([row()]),
      async () => undefined,
    );
    expect(html).not.toMatch(/<img|<b>/);
  });

  it("sees a model that is stuck in a script without spaces, or in one word", async () => {
    const chinese =
      "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏閏餘成歲律呂調陽雲騰致雨露結為霜金生麗水玉出崑岡劍號巨闕珠稱夜光果珍李柰菜重芥薑海鹹河淡鱗潛羽翔";
    const rows = [
      row({ key: "loop", text: "天地玄黃宇宙洪荒日月盈昃".repeat(20) }),
      row({ key: "lines", text: "ภาษาไทยเป็นภาษาหนึ่ง\n".repeat(20) }),
      row({ key: "dots", text: `A title ${".".repeat(400)}` }),
      row({ key: "whole", text: chinese }),
      row({
        key: "korean",
        text: "나랏말싸미 듕귁에 달아 문자와로 서르 사맛디 아니할쎄 이런 젼차로 어린 백셩이 니르고져 홇베이셔도",
      }),
    ];
    const score = Object.fromEntries((await qualityOf(rows)).map((f) => [f.key, [f.repetition, f.score]]));
    for (const key of ["loop", "lines", "dots"]) {
      expect(score[key]?.[0], key).toBeGreaterThan(0.8);
      expect(score[key]?.[1], key).toBeLessThan(20);
    }
    for (const key of ["whole", "korean"]) expect(score[key], key).toEqual([0, 100]);
  });

  it("shows a person the pages that were taken for blank", async () => {
    const rows = [row({ key: "good" }), row({ key: "blank", page: 7, text: "", inferenceInfo: { blank: true } })];
    const figures = await qualityOf(rows);
    expect(figures.map((f) => f.blank)).toEqual([false, true]);
    const picture = await sharp({ create: { width: 10, height: 10, channels: 3, background: "white" } })
      .png()
      .toBuffer();
    const html = await qualityReport("it", rows, figures, async ({ key }) =>
      key === "blank" ? { bytes: picture } : undefined,
    );
    const [, list = ""] = html.split('<h2 id="blank">');
    expect(list).toMatch(/1 page, [\s\S]*<img alt="Page 7" src="data:image\/jpeg[\s\S]*a\.pdf, page 7/);
    expect(html).toContain('<a href="#blank">1 taken for blank</a>');
    expect(await qualityReport("it", rows.slice(0, 1), figures.slice(0, 1), async () => undefined)).not.toContain(
      "lank</",
    );
  });

  it("counts characters as people do, and pairs pages by key, else by place", async () => {
    const one = await compareRows([row({ text: "e\u0301a  𝒳" })], [{ key: "a.pdf#page=1", text: "éa\n𝒴" }]);
    expect(one.pages[0]).toMatchObject({ characters: 4, characterErrors: 1, words: 2, wordErrors: 1 });
    const placed = await compareRows([row()], [{ key: "other", source: "a.pdf", page: 1, text: "one three" }]);
    expect(placed.wordErrorRate).toBe(0.5);
    expect((await compareRows([row({ text: "x" })], [{ key: row().key, text: "" }])).characterErrorRate).toBe(1);
    await expect(compareRows([row()], [{ key: "other", text: "" }])).rejects.toThrow(/no page in common/);
  });
});
