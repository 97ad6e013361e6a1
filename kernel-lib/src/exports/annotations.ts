/**
 * IIIF: the text as annotations over the canvases, in a form that viewers open (Presentation 3.0 and the Web Annotation
 * data model). A work becomes a folder with `manifest.json` and one annotation page a canvas.
 *
 * Canvases and images of a IIIF source keep their own addresses, so that a viewer takes the pictures from where they are.
 * Pages of other sources get a canvas of their own, and their images lie beside the manifest.
 */
import type { Region } from "./layout.js";
import { type ExportPage, extensionOf, type Work } from "./pages.js";

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

/** The files of a work. `base` is the web address at which the export's folder will be found. */
export async function* annotationsOf(work: Work, base: string): AsyncGenerator<WorkFile> {
  const root = `${base.replace(/\/+$/, "")}/${encodeURIComponent(work.name)}`;
  const canvases: object[] = [];
  for (const page of work.pages) {
    const { metadata } = page;
    const layout = await page.layout();
    const theirs = typeof metadata.canvas === "string" && /^https?:\/\//.test(metadata.canvas);
    const canvas = theirs ? String(metadata.canvas).replace(/#.*$/, "") : `${root}/canvas/${page.name}`;
    const size = sizeOf(metadata.canvasSize) ?? { width: layout.width, height: layout.height };
    const scale = { x: size.width / (layout.width || 1), y: size.height / (layout.height || 1) };
    const address = `${root}/annotations/${page.name}.json`;
    const annotations = {
      "@context": PRESENTATION,
      id: address,
      type: "AnnotationPage",
      label: { none: [page.label] },
      items: layout.regions.flatMap((region, i) => annotation(region, `${address}#${i + 1}`, canvas, scale)),
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
    const { "@context": _, ...embedded } = annotations;
    canvases.push({
      id: canvas,
      type: "Canvas",
      label: page.row.label ?? { none: [page.label] },
      height: Math.max(1, size.height),
      width: Math.max(1, size.width),
      items: [
        {
          id: `${root}/painting/${page.name}`,
          type: "AnnotationPage",
          items: shown === undefined ? [] : [painting(page, shown, canvas, `${root}/painting/${page.name}/1`, layout)],
        },
      ],
      // Embedded: a viewer has them at once, and needs no server that sends the right headers.
      annotations: [embedded],
    });
  }
  const rights = work.pages[0]?.metadata.rights;
  const manifest = {
    "@context": PRESENTATION,
    id: `${root}/manifest.json`,
    type: "Manifest",
    label: { none: [work.title] },
    ...(typeof rights === "string" && /^https?:\/\//.test(rights) ? { rights } : {}),
    items: canvases,
  };
  yield { path: "manifest.json", bytes: `${JSON.stringify(manifest, null, 2)}\n` };
}

function annotation(region: Region, id: string, canvas: string, scale: { x: number; y: number }): object[] {
  if (region.text === "") return [];
  const [left, top, right, bottom] = region.box;
  const x = Math.round(left * scale.x);
  const y = Math.round(top * scale.y);
  const width = Math.max(1, Math.round(right * scale.x) - x);
  const height = Math.max(1, Math.round(bottom * scale.y) - y);
  return [
    {
      id,
      type: "Annotation",
      // "supplementing" is what Presentation 3.0 (section 5.6) has for transcriptions.
      motivation: "supplementing",
      body: { type: "TextualBody", value: region.text, format: "text/plain" },
      // Where no place is known the whole canvas is meant.
      target: region.estimated ? canvas : `${canvas}#xywh=${x},${y},${width},${height}`,
    },
  ];
}

function painting(
  page: ExportPage,
  shown: Shown,
  canvas: string,
  id: string,
  size: { width: number; height: number },
): object {
  const inset = typeof page.metadata.inset === "string" ? `#xywh=${page.metadata.inset}` : "";
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
    target: `${canvas}${inset}`,
  };
}

function sizeOf(value: unknown): { width: number; height: number } | undefined {
  if (!Array.isArray(value)) return undefined;
  const [width, height] = value as unknown[];
  return typeof width === "number" && typeof height === "number" && width > 0 && height > 0
    ? { width, height }
    : undefined;
}
