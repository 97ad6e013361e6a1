/** The directories of a TIFF or BigTIFF file: its pages, how large they are, and whether their data are all there. */

/** One directory of a TIFF. */
export interface TiffDirectory {
  width?: number;
  height?: number;
  /** A smaller copy or a mask of another page, not a page itself. */
  aside: boolean;
  /** Samples are L*a*b*, which libvips does not read at 8 bits: `signed` says how a* and b* are stored. */
  lab?: { signed: boolean };
  /** Where the value of PhotometricInterpretation lies. */
  photometricAt?: number;
  /** Set where data that the directory promises lie behind the end of the file. */
  cut: boolean;
}

/** What {@link readTiff} finds. */
export interface Tiff {
  directories: TiffDirectory[];
  /** The file ends before a directory that another names: there were more pages. */
  cut: boolean;
}

/** Sizes of the field types 1 to 18 in bytes (TIFF 6.0, section 2; BigTIFF has 16 to 18). */
const SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8];
const TAG = {
  newSubfileType: 254,
  subfileType: 255,
  width: 256,
  height: 257,
  bits: 258,
  compression: 259,
  photometric: 262,
  stripOffsets: 273,
  samples: 277,
  rowsPerStrip: 278,
  stripBytes: 279,
  planar: 284,
  tileOffsets: 324,
  tileBytes: 325,
} as const;

/** True for the first bytes of a TIFF or BigTIFF. */
export function isTiff(bytes: Uint8Array): boolean {
  const head = String.fromCharCode(...bytes.subarray(0, 4));
  return head === "II*\0" || head === "MM\0*" || head === "II+\0" || head === "MM\0+";
}

/** Reads the directories, in their order; `limit` of them at most. */
export function readTiff(bytes: Uint8Array, limit = 65_535): Tiff {
  const file = new TiffFile(bytes);
  const found: Tiff = { directories: [], cut: false };
  const seen = new Set<number>();
  let at = file.first();
  while (at !== 0 && found.directories.length < limit && !seen.has(at)) {
    seen.add(at);
    const read = file.directory(at);
    if (read === undefined) return { ...found, cut: true };
    found.directories.push(read.directory);
    at = read.next;
  }
  return found;
}

/** The file with its L*a*b* samples declared as RGB, so that they can be read; the rest is the same. */
export function labAsRgb(bytes: Uint8Array, { directories }: Tiff): Uint8Array {
  const places = directories.flatMap((d) => (d.lab && d.photometricAt !== undefined ? [d.photometricAt] : []));
  if (places.length === 0) return bytes;
  const copy = bytes.slice();
  for (const at of places) new DataView(copy.buffer).setUint16(at, 2, copy[0] === 0x49);
  return copy;
}

type Fields = Map<number, { values: number[]; at: number }>;

class TiffFile {
  readonly #view: DataView;
  readonly #little: boolean;
  readonly #big: boolean;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#little = bytes[0] === 0x49;
    this.#big = bytes[this.#little ? 2 : 3] === 43;
  }

  #short(at: number): number {
    return this.#view.getUint16(at, this.#little);
  }

  #long(at: number): number {
    return this.#view.getUint32(at, this.#little);
  }

  /** An offset or a count: 8 bytes in BigTIFF, else 4. */
  #word(at: number): number {
    return this.#big ? Number(this.#view.getBigUint64(at, this.#little)) : this.#long(at);
  }

  get #size(): number {
    return this.#view.byteLength;
  }

  /** Where the first directory is; 0 for none, as everywhere. */
  first(): number {
    const at = this.#big ? 8 : 4;
    return at + (this.#big ? 8 : 4) > this.#size ? this.#size : this.#word(at);
  }

  /** The directory there, and where the next is; undefined if the file ends before it does. */
  directory(at: number): { directory: TiffDirectory; next: number } | undefined {
    const [head, entry, word] = this.#big ? [8, 20, 8] : [2, 12, 4];
    if (at + head > this.#size) return undefined;
    const count = this.#big ? this.#word(at) : this.#short(at);
    const end = at + head + count * entry;
    if (end > this.#size) return undefined;
    const fields: Fields = new Map();
    let cut = false;
    for (let place = at + head; place < end; place += entry) {
      const size = SIZES[this.#short(place + 2)] ?? 0;
      const tag = this.#short(place);
      if (size === 0 || !Object.values<number>(TAG).includes(tag)) continue;
      const n = this.#word(place + 4);
      const inside = n * size <= word;
      const from = inside ? place + 4 + word : this.#word(place + 4 + word);
      if (from + n * size > this.#size) cut = true;
      else
        fields.set(tag, { values: Array.from({ length: n }, (_, i) => this.#value(from + i * size, size)), at: from });
    }
    // Some writers leave the word for the next directory out at the end of the file.
    const next = end + word > this.#size ? 0 : this.#word(end);
    return { directory: describe(fields, cut || this.#cut(fields)), next };
  }

  #value(at: number, size: number): number {
    if (size === 1) return this.#view.getUint8(at);
    if (size === 2) return this.#short(at);
    return size === 4 ? this.#long(at) : Number(this.#view.getBigUint64(at, this.#little));
  }

  /** Whether strips or tiles lie behind the end of the file. */
  #cut(fields: Fields): boolean {
    const of = (tag: number) => fields.get(tag)?.values ?? [];
    for (const [offsets, lengths] of [
      [of(TAG.stripOffsets), of(TAG.stripBytes)],
      [of(TAG.tileOffsets), of(TAG.tileBytes)],
    ] as const)
      for (const [i, offset] of offsets.entries()) {
        const length = Math.min(lengths[i] ?? 1, strips(fields, i));
        if (offset + length > this.#size) return true;
      }
    return false;
  }
}

/** The most bytes that are needed of a strip: some writers state a whole one where the last, uncompressed, is shorter. */
function strips(fields: Fields, index: number): number {
  const one = (tag: number, otherwise: number) => fields.get(tag)?.values[0] ?? otherwise;
  if (one(TAG.compression, 1) !== 1 || one(TAG.planar, 1) !== 1 || fields.has(TAG.tileOffsets))
    return Number.POSITIVE_INFINITY;
  const bits = one(TAG.bits, 1) * one(TAG.samples, 1);
  const height = one(TAG.height, 0);
  const rows = Math.min(one(TAG.rowsPerStrip, height), height);
  return Math.ceil((one(TAG.width, 0) * bits) / 8) * Math.max(0, Math.min(rows, height - index * rows));
}

function describe(fields: Fields, cut: boolean): TiffDirectory {
  const one = (tag: number) => fields.get(tag)?.values[0];
  const [width, height] = [one(TAG.width), one(TAG.height)];
  const photometric = fields.get(TAG.photometric);
  const colours = photometric?.values[0];
  return {
    ...(width === undefined ? {} : { width }),
    ...(height === undefined ? {} : { height }),
    // Bit 0 is a copy of reduced size, bit 2 a mask; SubfileType, older, says 2 for the first.
    aside: ((one(TAG.newSubfileType) ?? 0) & 5) !== 0 || one(TAG.subfileType) === 2,
    ...((colours === 8 || colours === 9) && one(TAG.bits) === 8 ? { lab: { signed: colours === 8 } } : {}),
    ...(photometric === undefined ? {} : { photometricAt: photometric.at }),
    cut,
  };
}
