/**
 * The part of the pages that one task of an array job takes. The batch script says which by `YALE_JOBS_SHARD` (from 0)
 * and `YALE_JOBS_SHARDS`.
 */

/** One task of an array job. */
export interface Shard {
  index: number;
  count: number;
}

/** Which task this is; undefined for a job without shards. Throws TypeError for an environment that makes no sense. */
export function shardOf(env: NodeJS.ProcessEnv = process.env): Shard | undefined {
  const count = Number(env.YALE_JOBS_SHARDS || "1");
  if (count === 1) return undefined;
  const index = Number(env.YALE_JOBS_SHARD || "");
  if (!Number.isInteger(count) || !Number.isInteger(index) || index < 0 || index >= count || env.YALE_JOBS_SHARD === "")
    throw new TypeError(`Task ${env.YALE_JOBS_SHARD} of ${env.YALE_JOBS_SHARDS} makes no sense.`);
  return { index, count };
}

/**
 * Its pages: from the first to before the second. Neighbours stay together, so that the shards one after another are the
 * pages in their order; no two parts differ by more than one page.
 */
export function shardRange(pages: number, shard: Shard | undefined): [from: number, to: number] {
  if (shard === undefined) return [0, pages];
  return [Math.floor((pages * shard.index) / shard.count), Math.floor((pages * (shard.index + 1)) / shard.count)];
}
