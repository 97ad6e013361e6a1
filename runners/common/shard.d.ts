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
export declare function shardOf(env?: NodeJS.ProcessEnv): Shard | undefined;
/**
 * Its pages: from the first to before the second. Neighbours stay together, so that the shards one after another are the
 * pages in their order; no two parts differ by more than one page.
 */
export declare function shardRange(pages: number, shard: Shard | undefined): [from: number, to: number];
