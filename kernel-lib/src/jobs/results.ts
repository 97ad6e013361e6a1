/** The results of a job as its caller sees them: rows of text, and page images that are read when they are looked at. */

import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type ResultRow, readPage, readPages, readResults, readRows } from "../dataset/index.js";
import { INSPECT, type InspectRequest, inspectHook, resultsBundle, resultsText } from "../display/index.js";
import type { Exported, ExportFormat, ExportOptions, PageContext, PageImage } from "../exports/index.js";
import type { Pushed, PushOptions } from "../hub/push.js";
import { cacheDir } from "../paths.js";
import type { JobRecord, Json } from "../protocol.js";
import type { Comparison, PageQuality, QualityOptions, ReferencePage } from "../quality/index.js";
import type { Page } from "../sources/index.js";

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
  #metadata: Promise<Metadata> | undefined;
  #bundle: Record<string, unknown> | undefined;

  private constructor(folder: string, complete: boolean, rows: readonly ResultRow[], record?: JobRecord) {
    this.folder = folder;
    this.complete = complete;
    this.rows = rows;
    this.#record = record;
  }

  /** Reads the rows of a dataset folder; `record` says where the page images are, and `shown: false` spares the display
   * of a notebook. Throws DatasetError. */
  static async open(
    folder: string,
    about: { complete?: boolean; record?: JobRecord; shown?: boolean } = {},
  ): Promise<Results> {
    const rows: ResultRow[] = [];
    for await (const row of readResults(folder)) rows.push(row);
    rows.sort(byPage(rows));
    const results = new Results(folder, about.complete ?? true, rows, about.record);
    if (about.shown !== false) results.#bundle = await results.#make(0, SHOWN);
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
  async image(row: ResultRow): Promise<PageImage | undefined> {
    const folder = this.#pages;
    if (folder === undefined) return undefined;
    return imageOf(await readPage(folder, row.key).catch(() => undefined));
  }

  /**
   * Writes the results as files that other programs take: `await results.export("alto", "folder")`, or by the end of a
   * file's name `await results.export("book.pdf")`. Nothing that is there already is overwritten unless `force` says so.
   * Throws UsageError.
   */
  async export(target: string, options?: ExportOptions): Promise<Exported>;
  /** The same with the format by its name; `target` is a folder then, or a file with the format's own end. */
  async export(format: ExportFormat, target: string, options?: ExportOptions): Promise<Exported>;
  async export(first: string, second?: string | ExportOptions, third?: ExportOptions): Promise<Exported> {
    const { exportRows } = await import("../exports/index.js");
    const named = typeof second === "string";
    const [format, target, options] = named ? [first as ExportFormat, second, third] : [undefined, first, second];
    return this.#withContext((context) => exportRows(this.rows, context, this.folder, format, target, options));
  }

  /**
   * Pushes the rows, with the page images, to a dataset on the Hugging Face Hub: `await results.pushToHub("ab123/letters")`.
   * Private unless you say otherwise; the token is that of `HF_TOKEN` or `hf auth login`. Throws UsageError, LoginError
   * (no token, or refused), ConnectionError and TransferError; pushed again, it sends only what did not arrive.
   */
  async pushToHub(repo: string, options: PushOptions = {}): Promise<Pushed> {
    const { pushRows } = await import("../hub/push.js");
    return this.#withContext((context) => pushRows(this.rows, context, repo, options));
  }

  /**
   * How good each page is likely to be, in the order of the pages: the engine's own confidence, repetition, language, words
   * that a dictionary knows, and a score to sort by. Throws UsageError for a dictionary that can't be read.
   */
  async quality(options: QualityOptions = {}): Promise<PageQuality[]> {
    const { qualityOf } = await import("../quality/index.js");
    return qualityOf(this.rows, options);
  }

  /** Writes a web page with the figures of {@link quality} and the worst pages first, picture beside text. */
  async report(file: string, options: QualityOptions = {}): Promise<void> {
    const { qualityReport } = await import("../quality/index.js");
    const figures = await this.quality(options);
    await writeFile(file, await qualityReport(this.#name, this.rows, figures, (row) => this.image(row)));
  }

  /**
   * Compares these pages with those of another run, or with a ground truth: a text file with form feeds between pages, a
   * JSON Lines file with `key` and `text`, or a folder as `export("text", folder)` writes it. The other is the reference:
   * rates are by its characters and words. `report` names a web page to write, both texts side by side. Throws UsageError
   * where no pages pair.
   */
  async compare(other: Results | string, options: { report?: string } = {}): Promise<Comparison> {
    const { comparisonReport, compareRows, readReference } = await import("../quality/index.js");
    let reference: ReferencePage[];
    if (typeof other === "string") {
      const { worksOf } = await import("../exports/index.js");
      reference = await this.#withContext((context) => readReference(other, this.rows, worksOf(this.rows, context)));
    } else reference = other.rows.map((row) => ({ ...row, text: row.text ?? "" }));
    const comparison = await compareRows(this.rows, reference);
    if (options.report !== undefined) {
      const against = typeof other === "string" ? basename(other) : (other.#record?.spec.name ?? "another run");
      const title = `${this.#name} against ${against}`;
      await writeFile(options.report, await comparisonReport(title, comparison));
    }
    return comparison;
  }

  get #name(): string {
    return this.#record?.spec.name ?? basename(this.folder);
  }

  /** Folder of the dataset that was recognised, on this machine. */
  get #pages(): string | undefined {
    const dataset = this.#record?.dataset?.hash;
    return dataset === undefined ? undefined : join(cacheDir(), "datasets", dataset);
  }

  /** Does `work` with what is known of the pages beside the rows. */
  async #withContext<T>(work: (context: PageContext) => Promise<T>): Promise<T> {
    const folder = this.#pages;
    // To read two columns all of the dataset passes by: once for all exports of these results.
    this.#metadata ??= metadataOf(folder);
    const known = await this.#metadata;
    const reader = folder === undefined ? undefined : new PageReader(folder);
    try {
      return await work({
        metadata: (key) => known.get(key) ?? {},
        image: async (row) => imageOf(await reader?.page(row.key).catch(() => undefined)),
      });
    } finally {
      await reader?.close();
    }
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

/** Metadata of the sources by page key. */
type Metadata = ReadonlyMap<string, { [key: string]: Json }>;

async function metadataOf(folder: string | undefined): Promise<Metadata> {
  const known = new Map<string, { [key: string]: Json }>();
  if (folder === undefined) return known;
  try {
    for await (const row of readRows(folder, { columns: ["key", "metadata"] }))
      if (typeof row.metadata === "string") known.set(String(row.key), JSON.parse(row.metadata));
  } catch {
    // The pages are gone, or another program's: the rows alone are exported.
  }
  return known;
}

/** A page's image as exports take it; undefined where the page is gone. */
function imageOf(page: Page | undefined): PageImage | undefined {
  if (page === undefined || page.image.length === 0) return undefined;
  return { bytes: page.image, mime: page.mime, width: page.width, height: page.height };
}

/** Pages by key for callers that mostly ask in the dataset's order: then the files are read once, from start to end. */
class PageReader {
  readonly #folder: string;
  #pages: AsyncGenerator<Page> | undefined;
  /** Read, and not asked for yet. */
  #ahead: Page | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async page(key: string): Promise<Page | undefined> {
    this.#pages ??= readPages(this.#folder);
    this.#ahead ??= (await this.#pages.next()).value ?? undefined;
    if (this.#ahead?.key !== key) return readPage(this.#folder, key);
    const page = this.#ahead;
    this.#ahead = undefined;
    return page;
  }

  async close(): Promise<void> {
    await this.#pages?.return(undefined);
  }
}

/** Order of the pages: sources as they first appear, then the page number; runners finish pages in any order. */
function byPage(rows: readonly ResultRow[]): (a: ResultRow, b: ResultRow) => number {
  const order = new Map<string, number>();
  for (const source of [...new Set(rows.map((r) => r.source))].sort(natural)) order.set(source, order.size);
  return (a, b) => (order.get(a.source) ?? 0) - (order.get(b.source) ?? 0) || a.page - b.page;
}

const natural: (a: string, b: string) => number = new Intl.Collator("en", { numeric: true }).compare;
