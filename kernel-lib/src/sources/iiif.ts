/** IIIF manifests and collections, of Presentation 2 and 3, from the web or a file: one page for each canvas with an image. */
import { basename } from "node:path";
import { errorData, SourceError, UsageError } from "../errors.js";
import type { Fault, Json, SourceSpec } from "../protocol.js";
import type { Downloader } from "./download.js";
import { glance, isNamedAsPicture } from "./glance.js";
import type { Collection } from "./iiif-collection.js";
import { ImageFetcher } from "./iiif-fetch.js";
import { imageUrl, located, pageImages, shownSize } from "./iiif-image.js";
import { type Canvas, type Manifest, preferred, readPresentation } from "./iiif-read.js";
import { isWeb, loadDocument, manifestsOf, readJson } from "./iiif-walk.js";
import type { Inspection, PageOrFault, PagesOptions, Source, SourceType } from "./index.js";
import { REMOTE_OPTIONS, type RemoteImage, remoteOptions, remotePages } from "./remote.js";

interface IiifOptions {
  width?: number;
  language: string[];
  canvas?: string[];
  range?: string;
}

/** Source type `iiif`. */
export const iiif: SourceType = {
  kind: "iiif",
  options: {
    width: "at most so many pixels across; default the largest size that the server gives",
    language: "language of labels where there are several, such as de; default English, then any",
    canvas: "only these canvases: ids, or numbers and ranges of numbers such as 1-3,7",
    range: "only the canvases of this range, in its own order: its id or label",
    ...REMOTE_OPTIONS,
  },
  async open(spec) {
    const options = readOptions(spec);
    const { downloader, strict } = remoteOptions(spec.options);
    const doc = readPresentation(await loadDocument(spec.location, downloader), spec.location);
    if (doc === undefined)
      throw new SourceError(
        `${spec.location} is no IIIF manifest or collection.`,
        "Give the address of the manifest itself; viewers often have it behind a IIIF logo or in `?manifest=`.",
      );
    return new IiifSource(spec.location, doc, options, downloader, strict);
  },
  async detect(location) {
    const web = isWeb(location);
    if (!web && !/\.json$/i.test(location)) return { score: 0, why: "neither an address nor a .json file" };
    try {
      const json = web ? await peek(location) : await readJson(location);
      const doc = json === undefined ? undefined : readPresentation(json, location);
      if (doc === undefined) return { score: 0, why: "it holds no IIIF manifest or collection" };
      return { score: 1, why: `it is a IIIF ${doc.type} of version ${doc.version}` };
    } catch (error) {
      return { score: 0, why: errorData(error).what };
    }
  },
};

/** The document at an address, unless it is an image or page by its name or beginning. */
async function peek(location: string): Promise<unknown> {
  if (isNamedAsPicture(location)) return undefined;
  const found = await glance(location);
  return "json" in found ? found.json : undefined;
}

function readOptions(spec: SourceSpec): IiifOptions {
  const { width, language, canvas, range } = spec.options ?? {};
  const number = (name: string, value: Json | undefined, least: number) => {
    if (value !== undefined && (typeof value !== "number" || value < least))
      throw new UsageError(`${name}: got ${JSON.stringify(value)}.`, `Allowed: a number of ${least} or more.`);
    return value as number | undefined;
  };
  const words = (name: string, value: Json | undefined): string[] | undefined => {
    if (value === undefined) return undefined;
    const values = (Array.isArray(value) ? value : [value]).map((v) => (typeof v === "number" ? String(v) : v));
    if (!values.every((v): v is string => typeof v === "string" && v !== ""))
      throw new UsageError(`${name}: got ${JSON.stringify(value)}.`, "Give a text or a list of texts.");
    return values;
  };
  const asked = {
    width: number("width", width, 1),
    canvas: words("canvas", canvas),
    range: words("range", range)?.[0],
  };
  return {
    language: words("language", language) ?? [],
    ...(Object.fromEntries(Object.entries(asked).filter(([, v]) => v !== undefined)) as Partial<IiifOptions>),
  };
}

/** A manifest, the canvases of it that were chosen, and the address that relative ones in it belong to. */
interface Work {
  manifest: Manifest;
  base: string;
  chosen: Chosen[];
}

/** A canvas that was chosen, within its manifest. */
interface Chosen {
  /** Counts from 1 within the manifest, whatever was left out. */
  number: number;
  canvas: Canvas;
}

class IiifSource implements Source {
  readonly kind = "iiif";
  readonly #location: string;
  readonly #doc: Manifest | Collection;
  readonly #options: IiifOptions;
  readonly #downloader: Downloader;
  readonly #strict: boolean;

  constructor(
    location: string,
    doc: Manifest | Collection,
    options: IiifOptions,
    downloader: Downloader,
    strict: boolean,
  ) {
    this.#location = location;
    this.#doc = doc;
    this.#options = options;
    this.#downloader = downloader;
    this.#strict = strict;
  }

  /** The canvases of a manifest that were asked for. Throws SourceError for a selection that leads nowhere. */
  #chosen(manifest: Manifest): Chosen[] {
    const all = manifest.canvases.map((canvas, i) => ({ number: i + 1, canvas }));
    const { canvas: wanted, range } = this.#options;
    let found = all;
    if (range !== undefined) found = this.#inRange(manifest, range, all);
    if (wanted !== undefined) {
      const isWanted = selection(wanted);
      found = found.filter((c) => isWanted(c.number, c.canvas.id));
      if (found.length === 0 && this.#doc.type === "manifest")
        throw new SourceError(
          `${this.#location} has no canvas ${wanted.join(", ")}.`,
          `It has ${all.length}: give numbers from 1 to ${all.length}, or ids.`,
        );
    }
    return found;
  }

  /** The canvases of a range, in its order, each once. */
  #inRange(manifest: Manifest, range: string, all: readonly Chosen[]): Chosen[] {
    const { ranges } = manifest;
    const match = ranges.get(range) ?? [...ranges.values()].find((r) => Object.values(r.label).flat().includes(range));
    const byId = new Map<string, Chosen[]>();
    for (const c of all) byId.set(c.canvas.id, [...(byId.get(c.canvas.id) ?? []), c]);
    const found = match?.canvases.flatMap((id) => byId.get(id) ?? []) ?? [];
    if (found.length > 0 || this.#doc.type === "collection") return found;
    if (match !== undefined)
      throw new SourceError(
        `The range ${JSON.stringify(range)} of ${this.#location} holds none of its canvases.`,
        "Choose canvases by their numbers, with the option canvas.",
      );
    throw new SourceError(
      `${this.#location} has no range ${JSON.stringify(range)}.`,
      ranges.size === 0
        ? "It has none at all."
        : `It has: ${[...ranges]
            .slice(0, 12)
            .map(([id, r]) => preferred(r.label) ?? id)
            .join(", ")}.`,
    );
  }

  async count(): Promise<number | undefined> {
    // A collection would have to be fetched whole.
    if (this.#doc.type === "collection") return undefined;
    return this.#chosen(this.#doc).reduce((sum, c) => sum + pageImages(c.canvas.images).taken.length, 0);
  }

  async inspect(options: { signal?: AbortSignal } = {}): Promise<Inspection> {
    const found: Inspection = { kind: this.kind, version: String(this.#doc.version), pages: [], skipped: [] };
    for await (const item of this.#works(options.signal)) {
      if ("fault" in item) {
        found.skipped.push({ key: item.fault.key, reason: item.fault.reason });
        continue;
      }
      const { manifest, base, chosen } = item;
      for (const { canvas } of chosen) {
        for (const reason of notices(canvas)) found.skipped.push({ key: canvas.id, reason });
        for (const [i, image] of pageImages(canvas.images).taken.entries()) {
          const url = imageUrl(located(image, base), this.#options.width);
          const label = preferred(canvas.label, this.#options.language);
          found.pages.push({
            key: keyOf(canvas, i),
            ...(url === undefined ? {} : { url }),
            ...(label === undefined ? {} : { label }),
            ...shownSize(image),
          });
        }
      }
      for (const reason of manifest.notices) found.skipped.push({ key: manifest.id, reason });
    }
    found.count = found.pages.length;
    return found;
  }

  async *pages(options: PagesOptions = {}): AsyncGenerator<PageOrFault> {
    yield* remotePages(this.#images(options.signal), this.#downloader, { ...options, strict: this.#strict });
  }

  /** Each manifest with what was chosen of it. */
  async *#works(signal?: AbortSignal): AsyncGenerator<Work | { fault: Fault }> {
    const { range, canvas } = this.#options;
    let isEmpty = true;
    for await (const item of manifestsOf(this.#doc, this.#location, this.#downloader, signal)) {
      if ("fault" in item) {
        yield item;
        continue;
      }
      const { manifest } = item;
      const chosen = this.#chosen(manifest);
      if (chosen.length > 0) isEmpty = false;
      // A saved manifest knows where it is from; one on the web may say what it likes.
      yield { manifest, base: isWeb(item.base) ? item.base : manifest.id, chosen };
    }
    if (isEmpty && !signal?.aborted && (range ?? canvas) !== undefined)
      yield {
        fault: {
          key: this.#location,
          source: this.#location,
          reason: `No manifest of it has ${range === undefined ? "such a canvas" : `a range ${JSON.stringify(range)} with such canvases`}.`,
          fix: "Look at one of its manifests with `yale source inspect`.",
        },
      };
  }

  async *#images(signal?: AbortSignal): AsyncGenerator<RemoteImage | { fault: Fault }> {
    const fetcher = new ImageFetcher(this.#downloader, this.#options.width);
    for await (const item of this.#works(signal)) {
      if ("fault" in item) {
        yield item;
        continue;
      }
      const { manifest, base, chosen } = item;
      const about = aboutManifest(manifest, this.#options.language);
      let page = 0;
      for (const { canvas, number } of chosen) {
        const { taken, left } = pageImages(canvas.images);
        for (const [i, image] of taken.entries()) {
          page += 1;
          const metadata: { [key: string]: Json } = { ...about, canvas: canvas.id, canvasNumber: number };
          if (left > 0) metadata.imagesLeftOut = left;
          if (image.alternatives > 0) metadata.alternatives = image.alternatives;
          if (image.inset !== undefined) metadata.inset = image.inset;
          if (canvas.width !== undefined && canvas.height !== undefined)
            metadata.canvasSize = [canvas.width, canvas.height];
          if (canvas.metadata.length > 0) metadata.canvasMetadata = canvas.metadata as unknown as Json;
          const asked = located(image, base);
          yield {
            key: keyOf(canvas, i),
            source: manifest.id,
            page,
            ...(Object.keys(canvas.label).length === 0 ? {} : { label: canvas.label }),
            metadata,
            fetch: (s) => fetcher.fetch(asked, s),
          };
        }
      }
    }
  }
}

function keyOf(canvas: Canvas, index: number): string {
  return index === 0 ? canvas.id : `${canvas.id}#image=${index + 1}`;
}

function notices(canvas: Canvas): string[] {
  const { taken, left } = pageImages(canvas.images);
  const found: string[] = [];
  if (taken.length === 0)
    found.push(
      canvas.others.length === 0 ? "Nothing is painted on it." : `It holds no image but: ${canvas.others.join(", ")}.`,
    );
  else if (canvas.others.length > 0) found.push(`Beside its image it holds: ${canvas.others.join(", ")}.`);
  if (left > 0) found.push(`${left} more ${left === 1 ? "image" : "images"} on the same canvas.`);
  return found;
}

function aboutManifest(manifest: Manifest, language: readonly string[]): { [key: string]: Json } {
  const title = preferred(manifest.label, language);
  return {
    manifest: manifest.id,
    ...(title === undefined ? {} : { title }),
    ...(Object.keys(manifest.label).length > 0 ? { titles: manifest.label } : {}),
    ...(manifest.rights === undefined ? {} : { rights: manifest.rights }),
    ...(manifest.attribution === undefined ? {} : { attribution: manifest.attribution }),
    ...(manifest.summary === undefined ? {} : { summary: manifest.summary }),
    ...(manifest.viewingDirection === undefined ? {} : { viewingDirection: manifest.viewingDirection }),
    ...(manifest.metadata.length === 0 ? {} : { manifestMetadata: manifest.metadata as unknown as Json }),
  };
}

/** `1-3,7`, `12`, or ids. */
function selection(wanted: readonly string[]): (number: number, id: string) => boolean {
  const numbers: [number, number][] = [];
  const ids = new Set<string>();
  for (const word of wanted) {
    const parts = word.split(",").map((p) => /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(p));
    if (parts.every((p) => p !== null)) for (const p of parts) numbers.push([Number(p?.[1]), Number(p?.[2] ?? p?.[1])]);
    else ids.add(word);
  }
  return (number, id) =>
    ids.has(id) || ids.has(basename(id)) || numbers.some(([from, to]) => number >= from && number <= to);
}
