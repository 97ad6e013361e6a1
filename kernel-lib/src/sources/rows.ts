/** Rows of a dataset as pages: which column holds the image, and what becomes of the others. Shared by `dataset` and `hf`. */
import { SourceError } from "../errors.js";
import type { Json } from "../protocol.js";
import { imagesOf, type LostImage, lostOf, type PageImage, pagesOfImages } from "./image-pages.js";
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
  let found = options.column;
  for await (const values of rows) {
    if (signal?.aborted) return;
    row += 1;
    const column = found ?? imageColumn(values);
    // The column of one row is that of all, once it has shown what it holds.
    if (column !== undefined && holdsImages(values[column])) found = column;
    if (column === undefined || !(column in values))
      throw new SourceError(
        `${name} has no column of images${options.column === undefined ? "" : ` called ${options.column}`}.`,
        `It has: ${Object.keys(values).join(", ")}. Name it with the option column.`,
      );
    const used = usedOf(values);
    const { key = `${name}#row=${row}`, source = name, page = row } = used;
    try {
      const images = await imagesIn(values[column], options);
      const label = used.label === undefined ? {} : { label: used.label };
      const metadata = rest(values, [column, ...Object.keys(used)]);
      yield* pagesOfImages(images, { key, source, page, ...label, metadata });
    } catch (error) {
      if (signal?.aborted) return;
      yield faultFrom(error, { key, source, page }, "Check the dataset.");
    }
  }
}

/** What of a row says where its page belongs. A column whose values are of another kind is the dataset's own. */
function usedOf(row: DatasetRow): { key?: string; source?: string; page?: number; label?: LanguageMap } {
  const { key, source, page } = row;
  const number = typeof page === "bigint" ? Number(page) : page;
  const label = labelOf(row.label);
  return {
    ...(typeof key === "string" && key !== "" ? { key } : {}),
    ...(typeof source === "string" ? { source } : {}),
    ...(typeof number === "number" && Number.isSafeInteger(number) ? { page: number } : {}),
    ...(label === undefined ? {} : { label }),
  };
}

/** The images of a row's value: one, or a list of them. Throws SourceError where there is none, DatasetError for a bad one. */
async function imagesIn(value: unknown, options: RowOptions): Promise<(PageImage | LostImage)[]> {
  if (Array.isArray(value)) {
    if (value.length === 0)
      throw new SourceError("The row's list of images is empty.", "Leave the row out, or add its image.");
    const found: (PageImage | LostImage)[] = [];
    for (const one of value) found.push(...(await imagesIn(one, options).catch((error: unknown) => [lostOf(error)])));
    return found;
  }
  const bytes = bytesIn(value) ?? (await options.fetch?.(pathIn(value) ?? "", options.signal));
  if (bytes === undefined)
    throw new SourceError(
      "The row holds only a path, not the image's bytes.",
      "Save the dataset with its images embedded.",
    );
  // Copied out of the batch: a page that is kept must not keep all pages of its batch.
  return (await imagesOf(bytes)).map((one) =>
    "image" in one && one.image === bytes ? { ...one, image: bytes.slice() } : one,
  );
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
  if (holdsImages(row.image)) return "image";
  const names = Object.keys(row);
  return (
    names.find((name) => holdsImages(row[name]) && !(row[name] instanceof Uint8Array)) ??
    names.find((name) => row[name] instanceof Uint8Array) ??
    ("image" in row ? "image" : undefined)
  );
}

/** Whether a value has the form of an image: its bytes, a struct of bytes and path, or a list of these. */
function holdsImages(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0 && value.every(holdsImages);
  if (value instanceof Uint8Array) return true;
  return typeof value === "object" && value !== null && "bytes" in value && "path" in value;
}

/** Our own datasets keep a label as the JSON text of its language map. */
function labelOf(value: unknown): LanguageMap | undefined {
  const map = objectOf(value);
  const texts = Object.values(map ?? {});
  return texts.every((t) => Array.isArray(t) && t.every((s) => typeof s === "string"))
    ? (map as LanguageMap | undefined)
    : undefined;
}

/** The other columns, kept as metadata; the metadata column of our own datasets is taken apart again. */
function rest(row: DatasetRow, used: readonly string[]): { [key: string]: Json } {
  const kept: { [key: string]: Json } = {};
  for (const [name, value] of Object.entries(row)) {
    if (used.includes(name) || value instanceof Uint8Array) continue;
    // Of the image as it is; a dataset's own of these names are more than numbers.
    if ((name === "width" || name === "height") && (typeof value === "number" || typeof value === "bigint")) continue;
    const own = name === "metadata" ? objectOf(value) : undefined;
    if (own !== undefined) Object.assign(kept, own);
    else kept[name] = json(value);
  }
  return kept;
}

/** The object that a JSON text holds; undefined for any other text. */
function objectOf(text: unknown): { [key: string]: Json } | undefined {
  if (typeof text !== "string" || !text.trimStart().startsWith("{")) return undefined;
  try {
    return JSON.parse(text) as { [key: string]: Json };
  } catch {
    return undefined;
  }
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
