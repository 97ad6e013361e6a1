/** Rows of a dataset as pages: which column holds the image, and what becomes of the others. Shared by `dataset` and `hf`. */
import { SourceError } from "../errors.js";
import { checkImage } from "../images.js";
import type { Json } from "../protocol.js";
import { faultFrom, type LanguageMap, type PageOrFault } from "./index.js";

/** Rows by column. */
export type DatasetRow = Record<string, unknown>;

/** What {@link rowPages} is given. */
export interface RowOptions {
  /** The dataset as a reader would cite it: beginning of keys, and `source` of rows that name none. */
  name: string;
  /** Column of the images; default: found. */
  column?: string;
  /** The bytes of an image of which the row holds only a path. Without it such a row is a fault. */
  fetch?: (path: string, signal?: AbortSignal) => Promise<Uint8Array>;
  signal?: AbortSignal;
}

/** Pages of rows, in order; a row without a whole image is a fault. Throws SourceError if no column holds images. */
export async function* rowPages(rows: AsyncIterable<DatasetRow>, options: RowOptions): AsyncGenerator<PageOrFault> {
  const { name, signal } = options;
  let row = 0;
  for await (const values of rows) {
    if (signal?.aborted) return;
    row += 1;
    const column = options.column ?? imageColumn(values);
    if (column === undefined || !(column in values))
      throw new SourceError(
        `${name} has no column of images${options.column === undefined ? "" : ` called ${options.column}`}.`,
        `It has: ${Object.keys(values).join(", ")}. Name it with the option column.`,
      );
    const key = typeof values.key === "string" ? values.key : `${name}#row=${row}`;
    const source = typeof values.source === "string" ? values.source : name;
    const number = typeof values.page === "bigint" ? Number(values.page) : values.page;
    const page = typeof number === "number" ? number : row;
    try {
      const value = values[column];
      const image = bytesIn(value) ?? (await options.fetch?.(pathIn(value) ?? "", signal));
      if (image === undefined)
        throw new SourceError(
          "The row holds only a path, not the image's bytes.",
          "Save the dataset with its images embedded.",
        );
      const info = await checkImage(image);
      const label = labelOf(values.label);
      yield {
        key,
        image: image.slice(),
        ...info,
        source,
        page,
        ...(label === undefined ? {} : { label }),
        metadata: rest(values, column),
      };
    } catch (error) {
      if (signal?.aborted) return;
      yield faultFrom(error, { key, source, page }, "Check the dataset.");
    }
  }
}

function bytesIn(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  const bytes = (value as { bytes?: unknown } | null)?.bytes;
  return bytes instanceof Uint8Array ? bytes : undefined;
}

function pathIn(value: unknown): string | undefined {
  const path = typeof value === "string" ? value : (value as { path?: unknown } | null)?.path;
  return typeof path === "string" ? path : undefined;
}

function imageColumn(row: DatasetRow): string | undefined {
  if ("image" in row) return "image";
  const names = Object.keys(row);
  return (
    names.find((name) => {
      const value = row[name];
      return typeof value === "object" && value !== null && "bytes" in value && "path" in value;
    }) ?? names.find((name) => row[name] instanceof Uint8Array)
  );
}

/** Our own datasets keep a label as the JSON text of its language map. */
function labelOf(value: unknown): LanguageMap | undefined {
  if (typeof value !== "string" || !value.startsWith("{")) return undefined;
  try {
    return JSON.parse(value) as LanguageMap;
  } catch {
    return undefined;
  }
}

/** The other columns, kept as metadata; the metadata column of our own datasets is taken apart again. */
function rest(row: DatasetRow, image: string): { [key: string]: Json } {
  const kept: { [key: string]: Json } = {};
  for (const [name, value] of Object.entries(row)) {
    if ([image, "key", "source", "page", "width", "height"].includes(name) || value instanceof Uint8Array) continue;
    if (name === "label" && labelOf(value) !== undefined) continue;
    if (name === "metadata" && typeof value === "string") {
      try {
        Object.assign(kept, JSON.parse(value));
        continue;
      } catch {
        // A column that merely has this name.
      }
    }
    kept[name] = json(value);
  }
  return kept;
}

/** Values of Arrow and Parquet as JSON: large numbers as texts, dates in ISO 8601, bytes left out. */
function json(value: unknown): Json {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  // One beyond the years that JavaScript knows has no text.
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) return null;
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number | bigint>, json);
  if (Array.isArray(value)) return value.map(json);
  if (typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, json(v)]));
  if (typeof value === "number" && !Number.isFinite(value)) return null;
  return value as Json;
}
