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
type Content = Iterable<Bytes> | AsyncIterable<Bytes> | Promise<Bytes>;

/** A format whose export is files of one kind. */
export interface FileFormat {
  /** End of the file names, without a dot. */
  extension: string;
  /** What a file can hold; the first is what it does unless told otherwise. */
  units: readonly Unit[];
  /** One line for help and documents. */
  about: string;
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
    about: "plain text, a form feed between two pages",
    write: (pages) => textOf(pages),
  },
  markdown: {
    extension: "md",
    units: ["work", "page", "job"],
    about: "Markdown, a comment before each page",
    write: (pages) => markdownOf(pages),
  },
  jsonl: {
    extension: "jsonl",
    units: ["job", "work"],
    about: "JSON Lines: all that is known of each page",
    write: (pages) => jsonlOf(pages),
  },
  csv: {
    extension: "csv",
    units: ["job", "work"],
    about: "CSV, one row a page",
    write: (pages) => csvOf(pages),
  },
  xlsx: {
    extension: "xlsx",
    units: ["job", "work"],
    about: "Excel, one row a page",
    write: (pages) => xlsxOf(pages),
  },
  parquet: {
    extension: "parquet",
    units: ["job", "work"],
    about: "Parquet, one row a page, as Python's datasets reads it",
    write: (pages) => parquetOf(pages),
  },
  alto: {
    extension: "xml",
    units: ["page"],
    about: "ALTO XML 4.4: words with their places",
    write: (pages) => altoOf(only(pages)),
  },
  hocr: {
    extension: "hocr",
    units: ["work", "page", "job"],
    about: "hOCR 1.2: words with their places, as a web page",
    write: (pages, title) => hocrOf(title, pages),
  },
  page: {
    extension: "xml",
    units: ["page"],
    about: "PAGE XML 2019-07-15: regions, lines and words with their places",
    write: (pages) => pageXmlOf(only(pages)),
  },
  pdf: {
    extension: "pdf",
    units: ["work", "page", "job"],
    about: "PDF that can be searched: page images with the text unseen over them",
    write: (pages, title) => pdfOf({ title, pages }, `Yale Jobs ${packageVersion()}`),
  },
  tei: {
    extension: "xml",
    units: ["work"],
    about: "TEI P5 to begin an edition with",
    write: (pages, title) => teiOf({ title, source: pages[0]?.row.source ?? "", pages }),
  },
};

/** All formats with one line about each. */
export const FORMATS: Readonly<Record<ExportFormat, string>> = {
  ...(Object.fromEntries(Object.entries(FILE_FORMATS).map(([name, { about }]) => [name, about])) as Record<
    keyof typeof FILE_FORMATS,
    string
  >),
  dataset: "the Hugging Face dataset itself, as load_from_disk reads it",
  annotations: "IIIF manifest and annotation pages: text over the canvases in a viewer",
  images: "the page images, byte for byte",
};
