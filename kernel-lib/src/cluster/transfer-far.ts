/**
 * What the far side can do for a transfer besides keeping files: hash them, list them, pack and unpack them. Every script
 * here is a constant; names of files go in on standard input with zero bytes between them, so that nothing reads them as
 * anything but names. Where a tool is missing, the file protocol does the same with more round trips.
 */
import { createHash } from "node:crypto";
import { posix } from "node:path";
import { isYaleError, QuotaError, TransferError } from "../errors.js";
import type { TreeFile } from "./transfer-tree.js";
import { amount, eachOf } from "./transfer-work.js";
import { type ExecOptions, type ExecResult, isMissing, type Sftp, type Transport } from "./transport.js";

/** A stretch of a far file. */
export interface Range {
  path: string;
  at: number;
  length: number;
  /** It should be all of the file: then one program reads it, in half the time that two and a pipe take. */
  whole?: boolean;
}

/** The longest time that a timer of Node can have, some 24 days: the line's own keepalive finds what hangs. */
const NO_LIMIT = 0x7fffffff;
/** Milliseconds to look for tools: login shells that load modules take some of them. */
const PROBE_TIME = 60_000;
/** SHA-256 of the letter x: a tool is used if it knows it. */
const X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
/** Characters of a SHA-256; a space, a mark and the name of the file follow it in what tools print. */
const HASH_LENGTH = X.length;
/** How xargs ends where a command ended with an error: here, since a file is not there. */
const SOME_FAILED = 123;
/** Ranges, and bytes of them, that one command hashes: so that what it says comes soon. */
const RANGES = 256;
const RANGE_BYTES = 512 << 20;
/** Files of one listing, and bytes of one of them: a far side that lists without end does not fill the memory. */
const MOST_FILES = 2_000_000;
const LONGEST_ENTRY = 1 << 16;

/** Stands before the path of a Python in what the probe says. */
const PYTHON = "python ";

// One word a line (two where a Python is there), so that the answer needs no care. openssl comes first: where sha256sum
// does not use the processor's own instructions (Debian 12's does not) it takes a quarter of the time.
const PROBE = [
  `[ "$(printf x | openssl dgst -sha256 -r 2>/dev/null | cut -c1-64)" = ${X} ] && echo openssl`,
  // Only the system's own, which start at once: those of modules and environments may lie on a slow disk. And only with
  // OpenSSL's hash: that of Python itself takes eight times as long.
  "for p in /usr/bin/python3 /usr/libexec/platform-python; do",
  `h=$("$p" -I -S -c 'import _hashlib; print(_hashlib.openssl_sha256(b"x").hexdigest())' 2>/dev/null)`,
  `[ "$h" = ${X} ] && echo "${PYTHON}$p" && break`,
  "done",
  `[ "$(printf x | sha256sum 2>/dev/null | cut -c1-64)" = ${X} ] && echo sha256sum`,
  `[ "$(printf 'a\\0b\\0' | xargs -0 -n 1 2>/dev/null | wc -l)" -eq 2 ] && echo xargs`,
  `[ "$(dd if=/dev/zero bs=8 iflag=skip_bytes,count_bytes count=3 2>/dev/null | wc -c)" -eq 3 ] && echo dd`,
  `tar --version 2>/dev/null | grep -q 'GNU tar' && echo tar`,
  `find . -maxdepth 0 -printf 'find\\n' 2>/dev/null`,
  "true",
].join("\n");

const HASHERS = { openssl: "openssl dgst -sha256 -r", sha256sum: "sha256sum" } as const;

/** Hashes stretches of files without the pipe that dd needs, which takes more than the hash. For Python 3.6 and later. */
const HASH_RANGES = `
import hashlib, sys
words = sys.stdin.buffer.read().split(b"\\0")
# More would not stay in the processor's cache between being read and being hashed.
buffer = memoryview(bytearray(1 << 16))
for path, at, length in zip(words[0::3], words[1::3], words[2::3]):
    digest = hashlib.sha256()
    left = int(length)
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(int(at))
            while left > 0:
                read = file.readinto(buffer[:left])
                if not read:
                    break
                digest.update(buffer[:read])
                left -= read
    except OSError:
        pass
    print(digest.hexdigest())
`;

/** The tools of one transport's far side. */
export class FarSide {
  /** GNU tar is there, and what unpacking needs beside it. */
  readonly tars: boolean;
  /** A find that prints as GNU's does is there. */
  readonly finds: boolean;
  /** The command that hashes there; undefined: hashes are made here from what is read back. */
  readonly hasher: string | undefined;
  readonly #transport: Transport;
  /** A Python there that hashes. */
  readonly #python: string | undefined;

  private constructor(transport: Transport, words: ReadonlySet<string>) {
    this.#transport = transport;
    const pipes = words.has("xargs") && words.has("dd");
    this.hasher = !pipes
      ? undefined
      : words.has("openssl")
        ? HASHERS.openssl
        : words.has("sha256sum")
          ? HASHERS.sha256sum
          : undefined;
    this.#python = [...words].find((word) => word.startsWith(PYTHON))?.slice(PYTHON.length);
    this.tars = words.has("tar") && this.hasher !== undefined;
    this.finds = words.has("find");
  }

  /** Looks once for each transport. Throws ConnectionError. */
  static of(transport: Transport): Promise<FarSide> {
    let known = KNOWN.get(transport);
    if (known === undefined) {
      known = new FarSide(transport, new Set())
        .run(PROBE, [], { timeout: PROBE_TIME })
        .then(({ stdout }) => new FarSide(transport, new Set(stdout.split("\n"))));
      KNOWN.set(transport, known);
      known.catch(() => KNOWN.delete(transport));
    }
    return known;
  }

  /** Runs a constant script with `args` as its positional parameters, in English, for as long as it takes. */
  run(script: string, args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const argv = ["sh", "-c", `LC_ALL=C; export LC_ALL; ${script}`, "sh", ...args];
    return this.#transport.exec(argv, { timeout: NO_LIMIT, ...options });
  }

  /**
   * SHA-256 of files below `folder`, in order, by one command; "" for one that is not there or can't be read. No name may
   * hold a line end or a backslash: tools print these in ways of their own. Undefined where the far side has no tool, or
   * it could not run.
   */
  async hashFiles(folder: string, paths: readonly string[], signal: AbortSignal): Promise<string[] | undefined> {
    if (this.hasher === undefined) return undefined;
    if (paths.length === 0) return [];
    const { code, stdout } = await this.run(`cd "$1" && exec xargs -0 ${this.hasher}`, [folder], {
      input: nameList(paths),
      signal,
    });
    if (code !== 0 && code !== SOME_FAILED) return undefined;
    const hashes = new Map(stdout.split("\n").map((line) => [line.slice(HASH_LENGTH + 2), line.slice(0, HASH_LENGTH)]));
    return paths.map((path) => hashes.get(`./${path}`) ?? "");
  }

  /**
   * SHA-256 of stretches of files, in order, that of nothing or "" where there is no file. Made here, from what is read
   * back, where the far side has no tool.
   */
  async hashRanges(sftp: Sftp, ranges: readonly Range[], signal: AbortSignal): Promise<string[]> {
    if (this.hasher === undefined) {
      const read: string[] = new Array(ranges.length).fill("");
      await eachOf(ranges, 16, async (range, i) => {
        read[i] = await readBack(sftp, range, signal).catch((error: unknown) => {
          if (isMissing(error)) return "";
          throw error;
        });
      });
      return read;
    }
    if (this.#python !== undefined) {
      // Where it should be the whole file, one byte more is asked for: a longer file has another hash.
      const input = rangeList(ranges, ({ at, length, whole }) => `${at}\0${whole ? length + 1 : length}`);
      const { stdout } = await this.run('exec "$1" -I -S -c "$2"', [this.#python, HASH_RANGES], { input, signal });
      const hashes = hashLines(stdout);
      if (hashes.length === ranges.length) return hashes;
    }
    const input = rangeList(ranges, ({ at, length, whole }) => `${whole ? "whole" : at}\0${length}`);
    const script = 'exec xargs -0 -n 3 sh -c "$1" sh';
    const { stdout, stderr } = await this.run(script, [hashByPipe(this.hasher)], { input, signal });
    const hashes = hashLines(stdout);
    if (hashes.length !== ranges.length)
      throw new TransferError(
        `The far side could not hash a file: ${oneLine(stderr) || "it said nothing"}.`,
        "Try again; what arrived stays.",
      );
    return hashes;
  }

  /** Lists everything below a folder by one command. Throws what `take` throws, and TransferError. */
  async find(
    root: string,
    take: (type: "file" | "directory", path: string, stat: Omit<TreeFile, "path">) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const stop = new AbortController();
    let fault: unknown;
    let rest: Uint8Array = Buffer.alloc(0);
    let entries = 0;
    const entry = (line: Uint8Array) => {
      if (++entries > MOST_FILES)
        throw new TransferError(`${root} holds more than ${MOST_FILES} files.`, "Fetch a folder in it.");
      const found = parseEntry(line, root);
      if (found !== undefined) take(found.type, found.path, found);
    };
    const script = 'exec find -H "$1" -mindepth 1 -name "*.part" -prune -o -mindepth 1 -printf "%y %s %T@ %m %P\\0"';
    const running = this.run(script, [root], {
      signal: AbortSignal.any([signal, stop.signal]),
      onStdout: (chunk) => {
        if (fault !== undefined) return;
        try {
          let data = Buffer.concat([rest, chunk]);
          for (let end = data.indexOf(0); end >= 0; end = data.indexOf(0)) {
            entry(data.subarray(0, end));
            data = data.subarray(end + 1);
          }
          rest = data;
          if (rest.length > LONGEST_ENTRY) throw unreadable(root);
        } catch (error) {
          fault = error;
          stop.abort();
        }
      },
    });
    const result = await running.catch((error: unknown) => {
      throw fault ?? error;
    });
    if (fault !== undefined) throw fault;
    if (result.code !== 0 || rest.length > 0)
      throw new TransferError(`${root} could not be listed: ${oneLine(result.stderr)}.`, "Check its permissions.");
  }

  /**
   * What a failure to write below `folder` means: QuotaError if the disk or a quota is full, which the file protocol has
   * no word for; TransferError otherwise. Errors of ours stay as they are.
   */
  async explain(error: unknown, sftp: Sftp, folder: string, needed: number): Promise<Error> {
    if (isYaleError(error)) return error;
    const said = error instanceof Error ? error.message : String(error);
    // A call of this machine's own disk.
    if (error instanceof Error && "syscall" in error)
      return new TransferError(`A file could not be read: ${said}.`, "Check its permissions.", { cause: error });
    const free = await sftp.free(folder).catch(() => undefined);
    let full = fullness(said);
    if (full === undefined && free !== undefined && free.files === 0) full = "There is no room for more files";
    if (full === undefined && free !== undefined && free.bytes < 1 << 20) full = "No space is left";
    if (full === undefined) {
      // A full quota shows in neither: one more megabyte is tried, where the tool says why it fails.
      const path = posix.join(folder, ".yale-jobs-space.part");
      const probe = this.run('exec dd if=/dev/zero of="$1" bs=65536 count=16', [path], { timeout: 60_000 });
      full = fullness((await probe.catch(() => undefined))?.stderr ?? "");
      await sftp.unlink(path).catch(() => undefined);
    }
    if (full === undefined)
      return new TransferError(`The far side refused a file in ${folder}: ${said}.`, "Check its permissions.", {
        cause: error,
      });
    return new QuotaError(
      `${full} at ${folder}; ${amount(needed)} were still to be sent${free === undefined ? "" : `, and ${amount(free.bytes)} are free`}.`,
      "Make room there, then try again: what arrived stays, and the rest is sent.",
      { cause: error },
    );
  }
}

/** Hashes one stretch of a file where no Python is there. */
function hashByPipe(hasher: string): string {
  return [
    `at=$2; if [ "$2" = whole ]; then [ -r "$1" ] && exec ${hasher} < "$1"; at=0; fi`,
    `dd if="$1" bs=65536 iflag=skip_bytes,count_bytes skip="$at" count="$3" 2>/dev/null | ${hasher}`,
  ].join("\n");
}

/** Stretches of files for the standard input of a command that hashes them. */
function rangeList(ranges: readonly Range[], stretch: (range: Range) => string): string {
  return ranges.map((range) => `${range.path}\0${stretch(range)}\0`).join("");
}

/** One entry of find's listing; undefined for what is neither a file nor a folder. */
function parseEntry(line: Uint8Array, root: string) {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line);
  } catch (cause) {
    throw new TransferError(`A name in ${root} is not UTF-8.`, "Rename it there, then try again.", { cause });
  }
  const match = /^([a-zA-Z?]) (\d+) (-?[\d.]+) ([0-7]+) (.*)$/s.exec(text);
  if (match === null) throw unreadable(root);
  const [, kind, size, time, mode, path = ""] = match;
  if (kind !== "f" && kind !== "d") return undefined;
  const type = kind === "f" ? ("file" as const) : ("directory" as const);
  return { type, path, size: Number(size), mtime: Number(time) * 1000, mode: Number.parseInt(mode ?? "", 8) };
}

function unreadable(root: string): TransferError {
  return new TransferError(`The list of files in ${root} could not be read.`, "Try again.");
}

/** What an error says of a disk or quota that is full. */
function fullness(said: string): string | undefined {
  if (/no space left|file system is full|ENOSPC/i.test(said)) return "No space is left";
  return /quota exceeded|EDQUOT/i.test(said) ? "The quota is full" : undefined;
}

/** Hashes of stretches of far files for one transfer: those that are asked for while a command runs share the next. */
export class FarHashes {
  readonly #far: FarSide;
  readonly #sftp: Sftp;
  readonly #signal: AbortSignal;
  readonly #queue: { range: Range; resolve: (hash: string) => void; reject: (error: unknown) => void }[] = [];
  #working = false;

  constructor(far: FarSide, sftp: Sftp, signal: AbortSignal) {
    this.#far = far;
    this.#sftp = sftp;
    this.#signal = signal;
  }

  /** SHA-256 of a stretch of a far file as it is there now. */
  of(range: Range): Promise<string> {
    const hash = new Promise<string>((resolve, reject) => this.#queue.push({ range, resolve, reject }));
    hash.catch(() => undefined);
    if (!this.#working) void this.#work();
    return hash;
  }

  async #work(): Promise<void> {
    this.#working = true;
    // Calls made in the same turn go together.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      let count = 0;
      for (let bytes = 0; count < Math.min(RANGES, this.#queue.length) && bytes < RANGE_BYTES; count++)
        bytes += this.#queue[count]?.range.length ?? 0;
      const some = this.#queue.splice(0, count);
      try {
        const ranges = some.map((entry) => entry.range);
        const hashes = await this.#far.hashRanges(this.#sftp, ranges, this.#signal);
        for (const [i, entry] of some.entries()) entry.resolve(hashes[i] ?? "");
      } catch (error) {
        for (const entry of some) entry.reject(error);
      }
    }
    this.#working = false;
  }
}

const KNOWN = new WeakMap<Transport, Promise<FarSide>>();

/** File names for the standard input of a tool: each begins with `./`, so that none passes for an option. */
export function nameList(paths: readonly string[]): Uint8Array {
  return Buffer.from(paths.map((path) => `./${path}\0`).join(""));
}

/** The hashes at the beginnings of the lines that sha256sum and openssl print. */
export function hashLines(text: string): string[] {
  return [...text.matchAll(/^\\?([0-9a-f]{64})\b/gm)].map((m) => m[1] ?? "");
}

/** What a tool said, fit for an error: the line that tells most, nothing in it that a terminal would obey. */
export function oneLine(stderr: string): string {
  const lines = stderr
    .replace(/[^\x20-\x7e\n]/g, "?")
    .trim()
    .split("\n");
  // tar's last line says only that something was wrong before.
  return (
    lines.find((l) => fullness(l) !== undefined) ??
    lines.find((l) => /cannot|denied/i.test(l)) ??
    lines.at(-1) ??
    ""
  ).slice(-300);
}

async function readBack(sftp: Sftp, { path, at, length }: Range, signal: AbortSignal): Promise<string> {
  const piece = 256 << 10;
  const handle = await sftp.open(path, "r");
  try {
    const hash = createHash("sha256");
    const reads: Promise<Uint8Array>[] = [];
    let next = 0;
    let done = 0;
    while (done < length) {
      signal.throwIfAborted();
      while (next < length && reads.length < 16) {
        const read = handle.read(Math.min(piece, length - next), at + next);
        read.catch(() => undefined);
        reads.push(read);
        next += piece;
      }
      const data = await reads.shift();
      // Shorter than it should be: the hash will tell.
      if (data === undefined || data.length === 0) break;
      hash.update(data);
      done += data.length;
    }
    return hash.digest("hex");
  } finally {
    await handle.close().catch(() => undefined);
  }
}
