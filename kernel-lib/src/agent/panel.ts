/**
 * What the JupyterLab panel asks beyond the verbs of the core: lists that are light enough for ten thousand jobs, what a
 * form offers, and the pages of a job's results. Jobs and pages are named by id and key; no path comes from outside.
 */
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { loadConfig } from "../config/index.js";
import { type ResultRow, readPage, readResult, readResults } from "../dataset/index.js";
import { UsageError } from "../errors.js";
import { loadSharp, sniff } from "../images.js";
import { type OcrOptions, ocrSpec, type RunOptions, runSpec } from "../jobs/spec.js";
import { cacheDir } from "../paths.js";
import type {
  Choices,
  Core,
  FormRequest,
  JobRecord,
  JobSpec,
  Json,
  PageList,
  PageText,
  PanelCalls,
} from "../protocol.js";
import { readCards } from "../runners.js";

/** An encoded picture. */
export interface Picture {
  bytes: Uint8Array;
  mime: string;
}

/** Widest picture that is made, in pixels: sharp on a large screen, zoomed in twice. */
const MAX_WIDTH = 4000;
/** Pictures that every browser shows as they are. */
const SHOWN: ReadonlySet<string> = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
/** Jobs whose results are remembered: as many as a person has open. */
const KEPT = 8;

interface Index {
  stamp: string;
  pages: PageList["pages"];
}

/** The panel's calls on a core. */
export class Panel implements PanelCalls {
  readonly #core: Core;
  readonly #indexes = new Map<string, Index>();
  /** Where the results of jobs lie whose pages are looked at; bringing them here may take the cluster. */
  readonly #folders = new Map<string, { folder: string; complete: boolean; end: string }>();

  constructor(core: Core) {
    this.#core = core;
  }

  async jobs(offset: number, limit: number): Promise<{ total: number; jobs: JobRecord[] }> {
    if (!Number.isInteger(offset) || !Number.isInteger(limit) || offset < 0 || limit < 0)
      throw new UsageError("A list begins at a whole number and holds a whole number of jobs.");
    const all = await this.#core.list();
    return { total: all.length, jobs: all.slice(offset, offset + limit).map(light) };
  }

  async choices(folder?: string): Promise<Choices> {
    const config = await loadConfig(folder === undefined ? { search: false } : { cwd: expand(folder) });
    return {
      home: homedir(),
      ...(config.path === undefined ? {} : { config: config.path }),
      default: config.default,
      clusters: [...config.clusters.values()].map(({ name, transport, scheduler }) => ({ name, transport, scheduler })),
      runners: readCards().map(({ name, title, gpus, speed }) => ({
        name,
        title,
        gpus,
        ...(speed === undefined ? {} : { speed }),
      })),
    };
  }

  async form(request: FormRequest): Promise<JobSpec> {
    const { kind, script, options } = request;
    if (kind !== "ocr" && kind !== "run") throw new UsageError(`There is no kind of job ${JSON.stringify(kind)}.`);
    const folder = expand(request.folder ?? "~");
    const sources = request.sources.map((s) => (options.sourceType === "hf" ? s : inFolder(s, folder)));
    const output = typeof options.output === "string" ? { output: inFolder(options.output, folder) } : {};
    const checked: OcrOptions & RunOptions = { ...options, ...output };
    const spec =
      kind === "ocr"
        ? ocrSpec(sources, checked)
        : // The line break says that it is the text of a script and not its path.
          runSpec(script?.includes("\n") ? script : `${script ?? ""}\n`, { ...checked, data: sources });
    const { path } = await loadConfig({ cwd: folder });
    return path === undefined ? spec : { ...spec, config: path };
  }

  async pages(id: string, search?: string): Promise<PageList> {
    const { folder, complete } = await this.#results(id, search !== undefined);
    const { pages } = await this.#index(folder);
    if (search === undefined || search.trim() === "") return { folder, complete, pages };
    const wanted = folded(search.trim());
    const found = new Set<string>();
    for await (const row of readResults(folder))
      if (folded(row.text ?? row.markdown ?? "").includes(wanted)) found.add(row.key);
    return { folder, complete, pages: pages.filter((p) => found.has(p.key)) };
  }

  async page(id: string, key: string): Promise<PageText> {
    const { folder } = await this.#results(id, true);
    const row = await readResult(folder, key);
    if (row !== undefined) return textOf(row);
    throw new UsageError("The results hold no such page.", "Open the results again: they may have changed.");
  }

  /** The image of a page, at most `width` pixels wide, in a form that every browser shows; undefined if it is not here. */
  async image(id: string, key: string, width: number): Promise<Picture | undefined> {
    const { dataset } = await this.#core.get(id);
    if (dataset === undefined || !/^[0-9a-f]+$/.test(dataset.hash)) return undefined;
    const page = await readPage(join(cacheDir(), "datasets", dataset.hash), key).catch(() => undefined);
    if (page === undefined) return undefined;
    const wide = Math.min(Math.max(1, Math.trunc(width) || MAX_WIDTH), MAX_WIDTH);
    const mime = sniff(page.image)?.mime ?? "";
    if (page.width > 0 && page.width <= wide && SHOWN.has(mime)) return { bytes: page.image, mime };
    try {
      const sharp = await loadSharp();
      // As the pixels lie, whatever the camera says of up and down: that is how the engine saw them and placed its boxes.
      const bytes = await sharp(page.image)
        .resize({ width: wide, withoutEnlargement: true })
        .flatten({ background: "#ffffff" })
        .jpeg({ quality: 82 })
        .toBuffer();
      return { bytes, mime: "image/jpeg" };
    } catch {
      // A format that sharp does not read, such as JPEG 2000.
      return SHOWN.has(mime) ? { bytes: page.image, mime } : undefined;
    }
  }

  /** The results as they are now; `shown`: as they were shown last, where that can still be had. */
  async #results(id: string, shown: boolean): Promise<{ folder: string; complete: boolean }> {
    const { attempt, endedAt } = await this.#core.get(id);
    const end = `${attempt} ${endedAt ?? ""}`;
    const known = this.#folders.get(id);
    // What is whole does not change unless the job is run again; the cache it lies in may be emptied.
    const same = known !== undefined && (shown || (known.complete && known.end === end));
    if (same && existsSync(join(known.folder, "state.json"))) return known;
    const { folder, complete } = await this.#core.results(id);
    this.#folders.delete(id);
    this.#folders.set(id, { folder, complete, end });
    for (const oldest of [...this.#folders.keys()].slice(0, -KEPT)) this.#folders.delete(oldest);
    return { folder, complete };
  }

  /** The order of a folder's pages, read once as long as the folder does not change. */
  async #index(folder: string): Promise<Index> {
    const { mtimeMs, ino } = await stat(join(folder, "state.json"));
    const stamp = `${ino}:${mtimeMs}`;
    const known = this.#indexes.get(folder);
    if (known?.stamp === stamp) return known;
    const pages: PageList["pages"] = [];
    for await (const row of readResults(folder))
      pages.push({
        key: row.key,
        source: row.source,
        page: row.page,
        words: (row.text ?? row.markdown ?? "").match(/\S+/g)?.length ?? 0,
        ...(row.confidence === null ? {} : { confidence: row.confidence }),
        ...(row.error === null ? {} : { error: row.error }),
      });
    // Runners finish pages in any order.
    pages.sort((a, b) => natural(a.source, b.source) || a.page - b.page);
    const index = { stamp, pages };
    this.#indexes.delete(folder);
    this.#indexes.set(folder, index);
    for (const oldest of [...this.#indexes.keys()].slice(0, -KEPT)) this.#indexes.delete(oldest);
    return index;
  }
}

const natural: (a: string, b: string) => number = new Intl.Collator("en", { numeric: true }).compare;

/** The record without what only a job's own view shows. */
function light(record: JobRecord): JobRecord {
  const { script, variables: _, ...spec } = record.spec;
  return {
    ...record,
    spec: { ...spec, ...(script === undefined ? {} : { script: { ...script, text: "" } }) },
    faults: [],
    logTail: [],
  };
}

/** Letters without case and accents, so that a search finds what a reader would call the same. */
function folded(text: string): string {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/\s+/g, " ");
}

function expand(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : resolve("/", path);
}

function inFolder(location: string, folder: string): string {
  if (typeof location !== "string") throw new UsageError(`source: got ${JSON.stringify(location)}.`);
  if (location === "" || /^[a-z][a-z0-9+.-]*:\/\//i.test(location)) return location;
  return location.startsWith("~/") ? expand(location) : resolve(folder, location);
}

function textOf(row: ResultRow): PageText {
  return {
    key: row.key,
    text: row.text,
    markdown: row.markdown,
    boxes: boxesOf(row.layout),
    width: row.width ?? 0,
    height: row.height ?? 0,
    ...(row.error === null ? {} : { error: row.error }),
    ...(row.confidence === null ? {} : { confidence: row.confidence }),
    ...(row.seconds === null ? {} : { seconds: row.seconds }),
    inference: row.inferenceInfo,
  };
}

/** Boxes of a layout, whichever engine made it: lines where it has them (Tesseract), else blocks (DoTS.ocr). */
function boxesOf(layout: Json): PageText["boxes"] {
  if (!Array.isArray(layout)) return [];
  return layout.flatMap((block) => {
    if (typeof block !== "object" || block === null || Array.isArray(block)) return [];
    const category = typeof block.category === "string" ? block.category : "";
    const parts = Array.isArray(block.lines) && block.lines.length > 0 ? block.lines : [block];
    return parts.flatMap((part) => {
      if (typeof part !== "object" || part === null || Array.isArray(part)) return [];
      const { bbox, text } = part;
      if (!Array.isArray(bbox) || bbox.length !== 4 || !bbox.every((n) => typeof n === "number")) return [];
      return [{ box: bbox as [number, number, number, number], category, text: typeof text === "string" ? text : "" }];
    });
  });
}
