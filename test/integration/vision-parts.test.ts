import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { python, ROOT } from "../support/sandbox.js";

type Cases = Record<string, Record<string, unknown>>;
let cases: Cases;
beforeAll(() => {
  const out = execFileSync(python(), ["-B", join(ROOT, "test", "python", "vision_cases.py")], { encoding: "utf8" });
  cases = JSON.parse(out) as Cases;
});

describe("pages as a model wants them", () => {
  it("have sides that are multiples of its factor, within its limits", () => {
    expect(cases.fit).toEqual({
      within: [2492, 3500],
      large: [2884, 3864],
      small: [56, 56],
      longest: [1089, 1540],
      sliver: "BadImage: The page is 10 × 4000 pixels: too narrow for the model.",
    });
    expect(2884 * 3864).toBeLessThanOrEqual(11_289_600);
  });

  it("are upright, opaque and whole, of whatever kind", () => {
    const jpeg = "data:image/jpeg;base64,";
    expect(cases.prepare).toEqual({
      upright: [280, 560, 280, 560, false, jpeg],
      clear: [280, 280, 280, 280, true, ""],
      gray16: [280, 280, 280, 280, false, jpeg],
      palette: [560, 280, 560, 280, false, jpeg],
      bitonal: [560, 280, 560, 280, false, jpeg],
      broken: expect.stringMatching(/^BadImage: The image can't be read: /),
      none: "BadImage: The page has no image.",
    });
  });

  it("are blank with grain, shadow, dust and the other side shining through, and not with anything that is written", () => {
    const blank = cases.blank as Record<string, boolean>;
    const without = ["white", "scan", "noise", "gutter", "other side", "dust", "edge"];
    expect(blank).toEqual(Object.fromEntries(Object.keys(blank).map((name) => [name, without.includes(name)])));
    expect(Object.keys(blank)).toHaveLength(16);
  });
});

describe("answers of a model", () => {
  it("loop, or have rows that only look so", () => {
    expect(cases.loop).toEqual({
      words: " again and",
      cells: null,
      "many cells": true,
      dots: null,
      "endless dots": ".",
      refrain: null,
      prose: null,
    });
  });

  it("are cut or empty, and lose the fence around all of them and no other", () => {
    expect(cases.check).toEqual({
      good: "text",
      cut: "Fault: cut: the answer did not end within 100 tokens (maxTokens, maxModelLen)",
      empty: "Fault: empty: the model gave no text for a page that is not blank",
      fence: "# A\n\ntext",
      "inner fence": "```\na\n```\n\n```\nb\n```",
    });
  });
});

describe("repetition", () => {
  it("is refused, and what real pages repeat is not", () => {
    const loop = (what: string) => `Fault: repetition: the model ${what}`;
    expect(cases.repeats).toEqual({
      noughts: "as it is",
      "wide noughts": "as it is",
      "do.": "as it is",
      ditto: "as it is",
      "do. without end": loop('repeated " do." to no end'),
      words: loop('repeated " the cat sat on the mat" to no end'),
      sentence: expect.stringContaining("Fault: repetition"),
      "inside a cell": loop('repeated " the cat sat on the mat" to no end'),
      "rows of a cell": expect.stringContaining("Fault: repetition"),
      "ledger in a cell": "0\n0",
      cells: loop("gave one and the same cell 5 times and more"),
      "cells without boxes": expect.stringContaining("Fault: repetition"),
      twice: ["a\n\n7", "a\n\n7", [box, box]],
    });
  });
});

/** Of [1,1,20,30] on a page that is sent at half its size. */
const box = [2, 2, 40, 60];

describe("layouts of DoTS.ocr", () => {
  it("lose no text, and are refused where there is none", () => {
    const none = "Fault: empty: the model found nothing on a page that is not blank";
    const a = ["a", "a", [box]];
    expect(cases.lost).toEqual({
      "no cells": none,
      fence: none,
      "no object": none,
      "no layout": none,
      "no text": "Fault: empty: the model gave no text for a page that is not blank",
      picture: ["", "![Picture](#xywh=2,2,38,58)", [box]],
      lines: ["a\nb", "a\nb", [box]],
      number: ["12", "12", [box]],
      "box in a string": a,
      "box of strings": a,
      "words before": a,
      "fence without end": a,
      "fence inside": ["use ``` here", "use ``` here", [box]],
      "words after": a,
      "two lists": ["a\n\n2", "a\n\n2", [box, box]],
      "small letters": ["On Bees", "## On Bees\n\n![Picture](#xywh=2,2,38,58)", [box, box]],
    });
  });

  it("have formulas in dollars, whatever they came in", () => {
    const display = (text: string) => `$$\n${text}\n$$`;
    expect(cases.formula).toEqual({
      bare: display("x^2"),
      dollars: display("x^2"),
      dollar: display("x^2"),
      brackets: display("x^2"),
      round: display("x^2"),
      price: display("\\text{cost \\$5}"),
      "line break": display("a \\\\[2pt] b"),
      mixed: "where $x$ is $y$",
      two: "\\(x\\) and \\(y\\)",
    });
  });

  it("become Markdown in reading order, text, and boxes in the page's own pixels", () => {
    const { layout, markdown, text } = cases.layout as { layout: object[]; markdown: string; text: string };
    expect(layout[0]).toEqual({ category: "Page-header", bbox: [20, 20, 1000, 60], text: "THE HISTORY" });
    expect(layout[8]).toEqual({ category: "Picture", bbox: [200, 1600, 1800, 2400] });
    // Beyond the edge, nonsense, and without a surface.
    expect(layout.slice(-3)).toMatchObject([{ bbox: [20, 2900, 2000, 3000] }, { bbox: null }, { bbox: null }]);
    expect(markdown).toBe(`# Of *Bees*

## I. The Queen

They **fly**
far.

- wax
- honey

$$
x\\frac{1}{2} + \\nu
$$

<table><tr><th>Year</th><td>A &amp; B</td></tr><tr><td>1801<br>bis</td><td></td></tr></table>

![Picture](#xywh=200,1600,1600,800)

Fig. 1

beyond the edge

no box`);
    expect(text.split("\n\n")).toEqual([
      "THE HISTORY",
      "Of Bees",
      "I. The Queen",
      "They fly\nfar.",
      "- wax",
      "- honey",
      "x\\frac{1}{2} + \\nu",
      "Year\tA & B\n1801 bis",
      "Fig. 1",
      "beyond the edge",
      "no box",
      "17",
    ]);
  });

  it("are mended where nothing is lost by it, and refused otherwise", () => {
    const a = { category: "Text", text: "a" };
    const b = { category: "Text", text: "b" };
    const whole = { ...a, bbox: [1, 2, 3, 4] };
    expect(cases.read).toEqual({
      plain: [[whole], false],
      object: [[{ category: "Text", bbox: [1, 2, 3, 4] }], false],
      one: [[whole], false],
      fence: [[a], true],
      latex: [[{ category: "Formula", text: "\\alpha \\{x\\}" }], true],
      "line break": [[{ category: "Text", text: "two\nlines" }], true],
      "no end": [[a, b], true],
      "no comma": [[a, b], true],
      cut: "Fault: unparsable: the layout is no JSON after 1 cells",
      words: "Fault: unparsable: the layout is no JSON after 0 cells",
      number: "Fault: unparsable: the layout is no list of cells",
    });
  });
});

describe("answers of the siblings", () => {
  it("are text below olmOCR's head, which tells a page on its side", () => {
    expect(cases.front).toEqual({
      good: { text: "A letter\n\nDear Sir", info: { language: "en" } },
      empty: { text: "", info: {} },
      turned: "Fault: rotated: the model sees the page turned; turn it by 90 degrees",
      none: "Fault: unparsable: the answer has no head between --- lines",
    });
  });

  it("are blocks of DeepSeek-OCR with boxes in the page's own pixels", () => {
    expect(cases.grounded).toEqual({
      good: {
        layout: [
          { category: "Page-header", bbox: [200, 30, 400, 60], text: "17" },
          { category: "Title", bbox: [200, 300, 1800, 450], text: "# On Bees" },
          { category: "Picture", bbox: [0, 1502, 2000, 3000] },
          { category: "Caption", bbox: null, text: "A hive" },
          { category: "Table", bbox: [2, 3, 4, 6], text: "<table><tr><td>1</td><td>2</td></tr></table>" },
        ],
        markdown:
          "# On Bees\n\n![Picture](#xywh=0,1502,2000,1498)\n\nA hive\n\n<table><tr><td>1</td><td>2</td></tr></table>",
        text: "17\n\nOn Bees\n\nA hive\n\n1\t2",
      },
      none: "Fault: unparsable: the answer has no boxes",
    });
  });
});

describe("Markdown as plain text", () => {
  it("is what is written on the page", () => {
    expect(Object.values(cases.plain ?? {})).toEqual([
      "Of Bees\n\nThey fly far and not as_is_.",
      "Name ______ Date ____ (____) or (____)",
      "init and foo__init__bar, snake_case_name",
      "5 * 3, 2 * 4\n*Note: a\nName: ____",
      "* item one\n* item two*",
      "*not* _this_, [sic]",
      "where \\theta is x^2, $5 and $6, US$5 (US$)",
      "a + b",
      "Year\tSum\n1801\t2\n\na | b",
      "a b\tc & d",
      "bees [sic](1871) https://a.b",
      "9/22 COPY A hive J. S.",
      "a < b & x2\nH2O <unclear>",
      "said\nhe\n\n______",
      "**as it is**",
    ]);
    expect(cases.json).toBe('{"__a__": "*b*"}');
  });
});

it("each GPU has a server of its own, unless the model needs more of them", () => {
  expect(cases.gpus).toEqual({
    named: ["0", "GPU-aa"],
    none: [],
    "for one": [1, 1, 2, 4, 2, 1],
    shares: [[["0"], ["1"], ["2"]], [["0", "1"]], [["0", "1", "2"]], [[]]],
  });
});

it("a server is started with what was asked for, on its GPUs, and without its key", () => {
  const { serve, pixels, limits } = cases.options as { serve: string[]; pixels: object; limits: string };
  expect(serve.join(" ")).toBe(
    'some/model --served-model-name model --max-model-len 32768 --gpu-memory-utilization 0.9 --limit-mm-per-prompt {"image": 1} --max-num-seqs 32 --no-enable-prefix-caching --mm-processor-cache-gb 0 --tensor-parallel-size 2 --chat-template-content-format string --trust-remote-code',
  );
  expect(pixels).toEqual({ min_pixels: 3136, max_pixels: 1_000_000, factor: 28, longest: null });
  expect(limits).toBe("Refused: minPixels (20000) is above maxPixels (10000).");
});
