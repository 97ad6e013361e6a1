/** What is painted on a canvas: bodies of annotations in all their forms, and the images in them. */
import { type ImageService, serviceOf } from "./iiif-service.js";
import { idOf, list, type Node, node, nodes, referenceOf, type Size, sizeOf, typeOf } from "./iiif-values.js";

/** An image that is painted on a canvas. Its size is that of the whole image, before region and rotation. */
export interface CanvasImage extends Size {
  /** Address of the image itself, where there is no service or the service fails. */
  id?: string;
  service?: ImageService;
  /** True if the size is that of the canvas, which the image need not have. */
  guessed?: boolean;
  /** Region and rotation for the image service (ImageApiSelector, FragmentSelector). */
  region?: string;
  rotation?: string;
  /** Part of the canvas that it covers (`xywh` of the target); undefined for the whole canvas. */
  inset?: string;
  /** Other images that could stand in its place (Choice). */
  alternatives: number;
}

/** The images that an annotation paints on a canvas of size `canvas`; what is no image is named in `others`. */
export function paintedBy(annotation: Node, canvas: Size, others: string[]): CanvasImage[] {
  const at = xywhOf(annotation.on ?? annotation.target);
  const inset = at === undefined || covers(at, canvas) ? undefined : at;
  return list(annotation.resource ?? annotation.body)
    .flatMap((body) => imagesOf(body, others))
    .map((image) => ({
      ...sized(image, inset === undefined ? canvas : {}),
      ...(inset === undefined ? {} : { inset }),
    }));
}

/** With the size of the whole image, from whoever knows it best. */
function sized(image: CanvasImage, canvas: Size): CanvasImage {
  const { width, height, ...rest } = image;
  const { service } = image;
  const own = { ...(width === undefined ? {} : { width }), ...(height === undefined ? {} : { height }) };
  if (service === undefined) return { ...rest, ...canvas, ...own };
  if (service.width !== undefined) return { ...rest, ...sizeOf(service as unknown as Node) };
  // The body may be a small derivative: its size is that of the service's image only if it asks for all of it.
  if (width !== undefined && /\/full\/(?:full|max)\/[^/]+\/[^/]+$/.test(image.id ?? "")) return { ...rest, ...own };
  if (canvas.width === undefined || (image.region ?? "full") !== "full") return rest;
  return { ...rest, ...canvas, guessed: true };
}

function imagesOf(value: unknown, others: string[]): CanvasImage[] {
  if (typeof value === "string") return isNil(value) ? [] : [{ id: value, alternatives: 0 }];
  const body = node(value);
  if (body === undefined) return [];
  const type = typeOf(body);
  if (isNil(type) || isNil(idOf(body) ?? "")) return [];
  switch (type) {
    case "Choice": {
      const options = [...list(body.default), ...list(body.item), ...list(body.items)];
      const skipped: string[] = [];
      const found = options.flatMap((o) => imagesOf(o, skipped));
      const [first] = found;
      if (first === undefined) others.push(...skipped);
      return first === undefined ? [] : [{ ...first, alternatives: found.length - 1 }];
    }
    case "SpecificResource": {
      const part = selected(body.selector);
      return imagesOf(body.full ?? body.source, others).map((image) => ({ ...image, ...part }));
    }
    case "Composite":
    case "List":
    case "Independents":
      return [...list(body.item), ...list(body.items)].flatMap((i) => imagesOf(i, others));
  }
  const id = idOf(body);
  const service = serviceOf(body.service ?? body.services, id ?? "");
  if (!isImage(body, type, service)) {
    const format = typeof body.format === "string" ? body.format : "";
    others.push(type === "Image" ? format : type || "something that is no image");
    return [];
  }
  if (id === undefined && service === undefined) return [];
  const image: CanvasImage = { alternatives: 0, ...sizeOf(body) };
  if (id !== undefined) image.id = id;
  if (service !== undefined) image.service = service;
  return [image];
}

/** The empty list of RDF: "nothing", where a Choice may be left without an image. */
function isNil(name: string): boolean {
  return /^(?:rdf:nil|Nil|http:\/\/www\.w3\.org\/1999\/02\/22-rdf-syntax-ns#nil)$/.test(name);
}

function isImage(body: Node, type: string, service: ImageService | undefined): boolean {
  const format = typeof body.format === "string" ? body.format : "";
  // Some manifests call a PDF an image; what a service has pictures of is one whatever it is called.
  if (type === "Image")
    return service !== undefined || !/^(?:application\/pdf|video\/|audio\/|text\/|model\/)/.test(format);
  if (format !== "") return format.startsWith("image/");
  if (type !== "") return false;
  return service !== undefined || /\.(jpe?g|png|tiff?|jp2|webp|gif)$/i.test(idOf(body) ?? "");
}

function selected(selector: unknown): { region?: string; rotation?: string } {
  for (const s of nodes(selector)) {
    if (typeOf(s) === "ImageApiSelector")
      return {
        ...(typeof s.region === "string" ? { region: s.region } : {}),
        ...(typeof s.rotation === "string" || typeof s.rotation === "number" ? { rotation: String(s.rotation) } : {}),
      };
    const xywh = typeof s.value === "string" ? fragment(s.value.replace(/^.*#/, "")) : undefined;
    const part = xywh === undefined ? undefined : rectangle(xywh);
    if (part !== undefined) return { region: `${part.percent ? "pct:" : ""}${part.numbers.join(",")}` };
  }
  return {};
}

function xywhOf(target: unknown): string | undefined {
  const [first] = list(target);
  const on = node(first);
  for (const selector of nodes(on?.selector)) {
    const value = selector.value ?? node(selector.default)?.value;
    const found = typeof value === "string" ? fragment(value.replace(/^.*#/, "")) : undefined;
    if (found !== undefined) return found;
  }
  const id = referenceOf(first) ?? referenceOf(on?.source);
  return id?.includes("#") ? fragment(id.replace(/^.*#/, "")) : undefined;
}

/** `xywh` of a media fragment. */
function fragment(text: string): string | undefined {
  return /(?:^|&)xywh=([^&]+)/.exec(text)?.[1];
}

/** `x,y,w,h` of a media fragment, in pixels or percent. */
function rectangle(xywh: string): { percent: boolean; numbers: [number, number, number, number] } | undefined {
  const [, unit = "", rest = ""] = /^(?:(pixel|percent|pct):)?(.*)$/.exec(xywh.replace(/%2C/gi, ",").trim()) ?? [];
  const numbers = rest.split(",").map(Number);
  if (numbers.length !== 4 || !numbers.every((n) => Number.isFinite(n))) return undefined;
  return { percent: unit === "percent" || unit === "pct", numbers: numbers as [number, number, number, number] };
}

/** True if a part of a canvas is all of it: some say so of every page. A hundredth is left to rounding. */
function covers(xywh: string, canvas: Size): boolean {
  const part = rectangle(xywh);
  if (part === undefined) return false;
  const { width, height } = part.percent ? { width: 100, height: 100 } : canvas;
  if (width === undefined || height === undefined) return false;
  const [x, y, w, h] = part.numbers;
  return x <= width / 100 && y <= height / 100 && x + w >= width * 0.99 && y + h >= height * 0.99;
}
