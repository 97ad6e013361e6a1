/**
 * One row of a large shard without reading the rest of it: of every record batch only its description and its keys are
 * read, and the batch that has the row. A page of ten thousand is there at once, wherever it lies.
 */
import type { FileHandle } from "node:fs/promises";
import type { DataType, RecordBatch, Schema } from "apache-arrow";
import { arrow } from "./arrow.js";

type Arrow = typeof import("apache-arrow");

/** A row of a batch. */
export interface Found {
  batch: RecordBatch;
  row: number;
}

/** A piece of the file. */
async function read(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) throw new RangeError("The file ends in the middle of a record batch.");
    done += bytesRead;
  }
  return bytes;
}

/**
 * How many buffers a column has in the body of a batch; undefined for types whose layout is not written down here.
 * Arrow columnar format, section "Buffer Listing for Each Layout".
 */
function buffersOf(type: DataType, a: Arrow): number | undefined {
  if (a.DataType.isUtf8(type) || a.DataType.isBinary(type)) return 3;
  if (a.DataType.isInt(type) || a.DataType.isFloat(type) || a.DataType.isBool(type) || a.DataType.isTimestamp(type))
    return 2;
  if (!a.DataType.isStruct(type) && !a.DataType.isList(type)) return undefined;
  let sum = a.DataType.isStruct(type) ? 1 : 2;
  for (const child of type.children) {
    const of = buffersOf(child.type, a);
    if (of === undefined) return undefined;
    sum += of;
  }
  return sum;
}

/** Number of the first buffer of the column `key`; undefined where it is no plain text or hard to find. */
function keyBuffer(schema: Schema, a: Arrow): number | undefined {
  let at = 0;
  for (const field of schema.fields) {
    if (field.name === "key") return a.DataType.isUtf8(field.type) ? at : undefined;
    const of = buffersOf(field.type, a);
    if (of === undefined) return undefined;
    at += of;
  }
  return undefined;
}

/** Which of the texts equals `wanted`. */
function indexOf(offsets: Uint8Array, texts: Uint8Array, rows: number, wanted: Uint8Array): number {
  const view = new DataView(offsets.buffer, offsets.byteOffset, offsets.byteLength);
  for (let row = 0; row < rows; row++) {
    const [from, to] = [view.getInt32(row * 4, true), view.getInt32(row * 4 + 4, true)];
    if (to - from === wanted.length && wanted.every((byte, i) => texts[from + i] === byte)) return row;
  }
  return -1;
}

/**
 * The row with that key in an Arrow stream file, undefined if it has none, or `"unsure"` for a file of a layout that
 * others write and this does not know: then it must be read from the start.
 */
export async function findInFile(file: FileHandle, key: string): Promise<Found | "unsure" | undefined> {
  const a = await arrow();
  const wanted = new TextEncoder().encode(key);
  let schema: { bytes: Uint8Array; keyAt: number } | undefined;
  for (let position = 0; ; ) {
    const head = await read(file, position, 8);
    const view = new DataView(head.buffer);
    // The mark and the length of the message's description; a length of 0 ends the stream.
    if (view.getInt32(0, true) !== -1) return "unsure";
    const length = view.getInt32(4, true);
    if (length === 0) return undefined;
    const message = a.Message.decode(await read(file, position + 8, length));
    const body = position + 8 + length;
    const end = body + message.bodyLength;
    if (message.isSchema()) {
      const keyAt = keyBuffer(message.header() as Schema, a);
      if (keyAt === undefined) return "unsure";
      schema = { bytes: await read(file, position, end - position), keyAt };
    } else if (message.isRecordBatch() && schema !== undefined) {
      const { length: rows, buffers, compression } = message.header();
      const [offsets, texts] = [buffers[schema.keyAt + 1], buffers[schema.keyAt + 2]];
      if (compression !== null || offsets === undefined || texts === undefined) return "unsure";
      const row = indexOf(
        await read(file, body + offsets.offset, offsets.length),
        await read(file, body + texts.offset, texts.length),
        rows,
        wanted,
      );
      if (row >= 0) {
        // As a stream of its own: the schema, and this batch alone.
        const own = await read(file, position, end - position);
        const stream = new Uint8Array(schema.bytes.length + own.length);
        stream.set(schema.bytes);
        stream.set(own, schema.bytes.length);
        for (const batch of a.RecordBatchReader.from(stream)) return { batch, row };
      }
    } else return "unsure";
    position = end;
  }
}
