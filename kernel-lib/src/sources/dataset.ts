/** A local `save_to_disk` folder of Hugging Face `datasets`, ours or Python's, or a Parquet file, as a source of pages. */
import { readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { openParquetFile, type ParquetFile } from "../dataset/parquet.js";
import { imageColumnsOf, readRows } from "../dataset/read.js";
import { UsageError } from "../errors.js";
import type { Inspection, PageOrFault, Source, SourceType } from "./index.js";
import { type DatasetRow, rowPages } from "./rows.js";

/** Source type `dataset`. */
export const dataset: SourceType = {
  kind: "dataset",
  options: {
    split: "split of a DatasetDict; default its first",
    column: "column that holds the images; default found",
  },
  async open(spec) {
    const { split, column } = spec.options ?? {};
    for (const [name, value] of Object.entries({ split, column }))
      if (value !== undefined && typeof value !== "string")
        throw new UsageError(`${name}: got ${JSON.stringify(value)}.`, "Give a name.");
    const columnName = column as string | undefined;
    if (await isParquet(spec.location)) {
      const file = await openParquetFile(spec.location);
      return new DatasetSource(spec.location, (o) => file.read(o), columnName ?? file.imageColumns[0], file);
    }
    const options = split === undefined ? {} : { split: split as string };
    const [found] = await imageColumnsOf(spec.location, options.split);
    return new DatasetSource(spec.location, () => readRows(spec.location, options), columnName ?? found);
  },
  async detect(location) {
    for (const file of ["state.json", "dataset_dict.json"])
      if (await stat(join(location, file)).catch(() => undefined)) return { score: 1, why: `it holds ${file}` };
    if (await isParquet(location)) return { score: 1, why: "it is a Parquet file" };
    return { score: 0, why: "it is no dataset folder and no Parquet file" };
  },
};

async function isParquet(location: string): Promise<boolean> {
  return /\.parquet$/i.test(location) && (await stat(location).catch(() => undefined))?.isFile() === true;
}

class DatasetSource implements Source {
  readonly kind = "dataset";
  readonly #location: string;
  readonly #rows: (options: { signal?: AbortSignal }) => AsyncIterable<DatasetRow>;
  readonly #column: string | undefined;
  readonly #parquet: ParquetFile | undefined;

  constructor(
    location: string,
    rows: (options: { signal?: AbortSignal }) => AsyncIterable<DatasetRow>,
    column: string | undefined,
    parquet?: ParquetFile,
  ) {
    this.#location = location;
    this.#rows = rows;
    this.#column = column;
    this.#parquet = parquet;
  }

  /** Known for Parquet and for our own datasets; Python's folders do not say. */
  async count(): Promise<number | undefined> {
    if (this.#parquet !== undefined) return this.#parquet.rows;
    const manifest = await readFile(join(this.#location, "yale-dataset.json"), "utf8").catch(() => undefined);
    return manifest === undefined ? undefined : (JSON.parse(manifest) as { pages: number }).pages;
  }

  async inspect(options: { signal?: AbortSignal } = {}): Promise<Inspection> {
    const found: Inspection = { kind: this.kind, pages: [], skipped: [] };
    for await (const item of this.pages(options)) {
      if ("fault" in item) found.skipped.push({ key: item.fault.key, reason: item.fault.reason });
      else found.pages.push({ key: item.key, width: item.width, height: item.height });
      if (found.pages.length + found.skipped.length >= 100) break;
    }
    const count = await this.count();
    return count === undefined ? found : { ...found, count };
  }

  async *pages(options: { signal?: AbortSignal } = {}): AsyncGenerator<PageOrFault> {
    yield* rowPages(this.#rows(options), {
      name: basename(this.#location),
      ...(this.#column === undefined ? {} : { column: this.#column }),
      ...options,
    });
  }
}
