/**
 * Reads IIIF Presentation documents as institutions write them: versions 2 and 3 and their dialects (no type, no
 * context, one object where a list belongs, contexts of something else). A tolerant walk of our own, since every
 * library that was tried refuses or misreads some real manifests. Pure: JSON in, canvases out.
 */
import { type CanvasImage, paintedBy } from "./iiif-body.js";
import { type Collection, isCollection, readCollection } from "./iiif-collection.js";
import { type Range, readRanges } from "./iiif-ranges.js";
import { readService } from "./iiif-service.js";
import {
  defined,
  idOf,
  languages,
  list,
  type Node,
  node,
  nodes,
  pairs,
  referenceOf,
  sizeOf,
  typeOf,
} from "./iiif-values.js";
import type { LanguageMap } from "./index.js";

export { languages, preferred } from "./iiif-values.js";

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
  /** Its ranges by id. */
  ranges: Map<string, Range>;
  /** What was left out, in sentences. */
  notices: string[];
}

/** Reads a document; undefined if it is neither manifest, collection, canvas nor image information. `address` is where it was found. */
export function readPresentation(json: unknown, address: string): Manifest | Collection | undefined {
  const doc = node(json);
  if (doc === undefined) return undefined;
  const type = typeOf(doc);
  if (isCollection(doc)) return readCollection(doc, address, versionOf(doc));
  if (type === "Canvas") return manifestOf(doc, address, [doc], versionOf(doc));
  if (list(doc.sequences).length > 0) return manifestOf(doc, address, canvases2(doc), 2);
  if (type === "Manifest" && versionOf(doc) === 2 && list(doc.items).length === 0)
    return manifestOf(doc, address, canvases2(doc), 2);
  if (type === "Manifest" || nodes(doc.items).some((i) => typeOf(i) === "Canvas" || (type === "" && isBareCanvas(i))))
    return manifestOf(doc, address, nodes(doc.items), 3);
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

/** A canvas that says no type: something is painted on it. */
function isBareCanvas(item: Node): boolean {
  if (typeOf(item) !== "") return false;
  const annotations = [...nodes(item.images), ...nodes(item.items).flatMap((page) => nodes(page.items))];
  return annotations.some((a) => a.resource !== undefined || a.body !== undefined);
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

function canvases2(doc: Node): Node[] {
  return nodes(nodes(doc.sequences).find((s) => list(s.canvases).length > 0)?.canvases);
}

function manifestOf(doc: Node, address: string, found: readonly Node[], version: 2 | 3): Manifest {
  const notices: string[] = [];
  const sequences = nodes(doc.sequences).filter((s) => list(s.canvases).length > 0).length;
  if (sequences > 1) notices.push(`It has ${sequences} sequences; the first is taken.`);
  const isPage = (c: Node) => version === 2 || typeOf(c) === "Canvas" || typeOf(c) === "";
  const left = found.filter((c) => !isPage(c)).map(typeOf);
  if (left.length > 0) notices.push(`${left.length} of its items are no canvases: ${[...new Set(left)].join(", ")}.`);
  const canvases = found
    .filter(isPage)
    .map((canvas, i) => readCanvas(canvas, `${idOf(doc) ?? address}#canvas=${i + 1}`));
  const statement = node(doc.requiredStatement);
  const first = node(list(doc.sequences)[0]);
  const rights = [doc.rights, doc.license].flatMap(list).map(referenceOf).find(defined);
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
    ranges: readRanges(doc.structures, new Set(canvases.map((c) => c.id))),
    notices,
    ...(Object.keys(summary).length === 0 ? {} : { summary }),
    ...(rights === undefined ? {} : { rights }),
    ...(Object.keys(attribution).length === 0 ? {} : { attribution }),
    ...(typeof direction === "string" ? { viewingDirection: direction } : {}),
  };
}

function readCanvas(canvas: Node, fallbackId: string): Canvas {
  const images: CanvasImage[] = [];
  const others: string[] = [];
  const size = sizeOf(canvas);
  const pages = nodes(canvas.items).flatMap((page) => nodes(page.items));
  // Some manifests of version 3 keep what is painted as version 2 does.
  for (const annotation of pages.length > 0 ? pages : nodes(canvas.images)) {
    // Missing and empty motivations are painting: real manifests leave them out (a library of Berlin's does).
    const motivations = list(annotation.motivation).filter((m): m is string => typeof m === "string" && m !== "");
    if (motivations.length > 0 && !motivations.some((m) => /painting$/i.test(m))) continue;
    images.push(...paintedBy(annotation, size, others));
  }
  return {
    id: idOf(canvas) ?? fallbackId,
    label: languages(canvas.label),
    images,
    others,
    metadata: pairs(canvas.metadata),
    ...size,
  };
}
