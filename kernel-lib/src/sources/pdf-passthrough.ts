/**
 * Finds pages that are exactly one full-page JPEG and nothing else, and gives the JPEG's own bytes: faster by orders of
 * magnitude, smaller, and exactly what the scanner saw. Every doubt is a no; the page is rendered then.
 */
import { jpegOrientation } from "../images.js";
import { jpegFrame } from "./jpeg-frame.js";
import { type PdfLeaf, PdfObjects } from "./pdf-objects.js";

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
/** How much wider or higher than in itself an image may be on its page. */
const STRETCH = 0.02;
/** Entries of a graphics state that change nothing about an opaque image (ISO 32000-1, 8.4.5). */
const HARMLESS_STATES = new Set("Type LW LC LJ ML D RI OP op OPM Font FL SM SA CA AIS TK".split(" "));

/**
 * Opens a file for pass-through. One that can't be read this way, or has another number of pages than `count`, which is
 * the renderer's, simply has no such pages. `appendix` is what was put behind it to make it readable.
 */
export async function passThrough(path: string, count: number, appendix?: Uint8Array): Promise<PassThrough> {
  const lib = await import("pdf-lib");
  const { PDFArray, PDFDict, PDFName, PDFNumber, PDFRawStream, PDFRef, decodePDFRawStream } = lib;
  let objects: PdfObjects | undefined;
  let pages: PdfLeaf[];
  try {
    // Throws for encrypted files: their image streams are encrypted too.
    objects = await PdfObjects.open(path, appendix);
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

  const profiles = new Map<string, number>();
  /** Components of an ICC profile of plain colours or grey, by its own header (ICC.1, 7.2); 0 for any other. */
  function profileComponents(at: unknown): number {
    const key = at instanceof PDFRef ? at.toString() : undefined;
    const known = key === undefined ? undefined : profiles.get(key);
    if (known !== undefined) return known;
    const stream = context.lookup(at as import("pdf-lib").PDFObject);
    let components = 0;
    if (stream instanceof PDFRawStream) {
      const n = numberOf(stream.dict.lookup(name("N")));
      const space = Buffer.from(decodePDFRawStream(stream).getBytes(20)).toString("latin1", 16, 20);
      const alternate = stream.dict.lookup(name("Alternate"));
      const plain = alternate === undefined || deviceComponents(alternate) === n;
      if (plain && ((space === "RGB " && n === 3) || (space === "GRAY" && n === 1))) components = n;
    }
    if (key !== undefined) profiles.set(key, components);
    return components;
  }

  const deviceComponents = (space: unknown): number =>
    space === name("DeviceRGB") ? 3 : space === name("DeviceGray") ? 1 : 0;

  /** Components of a colour space that shows a JPEG's values as they are; 0 for any other. */
  function components(space: unknown, resources: import("pdf-lib").PDFDict | undefined): number {
    if (space instanceof PDFArray)
      return space.lookup(0) === name("ICCBased") ? profileComponents(space.get(1)) : deviceComponents(space.lookup(0));
    // A page may give the plain names another meaning (ISO 32000-1, 8.6.5.6).
    const spaces = resources?.lookupMaybe(name("ColorSpace"), PDFDict);
    if (spaces?.has(name("DefaultRGB")) || spaces?.has(name("DefaultGray"))) return 0;
    return deviceComponents(space);
  }

  /** A Decode array that changes nothing, or none. */
  function decodesAsIs(decode: unknown): boolean {
    if (decode === undefined) return true;
    return decode instanceof PDFArray && decode.asArray().every((n, i) => numberOf(context.lookup(n)) === i % 2);
  }

  /** Whether a graphics state leaves an opaque image as it is. */
  function harmlessState(state: unknown): boolean {
    if (!(state instanceof PDFDict)) return false;
    return state.entries().every(([key, raw]) => {
      const value = context.lookup(raw);
      switch (key.decodeText()) {
        case "BM":
          return value === name("Normal") || value === name("Compatible");
        case "SMask":
          return value === name("None");
        case "ca":
          return numberOf(value) === 1;
        default:
          return HARMLESS_STATES.has(key.decodeText());
      }
    });
  }

  function scan(number: number): Scan | undefined {
    const page = pages[number - 1]?.page;
    if (page === undefined || (page.Rotate()?.asNumber() ?? 0) % 360 !== 0) return undefined;
    if (page.get(name("UserUnit")) !== undefined) return undefined;
    if ((page.Annots()?.size() ?? 0) > 0) return undefined;
    const box = intersection(page.MediaBox().asRectangle(), (page.CropBox() ?? page.MediaBox()).asRectangle());
    if (box === undefined) return undefined;
    const resources = page.Resources();
    const drawn = drawnImage(content(page), box, (state) => {
      const states = resources?.lookupMaybe(name("ExtGState"), PDFDict);
      return harmlessState(states?.lookup(name(state)));
    });
    if (drawn === undefined) return undefined;
    const xobjects = resources?.lookupMaybe(name("XObject"), PDFDict);
    const image = xobjects?.lookup(name(drawn.name));
    if (!(image instanceof PDFRawStream)) return undefined;
    const { dict } = image;
    if (dict.lookup(name("Subtype")) !== name("Image")) return undefined;
    for (const key of ["SMask", "Mask", "ImageMask", "DecodeParms", "Alternates", "OC", "SMaskInData"])
      if (dict.has(name(key))) return undefined;
    let filter = dict.lookup(name("Filter"));
    if (filter instanceof PDFArray) filter = filter.size() === 1 ? filter.lookup(0) : undefined;
    if (filter !== name("DCTDecode")) return undefined;
    if (!decodesAsIs(dict.lookup(name("Decode")))) return undefined;
    const jpeg = image.contents;
    const frame = jpegFrame(jpeg);
    // Four components are CMYK, often inverted; and Python would turn a JPEG by its EXIF orientation, a PDF does not.
    if (frame === undefined || (frame.components !== 1 && frame.components !== 3) || jpegOrientation(jpeg) !== 1)
      return undefined;
    if (components(dict.lookup(name("ColorSpace")), resources) !== frame.components) return undefined;
    const { width, height } = frame;
    const says = (key: string, value: number) => numberOf(dict.lookup(name(key))) === value;
    if (!says("Width", width) || !says("Height", height) || !says("BitsPerComponent", 8)) return undefined;
    // Its own bytes show it as it was scanned, and a page may stretch it.
    const stretched = drawn.width / drawn.height / (width / height);
    if (Math.abs(stretched - 1) > STRETCH) return undefined;
    return { image: jpeg, mime: "image/jpeg", width, height };
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

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** What two boxes share, each by any two of its opposite corners; undefined if they share nothing. */
function intersection(a: Box, b: Box): Box | undefined {
  const span = (from: number, length: number) =>
    [Math.min(from, from + length), Math.max(from, from + length)] as const;
  const both = (m: readonly [number, number], n: readonly [number, number]) => {
    const from = Math.max(m[0], n[0]);
    return [from, Math.min(m[1], n[1]) - from] as const;
  };
  const [x, width] = both(span(a.x, a.width), span(b.x, b.width));
  const [y, height] = both(span(a.y, a.height), span(b.y, b.height));
  return width > 0 && height > 0 ? { x, y, width, height } : undefined;
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
const HARMLESS = new Set(["w", "J", "j", "M", "d", "i", "BMC", "EMC", "MP", "DP", "g", "G", "rg", "RG", "k", "K"]);
/** Operators of text; they show nothing in render mode 3. */
const TEXT = new Set(["Tc", "Tw", "Tz", "TL", "Tf", "Ts", "Td", "TD", "Tm", "T*", "Tj", "TJ", "'", '"']);

/**
 * The one image that a content stream draws over the whole box, upright, and how large; undefined if it does anything
 * else. `harmless` says of a graphics state, by its name, whether it leaves the image as it is.
 */
function drawnImage(
  content: Uint8Array | undefined,
  box: Box,
  harmless: (state: string) => boolean,
): { name: string; width: number; height: number } | undefined {
  if (content === undefined) return undefined;
  let ctm: Matrix = [1, 0, 0, 1, 0, 0];
  let invisible = false;
  const stack: { ctm: Matrix; invisible: boolean }[] = [];
  let operands: (number | string)[] = [];
  let rectangle: number[] | undefined;
  let image: { name: string; width: number; height: number } | undefined;
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
        image = { name: named.slice(1), width: a, height: d };
        break;
      }
      case "re":
        // Of two, the even-odd rule would clip to one without the other.
        if (numbers.length !== 4 || ctm[1] !== 0 || ctm[2] !== 0 || rectangle !== undefined) return undefined;
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
      case "BDC":
        // Content of a layer, which may be hidden.
        if (operands[0] === "/OC") return undefined;
        break;
      case "gs": {
        const named = operands.at(-1);
        if (typeof named !== "string" || !harmless(named.slice(1))) return undefined;
        break;
      }
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
