/**
 * Searchable PDF: the page images with their text over them, unseen.
 *
 * Written page by page as it goes out, so that a book of any size takes the memory of one page; pdf-lib, which the sources
 * use, holds the whole file and makes it twice. What is needed of PDF here is little: an image a page, and glyphs.
 *
 * The glyphs are those of Type 3 fonts (ISO 32000-1, 9.6.5) that draw nothing: any script can be searched, and no font is
 * embedded. Each such font has 256 codes, given to characters as they come; its ToUnicode map says which is which.
 */
import { loadSharp } from "../images.js";
import { visualPlaces } from "./bidi.js";
import type { Line, PageLayout, Word } from "./layout.js";
import type { PageImage, Work } from "./pages.js";

/** Resolution that is taken where nobody says one, in dots per inch. */
const DPI = 300;
/** Width of each glyph, in thousandths of the font size; words are stretched to their boxes. */
const GLYPH = 500;
/** Quality of the pages that have to be encoded anew. */
const JPEG_QUALITY = 90;

/** Objects with fixed numbers; those of the pages follow. */
const CATALOG = 1;
const PAGES = 2;
const RESOURCES = 3;
const INFO = 4;
const FIRST = 5;

/** The PDF of a work, part by part. `software` goes into the file's properties. */
export async function* pdfOf(work: Pick<Work, "title" | "pages">, software: string): AsyncGenerator<Uint8Array> {
  const offsets = new Map<number, number>();
  let at = 0;
  let next = FIRST;
  const out = (part: string | Uint8Array): Uint8Array => {
    const bytes = typeof part === "string" ? Buffer.from(part, "latin1") : part;
    at += bytes.length;
    return bytes;
  };
  const object = (number: number, body: string): Uint8Array => {
    offsets.set(number, at);
    return out(`${number} 0 obj\n${body}\nendobj\n`);
  };
  const fonts = new Fonts();
  const kids: number[] = [];
  // The second line says that the file holds bytes beyond ASCII (ISO 32000-1, 7.5.2).
  yield out("%PDF-1.7\n%\u00e2\u00e3\u00cf\u00d3\n");
  for (const page of work.pages) {
    const layout = await page.layout();
    const image = await page.image();
    const picture = image === undefined ? undefined : await jpegOf(image);
    const dpi = typeof page.metadata.dpi === "number" && page.metadata.dpi > 0 ? page.metadata.dpi : DPI;
    const pixels = picture ?? { width: layout.width || 1, height: layout.height || 1 };
    const [width, height] = [(pixels.width * 72) / dpi, (pixels.height * 72) / dpi];
    const drawn = picture === undefined ? "" : `q ${n(width)} 0 0 ${n(height)} 0 0 cm /Page Do Q\n`;
    const content = `${drawn}${textOf(layout, width, height, fonts)}`;
    const [pageNumber, contentNumber, imageNumber] = [next, next + 1, next + 2];
    next += 3;
    kids.push(pageNumber);
    const own = picture === undefined ? "" : ` /XObject << /Page ${imageNumber} 0 R >>`;
    // Fonts are shared by all pages and known at the end only.
    yield object(
      pageNumber,
      `<< /Type /Page /Parent ${PAGES} 0 R /MediaBox [0 0 ${n(width)} ${n(height)}] /Contents ${contentNumber} 0 R /Resources << /Font ${RESOURCES} 0 R${own} >> >>`,
    );
    yield object(contentNumber, `<< /Length ${content.length} >>\nstream\n${content}\nendstream`);
    if (picture !== undefined) {
      offsets.set(imageNumber, at);
      yield out(
        `${imageNumber} 0 obj\n<< /Type /XObject /Subtype /Image /Width ${picture.width} /Height ${picture.height} /ColorSpace /${picture.gray ? "DeviceGray" : "DeviceRGB"} /BitsPerComponent 8 /Filter /DCTDecode /Length ${picture.bytes.length} >>\nstream\n`,
      );
      yield out(picture.bytes);
      yield out("\nendstream\nendobj\n");
    }
  }
  const names: string[] = [];
  for (const [i, font] of fonts.all.entries()) {
    const [fontNumber, glyphNumber, mapNumber] = [next, next + 1, next + 2];
    next += 3;
    names.push(`/F${i} ${fontNumber} 0 R`);
    yield object(fontNumber, fontObject(font, glyphNumber, mapNumber));
    const glyph = `${GLYPH} 0 0 -200 ${GLYPH} 800 d1`;
    yield object(glyphNumber, `<< /Length ${glyph.length} >>\nstream\n${glyph}\nendstream`);
    const map = toUnicode(font);
    yield object(mapNumber, `<< /Length ${map.length} >>\nstream\n${map}\nendstream`);
  }
  yield object(RESOURCES, `<< ${names.join(" ")} >>`);
  yield object(PAGES, `<< /Type /Pages /Count ${kids.length} /Kids [${kids.map((k) => `${k} 0 R`).join(" ")}] >>`);
  yield object(CATALOG, `<< /Type /Catalog /Pages ${PAGES} 0 R /ViewerPreferences << /DisplayDocTitle true >> >>`);
  yield object(INFO, `<< /Title ${text(work.title)} /Producer ${text(software)} /Creator ${text(software)} >>`);
  const start = at;
  const rows = Array.from({ length: next - 1 }, (_, i) => {
    const offset = offsets.get(i + 1);
    // A page whose image is gone has left a number unused.
    return offset === undefined ? "0000000000 65535 f \n" : `${String(offset).padStart(10, "0")} 00000 n \n`;
  });
  yield out(`xref\n0 ${next}\n0000000000 65535 f \n${rows.join("")}`);
  yield out(`trailer\n<< /Size ${next} /Root ${CATALOG} 0 R /Info ${INFO} 0 R >>\nstartxref\n${start}\n%%EOF\n`);
}

/** Characters by font and code, as they come. */
class Fonts {
  /** Characters of each font, by code. */
  readonly all: string[][] = [];
  readonly #codes = new Map<string, { font: number; code: number }>();

  code(character: string): { font: number; code: number } {
    let known = this.#codes.get(character);
    if (known === undefined) {
      let font = this.all.at(-1);
      if (font === undefined || font.length === 256) {
        font = [];
        this.all.push(font);
      }
      known = { font: this.all.length - 1, code: font.length };
      font.push(character);
      this.#codes.set(character, known);
    }
    return known;
  }
}

/** The words of a page as a text object; each with a space behind it, so that words stay words when they are copied. */
function textOf(layout: PageLayout, width: number, height: number, fonts: Fonts): string {
  const [x, y] = [width / (layout.width || 1), height / (layout.height || 1)];
  const lines = layout.regions.flatMap((r) => r.lines);
  if (lines.length === 0) return "";
  const shown = lines.flatMap((line) => {
    // A line that is not level would have its words beside the ink; there each word has its own height.
    const tallest = Math.max(...line.words.map((w) => w.box[3] - w.box[1]));
    const level = line.box[3] - line.box[1] <= 2 * tallest;
    const glyphs = glyphsOf(line);
    return line.words.map((word, i) => wordOf(word, glyphs[i] ?? [], level ? line : word, x, y, height, fonts));
  });
  return `BT\n${shown.join("")}ET`;
}

/** What no reader should find in the text: control characters, and marks that only set a direction. */
const UNSHOWN = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** Letters from right to left beyond UTF-16's first 65,536, which poppler and PDFium don't know for such and never turn. */
const UNTURNED = /[\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/**
 * The characters of each word as they stand from left to right. Readers take glyphs for what is seen and turn them; brackets
 * are not mirrored, since poppler and pdf.js leave them as they find them.
 */
function glyphsOf(line: Line): string[][] {
  const places = visualPlaces(line.words.map((w) => w.text).join(" "), line.direction);
  let from = 0;
  return line.words.map((word) => {
    const characters = [...word.text];
    const placed = characters.map((character, i) => ({ character, place: places[from + i] ?? 0 }));
    from += characters.length + 1;
    if (!UNTURNED.test(word.text)) placed.sort((a, b) => a.place - b.place);
    return placed.map((p) => p.character).filter((c) => !UNSHOWN.test(c));
  });
}

/** One word, on the base line and in the size of `row`, its line: readers that put words in order go by them. */
function wordOf(
  word: Word,
  characters: readonly string[],
  row: Line | Word,
  x: number,
  y: number,
  height: number,
  fonts: Fonts,
): string {
  if (characters.length === 0) return "";
  const box = [word.box[0], row.box[1], word.box[2], row.box[3]] as const;
  const size = Math.max(0.5, (box[3] - box[1]) * y);
  const wide = Math.max(0.5, (box[2] - box[0]) * x);
  const stretch = (100 * wide) / ((characters.length * size * GLYPH) / 1000);
  let shown = "";
  let font = -1;
  let run = "";
  const flush = () => {
    if (run !== "") shown += `/F${font} ${n(size)} Tf <${run}> Tj `;
    run = "";
  };
  for (const character of [...characters, " "]) {
    const at = fonts.code(character);
    if (at.font !== font) {
      flush();
      font = at.font;
    }
    run += at.code.toString(16).padStart(2, "0");
  }
  flush();
  // The glyphs reach a fifth of their size below the base line.
  return `${n(stretch)} Tz 1 0 0 1 ${n(box[0] * x)} ${n(height - box[3] * y + size * 0.2)} Tm ${shown}\n`;
}

function fontObject(characters: readonly string[], glyph: number, map: number): string {
  const names = characters.map(() => "/g").join(" ");
  const widths = characters.map(() => GLYPH).join(" ");
  return (
    `<< /Type /Font /Subtype /Type3 /FontBBox [0 -200 ${GLYPH} 800] /FontMatrix [0.001 0 0 0.001 0 0] ` +
    `/CharProcs << /g ${glyph} 0 R >> /Encoding << /Type /Encoding /Differences [0 ${names}] >> ` +
    `/FirstChar 0 /LastChar ${characters.length - 1} /Widths [${widths}] /Resources << >> /ToUnicode ${map} 0 R >>`
  );
}

/** Codes to characters (ISO 32000-1, 9.10.3): blocks of 100 at most. */
function toUnicode(characters: readonly string[]): string {
  const lines = characters.map((c, code) => `<${code.toString(16).padStart(2, "0")}> <${utf16(c)}>`);
  const blocks: string[] = [];
  for (let i = 0; i < lines.length; i += 100) {
    const block = lines.slice(i, i + 100);
    blocks.push(`${block.length} beginbfchar\n${block.join("\n")}\nendbfchar`);
  }
  return [
    "/CIDInit /ProcSet findresource begin",
    "12 dict begin",
    "begincmap",
    "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
    "/CMapName /Adobe-Identity-UCS def",
    "/CMapType 2 def",
    "1 begincodespacerange",
    "<00> <ff>",
    "endcodespacerange",
    ...blocks,
    "endcmap",
    "CMapName currentdict /CMap defineresource pop",
    "end",
    "end",
  ].join("\n");
}

function utf16(value: string): string {
  return Buffer.from(value, "utf16le").swap16().toString("hex");
}

/** A text string (ISO 32000-1, 7.9.2.2): UTF-16 with its mark, in hexadecimal digits, so that nothing in it is syntax. */
function text(value: string): string {
  return `<feff${utf16(value)}>`;
}

/** A number as PDF writes it: no exponent, and no more places than a printer sees. */
function n(value: number): string {
  return String(Math.round(value * 1000) / 1000);
}

/** The page as a JPEG that a PDF shows upright: the very bytes where they are one, else encoded anew. */
async function jpegOf(
  image: PageImage,
): Promise<{ bytes: Uint8Array; width: number; height: number; gray: boolean } | undefined> {
  const sharp = await loadSharp();
  try {
    const about = await sharp(image.bytes).metadata();
    const upright = about.orientation === undefined || about.orientation === 1;
    if (about.format === "jpeg" && upright && (about.channels === 1 || about.channels === 3))
      return { bytes: image.bytes, width: about.width, height: about.height, gray: about.channels === 1 };
    const made = await sharp(image.bytes)
      .rotate()
      .flatten({ background: "white" })
      .toColourspace(about.channels <= 2 && about.space === "b-w" ? "b-w" : "srgb")
      .jpeg({ quality: JPEG_QUALITY, chromaSubsampling: "4:4:4" })
      .toBuffer({ resolveWithObject: true });
    return { bytes: made.data, width: made.info.width, height: made.info.height, gray: made.info.channels === 1 };
  } catch {
    // A damaged image: its page stays, with its text.
    return undefined;
  }
}
