/**
 * Encoded images by their bytes: what kind, how large, whole or not. Names and headers lie; bytes do not. sharp is
 * loaded when pixels are needed.
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { DatasetError } from "./errors.js";
import { isCutJpeg2000 } from "./jpeg2000.js";
import { isTiff, labAsRgb, readTiff } from "./tiff.js";

/**
 * sharp, loaded when first needed: it costs 0.1 s. Without its cache, since no two images here are the same, and one would
 * keep the pixels of some for nothing.
 */
export async function loadSharp(): Promise<typeof import("sharp")["default"]> {
  const { default: sharp } = await import("sharp");
  sharp.cache(false);
  return sharp;
}

/** Hashes that are known, by the very bytes: who gives a page another image gives other bytes. */
const HASHES = new WeakMap<Uint8Array, string>();

/** Remembers the SHA-256 of an image, in hexadecimal, which another thread has taken. */
export function noteHash(image: Uint8Array, sha256: string): void {
  HASHES.set(image, sha256);
}

/** SHA-256 of an image, in hexadecimal; taken here where it is not known. */
export function imageHash(image: Uint8Array): string {
  return HASHES.get(image) ?? createHash("sha256").update(image).digest("hex");
}

/** Kind and size of an encoded image, as far as its first bytes tell. */
export interface ImageInfo {
  mime: string;
  width?: number;
  height?: number;
}

/** Formats that Python's PIL opens without plug-ins, so that their bytes may go into a dataset as they are. */
export const PIL_FORMATS: ReadonlySet<string> = new Set([
  "image/jpeg",
  "image/png",
  "image/tiff",
  "image/webp",
  "image/gif",
  "image/bmp",
  "image/jp2",
]);

function ascii(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

/** What the bytes are, or undefined if they begin like no image that is known. */
export function sniff(bytes: Uint8Array): ImageInfo | undefined {
  if (bytes.length < 12) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(0) === 0xffd8 && bytes[2] === 0xff) return { mime: "image/jpeg", ...jpegSize(view) };
  if (view.getUint32(0) === 0x89504e47 && bytes.length >= 24)
    return { mime: "image/png", width: view.getUint32(16), height: view.getUint32(20) };
  const head = ascii(bytes, 0, 4);
  if (isTiff(bytes)) {
    const [first] = readTiff(bytes, 1).directories;
    return { mime: "image/tiff", ...sizeOf(first?.width, first?.height) };
  }
  if (head === "RIFF" && ascii(bytes, 8, 4) === "WEBP") return { mime: "image/webp" };
  if (head === "GIF8") return { mime: "image/gif", width: view.getUint16(6, true), height: view.getUint16(8, true) };
  if (head.startsWith("BM") && bytes.length >= 26)
    return { mime: "image/bmp", width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
  if (view.getUint32(0) === 0xff4fff51) return { mime: "image/jp2", ...codestreamSize(view, 0) };
  if (ascii(bytes, 4, 4) === "jP  ") return { mime: "image/jp2", ...jp2Size(view) };
  if (ascii(bytes, 4, 4) === "ftyp") {
    const brand = ascii(bytes, 8, 4);
    if (brand.startsWith("avi")) return { mime: "image/avif" };
    if (/^(hei|hev|mif1|msf1)/.test(brand)) return { mime: "image/heic" };
  }
  return undefined;
}

/** Size from the first start-of-frame segment (ITU T.81, B.2.2). */
function jpegSize(view: DataView): { width?: number; height?: number } {
  let at = 2;
  while (at + 9 < view.byteLength) {
    if (view.getUint8(at) !== 0xff) return {};
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    const frame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (frame) return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    if (marker === 0xda) return {};
    at += 2 + view.getUint16(at + 2);
  }
  return {};
}

/** EXIF orientation 1 to 8 of a JPEG; 1 where it says none. */
export function jpegOrientation(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 2;
  while (at + 4 < view.byteLength && view.getUint8(at) === 0xff) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xda) return 1;
    const length = view.getUint16(at + 2);
    if (marker === 0xe1 && ascii(bytes, at + 4, 4) === "Exif") {
      const tiff = at + 10;
      const little = ascii(bytes, tiff, 2) === "II";
      if (tiff + 8 > view.byteLength) return 1;
      const ifd = tiff + view.getUint32(tiff + 4, little);
      if (ifd + 2 > view.byteLength) return 1;
      const count = view.getUint16(ifd, little);
      for (let i = 0; i < count && ifd + 14 + i * 12 <= view.byteLength; i++)
        if (view.getUint16(ifd + 2 + i * 12, little) === 0x0112) {
          const value = view.getUint16(ifd + 10 + i * 12, little);
          return value >= 1 && value <= 8 ? value : 1;
        }
      return 1;
    }
    at += 2 + length;
  }
  return 1;
}

function sizeOf(width: number | undefined, height: number | undefined): { width?: number; height?: number } {
  return width === undefined || height === undefined ? {} : { width, height };
}

/** SIZ marker segment of a JPEG 2000 codestream (ITU T.800, A.5.1). */
function codestreamSize(view: DataView, at: number): { width?: number; height?: number } {
  if (at + 24 > view.byteLength || view.getUint16(at + 2) !== 0xff51) return {};
  const [x, y, x0, y0] = [8, 12, 16, 20].map((o) => view.getUint32(at + o)) as [number, number, number, number];
  return { width: x - x0, height: y - y0 };
}

function jp2Size(view: DataView): { width?: number; height?: number } {
  // The image header box comes first inside the jp2h box (ITU T.800, I.5.3).
  for (let at = 12; at + 24 < Math.min(view.byteLength, 4096); at++)
    if (view.getUint32(at) === 0x69686472) return { height: view.getUint32(at + 4), width: view.getUint32(at + 8) };
  return {};
}

/**
 * Decodes an image as far as needed to be sure that it is whole, and says what it is. Throws DatasetError in words
 * for what is no image, truncated, or too large to decode. JPEG 2000 and HEIC, which sharp can't decode, are judged by
 * their headers and lengths; a TIFF is whole if all its pages are.
 */
export async function checkImage(bytes: Uint8Array): Promise<{ mime: string; width: number; height: number }> {
  const info = sniff(bytes);
  if (info === undefined) throw new DatasetError(notAnImage(bytes), "Look at what the address or file really holds.");
  if (info.mime === "image/jp2" && isCutJpeg2000(bytes)) throw isCut("JPEG 2000", bytes);
  if (info.mime === "image/jp2" || info.mime === "image/heic")
    return { mime: info.mime, width: info.width ?? 0, height: info.height ?? 0 };
  if (info.mime === "image/bmp") return checkBmp(bytes, info);
  const sharp = await loadSharp();
  const tiff = info.mime === "image/tiff" ? readTiff(bytes) : undefined;
  // libtiff leaves the lines that are missing black, and pages behind them out.
  if (tiff?.cut || tiff?.directories.some((d) => d.cut)) throw isCut("TIFF", bytes);
  const readable = tiff === undefined ? bytes : labAsRgb(bytes, tiff);
  try {
    const options = { failOn: "truncated", sequentialRead: true } as const;
    const meta = await sharp(readable, options).metadata();
    // Headers of a cut file pass; only reading every line shows that some are missing. Shrinking reads them all, a few
    // at a time, where a look at the pixels themselves would hold the whole page unpacked.
    await sharp(readable, options).resize(16, 16, { fit: "fill", kernel: "nearest" }).raw().toBuffer();
    return { mime: info.mime, width: meta.width, height: meta.height };
  } catch (cause) {
    throw new DatasetError(
      `The image (${info.mime}, ${bytes.length} bytes) can't be decoded: ${(cause as Error).message.split("\n")[0]}.`,
      "It is truncated or damaged; get it again.",
      { cause },
    );
  }
}

/** The words for an image that ends too soon, which a download may ask for again. */
function isCut(format: string, bytes: Uint8Array): DatasetError {
  return new DatasetError(
    `The image (${format}, ${bytes.length} bytes) is cut: it ends before its data do.`,
    "It is truncated or damaged; get it again.",
  );
}

function checkBmp(bytes: Uint8Array, info: ImageInfo): { mime: string; width: number; height: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(2, true);
  if (size > bytes.length)
    throw new DatasetError(`The image (BMP) is cut: ${bytes.length} of ${size} bytes.`, "Get it again.");
  return { mime: info.mime, width: info.width ?? 0, height: info.height ?? 0 };
}

function notAnImage(bytes: Uint8Array): string {
  if (bytes.length === 0) return "It is empty.";
  const start = ascii(bytes, 0, Math.min(bytes.length, 200)).trimStart().toLowerCase();
  if (start.startsWith("<!doctype html") || start.startsWith("<html")) return "It is an HTML page, not an image.";
  if (start.startsWith("{") || start.startsWith("[")) return "It is JSON, not an image.";
  if (start.startsWith("%pdf")) return "It is a PDF, not an image.";
  return "It is no image of a known format.";
}

/**
 * Makes a PNG of sharp's state its resolution, in pixels an inch, in the pHYs chunk (PNG 11.3.4.3, pixels a metre) that
 * sharp writes into every one behind IHDR. Its own way to state it makes colours of an image in grey.
 */
export function setDensity(png: Buffer, dpi: number): void {
  const at = 37;
  if (ascii(png, at, 4) !== "pHYs") throw new Error("sharp has written no pHYs chunk behind IHDR.");
  const perMetre = Math.round(dpi / 0.0254);
  png.writeUInt32BE(perMetre, at + 4);
  png.writeUInt32BE(perMetre, at + 8);
  png[at + 12] = 1;
  png.writeUInt32BE(crc32(png.subarray(at, at + 13)), at + 13);
}
