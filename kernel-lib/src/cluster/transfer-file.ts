/**
 * One big file: many requests in flight over several channels, hashed here while it is read or written, and block by
 * block on the far side while the rest still moves. A block that arrived wrong is sent again by itself.
 */
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import { dirname } from "node:path";
import { TransferError } from "../errors.js";
import type { FarHashes, FarSide } from "./transfer-far.js";
import type { Journal } from "./transfer-journal.js";
import { CHUNK, type Lanes } from "./transfer-lanes.js";
import type { TreeFile } from "./transfer-tree.js";
import type { Meter, Scope } from "./transfer-work.js";

/** Bytes that are hashed, and sent again, as one: 31.75 MiB. */
export const BLOCK = 128 * CHUNK;
/** Bytes of one read or write of the local disk. */
const DISK = 2 * CHUNK;
/** How often a block is sent before it is given up. */
const TRIES = 3;

/** What all files of one transfer share. */
export interface Moving {
  far: FarSide;
  hashes: FarHashes;
  lanes: Lanes;
  scope: Scope;
  meter: Meter;
}

/** A block of a file. */
interface Block {
  at: number;
  length: number;
}

/** Cuts a file into blocks; an empty one has none. */
export function blocksOf(size: number): Block[] {
  return Array.from({ length: Math.ceil(size / BLOCK) }, (_, i) => ({
    at: i * BLOCK,
    length: Math.min(BLOCK, size - i * BLOCK),
  }));
}

/** A file to be sent; `sha256` is its hash if that is known. */
interface SendJob {
  index: number;
  local: string;
  remote: string;
  file: TreeFile;
  journal: Journal;
  sha256: string | undefined;
}

/**
 * Brings a local file to `remote`, from where the journal says that it is, and onto the disk there. It is there as it is
 * here, and has the hash that was given, when this resolves. Throws TransferError if the source changed, and whatever the
 * far side said.
 */
export async function sendFile(moving: Moving, job: SendJob): Promise<void> {
  await sendBlocks(moving, job);
  if (job.sha256 === undefined) return;
  const { hashes, scope, meter } = moving;
  const { local, remote, file } = job;
  const all = { path: remote, at: 0, length: file.size, whole: true };
  const right = async () => (await scope.race(hashes.of(all))) === job.sha256;
  if (await right()) return;
  // Block by block, it is found what is wrong.
  meter.bytes -= file.size;
  await sendBlocks(moving, { ...job, sha256: undefined });
  if (await right()) return;
  throw new TransferError(
    `${local} holds other bytes than when it was made.`,
    `Remove the folder ${dirname(local)}, so that all in it is made again; the disk may be at fault.`,
  );
}

/** As {@link sendFile}; with a hash of the whole, blocks are neither hashed nor compared. */
async function sendBlocks({ hashes, lanes, scope, meter }: Moving, job: SendJob): Promise<void> {
  const { index, local, remote, file, journal } = job;
  const compares = job.sha256 === undefined;
  const source = await fs.open(local, "r");
  try {
    await unchanged(source, local, file);
    let from = journal.marks.get(index) ?? 0;
    // Parallel writes leave holes, so the size of the far file says only where the mark can't be.
    if (from > 0) from = Math.min(from, await lanes.sftp.stat(remote).then(({ size }) => size, missing));
    const target = await lanes.open(remote, from > 0 ? "r+" : "w");
    const arrived = new Contiguous(from);
    meter.there(from);
    // What was read into them has arrived: fresh memory for each read would cost more than the read.
    const spare: Buffer[] = [];

    /** Sends a block from `start` on and hashes all of it; `sent` resolves when it has arrived. */
    const stream = async (block: Block, start: number): Promise<{ hash: string; sent: Promise<unknown> }> => {
      const hash = createHash("sha256");
      const writes: Promise<void>[] = [];
      const end = block.at + block.length;
      for (let at = compares ? block.at : Math.max(block.at, start); at < end; at += DISK) {
        const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(DISK);
        const data = await readAll(source, at, Math.min(DISK, end - at), buffer);
        if (data === undefined) throw changed(local);
        const first = writes.length;
        if (compares) hash.update(data);
        for (let offset = Math.max(0, start - at); offset < data.length; offset += CHUNK) {
          const piece = data.subarray(offset, offset + CHUNK);
          const { lane, result } = await scope.race(target.begin((h) => h.write(piece, at + offset)));
          const write = result
            .then(() => {
              if (arrived.add(at + offset, piece.length)) meter.arrived(piece.length);
              else meter.sent += piece.length;
              journal.mark(index, arrived.mark);
            })
            .finally(() => target.release(lane));
          write.catch((error: unknown) => scope.fail(error));
          writes.push(write);
        }
        Promise.all(writes.slice(first)).then(
          () => spare.push(buffer),
          () => undefined,
        );
      }
      return { hash: hash.digest("hex"), sent: Promise.all(writes) };
    };

    const settle = async (i: number, block: Block, hash: string, sent: Promise<unknown>): Promise<void> => {
      await scope.race(sent);
      if (!compares) return;
      if ((await hashes.of({ path: remote, ...block })) !== hash) {
        journal.forget({ file: index, block: i });
        await again(i, block, 2);
      } else journal.block(index, i, hash);
    };
    const again = async (i: number, block: Block, tries: number): Promise<void> => {
      const { hash, sent } = await stream(block, block.at);
      await scope.race(sent);
      if ((await hashes.of({ path: remote, ...block })) === hash) return journal.block(index, i, hash);
      if (tries < TRIES) return again(i, block, tries + 1);
      throw new TransferError(
        `${remote} arrived with other bytes than were sent, ${TRIES} times in the same place.`,
        "Try again later; if it stays so, the far disk is at fault.",
      );
    };

    try {
      const settled: Promise<void>[] = [];
      for (const [i, block] of blocksOf(file.size).entries()) {
        const known = block.at + block.length <= from ? journal.blocks.get(`${index}:${i}`) : undefined;
        const { hash, sent } =
          known === undefined ? await stream(block, from) : { hash: known, sent: Promise.resolve() };
        const done = settle(i, block, hash, sent);
        done.catch((error: unknown) => scope.fail(error));
        settled.push(done);
      }
      await scope.race(Promise.all(settled));
      await scope.race(Promise.all([target.sync(), lanes.sftp.chmod(remote, file.mode)]));
      await unchanged(source, local, file);
    } catch (error) {
      // Before what still runs fails for want of the file.
      scope.fail(error);
      throw error;
    } finally {
      journal.mark(index, arrived.mark, true);
      // Not waited for: after an interruption the far side may not answer.
      void target.close();
    }
  } finally {
    await source.close();
  }
}

/**
 * Brings a far file into the local file `part`, going on after what that holds, and onto the disk. Its blocks are here as
 * they are there when this resolves. Throws TransferError if the source changes, and whatever the disk says.
 */
export async function receiveFile(
  { hashes, lanes, scope, meter }: Moving,
  job: { remote: string; part: string; file: TreeFile },
): Promise<void> {
  const { remote, part, file } = job;
  const target = await fs.open(part, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    const size = (await target.stat()).size;
    const have = size > file.size ? 0 : size;
    if (size > file.size) await target.truncate(0);
    const blocks = blocksOf(file.size);
    const expected = blocks.map((block) => hashes.of({ path: remote, ...block }));
    const source = await lanes.open(remote, "r");
    meter.there(have);

    /** Fetches a stretch in the order of its bytes: what is on the disk has no hole. */
    const fetch = async (from: number, end: number, hash: (data: Uint8Array, at: number) => void): Promise<void> => {
      const coming: { at: number; lane: number; result: Promise<Uint8Array> }[] = [];
      let wake = () => {};
      let asked = from;
      const ask = async () => {
        while (asked < end) {
          const at = asked;
          const length = Math.min(CHUNK - (at % CHUNK), end - at);
          asked += length;
          const { lane, result } = await scope.race(source.begin((h) => h.read(length, at)));
          coming.push({ at, lane, result });
          wake();
        }
      };
      const asking = ask();
      asking.catch((error: unknown) => scope.fail(error));
      let writing: Promise<void> = Promise.resolve();
      let parts: Uint8Array[] = [];
      let partsAt = from;
      let bytes = 0;
      for (let at = from; at < end; ) {
        const next = coming.shift();
        if (next === undefined) {
          await scope.race(new Promise<void>((resolve) => (wake = resolve)));
          continue;
        }
        const data = await scope.race(next.result);
        source.release(next.lane);
        const wanted = Math.min(CHUNK - (at % CHUNK), end - at);
        if (data.length !== wanted) throw changed(remote);
        hash(data, at);
        parts.push(data);
        bytes += data.length;
        at += data.length;
        if (bytes >= DISK || at === end) {
          await writing;
          const [some, start, count] = [parts, partsAt, bytes];
          writing = writeAll(target, some, start).then(() => meter.arrived(count));
          writing.catch((error: unknown) => scope.fail(error));
          parts = [];
          partsAt = at;
          bytes = 0;
        }
      }
      await writing;
    };

    const settled: Promise<void>[] = [];
    const settle = async (i: number, block: Block, hash: string): Promise<void> => {
      let found = hash;
      for (let tries = 1; found !== (await scope.race(expected[i] ?? Promise.resolve(""))); tries++) {
        if (tries === TRIES) throw changed(remote);
        expected[i] = hashes.of({ path: remote, ...block });
        await fetch(block.at, block.at + block.length, () => undefined);
        meter.bytes -= block.length;
        // What is on the disk counts, not what came.
        found = (await hashOf(target, block)) ?? "";
      }
    };
    const done = (i: number, block: Block, hash: string) => {
      const one = settle(i, block, hash);
      one.catch((error: unknown) => scope.fail(error));
      settled.push(one);
    };

    try {
      let current: Hash = createHash("sha256");
      let index = 0;
      const add = (data: Uint8Array, at: number) => {
        const block = blocks[index];
        if (block === undefined) return;
        current.update(data);
        if (at + data.length < block.at + block.length) return;
        done(index, block, current.digest("hex"));
        current = createHash("sha256");
        index += 1;
      };
      for (let at = 0; at < have; at += DISK) {
        scope.signal.throwIfAborted();
        const data = await readAll(target, at, Math.min(DISK, have - at));
        if (data === undefined) throw changed(part);
        add(data, at);
      }
      await fetch(have, file.size, add);
      await scope.race(Promise.all(settled));
      await target.sync();
    } catch (error) {
      scope.fail(error);
      throw error;
    } finally {
      void source.close();
    }
  } finally {
    await target.close();
  }
}

/** How far a file has arrived without a hole. */
class Contiguous {
  mark: number;
  readonly #ends = new Map<number, number>();

  constructor(from: number) {
    this.mark = from;
  }

  /** False if it was known already. */
  add(at: number, length: number): boolean {
    if (at < this.mark) return false;
    this.#ends.set(at, at + length);
    for (let end = this.#ends.get(this.mark); end !== undefined; end = this.#ends.get(this.mark)) {
      this.#ends.delete(this.mark);
      this.mark = end;
    }
    return true;
  }
}

/** Exactly `length` bytes at `at`, in `buffer` if that is given, or undefined where the file ends before. */
async function readAll(
  file: fs.FileHandle,
  at: number,
  length: number,
  buffer: Buffer = Buffer.allocUnsafe(length),
): Promise<Buffer | undefined> {
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, at + filled);
    if (bytesRead === 0) return undefined;
    filled += bytesRead;
  }
  return buffer.subarray(0, length);
}

async function writeAll(file: fs.FileHandle, parts: readonly Uint8Array[], at: number): Promise<void> {
  const total = parts.reduce((sum, p) => sum + p.length, 0);
  let done = (await file.writev(parts, at)).bytesWritten;
  if (done === total) return;
  // A disk that is nearly full takes a part; the next write says why.
  const rest = Buffer.concat(parts);
  while (done < total) done += (await file.write(rest, done, total - done, at + done)).bytesWritten;
}

/** SHA-256 of a stretch of a local file; undefined if it is shorter. */
export async function hashOf(file: fs.FileHandle, { at, length }: Block): Promise<string | undefined> {
  const hash = createHash("sha256");
  for (let done = 0; done < length; done += DISK) {
    const data = await readAll(file, at + done, Math.min(DISK, length - done));
    if (data === undefined) return undefined;
    hash.update(data);
  }
  return hash.digest("hex");
}

async function unchanged(source: fs.FileHandle, path: string, file: TreeFile): Promise<void> {
  const now = await source.stat();
  if (now.size !== file.size || now.mtimeMs !== file.mtime) throw changed(path);
}

function changed(path: string): TransferError {
  return new TransferError(
    `${path} changed while it was read.`,
    "Try again when nothing writes to it any more; it is then sent from its beginning.",
  );
}

function missing(error: unknown): number {
  if ((error as { code?: unknown }).code === "ENOENT") return 0;
  throw error;
}
