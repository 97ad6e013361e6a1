/**
 * PDF files: one, a glob's, or a folder's. Full-page scans pass through as the scanner's own bytes; every other page is
 * rendered by pdf.js in worker threads, in order, a few pages ahead. A file that can't be read is one fault.
 */
import { open, readFile } from "node:fs/promises";
import { errorData, SourceError, UsageError } from "../errors.js";
import { noteHash } from "../images.js";
import type { Fault, Json, SourceSpec } from "../protocol.js";
import { type SourceFile, sourceFiles } from "./files.js";
import {
  faultFrom,
  type Inspection,
  type PageOrFault,
  type PagesOptions,
  type Source,
  type SourceType,
} from "./index.js";
import { type PdfInfo, PdfPool } from "./pdf-pool.js";

const OPTIONS = {
  dpi: "resolution at which pages are rendered; default 200",
  pages: 'pages to take, such as "1-3,7" or "5-"; default all',
  password: "for encrypted files",
  recursive: "look into folders of the folder; default true",
  passthrough: "take full-page JPEG scans as they are; default true",
} as const;

interface PdfOptions {
  dpi: number;
  pages?: PageRanges;
  password?: string;
  recursive: boolean;
  passthrough: boolean;
}

/** Source type `pdf`. */
export const pdf: SourceType = {
  kind: "pdf",
  options: OPTIONS,
  async open(spec) {
    const options = checkOptions(spec);
    const files = await sourceFiles(spec.location, "*.pdf", options.recursive);
    if (files.length === 0)
      throw new SourceError(`There are no PDF files in ${spec.location}.`, "Check the path, or use recursive.");
    return new PdfSource(files, options);
  },
  async detect(location) {
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(location)) return { score: 0, why: "an address on the web" };
    const files = await sourceFiles(location, "*.pdf", true).catch(() => []);
    if (files.length === 0) return { score: 0, why: "no PDF files there" };
    const [first] = files;
    if (files.length === 1 && first !== undefined) {
      if (await beginsAsPdf(first.path)) return { score: 1, why: "it begins with %PDF" };
      return /\.pdf$/i.test(first.path) ? { score: 0.6, why: "it is called .pdf" } : { score: 0, why: "it is no PDF" };
    }
    const named = files.filter((f) => /\.pdf$/i.test(f.name)).length;
    return named === 0 ? { score: 0, why: "no PDF files there" } : { score: 0.9, why: `it holds ${named} PDF files` };
  },
};

function checkOptions(spec: SourceSpec): PdfOptions {
  const o = spec.options ?? {};
  const dpi = o.dpi ?? 200;
  if (typeof dpi !== "number" || !(dpi >= 36 && dpi <= 1200))
    throw new UsageError(`dpi: got ${JSON.stringify(dpi)}.`, "Allowed: a number from 36 to 1200.");
  const flag = (name: "recursive" | "passthrough") => {
    const value = o[name] ?? true;
    if (typeof value !== "boolean")
      throw new UsageError(`${name}: got ${JSON.stringify(value)}.`, "Allowed: true, false.");
    return value;
  };
  if (o.password !== undefined && typeof o.password !== "string") throw new UsageError("password: it must be a text.");
  const pages = o.pages === undefined ? undefined : pageRanges(o.pages);
  return {
    dpi,
    recursive: flag("recursive"),
    passthrough: flag("passthrough"),
    ...(pages === undefined ? {} : { pages }),
    ...(o.password === undefined ? {} : { password: o.password }),
  };
}

/** First and last page of each, counted from 1. */
type PageRanges = readonly (readonly [number, number])[];

/** `"1-3,7,10-"` as ranges. Throws UsageError. */
function pageRanges(value: Json): PageRanges {
  const refuse = () =>
    new UsageError(`pages: got ${JSON.stringify(value)}.`, 'Allowed: numbers and ranges from 1, such as "1-3,7,10-".');
  if (typeof value === "number" && Number.isInteger(value) && value >= 1) return [[value, value]];
  if (typeof value !== "string") throw refuse();
  return value.split(",").map((part) => {
    const m = /^\s*(\d+)?\s*(-)?\s*(\d+)?\s*$/.exec(part);
    if (m === null || (m[1] === undefined && m[3] === undefined) || (m[2] === undefined && m[3] !== undefined))
      throw refuse();
    const from = Number(m[1] ?? "1");
    const to = m[2] === undefined ? from : Number(m[3] ?? Number.POSITIVE_INFINITY);
    if (from < 1 || to < from) throw refuse();
    return [from, to] as const;
  });
}

/** What of the ranges is beyond the last page, in their words; an open range asks for nothing that must be there. */
function beyond(ranges: PageRanges, pages: number): string[] {
  return ranges.flatMap(([from, to]) => {
    const first = Math.max(from, pages + 1);
    if (first > to || (to === Number.POSITIVE_INFINITY && from <= pages)) return [];
    return to === Number.POSITIVE_INFINITY ? [`${first}-`] : [first === to ? `${first}` : `${first}-${to}`];
  });
}

async function beginsAsPdf(path: string): Promise<boolean> {
  const file = await open(path, "r");
  try {
    // Readers accept some rubbish before the header (ISO 32000-1, implementation note 13: within 1024 bytes).
    const { buffer, bytesRead } = await file.read(Buffer.alloc(1024), 0, 1024, 0);
    return buffer.subarray(0, bytesRead).includes("%PDF-");
  } finally {
    await file.close();
  }
}

class PdfSource implements Source {
  readonly kind = "pdf";
  readonly #files: readonly SourceFile[];
  readonly #options: PdfOptions;

  constructor(files: readonly SourceFile[], options: PdfOptions) {
    this.#files = files;
    this.#options = options;
  }

  /** Files are opened to count their pages, so only a handful are counted. */
  async count(): Promise<number | undefined> {
    if (this.#files.length > 20) return undefined;
    const pool = new PdfPool(1);
    try {
      let sum = 0;
      for (const file of this.#files) {
        const info = await this.#info(pool, file).catch(() => undefined);
        if (info !== undefined) sum += this.#wanted(info).filter((page) => !info.lost.includes(page)).length;
      }
      return sum;
    } finally {
      await pool.close();
    }
  }

  #wanted(info: PdfInfo): number[] {
    const all = Array.from({ length: info.pages }, (_, i) => i + 1);
    const ranges = this.#options.pages;
    return ranges === undefined ? all : all.filter((page) => ranges.some(([from, to]) => page >= from && page <= to));
  }

  /**
   * A fault for pages that were asked for and that a file does not have; of several files each gives those that it has,
   * and one that has none says so. Throws SourceError where there is one file, and not one of its pages was asked for.
   */
  #missing(file: SourceFile, info: PdfInfo): { fault: Fault } | undefined {
    const missing = beyond(this.#options.pages ?? [], info.pages);
    const isNone = this.#wanted(info).length === 0;
    const isOnly = this.#files.length === 1;
    if (missing.length === 0 || !(isNone || isOnly)) return undefined;
    const error = new SourceError(
      `${file.name} has no page ${missing.join(", ")}.`,
      `It has ${info.pages}: give numbers from 1 to ${info.pages} with the source's option pages.`,
    );
    if (isNone && isOnly) throw error;
    return faultFrom(error, { key: file.name, source: file.name }, "");
  }

  async #info(pool: PdfPool, file: SourceFile): Promise<PdfInfo> {
    return pool.open(file.path, this.#options.password);
  }

  async inspect(): Promise<Inspection> {
    const pool = new PdfPool(1);
    const found: Inspection = { kind: this.kind, count: 0, pages: [], skipped: [] };
    try {
      for (const file of this.#files)
        try {
          await expectPdf(file.path);
          const info = await this.#info(pool, file);
          if (info.pages === 0) throw new SourceError(NO_PAGES);
          const missing = this.#missing(file, info);
          if (missing !== undefined) found.skipped.push({ key: missing.fault.key, reason: missing.fault.reason });
          for (const page of this.#wanted(info)) {
            if (info.lost.includes(page)) {
              found.skipped.push({ key: keyOf(file, page), reason: NOT_THERE });
              continue;
            }
            found.count = (found.count ?? 0) + 1;
            const label = info.labels?.[page - 1];
            if (found.pages.length < 1000) found.pages.push({ key: keyOf(file, page), ...(label ? { label } : {}) });
          }
        } catch (error) {
          found.skipped.push({ key: file.name, reason: errorData(error).what });
        }
      return found;
    } finally {
      await pool.close();
    }
  }

  async *pages(options: PagesOptions = {}): AsyncGenerator<PageOrFault> {
    const pool = new PdfPool();
    try {
      for (const file of this.#files) {
        if (options.signal?.aborted) return;
        yield* this.#file(pool, file, options);
      }
    } finally {
      await pool.close();
    }
  }

  async *#file(pool: PdfPool, file: SourceFile, { signal, have }: PagesOptions): AsyncGenerator<PageOrFault> {
    const place = { key: file.name, source: file.name };
    let info: PdfInfo;
    try {
      await expectPdf(file.path);
      info = await this.#info(pool, file);
      if (info.pages === 0) throw new SourceError(NO_PAGES, "Check how it was made.");
    } catch (error) {
      yield faultFrom(error, place, "Open it in a PDF viewer; save it again if it shows its pages.");
      return;
    }
    const missing = this.#missing(file, info);
    if (missing !== undefined) yield missing;
    const { dpi, passthrough, password } = this.#options;
    const wanted = this.#wanted(info);
    const gone = new Set(info.lost);
    let lost = 0;
    let next = 0;
    // A few pages ahead, so that every worker has work while the consumer takes the first.
    const ahead: { page: number; result: ReturnType<PdfPool["page"]> }[] = [];
    const spared = { image: new Uint8Array(0), sha256: "", mime: "image/png", width: 0, height: 0, metadata: {} };
    while (next < wanted.length || ahead.length > 0) {
      if (signal?.aborted) return;
      while (ahead.length < pool.size + 1 && next < wanted.length) {
        const page = wanted[next++] ?? 0;
        const result =
          have?.(keyOf(file, page)) === true
            ? Promise.resolve(spared)
            : gone.has(page)
              ? Promise.reject(new SourceError(NOT_THERE))
              : pool.page(file.path, {
                  page,
                  of: info.pages,
                  dpi,
                  passthrough,
                  ...(password === undefined ? {} : { password }),
                  ...(info.appendix === undefined ? {} : { appendix: info.appendix }),
                });
        result.catch(() => undefined);
        ahead.push({ page, result });
      }
      const first = ahead.shift();
      if (first === undefined) break;
      const { page } = first;
      try {
        const made = await first.result;
        noteHash(made.image, made.sha256);
        const label = info.labels?.[page - 1];
        yield {
          key: keyOf(file, page),
          image: made.image,
          mime: made.mime,
          width: made.width,
          height: made.height,
          source: file.name,
          page,
          ...(label ? { label: { none: [label] } } : {}),
          metadata: { ...info.metadata, ...made.metadata },
        };
      } catch (error) {
        if (info.truncated) lost += 1;
        else
          yield {
            fault: {
              key: keyOf(file, page),
              source: file.name,
              page,
              reason: errorData(error).what,
              fix: "Look at the page in a PDF viewer.",
            },
          };
      }
    }
    // A cut file is one fault, with whatever could be saved of it before the cut.
    if (info.truncated)
      yield {
        fault: {
          ...place,
          reason: cutOff(info, wanted.length, lost),
          fix: "Get it again from where it came.",
        },
      };
  }
}

const NO_PAGES = "The PDF has no pages.";
const NOT_THERE = "The page is not there: the PDF is damaged where it should be.";

function cutOff(info: PdfInfo, wanted: number, lost: number): string {
  if (info.appendix !== undefined) {
    const found = wanted - lost;
    const rest = lost === 0 ? "" : `, and ${lost} that could not be read`;
    return `The file is cut off: ${found} ${found === 1 ? "page was" : "pages were"} found in what is there${rest}.`;
  }
  return `The file is cut off${lost === 0 ? "" : `: ${lost} of ${wanted} pages could not be read`}.`;
}

function keyOf(file: SourceFile, page: number): string {
  // The fragment that PDF viewers understand (RFC 8118, section 3).
  return `${file.name}#page=${page}`;
}

/** Refuses in words what is no PDF, before a parser says it in its own. */
async function expectPdf(path: string): Promise<void> {
  const file = await open(path, "r");
  const { size } = await file.stat().finally(() => file.close());
  if (size === 0) throw new SourceError("The file is empty (0 bytes).", "Get it again from where it came.");
  if (!(await beginsAsPdf(path))) {
    const start = (await readFile(path)).subarray(0, 512);
    const printable = start.every((b) => b >= 32 || b === 9 || b === 10 || b === 13);
    throw new SourceError(
      `It is not a PDF${printable ? ": it is a text file" : ""} (it does not begin with %PDF).`,
      "Give it its right name, or leave it out.",
    );
  }
}
