/** Results in the shapes in which vision models leave them, with all that makes a file invalid if it is let through. */
import type { ResultRow } from "../../kernel-lib/src/dataset/index.js";

type Cells = { category: string; bbox: number[] | null; text?: string }[];

const WIDE = [100, 200, 900, 400];

/** What a row says, by what is odd about it. */
const PAGES: { [name: string]: Partial<ResultRow> & { layout?: Cells | null } } = {
  "every category": {
    layout: [
      { category: "Page-header", bbox: [100, 20, 900, 60], text: "THE HEAD" },
      { category: "Title", bbox: [100, 100, 900, 200], text: "# The **Title** of it" },
      { category: "Section-header", bbox: [100, 210, 900, 240], text: "## A section" },
      { category: "Text", bbox: [100, 250, 900, 450], text: "Several words that fill more than one line of this box." },
      { category: "List-item", bbox: [100, 455, 900, 490], text: "- one\n- two" },
      { category: "Table", bbox: [100, 500, 900, 700], text: "<table><tr><td>a &amp; b</td><td>2</td></tr></table>" },
      { category: "Formula", bbox: [100, 750, 900, 800], text: "$$a < b \\& c$$" },
      { category: "Picture", bbox: [100, 850, 900, 1200] },
      { category: "Caption", bbox: [100, 1210, 900, 1240], text: "A caption" },
      { category: "Footnote", bbox: [100, 1250, 900, 1300], text: "1) A note" },
      { category: "Page-footer", bbox: [100, 1320, 900, 1380], text: "12" },
    ],
  },
  "no places": { text: "one two\n\nthree", markdown: "one **two**\n\nthree", layout: null },
  "a box is missing": { layout: [{ category: "Text", bbox: null, text: "without a place" }] },
  "boxes alone": { text: "one two", layout: [{ category: "Text", bbox: WIDE }] },
  "only a picture": { text: "", markdown: "![]()", layout: [{ category: "Picture", bbox: [0, 0, 1000, 1400] }] },
  "a picture with text": { layout: [{ category: "Picture", bbox: WIDE, text: "written in it" }] },
  "an empty table": { layout: [{ category: "Table", bbox: WIDE, text: "<table></table>" }] },
  "an unknown category": { layout: [{ category: "Tabelle ü & <x>", bbox: WIDE, text: "hi there" }] },
  "many words in a dot": { layout: [{ category: "Text", bbox: [10, 10, 11, 11], text: "more than fits in there" }] },
  "one long word": { layout: [{ category: "Text", bbox: WIDE, text: "x".repeat(3000) }] },
  "taken for blank": { text: "", markdown: "", layout: [], inferenceInfo: { blank: true } },
  "in error": { text: null, markdown: null, layout: null, error: 'cut: <b> & "x" \u0001' },
  "of unknown size": { text: "no size", layout: null, width: null, height: null },
  "of no size": { text: "no size", layout: null, width: 0, height: 0 },
  "right to left": { layout: [{ category: "Text", bbox: WIDE, text: "בשנת 1948 קמה המדינה (Israel) כאן" }] },
  "Chinese characters": { layout: [{ category: "Text", bbox: WIDE, text: "天地玄黃，宇宙洪荒。𠀋" }] },
  "of control characters": {
    layout: [{ category: "Text", bbox: WIDE, text: "a\u0000b \u0008c\u000b \ud800 \uffff \u0085 d" }],
  },
  "of HTML": {
    layout: [{ category: "Text", bbox: WIDE, text: '<b>bold</b> <script>x</script> ]]> --> "q" &amp; &x;' }],
  },
  "of an odd label": { text: "x", layout: null, label: { en: ["f. 12r & \u0001 'x' \"y\""] } },
  "of no provenance": { text: "x", layout: null, inferenceInfo: null },
};

/** A row for each, in two works with names that no file system and no address takes as they are. */
export const VISION_ROWS: readonly ResultRow[] = Object.entries(PAGES).map(
  ([name, more], i): ResultRow => ({
    key: `dir/${name} é#%?"<.png`,
    source: i % 2 === 0 ? "My böok: vol/1?.pdf" : "日本語 «2».pdf",
    page: i + 1,
    label: null,
    text: more.layout?.map((cell) => cell.text ?? "").join("\n\n") ?? null,
    markdown: null,
    error: null,
    confidence: null,
    seconds: 1,
    width: 1000,
    height: 1400,
    inferenceInfo: { model: "a/model", revision: "1", prompt: "layout-all" },
    ...more,
    layout: more.layout ?? null,
  }),
);
