/** Which address to ask for an image of a manifest, in which words and size, and how large it is. Pure. */
import type { CanvasImage } from "./iiif-body.js";
import type { ImageService } from "./iiif-service.js";
import type { Size } from "./iiif-values.js";

/**
 * Words of the Image API in which a request is made: those of the service's version, or the other ones, where a server
 * does not know the first. The word for the largest size is `full` up to version 2.0, `max` from 2.1 on, the only one in
 * 3; the word for the quality `native` in version 1, then `default`.
 */
export interface Words {
  size: "usual" | "other";
  quality: "usual" | "other";
}

/** All combinations of words, in the order in which they are tried. */
export const WORDS: readonly Words[] = [
  { size: "usual", quality: "usual" },
  { size: "other", quality: "usual" },
  { size: "usual", quality: "other" },
  { size: "other", quality: "other" },
];

function largest({ version, maxWidth, maxHeight, maxArea }: ImageService, words: Words): "full" | "max" {
  const limited = maxWidth !== undefined || maxHeight !== undefined || maxArea !== undefined;
  const usual = version === 3 || (version === 2 && limited);
  return usual === (words.size === "usual") ? "max" : "full";
}

function quality({ version }: ImageService, words: Words): "native" | "default" {
  return (version === 1) === (words.quality === "usual") ? "native" : "default";
}

/** Encodes what an address can't hold. `%` stays: some services have ids that are encoded twice. */
function clean(id: string): string {
  return id
    .trim()
    .replace(/ /g, "%20")
    .replace(/[^\x21-\x7e]/g, encodeURIComponent);
}

/** With addresses that are whole: relative ones belong to the address of the document that they stand in. */
export function located(image: CanvasImage, base: string): CanvasImage {
  const whole = (id: string) =>
    /^[a-z][a-z0-9+.-]*:/i.test(id.trim()) || !URL.canParse(id, base) ? id : new URL(id, base).href;
  return {
    ...image,
    ...(image.id === undefined ? {} : { id: whole(image.id) }),
    ...(image.service === undefined ? {} : { service: { ...image.service, id: whole(image.service.id) } }),
  };
}

/** The size of the part that is asked for, before it is turned. */
function partSize({ width, height, region = "full" }: CanvasImage): Size {
  if (region === "full")
    return { ...(width === undefined ? {} : { width }), ...(height === undefined ? {} : { height }) };
  if (region === "square") {
    if (width === undefined || height === undefined) return {};
    return { width: Math.min(width, height), height: Math.min(width, height) };
  }
  const [x = 0, y = 0, w = 0, h = 0] = region.replace(/^pct:/, "").split(",").map(Number);
  // What lies beyond the edge is not sent.
  const within = (from: number, length: number, all: number | undefined) =>
    all === undefined ? length : Math.min(length, all - from);
  const percent = region.startsWith("pct:");
  if (percent && (width === undefined || height === undefined)) return {};
  const part = percent
    ? {
        width: Math.round((within(x, w, 100) / 100) * (width ?? 0)),
        height: Math.round((within(y, h, 100) / 100) * (height ?? 0)),
      }
    : { width: within(x, w, width), height: within(y, h, height) };
  return part.width > 0 && part.height > 0 ? part : {};
}

/** Degrees clockwise. */
function turn(image: CanvasImage): number {
  return Number(image.rotation?.replace(/^!/, "") ?? 0) || 0;
}

/** Width and height of an image as it is shown at its full size: the part of it that is meant, turned. */
export function shownSize(image: CanvasImage): Size {
  if (image.service === undefined) return partSize({ alternatives: 0, ...sizeOnly(image) });
  const { width, height } = partSize(image);
  const angle = (turn(image) * Math.PI) / 180;
  if (angle === 0 || width === undefined || height === undefined) return partSize(image);
  const [cos, sin] = [Math.abs(Math.cos(angle)), Math.abs(Math.sin(angle))];
  return { width: Math.round(width * cos + height * sin), height: Math.round(width * sin + height * cos) };
}

function sizeOnly({ width, height }: Size): Size {
  return { ...(width === undefined ? {} : { width }), ...(height === undefined ? {} : { height }) };
}

/** What a service with limits makes of a part at most. */
function limitedSize({ maxWidth, maxHeight = maxWidth, maxArea }: ImageService, part: Size): Size {
  const { width, height } = part;
  if (width === undefined || height === undefined)
    return width === undefined && maxWidth === undefined
      ? part
      : { ...part, width: Math.min(width ?? Infinity, maxWidth ?? Infinity) };
  const scale = Math.min(
    1,
    (maxWidth ?? Infinity) / width,
    (maxHeight ?? Infinity) / height,
    Math.sqrt((maxArea ?? Infinity) / (width * height)),
  );
  return { width: Math.floor(width * scale), height: Math.floor(height * scale) };
}

/**
 * The size to ask for, if at most `width` pixels across are wanted: a smaller size that the service lists or makes.
 * Undefined for the largest, where that is small enough. A level 0 service has only the sizes that it lists.
 */
function sizeFor(service: ImageService, image: CanvasImage, width: number | undefined): string | undefined {
  if (width === undefined) return undefined;
  const across = Math.floor(width);
  const part = partSize(image);
  const most = limitedSize(service, part);
  // The size is made before the turn: lying on its side, what is across is the height.
  const lying = turn(image) % 180 === 90;
  const wide = lying ? most.height : most.width;
  if (wide !== undefined && wide <= across) return undefined;
  if (service.level === 0 && service.sizes.length > 0) return listed(service, across, lying);
  if (!lying) return `${across},`;
  if (part.width === undefined || part.height === undefined) return `,${across}`;
  return `${Math.max(1, Math.floor((part.width * across) / part.height))},`;
}

/** The largest of the sizes that a service lists which is at most `across` wide, or else the smallest. */
function listed(service: ImageService, across: number, lying: boolean): string | undefined {
  const wide = (s: { width: number; height: number }) => (lying ? s.height : s.width);
  const sizes = [...service.sizes].sort((a, b) => wide(b) - wide(a));
  const best = sizes.find((s) => wide(s) <= across) ?? sizes.at(-1);
  if (best === undefined) return undefined;
  return service.version === 3 ? `${best.width},${best.height}` : `${best.width},`;
}

function request(service: ImageService, image: CanvasImage, size: string, words: Words): string {
  const { region = "full", rotation = "0" } = image;
  return `${clean(service.id)}/${region}/${size}/${rotation}/${quality(service, words)}.jpg`;
}

/** The address of an image of at most `width` pixels across; without a service it is the image's own. */
export function imageUrl(
  image: CanvasImage,
  width?: number,
  words: Words = { size: "usual", quality: "usual" },
): string | undefined {
  const { service } = image;
  if (service === undefined) return ownUrl(image);
  return request(service, image, sizeFor(service, image, width) ?? largest(service, words), words);
}

/** The image's own address, whatever services it has. */
export function ownUrl(image: CanvasImage): string | undefined {
  return image.id === undefined ? undefined : clean(image.id);
}

/** The address of the largest size that a service lists, of those at most `width` across; undefined if it lists none. */
export function listedUrl(image: CanvasImage, width: number | undefined): string | undefined {
  const { service } = image;
  const size = service === undefined ? undefined : listed(service, width ?? Infinity, turn(image) % 180 === 90);
  return service === undefined || size === undefined ? undefined : request(service, image, size, WORDS[0] as Words);
}

/**
 * Of which kind a request is: hosts understand one word of a kind or another. A request of a given size and one for the
 * largest are of different kinds.
 */
export function requestKind(image: CanvasImage, width: number | undefined): string {
  const { service } = image;
  if (service === undefined) return "own";
  const usual = WORDS[0] as Words;
  const sized = sizeFor(service, image, width) !== undefined;
  return `${sized ? "sized" : largest(service, usual)} ${quality(service, usual)}`;
}

/** True if what the manifest says of an image is not enough to ask for `width` pixels across and no more. */
export function mustBeAsked(image: CanvasImage, width: number | undefined): boolean {
  const { service } = image;
  if (service === undefined || width === undefined) return false;
  if (service.level === 0 && service.sizes.length === 0) return true;
  return image.guessed === true || partSize(image).width === undefined;
}

/** With what the service says of itself. */
export function informed(image: CanvasImage, info: ImageService): CanvasImage {
  const { id = info.id, version = info.version } = image.service ?? {};
  const { guessed: _guessed, ...rest } = image;
  return { ...rest, ...sizeOnly(info), service: { ...image.service, ...info, id, version } };
}

/** The images of a canvas that are its pages: the one that covers it, or all insets where none does. */
export function pageImages(images: readonly CanvasImage[]): { taken: readonly CanvasImage[]; left: number } {
  const whole = images.filter((i) => i.inset === undefined);
  if (whole.length === 0) return { taken: images, left: 0 };
  // A page and details of it: composing them is a viewer's work, and for reading the whole page is what is wanted.
  return { taken: whole.slice(0, 1), left: images.length - 1 };
}
