/** Two texts of the same pages: how many characters and words differ. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ResultRow } from "../dataset/index.js";
import { UsageError } from "../errors.js";
import { plainOf } from "../exports/plain.js";

/** What is compared of one page. */
export interface PageComparison {
  key: string;
  source: string;
  page: number;
  /** The text that is measured, and the one that it is measured against; white space as single spaces. */
  text: string;
  reference: string;
  /** Characters (Unicode code points) of the reference. */
  characters: number;
  /** Insertions, deletions and substitutions that turn one into the other (Levenshtein's distance). */
  characterErrors: number;
  words: number;
  wordErrors: number;
  /** Errors by characters of the reference, and the same for words; 1 where the reference is empty and the text is not. */
  characterErrorRate: number;
  wordErrorRate: number;
}

/** Two texts of some pages. */
export interface Comparison {
  /** Pages that both have, in order. */
  pages: PageComparison[];
  /** Over all pages together: errors by the characters and words of the reference. */
  characterErrorRate: number;
  wordErrorRate: number;
  /** Keys of pages that only one of both has. */
  unpaired: string[];
}

/** A page to compare with. */
export interface ReferencePage {
  key?: string;
  source?: string;
  page?: number;
  text: string;
  /** As a row has them: by these, text that is Markdown is known for it, and its marks are no characters of the page. */
  markdown?: string | null;
  layout?: ResultRow["layout"];
}

/**
 * Compares rows with a reference. Pages are paired by key, else by source and page. Before counting, both are brought to
 * Unicode's composed form (NFC) and runs of white space to one space. Throws UsageError where no pages pair.
 */
export async function compareRows(
  rows: readonly ResultRow[],
  reference: readonly ReferencePage[],
): Promise<Comparison> {
  const byKey = new Map(reference.flatMap((page) => (page.key === undefined ? [] : [[page.key, page] as const])));
  const place = (page: { source?: string; page?: number }) => `${page.page}\n${page.source}`;
  const byPlace = new Map(reference.map((page) => [place(page), page]));
  const keyed = rows.some((row) => byKey.has(row.key));
  const pages: PageComparison[] = [];
  const unpaired: string[] = [];
  const used = new Set<ReferencePage>();
  for (const row of rows) {
    const other = keyed ? byKey.get(row.key) : byPlace.get(place(row));
    if (other === undefined) {
      unpaired.push(row.key);
      continue;
    }
    used.add(other);
    pages.push(await comparePage(row, plainOf({ markdown: null, layout: null, ...other })));
  }
  for (const page of reference) if (!used.has(page)) unpaired.push(page.key ?? place(page).replace("\n", " "));
  if (pages.length === 0)
    throw new UsageError(
      "The two have no page in common.",
      "Compare jobs of the same source, or a ground truth that is named as `yale jobs export --format text` names its files.",
    );
  const sum = (of: (page: PageComparison) => number) => pages.reduce((n, page) => n + of(page), 0);
  return {
    pages,
    characterErrorRate: rate(
      sum((p) => p.characterErrors),
      sum((p) => p.characters),
    ),
    wordErrorRate: rate(
      sum((p) => p.wordErrors),
      sum((p) => p.words),
    ),
    unpaired,
  };
}

async function comparePage(
  row: Pick<ResultRow, "key" | "source" | "page" | "text" | "markdown" | "layout">,
  other: string,
): Promise<PageComparison> {
  const { key, source, page } = row;
  const text = settled(plainOf(row));
  const reference = settled(other);
  const characters = [...reference].length;
  const words = wordsOf(reference).length;
  const characterErrors = await distance([...text], [...reference]);
  const wordErrors = await distance(wordsOf(text), wordsOf(reference));
  return {
    key,
    source,
    page,
    text,
    reference,
    characters,
    characterErrors,
    words,
    wordErrors,
    characterErrorRate: rate(characterErrors, characters),
    wordErrorRate: rate(wordErrors, words),
  };
}

function settled(text: string): string {
  return text.normalize("NFC").replace(/\s+/g, " ").trim();
}

function wordsOf(text: string): string[] {
  return text === "" ? [] : text.split(" ");
}

function rate(errors: number, of: number): number {
  return of === 0 ? (errors === 0 ? 0 : 1) : errors / of;
}

/** Levenshtein's distance of two sequences. */
async function distance(a: readonly string[], b: readonly string[]): Promise<number> {
  // The library compares UTF-16 units: each different item becomes one, outside the surrogates.
  const { distance: measured } = await import("fastest-levenshtein");
  const codes = new Map<string, string>();
  const coded = (items: readonly string[]) =>
    items
      .map((item) => {
        let code = codes.get(item);
        if (code === undefined) {
          const n = codes.size + 1;
          code = String.fromCharCode(n < 0xd800 ? n : n + 0x800);
          codes.set(item, code);
        }
        return code;
      })
      .join("");
  return measured(coded(a), coded(b));
}

/**
 * A ground truth from disk: a text file whose pages are parted by form feeds, a JSON Lines file with `text` and `key` (or
 * `source` and `page`), or a folder as `yale jobs export --format text` writes it: a file for each source, or a folder for
 * each source with a file for each page. `works` are those of the export, with its names. Throws UsageError.
 */
export async function readReference(
  path: string,
  rows: readonly ResultRow[],
  works: readonly { name: string; pages: readonly { name: string; row: ResultRow }[] }[],
): Promise<ReferencePage[]> {
  const there = await stat(path).catch(() => undefined);
  if (there === undefined)
    throw new UsageError(`There is no job and no file ${path}.`, "Give a job's id, a text file, or a folder.");
  if (!there.isDirectory()) {
    const content = await readFile(path, "utf8");
    return /\.(jsonl|ndjson)$/i.test(path) ? readLines(path, content) : pair(path, content, rows);
  }
  const found: ReferencePage[] = [];
  for (const work of works) {
    const whole = await readFile(join(path, `${work.name}.txt`), "utf8").catch(() => undefined);
    if (whole !== undefined) {
      found.push(
        ...pair(
          join(path, `${work.name}.txt`),
          whole,
          work.pages.map((page) => page.row),
        ),
      );
      continue;
    }
    // One work may lie there without a folder of its own.
    for (const folder of works.length === 1 ? [join(path, work.name), path] : [join(path, work.name)])
      for (const { name, row } of work.pages)
        for (const end of [".txt", ".gt.txt"]) {
          const text = await readFile(join(folder, `${name}${end}`), "utf8").catch(() => undefined);
          if (text !== undefined) found.push({ key: row.key, text });
        }
  }
  if (found.length === 0)
    throw new UsageError(
      `${path} has no text of these pages.`,
      `Expected there: ${works[0]?.name ?? "work"}.txt, or ${works[0]?.name ?? "work"}/0001.txt and so on.`,
    );
  return found;
}

function pair(path: string, content: string, rows: readonly ResultRow[]): ReferencePage[] {
  const parts = content.replace(/\f\s*$/, "").split("\f");
  if (parts.length !== rows.length)
    throw new UsageError(
      `${path} has ${parts.length} ${parts.length === 1 ? "page" : "pages"}, and the job ${rows.length}.`,
      "Part the pages with form feeds, as `pdftotext` and `yale jobs export --format text` do.",
    );
  return parts.map((text, i) => ({ key: rows[i]?.key ?? "", text }));
}

function readLines(path: string, content: string): ReferencePage[] {
  return content
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "")
    .map((line, i) => {
      let row: Partial<ResultRow> | null = null;
      try {
        row = JSON.parse(line) as Partial<ResultRow> | null;
      } catch {
        // Told below.
      }
      if (typeof row !== "object" || row === null)
        throw new UsageError(`${path}, line ${i + 1}: this is no JSON object.`, "Give one object a line.");
      return {
        ...(typeof row.key === "string" ? { key: row.key } : {}),
        ...(typeof row.source === "string" ? { source: row.source } : {}),
        ...(typeof row.page === "number" ? { page: row.page } : {}),
        text: typeof row.text === "string" ? row.text : "",
        ...(typeof row.markdown === "string" ? { markdown: row.markdown } : {}),
        ...(row.layout === undefined ? {} : { layout: row.layout }),
      };
    });
}
