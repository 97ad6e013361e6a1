/**
 * IIIF: the text as annotations over the canvases, in a form that viewers open (Presentation 3.0 and the Web Annotation
 * data model). A work becomes a folder with `manifest.json` and one annotation page a canvas.
 *
 * Canvases and images of a IIIF source keep their own addresses, so that a viewer takes the pictures from where they are.
 * Pages of other sources get a canvas of their own, and their images lie beside the manifest.
 */
import type { Region } from "./layout.js";
import { extensionOf, type Work } from "./pages.js";

const PRESENTATION = "http://iiif.io/api/presentation/3/context.json";

/** A file of the export: its path below the work's folder, and what is in it. */
export interface WorkFile {
  path: string;
  bytes: string | Uint8Array;
}

/** Where a viewer finds a picture, and its MIME type where that is known. */
interface Shown {
  id: string;
  format?: string;
}

interface Canvas {
  id: string;
  type: "Canvas";
  label: object;
  height: number;
  width: number;
  items: [{ id: string; type: "AnnotationPage"; items: object[] }];
  annotations: object[];
}

/** The files of a work. `base` is the web address at which the export's folder will be found. */
export async function* annotationsOf(work: Work, base: string): AsyncGenerator<WorkFile> {
  const root = `${base.replace(/\/+$/, "")}/${encodeURIComponent(work.name)}`;
  const canvases = new Map<string, Canvas>();
  for (const page of work.pages) {
    const { metadata } = page;
    const layout = await page.layout();
    const theirs = typeof metadata.canvas === "string" && /^https?:\/\//.test(metadata.canvas);
    const canvas = theirs ? String(metadata.canvas).replace(/#.*$/, "") : `${root}/canvas/${page.name}`;
    const size = sizeOf(metadata.canvasSize);
    const part = partOf(metadata.inset, size);
    const place = part ?? { x: 0, y: 0, ...(size ?? layout) };
    const address = `${root}/annotations/${page.name}.json`;
    const annotations = {
      "@context": PRESENTATION,
      id: address,
      type: "AnnotationPage",
      label: { none: [page.label] },
      items: layout.regions.flatMap((region, i) => {
        const known = region.estimated ? part : within(place, region, layout);
        return annotation(region.text, `${address}#${i + 1}`, target(canvas, known));
      }),
    };
    yield { path: `annotations/${page.name}.json`, bytes: `${JSON.stringify(annotations, null, 2)}\n` };
    let shown: Shown | undefined = typeof metadata.url === "string" && theirs ? { id: metadata.url } : undefined;
    if (shown === undefined) {
      const image = await page.image();
      if (image !== undefined) {
        const path = `images/${page.name}.${extensionOf(image)}`;
        yield { path, bytes: image.bytes };
        shown = { id: `${root}/${path}`, format: image.mime };
      }
    }
    // A canvas that is painted in parts gave a page for each of them, and is one canvas all the same.
    const known = canvases.get(canvas) ?? {
      id: canvas,
      type: "Canvas",
      label: page.row.label ?? { none: [page.label] },
      height: Math.max(1, size?.height ?? place.y + place.height),
      width: Math.max(1, size?.width ?? place.x + place.width),
      items: [{ id: `${root}/painting/${page.name}`, type: "AnnotationPage", items: [] }],
      annotations: [],
    };
    canvases.set(canvas, known);
    if (shown !== undefined)
      known.items[0].items.push(painting(shown, `${root}/painting/${page.name}/1`, target(canvas, part), layout));
    // Embedded: a viewer has them at once, and needs no server that sends the right headers.
    const { "@context": _, ...embedded } = annotations;
    known.annotations.push(embedded);
  }
  const rights = work.pages[0]?.metadata.rights;
  const manifest = {
    "@context": PRESENTATION,
    id: `${root}/manifest.json`,
    type: "Manifest",
    label: { none: [work.title] },
    ...(typeof rights === "string" && /^https?:\/\//.test(rights) ? { rights } : {}),
    items: [...canvases.values()],
  };
  yield { path: "manifest.json", bytes: `${JSON.stringify(manifest, null, 2)}\n` };
}

/** A place on a canvas, in its units. */
interface Place {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Where a region of a page lies that is painted at a place. */
function within(place: Place, { box }: Region, page: { width: number; height: number }): Place {
  const [left, top, right, bottom] = box;
  const scale = { x: place.width / (page.width || 1), y: place.height / (page.height || 1) };
  const x = Math.round(place.x + left * scale.x);
  const y = Math.round(place.y + top * scale.y);
  const width = Math.max(1, Math.round(place.x + right * scale.x) - x);
  const height = Math.max(1, Math.round(place.y + bottom * scale.y) - y);
  return { x, y, width, height };
}

/** The place that a media fragment names (W3C Media Fragments 1.0, 4.2.2); undefined where there is none. */
function partOf(inset: unknown, canvas: { width: number; height: number } | undefined): Place | undefined {
  if (typeof inset !== "string") return undefined;
  const [, unit, numbers = ""] = /^(pixel:|percent:)?([\d.,]+)$/.exec(inset) ?? [];
  const [x = Number.NaN, y = Number.NaN, width = Number.NaN, height = Number.NaN] = numbers.split(",").map(Number);
  if (![x, y, width, height].every(Number.isFinite) || width <= 0 || height <= 0) return undefined;
  if (unit !== "percent:") return { x, y, width, height };
  if (canvas === undefined) return undefined;
  const scale = { x: canvas.width / 100, y: canvas.height / 100 };
  return { x: x * scale.x, y: y * scale.y, width: width * scale.x, height: height * scale.y };
}

/** The address of a place; where none is known the whole canvas is meant. */
function target(canvas: string, place: Place | undefined): string {
  return place === undefined ? canvas : `${canvas}#xywh=${place.x},${place.y},${place.width},${place.height}`;
}

function annotation(text: string, id: string, target: string): object[] {
  if (text === "") return [];
  return [
    {
      id,
      type: "Annotation",
      // "supplementing" is what Presentation 3.0 (section 5.6) has for transcriptions.
      motivation: "supplementing",
      body: { type: "TextualBody", value: text, format: "text/plain" },
      target,
    },
  ];
}

function painting(shown: Shown, id: string, target: string, size: { width: number; height: number }): object {
  return {
    id,
    type: "Annotation",
    motivation: "painting",
    body: {
      id: shown.id,
      type: "Image",
      ...(shown.format === undefined ? {} : { format: shown.format }),
      ...(size.width > 0 && size.height > 0 ? { width: size.width, height: size.height } : {}),
    },
    target,
  };
}

function sizeOf(value: unknown): { width: number; height: number } | undefined {
  if (!Array.isArray(value)) return undefined;
  const [width, height] = value as unknown[];
  return typeof width === "number" && typeof height === "number" && width > 0 && height > 0
    ? { width, height }
    : undefined;
}
