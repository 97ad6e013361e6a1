/**
 * A JPEG's markers from its first to its last (ITU T.81, B.1 and B.2): whether every reader takes it for the same whole
 * picture. Viewers guess at what is damaged; Python's PIL refuses it, and a dataset with it could not be read.
 */

/** What the one frame of a sound JPEG says of it. */
export interface JpegFrame {
  width: number;
  height: number;
  /** 1 is grey, 3 are colours, 4 are inks. */
  components: number;
}

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const DRI = 0xdd;
/** Baseline, extended and progressive, all of Huffman's codes: what readers take. */
const FRAMES = new Set([0xc0, 0xc1, 0xc2]);
/** Tables, restart intervals, applications' own, comments. */
const isSegment = (marker: number) =>
  marker === 0xc4 || marker === 0xdb || marker === DRI || (marker >= 0xe0 && marker <= 0xef) || marker === 0xfe;
const isRestart = (marker: number) => marker >= 0xd0 && marker <= 0xd7;

/** The frame of a JPEG that is sound from its first marker to its last; undefined if anything about it is in doubt. */
export function jpegFrame(bytes: Uint8Array): JpegFrame | undefined {
  const jpeg = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (jpeg.length < 4 || jpeg[0] !== 0xff || jpeg[1] !== SOI) return undefined;
  let frame: JpegFrame | undefined;
  let scanned = false;
  let restarts = false;
  let jfif = false;
  let adobe: number | undefined;
  for (let at = 2; ; ) {
    if (jpeg[at] !== 0xff) return undefined;
    while (jpeg[at + 1] === 0xff) at += 1;
    const marker = jpeg[at + 1];
    if (marker === undefined) return undefined;
    at += 2;
    if (marker === EOI) {
      // JFIF's colours are YCbCr, and Adobe's are RGB here: readers differ about which of them holds.
      const contradicts = jfif && adobe === 0 && frame?.components === 3;
      return scanned && !contradicts ? frame : undefined;
    }
    if (at + 2 > jpeg.length) return undefined;
    const length = jpeg.readUInt16BE(at);
    const end = at + length;
    if (length < 2 || end > jpeg.length) return undefined;
    if (FRAMES.has(marker)) {
      if (frame !== undefined || length < 8 || jpeg[at + 2] !== 8) return undefined;
      const components = jpeg[at + 7] ?? 0;
      frame = { height: jpeg.readUInt16BE(at + 3), width: jpeg.readUInt16BE(at + 5), components };
      if (frame.width === 0 || frame.height === 0 || length !== 8 + 3 * components) return undefined;
    } else if (marker === SOS) {
      const components = jpeg[at + 2] ?? 0;
      if (frame === undefined || components < 1 || components > frame.components || length !== 6 + 2 * components)
        return undefined;
      const after = scanEnd(jpeg, end, restarts);
      if (after === undefined) return undefined;
      scanned = true;
      at = after;
      continue;
    } else if (!isSegment(marker)) return undefined;
    else if (marker === DRI) restarts = length === 4 && jpeg.readUInt16BE(at + 2) > 0;
    else if (marker === 0xe0) jfif ||= jpeg.toString("latin1", at + 2, at + 7) === "JFIF\0";
    else if (marker === 0xee && length >= 14 && jpeg.toString("latin1", at + 2, at + 7) === "Adobe")
      adobe = jpeg[at + 13];
    at = end;
  }
}

/** Where the marker behind the data of a scan begins; undefined if the data is empty or its restarts are out of turn. */
function scanEnd(jpeg: Buffer, from: number, restarts: boolean): number | undefined {
  let turn = 0;
  for (let at = jpeg.indexOf(0xff, from); at >= 0; at = jpeg.indexOf(0xff, at)) {
    const next = jpeg[at + 1];
    // A byte of the data that looks like a marker has a zero behind it.
    if (next === 0) at += 2;
    else if (next === 0xff) at += 1;
    else if (next !== undefined && isRestart(next)) {
      if (!restarts || next !== 0xd0 + turn) return undefined;
      turn = (turn + 1) % 8;
      at += 2;
    } else return at > from ? at : undefined;
  }
  return undefined;
}
