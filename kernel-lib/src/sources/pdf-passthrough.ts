/**
 * Finds pages that are exactly one full-page JPEG and nothing else, and gives the JPEG's own bytes: faster by orders of
 * magnitude, smaller, and exactly what the scanner saw. Every doubt is a no; the page is rendered then.
 */
import { jpegOrientation, sniff } from "../images.js";
import { PdfObjects } from "./pdf-objects.js";

/** A scan as it lies in the file. */
export interface Scan {
  image: Uint8Array;
  mime: string;
  width: number;
  height: number;
}

/** The pass-through view of one file. */
export interface PassThrough {
  /** The page's scan, or undefined if the page must be rendered. `page` counts from 1. */
  page(page: number): Scan | undefined;
  /** Lets go of the file. */
  close(): void;
}

const NOTHING: PassThrough = { page: () => undefined, close: () => undefined };
/** Content streams of scans draw one image; longer ones draw something else too. Invisible text may be long. */
const MAX_CONTENT = 4 << 20;

/**
 * Opens a file for pass-through. One that can't be read this way, or has another number of pages than `count`, which is
 * the renderer's, simply has no such pages.
 */
export async function passThrough(path: string, count: number): Promise<PassThrough> {
  const lib = await import("pdf-lib");
  const { PDFArray, PDFDict, PDFName, PDFNumber, PDFRawStream, decodePDFRawStream } = lib;
  let objects: PdfObjects | undefined;
  let pages: import("pdf-lib").PDFPageLeaf[];
  try {
    // Throws for encrypted files: their image streams are encrypted too.
    objects = await PdfObjects.open(path);
    pages = objects.pages();
    if (pages.length !== count) throw new Error("other pages");
  } catch {
    objects?.close();
    return NOTHING;
  }
  const { context } = objects;
  const name = (n: string) => PDFName.of(n);
  const numberOf = (o: unknown) => (o instanceof PDFNumber ? o.asNumber() : undefined);

  function content(page: import("pdf-lib").PDFPageLeaf): Uint8Array | undefined {
    const c = page.Contents();
    const streams = c === undefined ? [] : c instanceof PDFArray ? c.asArray().map((r) => context.lookup(r)) : [c];
    const parts: Uint8Array[] = [];
    let size = 0;
    for (const s of streams) {
      if (!(s instanceof PDFRawStream)) return undefined;
      const part = decodePDFRawStream(s).decode();
      size += part.length + 1;
      if (size > MAX_CONTENT) return undefined;
      // A line break between streams: the standard says that no token spans two of them (ISO 32000-1, 7.8.2).
      parts.push(part, new Uint8Array([10]));
    }
    return Buffer.concat(parts);
  }

  function scan(number: number): Scan | undefined {
    const page = pages[number - 1];
    if (page === undefined || (page.Rotate()?.asNumber() ?? 0) % 360 !== 0) return undefined;
    if (page.get(name("UserUnit")) !== undefined) return undefined;
    if ((page.Annots()?.size() ?? 0) > 0) return undefined;
    const drawn = drawnImage(content(page), (page.CropBox() ?? page.MediaBox()).asRectangle());
    if (drawn === undefined) return undefined;
    const resources = page.Resources();
    const xobjects = resources?.lookupMaybe(name("XObject"), PDFDict);
    const image = xobjects?.lookup(name(drawn));
    if (!(image instanceof PDFRawStream)) return undefined;
    const { dict } = image;
    if (dict.lookup(name("Subtype")) !== name("Image")) return undefined;
    for (const key of ["SMask", "Mask", "Decode", "ImageMask", "DecodeParms", "Alternates", "OC", "SMaskInData"])
      if (dict.has(name(key))) return undefined;
    let filter = dict.lookup(name("Filter"));
    if (filter instanceof PDFArray) filter = filter.size() === 1 ? filter.lookup(0) : undefined;
    if (filter !== name("DCTDecode")) return undefined;
    const space = dict.lookup(name("ColorSpace"));
    const kind = space instanceof PDFArray ? space.lookup(0) : space;
    const spaces = ["DeviceRGB", "DeviceGray", "ICCBased", "CalRGB", "CalGray"].map(name);
    if (!spaces.includes(kind as import("pdf-lib").PDFName)) return undefined;
    const jpeg = image.contents;
    const info = sniff(jpeg);
    if (info?.mime !== "image/jpeg" || info.width === undefined || info.height === undefined) return undefined;
    if (info.width !== numberOf(dict.lookup(name("Width"))) || info.height !== numberOf(dict.lookup(name("Height"))))
      return undefined;
    // Four components are CMYK, often inverted; and Python would turn a JPEG by its EXIF orientation, a PDF does not.
    const components = jpegComponents(jpeg);
    if ((components !== 1 && components !== 3) || jpegOrientation(jpeg) !== 1 || !endsWhole(jpeg)) return undefined;
    return { image: jpeg, mime: "image/jpeg", width: info.width, height: info.height };
  }

  return {
    page(number) {
      try {
        return scan(number);
      } catch {
        return undefined;
      }
    },
    close: () => objects.close(),
  };
}

function jpegComponents(jpeg: Uint8Array): number {
  let at = 2;
  while (at + 10 < jpeg.length && jpeg[at] === 0xff) {
    const marker = jpeg[at + 1] ?? 0;
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc)
      return jpeg[at + 9] ?? 0;
    at += 2 + (((jpeg[at + 2] ?? 0) << 8) | (jpeg[at + 3] ?? 0));
  }
  return 0;
}

/** The end-of-image marker, perhaps with padding behind it. */
function endsWhole(jpeg: Uint8Array): boolean {
  for (let i = jpeg.length - 2; i >= Math.max(0, jpeg.length - 64); i--)
    if (jpeg[i] === 0xff && jpeg[i + 1] === 0xd9) return true;
  return false;
}

type Matrix = [number, number, number, number, number, number];

function multiply(m: Matrix, n: Matrix): Matrix {
  return [
    m[0] * n[0] + m[1] * n[2],
    m[0] * n[1] + m[1] * n[3],
    m[2] * n[0] + m[3] * n[2],
    m[2] * n[1] + m[3] * n[3],
    m[4] * n[0] + m[5] * n[2] + n[4],
    m[4] * n[1] + m[5] * n[3] + n[5],
  ];
}

/** Operators that draw nothing by themselves and change nothing about how an image looks. */
const HARMLESS = new Set([
  "w",
  "J",
  "j",
  "M",
  "d",
  "i",
  "BMC",
  "BDC",
  "EMC",
  "MP",
  "DP",
  "g",
  "G",
  "rg",
  "RG",
  "k",
  "K",
]);
/** Operators of text; they show nothing in render mode 3. */
const TEXT = new Set(["Tc", "Tw", "Tz", "TL", "Tf", "Ts", "Td", "TD", "Tm", "T*", "Tj", "TJ", "'", '"']);

/**
 * Name of the one image that a content stream draws over the whole box, upright; undefined if it does anything else.
 * Exported for its tests.
 */
export function drawnImage(
  content: Uint8Array | undefined,
  box: { x: number; y: number; width: number; height: number },
): string | undefined {
  if (content === undefined) return undefined;
  let ctm: Matrix = [1, 0, 0, 1, 0, 0];
  let invisible = false;
  const stack: { ctm: Matrix; invisible: boolean }[] = [];
  let operands: (number | string)[] = [];
  let rectangle: number[] | undefined;
  let image: string | undefined;
  const covers = (x0: number, y0: number, x1: number, y1: number) => {
    const [slackX, slackY] = [box.width * 0.01, box.height * 0.01];
    return (
      x0 <= box.x + slackX &&
      y0 <= box.y + slackY &&
      x1 >= box.x + box.width - slackX &&
      y1 >= box.y + box.height - slackY
    );
  };
  for (const token of tokens(content)) {
    if (token.type !== "operator") {
      operands.push(token.value);
      if (operands.length > 64 && token.type === "other") operands = operands.slice(-8);
      continue;
    }
    const numbers = operands.filter((o): o is number => typeof o === "number");
    switch (token.value) {
      case "q":
        stack.push({ ctm, invisible });
        break;
      case "Q":
        ({ ctm, invisible } = stack.pop() ?? { ctm, invisible });
        break;
      case "cm":
        if (numbers.length !== 6) return undefined;
        ctm = multiply(numbers as Matrix, ctm);
        break;
      case "Do": {
        const named = operands.at(-1);
        if (image !== undefined || typeof named !== "string" || !named.startsWith("/")) return undefined;
        const [a, b, c, d, e, f] = ctm;
        const square = Math.abs(b) < 1e-3 * a && Math.abs(c) < 1e-3 * d;
        // The image fills the box and is not much larger: else part of it would be cut off by the page.
        const larger = a > box.width * 1.01 || d > box.height * 1.01;
        if (!(a > 0 && d > 0 && square) || larger || !covers(e, f, e + a, f + d)) return undefined;
        image = named.slice(1);
        break;
      }
      case "re":
        if (numbers.length !== 4 || ctm[1] !== 0 || ctm[2] !== 0) return undefined;
        rectangle = numbers;
        break;
      case "W":
      case "W*": {
        if (rectangle === undefined) return undefined;
        const [x = 0, y = 0, w = 0, h = 0] = rectangle;
        const xs = [ctm[0] * x + ctm[4], ctm[0] * (x + w) + ctm[4]];
        const ys = [ctm[3] * y + ctm[5], ctm[3] * (y + h) + ctm[5]];
        if (!covers(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys))) return undefined;
        break;
      }
      case "n":
        rectangle = undefined;
        break;
      case "BT":
      case "ET":
        break;
      case "Tr":
        invisible = numbers[0] === 3;
        break;
      default:
        if (HARMLESS.has(token.value)) break;
        if (TEXT.has(token.value)) {
          const shows = token.value === "Tj" || token.value === "TJ" || token.value === "'" || token.value === '"';
          if (shows && !invisible) return undefined;
          break;
        }
        return undefined;
    }
    operands = [];
  }
  return image;
}

type Token = { type: "number"; value: number } | { type: "operator"; value: string } | { type: "other"; value: string };

const SPACE = new Set([0, 9, 10, 12, 13, 32]);
const DELIMITERS = new Set([..."()<>[]{}/%"].map((c) => c.charCodeAt(0)));

/** Tokens of a content stream (ISO 32000-1, 7.2). Strings and dictionaries are skipped over; names keep their slash. */
function* tokens(bytes: Uint8Array): Generator<Token> {
  let i = 0;
  const at = (k: number) => bytes[k] ?? 32;
  while (i < bytes.length) {
    const c = at(i);
    if (SPACE.has(c)) i += 1;
    else if (c === 0x25) while (i < bytes.length && at(i) !== 10 && at(i) !== 13) i += 1;
    else if (c === 0x28) {
      let depth = 0;
      do {
        if (at(i) === 0x5c) i += 1;
        else if (at(i) === 0x28) depth += 1;
        else if (at(i) === 0x29) depth -= 1;
        i += 1;
      } while (depth > 0 && i < bytes.length);
      yield { type: "other", value: "()" };
    } else if (c === 0x3c && at(i + 1) !== 0x3c) {
      while (i < bytes.length && at(i) !== 0x3e) i += 1;
      i += 1;
      yield { type: "other", value: "<>" };
    } else if (c === 0x2f || !DELIMITERS.has(c)) {
      const from = i;
      i += 1;
      while (i < bytes.length && !SPACE.has(at(i)) && !DELIMITERS.has(at(i))) i += 1;
      const word = Buffer.from(bytes.buffer, bytes.byteOffset + from, i - from).toString("latin1");
      if (word.startsWith("/")) yield { type: "other", value: word };
      else if (/^[+-]?(\d+\.?\d*|\.\d+)$/.test(word)) yield { type: "number", value: Number(word) };
      else yield { type: "operator", value: word };
    } else {
      // Brackets of arrays and dictionaries.
      i += c === 0x3c || (c === 0x3e && at(i + 1) === 0x3e) ? 2 : 1;
      yield { type: "other", value: "[" };
    }
  }
}
