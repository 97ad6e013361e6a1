/**
 * Which address to ask for an image of a manifest, and what to try when a server does not keep its word. Pure, but for
 * the memory of what worked with a host.
 */
import type { CanvasImage, ImageService } from "./iiif-read.js";

/** The word of the Image API for "as large as you give it": `full` up to 2.0, `max` from 2.1 on, the only one in 3. */
function largest(service: ImageService): "full" | "max" {
  if (service.version === 3) return "max";
  return service.version === 2 && service.limited ? "max" : "full";
}

function quality(service: ImageService): string {
  return service.version === 1 ? "native" : "default";
}

/** Encodes what an address can't hold. `%` stays: some services have ids that are encoded twice. */
function clean(id: string): string {
  return id
    .trim()
    .replace(/ /g, "%20")
    .replace(/[^\x21-\x7e]/g, encodeURIComponent);
}

function request(service: ImageService, image: CanvasImage, size: string, word = quality(service)): string {
  return `${clean(service.id)}/${image.region ?? "full"}/${size}/${image.rotation ?? "0"}/${word}.jpg`;
}

/**
 * The size to ask for, if at most `width` pixels across are wanted: a smaller size that the service lists or makes.
 * Undefined for the largest. A level 0 service has only the sizes that it lists.
 */
function sizeFor(service: ImageService, image: CanvasImage, width: number | undefined): string | undefined {
  const full = service.width ?? image.width;
  if (width === undefined || (full !== undefined && full <= width)) return undefined;
  if (service.level === 0) {
    const fitting = service.sizes.filter((s) => s.width >= width).sort((a, b) => a.width - b.width)[0];
    const best = fitting ?? [...service.sizes].sort((a, b) => b.width - a.width)[0];
    if (best === undefined) return undefined;
    return service.version === 3 ? `${best.width},${best.height}` : `${best.width},`;
  }
  return `${width},`;
}

/** The address that is asked for first. Without a service it is the image's own. */
export function imageUrl(image: CanvasImage, width?: number): string | undefined {
  if (image.service === undefined) return image.id === undefined ? undefined : clean(image.id);
  return request(image.service, image, sizeFor(image.service, image, width) ?? largest(image.service));
}

/** Ways of asking, in the order in which they are tried; the one that worked with a host is tried first from then on. */
export type Way = "first" | "other size word" | "other quality word" | "both other" | "listed size" | "own address";

/** All ways but the listed sizes, which need the service's own information. */
export const WAYS: readonly Way[] = [
  "first",
  "other size word",
  "other quality word",
  "both other",
  "listed size",
  "own address",
];

/** The address by one of the {@link WAYS}; undefined where that way leads nowhere. `info` is the service's info.json, read. */
export function imageUrlBy(
  way: Way,
  image: CanvasImage,
  width: number | undefined,
  info?: ImageService,
): string | undefined {
  const { service } = image;
  if (service === undefined) return way === "first" || way === "own address" ? imageUrl(image) : undefined;
  const word = quality(service) === "native" ? "default" : "native";
  const size = sizeFor(service, image, width);
  const other = largest(service) === "full" ? "max" : "full";
  switch (way) {
    case "first":
      return imageUrl(image, width);
    case "other size word":
      return size === undefined ? request(service, image, other) : request(service, image, largest(service));
    case "other quality word":
      return request(service, image, size ?? largest(service), word);
    case "both other":
      return request(service, image, size === undefined ? other : largest(service), word);
    case "listed size": {
      if (info === undefined) return undefined;
      const best = [...info.sizes].sort((a, b) => b.width - a.width)[0];
      if (best === undefined) return undefined;
      return request(info, image, info.version === 3 ? `${best.width},${best.height}` : `${best.width},`);
    }
    case "own address":
      return image.id === undefined ? undefined : clean(image.id);
  }
}

/** The images of a canvas that are its pages: the one that covers it, or all insets where none does. */
export function pageImages(images: readonly CanvasImage[]): { taken: readonly CanvasImage[]; left: number } {
  const whole = images.filter((i) => i.inset === undefined);
  if (whole.length === 0) return { taken: images, left: 0 };
  // A page and details of it: composing them is a viewer's work, and for reading the whole page is what is wanted.
  return { taken: whole.slice(0, 1), left: images.length - 1 };
}
