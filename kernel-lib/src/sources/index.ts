/**
 * Sources: where page images come from. A source is a stream of pages in order; it never loads the whole work, and a
 * page that can't be had is a fault row in the stream, never an exception that ends the run and never silence.
 *
 * To add a source: one file beside this one that exports a {@link SourceType}, and one line in {@link SOURCES}.
 */
import { errorData, isYaleError } from "../errors.js";
import type { Fault, Json, SourceKind, SourceSpec } from "../protocol.js";

/** Labels by language, as IIIF has them; `none` where no language is known. */
export type LanguageMap = { [language: string]: string[] };

/** One page image. */
export interface Page {
  /** Stable: names source and page, the same on every machine and run; unique within a dataset. */
  key: string;
  /** The encoded image: JPEG, PNG, TIFF, WebP, JPEG 2000 …: what Python's PIL opens. */
  image: Uint8Array;
  /** MIME type of `image`, by its bytes. */
  mime: string;
  width: number;
  height: number;
  /** File name, manifest or dataset that the page is from, as a reader would cite it. */
  source: string;
  /** Counts from 1 within `source`. */
  page: number;
  label?: LanguageMap;
  metadata: { [key: string]: Json };
}

/** What a source yields. Tell them apart with {@link isFault}. */
export type PageOrFault = Page | { fault: Fault };

/** True for the fault rows of a source's stream. */
export function isFault(item: PageOrFault): item is { fault: Fault } {
  return "fault" in item;
}

/** The fault row of an error at a page or file; `fix` is what helps where the error itself does not say. */
export function faultFrom(error: unknown, at: Pick<Fault, "key" | "source" | "page">, fix: string): { fault: Fault } {
  return { fault: { ...at, reason: errorData(error).what, fix: isYaleError(error) ? error.fix : fix } };
}

/** A page that the caller has already ({@link PagesOptions.have}): its place in the stream, without its image. */
export function sparedPage(page: Pick<Page, "key" | "source" | "page" | "label" | "metadata">): Page {
  return { ...page, image: new Uint8Array(0), mime: "image/jpeg", width: 0, height: 0 };
}

/** A stream of pages. Users may write their own. */
export interface Source {
  readonly kind: string;
  /** How many pages there will be, where that can be told without reading them all. */
  count?(): Promise<number | undefined>;
  /** The first pages without their images, for `yale source inspect`. */
  inspect?(options?: { signal?: AbortSignal }): Promise<Inspection>;
  pages(options?: PagesOptions): AsyncIterable<PageOrFault>;
}

/** Options of {@link Source.pages}. */
export interface PagesOptions {
  signal?: AbortSignal;
  /** Keys of pages that the caller has already: a source that can spares itself the work and leaves their `image` empty. */
  have?: (key: string) => boolean;
}

/** What `yale source inspect --json` prints: nothing is downloaded in full. */
export interface Inspection {
  kind: string;
  version?: string;
  count?: number;
  pages: { key: string; url?: string; label?: string; width?: number; height?: number }[];
  skipped: { key: string; reason: string }[];
}

/** A kind of source: how its specification is checked and opened. */
export interface SourceType {
  readonly kind: SourceKind;
  /** Names and meanings of the options, for help and error texts. */
  readonly options: { readonly [name: string]: string };
  /** Throws UsageError for wrong options, SourceError where nothing can be opened; reads as little as it can. */
  open(spec: SourceSpec): Promise<Source>;
  /** How sure this kind is that `location` is its own, 0 to 1, and why, in words. Looks at content, not only at names. */
  detect(location: string): Promise<{ score: number; why: string }>;
}
