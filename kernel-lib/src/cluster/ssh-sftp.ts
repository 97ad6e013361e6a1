/**
 * Files of the far side over one SFTP channel of ssh2 (version 3 of the protocol, as OpenSSH speaks it), as the contract
 * {@link Sftp} has them. ssh2 leaves some calls without an answer for ever when the line goes (its issues 1175 and 1490),
 * so every call here is kept in a list that the end of the channel or of the line empties with an error.
 */
import { constants } from "node:fs";
import type { SFTPWrapper } from "ssh2";
import { ConnectionError, UsageError } from "../errors.js";
import { sftpLimits } from "./ssh2-private.js";
import type { FileHandle, FileStat, Sftp } from "./transport.js";

/** An {@link Sftp} that ends with its channel. */
export interface SftpChannel extends Sftp {
  /** Why it can't be used any more; undefined while it can. */
  readonly gone: Error | undefined;
  /** Closes the channel; calls in flight throw ConnectionError. */
  end(): void;
}

/** Requests that one read or write has in flight: where they are as large as OpenSSH takes them, twice a channel's window. */
const IN_FLIGHT = 16;

/** Bytes of a packet that every server takes and gives (draft-ietf-secsh-filexfer-02, section 3). */
const LEAST = 32 << 10;

/** Status codes of SFTP version 3 (draft-ietf-secsh-filexfer-02, section 7), as Node's file calls name them. */
const CODES: Readonly<Record<number, string>> = { 2: "ENOENT", 3: "EACCES", 4: "EIO", 5: "EINVAL", 8: "ENOTSUP" };
/** SFTP's "failure", which stands for everything without a code of its own: exists already, full, not empty. */
const FAILURE = 4;

/** Wraps a channel of ssh2; `lost` resolves with the reason when the line below it is gone. */
export function wrapSftp(raw: SFTPWrapper, lost: Promise<Error>): SftpChannel {
  const pending = new Set<(reason: Error) => void>();
  let gone: Error | undefined;
  const leave = (reason: Error) => {
    if (gone !== undefined) return;
    gone = reason;
    for (const reject of pending) reject(reason);
    pending.clear();
  };
  const closed = () => leave(new ConnectionError("The channel for files was closed by the far side.", "Try again."));
  raw.on("error", (cause: Error) =>
    leave(new ConnectionError(`The channel for files broke: ${cause.message}.`, "Try again.", { cause })),
  );
  raw.on("close", closed);
  raw.on("end", closed);
  lost.then(leave, leave);

  /** One call of ssh2 as a promise that the end of the channel settles too. `what` is named in its error. */
  const call = <T>(what: string, start: (done: (error?: Error | null, value?: T) => void) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      if (gone !== undefined) return reject(gone);
      pending.add(reject);
      const done = (error?: Error | null, value?: T) => {
        pending.delete(reject);
        if (error) reject(told(error, what, gone));
        else resolve(value as T);
      };
      try {
        start(done);
      } catch (error) {
        // ssh2 throws for an extension that the server lacks.
        done(error as Error);
      }
    });

  const stat = async (path: string, options: { link?: boolean } = {}): Promise<FileStat> => {
    const verb = options.link ? "lstat" : "stat";
    return fileStat(await call<RawStat>(`${verb} '${path}'`, (done) => raw[verb](checked(path), done)));
  };
  const statIfThere = (path: string, options: { link?: boolean } = {}) => stat(path, options).catch(() => undefined);

  const makeOne = async (path: string, mode?: number): Promise<void> => {
    const attributes = mode === undefined ? {} : { mode };
    try {
      await call<void>(`mkdir '${path}'`, (done) => raw.mkdir(checked(path), attributes, done));
    } catch (error) {
      // Asked after the fact: an existing folder, or one that another call makes at this moment, gives plain "failure".
      const there = await statIfThere(path);
      if (there?.type === "directory") return;
      if (there !== undefined) throw fault("EEXIST", "file already exists", `mkdir '${path}'`);
      throw gone ?? error;
    }
  };
  const mkdir = async (path: string, mode?: number): Promise<void> => {
    try {
      await makeOne(path, mode);
    } catch (error) {
      const parent = path.replace(/\/+[^/]+\/*$/, "");
      if (gone !== undefined || codeOf(error) !== "ENOENT" || parent === "" || parent === path) throw gone ?? error;
      await mkdir(parent, mode);
      // Once more only: below some folders (/proc) nothing can be made, and they say that it is missing.
      await makeOne(path, mode);
    }
  };

  /** The most that the server has shown to give at once. */
  let atMost = Number.POSITIVE_INFINITY;

  const handle = (path: string, id: Buffer): FileHandle => ({
    async read(length, position) {
      const buffer = Buffer.allocUnsafe(length);
      const piece = Math.min(atMost, sftpLimits(raw).read);
      const filled = await inPieces(length, piece, async (from, size) => {
        let got = 0;
        while (got < size) {
          const n = await call<number>(`read '${path}'`, (done) =>
            raw.read(id, buffer, from + got, size - got, position + from + got, done),
          );
          if (n === 0) break;
          // The answer before was short though the file goes on: OpenSSH before 8.5 gives 64 KiB, and tells no limits.
          // Less than every server gives (section 3 of the draft) is the end of a file that has grown meanwhile.
          if (got >= LEAST) atMost = Math.min(atMost, got);
          got += n;
        }
        return got;
      });
      // Whole up to the first piece that the end of the file cut short.
      let end = 0;
      for (const [i, got] of filled.entries()) {
        end = i * piece + got;
        if (got < piece) break;
      }
      return buffer.subarray(0, end);
    },
    async write(data, position) {
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      try {
        await inPieces(bytes.length, sftpLimits(raw).write, async (from, size) => {
          await call<void>(`write '${path}'`, (done) => raw.write(id, bytes, from, size, position + from, done));
          return size;
        });
      } catch (error) {
        const left = codeOf(error) === "EIO" ? await free(path).catch(() => undefined) : undefined;
        if (gone !== undefined || codeOf(error) !== "EIO") throw gone ?? error;
        const full = left !== undefined && (left.bytes === 0 || left.files === 0);
        throw fault(
          full ? "ENOSPC" : "EIO",
          full ? "no space left" : "refused; a quota may be full",
          `write '${path}'`,
        );
      }
    },
    async sync() {
      await optional(call<void>(`fsync '${path}'`, (done) => raw.ext_openssh_fsync(id, done)));
    },
    close: () => call<void>(`close '${path}'`, (done) => raw.close(id, done)),
  });

  const free = async (path: string): Promise<{ bytes: number; files: number } | undefined> => {
    const s = await optional(
      call<RawSpace>(`statvfs '${path}'`, (done) => raw.ext_openssh_statvfs(checked(path), done)),
    );
    if (s === undefined) return undefined;
    // File systems that count no inodes (btrfs, many network ones) say that there are none at all.
    return { bytes: s.f_bavail * s.f_frsize, files: s.f_files === 0 ? Number.MAX_SAFE_INTEGER : s.f_favail };
  };

  return {
    get gone() {
      return gone;
    },
    end() {
      leave(new ConnectionError("The channel for files was closed."));
      raw.end();
    },
    async open(path, flags) {
      const mode = flags === "r+" ? READ_WRITE : flags;
      const what = `open '${path}'`;
      try {
        return handle(path, await call<Buffer>(what, (done) => raw.open(checked(path), mode, done)));
      } catch (error) {
        if (flags === "wx" && codeOf(error) === "EIO" && (await statIfThere(path, { link: true })) !== undefined)
          throw fault("EEXIST", "file already exists", what);
        throw gone ?? error;
      }
    },
    stat,
    async readdir(path) {
      const list = await call<{ filename: string; attrs: RawStat }[]>(`readdir '${path}'`, (done) =>
        raw.readdir(checked(path), done),
      );
      return list.map((entry) => ({ name: entry.filename, stat: fileStat(entry.attrs) }));
    },
    mkdir,
    rename: (from, to) =>
      call(`rename '${from}' -> '${to}'`, (done) => raw.ext_openssh_rename(checked(from), checked(to), done)),
    unlink: (path) => call(`unlink '${path}'`, (done) => raw.unlink(checked(path), done)),
    rmdir: (path) => call(`rmdir '${path}'`, (done) => raw.rmdir(checked(path), done)),
    symlink: (target, path) =>
      call(`symlink '${target}' -> '${path}'`, (done) => raw.symlink(checked(target), checked(path), done)),
    readlink: (path) => call(`readlink '${path}'`, (done) => raw.readlink(checked(path), done)),
    realpath: (path) => call(`realpath '${path}'`, (done) => raw.realpath(checked(path), done)),
    chmod: (path, mode) => call(`chmod '${path}'`, (done) => raw.chmod(checked(path), mode, done)),
    free,
  };
}

/** Reading and writing, made if missing: as a local `r+` of the contract. SFTP's READ, WRITE and CREAT. */
const READ_WRITE = 0x01 | 0x02 | 0x08;

/** What ssh2 gives of a file; a server may leave any of it out. */
interface RawStat {
  size?: number;
  mtime?: number;
  mode?: number;
}

/** What ssh2 gives of `statvfs@openssh.com`. */
interface RawSpace {
  f_frsize: number;
  f_bavail: number;
  f_files: number;
  f_favail: number;
}

function fileStat(s: RawStat): FileStat {
  const kind = (s.mode ?? 0) & constants.S_IFMT;
  const type =
    kind === constants.S_IFREG
      ? "file"
      : kind === constants.S_IFDIR
        ? "directory"
        : kind === constants.S_IFLNK
          ? "symlink"
          : "other";
  return { size: s.size ?? 0, mtime: (s.mtime ?? 0) * 1000, type, mode: (s.mode ?? 0) & 0o7777 };
}

/** Runs `work` over `length` bytes in pieces of `size`, some at once; gives what each returned, in order. */
async function inPieces(
  length: number,
  size: number,
  work: (from: number, size: number) => Promise<number>,
): Promise<number[]> {
  const results = new Array<number>(Math.ceil(length / size)).fill(0);
  let next = 0;
  const worker = async () => {
    while (next < results.length) {
      const piece = next++;
      results[piece] = await work(piece * size, Math.min(size, length - piece * size));
    }
  };
  await Promise.all(Array.from({ length: Math.min(IN_FLIGHT, results.length) }, worker));
  return results;
}

/** OpenSSH's server ends the whole channel over a path with a zero byte; others would cut the name there. */
function checked(path: string): string {
  if (path.includes("\u0000")) throw new UsageError("A file name can't hold a zero byte.", "Rename it.");
  return path;
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" ? code : undefined;
}

/** An error as Node's own file calls would give it. */
function fault(code: string, why: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${why}, ${what}`), { code });
}

/** What ssh2 calls back with, in our terms. */
function told(error: Error, what: string, gone: Error | undefined): Error {
  if (gone !== undefined) return gone;
  if (error instanceof UsageError) return error;
  const status = (error as { code?: unknown }).code;
  if (typeof status === "number") {
    const why =
      status === FAILURE && error.message === "Failure" ? "the far side says no more than: failure" : error.message;
    return fault(CODES[status] ?? "EIO", why, what);
  }
  if (/does not support this extended request/.test(error.message)) return fault("ENOTSUP", error.message, what);
  // "No response from server", "Channel is not open": the channel ended before the answer.
  return new ConnectionError(`The channel for files ended in the middle of ${what}.`, "Try again.", { cause: error });
}

/** Undefined where the far side has no such call. */
async function optional<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (codeOf(error) === "ENOTSUP") return undefined;
    throw error;
  }
}
