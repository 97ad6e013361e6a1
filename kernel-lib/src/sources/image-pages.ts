/**
 * The pages of an image file, in a form that every reader of the dataset opens rightly. What Python's PIL opens goes
 * through untouched; the rest (AVIF, HEIC, CMYK, L*a*b*, more than 8 bits, which PIL turns wrong) is made a PNG or JPEG.
 * A TIFF has as many pages as directories, but for its thumbnails.
 */
import { DatasetError, errorData, isYaleError } from "../errors.js";
import { checkImage, loadSharp, PIL_FORMATS, sniff } from "../images.js";
import { labAsRgb, readTiff, type Tiff, type TiffDirectory } from "../tiff.js";
import type { Page, PageOrFault } from "./index.js";

/** An image as it goes into a dataset, upright. */
export interface PageImage {
  image: Uint8Array;
  mime: string;
  width: number;
  height: number;
}

/** A page of a file whose image could not be had: why, and what helps. */
export interface LostImage {
  lost: string;
  fix: string;
}

/** True for pages that could not be had. */
function isLost(image: PageImage | LostImage): image is LostImage {
  return "lost" in image;
}

/**
 * The pages in a file's bytes, in order. `checked` is what checkImage has said of these bytes, which spares decoding them
 * again. Throws DatasetError for what is no image, or one image that is not whole; of several the lost ones are told.
 */
export async function imagesOf(
  bytes: Uint8Array,
  checked?: { mime: string; width: number; height: number },
): Promise<(PageImage | LostImage)[]> {
  if (sniff(bytes)?.mime === "image/tiff") return tiffImages(bytes);
  const info = checked ?? (await checkImage(bytes));
  if (info.mime === "image/jp2" || info.mime === "image/bmp") return [{ image: bytes, ...info }];
  if (info.mime === "image/heic") {
    const { heicToJpeg } = await import("./heic.js");
    return [{ mime: "image/jpeg", ...(await heicToJpeg(bytes)) }];
  }
  const sharp = await loadSharp();
  const meta = await sharp(bytes).metadata();
  if (PIL_FORMATS.has(info.mime) && isPlain(meta))
    return [
      { image: bytes, ...upright({ mime: info.mime, width: meta.width, height: meta.height }, meta.orientation) },
    ];
  return [await toPng(bytes, 0)];
}

async function tiffImages(bytes: Uint8Array): Promise<(PageImage | LostImage)[]> {
  const tiff = readTiff(bytes);
  const numbered = tiff.directories.map((directory, index) => ({ directory, index }));
  const pages = numbered.filter((d) => !d.directory.aside);
  const chosen = pages.length === 0 ? numbered : pages;
  // One that is refused as a whole is told in the words of every other image.
  if (chosen.length === 0 || (chosen.length === 1 && !tiff.cut)) {
    await checkImage(bytes);
    const [only] = chosen;
    return only === undefined ? [] : [await tiffPage(bytes, tiff, only.directory, only.index)];
  }
  const images: (PageImage | LostImage)[] = [];
  for (const { directory, index } of chosen) {
    if (directory.cut)
      images.push(cutTiff(`Its page ${images.length + 1} lies behind the end of the file, which is cut.`));
    else images.push(await tiffPage(bytes, tiff, directory, index).catch(lostOf));
  }
  if (tiff.cut) images.push(cutTiff(`The file is cut before its page ${images.length + 1}; more may have followed.`));
  return images;
}

function cutTiff(lost: string): LostImage {
  return { lost, fix: "Get the file again." };
}

/** An error as a page that could not be had. */
export function lostOf(error: unknown): LostImage {
  return { lost: errorData(error).what, fix: isYaleError(error) ? error.fix : "Get the file again." };
}

/** One page of a TIFF: the file itself if that is all it holds. */
async function tiffPage(bytes: Uint8Array, tiff: Tiff, directory: TiffDirectory, index: number): Promise<PageImage> {
  const sharp = await loadSharp();
  const readable = labAsRgb(bytes, tiff);
  if (directory.lab !== undefined) return fromLab(readable, index, directory.lab.signed);
  const meta = await sharp(readable, { page: index }).metadata();
  // PIL opens the first directory of a file; a thumbnail behind it does not matter.
  const alone = index === 0 && tiff.directories.every((d, i) => i === 0 || d.aside);
  if (alone && isPlain(meta))
    return {
      image: bytes,
      ...upright({ mime: "image/tiff", width: meta.width, height: meta.height }, meta.orientation),
    };
  return toPng(readable, index);
}

/** PIL reads 16-bit grey as I;16, and converting that to RGB turns the page white; CMYK JPEGs may come out inverted. */
function isPlain({ depth, space }: { depth: string; space: string }): boolean {
  return depth === "uchar" && space !== "cmyk";
}

async function toPng(bytes: Uint8Array, page: number): Promise<PageImage> {
  const sharp = await loadSharp();
  const { depth } = await sharp(bytes, { page }).metadata();
  if (!["uchar", "ushort"].includes(depth)) return fromNumbers(bytes, page);
  return encoded(sharp(bytes, { page, failOn: "truncated" }).autoOrient().toColourspace("srgb"));
}

type Sharp = import("sharp").Sharp;

async function encoded(picture: Sharp): Promise<PageImage> {
  const { data, info } = await picture.png({ compressionLevel: 2 }).toBuffer({ resolveWithObject: true });
  return { image: new Uint8Array(data), mime: "image/png", width: info.width, height: info.height };
}

/** Samples of 32 bits, as measuring cameras give them, say nowhere what is white: the least of the usual scales that holds them all. */
async function fromNumbers(bytes: Uint8Array, page: number): Promise<PageImage> {
  const { values, ...raw } = await samples(bytes, page);
  let [least, most] = [0, 0];
  for (const v of values) {
    if (v < least) least = v;
    if (v > most) most = v;
  }
  const white = [1, 255, 65_535].find((w) => most <= w) ?? most;
  const out = Buffer.alloc(values.length);
  // What is no number comes out black.
  for (const [i, v] of values.entries()) out[i] = Math.round((255 * (v - least)) / (white - least)) || 0;
  return encoded(await turned(out, raw));
}

/** L*a*b* under the light D50, as TIFF and ICC have it, to sRGB. */
async function fromLab(bytes: Uint8Array, page: number, signed: boolean): Promise<PageImage> {
  const { values, ...raw } = await samples(bytes, page);
  const out = Buffer.alloc((values.length / raw.channels) * 3);
  const axis = (byte: number) => (signed ? (byte << 24) >> 24 : byte - 128);
  for (let i = 0, to = 0; i < values.length; i += raw.channels, to += 3) {
    const l = ((values[i] ?? 0) * 100) / 255;
    const fy = (l + 16) / 116;
    const x = 0.9642 * cubed(fy + axis(values[i + 1] ?? 0) / 500);
    const y = cubed(fy);
    const z = 0.8249 * cubed(fy - axis(values[i + 2] ?? 0) / 200);
    // The matrix of sRGB, adapted from D65 to D50 after Bradford.
    out[to] = gamma(3.1339 * x - 1.6169 * y - 0.4906 * z);
    out[to + 1] = gamma(-0.9788 * x + 1.9161 * y + 0.0335 * z);
    out[to + 2] = gamma(0.0719 * x - 0.229 * y + 1.4052 * z);
  }
  return encoded(await turned(out, { ...raw, channels: 3 }));
}

function cubed(t: number): number {
  return t > 6 / 29 ? t ** 3 : 3 * (6 / 29) ** 2 * (t - 4 / 29);
}

function gamma(linear: number): number {
  const v = Math.min(1, Math.max(0, linear));
  return Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
}

interface Raw {
  width: number;
  height: number;
  channels: 1 | 2 | 3 | 4;
  orientation: number | undefined;
}

/** The samples of a page as they are stored. */
async function samples(bytes: Uint8Array, page: number): Promise<Raw & { values: Float32Array }> {
  const sharp = await loadSharp();
  const picture = sharp(bytes, { page, failOn: "truncated", ignoreIcc: true });
  const { orientation } = await picture.metadata();
  const { data, info } = await picture.raw({ depth: "float" }).toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const values = new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);
  return { values, width, height, channels: channels as Raw["channels"], orientation };
}

async function turned(data: Buffer, { width, height, channels, orientation }: Raw): Promise<Sharp> {
  const sharp = await loadSharp();
  const picture = sharp(data, { raw: { width, height, channels } });
  if ((orientation ?? 1) === 1) return picture;
  const tagged = await picture
    .withMetadata({ orientation: orientation ?? 1 })
    .png({ compressionLevel: 0 })
    .toBuffer();
  return sharp(tagged).autoOrient();
}

/** Width and height as they are after EXIF orientation, which Python's `datasets` applies when it decodes. */
function upright(info: { mime: string; width: number; height: number }, orientation: number | undefined): typeof info {
  return (orientation ?? 1) >= 5 ? { mime: info.mime, width: info.height, height: info.width } : info;
}

/**
 * The images of one file, or of one row, as pages of `place`; several have numbers in their keys. Throws DatasetError where
 * not one is there, so that it is one fault and not one for each.
 */
export function pagesOfImages(
  images: readonly (PageImage | LostImage)[],
  place: Omit<Page, keyof PageImage>,
): PageOrFault[] {
  const [first] = images;
  if (first !== undefined && isLost(first) && images.every(isLost)) throw new DatasetError(first.lost, first.fix);
  const { source, page } = place;
  return images.map((image, i) => {
    const key = images.length === 1 ? place.key : `${place.key}#page=${i + 1}`;
    return isLost(image)
      ? { fault: { key, source, page, reason: image.lost, fix: image.fix } }
      : { ...place, key, ...image };
  });
}
