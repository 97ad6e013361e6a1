/** Page images small enough to be kept in a notebook. */
import { loadSharp } from "../images.js";
import { dataUrl } from "./html.js";

/** Bytes above which a picture is never put into a notebook as it is. */
const AS_IS = 150_000;

/** Pictures that are made smaller at the same time: as many as keep two cores busy. */
const AT_ONCE = 3;

/** A `data:` URL of a picture made at most `width` pixels wide, or the reason why there is none, in words. */
export type Thumbnail = { url: string } | { missing: string };

/** Makes pictures small, in order; one that can't be read says so and harms no other. */
export async function thumbnails(images: readonly (Uint8Array | undefined)[], width: number): Promise<Thumbnail[]> {
  const made: Thumbnail[] = [];
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < images.length; i = next++) made[i] = await thumbnail(images[i], width);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return made;
}

async function thumbnail(image: Uint8Array | undefined, width: number): Promise<Thumbnail> {
  if (image === undefined) return { missing: "The page image is not on this machine." };
  try {
    // Loaded at the first picture: native code that the first cell of a notebook should not pay for.
    const sharp = await loadSharp();
    const small = await sharp(image)
      .rotate()
      .resize({ width, withoutEnlargement: true })
      .flatten({ background: "#ffffff" })
      .jpeg({ quality: 60, mozjpeg: true })
      .toBuffer();
    const url = dataUrl(small);
    if (url !== undefined) return { url };
  } catch {
    // Told below: a format that sharp does not read (JPEG 2000), a damaged picture, or sharp has no binary here.
  }
  const url = image.length <= AS_IS ? dataUrl(image) : undefined;
  return url === undefined ? { missing: "This page image can't be shown here." } : { url };
}
