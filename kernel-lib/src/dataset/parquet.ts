/** Parquet files, local or behind ranges of an address, row group by row group. */
import type { AsyncBuffer, FileMetaData } from "hyparquet";
import { DatasetError, YaleError } from "../errors.js";

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
    if (cause instanceof YaleError) throw cause;
    throw new DatasetError(`${name} is no whole Parquet file.`, "Get it again.", { cause });
  }
  return {
    rows: Number(metadata.num_rows),
    imageColumns: imageColumns(metadata),
    async *read(options = {}) {
      const { compressors } = await import("hyparquet-compressors");
      let start = 0;
      for (const group of metadata.row_groups) {
        if (options.signal?.aborted) return;
        const end = start + Number(group.num_rows);
        // Bytes that nobody marked as text are bytes; by default they would be decoded as UTF-8 and be ruined in silence.
        const rows = await parquetReadObjects({
          file,
          metadata,
          rowStart: start,
          rowEnd: end,
          utf8: false,
          compressors,
        });
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
    const features = (JSON.parse(note ?? "{}") as { info?: { features?: Record<string, { _type?: string }> } }).info
      ?.features;
    return Object.entries(features ?? {})
      .filter(([, f]) => f?._type === "Image")
      .map(([name]) => name);
  } catch {
    return [];
  }
}
