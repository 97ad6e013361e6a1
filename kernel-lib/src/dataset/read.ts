/**
 * Rows back out of HF `save_to_disk` folders: ours, and those that Python wrote. Record batch by record batch, so that
 * a folder of any size is read in bounded memory.
 */
import { open, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { DataType, RecordBatch, Vector } from "apache-arrow";
import { DatasetError } from "../errors.js";
import { sniff } from "../images.js";
import type { Json } from "../protocol.js";
import type { LanguageMap, Page } from "../sources/index.js";
import { arrow } from "./arrow.js";
import { decimalText } from "./decimal.js";
import { imageFeatures } from "./features.js";
import { type Found, findInFile } from "./find.js";

/** One page as a runner left it. */
export interface ResultRow {
  key: string;
  source: string;
  page: number;
  label: LanguageMap | null;
  /** Null where the page ended in an error. */
  text: string | null;
  markdown: string | null;
  /** Boxes, categories and texts, as the engine gives them. */
  layout: Json;
  /** Why there is no text, in words; null for a page that went well. */
  error: string | null;
  /** 0 to 100, where the engine has one. */
  confidence: number | null;
  seconds: number | null;
  width: number | null;
  height: number | null;
  /** Model, revision, prompt, versions: enough to repeat it. */
  inferenceInfo: Json;
}

/** Shards of a dataset folder in order. A DatasetDict's folder stands for its split (`split`, or its first). */
export async function shardFiles(folder: string, split?: string): Promise<string[]> {
  const dict = await readFile(join(folder, "dataset_dict.json"), "utf8").catch(() => undefined);
  if (dict !== undefined) {
    const { splits } = JSON.parse(dict) as { splits: string[] };
    const chosen = split ?? splits[0];
    if (chosen === undefined || !splits.includes(chosen))
      throw new DatasetError(`${folder} has no split ${JSON.stringify(split)}.`, `It has: ${splits.join(", ")}.`);
    return shardFiles(join(folder, basename(chosen)));
  }
  try {
    const state = JSON.parse(await readFile(join(folder, "state.json"), "utf8")) as {
      _data_files: { filename: string }[];
    };
    // A foreign state.json can name anything: only files of this very folder and its shards are read.
    return state._data_files.map(({ filename }) => {
      const shard = /^(shard-\d{1,5})\/[^/]+$/.exec(filename)?.[1];
      return join(folder, shard ?? "", basename(filename));
    });
  } catch (cause) {
    const there = await stat(folder).catch(() => undefined);
    throw new DatasetError(
      there === undefined
        ? `There is no folder ${folder}.`
        : `${folder} is no dataset folder: it has no readable state.json.`,
      "Give a folder that `save_to_disk` wrote.",
      { cause },
    );
  }
}

/** Columns of images by the folder's own features, best first; empty where it notes none. Throws as {@link shardFiles}. */
export async function imageColumnsOf(folder: string, split?: string): Promise<string[]> {
  const [first] = await shardFiles(folder, split);
  if (first === undefined) return [];
  const info = await readFile(join(dirname(first), "dataset_info.json"), "utf8").catch(() => "{}");
  const features = featuresIn(info);
  if (features !== undefined) return imageFeatures(features);
  const a = await arrow();
  const stream = (await open(first, "r").catch(() => undefined))?.createReadStream();
  if (stream === undefined) return [];
  try {
    const reader = await a.RecordBatchReader.from(stream);
    await reader.open();
    return imageFeatures(featuresIn(reader.schema.metadata.get("huggingface") ?? "{}"));
  } catch {
    // Reading the rows says in words what is wrong with it.
    return [];
  } finally {
    stream.destroy();
  }
}

function featuresIn(text: string): unknown {
  try {
    const { features, info } = JSON.parse(text) as { features?: unknown; info?: { features?: unknown } };
    return features ?? info?.features ?? undefined;
  } catch {
    return undefined;
  }
}

/** Which rows of a dataset are read. */
export interface ReadOptions {
  /** Default: all columns. */
  columns?: readonly string[];
  split?: string;
  /** The first row and the one after the last, counted from 0; rows outside are passed over undecoded. */
  from?: number;
  to?: number;
  /** Only these shards, from the first to before the second; `from` and `to` count from their first row. Default: all. */
  shards?: readonly [from: number, to: number];
}

/** Record batches of a dataset folder, shard by shard. */
async function* readBatches(
  folder: string,
  { split, shards }: Pick<ReadOptions, "split" | "shards"> = {},
): AsyncGenerator<RecordBatch> {
  const a = await arrow();
  for (const file of (await shardFiles(folder, split)).slice(shards?.[0], shards?.[1])) {
    // Opened first: arrow takes a stream that breaks before its first byte for an empty one.
    const handle = await open(file, "r").catch((cause: unknown) => {
      throw new DatasetError(`${file} can't be read: ${(cause as Error).message}`, "It belongs to the dataset.", {
        cause,
      });
    });
    const stream = handle.createReadStream({ highWaterMark: 1 << 20 });
    try {
      yield* await a.RecordBatchReader.from(stream);
    } catch (cause) {
      if (cause instanceof DatasetError) throw cause;
      throw new DatasetError(
        `${file} can't be read: ${(cause as Error).message}`,
        "It may be damaged or only half written.",
        { cause },
      );
    } finally {
      stream.destroy();
    }
  }
}

/**
 * Rows of a dataset folder as plain objects: int64 and decimals as number where that is exact, else as text; dates and
 * times of a day in a year as Date, to the millisecond; times of day and durations as counts of their unit; structs and
 * lists as JSON-like values.
 */
export async function* readRows(folder: string, options: ReadOptions = {}): AsyncGenerator<Record<string, unknown>> {
  const a = await arrow();
  const { from = 0, to = Number.POSITIVE_INFINITY } = options;
  /** Rows before the present batch. */
  let before = 0;
  for await (const batch of readBatches(folder, options)) {
    const columns = columnsOf(batch, options.columns);
    for (let i = Math.max(0, from - before); i < Math.min(batch.numRows, to - before); i++) yield rowAt(columns, i, a);
    before += batch.numRows;
    if (before >= to) return;
  }
}

/** The row with that key, or undefined. Only the keys of the others are looked at. */
async function findRow(folder: string, key: string): Promise<Record<string, unknown> | undefined> {
  const a = await arrow();
  for (const path of await shardFiles(folder)) {
    const found = await findInShard(path, key);
    if (found === "unsure") return scanForRow(folder, key);
    if (found !== undefined) return rowAt(columnsOf(found.batch), found.row, a);
  }
  return undefined;
}

async function findInShard(path: string, key: string): Promise<Found | "unsure" | undefined> {
  const file = await open(path, "r").catch((cause: unknown) => {
    throw new DatasetError(`${path} can't be read: ${(cause as Error).message}`, "It belongs to the dataset.", {
      cause,
    });
  });
  try {
    return await findInFile(file, key);
  } catch {
    // Read from the start it is damaged too, and then that is said in words.
    return "unsure";
  } finally {
    await file.close();
  }
}

/** The same for files of any layout, from the start. */
async function scanForRow(folder: string, key: string): Promise<Record<string, unknown> | undefined> {
  const a = await arrow();
  for await (const batch of readBatches(folder)) {
    const keys = batch.getChild("key");
    for (let i = 0; i < batch.numRows; i++) if (keys?.get(i) === key) return rowAt(columnsOf(batch), i, a);
  }
  return undefined;
}

type Columns = readonly (readonly [string, Vector | null])[];

function columnsOf(batch: RecordBatch, wanted?: readonly string[]): Columns {
  const names = batch.schema.fields.map((f) => String(f.name));
  return names
    .filter((n) => wanted === undefined || wanted.includes(n))
    .map((name) => [name, batch.getChild(name)] as const);
}

function rowAt(columns: Columns, i: number, a: typeof import("apache-arrow")): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  for (const [name, vector] of columns) row[name] = plain(vector?.get(i), vector?.type, a);
  return row;
}

/** Arrow's values as ordinary ones; `type` tells what the numbers of dates and decimals mean. */
function plain(value: unknown, type: DataType | undefined, a: typeof import("apache-arrow")): unknown {
  if (value === null || value === undefined) return null;
  const { DataType } = a;
  if (DataType.isDictionary(type)) return plain(value, type.dictionary, a);
  // Milliseconds, with a fraction where the unit is finer.
  if (DataType.isDate(type) || DataType.isTimestamp(type)) return new Date(Number(value));
  if (DataType.isDecimal(type)) return decimal(value as Uint32Array, type.scale);
  if (typeof value === "bigint")
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value);
  if (typeof value !== "object" || value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return [...(value as unknown as Iterable<unknown>)].map((v) => plain(v, undefined, a));
  if (value instanceof a.Vector) return [...value].map((v) => plain(v, value.type, a));
  // Struct rows are proxies that deny having anything but their fields; they give themselves up as JSON.
  if (value instanceof a.StructRow || value instanceof a.MapRow) {
    const fields = DataType.isMap(type) ? undefined : type?.children;
    const typeOf = (name: string) =>
      fields === undefined ? type?.children[0]?.type.children[1]?.type : fields.find((f) => f.name === name)?.type;
    return Object.fromEntries(Object.entries(value.toJSON()).map(([k, v]) => [k, plain(v, typeOf(k), a)]));
  }
  return value;
}

/** A decimal from its words of 32 bits, the lowest first, in two's complement; as text where a number would not be exact. */
function decimal(words: Uint32Array, scale: number): number | string {
  let whole = 0n;
  for (let i = words.length - 1; i >= 0; i--) whole = (whole << 32n) | BigInt(words[i] ?? 0);
  whole = BigInt.asIntN(32 * words.length, whole);
  return decimalText(whole, scale);
}

function bytesOf(image: unknown): Uint8Array | undefined {
  if (image instanceof Uint8Array) return image;
  const bytes = (image as { bytes?: unknown } | null)?.bytes;
  return bytes instanceof Uint8Array ? bytes : undefined;
}

function json(text: unknown): Json {
  if (typeof text !== "string" || text === "") return null;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** Pages of a dataset that {@link writeDataset} wrote, images and all. */
export async function* readPages(folder: string): AsyncGenerator<Page> {
  for await (const row of readRows(folder)) yield pageOf(row);
}

function pageOf(row: Record<string, unknown>): Page {
  const image = bytesOf(row.image) ?? new Uint8Array(0);
  const label = json(row.label);
  return {
    key: text(row.key) ?? "",
    // Copied out of the batch: a page that is kept must not keep all pages of its batch.
    image: image.slice(),
    mime: sniff(image)?.mime ?? "application/octet-stream",
    width: number(row.width) ?? 0,
    height: number(row.height) ?? 0,
    source: text(row.source) ?? "",
    page: number(row.page) ?? 0,
    ...(label === null ? {} : { label: label as LanguageMap }),
    metadata: (json(row.metadata) ?? {}) as { [key: string]: Json },
  };
}

/** The page with that key, or undefined. */
export async function readPage(folder: string, key: string): Promise<Page | undefined> {
  const row = await findRow(folder, key);
  return row === undefined ? undefined : pageOf(row);
}

/** The pages with those keys, in the dataset's order, in one pass over the files. */
export async function readPagesByKey(folder: string, keys: readonly string[]): Promise<Page[]> {
  const wanted = new Set(keys);
  const found: Page[] = [];
  if (wanted.size === 0) return found;
  for await (const row of readRows(folder)) {
    if (!wanted.delete(text(row.key) ?? "")) continue;
    found.push(pageOf(row));
    if (wanted.size === 0) break;
  }
  return found;
}

/** Rows of a runner's output, as they are by now. */
export async function* readResults(folder: string): AsyncGenerator<ResultRow> {
  for await (const row of readRows(folder)) yield resultOf(row);
}

/** The result of the page with that key, or undefined. */
export async function readResult(folder: string, key: string): Promise<ResultRow | undefined> {
  const row = await findRow(folder, key);
  return row === undefined ? undefined : resultOf(row);
}

function resultOf(row: Record<string, unknown>): ResultRow {
  return {
    key: text(row.key) ?? "",
    source: text(row.source) ?? "",
    page: number(row.page) ?? 0,
    label: json(row.label) as LanguageMap | null,
    text: text(row.text),
    markdown: text(row.markdown),
    layout: json(row.layout),
    error: text(row.error),
    confidence: number(row.confidence),
    seconds: number(row.seconds),
    width: number(row.width),
    height: number(row.height),
    inferenceInfo: json(row.inference_info),
  };
}
