/** IIIF manifests and collections, of Presentation 2 and 3, from the web or a file: one page for each canvas with an image. */
import { readFile, stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { errorData, SourceError, UsageError } from "../errors.js";
import type { Fault, Json, SourceSpec } from "../protocol.js";
import { DownloadError, Downloader, httpUrl } from "./download.js";
import { imageUrl, imageUrlBy, pageImages, WAYS, type Way } from "./iiif-image.js";
import {
  type Canvas,
  type CanvasImage,
  type Collection,
  type ImageService,
  type Manifest,
  preferred,
  readPresentation,
  readService,
} from "./iiif-read.js";
import {
  faultFrom,
  type Inspection,
  type PageOrFault,
  type PagesOptions,
  type Source,
  type SourceType,
} from "./index.js";
import { REMOTE_OPTIONS, type RemoteImage, remoteOptions, remotePages } from "./remote.js";

/** Collections inside collections, at most. */
const DEPTH = 8;

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
    range: "only the canvases of this range: its id or label",
    ...REMOTE_OPTIONS,
  },
  async open(spec) {
    const options = readOptions(spec);
    const { downloader, strict } = remoteOptions(spec.options);
    const doc = readPresentation(await load(spec.location, downloader), spec.location);
    if (doc === undefined)
      throw new SourceError(
        `${spec.location} is no IIIF manifest or collection.`,
        "Give the address of the manifest itself; viewers often have it behind a IIIF logo or in `?manifest=`.",
      );
    return new IiifSource(spec.location, doc, options, downloader, strict);
  },
  async detect(location) {
    const web = /^https?:\/\//i.test(location);
    if (!web && !/\.json$/i.test(location)) return { score: 0, why: "neither an address nor a .json file" };
    try {
      const json = web ? await peek(location) : JSON.parse(await readFile(location, "utf8"));
      const doc = json === undefined ? undefined : readPresentation(json, location);
      if (doc === undefined) return { score: 0, why: "it holds no IIIF manifest or collection" };
      return { score: 1, why: `it is a IIIF ${doc.type} of version ${doc.version}` };
    } catch (error) {
      return { score: 0, why: errorData(error).what };
    }
  },
};

/** The document at an address, unless it is an image or page by its beginning: then it is not fetched whole. */
async function peek(location: string): Promise<unknown> {
  const path = httpUrl(location).pathname;
  if (/\.(jpe?g|png|tiff?|webp|gif|jp2|pdf)$/i.test(path)) return undefined;
  return new Downloader({ maxBytes: 64 << 20 }).json(location);
}

async function load(location: string, downloader: Downloader, signal?: AbortSignal): Promise<unknown> {
  if (/^https?:\/\//i.test(location)) return downloader.json(location, signal === undefined ? {} : { signal });
  const path = resolve(location);
  if (!(await stat(path).catch(() => undefined))?.isFile())
    throw new SourceError(`There is no file ${path}.`, "Check the path of the manifest.");
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new SourceError(`${path} holds no JSON.`, "Save the manifest again.", { cause });
  }
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

/** A canvas that was chosen, within its manifest. */
interface Chosen {
  manifest: Manifest;
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
  /** What worked with a host, and the page that finds it out, for which the others wait; infos of services that were asked. */
  readonly #ways = new Map<string, Way>();
  readonly #finding = new Map<string, Promise<unknown>>();
  readonly #infos = new Map<string, Promise<ImageService | undefined>>();

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

  /** Manifests one after another: of a collection each is fetched when its turn comes. */
  async *#manifests(signal?: AbortSignal): AsyncGenerator<Manifest | { fault: Fault }> {
    const seen = new Set<string>([this.#doc.id, this.#location]);
    const walk = async function* (
      self: IiifSource,
      doc: Manifest | Collection,
      depth: number,
    ): AsyncGenerator<Manifest | { fault: Fault }> {
      if (doc.type === "manifest") {
        yield doc;
        return;
      }
      for (const member of doc.members) {
        if (signal?.aborted) return;
        if (seen.has(member.id)) continue;
        seen.add(member.id);
        const fault = (reason: string, fix: string) => ({
          fault: { key: member.id, source: self.#location, reason, fix },
        });
        if (depth >= DEPTH) {
          yield fault(`It lies more than ${DEPTH} collections deep.`, "Name it as a source of its own.");
          continue;
        }
        try {
          const json = member.inline ?? (await load(member.id, self.#downloader, signal));
          const inner = readPresentation(json, member.id);
          if (inner === undefined) yield fault("It is no IIIF manifest or collection.", "Open it in a browser.");
          else yield* walk(self, inner, depth + 1);
        } catch (error) {
          if (signal?.aborted) return;
          yield faultFrom(error, { key: member.id, source: self.#location }, "Try again later.");
        }
      }
    };
    yield* walk(this, this.#doc, 0);
  }

  /** The canvases of a manifest that were asked for. Throws SourceError for a selection that leads nowhere. */
  #chosen(manifest: Manifest): Chosen[] {
    const all = manifest.canvases.map((canvas, i) => ({ manifest, number: i + 1, canvas }));
    const { canvas: wanted, range } = this.#options;
    let found = all;
    if (range !== undefined) {
      const match =
        manifest.ranges.get(range) ??
        [...manifest.ranges.values()].find((r) => Object.values(r.label).flat().includes(range));
      if (match === undefined && this.#doc.type === "manifest")
        throw new SourceError(
          `${this.#location} has no range ${JSON.stringify(range)}.`,
          manifest.ranges.size === 0
            ? "It has none at all."
            : `It has: ${[...manifest.ranges]
                .slice(0, 12)
                .map(([id, r]) => preferred(r.label) ?? id)
                .join(", ")}.`,
        );
      const ids = new Set(match?.canvases ?? []);
      found = found.filter((c) => ids.has(c.canvas.id));
    }
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

  async count(): Promise<number | undefined> {
    // A collection would have to be fetched whole.
    if (this.#doc.type === "collection") return undefined;
    return this.#chosen(this.#doc).reduce((sum, c) => sum + pageImages(c.canvas.images).taken.length, 0);
  }

  async inspect(options: { signal?: AbortSignal } = {}): Promise<Inspection> {
    const found: Inspection = { kind: this.kind, version: String(this.#doc.version), pages: [], skipped: [] };
    for await (const manifest of this.#manifests(options.signal)) {
      if ("fault" in manifest) {
        found.skipped.push({ key: manifest.fault.key, reason: manifest.fault.reason });
        continue;
      }
      for (const chosen of this.#chosen(manifest)) {
        const { canvas } = chosen;
        const { taken } = pageImages(canvas.images);
        for (const reason of notices(canvas)) found.skipped.push({ key: canvas.id, reason });
        for (const [i, image] of taken.entries()) {
          const url = imageUrl(image, this.#options.width);
          const label = preferred(canvas.label, this.#options.language);
          const width = image.service?.width ?? image.width ?? canvas.width;
          const height = image.service?.height ?? image.height ?? canvas.height;
          found.pages.push({
            key: keyOf(canvas, i),
            ...(url === undefined ? {} : { url }),
            ...(label === undefined ? {} : { label }),
            ...(width === undefined ? {} : { width }),
            ...(height === undefined ? {} : { height }),
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

  async *#images(signal?: AbortSignal): AsyncGenerator<RemoteImage | { fault: Fault }> {
    for await (const manifest of this.#manifests(signal)) {
      if ("fault" in manifest) {
        yield manifest;
        continue;
      }
      const about = aboutManifest(manifest, this.#options.language);
      let page = 0;
      for (const { canvas, number } of this.#chosen(manifest)) {
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
          yield {
            key: keyOf(canvas, i),
            source: manifest.id,
            page,
            ...(Object.keys(canvas.label).length === 0 ? {} : { label: canvas.label }),
            metadata,
            fetch: (s) => this.#fetch(image, s),
          };
        }
      }
    }
  }

  /** Asks for an image in every way that may work, and remembers what did: once for a host, not once a page. */
  async #fetch(image: CanvasImage, signal?: AbortSignal): ReturnType<RemoteImage["fetch"]> {
    const host = hostOf(image);
    if (image.service === undefined || this.#ways.has(host)) return this.#ask(image, host, signal);
    const finding = this.#finding.get(host);
    if (finding !== undefined) {
      await finding;
      return this.#ask(image, host, signal);
    }
    const asking = this.#ask(image, host, signal);
    this.#finding.set(
      host,
      asking.catch(() => this.#finding.delete(host)),
    );
    return asking;
  }

  async #ask(image: CanvasImage, host: string, signal?: AbortSignal): ReturnType<RemoteImage["fetch"]> {
    const wanted = { as: "image", ...(signal === undefined ? {} : { signal }) } as const;
    const worked = this.#ways.get(host);
    const ways = worked === undefined ? WAYS : [worked, ...WAYS.filter((w) => w !== worked)];
    let first: unknown;
    const tried = new Set<string>();
    for (const way of ways) {
      const info = way === "listed size" ? await this.#info(image, signal) : undefined;
      const url = imageUrlBy(way, image, this.#options.width, info);
      if (url === undefined || tried.has(url)) continue;
      tried.add(url);
      try {
        const entry = await this.#downloader.get(url, wanted);
        this.#ways.set(host, way);
        return entry;
      } catch (error) {
        first ??= error;
        const status = error instanceof DownloadError ? error.status : undefined;
        // Words of the Image API that a server does not know are answered so; any other failure has another cause.
        if (![400, 404, 405, 406, 501].includes(status ?? 0)) throw error;
      }
    }
    throw first ?? new DownloadError("The canvas names no address of an image.", "Tell the keepers of the manifest.");
  }

  #info(image: CanvasImage, signal?: AbortSignal): Promise<ImageService | undefined> {
    const { service } = image;
    if (service === undefined) return Promise.resolve(undefined);
    let info = this.#infos.get(service.id);
    if (info === undefined) {
      info = this.#downloader
        .json(`${service.id}/info.json`, signal === undefined ? {} : { signal })
        .then((json) => readService(json as { [key: string]: unknown }, ""))
        .catch(() => undefined);
      this.#infos.set(service.id, info);
    }
    return info;
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

function hostOf(image: CanvasImage): string {
  try {
    return new URL(image.service?.id ?? image.id ?? "").host;
  } catch {
    return "";
  }
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
