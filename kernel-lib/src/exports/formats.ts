/** The formats by name: what a file of each holds, and who writes it. */
import { packageVersion } from "../paths.js";
import { altoOf } from "./alto.js";
import { hocrOf } from "./hocr.js";
import type { ExportFormat } from "./names.js";
import { pageXmlOf } from "./page-xml.js";
import type { ExportPage } from "./pages.js";
import { parquetOf } from "./parquet.js";
import { pdfOf } from "./pdf.js";
import { csvOf, jsonlOf, xlsxOf } from "./tables.js";
import { teiOf } from "./tei.js";
import { markdownOf, textOf } from "./text.js";

/** What one file of an export holds: a page, the pages of one source, or all pages of the job. */
export type Unit = "page" | "work" | "job";

type Bytes = string | Uint8Array;

/** What a file is written of, piece by piece. */
export type Content = Iterable<Bytes> | AsyncIterable<Bytes> | Promise<Bytes>;

/** A format whose export is files of one kind. */
export interface FileFormat {
  /** End of the file names, without a dot. */
  extension: string;
  /** What a file can hold; the first is what it does unless told otherwise. */
  units: readonly Unit[];
  write(pages: readonly ExportPage[], title: string): Content;
}

/** One page; {@link FileFormat.units} has nothing but pages then. */
function only(pages: readonly ExportPage[]): ExportPage {
  const [page] = pages;
  if (page === undefined) throw new Error("A file of one page was asked for without a page.");
  return page;
}

/** Formats of files. */
export const FILE_FORMATS: Readonly<Record<Exclude<ExportFormat, "dataset" | "annotations" | "images">, FileFormat>> = {
  text: {
    extension: "txt",
    units: ["work", "page", "job"],
    write: (pages) => textOf(pages),
  },
  markdown: {
    extension: "md",
    units: ["work", "page", "job"],
    write: (pages) => markdownOf(pages),
  },
  jsonl: {
    extension: "jsonl",
    units: ["job", "work"],
    write: (pages) => jsonlOf(pages),
  },
  csv: {
    extension: "csv",
    units: ["job", "work"],
    write: (pages) => csvOf(pages),
  },
  xlsx: {
    extension: "xlsx",
    units: ["job", "work"],
    write: (pages) => xlsxOf(pages),
  },
  parquet: {
    extension: "parquet",
    units: ["job", "work"],
    write: (pages) => parquetOf(pages),
  },
  alto: {
    extension: "xml",
    units: ["page"],
    write: (pages) => altoOf(only(pages)),
  },
  hocr: {
    extension: "hocr",
    units: ["work", "page", "job"],
    write: (pages, title) => hocrOf(title, pages),
  },
  page: {
    extension: "xml",
    units: ["page"],
    write: (pages) => pageXmlOf(only(pages)),
  },
  pdf: {
    extension: "pdf",
    units: ["work", "page", "job"],
    write: (pages, title) => pdfOf({ title, pages }, `Yale Jobs ${packageVersion()}`),
  },
  tei: {
    extension: "xml",
    units: ["work"],
    write: (pages, title) => teiOf({ title, source: pages[0]?.row.source ?? "", pages }),
  },
};
