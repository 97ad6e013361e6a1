/**
 * Image files: one, a glob's, or a folder's. What Python's PIL opens goes through untouched; the rest (AVIF, CMYK or
 * 16-bit images that PIL turns wrong) is made a PNG. Multi-page TIFFs give one page each.
 */
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { SourceError, UsageError } from "../errors.js";
import { checkImage, loadSharp, PIL_FORMATS, sniff } from "../images.js";
import type { Json } from "../protocol.js";
import { readBytes, type SourceFile, sourceFiles } from "./files.js";
import {
  faultFrom,
  type Inspection,
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
    const info = sniff(await readFile(first.path).catch(() => new Uint8Array(0)));
    return info === undefined ? { score: 0, why: "it is no image" } : { score: 0.95, why: `it begins as ${info.mime}` };
  },
};

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
      const info = sniff(await readFile(file.path));
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

async function readImageFile(file: SourceFile): Promise<PageOrFault[]> {
  try {
    const bytes = await readBytes(file.path);
    const folder = dirname(file.name);
    const metadata: { [key: string]: Json } = { path: file.name, ...(folder === "." ? {} : { folder }) };
    const pages = await imagesOf(bytes);
    return pages.map((image, i) => ({
      key: pages.length === 1 ? file.name : `${file.name}#page=${i + 1}`,
      ...image,
      source: file.name,
      page: i + 1,
      metadata,
    }));
  } catch (error) {
    return [faultFrom(error, { key: file.name, source: file.name }, "Check the file.")];
  }
}

type Encoded = { image: Uint8Array; mime: string; width: number; height: number };

/** The images in a file's bytes, in a form that PIL opens rightly. Throws DatasetError for what is none. */
async function imagesOf(bytes: Uint8Array): Promise<Encoded[]> {
  const info = await checkImage(bytes);
  if (info.mime === "image/jp2" || info.mime === "image/bmp") return [{ image: bytes, ...info }];
  if (info.mime === "image/heic") {
    const { heicToJpeg } = await import("./heic.js");
    return [{ mime: "image/jpeg", ...(await heicToJpeg(bytes)) }];
  }
  const sharp = await loadSharp();
  const meta = await sharp(bytes).metadata();
  const several = info.mime === "image/tiff" ? (meta.pages ?? 1) : 1;
  // PIL opens 16-bit grey as I;16, and converting that to RGB turns the page white; CMYK JPEGs may come out inverted.
  const wrong = meta.depth === "ushort" || meta.depth === "float" || meta.space === "cmyk";
  if (several === 1 && !wrong && PIL_FORMATS.has(info.mime))
    return [{ image: bytes, ...upright(info, meta.orientation) }];
  const made: Encoded[] = [];
  for (let page = 0; page < several; page++) {
    const one = sharp(bytes, { page: several === 1 ? 0 : page, failOn: "truncated" })
      .autoOrient()
      .toColourspace("srgb");
    const { data, info: out } = await one.png({ compressionLevel: 2 }).toBuffer({ resolveWithObject: true });
    made.push({ image: new Uint8Array(data), mime: "image/png", width: out.width, height: out.height });
  }
  return made;
}

/** Width and height as they are after EXIF orientation, which Python's `datasets` applies when it decodes. */
function upright(info: { mime: string; width: number; height: number }, orientation: number | undefined): typeof info {
  return (orientation ?? 1) >= 5 ? { mime: info.mime, width: info.height, height: info.width } : info;
}
