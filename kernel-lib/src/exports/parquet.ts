/** Parquet with the features that Python's `datasets` reads, with page images or without. */
import type { SchemaElement } from "hyparquet";
import { RESULT_FEATURES } from "../dataset/features.js";
import type { ExportPage, PageImage } from "./pages.js";

const { inference_info, ...others } = RESULT_FEATURES;
/** Columns of the results, and the source's metadata as JSON. */
const COLUMNS = { ...others, metadata: "string", inference_info } as const;

/** The features in the form in which `datasets` keeps them, in a file's metadata and in a dataset card. */
export function features(withImages: boolean): Record<string, { dtype?: string; _type: string }> {
  return {
    ...(withImages ? { image: { _type: "Image" } } : {}),
    ...Object.fromEntries(Object.entries(COLUMNS).map(([name, dtype]) => [name, { dtype, _type: "Value" }])),
  };
}

/** Rows of one group: as many as a reader of the Hub's pages asks for at once. */
const GROUP = 100;

/** A Parquet file without images. */
export async function parquetOf(pages: readonly ExportPage[]): Promise<Uint8Array> {
  const { parquetWriteBuffer } = await import("hyparquet-writer");
  return new Uint8Array(parquetWriteBuffer(contentOf(pages)));
}

/** Writes a Parquet file to disk; `images` are those of `pages`, in order. Without them there is no such column. */
export async function writeParquet(
  filename: string,
  pages: readonly ExportPage[],
  images?: readonly (PageImage | undefined)[],
): Promise<void> {
  const { parquetWriteFile } = await import("hyparquet-writer");
  parquetWriteFile({ ...contentOf(pages, images), filename });
}

/** Types of Parquet; every column may be empty. */
const TYPES = {
  string: { type: "BYTE_ARRAY", converted_type: "UTF8" },
  int64: { type: "INT64" },
  float64: { type: "DOUBLE" },
} as const;

function contentOf(pages: readonly ExportPage[], images?: readonly (PageImage | undefined)[]) {
  const rows = pages.map(({ row, metadata }): Record<keyof typeof COLUMNS, string | number | null> => {
    const { inferenceInfo, ...same } = row;
    return {
      ...same,
      label: row.label === null ? null : JSON.stringify(row.label),
      layout: row.layout === null ? null : JSON.stringify(row.layout),
      metadata: JSON.stringify(metadata),
      inference_info: inferenceInfo === null ? null : JSON.stringify(inferenceInfo),
    };
  });
  const columns = Object.entries(COLUMNS);
  const optional = { repetition_type: "OPTIONAL" } as const;
  const schema: SchemaElement[] = [
    { name: "root", num_children: columns.length + (images === undefined ? 0 : 1) },
    ...(images === undefined
      ? []
      : // As Arrow's struct of `bytes` and `path`, which is what `datasets` knows an image by.
        [
          { name: "image", num_children: 2, ...optional },
          { name: "bytes", type: "BYTE_ARRAY" as const, ...optional },
          { name: "path", ...TYPES.string, ...optional },
        ]),
    ...columns.map(([name, dtype]) => ({ name, ...TYPES[dtype], ...optional })),
  ];
  return {
    schema,
    columnData: [
      ...(images === undefined
        ? []
        : [
            {
              name: "image",
              // Pictures are compressed already, and each is another.
              codec: "UNCOMPRESSED" as const,
              data: images.map((i) => (i === undefined ? null : { bytes: i.bytes, path: null })),
            },
          ]),
      ...columns.map(([name, dtype]) => ({
        name,
        data: rows.map((row) => {
          const value = row[name as keyof typeof COLUMNS];
          return dtype === "int64" && value !== null ? BigInt(Math.round(Number(value))) : value;
        }),
      })),
    ],
    rowGroupSize: GROUP,
    statistics: false,
    kvMetadata: [{ key: "huggingface", value: JSON.stringify({ info: { features: features(images !== undefined) } }) }],
  };
}
