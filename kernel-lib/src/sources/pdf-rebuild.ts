/**
 * PDFs that are cut off, or whose list of pages is broken: the file is looked through for the objects that are there, and
 * what leads to them (catalogue, list of pages, cross references) is written anew, to be read behind the file's own bytes.
 */
import { deflateSync } from "node:zlib";
import type { PDFDict, PDFObject } from "pdf-lib";
import { PdfBytes, PdfObjects, type PdfPlace } from "./pdf-objects.js";

/** What makes a file readable. */
export interface Rebuilt {
  /** To be read behind the file's own bytes. */
  appendix: Uint8Array;
  /** Pages that it has then. */
  pages: number;
  /** Numbers of those of which nothing but the place is known. */
  lost: number[];
}

/** Bytes that are looked through at once, and as many of them again that a pattern may span. */
const WINDOW = 1 << 20;
const OVERLAP = 256;
/** Bytes of an object in which its type stands. */
const HEAD = 1 << 16;
/** The highest number of an object (ISO 32000-1, annex C). */
const MOST_NUMBER = 8_388_607;

const OBJECT = /(\d{1,10})\s+(\d{1,5})\s+obj(?![A-Za-z])/g;
const OBJECT_END = /endobj|>>\s*stream(?:\r\n|\n|\r)|\d{1,10}\s+\d{1,5}\s+obj(?![A-Za-z])/g;
const STREAM_END = /endstream|endobj/g;
const ENCRYPTED = /\/Encrypt\b|\/Filter\s*\/(?:Standard|Adobe\.PubSec)\b/;
const NODE = /\/Type\s*\/(?:Page|Pages|Catalog)\b/;

interface Item {
  number: number;
  at: number;
  generation: number;
  kind?: "node" | "objects";
}

/**
 * Looks through a file and gives what makes its pages readable; undefined for one that is encrypted, whose key is lost
 * with the rest, and for one with no pages. It takes the memory of the list of its objects.
 */
export async function rebuild(path: string): Promise<Rebuilt | undefined> {
  const lib = await import("pdf-lib");
  const { PDFArray, PDFDict, PDFName, PDFRawStream, PDFRef } = lib;
  const bytes = new PdfBytes(path);
  try {
    const found = itemsOf(bytes);
    if (found === undefined) return undefined;
    const { items, cut } = found;
    const places = new Map<number, Place>();
    const nodes = new Set<number>();
    const plain = await PdfObjects.at(bytes, new Map(items.map((item) => [item.number, item])));
    const put = (number: number, place: Place, isNode: boolean) => {
      places.set(number, place);
      // At the end again: the order of the nodes is that of the file.
      nodes.delete(number);
      if (isNode) nodes.add(number);
    };
    for (const item of items) {
      put(item.number, item, item.kind === "node");
      if (item.kind !== "objects") continue;
      for (const [index, inner] of objectsIn(plain.find(PDFRef.of(item.number)), plain, lib).entries())
        put(inner.number, { stream: item.number, index }, inner.isNode);
    }
    const objects = await PdfObjects.at(bytes, places as ReadonlyMap<number, PdfPlace>);
    const name = (n: string) => PDFName.of(n);
    const typed = [...nodes].flatMap((number) => {
      const dict = objects.find(PDFRef.of(number));
      return dict instanceof PDFDict ? [{ number, dict, type: objects.find(dict.get(name("Type"))) }] : [];
    });
    const isNode = (type: unknown) => type === name("Page") || type === name("Pages");
    const orphans = new Map<number | undefined, PDFObject[]>();
    for (const { number, dict, type } of typed) {
      if (!isNode(type)) continue;
      const above = dict.get(name("Parent"));
      const parent = above instanceof PDFRef ? above.objectNumber : undefined;
      const known = parent !== undefined && places.has(parent) && objects.find(above) instanceof PDFDict;
      if (known) continue;
      orphans.set(parent, [...(orphans.get(parent) ?? []), ref(number)]);
    }

    function ref(number: number): PDFObject {
      const place = places.get(number);
      return PDFRef.of(number, place !== undefined && "at" in place ? place.generation : 0);
    }

    interface Leaf {
      kid?: PDFObject;
      dict?: PDFDict;
    }
    /** The leaves below some nodes. What names a lost node as its parent stands in its place. */
    function leavesOf(tops: readonly (PDFObject | undefined)[]): Leaf[] {
      const leaves: Leaf[] = [];
      const seen = new Set<unknown>();
      const visit = (kid: PDFObject | undefined): void => {
        const node = objects.find(kid);
        if (node instanceof PDFDict) {
          const kids = objects.find(node.get(name("Kids")));
          if (objects.find(node.get(name("Type"))) === name("Page") || !node.has(name("Kids")))
            leaves.push({ ...(kid === undefined ? {} : { kid }), dict: node });
          else if (kids instanceof PDFArray && !seen.has(node)) {
            seen.add(node);
            for (const each of kids.asArray()) visit(each);
          } else leaves.push({});
          return;
        }
        const number = kid instanceof PDFRef ? kid.objectNumber : undefined;
        const children = number === undefined || seen.has(number) ? [] : (orphans.get(number) ?? []);
        if (children.length === 0) leaves.push({});
        seen.add(number);
        for (const child of children) visit(child);
      };
      for (const top of tops) visit(top);
      return leaves;
    }

    /** Whether what a page draws is there. */
    function isWhole({ dict }: Leaf): boolean {
      const raw = dict?.get(name("Contents"));
      const contents = objects.find(raw);
      const parts = contents instanceof PDFArray ? contents.asArray() : raw === undefined ? [] : [raw];
      return (
        dict !== undefined &&
        parts.every((part) => {
          if (!(part instanceof PDFRef)) return true;
          if (!places.has(part.objectNumber) || part.objectNumber === cut) return false;
          const stream = objects.find(part);
          return !(stream instanceof PDFRawStream) || isPlain(stream.dict.get(name("Filter")), stream.contents);
        })
      );
    }

    /** Deflated bytes begin as such (RFC 1950), unless they are encrypted with a key that is lost. */
    function isPlain(filter: PDFObject | undefined, data: Uint8Array): boolean {
      const first = filter instanceof PDFArray ? filter.get(0) : filter;
      if (first !== name("FlateDecode") || data.length === 0) return true;
      return (data[0] ?? 0) % 16 === 8 && ((data[0] ?? 0) * 256 + (data[1] ?? 0)) % 31 === 0;
    }

    const catalog = typed.filter(({ type, dict }) => type === name("Catalog") && dict.has(name("Pages"))).at(-1)?.dict;
    let leaves = catalog === undefined ? [] : leavesOf([catalog.get(name("Pages"))]);
    if (!leaves.some(isWhole)) leaves = leavesOf([...orphans.values()].flat());
    const lost = leaves.flatMap((leaf, i) => (isWhole(leaf) ? [] : [i + 1]));
    if (lost.length === leaves.length) return undefined;

    const used = new Set<unknown>();
    const kids = leaves.map(({ kid, dict }) => {
      if (dict === undefined) return "<< /Type /Page /MediaBox [0 0 1 1] >>";
      // Readers take a page that is listed twice for a circle.
      const own = kid instanceof PDFRef && !used.has(kid) ? kid : dict;
      used.add(kid);
      return syntax(own);
    });
    const entries = catalog?.entries().filter(([key]) => key !== name("Pages") && key !== name("Type")) ?? [];
    const rest = entries.map(([key, value]) => `${syntax(key)} ${syntax(value)}`).join("\n");
    return { appendix: appendixOf(bytes, places, cut !== undefined, kids, rest), pages: leaves.length, lost };
  } finally {
    bytes.close();
  }
}

type Place = { at: number; generation: number } | { stream: number; index: number };

/** Every object that begins in the file, in its order, and the number of the stream that it is cut off in. */
function itemsOf(bytes: PdfBytes): { items: Item[]; cut?: number } | undefined {
  const windows = new Windows(bytes);
  const items: Item[] = [];
  for (let at = 0, hit = windows.find(OBJECT, at); hit !== undefined; hit = windows.find(OBJECT, at)) {
    const end = windows.find(OBJECT_END, hit.end);
    if (end === undefined) break;
    const head = bytes.read(hit.end, Math.min(HEAD, end.end - hit.end)).toString("latin1");
    if (ENCRYPTED.test(head)) return undefined;
    const kind = NODE.test(head) ? "node" : /\/Type\s*\/ObjStm\b/.test(head) ? "objects" : undefined;
    const number = Number(hit.words[1]);
    if (number > 0 && number <= MOST_NUMBER)
      items.push({ number, at: hit.at, generation: Number(hit.words[2]), ...(kind === undefined ? {} : { kind }) });
    at = /^\d/.test(end.words[0]) ? end.at : end.end;
    if (!end.words[0].startsWith(">>")) continue;
    const length = /\/Length\s+(\d+)(?!\d*\s+\d+\s+R)/.exec(head)?.[1];
    const after = length === undefined ? bytes.size : end.end + Number(length);
    if (after < bytes.size && /^\s*endstream/.test(bytes.read(after, 32).toString("latin1"))) at = after;
    else {
      const tail = windows.find(STREAM_END, end.end);
      if (tail === undefined) return { items, cut: number };
      at = tail.end;
    }
  }
  return { items };
}

/** Finds patterns in a file that is never in memory as a whole. */
class Windows {
  readonly #bytes: PdfBytes;
  #base = 0;
  #text = "";

  constructor(bytes: PdfBytes) {
    this.#bytes = bytes;
  }

  find(pattern: RegExp, from: number): { at: number; end: number; words: RegExpExecArray } | undefined {
    let at = from;
    while (at < this.#bytes.size) {
      if (at < this.#base || at >= this.#base + this.#text.length) {
        this.#base = at;
        this.#text = this.#bytes.read(at, WINDOW).toString("latin1");
      }
      const end = this.#base + this.#text.length;
      pattern.lastIndex = at - this.#base;
      const words = pattern.exec(this.#text);
      if (words !== null) {
        const begin = this.#base + words.index;
        return { at: begin, end: begin + words[0].length, words };
      }
      if (end >= this.#bytes.size) return undefined;
      at = Math.max(at + 1, end - OVERLAP);
      this.#text = "";
    }
    return undefined;
  }
}

/** What a stream of objects holds, if it is whole: numbers in its order, and whether each may be of the list of pages. */
function objectsIn(
  stream: PDFObject | undefined,
  objects: PdfObjects,
  { PDFRawStream, PDFName, PDFNumber }: typeof import("pdf-lib"),
): { number: number; isNode: boolean }[] {
  if (!(stream instanceof PDFRawStream)) return [];
  try {
    const number = (key: string) => stream.dict.lookup(PDFName.of(key), PDFNumber).asNumber();
    const text = Buffer.from(objects.unpacked(stream)).toString("latin1");
    const first = number("First");
    const heads = [...text.slice(0, first).matchAll(/(\d+)\s+(\d+)/g)].slice(0, number("N"));
    return heads.map((head, i) => ({
      number: Number(head[1]),
      isNode: NODE.test(text.slice(first + Number(head[2]), first + Number(heads[i + 1]?.[2] ?? text.length))),
    }));
  } catch {
    return [];
  }
}

function syntax(object: PDFObject): string {
  const bytes = Buffer.alloc(object.sizeInBytes());
  object.copyBytesInto(bytes, 0);
  return bytes.toString("latin1");
}

/** Catalogue, list of pages and cross references, as an update of the file has them (ISO 32000-1, 7.5.6 and 7.5.8). */
function appendixOf(
  bytes: PdfBytes,
  places: Map<number, Place>,
  isCut: boolean,
  kids: readonly string[],
  catalog: string,
): Uint8Array {
  const parts: Buffer[] = [];
  let length = 0;
  const write = (part: string | Buffer) => {
    const data = typeof part === "string" ? Buffer.from(part, "latin1") : part;
    parts.push(data);
    length += data.length;
  };
  const next = [...places.keys()].reduce((most, number) => Math.max(most, number), 0) + 1;
  const [root, list, table] = [next, next + 1, next + 2];
  const begin = (number: number) => {
    places.set(number, { at: bytes.own + length, generation: 0 });
    write(`${number} 0 obj\n`);
  };
  write(isCut ? "\nendstream\nendobj\n" : "\n");
  begin(root);
  write(`<< /Type /Catalog /Pages ${list} 0 R\n${catalog} >>\nendobj\n`);
  begin(list);
  write(`<< /Type /Pages /Count ${kids.length} /Kids [\n${kids.join("\n")}\n] >>\nendobj\n`);
  const start = bytes.own + length - bytes.start;
  begin(table);
  const numbers = [...places.keys()].sort((a, b) => a - b);
  const rows = Buffer.alloc(numbers.length * 7);
  const index: number[] = [];
  for (const [i, number] of numbers.entries()) {
    const place = places.get(number) as Place;
    const isPlain = "at" in place;
    rows[i * 7] = isPlain ? 1 : 2;
    rows.writeUInt32BE(isPlain ? place.at - bytes.start : place.stream, i * 7 + 1);
    rows.writeUInt16BE(isPlain ? place.generation : place.index, i * 7 + 5);
    if (i > 0 && number === (numbers[i - 1] ?? 0) + 1) index[index.length - 1] = (index.at(-1) ?? 0) + 1;
    else index.push(number, 1);
  }
  const packed = deflateSync(rows);
  write(
    `<< /Type /XRef /Size ${table + 1} /Root ${root} 0 R /W [1 4 2] /Index [${index.join(" ")}] ` +
      `/Filter /FlateDecode /Length ${packed.length} >>\nstream\n`,
  );
  write(packed);
  write(`\nendstream\nendobj\nstartxref\n${start}\n%%EOF\n`);
  return Buffer.concat(parts);
}
