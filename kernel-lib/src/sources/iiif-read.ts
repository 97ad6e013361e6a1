/**
 * Reads IIIF Presentation documents as institutions write them: versions 2 and 3 and their dialects (no type, no
 * context, one object where a list belongs, contexts of something else). A tolerant walk of our own, since every
 * library that was tried refuses or misreads some real manifests. Pure: JSON in, canvases out.
 */
import type { LanguageMap } from "./index.js";

type Node = { readonly [key: string]: unknown };

/** An image service, as far as a manifest tells of it. */
export interface ImageService {
  id: string;
  version: 1 | 2 | 3;
  /** 0, 1 or 2; undefined if the profile names none. */
  level?: number;
  width?: number;
  height?: number;
  /** True if a limit (maxWidth, maxHeight, maxArea) is declared: then `max` is the word for the largest size. */
  limited: boolean;
  sizes: { width: number; height: number }[];
}

/** An image that is painted on a canvas. */
export interface CanvasImage {
  /** Address of the image itself, where there is no service or the service fails. */
  id?: string;
  service?: ImageService;
  width?: number;
  height?: number;
  /** Region and rotation for the image service (ImageApiSelector). */
  region?: string;
  rotation?: string;
  /** Part of the canvas that it covers (`xywh` of the target); undefined for the whole canvas. */
  inset?: string;
  /** Other images that could stand in its place (Choice). */
  alternatives: number;
}

/** One page of a work. */
export interface Canvas {
  id: string;
  label: LanguageMap;
  width?: number;
  height?: number;
  images: CanvasImage[];
  /** What is on it that is no image: `Video`, `Sound`, `Text` …. */
  others: string[];
  metadata: { label: LanguageMap; value: LanguageMap }[];
}

/** A manifest, read. */
export interface Manifest {
  type: "manifest";
  version: 2 | 3;
  id: string;
  label: LanguageMap;
  summary?: LanguageMap;
  metadata: { label: LanguageMap; value: LanguageMap }[];
  rights?: string;
  /** `requiredStatement` or `attribution`. */
  attribution?: LanguageMap;
  viewingDirection?: string;
  canvases: Canvas[];
  /** Ids of canvases by id of the range that holds them, nested ones included. */
  ranges: Map<string, { label: LanguageMap; canvases: string[] }>;
  /** What was left out, in sentences. */
  notices: string[];
}

/** A collection: addresses of manifests and further collections. */
export interface Collection {
  type: "collection";
  version: 2 | 3;
  id: string;
  label: LanguageMap;
  members: { id: string; kind: "manifest" | "collection"; label: LanguageMap; inline?: unknown }[];
}

/** Reads a document; undefined if it is neither manifest, collection, canvas nor image information. `address` is where it was found. */
export function readPresentation(json: unknown, address: string): Manifest | Collection | undefined {
  const doc = node(json);
  if (doc === undefined) return undefined;
  const type = typeOf(doc);
  if (isCollection(doc, type)) return readCollection(doc, address);
  if (type === "Canvas") return manifestOf(doc, address, [doc], versionOf(doc));
  if (list(doc.sequences).length > 0) return manifestOf(doc, address, canvases2(doc), 2);
  if (type === "Manifest" && versionOf(doc) === 2) return manifestOf(doc, address, canvases2(doc), 2);
  if (type === "Manifest" || list(doc.items).some((i) => typeOf(node(i)) === "Canvas"))
    return manifestOf(doc, address, list(doc.items).map(node).filter(defined), 3);
  const service = readService(doc, "");
  if (service !== undefined && (doc.protocol !== undefined || (service.width ?? 0) > 0)) {
    // An info.json: the image alone, as a work of one page.
    const image: CanvasImage = { service, alternatives: 0, ...sizeOf(doc) };
    const canvas: Canvas = {
      id: service.id,
      label: {},
      images: [image],
      others: [],
      metadata: [],
      ...sizeOf(doc),
    };
    return {
      type: "manifest",
      version: service.version === 3 ? 3 : 2,
      id: address,
      label: {},
      metadata: [],
      canvases: [canvas],
      ranges: new Map(),
      notices: [],
    };
  }
  return undefined;
}

function isCollection(doc: Node, type: string): boolean {
  if (type === "Collection") return true;
  if (type !== "") return false;
  return list(doc.manifests).length > 0 || list(doc.members).length > 0 || list(doc.collections).length > 0;
}

function versionOf(doc: Node): 2 | 3 {
  const context = list(doc["@context"]).filter((c): c is string => typeof c === "string");
  if (context.some((c) => c.includes("/presentation/3"))) return 3;
  if (context.some((c) => c.includes("/presentation/2") || c.includes("shared-canvas"))) return 2;
  // No context, or one that belongs to something else: the form of the keys tells.
  if (doc.sequences !== undefined || doc.images !== undefined || doc.manifests !== undefined) return 2;
  if (doc["@type"] !== undefined && doc.type === undefined) return 2;
  return 3;
}

function readCollection(doc: Node, address: string): Collection {
  const members: Collection["members"] = [];
  const add = (values: unknown, fallback: "manifest" | "collection" | undefined) => {
    for (const value of list(values)) {
      const item = typeof value === "string" ? { id: value } : node(value);
      if (item === undefined) continue;
      const id = idOf(item);
      const type = typeOf(item);
      const kind = type === "Collection" ? "collection" : type === "Manifest" ? "manifest" : fallback;
      if (id === undefined || kind === undefined) continue;
      const whole = list(item.items).length > 0 || list(item.sequences).length > 0 || list(item.manifests).length > 0;
      members.push({ id, kind, label: languages(item.label), ...(whole ? { inline: item } : {}) });
    }
  };
  add(doc.items, undefined);
  add(doc.members, "manifest");
  add(doc.manifests, "manifest");
  add(doc.collections, "collection");
  const seen = new Set<string>();
  return {
    type: "collection",
    version: versionOf(doc),
    id: idOf(doc) ?? address,
    label: languages(doc.label),
    // `members` repeats what `manifests` and `collections` hold in some documents of version 2.1.
    members: members.filter((m) => !seen.has(m.id) && seen.add(m.id)),
  };
}

function canvases2(doc: Node): Node[] {
  const sequences = list(doc.sequences).map(node).filter(defined);
  return list(sequences.find((s) => list(s.canvases).length > 0)?.canvases)
    .map(node)
    .filter(defined);
}

function manifestOf(doc: Node, address: string, found: readonly Node[], version: 2 | 3): Manifest {
  const notices: string[] = [];
  const sequences = list(doc.sequences).filter((s) => list(node(s)?.canvases).length > 0).length;
  if (sequences > 1) notices.push(`It has ${sequences} sequences; the first is taken.`);
  const canvases = found
    .filter((c) => version === 2 || typeOf(c) === "Canvas" || typeOf(c) === "")
    .map((canvas, i) => readCanvas(canvas, version, `${idOf(doc) ?? address}#canvas=${i + 1}`));
  const statement = node(doc.requiredStatement);
  const first = node(list(doc.sequences)[0]);
  const rights = [doc.rights, doc.license].flatMap(list).find((r): r is string => typeof r === "string" && r !== "");
  const direction = doc.viewingDirection ?? first?.viewingDirection;
  const attribution = languages(statement?.value ?? doc.attribution);
  const summary = languages(doc.summary ?? doc.description);
  return {
    type: "manifest",
    version,
    id: idOf(doc) ?? address,
    label: languages(doc.label),
    metadata: pairs(doc.metadata),
    canvases,
    ranges: readRanges(doc),
    notices,
    ...(Object.keys(summary).length === 0 ? {} : { summary }),
    ...(rights === undefined ? {} : { rights }),
    ...(Object.keys(attribution).length === 0 ? {} : { attribution }),
    ...(typeof direction === "string" ? { viewingDirection: direction } : {}),
  };
}

function readCanvas(canvas: Node, version: 2 | 3, fallbackId: string): Canvas {
  const images: CanvasImage[] = [];
  const others: string[] = [];
  const annotations =
    version === 2 && canvas.items === undefined
      ? list(canvas.images).map(node).filter(defined)
      : list(canvas.items)
          .map(node)
          .filter(defined)
          .flatMap((page) => list(page.items).map(node).filter(defined));
  for (const annotation of annotations) {
    // Missing and empty motivations are painting: real manifests leave them out (a library of Berlin's does).
    const motivations = list(annotation.motivation).filter((m): m is string => typeof m === "string" && m !== "");
    if (motivations.length > 0 && !motivations.some((m) => /painting$/i.test(m))) continue;
    const inset = insetOf(annotation.on ?? annotation.target);
    for (const body of list(annotation.resource ?? annotation.body)) {
      const image = imageOf(body, others);
      if (image !== undefined) images.push({ ...image, ...(inset === undefined ? {} : { inset }) });
    }
  }
  return {
    id: idOf(canvas) ?? fallbackId,
    label: languages(canvas.label),
    images,
    others,
    metadata: pairs(canvas.metadata),
    ...sizeOf(canvas),
  };
}

function imageOf(value: unknown, others: string[]): CanvasImage | undefined {
  if (typeof value === "string") return { id: value, alternatives: 0 };
  const body = node(value);
  if (body === undefined) return undefined;
  const type = typeOf(body);
  if (type === "Choice") {
    const options = [...list(body.default), ...list(body.item), ...list(body.items)];
    const skipped: string[] = [];
    const found = options.map((o) => imageOf(o, skipped)).filter(defined);
    const [first] = found;
    if (first === undefined) others.push(...skipped);
    return first === undefined ? undefined : { ...first, alternatives: found.length - 1 };
  }
  if (type === "SpecificResource") {
    const image = imageOf(body.full ?? body.source, others);
    return image === undefined ? undefined : { ...image, ...selected(body.selector) };
  }
  if (!isImage(body, type)) {
    others.push(type === "" ? "something that is no image" : type);
    return undefined;
  }
  const service = list(body.service ?? body.services)
    .map((s) => readService(node(s), idOf(body) ?? ""))
    .filter(defined)
    .sort((a, b) => b.version - a.version)[0];
  const id = idOf(body);
  if (id === undefined && service === undefined) return undefined;
  return {
    alternatives: 0,
    ...(id === undefined ? {} : { id }),
    ...(service === undefined ? {} : { service }),
    ...sizeOf(body),
  };
}

function isImage(body: Node, type: string): boolean {
  if (type === "Image") return true;
  const format = typeof body.format === "string" ? body.format : "";
  if (format !== "") return format.startsWith("image/");
  if (type !== "") return false;
  return body.service !== undefined || /\.(jpe?g|png|tiff?|jp2|webp|gif)$/i.test(idOf(body) ?? "");
}

function selected(selector: unknown): { region?: string; rotation?: string } {
  for (const value of list(selector)) {
    const s = node(value);
    if (s === undefined || typeOf(s) !== "ImageApiSelector") continue;
    return {
      ...(typeof s.region === "string" ? { region: s.region } : {}),
      ...(typeof s.rotation === "string" || typeof s.rotation === "number" ? { rotation: String(s.rotation) } : {}),
    };
  }
  return {};
}

function insetOf(target: unknown): string | undefined {
  const [first] = list(target);
  if (typeof first === "string") return /#(?:.*&)?xywh=([^&]+)/.exec(first)?.[1];
  const on = node(first);
  if (on === undefined) return undefined;
  for (const value of list(on.selector)) {
    const fragment = node(value)?.value;
    if (typeof fragment === "string") return /xywh=([^&]+)/.exec(fragment)?.[1];
  }
  const id = idOf(on);
  return id === undefined ? undefined : /#(?:.*&)?xywh=([^&]+)/.exec(id)?.[1];
}

/** An image service, or undefined for one of another kind (authentication, search). `body` is the id of the image it serves. */
export function readService(service: Node | undefined, body: string): ImageService | undefined {
  if (service === undefined) return undefined;
  const id = idOf(service);
  if (id === undefined) return undefined;
  const type =
    typeof service.type === "string" ? service.type : typeof service["@type"] === "string" ? service["@type"] : "";
  const context = list(service["@context"]).filter((c): c is string => typeof c === "string");
  const profiles = list(service.profile);
  const names = profiles.filter((p): p is string => typeof p === "string");
  const profile = names[0] ?? "";
  const about = [type, ...context, ...names].join(" ");
  if (/auth|search|physdim|annex|georeference/i.test(about) && !/image/i.test(about)) return undefined;
  if (type !== "" && !/ImageService|iiif:Image/.test(type) && !/image/i.test(about)) return undefined;
  const version =
    Number(/ImageService(\d)/.exec(type)?.[1]) ||
    Number(/image(?:-api)?\/(\d)/.exec(about)?.[1]) ||
    (/library\.stanford\.edu\/iiif\/image-api\/1/.test(about) ? 1 : 0) ||
    (/^level\d$/.test(profile) ? 3 : body.endsWith("native.jpg") ? 1 : 2);
  const level = /level(\d)/.exec(profile)?.[1];
  // Version 2 keeps limits in an object inside the profile list, version 3 in the service itself.
  const limits = [service, ...profiles.map(node).filter(defined)];
  const limited = limits.some((l) => ["maxWidth", "maxHeight", "maxArea"].some((k) => typeof l[k] === "number"));
  return {
    id: id.replace(/\/+$/, ""),
    version: version === 1 ? 1 : version === 3 ? 3 : 2,
    limited,
    sizes: list(service.sizes)
      .map(node)
      .filter(defined)
      .map((s) => ({ width: Number(s.width), height: Number(s.height) }))
      .filter((s) => s.width > 0 && s.height > 0),
    ...(level === undefined ? {} : { level: Number(level) }),
    ...sizeOf(service),
  };
}

function readRanges(doc: Node): Manifest["ranges"] {
  const ranges: Manifest["ranges"] = new Map();
  const canvasOf = (value: unknown): string | undefined =>
    (typeof value === "string" ? value : idOf(node(value) ?? {}))?.replace(/#.*$/, "");
  // Version 2 lists all ranges side by side and refers to children by id.
  const flat = list(doc.structures).map(node).filter(defined);
  const children = new Map<string, string[]>();
  const visit = (range: Node): string[] => {
    const id = idOf(range) ?? "";
    const own: string[] = [];
    for (const canvas of list(range.canvases)) own.push(...[canvasOf(canvas)].filter(defined));
    for (const value of [...list(range.items), ...list(range.members)]) {
      const item = node(value);
      const type = item === undefined ? "" : typeOf(item);
      if (item !== undefined && type === "Range") own.push(...(item.items === undefined ? [] : visit(item)));
      else if (type === "SpecificResource") own.push(...[canvasOf(item?.source)].filter(defined));
      else own.push(...[canvasOf(value)].filter(defined));
    }
    children.set(
      id,
      list(range.ranges).filter((r): r is string => typeof r === "string"),
    );
    ranges.set(id, { label: languages(range.label), canvases: own });
    return own;
  };
  for (const range of flat) visit(range);
  const all = (id: string, seen: Set<string>): string[] => {
    if (seen.has(id)) return [];
    seen.add(id);
    return [...(ranges.get(id)?.canvases ?? []), ...(children.get(id) ?? []).flatMap((c) => all(c, seen))];
  };
  for (const [id, range] of ranges) {
    const canvases = [...new Set(all(id, new Set()))];
    ranges.set(id, { label: range.label, canvases });
  }
  return ranges;
}

// ---- values as they come -------------------------------------------------------------------------------------------

/** One object where a list belongs is a list of one; nothing is an empty one. */
function list(value: unknown): readonly unknown[] {
  return value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
}

function node(value: unknown): Node | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Node) : undefined;
}

function defined<T>(value: T | undefined): value is T {
  return value !== undefined;
}

function idOf(value: Node): string | undefined {
  const id = value.id ?? value["@id"];
  return typeof id === "string" && id !== "" ? id : undefined;
}

/** The type without its prefix: `sc:Manifest`, `oa:Choice` and `dctypes:Image` are those of version 3. */
function typeOf(value: Node | undefined): string {
  const type = list(value?.type ?? value?.["@type"])[0];
  return typeof type === "string" ? type.replace(/^.*[:/#]/, "") : "";
}

function sizeOf(value: Node): { width?: number; height?: number } {
  const [width, height] = [Number(value.width), Number(value.height)];
  return {
    ...(Number.isFinite(width) && width > 0 ? { width } : {}),
    ...(Number.isFinite(height) && height > 0 ? { height } : {}),
  };
}

function pairs(value: unknown): { label: LanguageMap; value: LanguageMap }[] {
  return list(value)
    .map(node)
    .filter(defined)
    .map((p) => ({ label: languages(p.label), value: languages(p.value) }));
}

/** Any form of a label (text, number, `@value` with `@language`, lists of them, language map) as a language map. */
export function languages(value: unknown): LanguageMap {
  const map: LanguageMap = {};
  const add = (language: string, text: unknown) => {
    if (typeof text !== "string" && typeof text !== "number") return;
    const texts = map[language] ?? [];
    texts.push(String(text));
    map[language] = texts;
  };
  for (const item of list(value)) {
    const n = node(item);
    if (n === undefined) add("none", item);
    else if (n["@value"] !== undefined)
      for (const text of list(n["@value"])) add(typeof n["@language"] === "string" ? n["@language"] : "none", text);
    else
      for (const [language, texts] of Object.entries(n))
        if (language !== "@language")
          for (const text of list(texts)) add(language === "@none" ? "none" : language, text);
  }
  return map;
}

/** The texts of a language map in one language: the first that is wished for and there, else English, else any. */
export function preferred(map: LanguageMap | undefined, wishes: readonly string[] = []): string | undefined {
  if (map === undefined) return undefined;
  const names = Object.keys(map);
  for (const wish of [...wishes, "en", "none"]) {
    const name = names.find(
      (n) => n.toLowerCase() === wish.toLowerCase() || n.toLowerCase().startsWith(`${wish.toLowerCase()}-`),
    );
    if (name !== undefined) return map[name]?.join("; ");
  }
  return names[0] === undefined ? undefined : map[names[0]]?.join("; ");
}
