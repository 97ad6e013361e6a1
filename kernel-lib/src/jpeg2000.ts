/** Whether a JPEG 2000 file is whole, by its boxes and the lengths of its tile-parts (ITU T.800, annexes A and I). */

const [SOC, SOT, EOC] = [0xff4f, 0xff90, 0xffd9];

/** True if the file, boxes or a bare codestream, ends before its image does. */
export function isCutJpeg2000(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength >= 2 && view.getUint16(0) === SOC) return isCutCodestream(view, 0, view.byteLength);
  let found = false;
  for (let at = 0; at + 8 <= view.byteLength; ) {
    let length = view.getUint32(at);
    let head = 8;
    if (length === 1) {
      if (at + 16 > view.byteLength) return true;
      length = Number(view.getBigUint64(at + 8));
      head = 16;
    }
    // 0: up to the end of the file.
    const end = length === 0 ? view.byteLength : at + Math.max(length, head);
    const codestream = view.getUint32(at + 4) === 0x6a703263;
    // What follows the image, such as metadata, may be cut without harm to it.
    if (end > view.byteLength) return codestream || !found;
    if (codestream) {
      found = true;
      if (isCutCodestream(view, at + head, end)) return true;
    }
    at = end;
  }
  return !found;
}

function isCutCodestream(view: DataView, from: number, to: number): boolean {
  let at = from + 2;
  // Segments of the main header, up to the first tile-part.
  while (at + 4 <= to && view.getUint16(at) !== SOT) {
    if (view.getUint16(at) === EOC) return false;
    at += 2 + view.getUint16(at + 2);
  }
  while (at + 12 <= to && view.getUint16(at) === SOT) {
    const length = view.getUint32(at + 6);
    // 0: the last tile-part, up to the end of the codestream.
    if (length === 0) return endsWithout(view, from, to);
    at += Math.max(length, 12);
  }
  return at + 2 > to || view.getUint16(at) !== EOC;
}

/** Whether no mark of the end stands at the end, but for blanks that some writers put behind it. */
function endsWithout(view: DataView, from: number, to: number): boolean {
  let end = to;
  while (end > from + 2 && view.getUint8(end - 1) === 0) end -= 1;
  return view.getUint16(end - 2) !== EOC;
}
