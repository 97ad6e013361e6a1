/**
 * The layout of a page in one shape, whatever engine it is from: regions in reading order, their lines and words, each
 * with its box. Engines that give boxes of regions only (vision models) or none (plain text) have their lines and words
 * laid out inside what is known, so that a search in a PDF or viewer leads near the place; such boxes are marked.
 */
import type { ResultRow } from "../dataset/index.js";
import { type Direction, directionOf, visualPlaces } from "./bidi.js";
import { plainOf, regionText } from "./plain.js";

/** Left, top, right, bottom in pixels of the page image, counted from its upper left corner. */
export type Box = readonly [number, number, number, number];

/** A word and where it stands. */
export interface Word {
  text: string;
  box: Box;
  /** 0 to 100; null where the engine has none. */
  confidence: number | null;
}

/** A line of words. */
export interface Line {
  text: string;
  box: Box;
  confidence: number | null;
  /** How the line is read; its words are in the order of reading, wherever they stand. */
  direction: Direction;
  words: readonly Word[];
  /** True where the engine gave no box of this line, so that it was laid out by length of text. */
  estimated: boolean;
  /** True where the boxes of the words were laid out by length of text, inside a line that the engine measured or not. */
  wordsEstimated: boolean;
}

/** A paragraph, heading, table, picture … */
export interface Region {
  /** As the engine names it: `Text`, `Title`, `Section-header`, `Table`, `Picture`, `Formula`, `Page-header` … */
  category: string;
  box: Box;
  /** True where the engine gave no box: it is the page then. */
  estimated: boolean;
  /** Without marks of Markdown and HTML. */
  text: string;
  direction: Direction;
  lines: readonly Line[];
}

/** A page as the formats with places need it. */
export interface PageLayout {
  /** Pixels of the image that was recognised. */
  width: number;
  height: number;
  /** In reading order. */
  regions: readonly Region[];
}

/** The layout of a row. `size` is that of the page image, for rows that don't say it. */
export function pageLayout(row: ResultRow, size: { width: number; height: number }): PageLayout {
  const width = row.width ?? size.width;
  const height = row.height ?? size.height;
  const page: Box = [0, 0, width, height];
  const cells = Array.isArray(row.layout) ? row.layout.flatMap((cell) => region(cell, page)) : [];
  const written = cells.some((r) => r.text !== "");
  const text = plainOf(row).trim();
  // A layout without words says where things are, not what is written: the text of the page stays whole beside it.
  if (!written && text !== "") cells.push(textRegion("Text", undefined, text, page));
  return { width, height, regions: cells };
}

function region(cell: unknown, page: Box): Region[] {
  if (typeof cell !== "object" || cell === null) return [];
  const { category, bbox, text, lines } = cell as Record<string, unknown>;
  const kind = typeof category === "string" && category !== "" ? category : "Text";
  const box = boxOf(bbox, page);
  const measured = Array.isArray(lines) ? lines.flatMap((line) => measuredLine(line, page)) : [];
  if (measured.length > 0)
    return [
      {
        category: kind,
        box: box ?? around(measured.map((l) => l.box)),
        estimated: false,
        text: typeof text === "string" && text.trim() !== "" ? text.trim() : measured.map((l) => l.text).join("\n"),
        direction: directionOf(measured.map((l) => l.text).join("\n")),
        lines: measured,
      },
    ];
  if (box === undefined && typeof text !== "string") return [];
  return [textRegion(kind, box, regionText(kind, typeof text === "string" ? text : ""), page)];
}

/** What an engine measured of a line; words without boxes are laid out along it. */
function measuredLine(line: unknown, page: Box): Line[] {
  if (typeof line !== "object" || line === null) return [];
  const { bbox, text, confidence, words } = line as Record<string, unknown>;
  const box = boxOf(bbox, page);
  if (box === undefined || typeof text !== "string" || text.trim() === "") return [];
  const own = Array.isArray(words)
    ? words.flatMap((word): Word[] => {
        const w = (typeof word === "object" && word !== null ? word : {}) as Record<string, unknown>;
        const at = boxOf(w.bbox, page);
        return at === undefined || typeof w.text !== "string" || w.text.trim() === ""
          ? []
          : [{ text: w.text.trim(), box: at, confidence: percent(w.confidence) }];
      })
    : [];
  // Words that don't make up the line would be found where it does not say them.
  const whole = own.map((w) => w.text).join(" ") === text.trim().replace(/\s+/g, " ");
  const direction = directionOf(text);
  return [
    {
      text: text.trim(),
      box,
      confidence: percent(confidence),
      direction,
      words: whole ? own : alongLine(text, box, direction),
      estimated: false,
      wordsEstimated: !whole,
    },
  ];
}

/** A region of which only the box and the text are known. */
function textRegion(category: string, known: Box | undefined, text: string, page: Box): Region {
  const box = known ?? page;
  // A page is not written up to its edges.
  const margin = known === undefined ? Math.round(Math.min(page[2], page[3]) * 0.06) : 0;
  const inner: Box = [box[0] + margin, box[1] + margin, box[2] - margin, box[3] - margin];
  // On a page of few words they are not as large as the page.
  const most = known === undefined ? (page[3] - page[1]) / 40 : Number.POSITIVE_INFINITY;
  return {
    category,
    box,
    estimated: known === undefined,
    text,
    direction: directionOf(text),
    lines: flow(text, inner, most),
  };
}

/** How wide a letter is against the distance of lines, in the mean of book faces set solid. */
const LETTER = 0.42;

/** Lays text out in a box: its own line breaks, and more where lines would be longer than the box is wide; no line is
 * higher than `highest`. Lines begin at the side from which their paragraph is read. */
function flow(text: string, box: Box, highest: number): Line[] {
  const given = text.split(/\n\s*\n/).flatMap((paragraph) => {
    const direction = directionOf(paragraph);
    const lines = paragraph.split("\n").map((line) => line.trim());
    return lines.filter((line) => line !== "").map((line) => ({ line, direction }));
  });
  if (given.length === 0) return [];
  const [left, top, right, bottom] = box;
  const [width, height] = [Math.max(1, right - left), Math.max(1, bottom - top)];
  const letters = given.reduce((n, { line }) => n + lettersOf(line), 0);
  // The pitch at which the letters just fill the box; never more lines than there are breaks and letters for.
  const pitch = Math.min(highest, height / given.length, Math.sqrt((width * height) / (Math.max(1, letters) * LETTER)));
  const perLine = Math.max(1, Math.floor(width / (pitch * LETTER)));
  const lines = given.flatMap(({ line, direction }) =>
    wrapped(line, perLine).map((part) => ({ line: part, direction })),
  );
  const step = Math.min(height / lines.length, highest);
  // A measured box is as wide as its longest line; a page is not.
  const longest = Math.max(
    ...lines.map(({ line }) => lettersOf(line)),
    highest < Number.POSITIVE_INFINITY ? perLine : 1,
  );
  return lines.map(({ line, direction }, i): Line => {
    const y = top + step * i;
    const long = (width * lettersOf(line)) / longest;
    const [from, to] = direction === "rtl" ? [right - long, right] : [left, left + long];
    const at: Box = [Math.round(from), Math.round(y), Math.round(to), Math.round(y + step)];
    return {
      text: line,
      box: at,
      confidence: null,
      direction,
      words: alongLine(line, at, direction),
      estimated: true,
      wordsEstimated: true,
    };
  });
}

function wrapped(line: string, perLine: number): string[] {
  const lines: string[] = [];
  let now = "";
  for (const word of line.split(/\s+/)) {
    if (now !== "" && lettersOf(now) + 1 + lettersOf(word) > perLine) {
      lines.push(now);
      now = word;
    } else now = now === "" ? word : `${now} ${word}`;
  }
  return [...lines, now];
}

/** Characters that take room on a line; vowel points and other marks stand over and under them. */
function lettersOf(text: string): number {
  return [...text.replace(/[\p{Mn}\p{Cf}]/gu, "")].length;
}

/** Words along a line in the order in which they stand there, each as wide as its share of the letters. */
function alongLine(text: string, box: Box, direction: Direction): Word[] {
  const words = text.trim().split(/\s+/);
  const letters = words.reduce((n, w) => n + lettersOf(w), words.length - 1);
  const unit = (box[2] - box[0]) / Math.max(1, letters);
  const boxes = new Array<Box>(words.length);
  let at = box[0];
  for (const index of standing(words, direction)) {
    const end = at + lettersOf(words[index] ?? "") * unit;
    boxes[index] = [Math.round(at), box[1], Math.round(end), box[3]];
    at = end + unit;
  }
  return words.map((word, i) => ({ text: word, box: boxes[i] ?? box, confidence: null }));
}

/** The words of a line from left to right, by their indices. */
function standing(words: readonly string[], direction: Direction): number[] {
  const places = visualPlaces(words.join(" "), direction);
  let from = 0;
  const middles = words.map((word) => {
    const own = places.slice(from, from + [...word].length);
    from += own.length + 1;
    // The parts of a word of two directions may stand apart; a box has one place.
    return own.reduce((sum, place) => sum + place, 0) / own.length;
  });
  return words.map((_, i) => i).sort((a, b) => (middles[a] ?? 0) - (middles[b] ?? 0));
}

/** A box from outside: four numbers, put in order and cut to the page; undefined where that leaves nothing. */
function boxOf(value: unknown, page: Box): Box | undefined {
  if (!Array.isArray(value) || value.length !== 4) return undefined;
  const numbers = value.map((v) => (typeof v === "number" && Number.isFinite(v) ? v : Number.NaN));
  if (numbers.some(Number.isNaN)) return undefined;
  const [a = 0, b = 0, c = 0, d = 0] = numbers;
  const cut = (v: number, end: number) => Math.round(Math.min(Math.max(v, 0), end));
  const box: Box = [
    cut(Math.min(a, c), page[2]),
    cut(Math.min(b, d), page[3]),
    cut(Math.max(a, c), page[2]),
    cut(Math.max(b, d), page[3]),
  ];
  return box[2] > box[0] && box[3] > box[1] ? box : undefined;
}

function around(boxes: readonly Box[]): Box {
  return [
    Math.min(...boxes.map((b) => b[0])),
    Math.min(...boxes.map((b) => b[1])),
    Math.max(...boxes.map((b) => b[2])),
    Math.max(...boxes.map((b) => b[3])),
  ];
}

/** Percent as a share with three places, as XML formats have confidence. */
export function share(percent: number): number {
  return Math.round(percent * 10) / 1000;
}

function percent(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? Math.min(100, Math.max(0, value)) : null;
}
