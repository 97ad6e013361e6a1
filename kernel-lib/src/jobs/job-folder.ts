/**
 * What is read again and again of a running job's folder: what its runner has appended to `progress.jsonl`, and the end
 * of its log. Only new bytes are read, with as few round trips as SFTP allows.
 */
import { posix } from "node:path";
import { isMissing, type Sftp } from "../cluster/transport.js";
import type { JobRecord, Progress } from "../protocol.js";
import { ProgressReader } from "./progress.js";

/** Path of a job's log inside its folder; that of one task of a job with shards is `log/job-<task>.log`. */
export const LOG_FILE = "log/job.log";
/** Bytes of a log's end that are kept for the last lines. */
const TAIL_BYTES = 8192;
const TAIL_LINES = 12;
/** Bytes of one read, of one file at one look, and of a log, whose end is all that counts. */
const CHUNK = 256 << 10;
const MOST = 4 << 20;
const MOST_LOG = 512 << 10;
/** Tasks whose files are read at once. */
const AT_ONCE = 8;

/** The files of one job. */
export class JobFolder {
  readonly #record: JobRecord;
  readonly #parts: { reader: ProgressReader; progress: Progress; started: boolean }[] = [];
  #logs = new Map<string, number>();
  #log = new LogTail();

  constructor(record: JobRecord) {
    this.#record = record;
  }

  /** Reads what is new into the record; true if anything was. Throws if the line is gone. */
  async read(sftp: Sftp): Promise<boolean> {
    const news = this.#alone ? await this.#readOne(sftp) : await this.#readTasks(sftp);
    return news.some((n) => n);
  }

  /** True for a job that is not split. */
  get #alone(): boolean {
    return (this.#record.spec.shards ?? 1) <= 1;
  }

  #path(...parts: string[]): string {
    return posix.join(this.#record.jobDir ?? "", ...parts);
  }

  async #readOne(sftp: Sftp): Promise<boolean[]> {
    const [progress, log] = await Promise.all([
      this.#feed(sftp, "progress.jsonl", 0),
      this.#log.read(sftp, this.#path(LOG_FILE)),
    ]);
    if (log) this.#record.logTail = this.#log.lines();
    return [progress, log];
  }

  /** Two listings say which of the many files have grown. */
  async #readTasks(sftp: Sftp): Promise<boolean[]> {
    const [here, logs] = await Promise.all([list(sftp, this.#path()), list(sftp, this.#path("log"))]);
    const grown: { name: string; task: number }[] = [];
    for (const [name, size] of here) {
      const task = /^progress-(\d{1,6})\.jsonl$/.exec(name)?.[1];
      if (task !== undefined && size > this.#part(Number(task)).reader.offset) grown.push({ name, task: Number(task) });
    }
    const read: boolean[] = [];
    await inTurn(grown, AT_ONCE, async ({ name, task }) => {
      read.push(await this.#feed(sftp, name, task));
    });
    if (read.some((n) => n))
      this.#record.progress = sum(
        this.#record.progress,
        this.#parts.filter((p) => p.started),
      );
    read.push(await this.#readNewestLog(sftp, logs));
    return read;
  }

  /** The log that has grown; of several the one with the lowest number. */
  async #readNewestLog(sftp: Sftp, logs: ReadonlyMap<string, number>): Promise<boolean> {
    const grown = [...logs].filter(([name, size]) => /^job-\d+\.log$/.test(name) && size !== this.#logs.get(name));
    this.#logs = new Map(logs);
    const name = grown.map(([n]) => n).sort((a, b) => Number(a.slice(4, -4)) - Number(b.slice(4, -4)))[0];
    if (name === undefined) return false;
    const tail = new LogTail();
    if (!(await tail.read(sftp, this.#path("log", name)))) return false;
    this.#record.logTail = tail.lines();
    return true;
  }

  #part(task: number): { reader: ProgressReader; progress: Progress; started: boolean } {
    const known = this.#parts[task];
    if (known !== undefined) return known;
    const { progress } = this.#record;
    // A job that is not split goes on from what its record says, a task from nothing.
    const part = {
      reader: new ProgressReader(),
      progress: this.#alone ? progress : { prepared: progress.prepared, done: 0, failed: 0 },
      started: false,
    };
    this.#parts[task] = part;
    return part;
  }

  async #feed(sftp: Sftp, name: string, task: number): Promise<boolean> {
    const part = this.#part(task);
    const added = await readNew(sftp, this.#path(name), part.reader.offset);
    if (added === undefined || added.length === 0) return false;
    const now = part.reader.feed(added, this.#alone ? this.#record.progress : part.progress);
    if (now === undefined) return false;
    part.progress = now;
    // At once: pages may be prepared while the rest of the folder is read, and that is said there, too.
    if (this.#alone) this.#record.progress = now;
    part.started = true;
    return true;
  }
}

/** All tasks as one: counts and rates added up, the time left that of the slowest. */
function sum(whole: Progress, parts: readonly { progress: Progress }[]): Progress {
  const { rate: _r, etaSeconds: _e, message: _m, ...rest } = whole;
  const total = (pick: (p: Progress) => number | undefined) => parts.reduce((n, p) => n + (pick(p.progress) ?? 0), 0);
  const rate = total((p) => p.rate);
  const pages = Math.max(
    whole.total ?? 0,
    total((p) => p.total),
  );
  const done = total((p) => p.done);
  const message = parts.map((p) => p.progress.message).find((m) => m !== undefined);
  return {
    ...rest,
    done,
    failed: total((p) => p.failed),
    ...(pages === 0 ? {} : { total: pages }),
    ...(rate === 0 ? {} : { rate, ...(pages === 0 ? {} : { etaSeconds: Math.max(0, pages - done) / rate }) }),
    ...(message === undefined ? {} : { message }),
  };
}

/** The end of one log. */
class LogTail {
  #offset: number | undefined;
  #bytes: Uint8Array = new Uint8Array(0);
  #cut = false;

  /** Takes in what was appended; true if anything was. */
  async read(sftp: Sftp, path: string): Promise<boolean> {
    if (this.#offset === undefined) {
      const size = await sizeOf(sftp, path);
      if (size === undefined) return false;
      this.#offset = Math.max(0, size - TAIL_BYTES);
      this.#cut = this.#offset > 0;
    }
    const added = await readNew(sftp, path, this.#offset, MOST_LOG);
    if (added === undefined || added.length === 0) return false;
    // It writes faster than its end is worth following: the next look begins at the end again.
    this.#offset = added.length >= MOST_LOG ? undefined : this.#offset + added.length;
    const all = new Uint8Array(this.#bytes.length + added.length);
    all.set(this.#bytes);
    all.set(added, this.#bytes.length);
    if (all.length > TAIL_BYTES) this.#cut = true;
    this.#bytes = all.slice(-TAIL_BYTES);
    return true;
  }

  /** The last lines, without the half line at the beginning. */
  lines(): string[] {
    const lines = new TextDecoder().decode(this.#bytes).split(/\r?\n|\r/);
    if (this.#cut) lines.shift();
    if (lines.at(-1) === "") lines.pop();
    return lines.slice(-TAIL_LINES).map((line) => line.slice(0, 500));
  }
}

/** Bytes from `offset` on, as they are there; two round trips where little is new. Undefined if there is no such file. */
async function readNew(sftp: Sftp, path: string, offset: number, most = MOST): Promise<Uint8Array | undefined> {
  try {
    const handle = await sftp.open(path, "r");
    try {
      const pieces: Uint8Array[] = [];
      let length = 0;
      while (length < most) {
        const piece = await handle.read(CHUNK, offset + length);
        if (piece.length > 0) pieces.push(piece);
        length += piece.length;
        if (piece.length < CHUNK) break;
      }
      if (pieces.length === 1 && pieces[0] !== undefined) return pieces[0].slice();
      const all = new Uint8Array(length);
      let at = 0;
      for (const piece of pieces) {
        all.set(piece, at);
        at += piece.length;
      }
      return all;
    } finally {
      // Nobody waits for the answer; if the line is gone the next call says so.
      handle.close().catch(() => undefined);
    }
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function list(sftp: Sftp, path: string): Promise<Map<string, number>> {
  try {
    return new Map((await sftp.readdir(path)).map((e) => [e.name, e.stat.size]));
  } catch (error) {
    if (isMissing(error)) return new Map();
    throw error;
  }
}

async function sizeOf(sftp: Sftp, path: string): Promise<number | undefined> {
  try {
    return (await sftp.stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Does `work` for all items, so many at once. */
export async function inTurn<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
}

/** Bytes from `offset` to the end of a file, at most 4 MiB at a time; undefined if there is no such file or nothing new. */
export async function readFrom(sftp: Sftp, path: string, offset: number): Promise<Uint8Array | undefined> {
  const bytes = await readNew(sftp, path, offset);
  return bytes === undefined || bytes.length === 0 ? undefined : bytes;
}
