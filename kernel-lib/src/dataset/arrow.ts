/**
 * Rows to Arrow and the Hugging Face `save_to_disk` folder around them; shared by the dataset writer and the runners.
 * Arrow IPC *stream* format, features in the schema's metadata, every field nullable (a non-nullable one makes
 * `datasets` 5.2 cast the whole table and lose its memory map).
 */
import type { FileHandle } from "node:fs/promises";
import { open, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Data, DataType, RecordBatch, RecordBatchStreamWriter, Schema } from "apache-arrow";
import type { Features, FeatureType, Row } from "./features.js";
import { STATE_FILE, stateText } from "./state.js";

/** The most bytes that a file keeps for the images of its next batch. */
const SCRATCH = 32 << 20;

type Arrow = typeof import("apache-arrow");
let loaded: Promise<Arrow> | undefined;

/** apache-arrow, loaded when first needed: it costs 0.2 s. */
export function arrow(): Promise<Arrow> {
  loaded ??= import("apache-arrow");
  return loaded;
}

/** The features as datasets writes them to `dataset_info.json` and into the schema. */
export function featuresJson(features: Features): Record<string, object> {
  return Object.fromEntries(
    Object.entries(features).map(([name, type]) => [
      name,
      type === "image" ? { _type: "Image" } : { dtype: type, _type: "Value" },
    ]),
  );
}

function imageType(a: Arrow): DataType {
  return new a.Struct([new a.Field("bytes", new a.Binary(), true), new a.Field("path", new a.Utf8(), true)]);
}

function schemaOf(a: Arrow, features: Features): Schema {
  const types = { string: () => new a.Utf8(), int64: () => new a.Int64(), float64: () => new a.Float64() };
  const fields = Object.entries(features).map(
    ([name, type]) => new a.Field(name, type === "image" ? imageType(a) : types[type](), true),
  );
  const meta = JSON.stringify({ info: { features: featuresJson(features) } });
  return new a.Schema(fields, new Map([["huggingface", meta]]));
}

/** Room for so many bytes, whatever they hold. */
type Room = (bytes: number) => Uint8Array;

/** Bytes one after another with their offsets: how Arrow holds strings and binaries. */
function variable(
  values: readonly (Uint8Array | null)[],
  room: Room = (bytes) => new Uint8Array(bytes),
): { data: Uint8Array; valueOffsets: Int32Array } {
  const valueOffsets = new Int32Array(values.length + 1);
  let total = 0;
  values.forEach((v, i) => {
    total += v?.length ?? 0;
    valueOffsets[i + 1] = total;
  });
  // Past 2 GiB arrow's 32-bit offsets would wrap silently into a corrupt file.
  if (total > 0x7fffffff) throw new RangeError("A record batch can't hold more than 2 GiB in one column.");
  const data = room(total);
  values.forEach((v, i) => {
    if (v !== null) data.set(v, valueOffsets[i]);
  });
  return { data, valueOffsets };
}

function validity(values: readonly unknown[]): { nullBitmap: Uint8Array; nullCount: number } {
  // Arrow pads bitmaps to 8 bytes.
  const nullBitmap = new Uint8Array(Math.ceil(values.length / 64) * 8);
  let nullCount = 0;
  values.forEach((v, i) => {
    if (v === null || v === undefined) nullCount += 1;
    else nullBitmap[i >> 3] = (nullBitmap[i >> 3] ?? 0) | (1 << (i & 7));
  });
  return { nullBitmap, nullCount };
}

const utf8 = new TextEncoder();

function columnData(a: Arrow, type: FeatureType, values: readonly Row[string][], room?: Room): Data {
  const length = values.length;
  const nulls = validity(values);
  switch (type) {
    case "string": {
      const bytes = values.map((v) => (v === null || v === undefined ? null : utf8.encode(String(v))));
      return a.makeData({ type: new a.Utf8(), length, ...nulls, ...variable(bytes) });
    }
    case "int64": {
      const data = BigInt64Array.from(values, (v) => (typeof v === "number" ? BigInt(Math.trunc(v)) : 0n));
      return a.makeData({ type: new a.Int64(), length, ...nulls, data });
    }
    case "float64": {
      const data = Float64Array.from(values, (v) => (typeof v === "number" ? v : 0));
      return a.makeData({ type: new a.Float64(), length, ...nulls, data });
    }
    case "image": {
      const bytes = values.map((v) => (v instanceof Uint8Array ? v : null));
      const children = [
        a.makeData({ type: new a.Binary(), length, ...validity(bytes), ...variable(bytes, room) }),
        columnData(
          a,
          "string",
          values.map(() => null),
        ),
      ];
      return a.makeData({ type: imageType(a) as never, length, ...nulls, children } as never) as Data;
    }
  }
}

/** One Arrow IPC stream file, written batch by batch with bounded memory, visible under its name only when whole. */
export class ArrowFile {
  readonly path: string;
  /** Bytes written so far. */
  bytes = 0;
  rows = 0;
  readonly #features: Features;
  readonly #file: FileHandle;
  readonly #arrow: Arrow;
  readonly #schema: Schema;
  readonly #writer: RecordBatchStreamWriter;
  readonly #chunks: Uint8Array[];
  readonly #onBytes: ((chunk: Uint8Array) => void) | undefined;
  /** Where the images of a batch come together: fresh memory for each would cost more than the copy. */
  #scratch = new Uint8Array(0);
  readonly #room: Room = (bytes) => {
    if (bytes > SCRATCH) return new Uint8Array(bytes);
    if (bytes > this.#scratch.length) this.#scratch = new Uint8Array(bytes);
    return this.#scratch.subarray(0, bytes);
  };
  /** Where the next byte goes; undefined: where the last one ended. */
  #position: number | undefined;

  private constructor(
    path: string,
    features: Features,
    file: FileHandle,
    a: Arrow,
    onBytes: ((chunk: Uint8Array) => void) | undefined,
  ) {
    this.path = path;
    this.#features = features;
    this.#file = file;
    this.#arrow = a;
    this.#schema = schemaOf(a, features);
    this.#onBytes = onBytes;
    const chunks: Uint8Array[] = [];
    // The writer's own stream has no backpressure: two to three times the peak memory of collecting and writing a batch.
    class Collector extends a.RecordBatchStreamWriter {
      protected override _write(chunk: ArrayBufferView): this {
        if (chunk.byteLength > 0) {
          chunks.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
          this._position += chunk.byteLength;
        }
        return this;
      }
    }
    this.#chunks = chunks;
    this.#writer = new Collector();
    this.#writer.reset(undefined, this.#schema);
  }

  /** Creates `<path>.part`; {@link close} gives it its name. `onBytes` sees every byte in order, for hashing. */
  static async create(path: string, features: Features, onBytes?: (chunk: Uint8Array) => void): Promise<ArrowFile> {
    return new ArrowFile(path, features, await open(`${path}.part`, "w"), await arrow(), onBytes);
  }

  /** Goes on with `<path>.part` after its first `bytes`, which end with a whole batch; what follows them is cut off. */
  static async resume(
    path: string,
    features: Features,
    bytes: number,
    onBytes?: (chunk: Uint8Array) => void,
  ): Promise<ArrowFile> {
    const handle = await open(`${path}.part`, "r+");
    await handle.truncate(bytes);
    const file = new ArrowFile(path, features, handle, await arrow(), onBytes);
    // The schema stands at the beginning already.
    file.#chunks.length = 0;
    for (let at = 0; at < bytes; ) {
      const buffer = new Uint8Array(Math.min(1 << 20, bytes - at));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Error(`${path}.part is shorter than ${bytes} bytes.`);
      onBytes?.(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    file.bytes = bytes;
    file.#position = bytes;
    return file;
  }

  /** Writes rows as one record batch. */
  async write(rows: readonly Row[]): Promise<void> {
    if (rows.length === 0) return;
    const a = this.#arrow;
    let images = 0;
    const children = Object.entries(this.#features).map(([name, type]) =>
      columnData(
        a,
        type,
        rows.map((row) => row[name] ?? null),
        // One column of images has it; nobody looks at it any more when the next batch comes.
        type === "image" && images++ === 0 ? this.#room : undefined,
      ),
    );
    const struct = a.makeData({ type: new a.Struct(this.#schema.fields), length: rows.length, nullCount: 0, children });
    this.#writer.write(new a.RecordBatch(this.#schema, struct) as RecordBatch);
    this.rows += rows.length;
    await this.#flush();
  }

  async #flush(): Promise<void> {
    const chunks = this.#chunks.splice(0);
    for (const chunk of chunks) this.#onBytes?.(chunk);
    let left = chunks;
    while (left.length > 0) {
      // writev may write less than it was given.
      let { bytesWritten } = await this.#file.writev(left.slice(0, 1000), this.#position);
      this.bytes += bytesWritten;
      if (this.#position !== undefined) this.#position += bytesWritten;
      const rest: Uint8Array[] = [];
      for (const chunk of left) {
        if (bytesWritten >= chunk.length) bytesWritten -= chunk.length;
        else {
          rest.push(chunk.subarray(bytesWritten));
          bytesWritten = 0;
        }
      }
      left = rest;
    }
  }

  /** Ends the stream, syncs it and gives the file its name. */
  async close(): Promise<void> {
    this.#writer.finish();
    await this.#flush();
    await this.#file.sync();
    await this.#file.close();
    await rename(`${this.path}.part`, this.path);
  }

  /** Gives up: closes the file and leaves the `.part` behind for the caller to remove. */
  async abandon(): Promise<void> {
    await this.#file.close().catch(() => undefined);
  }
}

/**
 * Writes `state.json` and `dataset_info.json` so that `load_from_disk` reads the shards `files` in this order. Each is
 * replaced by rename: a reader at any moment finds the old list or the new one.
 */
export async function writeDatasetFiles(
  folder: string,
  features: Features,
  files: readonly string[],
  fingerprint?: string,
): Promise<void> {
  const whole = async (name: string, text: string) => {
    await writeFile(join(folder, `${name}.part`), text);
    await rename(join(folder, `${name}.part`), join(folder, name));
  };
  const info = { citation: "", description: "", features: featuresJson(features), homepage: "", license: "" };
  await whole("dataset_info.json", `${JSON.stringify(info, null, 2)}\n`);
  await whole(STATE_FILE, stateText(files, fingerprint));
}
