/** A list of images on the web as a stream of pages: fetched several at a time, given in order, from the cache on disk. */
import { setMaxListeners } from "node:events";
import { SourceError, UsageError } from "../errors.js";
import type { Json } from "../protocol.js";
import { DownloadError, Downloader } from "./download.js";
import { imagesOf, pagesOfImages } from "./image-pages.js";
import {
  faultFrom,
  isFault,
  type LanguageMap,
  type Page,
  type PageOrFault,
  type PagesOptions,
  sparedPage,
} from "./index.js";

/** Downloads that are begun before their turn. Bytes wait on disk, so this costs no memory. */
const AHEAD = 48;

/** Options that every source on the web has, with what they mean. */
export const REMOTE_OPTIONS = {
  delay: "least seconds between two requests to one host",
  strict: "true: the first image that can't be had ends it; default false: it is a fault row",
} as const;

/** Reads them. Throws UsageError. */
export function remoteOptions({ delay, strict }: { readonly [name: string]: Json | undefined } = {}): {
  downloader: Downloader;
  strict: boolean;
} {
  if (delay !== undefined && (typeof delay !== "number" || delay < 0))
    throw new UsageError(`delay: got ${JSON.stringify(delay)}.`, "Allowed: seconds, 0 or more.");
  if (strict !== undefined && typeof strict !== "boolean")
    throw new UsageError(`strict: got ${JSON.stringify(strict)}.`, "Allowed: true, false.");
  return { downloader: new Downloader(delay === undefined ? {} : { delay: delay * 1000 }), strict: strict === true };
}

/** An image that is in the cache. */
export interface FetchedImage {
  url: string;
  image?: { mime: string; width: number; height: number };
  notice?: string;
}

/** An image that is to be fetched. */
export interface RemoteImage {
  key: string;
  source: string;
  page: number;
  label?: LanguageMap;
  metadata: { [key: string]: Json };
  /** Brings it into the cache and says under which address; `notice` is what the reader of the page should know. Throws DownloadError. */
  fetch(signal?: AbortSignal): Promise<FetchedImage>;
}

/**
 * Pages in the order of `items`; what can't be had is a fault row. With `strict` the first fault is thrown as a
 * SourceError instead.
 */
export async function* remotePages(
  items: AsyncIterable<RemoteImage | { fault: Extract<PageOrFault, { fault: unknown }>["fault"] }>,
  downloader: Downloader,
  options: PagesOptions & { strict?: boolean } = {},
): AsyncGenerator<PageOrFault> {
  // Whoever leaves the loop leaves the downloads that are under way, too.
  const left = new AbortController();
  const signal = options.signal === undefined ? left.signal : AbortSignal.any([options.signal, left.signal]);
  // Each download under way listens, and those wait for more than ten.
  setMaxListeners(0, signal);
  const waiting: Promise<PageOrFault | (() => Promise<PageOrFault[]>)>[] = [];
  const iterator = items[Symbol.asyncIterator]();
  let over = false;
  try {
    for (;;) {
      while (!over && waiting.length < AHEAD && !signal.aborted) {
        const next = await iterator.next();
        if (next.done === true) over = true;
        else
          waiting.push(
            "fault" in next.value
              ? Promise.resolve(next.value)
              : options.have?.(next.value.key) === true
                ? Promise.resolve(sparedPage(placeOf(next.value)))
                : begin(next.value, downloader, signal),
          );
      }
      const first = waiting.shift();
      if (first === undefined || signal.aborted) return;
      const ready = await first;
      if (signal.aborted) return;
      const found = typeof ready === "function" ? await ready() : [ready];
      for (const item of found) yield options.strict === true ? pageOnly(item) : item;
    }
  } finally {
    left.abort();
    await Promise.allSettled(waiting);
    await iterator.return?.();
    await downloader.cache.prune();
  }
}

/** The page, or its fault thrown as a SourceError: what `strict` means. */
export function pageOnly(item: PageOrFault): Page {
  if (!isFault(item)) return item;
  throw new SourceError(`${item.fault.key}: ${item.fault.reason}`, item.fault.fix ?? "Leave out strict to go on.");
}

function placeOf({ key, source, page, label, metadata }: RemoteImage): Parameters<typeof sparedPage>[0] {
  return { key, source, page, ...(label === undefined ? {} : { label }), metadata };
}

/** Fetches now, and reads the bytes when their turn comes. */
async function begin(
  item: RemoteImage,
  downloader: Downloader,
  signal: AbortSignal,
): Promise<PageOrFault | (() => Promise<PageOrFault[]>)> {
  const { key, source, page } = item;
  try {
    const { url, image, notice } = await item.fetch(signal);
    if (image === undefined) throw new DownloadError(`${url} is no image.`, "Look at what the address really holds.");
    return async () => {
      try {
        const images = await imagesOf(await downloader.cache.bytes(url), image);
        const metadata = { ...item.metadata, url, ...(notice === undefined ? {} : { notice }) };
        return pagesOfImages(images, { ...placeOf(item), metadata });
      } catch (error) {
        return [faultFrom(error, { key, source, page }, "Try again later.")];
      }
    };
  } catch (error) {
    return faultFrom(error, { key, source, page }, "Try again later.");
  }
}
