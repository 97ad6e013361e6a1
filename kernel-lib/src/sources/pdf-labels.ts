/**
 * Labels of pages as the PDF's maker gave them (ISO 32000-1, 12.4.2): i, ii, 1, 2, A-1 … What is wrong with one range of
 * them costs no other its labels.
 */
import type { PDFDict, PDFHexString, PDFObject, PDFString } from "pdf-lib";
import type { PdfObjects } from "./pdf-objects.js";

/** One label for each page; undefined if the file has none, or none that can be read. */
export async function pageLabels(objects: PdfObjects, pages: number): Promise<string[] | undefined> {
  const lib = await import("pdf-lib");
  const { PDFArray, PDFDict, PDFName, PDFNumber } = lib;
  const find = (dict: PDFDict, key: string): unknown => objects.find(dict.get(PDFName.of(key)));
  const ranges = new Map<number, PDFDict>();
  const seen = new Set<PDFObject>();
  const visit = (node: unknown): void => {
    if (!(node instanceof PDFDict) || seen.has(node)) return;
    seen.add(node);
    const [kids, pairs] = [find(node, "Kids"), find(node, "Nums")];
    if (kids instanceof PDFArray) for (const kid of kids.asArray()) visit(objects.find(kid));
    if (!(pairs instanceof PDFArray)) return;
    const items = pairs.asArray().map((item) => objects.find(item));
    for (let i = 0; i + 1 < items.length; i += 2) {
      const [from, range] = [items[i], items[i + 1]];
      if (from instanceof PDFNumber && from.asNumber() >= 0 && range instanceof PDFDict)
        ranges.set(from.asNumber(), range);
    }
  };
  visit(find(objects.catalog(), "PageLabels"));
  if (ranges.size === 0) return undefined;

  const labels: string[] = [];
  // Before the first range pages are known by their numbers, as they would be without any.
  let label = (page: number) => String(page + 1);
  for (let page = 0; page < pages; page++) {
    const range = ranges.get(page);
    if (range !== undefined) {
      const [style, prefix, first] = [find(range, "S"), find(range, "P"), find(range, "St")];
      const before = prefix instanceof lib.PDFString || prefix instanceof lib.PDFHexString ? textOf(prefix) : "";
      const start = first instanceof PDFNumber && first.asNumber() >= 0 ? Math.floor(first.asNumber()) : 1;
      const number = style instanceof PDFName ? STYLES[style.decodeText()] : undefined;
      label = (at) => before + (number === undefined ? "" : number(start + at - page));
    }
    labels.push(label(page));
  }
  return labels;
}

/** A text string, also one in UTF-8, which PDF 2.0 brought (ISO 32000-2, 7.9.2.2) and pdf-lib does not know. */
function textOf(text: PDFString | PDFHexString): string {
  const bytes = Buffer.from(text.asBytes());
  return bytes.subarray(0, 3).equals(UTF8) ? bytes.toString("utf8", 3) : text.decodeText();
}

const UTF8 = Buffer.from([0xef, 0xbb, 0xbf]);

const STYLES: { readonly [style: string]: (n: number) => string } = {
  D: String,
  R: (n) => roman(n).toUpperCase(),
  r: roman,
  A: (n) => letters(n).toUpperCase(),
  a: letters,
};

/** a to z, then aa to zz: the same letter, ever more often. */
function letters(n: number): string {
  if (n < 1) return String(n);
  return String.fromCharCode(97 + ((n - 1) % 26)).repeat(Math.min(Math.ceil(n / 26), 100));
}

const NUMERALS: readonly (readonly [number, string])[] = [
  [1000, "m"],
  [900, "cm"],
  [500, "d"],
  [400, "cd"],
  [100, "c"],
  [90, "xc"],
  [50, "l"],
  [40, "xl"],
  [10, "x"],
  [9, "ix"],
  [5, "v"],
  [4, "iv"],
  [1, "i"],
];

function roman(n: number): string {
  // There is no Roman nought, and nobody would read a number of hundred signs.
  if (n < 1 || n > 50_000) return String(n);
  let [text, rest] = ["", n];
  for (const [value, sign] of NUMERALS) for (; rest >= value; rest -= value) text += sign;
  return text;
}
