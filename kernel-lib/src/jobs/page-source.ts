/**
 * A source as a notebook holds it: a specification that can be sent to the agent, and a stream of pages for those who
 * want them here. Nothing is read before it is asked for.
 */
import { resolve } from "node:path";
import type { DatasetInfo } from "../dataset/index.js";
import { contactSheetBundle, contactSheetText, INSPECT, type InspectRequest, inspectHook } from "../display/index.js";
import { UsageError } from "../errors.js";
import { cacheDir } from "../paths.js";
import type { Json, SourceKind, SourceSpec } from "../protocol.js";
import {
  type Inspection,
  isFault,
  type Page,
  type PageOrFault,
  type PagesOptions,
  type Source,
} from "../sources/index.js";
import { absolute, type SourceInput } from "./spec.js";

/** Pages on a contact sheet. */
const SHEET = 24;

/** Pages of a PDF, a manifest, a folder …, by specification. */
export class PageSource implements Source {
  /** What is sent when a job is submitted. */
  readonly spec: SourceSpec;
  #opened: Promise<Source> | undefined;
  #sheet: { pages: Page[]; faults: number; count?: number } | undefined;

  constructor(kind: SourceKind | "auto", location: string, options?: { readonly [name: string]: Json }) {
    if (typeof location !== "string" || location === "")
      throw new UsageError(`source: got ${JSON.stringify(location)}.`, "Give a path, a glob, a URL or a dataset id.");
    this.spec = {
      kind,
      location: absolute(location, kind),
      ...(options === undefined ? {} : { options: { ...options } }),
    };
  }

  /** `pdf`, `iiif`, …, or `auto` while it is not known. */
  get kind(): SourceKind | "auto" {
    return this.spec.kind;
  }

  #open(): Promise<Source> {
    this.#opened ??= import("../sources/registry.js").then(async ({ openSource }) => openSource(this.spec));
    return this.#opened;
  }

  /** How many pages there will be, where that can be told without reading them all. */
  async count(): Promise<number | undefined> {
    return (await this.#open()).count?.();
  }

  /** The first pages without their images: kind, count, labels, what would be skipped. */
  async inspect(options: { signal?: AbortSignal } = {}): Promise<Inspection> {
    const source = await this.#open();
    if (source.inspect !== undefined) return source.inspect(options);
    const count = await source.count?.();
    return { kind: source.kind, pages: [], skipped: [], ...(count === undefined ? {} : { count }) };
  }

  /** Addresses of the pages' images, nothing downloaded; empty for sources that are no addresses. */
  async imageUrls(options: { signal?: AbortSignal } = {}): Promise<string[]> {
    return (await this.inspect(options)).pages.flatMap((page) => (page.url === undefined ? [] : [page.url]));
  }

  /** The pages in order; faults are told apart with `isFault`. */
  async *pages(options: PagesOptions = {}): AsyncGenerator<PageOrFault> {
    yield* (await this.#open()).pages(options);
  }

  /** Writes the pages as an HF dataset folder, which Python's `load_from_disk` reads. Called again after an interruption, it goes on if the source is still the same. */
  async toDataset(folder: string, options: { signal?: AbortSignal } = {}): Promise<DatasetInfo> {
    const { convertSource } = await import("./convert.js");
    return convertSource(this.spec, this, folder, options);
  }

  /** The first pages as small pictures: `await source.contactSheet()` at the end of a cell. */
  async contactSheet(pages: number = SHEET): Promise<this> {
    const sheet: { pages: Page[]; faults: number; count?: number } = { pages: [], faults: 0 };
    for await (const item of this.pages()) {
      if (isFault(item)) sheet.faults += 1;
      else sheet.pages.push(item);
      if (sheet.pages.length >= pages) break;
    }
    const count = await this.count();
    if (count !== undefined) sheet.count = count;
    this.#bundle = await contactSheetBundle(sheet.pages, {
      faults: sheet.faults,
      ...(count === undefined ? {} : { total: count }),
    });
    this.#sheet = sheet;
    return this;
  }
  #bundle: Record<string, unknown> | undefined;

  /** In a notebook: the contact sheet if it was made; else one line. */
  [INSPECT](depth: number, options: InspectRequest["options"]): string {
    const line = `${this.kind} source: ${this.spec.location}`;
    const bundle = this.#bundle;
    if (bundle === undefined || this.#sheet === undefined) return line;
    return inspectHook({ depth, options, text: contactSheetText(this.#sheet.pages), bundle: () => bundle });
  }
}

/** Turns what a caller gave into specifications: own {@link Source} objects are written to the cache as a dataset first. */
export async function settleSources(sources: readonly unknown[]): Promise<SourceInput[]> {
  const settled: SourceInput[] = [];
  for (const source of sources) {
    if (isOwnSource(source)) {
      const { writeDataset } = await import("../dataset/index.js");
      const { keepDataset } = await import("./dataset-cache.js");
      const cache = resolve(cacheDir(), "datasets");
      const work = resolve(cache, `.own-${process.pid}-${settled.length}-${Date.now()}`);
      const { folder } = await keepDataset(cache, work, await writeDataset(source.pages(), { folder: work }));
      settled.push({ kind: "dataset", location: folder });
    } else settled.push(source as SourceInput);
  }
  return settled;
}

function isOwnSource(value: unknown): value is Source {
  return typeof value === "object" && value !== null && "pages" in value && !("spec" in value);
}
