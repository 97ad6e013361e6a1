/** Image files: one, a glob's, or a folder's. Multi-page TIFFs give one page each. */
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { errorData, SourceError, UsageError } from "../errors.js";
import { type ImageInfo, sniff } from "../images.js";
import type { Json } from "../protocol.js";
import { readBytes, type SourceFile, sourceFiles } from "./files.js";
import { imagesOf, pagesOfImages } from "./image-pages.js";
import {
  faultFrom,
  type Inspection,
  isFault,
  type PageOrFault,
  type PagesOptions,
  type Source,
  type SourceType,
  sparedPage,
} from "./index.js";

const PATTERN = "*.{jpg,jpeg,jpe,png,tif,tiff,webp,gif,bmp,jp2,j2k,jpx,avif,heic,heif}";

/** Source type `directory`. */
export const directory: SourceType = {
  kind: "directory",
  options: { recursive: "look into folders of the folder; default true" },
  async open(spec) {
    const recursive = spec.options?.recursive ?? true;
    if (typeof recursive !== "boolean")
      throw new UsageError(`recursive: got ${JSON.stringify(recursive)}.`, "Allowed: true, false.");
    const files = await sourceFiles(spec.location, PATTERN, recursive);
    if (files.length === 0)
      throw new SourceError(`There are no images in ${spec.location}.`, "Check the path, or use recursive.");
    return new DirectorySource(files);
  },
  async detect(location) {
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(location)) return { score: 0, why: "an address on the web" };
    const files = await sourceFiles(location, PATTERN, true).catch(() => []);
    const [first] = files;
    if (first === undefined) return { score: 0, why: "no images there" };
    if (files.length > 1) return { score: 0.8, why: `it holds ${files.length} images` };
    const info = await sniffFile(first.path).catch(() => undefined);
    return info === undefined ? { score: 0, why: "it is no image" } : { score: 0.95, why: `it begins as ${info.mime}` };
  },
};

/** Enough for the size of nearly every image; metadata of a JPEG and the data of a TIFF may come before it. */
const BEGINNING = 256 << 10;

/** What a file is, by its beginning, or by the whole where only that tells its size. */
async function sniffFile(path: string): Promise<ImageInfo | undefined> {
  const file = await open(path);
  try {
    const { bytesRead, buffer } = await file.read(new Uint8Array(BEGINNING), 0, BEGINNING, 0);
    const info = sniff(buffer.subarray(0, bytesRead));
    const sized = info === undefined || info.width !== undefined || bytesRead < BEGINNING;
    return sized || !/jpeg|tiff/.test(info.mime) ? info : sniff(await readBytes(path));
  } finally {
    await file.close();
  }
}

class DirectorySource implements Source {
  readonly kind = "directory";
  readonly #files: readonly SourceFile[];

  constructor(files: readonly SourceFile[]) {
    this.#files = files;
  }

  /** Files, taking each as one page: TIFFs with several are only known when read. */
  async count(): Promise<number | undefined> {
    return this.#files.some((f) => /\.tiff?$/i.test(f.name)) ? undefined : this.#files.length;
  }

  async inspect(): Promise<Inspection> {
    const found: Inspection = { kind: this.kind, count: this.#files.length, pages: [], skipped: [] };
    for (const file of this.#files.slice(0, 1000)) {
      const info = await sniffFile(file.path).catch((error: unknown) => {
        found.skipped.push({ key: file.name, reason: unreadable(error)?.what ?? errorData(error).what });
        return null;
      });
      if (info === null) continue;
      if (info === undefined) found.skipped.push({ key: file.name, reason: "It is no image of a known format." });
      else {
        const { width, height } = info;
        found.pages.push({
          key: file.name,
          ...(width === undefined ? {} : { width }),
          ...(height === undefined ? {} : { height }),
        });
      }
    }
    return found;
  }

  async *pages(options: PagesOptions = {}): AsyncGenerator<PageOrFault> {
    // Two ahead: checking one image while the next is read keeps both cores at work.
    const ahead: Promise<PageOrFault[]>[] = [];
    let next = 0;
    while (next < this.#files.length || ahead.length > 0) {
      while (ahead.length < 3 && next < this.#files.length) {
        const file = this.#files[next++];
        if (file === undefined) continue;
        // Files with several pages have other keys, and are read.
        ahead.push(
          options.have?.(file.name) === true
            ? Promise.resolve([sparedPage({ key: file.name, source: file.name, page: 1, metadata: {} })])
            : readImageFile(file),
        );
      }
      for (const item of (await ahead.shift()) ?? []) {
        if (options.signal?.aborted) return;
        yield item;
      }
    }
  }
}

/** What is said of a file that the system does not give. */
function unreadable(error: unknown): SourceError | undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return undefined;
  const may = code === "EACCES" || code === "EPERM";
  return new SourceError(
    may ? "This account may not read the file." : `The file can't be read: ${message}`,
    may ? "Change its permissions, or ask its owner." : "Check the file.",
    { cause: error },
  );
}

async function readImageFile(file: SourceFile): Promise<PageOrFault[]> {
  const fix = "Check the file.";
  try {
    const folder = dirname(file.name);
    const metadata: { [key: string]: Json } = { path: file.name, ...(folder === "." ? {} : { folder }) };
    const bytes = await readBytes(file.path).catch((error: unknown) => {
      throw unreadable(error) ?? error;
    });
    const pages = pagesOfImages(await imagesOf(bytes), { key: file.name, source: file.name, page: 1, metadata });
    // Here they are the pages of the file, which is the source.
    return pages.map((item, i) =>
      isFault(item) ? { fault: { ...item.fault, page: i + 1 } } : { ...item, page: i + 1 },
    );
  } catch (error) {
    return [faultFrom(error, { key: file.name, source: file.name }, fix)];
  }
}
