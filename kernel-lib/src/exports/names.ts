/** Names of the formats, for help that is shown without loading them. Imports nothing. */

/** Formats that results are exported to. */
export const FORMAT_LIST = [
  "text",
  "markdown",
  "jsonl",
  "csv",
  "xlsx",
  "parquet",
  "dataset",
  "alto",
  "hocr",
  "page",
  "pdf",
  "annotations",
  "tei",
  "images",
] as const;

/** Name of a format. */
export type ExportFormat = (typeof FORMAT_LIST)[number];

/** The names as help shows them. */
export const FORMAT_NAMES: string = FORMAT_LIST.join(", ");
