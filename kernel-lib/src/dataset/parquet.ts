/** Parquet files, local or behind ranges of an address, row group by row group. */
import type { AsyncBuffer, FileMetaData } from "hyparquet";
import { DatasetError, isYaleError } from "../errors.js";
import { decimalText } from "./decimal.js";
import { imageFeatures } from "./features.js";
import { unpackFramedLz4, unpackLz4 } from "./lz4.js";

/** A Parquet file that is open. */
export interface ParquetFile {
  rows: number;
  /** Columns that hold images, by the feature types that Hugging Face notes in the file. */
  imageColumns: string[];
  read(options?: { signal?: AbortSignal }): AsyncGenerator<Record<string, unknown>>;
}

/** Opens one; reads its footer only. Throws DatasetError for what is none, and what reading `file` throws. */
export async function openParquet(file: AsyncBuffer, name: string): Promise<ParquetFile> {
  const { parquetMetadataAsync, parquetReadObjects } = await import("hyparquet");
  let metadata: FileMetaData;
  try {
    metadata = await parquetMetadataAsync(file);
  } catch (cause) {
    // A file that could not be fetched may well be whole.
    if (isYaleError(cause)) throw cause;
    throw new DatasetError(`${name} is no whole Parquet file.`, "Get it again.", { cause });
  }
  return {
    rows: Number(metadata.num_rows),
    imageColumns: imageColumns(metadata),
    async *read(options = {}) {
      const { compressors: others } = await import("hyparquet-compressors");
      // Theirs takes a frame for a damaged block, and stumbles over one that ends without literals.
      const compressors = { ...others, LZ4: unpackFramedLz4, LZ4_RAW: unpackLz4 };
      const { metadata: plain, decimals } = undecoded(metadata);
      let start = 0;
      for (const group of metadata.row_groups) {
        if (options.signal?.aborted) return;
        const end = start + Number(group.num_rows);
        // Bytes that nobody marked as text are bytes; by default they would be decoded as UTF-8 and be ruined in silence.
        const rows = await parquetReadObjects({
          ...{ file, metadata: plain, rowStart: start, rowEnd: end },
          ...{ utf8: false, compressors },
        }).catch((cause: unknown) => {
          if (isYaleError(cause)) throw cause;
          throw new DatasetError(
            `${name} can't be read in its rows ${start + 1} to ${end}: ${(cause as Error).message}`,
            "It may be damaged, or of a kind that is not known here; get it again, or write it anew with Python's datasets.",
            { cause },
          );
        });
        for (const row of rows)
          for (const [column, of] of decimals) if (column in row) row[column] = decimalOf(row[column], of);
        for (const row of rows) yield row;
        start = end;
      }
    },
  };
}

/** Opens a local file. */
export async function openParquetFile(path: string): Promise<ParquetFile> {
  const { open } = await import("node:fs/promises");
  const { size } = await (await import("node:fs/promises")).stat(path);
  return openParquet(
    {
      byteLength: size,
      async slice(start, end = size) {
        const file = await open(path, "r");
        try {
          const from = start < 0 ? size + start : start;
          const buffer = new ArrayBuffer(Math.max(0, end - from));
          let at = 0;
          while (at < buffer.byteLength) {
            const { bytesRead } = await file.read(new Uint8Array(buffer, at), 0, buffer.byteLength - at, from + at);
            if (bytesRead === 0) break;
            at += bytesRead;
          }
          return buffer;
        } finally {
          await file.close();
        }
      },
    },
    path,
  );
}

function imageColumns(metadata: FileMetaData): string[] {
  const note = metadata.key_value_metadata?.find((k) => k.key === "huggingface")?.value;
  try {
    return imageFeatures((JSON.parse(note ?? "{}") as { info?: { features?: unknown } }).info?.features);
  } catch {
    return [];
  }
}

/** Decimals as what stores them, for {@link decimalText}: as numbers they would lose digits in silence. */
function undecoded(metadata: FileMetaData): { metadata: FileMetaData; decimals: Map<string, Decimal> } {
  const decimals = new Map<string, Decimal>();
  // Only columns of their own: inside structs and lists, numbers have to do.
  let skip = 0;
  const schema = metadata.schema.map((element, i) => {
    if (i === 0) return element;
    if (skip > 0) {
      skip += (element.num_children ?? 0) - 1;
      return element;
    }
    skip = element.num_children ?? 0;
    if (element.converted_type !== "DECIMAL" && element.logical_type?.type !== "DECIMAL") return element;
    decimals.set(element.name, { scale: element.scale ?? 0, type: element.type });
    const { converted_type: _, logical_type: __, ...plain } = element;
    return plain;
  });
  return { metadata: { ...metadata, schema }, decimals };
}

interface Decimal {
  scale: number;
  type: string | undefined;
}

/** A stored decimal, as number where that is exact, else as text; the same as rows of Arrow have. */
function decimalOf(stored: unknown, { scale }: Decimal): unknown {
  if (stored === null || stored === undefined) return stored;
  let whole = 0n;
  if (stored instanceof Uint8Array) {
    for (const byte of stored) whole = (whole << 8n) | BigInt(byte);
    whole = BigInt.asIntN(8 * stored.length, whole);
  } else whole = BigInt(stored as number | bigint);
  return decimalText(whole, scale);
}
