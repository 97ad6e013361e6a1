/**
 * The journal of a dataset that is being written: after each batch a line with what is in it and where it ends, so that
 * a killed preparation goes on behind its last whole batch.
 */
import { appendFile, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";

/** A row that is written: its key, the SHA-256 of its image (hex), and its other columns as JSON, as they are hashed. */
export type WrittenRow = readonly [key: string, image: string, rest: string];

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

/** Writes a line; called when the batch's bytes are written. */
export async function note(folder: string, line: Line): Promise<void> {
  await appendFile(join(folder, NAME), `${JSON.stringify(line)}\n`, { mode: 0o600 });
}

/** Removes the journal: the dataset is complete, or begins anew. */
export async function forget(folder: string): Promise<void> {
  await rm(join(folder, NAME), { force: true });
}

/** Reads what an earlier run left; undefined if there is nothing, or not all that the journal promises. */
export async function readRemains(folder: string): Promise<Remains | undefined> {
  const text = await readFile(join(folder, NAME), "utf8").catch(() => "");
  const remains: Remains = { rows: [], shards: [], ends: [] };
  for (const line of text.split("\n")) {
    let batch: Line;
    try {
      batch = JSON.parse(line) as Line;
    } catch {
      // The last line, torn.
      break;
    }
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
