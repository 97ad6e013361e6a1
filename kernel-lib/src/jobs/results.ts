/** The results of a job as its caller sees them: rows of text, and page images that are read when they are looked at. */

import { join } from "node:path";
import { type ResultRow, readPage, readResults } from "../dataset/index.js";
import { INSPECT, type InspectRequest, inspectHook, resultsBundle, resultsText } from "../display/index.js";
import { cacheDir } from "../paths.js";
import type { JobRecord } from "../protocol.js";

/** Pages that a notebook shows by itself; more are one call of {@link Results.show} away. */
const SHOWN = 12;

/** Rows of a job's output, in the order of the pages. */
export class Results implements Iterable<ResultRow> {
  /** Local HF dataset folder with the rows: `load_from_disk` reads it. */
  readonly folder: string;
  /** False while the job still runs. */
  readonly complete: boolean;
  /** One row a page. */
  readonly rows: readonly ResultRow[];
  readonly #record: JobRecord | undefined;
  #bundle: Record<string, unknown> | undefined;

  private constructor(folder: string, complete: boolean, rows: readonly ResultRow[], record?: JobRecord) {
    this.folder = folder;
    this.complete = complete;
    this.rows = rows;
    this.#record = record;
  }

  /** Reads the rows of a dataset folder; `record` says where the page images are. Throws DatasetError. */
  static async open(folder: string, about: { complete?: boolean; record?: JobRecord } = {}): Promise<Results> {
    const rows: ResultRow[] = [];
    for await (const row of readResults(folder)) rows.push(row);
    rows.sort(byPage(rows));
    const results = new Results(folder, about.complete ?? true, rows, about.record);
    results.#bundle = await results.#make(0, SHOWN);
    return results;
  }

  /** Number of pages. */
  get length(): number {
    return this.rows.length;
  }
  /** Pages that ended in an error. */
  get errors(): ResultRow[] {
    return this.rows.filter((r) => r.error !== null);
  }
  /** The text of all pages, a form feed between two pages (as pdftotext does); pages in error are empty. */
  get text(): string {
    return this.rows.map((r) => r.text ?? "").join("\n\f");
  }
  /** Iterates over the rows. */
  [Symbol.iterator](): Iterator<ResultRow> {
    return this.rows[Symbol.iterator]();
  }

  /** The page image of a row, or undefined if the pages are not on this machine any more. */
  async image(row: ResultRow): Promise<{ bytes: Uint8Array; mime: string } | undefined> {
    const dataset = this.#record?.dataset?.hash;
    if (dataset === undefined) return undefined;
    const page = await readPage(join(cacheDir(), "datasets", dataset), row.key).catch(() => undefined);
    return page === undefined ? undefined : { bytes: page.image, mime: page.mime };
  }

  /** The display of some pages, image beside text: `display(await results.show(20, 30))`, or end the cell with it. */
  async show(from = 0, to: number = from + SHOWN): Promise<Results> {
    const part = new Results(this.folder, this.complete, this.rows.slice(from, to), this.#record);
    part.#bundle = await part.#make(0, to - from);
    return part;
  }

  async #make(from: number, to: number): Promise<Record<string, unknown>> {
    const shown = await Promise.all(
      this.rows.slice(from, to).map(async (row) => ({ row, image: await this.image(row) })),
    );
    return resultsBundle(shown, { total: this.rows.length, complete: this.complete });
  }

  /** In a notebook: page images beside their text; elsewhere the text. */
  [INSPECT](depth: number, options: InspectRequest["options"]): string {
    return inspectHook({ depth, options, text: resultsText(this.rows), bundle: () => this.#bundle ?? {} });
  }
}

/** Order of the pages: sources as they first appear, then the page number; runners finish pages in any order. */
function byPage(rows: readonly ResultRow[]): (a: ResultRow, b: ResultRow) => number {
  const order = new Map<string, number>();
  for (const source of [...new Set(rows.map((r) => r.source))].sort(natural)) order.set(source, order.size);
  return (a, b) => (order.get(a.source) ?? 0) - (order.get(b.source) ?? 0) || a.page - b.page;
}

const natural: (a: string, b: string) => number = new Intl.Collator("en", { numeric: true }).compare;
