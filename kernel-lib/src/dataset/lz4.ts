/** LZ4 blocks, as Parquet holds them: the codec LZ4_RAW, and the older LZ4 with or without Hadoop's frames around them. */

/** Unpacks one block. Throws RangeError if it is damaged or has not that length. */
export function unpackLz4(packed: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length);
  const written = unpackBlock(packed, out, 0);
  if (written !== length) throw new RangeError(`An LZ4 block has ${written} bytes instead of ${length}.`);
  return out;
}

/** The same of the codec LZ4, which some writers frame and others, such as Arrow since 2020, do not or do as well. */
export function unpackFramedLz4(packed: Uint8Array, length: number): Uint8Array {
  return unpackFrames(packed, length) ?? unpackLz4(packed, length);
}

/** Hadoop's frames: length unpacked, length packed, a block. Undefined if these are none, which only reading them tells. */
function unpackFrames(packed: Uint8Array, length: number): Uint8Array | undefined {
  const out = new Uint8Array(length);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  let [at, to] = [0, 0];
  while (at < packed.length) {
    if (at + 8 > packed.length) return undefined;
    const [unpackedBytes, packedBytes] = [view.getUint32(at), view.getUint32(at + 4)];
    at += 8;
    if (at + packedBytes > packed.length || to + unpackedBytes > length) return undefined;
    try {
      if (unpackBlock(packed.subarray(at, at + packedBytes), out, to) - to !== unpackedBytes) return undefined;
    } catch {
      return undefined;
    }
    at += packedBytes;
    to += unpackedBytes;
  }
  return to === length ? out : undefined;
}

/** Writes a block to `out` from `start`, and returns where it ends. LZ4 block format, "Compressed block format". */
function unpackBlock(packed: Uint8Array, out: Uint8Array, start: number): number {
  let [at, to] = [0, start];
  const more = (length: number): number => {
    if (length !== 15) return length;
    let sum = length;
    for (let byte = 255; byte === 255; at++) {
      byte = packed[at] ?? damaged();
      sum += byte;
    }
    return sum;
  };
  while (at < packed.length) {
    const token = packed[at++] ?? 0;
    const literals = more(token >> 4);
    if (at + literals > packed.length || to + literals > out.length) damaged();
    out.set(packed.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    // The last sequence has literals only, and may have none of them either.
    if (at === packed.length) return to;
    const back = (packed[at] ?? 0) | ((packed[at + 1] ?? damaged()) << 8);
    at += 2;
    const end = to + more(token & 15) + 4;
    if (back === 0 || to - back < start || end > out.length) damaged();
    // What is copied may reach into what is being written.
    if (back >= end - to) out.copyWithin(to, to - back, to - back + (end - to));
    else for (let i = to; i < end; i++) out[i] = out[i - back] ?? 0;
    to = end;
  }
  return to;
}

function damaged(): never {
  throw new RangeError("An LZ4 block is damaged.");
}
