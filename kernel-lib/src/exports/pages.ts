/** Rows as the formats take them: in works, with names for files, the metadata of their source, and their images. */
import { basename } from "node:path";
import type { ResultRow } from "../dataset/index.js";
import type { Json } from "../protocol.js";
import { preferred } from "../sources/iiif-read.js";
import type { LanguageMap } from "../sources/index.js";
import { type PageLayout, pageLayout } from "./layout.js";

/** A page image as it is in the dataset. */
export interface PageImage {
  bytes: Uint8Array;
  mime: string;
  width: number;
  height: number;
}

const EXTENSIONS: Readonly<Record<string, string>> = {
  "image/jpeg": "jpg",
  "image/png": "png",
  "image/tiff": "tif",
  "image/webp": "webp",
  "image/gif": "gif",
  "image/bmp": "bmp",
  "image/jp2": "jp2",
};

/** End of a file name for an image. */
export function extensionOf(image: PageImage): string {
  return EXTENSIONS[image.mime] ?? "bin";
}

/** What is known of a page beside its row. */
export interface PageContext {
  /** Metadata of the source by page key; empty where the dataset is not on this machine. */
  metadata(key: string): { [key: string]: Json };
  /** The page image, or undefined if the pages are not on this machine any more. */
  image(row: ResultRow): Promise<PageImage | undefined>;
}

/** A page to be exported. */
export class ExportPage {
  readonly row: ResultRow;
  /** Place in its work, counted from 1. */
  readonly number: number;
  /** File name without its end, such as `0007`. */
  readonly name: string;
  readonly metadata: { [key: string]: Json };
  readonly #context: PageContext;

  constructor(row: ResultRow, number: number, name: string, context: PageContext) {
    this.row = row;
    this.number = number;
    this.name = name;
    this.metadata = context.metadata(row.key);
    this.#context = context;
  }

  /** The page's label in one language, else its number. */
  get label(): string {
    return oneLabel(this.row.label) ?? String(this.row.page);
  }

  image(): Promise<PageImage | undefined> {
    return this.#context.image(this.row);
  }

  /** Regions, lines and words. The image is looked at only where the row does not say its size. */
  async layout(): Promise<PageLayout> {
    const known = this.row.width !== null && this.row.height !== null && this.row.width > 0 && this.row.height > 0;
    const size = known ? undefined : await this.image();
    return pageLayout(
      known ? this.row : { ...this.row, width: null, height: null },
      size ?? { width: this.row.width ?? 0, height: this.row.height ?? 0 },
    );
  }
}

/** The pages of one source: a PDF, a manifest, a folder of images that were one call. */
export interface Work {
  /** As a file name: safe on every system, unique in its export. */
  name: string;
  title: string;
  source: string;
  pages: readonly ExportPage[];
}

/** Rows grouped by source, in the order in which the sources first appear; single images of one folder are one work. */
export function worksOf(rows: readonly ResultRow[], context: PageContext): Work[] {
  const groups = new Map<string, ResultRow[]>();
  for (const row of rows) {
    const work = workOf(row, context.metadata(row.key));
    const group = groups.get(work);
    if (group === undefined) groups.set(work, [row]);
    else group.push(row);
  }
  const taken = new Set<string>();
  return [...groups].map(([source, of]): Work => {
    const digits = Math.max(4, String(of.length).length);
    const pages = of.map((row, i) => new ExportPage(row, i + 1, String(i + 1).padStart(digits, "0"), context));
    const title = pages[0]?.metadata.title;
    return {
      name: unique(fileName(source), taken),
      title: typeof title === "string" && title !== "" ? title : source === "" ? "pages" : source,
      source,
      pages,
    };
  });
}

/** Images of a folder or of the web are each a source of one page; what a reader takes for one work is all of them. */
function workOf(row: ResultRow, metadata: { [key: string]: Json }): string {
  if (typeof metadata.url === "string" && metadata.manifest === undefined) return "";
  if (typeof metadata.path !== "string") return row.source;
  return typeof metadata.folder === "string" ? metadata.folder : "";
}

/** A name from outside as a file name: letters, digits, and what no system takes for more than a name. */
export function fileName(source: string): string {
  const url = /^https?:\/\/([^/?#]+)([^?#]*)/i.exec(source);
  // The last part of a manifest's address is often `manifest.json`; the part before it is the name.
  const parts = (url === null ? [basename(source)] : (url[2] ?? "").split("/")).filter(
    (p) => p !== "" && !/^(manifest|info)(\.json)?$/i.test(p),
  );
  const last = decoded(parts.at(-1) ?? url?.[1] ?? source).replace(/\.(pdf|json|jpe?g|png|tiff?|jp2|webp|zip)$/i, "");
  const safe = last
    .normalize("NFC")
    .replace(/[^\p{L}\p{N}\p{M}._ -]+/gu, "-")
    .replace(/^[.\s-]+|[.\s]+$/g, "")
    .slice(0, 80);
  // Names of devices on Windows, whatever follows them.
  return safe === "" ? "pages" : /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(safe) ? `_${safe}` : safe;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function unique(name: string, taken: Set<string>): string {
  let now = name;
  for (let n = 2; taken.has(now.toLowerCase()); n++) now = `${name}-${n}`;
  taken.add(now.toLowerCase());
  return now;
}

/** A label in one language, by the rule that the sources go by too; undefined where it says nothing. */
export function oneLabel(label: LanguageMap | null): string | undefined {
  return preferred(label ?? undefined)?.trim() || undefined;
}

/** What recognised the pages, for the formats that have a place for it; `text` is both: `tesseract 5.3.0`. */
export function softwareOf(row: ResultRow | undefined): { name: string; version: string; text: string } {
  const info = row?.inferenceInfo;
  const of = (typeof info === "object" && info !== null && !Array.isArray(info) ? info : {}) as { [k: string]: Json };
  const word = (v: Json | undefined) => (typeof v === "string" ? v : "");
  const name = word(of.engine) || word(of.model) || "unknown";
  const version = word(of.version) || word(of.revision);
  return { name, version, text: `${name} ${version}`.trim() };
}
