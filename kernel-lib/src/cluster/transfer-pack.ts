/**
 * Many small files at a time: packed as tar through a command of the far side, so that none costs a round trip, and
 * hashed there by the same command. Where tar is missing, they go through the file protocol, many at once.
 *
 * modern-tar writes and reads the archives: no dependencies, streams, pax names of any length, strict headers.
 */
import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { join, posix } from "node:path";
import { createTarDecoder, createTarPacker } from "modern-tar";
import { isYaleError, TransferError } from "../errors.js";
import { hashLines, nameList, oneLine } from "./transfer-far.js";
import type { Moving } from "./transfer-file.js";
import type { TreeFile } from "./transfer-tree.js";
import { eachOf } from "./transfer-work.js";
import type { Sftp } from "./transport.js";

/** Files up to this size are packed. */
const SMALL = 4 << 20;
/** Bytes and files of one pack: what is sent again after a drop, at most, and what waits in memory for a slow disk. */
const PACK_BYTES = 24 << 20;
const PACK_FILES = 2048;
/** Local files read ahead, or written at once. */
const AHEAD = 8;
/** Small files in flight where there is no tar. */
const LOOSE = 64;
/** Bytes of archive that go to the channel at once: a packet for each header would be slow. */
const PIECE = 256 << 10;

/** Files that travel together, and those that travel alone; each with its place in the whole list. */
export interface Cut {
  packs: { index: number; files: TreeFile[] }[];
  single: { index: number; file: TreeFile }[];
}

/** Cuts a list of files, always in the same way. */
export function cut(files: readonly TreeFile[]): Cut {
  const packs: Cut["packs"] = [];
  const single: Cut["single"] = [];
  let bytes = 0;
  for (const [index, file] of files.entries()) {
    // Tools print names with these in ways of their own; and a tree that is one file has no folder to unpack it in.
    if (file.size > SMALL || file.path === "" || /[\n\r\\]/.test(file.path)) {
      single.push({ index, file });
      continue;
    }
    let pack = packs.at(-1);
    if (pack === undefined || pack.files.length >= PACK_FILES || bytes + file.size > PACK_BYTES) {
      pack = { index: packs.length, files: [] };
      packs.push(pack);
      bytes = 0;
    }
    pack.files.push(file);
    bytes += file.size;
  }
  return { packs, single };
}

/** One hash for the hashes of a pack's files. */
export function packHash(hashes: readonly string[]): string {
  return createHash("sha256").update(hashes.join("\n")).digest("hex");
}

/** Hashes of a pack's files as they are here. Throws TransferError if one changed. */
export async function localHashes(root: string, files: readonly TreeFile[]): Promise<string[]> {
  const hashes: string[] = new Array(files.length).fill("");
  await eachOf(files, AHEAD, async (file, i) => {
    hashes[i] = sha256(await readSmall(root, file));
  });
  return hashes;
}

/** Files to the far folder `to`, whose folders are there; `list` is a name that none of them has. */
interface SendJob {
  from: string;
  to: string;
  files: readonly TreeFile[];
  list: string;
}

/** Hashes of a pack's files, in order. */
interface Sent {
  here: string[];
  there: string[];
}

/** Brings small files to the far side. Resolves with their hashes here and as they are there. */
export function sendPack(moving: Moving, job: SendJob): Promise<Sent> {
  return moving.far.tars ? sendTar(moving, job) : sendLoose(moving, job);
}

/**
 * Small files of the far folder `from`; `write` gets each as a whole, before it is known to be right. `have` holds the
 * hashes of those that an earlier call wrote.
 */
interface ReceiveJob {
  from: string;
  files: readonly TreeFile[];
  have: ReadonlyMap<TreeFile, string>;
  write: (file: TreeFile, data: Uint8Array) => Promise<void>;
}

/** Brings small files here. Resolves with those that did not come as they are there. */
export async function receivePack(moving: Moving, job: ReceiveJob): Promise<TreeFile[]> {
  const { files, have, from } = job;
  const there = farHashes(moving, from, files);
  there.catch(() => undefined);
  for (const file of have.keys()) moving.meter.there(file.size);
  const wanted = files.filter((file) => !have.has(file));
  const receive = moving.far.tars ? receiveTar : receiveLoose;
  const came = wanted.length === 0 ? have : await receive(moving, { ...job, files: wanted });
  const hashes = await there;
  return files.filter((file, i) => (have.get(file) ?? came.get(file)) !== hashes[i]);
}

/** SHA-256 of far files, "" for one that is not there: by one command, or by what is read back where there is none. */
export async function farHashes(
  { far, hashes, scope }: Moving,
  root: string,
  files: readonly TreeFile[],
): Promise<string[]> {
  const paths = files.map((f) => f.path);
  const all = await far.hashFiles(root, paths, scope.signal);
  return all ?? Promise.all(files.map((f) => hashes.of({ path: posix.join(root, f.path), at: 0, length: f.size })));
}

// The list of names travels at the end of the archive, since standard input is taken.
const UNPACK = `tar -xpf - -C "$1" && cd "$1" && xargs -0 HASHER < "$2" && rm -f "$2"`;
const PACK = `cd "$1" && exec tar -cf - --format=gnu --hard-dereference --no-recursion --no-unquote --null -T -`;

async function sendTar(moving: Moving, { from, to, files, list }: SendJob): Promise<Sent> {
  const { far, scope, meter } = moving;
  const here: string[] = [];
  let left = sizeOf(files);
  const fault: { error?: unknown } = {};
  const input = gathered(archive(from, files, list, here, fault, scope.signal), (bytes) => {
    meter.sent += bytes;
    // Headers are no bytes of files.
    const some = Math.min(bytes, left);
    left -= some;
    meter.there(some);
  });
  const script = UNPACK.replace("HASHER", far.hasher ?? "");
  const { code, stdout, stderr } = await far
    .run(script, [to, `./${list}`], { input, signal: scope.signal })
    // An archive that could not be made ends in the middle, of which tar complains too.
    .finally(() => {
      if (fault.error !== undefined) throw fault.error;
    });
  if (code !== 0) throw new Error(oneLine(stderr) || `tar ended with ${code}`);
  meter.there(left);
  const there = hashLines(stdout);
  return { here, there: there.length === files.length ? there : await farHashes(moving, to, files) };
}

/** The archive of a pack, made as it is read; the hash of each file is added to `hashes`, `fault` tells of one that could not be read. */
function archive(
  root: string,
  files: readonly TreeFile[],
  list: string,
  hashes: string[],
  fault: { error?: unknown },
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  const { readable, controller } = createTarPacker();
  const add = async (name: string, data: Uint8Array, mode: number, mtime: number) => {
    const writer = controller.add({ name, size: data.length, mode, mtime: new Date(mtime), type: "file" }).getWriter();
    if (data.length > 0) await writer.write(data);
    await writer.close();
  };
  const feed = async () => {
    for await (const { file, data } of readAhead(root, files, fault)) {
      signal.throwIfAborted();
      hashes.push(sha256(data));
      await add(`./${file.path}`, data, file.mode, file.mtime);
    }
    await add(`./${list}`, nameList(files.map((f) => f.path)), 0o600, Date.now());
    controller.finalize();
  };
  feed().catch((error: unknown) => controller.error(error));
  return readable;
}

async function* readAhead(
  root: string,
  files: readonly TreeFile[],
  fault: { error?: unknown },
): AsyncGenerator<{ file: TreeFile; data: Buffer }> {
  const coming: { file: TreeFile; data: Promise<Buffer> }[] = [];
  let next = 0;
  for (;;) {
    while (coming.length < AHEAD && next < files.length) {
      const file = files[next++] as TreeFile;
      const data = readSmall(root, file);
      data.catch((error: unknown) => {
        fault.error ??= error;
      });
      coming.push({ file, data });
    }
    const first = coming.shift();
    if (first === undefined) return;
    yield { file: first.file, data: await first.data };
  }
}

/** Small pieces joined, so that a header of 512 bytes is no packet of its own. */
async function* gathered(
  source: AsyncIterable<Uint8Array>,
  count: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of source) {
    parts.push(part);
    size += part.length;
    if (size < PIECE) continue;
    count(size);
    yield Buffer.concat(parts, size);
    parts = [];
    size = 0;
  }
  if (size === 0) return;
  count(size);
  yield Buffer.concat(parts, size);
}

async function sendLoose(moving: Moving, { from, to, files }: SendJob): Promise<Sent> {
  const here = await eachLoose(moving, files, async (file, sftp) => {
    const data = await readSmall(from, file);
    const path = posix.join(to, file.path);
    const handle = await sftp.open(path, "w");
    try {
      if (data.length > 0) await handle.write(data, 0);
    } finally {
      await Promise.all([handle.close(), sftp.chmod(path, file.mode)]);
    }
    moving.meter.arrived(data.length);
    return data;
  });
  return { here, there: await farHashes(moving, to, files) };
}

/** The hashes of what came. */
async function receiveTar(moving: Moving, { from, files, write }: ReceiveJob): Promise<Map<TreeFile, string>> {
  const { far, scope, meter } = moving;
  const wanted = new Map(files.map((file) => [`./${file.path}`, file]));
  const here = new Map<TreeFile, string>();
  const { readable, writable } = createTarDecoder({ strict: true });
  const writer = writable.getWriter();
  writer.closed.catch(() => undefined);
  // A far side that sends without end would fill the memory: nothing here can make it wait.
  let room = sizeOf(files) + files.length * 8192 + (1 << 20);
  const stop = new AbortController();
  const running = far
    .run(PACK, [from], {
      input: nameList(files.map((f) => f.path)),
      signal: AbortSignal.any([scope.signal, stop.signal]),
      onStdout: (chunk) => {
        room -= chunk.length;
        if (room < 0) stop.abort();
        else writer.write(chunk).catch(() => undefined);
      },
    })
    .catch((error: unknown) => {
      // What has come of a line that is lost is read to its end.
      if (room < 0 || scope.signal.aborted) return writer.abort(error);
    })
    .then(() => writer.close())
    .catch(() => undefined);
  const writing = new Set<Promise<void>>();
  try {
    for await (const { header, body } of readable) {
      const file = wanted.get(header.name);
      if (file === undefined || header.type !== "file")
        throw new TransferError(
          `The far side packed ${JSON.stringify(header.name)} (${header.type}), which it was not asked for.`,
          "It is refused; nothing of it was written.",
        );
      wanted.delete(header.name);
      const parts: Uint8Array[] = [];
      for await (const part of body) {
        parts.push(part);
        meter.arrived(part.length);
      }
      const data = Buffer.concat(parts);
      here.set(file, sha256(data));
      const one = write(file, data).finally(() => writing.delete(one));
      one.catch((error: unknown) => scope.fail(error));
      writing.add(one);
      if (writing.size >= AHEAD) await scope.race(Promise.race(writing));
    }
  } catch (error) {
    stop.abort();
    scope.signal.throwIfAborted();
    if (room < 0) throw new TransferError(`The far side sends more than the files of ${from} hold.`, "It is refused.");
    // An archive that can't be read to its end: what it lacks comes by itself.
    if (isYaleError(error)) throw error;
  } finally {
    await Promise.allSettled([running, ...writing]);
  }
  // One of the last may not have got onto the disk.
  scope.signal.throwIfAborted();
  return here;
}

async function receiveLoose(moving: Moving, { from, files, write }: ReceiveJob): Promise<Map<TreeFile, string>> {
  const here = await eachLoose(moving, files, async (file, sftp) => {
    const handle = await sftp.open(posix.join(from, file.path), "r");
    try {
      const data = file.size === 0 ? Buffer.alloc(0) : await handle.read(file.size, 0);
      moving.meter.arrived(data.length);
      await write(file, data);
      return data;
    } finally {
      await handle.close();
    }
  });
  return new Map(files.map((file, i) => [file, here[i] ?? ""]));
}

/** Moves each file by itself, over every lane in turn; the hashes of their bytes. */
async function eachLoose(
  { lanes, scope }: Moving,
  files: readonly TreeFile[],
  move: (file: TreeFile, sftp: Sftp) => Promise<Uint8Array>,
): Promise<string[]> {
  const hashes: string[] = new Array(files.length).fill("");
  const one = async (file: TreeFile, i: number) => {
    hashes[i] = sha256(await move(file, lanes.all[i % lanes.all.length] ?? lanes.sftp));
  };
  await scope.race(eachOf(files, LOOSE, one, scope.signal));
  return hashes;
}

async function readSmall(root: string, file: TreeFile): Promise<Buffer> {
  const path = join(root, file.path);
  const data = await fs.readFile(path);
  if (data.length === file.size) return data;
  throw new TransferError(`${path} changed while it was read.`, "Try again when nothing writes to it any more.");
}

function sha256(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** Bytes of all of them. */
export function sizeOf(files: readonly TreeFile[]): number {
  return files.reduce((sum, f) => sum + f.size, 0);
}
