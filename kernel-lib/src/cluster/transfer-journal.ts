/**
 * How far an upload is, on this machine's disk: what surely is on the far side, and under which name it grows there. One
 * short line for each step, so that a crash in the middle of one costs that line only. It holds for one state of the
 * source: a changed source starts afresh.
 */
import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { dropLock, takeLock } from "../process.js";

/** Bytes and milliseconds between two marks of one file. A process that is killed sends so much again, at most. */
const MARK_BYTES = 4 << 20;
const MARK_TIME = 500;

/** Journals that this process has open: a second upload of the same thing by it keeps none. */
const OPEN = new Set<string>();

/** The journal of one upload. */
export class Journal {
  /** Marks this upload's unfinished files on the far side: nobody else has it. */
  token: string = randomBytes(6).toString("hex");
  /** Hash of the file hashes of each pack that has arrived. */
  readonly packs = new Map<number, string>();
  /** How often each pack was begun: what is not in {@link packs} may be there in part. */
  readonly begun = new Map<number, number>();
  /** Hash of each block of a big file that has arrived, by `file:block`. */
  readonly blocks = new Map<string, string>();
  /** Bytes from the beginning of a big file without a hole. */
  readonly marks = new Map<number, number>();
  readonly #path: string | undefined;
  readonly #noted = new Map<number, { mark: number; at: number }>();

  private constructor(path: string | undefined) {
    this.#path = path;
  }

  /**
   * Takes up the journal of bringing `source` to `remote`, or begins one. `identity` is that of the source's state now
   * and of how it is cut into pieces. Another process or call that brings the same has its own, kept in memory only.
   */
  static open(folder: string, source: string, remote: string, identity: string): Journal {
    // Machines that share a home folder can't see whether each other's processes live.
    const name = createHash("sha256")
      .update(JSON.stringify([hostname(), source, remote]))
      .digest("hex")
      .slice(0, 32);
    const path = join(folder, `${name}.jsonl`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (OPEN.has(path) || !takeLock(`${path}.lock`)) return new Journal(undefined);
    OPEN.add(path);
    const journal = new Journal(path);
    if (!journal.#load(identity)) {
      rmSync(path, { force: true });
      journal.#note({ upload: remote, from: source, identity, token: journal.token });
    }
    return journal;
  }

  /** A pack is sent now. */
  begin(pack: number): void {
    const begun = (this.begun.get(pack) ?? 0) + 1;
    this.begun.set(pack, begun);
    this.#note({ pack, begun });
  }

  /** A pack has arrived and was verified. */
  pack(index: number, hash: string): void {
    this.packs.set(index, hash);
    this.#note({ pack: index, hash });
  }

  /** A block of a file has arrived and was verified. */
  block(file: number, block: number, hash: string): void {
    this.blocks.set(`${file}:${block}`, hash);
    this.#note({ file, block, hash });
  }

  /** A file has arrived without a hole up to `mark`. Noted now and then; always if `now`. */
  mark(file: number, mark: number, now = false): void {
    this.marks.set(file, mark);
    const last = this.#noted.get(file) ?? { mark: 0, at: 0 };
    const at = performance.now();
    if (mark <= last.mark || (!now && (mark < last.mark + MARK_BYTES || at < last.at + MARK_TIME))) return;
    this.#noted.set(file, { mark, at });
    this.#note({ file, mark });
  }

  /** What was said to be there is not: it is sent again. */
  forget(what: { pack: number } | { file: number; block: number }): void {
    if ("pack" in what) this.packs.delete(what.pack);
    else this.blocks.delete(`${what.file}:${what.block}`);
    this.#note({ ...what, hash: null });
  }

  /** Lets go of it; it can be taken up again. */
  close(): void {
    if (this.#path === undefined) return;
    OPEN.delete(this.#path);
    dropLock(`${this.#path}.lock`);
  }

  /** The upload is complete. */
  remove(): void {
    if (this.#path !== undefined) rmSync(this.#path, { force: true });
    this.close();
  }

  #note(line: object): void {
    if (this.#path === undefined) return;
    appendFileSync(this.#path, `${JSON.stringify(line)}\n`, { mode: 0o600 });
  }

  #load(identity: string): boolean {
    if (this.#path === undefined) return false;
    let lines: string[];
    try {
      lines = readFileSync(this.#path, "utf8").split("\n");
    } catch {
      return false;
    }
    for (const [i, text] of lines.entries()) {
      const line = parsed(text);
      if (i === 0) {
        if (line?.identity !== identity || typeof line.token !== "string" || !/^[0-9a-f]{12}$/.test(line.token))
          return false;
        this.token = line.token;
      } else if (line === undefined) continue;
      else if (typeof line.pack === "number" && typeof line.begun === "number") this.begun.set(line.pack, line.begun);
      else if (typeof line.pack === "number") put(this.packs, line.pack, line.hash);
      else if (typeof line.file === "number" && typeof line.block === "number")
        put(this.blocks, `${line.file}:${line.block}`, line.hash);
      else if (typeof line.file === "number" && typeof line.mark === "number") this.marks.set(line.file, line.mark);
    }
    // A line that a crash cut in two must not take the next one with it.
    if (lines.at(-1) !== "") appendFileSync(this.#path, "\n");
    return true;
  }
}

interface Line {
  identity?: unknown;
  token?: unknown;
  pack?: unknown;
  begun?: unknown;
  file?: unknown;
  block?: unknown;
  mark?: unknown;
  hash?: unknown;
}

function parsed(text: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function put<K>(map: Map<K, string>, key: K, hash: unknown): void {
  if (typeof hash === "string") map.set(key, hash);
  else map.delete(key);
}
