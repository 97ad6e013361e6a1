/**
 * The journal of a dataset that is being written: after each batch a line with what is in it and where it ends, so that
 * a killed preparation goes on behind its last whole batch.
 */
import { appendFile, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** A row that is written: its key, the SHA-256 of its image (hex), and its other columns as JSON, as they are hashed. */
export type WrittenRow = readonly [key: string, image: string, rest: string];

/** The first line: what the pages depend on, and files of an earlier dataset of ours that make room for this one. */
interface Head {
  fingerprint: string | null;
  old: string[];
}

interface Line {
  /** Number of the shard, and its bytes up to the end of this batch. */
  shard: number;
  end: number;
  /** Set on the last batch of a shard: the shard is closed, with this hash. */
  closed?: string;
  rows: WrittenRow[];
}

/** What an earlier run left whole. */
export interface Remains {
  rows: WrittenRow[];
  /** Shards that are closed, and of each the number of rows up to its end. */
  shards: { file: string; bytes: number; sha256: string }[];
  ends: number[];
  /** The shard that was open, and the bytes of it that are whole. */
  open?: { shard: number; bytes: number };
}

const NAME = "journal.jsonl";

/** Name of a shard before the number of all shards is known. */
export function shardName(shard: number): string {
  return `part-${shard}.arrow`;
}

/** Name of a shard in a dataset that is complete, as datasets gives it. */
export function finalName(shard: number, shards: number): string {
  const pad = (n: number) => String(n).padStart(5, "0");
  return `data-${pad(shard)}-of-${pad(shards)}.arrow`;
}

/** Writes a line; called when the batch's bytes are written. */
export async function note(folder: string, line: Line): Promise<void> {
  await appendFile(join(folder, NAME), `${JSON.stringify(line)}\n`, { mode: 0o600 });
}

/** Removes the journal: the dataset is complete, or begins anew. */
export async function forget(folder: string): Promise<void> {
  await rm(join(folder, NAME), { force: true });
}

/** Begins a journal, in place of an earlier one. It names `old` as ours until they are gone. */
export async function beginJournal(
  folder: string,
  fingerprint: string | undefined,
  old: readonly string[],
): Promise<void> {
  const head: Head = { fingerprint: fingerprint ?? null, old: [...old] };
  const part = join(folder, `${NAME}.part`);
  await writeFile(part, `${JSON.stringify(head)}\n`, { mode: 0o600 });
  await rename(part, join(folder, NAME));
}

/** The journal's lines up to the first that is torn; undefined where there is none. */
async function readJournal(folder: string): Promise<{ head: Head | undefined; lines: Line[] } | undefined> {
  const text = await readFile(join(folder, NAME), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  let head: Head | undefined;
  const lines: Line[] = [];
  for (const line of text.split("\n")) {
    let value: Head | Line;
    try {
      value = JSON.parse(line) as Head | Line;
    } catch {
      break;
    }
    if ("old" in value) head = value;
    else lines.push(value);
  }
  return { head, lines };
}

/** Names that files of an interrupted write can have in this folder; undefined if it holds no journal. */
export async function journalFiles(folder: string): Promise<string[] | undefined> {
  const journal = await readJournal(folder);
  if (journal === undefined) return undefined;
  // One shard may be open of which no line tells yet; all may have been closed and called by their last names.
  const shards = Math.max(-1, ...journal.lines.map((l) => l.shard)) + 2;
  const names = [...(journal.head?.old ?? [])];
  for (let i = 0; i < shards; i++) {
    names.push(shardName(i), `${shardName(i)}.part`);
    for (let of = 1; of <= shards; of++) names.push(finalName(i, of));
  }
  return names;
}

/**
 * Reads what an earlier run left; undefined if there is nothing, not all that the journal promises, or if its pages
 * depended on something else than `fingerprint` names.
 */
export async function readRemains(folder: string, fingerprint: string | undefined): Promise<Remains | undefined> {
  const journal = await readJournal(folder);
  if (journal === undefined || (journal.head?.fingerprint ?? null) !== (fingerprint ?? null)) return undefined;
  const remains: Remains = { rows: [], shards: [], ends: [] };
  for (const batch of journal.lines) {
    const file = shardName(batch.shard);
    const path = join(folder, batch.closed === undefined ? `${file}.part` : file);
    if (batch.closed !== undefined) {
      if ((await stat(path).catch(() => undefined))?.size !== batch.end) return undefined;
      remains.shards.push({ file, bytes: batch.end, sha256: batch.closed });
      delete remains.open;
    } else remains.open = { shard: batch.shard, bytes: batch.end };
    remains.rows.push(...batch.rows);
    if (batch.closed !== undefined) remains.ends.push(remains.rows.length);
  }
  if (remains.open !== undefined) {
    const { size } = (await stat(join(folder, `${shardName(remains.open.shard)}.part`)).catch(() => undefined)) ?? {};
    if ((size ?? 0) < remains.open.bytes) return undefined;
  }
  return remains.rows.length === 0 ? undefined : remains;
}
