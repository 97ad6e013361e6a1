/** How good the text of a page is likely to be, by what can be seen without knowing what it should be. */
import type { ResultRow } from "../dataset/index.js";
import { plainOf } from "../exports/plain.js";
import { type Dictionary, dictionaryFrom, dictionaryOf } from "./dictionary.js";

/** Figures of one page. */
export interface PageQuality {
  key: string;
  source: string;
  page: number;
  /** 0 (of no use) to 100; pages are looked at in this order. A blank page is as it should be. */
  score: number;
  characters: number;
  words: number;
  /** Of the engine in itself, 0 to 100; null where it has none. */
  confidence: number | null;
  /** Share (0 to 1) of the sequences of five words (twelve characters in scripts without spaces) that had stood on the page
   * before: models that get stuck repeat. */
  repetition: number;
  /** ISO 639-3; null where there is too little text to tell. */
  language: string | null;
  /** Share (0 to 1) of the words that a dictionary of the language has; null where there is no dictionary here. */
  dictionary: number | null;
  /** True where nothing was found on the page before the model was asked; a report shows these pages by themselves. */
  blank: boolean;
  /** What a person should look at, in words. */
  problems: string[];
}

/** How quality is measured. */
export interface QualityOptions {
  /** A list with a word a line or a Hunspell `.dic`, for all pages; default by language: built in for English, else the
   * system's. */
  dictionary?: string;
}

/** Letters without which no language can be told. */
const TOO_SHORT = 60;
/** Share of known words from which printed text needs no look; names and old spellings are always some. */
const KNOWN_WELL = 0.9;

/** Figures of each row, in the order of the rows. Throws UsageError for a dictionary that can't be read. */
export async function qualityOf(rows: readonly ResultRow[], options: QualityOptions = {}): Promise<PageQuality[]> {
  const { franc } = await import("franc-min");
  const own = options.dictionary === undefined ? undefined : await dictionaryFrom(options.dictionary);
  const told = rows.map((row) => {
    const text = plainOf(row);
    return (text.match(/\p{L}/gu)?.length ?? 0) < TOO_SHORT ? undefined : franc(text);
  });
  // Short pages are taken to be in the language of most others.
  const usual = most(told.filter((l) => l !== undefined && l !== "und"));
  const figures: PageQuality[] = [];
  for (const [i, row] of rows.entries()) {
    const guess = told[i];
    const language = guess === undefined || guess === "und" ? null : guess;
    const known = own ?? (await dictionaryOf(language ?? usual ?? ""));
    figures.push(pageQuality(row, language, known));
  }
  const usualWords = median(figures.filter((f) => f.words > 0).map((f) => f.words));
  for (const f of figures)
    if (f.words > 0 && f.words < usualWords / 5)
      f.problems.push(`few words: ${f.words}, where most pages have ${usualWords}`);
  return figures;
}

function pageQuality(row: ResultRow, language: string | null, known: Dictionary | undefined): PageQuality {
  const text = plainOf(row);
  // A word that was parted at the end of a line is one word.
  const words = text.replace(/[-\u00ad\u2010]\n/g, "").match(/\p{L}[\p{L}\p{M}'’]*/gu) ?? [];
  const repetition = repeated(text);
  const asked = words.filter((w) => w.length > 1);
  const dictionary =
    known === undefined || asked.length < 5
      ? null
      : round(asked.filter((w) => known(w.replaceAll("’", "'").replace(/'+$/, ""))).length / asked.length);
  const blank = isBlank(row);
  const problems: string[] = [];
  if (row.error !== null) problems.push(row.error);
  else if (text.trim() === "" && !blank) problems.push("no text was recognised");
  if (row.confidence !== null && row.confidence < 70)
    problems.push(`the engine is ${Math.round(row.confidence)} % sure`);
  if (repetition > 0.2) problems.push(`${Math.round(repetition * 100)} % of it is repeated`);
  if (dictionary !== null && dictionary < 0.7)
    problems.push(`${Math.round(dictionary * 100)} % of the words are known`);
  const empty = text.trim() === "" && row.error === null;
  const factors = [
    row.error === null ? 1 : 0,
    empty && !blank ? 0.1 : 1,
    empty ? 1 : (row.confidence ?? 100) / 100,
    dictionary === null ? 1 : Math.min(1, dictionary / KNOWN_WELL),
    1 - repetition,
  ];
  return {
    key: row.key,
    source: row.source,
    page: row.page,
    score: Math.round(100 * factors.reduce((a, b) => a * b, 1)),
    characters: [...text.trim()].length,
    words: words.length,
    confidence: row.confidence === null ? null : Math.round(row.confidence * 10) / 10,
    repetition,
    language,
    dictionary,
    blank: blank && empty,
    problems,
  };
}

/** True where the runner looked at the page before it asked the model, and found nothing on it. */
function isBlank(row: ResultRow): boolean {
  const info = row.inferenceInfo;
  return typeof info === "object" && info !== null && !Array.isArray(info) && info.blank === true;
}

/** Words whose sequence is looked for, and characters where nothing parts the words. */
const SEQUENCE = { words: 5, characters: 12 };
/** Characters of a piece between spaces from which it is no word of any language. */
const LONG = 20;
/** Scripts that are written without spaces between words. */
const UNSPACED =
  /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Bopomofo}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}\p{sc=Tibetan}]/gu;

function repeated(text: string): number {
  const words = text.toLowerCase().match(/\S+/g) ?? [];
  const characters = [...words.join("")];
  const unspaced = (text.match(UNSPACED)?.length ?? 0) / Math.max(1, text.match(/\p{L}/gu)?.length ?? 0);
  // A row of dots and a word that sticks to itself are found so, too.
  const single = unspaced > 0.5 || characters.length > LONG * words.length;
  const [units, long, between] = single ? [characters, SEQUENCE.characters, ""] : [words, SEQUENCE.words, " "];
  const seen = new Set<string>();
  let again = 0;
  const all = units.length - long + 1;
  // On a page of few words the same line twice is a title and its running head.
  if (all < 4 * long) return 0;
  for (let i = 0; i < all; i++) {
    const sequence = units.slice(i, i + long).join(between);
    if (seen.has(sequence)) again += 1;
    else seen.add(sequence);
  }
  return round(again / all);
}

function round(share: number): number {
  return Math.round(share * 1000) / 1000;
}

function most(values: readonly (string | undefined)[]): string | undefined {
  const counts = new Map<string, number>();
  for (const value of values) if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
