/** Worker thread that reads PDFs with pdf.js and encodes pages with sharp. One file is kept open at a time. */
import { createHash } from "node:crypto";
import { type FileHandle, open as openFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { getPriority, setPriority } from "node:os";
import { dirname, join } from "node:path";
import { parentPort } from "node:worker_threads";
import type { Canvas } from "@napi-rs/canvas";
import type { PDFDocumentProxy } from "pdfjs-dist";
import { loadSharp, setDensity } from "../images.js";
import type { Json } from "../protocol.js";
import { CanvasFilters, installCanvasParts } from "./pdf-canvas.js";
import { installJpegDecoder } from "./pdf-jpeg.js";
import { type PassThrough, passThrough } from "./pdf-passthrough.js";
import type { PdfAnswer, PdfInfo, PdfPage, PdfRequest } from "./pdf-pool.js";
import { survey } from "./pdf-survey.js";

/** Pixels of a page at most: about A0 at 200 dpi. A larger page is rendered at a lower resolution. */
const MAX_PIXELS = 64e6;
/** PNG level: 2 is three to seven times faster than the default and hardly larger (measured on text and scans). */
const PNG_LEVEL = 2;
/** Bytes up to which a file is read at once; of a larger one only what is asked for, so many bytes at a time. */
const WHOLE = 32 << 20;
const RANGE = 1 << 20;
/** Bytes of a file that is read in parts after which it is opened again, since pdf.js lets go of none of them. */
const AGAIN = 16 << 20;
/** pdf.js keeps a map of a file in one array of its length, and Node 20 has none that is longer. */
const MOST = 2 ** 32 - 1;

/** A white pixel, opaque, as a signed integer. */
const WHITE = -1;

class TooLarge extends Error {}

interface Open {
  path: string;
  password: string | undefined;
  appendix: Uint8Array | undefined;
  file: FileHandle;
  /** Of a file that is read in parts: the bytes that pdf.js has by now, and keeps. */
  range?: { loaded: number };
  doc: PDFDocumentProxy;
}

let current: Open | undefined;
let scans: { path: string; of: number; through: PassThrough } | undefined;
let sheet: Canvas | undefined;
/** What pdf.js warned of while the present page was made; it may say the same for each of ten thousand operators. */
const warnings = new Set<string>();
// pdf.js has no other way to tell of an image or font that it left out.
console.log = (...words: unknown[]) => void warnings.add(words.join(" "));
console.warn = console.log;
installJpegDecoder();
installCanvasParts();

async function open(path: string, password: string | undefined, appendix?: Uint8Array): Promise<Open> {
  if (
    current !== undefined &&
    current.path === path &&
    current.password === password &&
    // The same file has the same appendix, if any.
    current.appendix?.length === appendix?.length &&
    (current.range?.loaded ?? 0) < AGAIN
  )
    return current;
  await current?.doc.loadingTask.destroy();
  await current?.file.close();
  current = undefined;
  const pdfjs = await import("pdfjs-dist/legacy/build/pdf.mjs");
  const home = dirname(createRequire(import.meta.url).resolve("pdfjs-dist/package.json"));
  const folder = (name: string) => `${join(home, name)}/`;
  const file = await openFile(path, "r");
  try {
    const { size } = await file.stat();
    if (size >= MOST) throw new TooLarge("The PDF is larger than 4 GiB.");
    const range = size > WHOLE ? rangesOf(pdfjs, file, size, appendix) : undefined;
    const doc = await pdfjs.getDocument({
      ...(range === undefined
        ? { data: await readWith(file, appendix) }
        : { range, rangeChunkSize: RANGE, disableAutoFetch: true, disableStream: true }),
      ...(password === undefined ? {} : { password }),
      standardFontDataUrl: folder("standard_fonts"),
      cMapUrl: folder("cmaps"),
      cMapPacked: true,
      wasmUrl: folder("wasm"),
      iccUrl: folder("iccs"),
      isEvalSupported: false,
      isImageDecoderSupported: true,
      disableFontFace: true,
      useSystemFonts: false,
      FilterFactory: CanvasFilters,
      verbosity: pdfjs.VerbosityLevel.WARNINGS,
    }).promise;
    // What opening takes comes again each time, so it does not count.
    if (range !== undefined) range.loaded = 0;
    current = { path, password, appendix, file, doc, ...(range === undefined ? {} : { range }) };
    return current;
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readWith(file: FileHandle, appendix: Uint8Array | undefined): Promise<Uint8Array> {
  const own = await file.readFile();
  return new Uint8Array(appendix === undefined ? own : Buffer.concat([own, appendix]));
}

/** A file that is read where pdf.js wants it, and never as a whole. */
function rangesOf(
  pdfjs: typeof import("pdfjs-dist"),
  file: FileHandle,
  size: number,
  appendix: Uint8Array = new Uint8Array(0),
) {
  const range = Object.assign(new pdfjs.PDFDataRangeTransport(size + appendix.length, null), { loaded: 0 });
  range.requestDataRange = (begin, end) => {
    const bytes = new Uint8Array(end - begin);
    range.loaded += bytes.length;
    // pdf.js would wait for ever for what can't be read: the failure ends this worker, and the pool says why.
    void file.read(bytes, 0, bytes.length, begin).then(({ bytesRead }) => {
      const behind = appendix.subarray(Math.max(0, begin - size), Math.max(0, end - size));
      bytes.set(behind, bytesRead);
      range.onDataRange(begin, bytes.subarray(0, bytesRead + behind.length));
    });
  };
  return range;
}

async function info({ path, password }: PdfRequest): Promise<PdfInfo> {
  warnings.clear();
  const doc = await open(path, password).then(
    (opened) => opened.doc,
    (error: Error) => error,
  );
  if (doc instanceof TooLarge || (doc instanceof Error && doc.name === "PasswordException")) throw doc;
  const isOpen = !(doc instanceof Error);
  const found = await survey(path, {
    pages: isOpen ? doc.numPages : 0,
    recovered: !isOpen || [...warnings].some((w) => w.includes("Indexing all PDF objects")),
    readable: async () => (isOpen ? readable(doc) : 0),
  });
  if (!isOpen && found.rebuilt === undefined) throw doc;
  const labels = found.labels ?? (isOpen ? await doc.getPageLabels().catch(() => null) : null);
  const meta = isOpen ? await doc.getMetadata().catch(() => undefined) : undefined;
  const metadata: { [key: string]: Json } = {};
  for (const [name, value] of Object.entries(meta?.info ?? {}))
    if (
      typeof value === "string" &&
      value !== "" &&
      /^(Title|Author|Subject|Keywords|Creator|Producer|CreationDate|ModDate)$/.test(name)
    )
      metadata[name.charAt(0).toLowerCase() + name.slice(1)] = value.slice(0, 2000);
  const { rebuilt, truncated } = found;
  if (rebuilt !== undefined)
    metadata.warning = "The PDF is damaged; its pages were found without its own list of them.";
  return {
    pages: rebuilt?.pages ?? (isOpen ? doc.numPages : 0),
    metadata,
    truncated,
    lost: rebuilt?.lost ?? [],
    ...(rebuilt === undefined ? {} : { appendix: rebuilt.appendix }),
    ...(labels === null ? {} : { labels }),
  };
}

/** Pages that can be had, as far as can be told before they are drawn. */
async function readable(doc: PDFDocumentProxy): Promise<number> {
  let count = 0;
  for (let number = 1; number <= doc.numPages; number++)
    await doc.getPage(number).then(
      () => (count += 1),
      () => undefined,
    );
  return count;
}

async function page(request: PdfRequest & { type: "page" }): Promise<Omit<PdfPage, "sha256">> {
  const { path, of, password, appendix } = request;
  if (request.passthrough && password === undefined) {
    if (scans?.path !== path || scans.of !== of) {
      scans?.through.close();
      scans = { path, of, through: await passThrough(path, of, appendix) };
    }
    const scan = scans.through.page(request.page);
    if (scan !== undefined) return { ...scan, metadata: { passThrough: true } };
  }
  return render((await open(path, password, appendix)).doc, request.page, request.dpi);
}

async function render(doc: PDFDocumentProxy, number: number, dpi: number): Promise<Omit<PdfPage, "sha256">> {
  warnings.clear();
  const pdfPage = await doc.getPage(number);
  try {
    // Of a page with a UserUnit, this is its size in points all the same (pdf.js 5).
    const points = pdfPage.getViewport({ scale: 1 });
    const scale = Math.min(dpi / 72, Math.sqrt(MAX_PIXELS / (points.width * points.height)));
    const viewport = pdfPage.getViewport({ scale });
    // Rounded up, a 300 dpi scan of 2480 pixels would be resampled to 2481.
    const width = Math.max(1, Math.round(viewport.width));
    const height = Math.max(1, Math.round(viewport.height));
    const canvas = sheetOf(doc, width, height);
    // Only one that was drawn to the end is used again.
    sheet = undefined;
    await pdfPage.render({ canvas: canvas as never, viewport, background: "white" }).promise;
    const said = [...warnings].map((w) => w.replace(/^Warning: /, "").slice(0, 200));
    const lost = said.find(isLost);
    const partly = said.find(isPartly);
    if (lost === undefined && partly === undefined) sheet = canvas;
    if (lost !== undefined) throw new Error(`A part of the page can't be decoded (${lost}).`);
    const sharp = await loadSharp();
    const pixels = canvas.data();
    const grey = greyOf(pixels);
    if (partly !== undefined && grey?.every((value) => value === (WHITE & 0xff)))
      throw new Error(`Nothing of the page can be drawn (${partly}).`);
    const raw =
      grey === undefined
        ? sharp(pixels, { raw: { width, height, channels: 4 } }).removeAlpha()
        : sharp(grey, { raw: { width, height, channels: 1 } }).toColourspace("b-w");
    // OCR engines size their filters by the resolution that the image states.
    const image = await raw.png({ compressionLevel: PNG_LEVEL }).toBuffer();
    setDensity(image, scale * 72);
    const metadata: { [key: string]: Json } = { dpi: Math.round(scale * 72) };
    const warning =
      partly === undefined ? said.find(isAboutFonts) : `A part of the page may be missing or look otherwise: ${partly}`;
    if (warning !== undefined) metadata.warning = warning;
    return { image, mime: "image/png", width, height, metadata };
  } finally {
    pdfPage.cleanup();
  }
}

/** An image is missing: of a scan that would be the text. */
function isLost(warning: string): boolean {
  // After a failure of the native decoder it goes on by itself.
  return (
    !warning.includes("getTransferableImage") &&
    /JpxError|Jbig2Error|JpegError|Unable to decode image|Dependent image isn't ready/i.test(warning)
  );
}

/** Something else is missing, or drawn without what changes its look: most viewers show such a page and say nothing. */
function isPartly(warning: string): boolean {
  return /getOperatorList - ignoring|Unsupported ShadingType/i.test(warning);
}

function isAboutFonts(warning: string): boolean {
  return /font/i.test(warning) && /(substitut|missing|unable|not embedded|standardFontDataUrl)/i.test(warning);
}

/**
 * A canvas to draw the page on, the one before if the size is the same: each is 15 MB outside the heap, and the collector
 * runs the more often the more of them there are.
 */
function sheetOf(doc: PDFDocumentProxy, width: number, height: number): Canvas {
  if (sheet?.width === width && sheet.height === height) {
    // A page may leave clips and transforms behind; drawn on under some of them, the canvas ends the process.
    sheet.getContext("2d").reset();
    return sheet;
  }
  return (doc.canvasFactory as { create(w: number, h: number): { canvas: Canvas } }).create(width, height).canvas;
}

/**
 * The page as one byte a pixel, if every pixel is grey: most pages of text are, and a third of the bytes is encoded in
 * well under half the time, with nothing lost. Pages are drawn on white, so no pixel is transparent.
 */
function greyOf(rgba: Buffer): Uint8Array | undefined {
  const pixels = new Int32Array(rgba.buffer, rgba.byteOffset, rgba.length / 4);
  const grey = new Uint8Array(pixels.length).fill(WHITE & 0xff);
  const at = (i: number) => pixels[i] as number;
  for (let start = 0; start < pixels.length; start += 4) {
    const end = Math.min(start + 4, pixels.length);
    // Most of a page is paper, and four pixels of it take as long as one.
    if (end - start === 4 && (at(start) & at(start + 1) & at(start + 2) & at(start + 3)) === WHITE) continue;
    for (let i = start; i < end; i++) {
      const pixel = at(i);
      // Red against green, and green against blue.
      if (((pixel ^ (pixel >>> 8)) & 0xffff) !== 0) return undefined;
      grey[i] = pixel;
    }
  }
  return grey;
}

function explain(error: unknown): { what: string; fix: string } {
  const { name, message } = error as Error;
  if (error instanceof TooLarge) return { what: message, fix: "Split it into files of fewer pages." };
  if (name === "PasswordException")
    return /incorrect/i.test(message)
      ? { what: "The password is wrong.", fix: "Give the right one with the source's option password." }
      : {
          what: "The PDF is encrypted and needs a password.",
          fix: "Give it with the source's option password, or save it without.",
        };
  if (name === "InvalidPDFException" || name === "FormatError" || name === "UnknownErrorException")
    return { what: `The PDF is damaged: ${message}`, fix: "Get it again from where it came; it may be cut off." };
  // Its surfaces hold 2 GB at most: an A0 plan at 600 dpi does not fit.
  if (/Create skia surface failed/.test(message))
    return {
      what: "An image on the page is too large to be drawn.",
      fix: "Give the page as an image of fewer pixels beside the PDF, as a source of its own.",
    };
  return { what: message, fix: "Look at it in a PDF viewer; it may be damaged." };
}

/** Bytes of its buffer beside an image that may go along with it. */
const SPARE = 4096;
/** How far readers stand back (nice) behind the thread that sends what they have read to the cluster. */
const NICE = 10;
// Linux takes this for the calling thread; elsewhere it would be the whole process.
if (process.platform === "linux")
  try {
    setPriority(0, Math.max(NICE, getPriority(0)));
  } catch {
    // A sandbox may forbid it, and pages come all the same.
  }

parentPort?.on("message", (request: PdfRequest) => {
  const work =
    request.type === "open" ? info(request).then((i) => ({ info: i })) : page(request).then((made) => ({ made }));
  work.then(
    (answer) => {
      if (!("made" in answer)) return parentPort?.postMessage({ id: request.id, ...answer } satisfies PdfAnswer);
      // Handed over, not copied there and back; what sharp gives can't be, and a view of little would take all along.
      const given = answer.made.image;
      const own = answer.made.metadata.passThrough === true && given.buffer.byteLength < given.length + SPARE;
      const image = own ? (given as Uint8Array<ArrayBuffer>) : new Uint8Array(given);
      const sha256 = createHash("sha256").update(image).digest("hex");
      const made = { ...answer.made, image, sha256 };
      return parentPort?.postMessage({ id: request.id, made } satisfies PdfAnswer, [image.buffer]);
    },
    (error: unknown) => parentPort?.postMessage({ id: request.id, error: explain(error) } satisfies PdfAnswer),
  );
});
