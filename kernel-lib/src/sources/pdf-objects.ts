/**
 * A PDF's objects, each read from the disk when it is asked for, by the file's own cross references: a book of scans
 * costs the memory of one page, whatever its size. pdf-lib parses what was read; by itself it takes whole files only.
 * Every doubt is an error, and the caller does without.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { inflateSync } from "node:zlib";
import type { PDFContext, PDFDict, PDFObject, PDFPageLeaf, PDFRawStream, PDFRef } from "pdf-lib";

/** Bytes that a dictionary, a table of cross references, or a stream of either may have. */
const MOST_DICT = 4 << 20;
const MOST_TABLE = 256 << 20;
/** Bytes of a stream: the largest scans have a tenth of it. */
const MOST_STREAM = 512 << 20;
/** Bytes in which the header begins, and those in which `startxref` stands before whatever pads the end. */
const HEAD = 1024;
const TAIL = 2048;
const PADDING = new Set([0, 9, 10, 12, 13, 32]);

/** A file's bytes, with others behind them that were made for it. Throws for what is outside. */
export class PdfBytes {
  /** Bytes of the file itself. */
  readonly own: number;
  /** Where the header begins, from which the file counts. */
  readonly start: number;
  readonly #file: number;
  readonly #appendix: Uint8Array;

  constructor(path: string, appendix: Uint8Array = new Uint8Array(0)) {
    this.#appendix = appendix;
    this.#file = openSync(path, "r");
    try {
      this.own = fstatSync(this.#file).size;
      this.start = Math.max(0, this.read(0, HEAD).indexOf("%PDF-"));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Bytes of all. */
  get size(): number {
    return this.own + this.#appendix.length;
  }

  /** Bytes from `at` on, fewer at the end. */
  read(at: number, length: number): Buffer {
    if (!(at >= 0 && at < this.size)) throw new Error(`nothing at ${at}`);
    const bytes = Buffer.allocUnsafeSlow(Math.min(length, this.size - at));
    const inFile = Math.max(0, Math.min(bytes.length, this.own - at));
    let done = 0;
    while (done < inFile) {
      const count = readSync(this.#file, bytes, done, inFile - done, at + done);
      if (count === 0) return bytes.subarray(0, done);
      done += count;
    }
    if (inFile < bytes.length)
      bytes.set(this.#appendix.subarray(at + inFile - this.own, at + bytes.length - this.own), inFile);
    return bytes;
  }

  /** The last of them in words, without what pads the end: zeros and white space, however much. */
  tail(): string {
    for (let end = this.size; end > 0; ) {
      const from = Math.max(0, end - TAIL);
      const bytes = this.read(from, end - from);
      let used = bytes.length;
      while (used > 0 && PADDING.has(bytes[used - 1] ?? 0)) used -= 1;
      if (used > 0) {
        const last = from + used;
        return this.read(Math.max(0, last - TAIL), Math.min(TAIL, last)).toString("latin1");
      }
      end = from;
    }
    return "";
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Where an object is: in the file, or in a stream of objects; null where it was deleted. */
export type PdfPlace = { at: number } | { stream: number } | null;

/** A leaf of the tree of pages; without a page where the tree is broken. */
export interface PdfLeaf {
  page?: PDFPageLeaf;
}

/** The objects of one file. Throws errors that are for nobody's eyes. */
export class PdfObjects {
  /** Looks objects up; dictionaries that it gives lead on to others through it. */
  readonly context: PDFContext;
  readonly #lib: typeof import("pdf-lib");
  readonly #bytes: PdfBytes;
  readonly #places = new Map<number, PdfPlace>();
  #root: PDFRef | undefined;
  /** What the context has already. */
  #known: (ref: PDFRef) => PDFObject | undefined = () => undefined;

  private constructor(lib: typeof import("pdf-lib"), bytes: PdfBytes) {
    this.#lib = lib;
    this.context = this.#lazy(lib.PDFContext.create());
    this.#bytes = bytes;
  }

  /** Opens a file, perhaps with an appendix. Throws for one that is encrypted or without whole cross references. */
  static async open(path: string, appendix?: Uint8Array): Promise<PdfObjects> {
    const objects = new PdfObjects(await import("pdf-lib"), new PdfBytes(path, appendix));
    try {
      objects.#crossReferences();
      return objects;
    } catch (error) {
      objects.close();
      throw error;
    }
  }

  /** Objects whose places are known without cross references. */
  static async at(bytes: PdfBytes, places: ReadonlyMap<number, PdfPlace>): Promise<PdfObjects> {
    const objects = new PdfObjects(await import("pdf-lib"), bytes);
    for (const [number, place] of places) objects.#place(number, place);
    return objects;
  }

  /** The catalogue. */
  catalog(): PDFDict {
    const { PDFDict } = this.#lib;
    const catalog = this.context.lookup(this.#root);
    if (!(catalog instanceof PDFDict)) throw new Error("no catalog");
    return catalog;
  }

  /** The pages in order, with a leaf without a page for each break in their tree. */
  pages(): PdfLeaf[] {
    const { PDFArray, PDFDict, PDFName, PDFPageLeaf } = this.#lib;
    const leaves: PdfLeaf[] = [];
    const seen = new Set<PDFObject>();
    const visit = (kid: PDFObject | undefined): void => {
      const node = this.find(kid);
      if (!(node instanceof PDFDict) || seen.has(node)) leaves.push({});
      else if (this.find(node.get(PDFName.of("Type"))) === PDFName.of("Page") || !node.has(PDFName.of("Kids")))
        leaves.push({
          page: node instanceof PDFPageLeaf ? node : PDFPageLeaf.fromMapWithContext(node.asMap(), this.context),
        });
      else {
        const kids = this.find(node.get(PDFName.of("Kids")));
        // A second time it would be a circle, or a list that doubles with each of its levels.
        seen.add(node);
        if (kids instanceof PDFArray) for (const each of kids.asArray()) visit(each);
        else leaves.push({});
      }
    };
    visit(this.catalog().get(PDFName.of("Pages")));
    return leaves;
  }

  /** The object behind a reference, or the object itself; undefined for what can't be read. */
  find(object: PDFObject | undefined): PDFObject | undefined {
    try {
      return this.context.lookup(object);
    } catch {
      return undefined;
    }
  }

  close(): void {
    this.#bytes.close();
  }

  /** Makes a context look for what it does not have in the file. */
  #lazy(context: PDFContext): PDFContext {
    const { PDFRef, PDFStream } = this.#lib;
    const found = (object: PDFObject | undefined): PDFObject | undefined => {
      if (!(object instanceof PDFRef) || lookup(object) !== undefined) return object;
      const loaded = this.#load(object.objectNumber);
      // A page's image is asked for once, and all of them would be the whole file.
      if (loaded instanceof PDFStream) return loaded;
      if (loaded !== undefined) context.assign(object, loaded);
      return object;
    };
    type Lookup = (object: PDFObject | undefined, ...types: unknown[]) => PDFObject | undefined;
    const lookup = context.lookup.bind(context) as Lookup;
    this.#known = lookup;
    const lookupMaybe = context.lookupMaybe.bind(context) as unknown as Lookup;
    context.lookup = ((object, ...types) => lookup(found(object), ...types)) satisfies Lookup as typeof context.lookup;
    context.lookupMaybe = ((object, ...types) =>
      lookupMaybe(found(object), ...types)) satisfies Lookup as unknown as typeof context.lookupMaybe;
    return context;
  }

  #load(number: number): PDFObject | undefined {
    const place = this.#places.get(number);
    if (place === undefined || place === null) return undefined;
    if ("at" in place) return this.#objectAt(place.at, number);
    const { PDFRawStream, PDFObjectStreamParser, PDFRef } = this.#lib;
    const stream = this.#load(place.stream);
    if (!(stream instanceof PDFRawStream)) throw new Error("no stream of objects");
    // It holds objects that later parts of the file may have replaced.
    const assign = this.context.assign.bind(this.context);
    this.context.assign = (ref, object) => {
      const own = this.#places.get(ref.objectNumber);
      if (own !== undefined && own !== null && "stream" in own && own.stream === place.stream) assign(ref, object);
    };
    try {
      // With nothing to wait for it is done when it returns; what it could not read is missed below.
      PDFObjectStreamParser.forStream(stream, () => false)
        .parseIntoContext()
        .catch(() => undefined);
    } finally {
      this.context.assign = assign;
    }
    return this.#known(PDFRef.of(number));
  }

  /** The object that begins at `at`, which has to be the one with that number. */
  #objectAt(at: number, number?: number): PDFObject {
    const { PDFDict, PDFName, PDFNumber, PDFObjectParser, PDFRawStream } = this.#lib;
    for (let most = 4096; most <= MOST_DICT; most *= 8) {
      const bytes = this.#bytes.read(at, most);
      const text = bytes.toString("latin1");
      const head = /^\s*(\d+)\s+\d+\s+obj\b/.exec(text);
      if (head === null || (number !== undefined && Number(head[1]) !== number)) break;
      const [begin] = head;
      const end = /endobj|>>\s*stream\r?\n/.exec(text.slice(begin.length));
      if (end === null && bytes.length === most) continue;
      if (end === null) break;
      const isStream = end[0] !== "endobj";
      const body = bytes.subarray(begin.length, begin.length + end.index + (isStream ? 2 : 0));
      const object = PDFObjectParser.forBytes(body, this.context).parseObject();
      if (!isStream) return object;
      if (!(object instanceof PDFDict)) break;
      const length = this.context.lookup(object.get(PDFName.of("Length")), PDFNumber).asNumber();
      if (!(length <= MOST_STREAM)) break;
      const data = this.#bytes.read(at + begin.length + end.index + end[0].length, length + 16);
      if (!/^\s*endstream/.test(data.subarray(length).toString("latin1"))) break;
      return PDFRawStream.of(object, data.subarray(0, length));
    }
    throw new Error(`no object at ${at}`);
  }

  /** Every section, the newest first: what it says of an object holds (ISO 32000-1, 7.5.4 to 7.5.8). */
  #crossReferences(): void {
    const { PDFName, PDFNumber, PDFRef } = this.#lib;
    const last = [...this.#bytes.tail().matchAll(/startxref\s+(\d+)/g)].at(-1);
    const sections = [Number(last?.[1] ?? Number.NaN)];
    const seen = new Set<number>();
    for (let at = sections.shift(); at !== undefined; at = sections.shift()) {
      if (seen.has(at)) throw new Error("cross references in a circle");
      seen.add(at);
      const from = at + this.#bytes.start;
      const isTable = /^\s*xref\b/.test(this.#bytes.read(from, 32).toString("latin1"));
      const trailer = isTable ? this.#table(from) : this.#stream(from);
      if (trailer.has(PDFName.of("Encrypt"))) throw new Error("encrypted");
      const root = trailer.get(PDFName.of("Root"));
      if (root instanceof PDFRef) this.#root ??= root;
      for (const name of ["XRefStm", "Prev"]) {
        const more = trailer.get(PDFName.of(name));
        if (more instanceof PDFNumber) sections.push(more.asNumber());
      }
    }
    if (this.#root === undefined) throw new Error("no root");
  }

  /** A table in words; returns the trailer behind it. */
  #table(at: number): PDFDict {
    const { PDFDict, PDFObjectParser } = this.#lib;
    let text = "";
    for (let most = 1 << 16; ; most *= 8) {
      text = this.#bytes.read(at, most).toString("latin1");
      if (/trailer[\s\S]*startxref/.test(text)) break;
      if (text.length < most || most > MOST_TABLE) throw new Error("a table without a trailer");
    }
    const sections = /(\d+)\s+(\d+)\s+(?=\d{10} |trailer)/y;
    const entry = /(\d{10}) \d{5} ([nf])\s*/y;
    sections.lastIndex = /^\s*xref\s*/.exec(text)?.[0].length ?? 0;
    for (let section = sections.exec(text); section !== null; section = sections.exec(text)) {
      entry.lastIndex = sections.lastIndex;
      for (let i = 0; i < Number(section[2]); i++) {
        const one = entry.exec(text);
        if (one === null) throw new Error("a torn table");
        this.#place(Number(section[1]) + i, one[2] === "n" ? { at: Number(one[1]) + this.#bytes.start } : null);
        sections.lastIndex = entry.lastIndex;
      }
    }
    const begin = text.indexOf("trailer") + "trailer".length;
    const bytes = Buffer.from(text.slice(begin, text.indexOf("startxref", begin)), "latin1");
    const trailer = PDFObjectParser.forBytes(bytes, this.context).parseObject();
    if (!(trailer instanceof PDFDict)) throw new Error("a trailer that is no dictionary");
    return trailer;
  }

  /** A table as a stream; returns its dictionary, which is the trailer too. */
  #stream(at: number): PDFDict {
    const { PDFArray, PDFName, PDFNumber, PDFRawStream } = this.#lib;
    const object = this.#objectAt(at);
    if (!(object instanceof PDFRawStream)) throw new Error("no cross references");
    const { dict } = object;
    const numbers = (name: string): number[] | undefined =>
      dict
        .lookupMaybe(PDFName.of(name), PDFArray)
        ?.asArray()
        .map((n) => (n instanceof PDFNumber ? n.asNumber() : Number.NaN));
    const widths = numbers("W") ?? [];
    const [w0 = 0, w1 = 0, w2 = 0] = widths;
    const rows = this.unpacked(object);
    const row = w0 + w1 + w2;
    const size = dict.lookup(PDFName.of("Size"), PDFNumber).asNumber();
    const index = numbers("Index") ?? [0, size];
    const field = (from: number, width: number) => {
      let value = 0;
      for (let i = 0; i < width; i++) value = value * 256 + (rows[from + i] ?? 0);
      return value;
    };
    let from = 0;
    for (let i = 0; i < index.length; i += 2)
      for (let n = 0; n < (index[i + 1] ?? 0) && from + row <= rows.length; n++, from += row) {
        const type = w0 === 0 ? 1 : field(from, w0);
        const value = field(from + w0, w1);
        const place = type === 1 ? { at: value + this.#bytes.start } : type === 2 ? { stream: value } : null;
        this.#place((index[i] ?? 0) + n, place);
      }
    return dict;
  }

  /** A deflated stream's bytes, with PNG's prediction undone, which pdf-lib does not know and nearly all such streams have. */
  unpacked(stream: PDFRawStream): Uint8Array {
    const { PDFDict, PDFName, PDFNumber } = this.#lib;
    const { dict } = stream;
    if (dict.get(PDFName.of("Filter")) !== PDFName.of("FlateDecode")) throw new Error("another filter");
    const data = inflateSync(stream.contents, { maxOutputLength: MOST_TABLE });
    const parameters = dict.lookupMaybe(PDFName.of("DecodeParms"), PDFDict);
    const parameter = (name: string) => parameters?.lookupMaybe(PDFName.of(name), PDFNumber)?.asNumber() ?? 1;
    const predictor = parameter("Predictor");
    if (predictor === 1) return data;
    const columns = parameter("Columns");
    if (predictor < 10 || parameter("Colors") !== 1) throw new Error("another prediction");
    const out = new Uint8Array(Math.floor(data.length / (columns + 1)) * columns);
    for (let y = 0, from = 0, to = 0; to < out.length; y++, from += columns + 1, to += columns) {
      const filter = data[from];
      // 0: as it is; 2: the difference to the row above. The others pay for pictures only, and nobody writes them.
      if (filter !== 0 && filter !== 2) throw new Error("another prediction");
      for (let x = 0; x < columns; x++)
        out[to + x] = (data[from + 1 + x] ?? 0) + (filter === 2 && y > 0 ? (out[to + x - columns] ?? 0) : 0);
    }
    return out;
  }

  #place(number: number, place: PdfPlace): void {
    if (!this.#places.has(number)) this.#places.set(number, place);
  }
}
