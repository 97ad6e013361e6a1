/**
 * Trees of files to and from a cluster, over any transport. A file gets its name only when it is whole; what is there
 * already, of the same size and time or the same bytes, is not sent again; calling again goes on.
 */
import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { dirname, join, posix, relative, sep } from "node:path";
import { InterruptedError, QuotaError, TransferError } from "../errors.js";
import { isMissing, type Sftp, type Transport } from "./transport.js";

/** How far a transfer is. */
export interface TransferProgress {
  files: number;
  bytes: number;
  total: number;
}

/** Options of a transfer. */
export interface TransferOptions {
  signal?: AbortSignal;
  onProgress?: (progress: TransferProgress) => void;
}

/** Bytes of one read or write. */
const CHUNK = 1 << 20;
/** Files at once. */
const FILES = 8;

/** What a transfer did; `skipped` were there already. */
export interface TransferResult {
  files: number;
  bytes: number;
  skipped: number;
}

/**
 * Brings a local folder to the cluster under a name that it gets only when it is complete: a folder of that name is
 * complete by definition and nothing is sent. Throws TransferError, QuotaError and InterruptedError.
 */
export async function uploadTree(
  transport: Transport,
  local: string,
  remote: string,
  options: TransferOptions = {},
): Promise<TransferResult> {
  const sftp = await transport.sftp();
  const files = await localFiles(local);
  const total = files.reduce((sum, f) => sum + f.size, 0);
  if (await exists(sftp, remote)) {
    options.onProgress?.({ files: files.length, bytes: total, total });
    return { files: 0, bytes: 0, skipped: files.length };
  }
  const part = `${remote}.part`;
  await sftp.mkdir(part, 0o700);
  const free = await sftp.free(part);
  if (free !== undefined && free.bytes < total)
    throw new QuotaError(
      `${total} bytes are to be sent and ${free.bytes} are free at ${posix.dirname(remote)}.`,
      "Make room there, or use another job_dir.",
    );
  for (const folder of new Set(files.map((f) => posix.dirname(f.path))))
    await sftp.mkdir(posix.join(part, folder), 0o700);
  const state: TransferProgress = { files: 0, bytes: 0, total };
  let skipped = 0;
  await eachOf(files, options.signal, async (file) => {
    const to = posix.join(part, file.path);
    const from = join(local, file.path);
    if ((await sizeOf(sftp, to)) === file.size) skipped += 1;
    else if (transport.kind === "local") await linkOrCopy(from, to);
    else await putFile(sftp, from, to, file.size, options, state);
    state.files += 1;
    if (transport.kind === "local") state.bytes += file.size;
    options.onProgress?.({ ...state });
  });
  try {
    await sftp.rename(part, remote);
  } catch (error) {
    // Somebody else brought the same content meanwhile.
    if (!(await exists(sftp, remote))) throw error;
  }
  return { files: files.length - skipped, bytes: total, skipped };
}

/**
 * Copies a remote folder here. Files that exist with the same bytes stay; one that differs is a TransferError and
 * stays too, unless it is the same file grown. Names from the far side that lead out of the folder are refused.
 */
export async function downloadTree(
  transport: Transport,
  remote: string,
  local: string,
  options: TransferOptions & { exclude?: (path: string) => boolean } = {},
): Promise<TransferResult> {
  const sftp = await transport.sftp();
  const files = (await remoteFiles(sftp, remote)).filter((f) => options.exclude?.(f.path) !== true);
  const total = files.reduce((sum, f) => sum + f.size, 0);
  await fs.mkdir(local, { recursive: true });
  const state: TransferProgress = { files: 0, bytes: 0, total };
  let skipped = 0;
  await eachOf(files, options.signal, async (file) => {
    const to = join(local, ...file.path.split("/"));
    const there = await fs.stat(to).catch(() => undefined);
    if (
      there?.isFile() &&
      there.size === file.size &&
      (await sameBytes(sftp, posix.join(remote, file.path), to, file.size))
    )
      skipped += 1;
    else {
      if (there !== undefined && !file.path.endsWith(".json"))
        throw new TransferError(
          `${to} exists and is not what the job wrote.`,
          "Choose another folder, or move it away.",
        );
      await fs.mkdir(dirname(to), { recursive: true });
      await getFile(sftp, posix.join(remote, file.path), to, file.size, options);
      state.files += 1;
    }
    state.bytes += file.size;
    options.onProgress?.({ ...state });
  });
  return { files: state.files, bytes: state.bytes, skipped };
}

async function localFiles(folder: string): Promise<{ path: string; size: number }[]> {
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((e) => e.isFile()).map((e) => join(e.parentPath, e.name));
  return Promise.all(
    files.sort().map(async (f) => ({ path: relative(folder, f).split(sep).join("/"), size: (await fs.stat(f)).size })),
  );
}

async function remoteFiles(sftp: Sftp, folder: string, prefix = ""): Promise<{ path: string; size: number }[]> {
  const found: { path: string; size: number }[] = [];
  for (const { name, stat } of await sftp.readdir(posix.join(folder, prefix))) {
    if (name === "." || name === ".." || name.includes("/") || name.includes("\0"))
      throw new TransferError(`The far side has a file called ${JSON.stringify(name)}.`, "Such a name is refused.");
    const path = posix.join(prefix, name);
    // Links are not followed: they could lead anywhere.
    if (stat.type === "directory") found.push(...(await remoteFiles(sftp, folder, path)));
    else if (stat.type === "file" && !name.endsWith(".part")) found.push({ path, size: stat.size });
  }
  return found;
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  await fs.rm(to, { force: true });
  // Datasets and runners are never changed, so one copy on the disk serves cache and job.
  await fs.link(from, to).catch(() => fs.copyFile(from, to));
}

async function putFile(
  sftp: Sftp,
  from: string,
  to: string,
  size: number,
  options: TransferOptions,
  state: TransferProgress,
): Promise<void> {
  const source = await fs.open(from, "r");
  const target = await sftp.open(`${to}.part`, "w");
  try {
    for (let at = 0; at < size; at += CHUNK) {
      interrupted(options.signal);
      const { buffer, bytesRead } = await source.read(
        Buffer.allocUnsafe(Math.min(CHUNK, size - at)),
        0,
        Math.min(CHUNK, size - at),
        at,
      );
      await target.write(buffer.subarray(0, bytesRead), at);
      state.bytes += bytesRead;
      options.onProgress?.({ ...state });
    }
    await target.sync();
  } finally {
    await target.close();
    await source.close();
  }
  await sftp.rename(`${to}.part`, to);
}

async function getFile(sftp: Sftp, from: string, to: string, size: number, options: TransferOptions): Promise<void> {
  const source = await sftp.open(from, "r");
  const target = await fs.open(`${to}.part`, "w");
  try {
    for (let at = 0; at < size; at += CHUNK) {
      interrupted(options.signal);
      const data = await source.read(Math.min(CHUNK, size - at), at);
      if (data.length === 0) throw new TransferError(`${from} became shorter while it was read.`, "Try again.");
      await target.write(data, 0, data.length, at);
    }
    await target.sync();
  } finally {
    await target.close();
    await source.close();
  }
  await fs.rename(`${to}.part`, to);
}

async function sameBytes(sftp: Sftp, remote: string, local: string, size: number): Promise<boolean> {
  const a = await sftp.open(remote, "r");
  const b = await fs.open(local, "r");
  try {
    const [ha, hb] = [createHash("sha256"), createHash("sha256")];
    for (let at = 0; at < size; at += CHUNK) {
      const length = Math.min(CHUNK, size - at);
      ha.update(await a.read(length, at));
      const { buffer, bytesRead } = await b.read(Buffer.allocUnsafe(length), 0, length, at);
      hb.update(buffer.subarray(0, bytesRead));
    }
    return ha.digest("hex") === hb.digest("hex");
  } finally {
    await a.close();
    await b.close();
  }
}

async function exists(sftp: Sftp, path: string): Promise<boolean> {
  return (await sizeOf(sftp, path)) !== undefined;
}

async function sizeOf(sftp: Sftp, path: string): Promise<number | undefined> {
  try {
    return (await sftp.stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function interrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new InterruptedError("The transfer was interrupted.", "What arrived stays; it goes on when asked again.");
}

async function eachOf<T>(
  items: readonly T[],
  signal: AbortSignal | undefined,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(FILES, items.length) }, async () => {
      while (next < items.length) {
        interrupted(signal);
        const item = items[next++];
        if (item !== undefined) await work(item);
      }
    }),
  );
}
