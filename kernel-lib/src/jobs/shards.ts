/** How to split pages over the tasks of an array: by minutes of work, not by pages. Pure. */
import { count, duration } from "../display/index.js";
import type { Policy } from "../sites/index.js";

/** What {@link planShards} proposes. */
export interface ShardPlan {
  shards: number;
  /** Seconds that each task works, with its start. */
  seconds: number;
}

/**
 * Tasks that run side by side and none too short: at most as many as may run at once, each at least as long as the site
 * wants. `startSeconds` is what every task spends before its first page. One shard where no speed is known.
 */
export function planShards(
  pages: number,
  pagesPerSecond: number | undefined,
  policy: Pick<Policy, "taskMinutes" | "maxArrayRunning">,
  startSeconds = 0,
): ShardPlan {
  if (pagesPerSecond === undefined || pagesPerSecond <= 0 || pages <= 0) return { shards: 1, seconds: startSeconds };
  const work = pages / pagesPerSecond;
  // A task that starts a model for longer than it works wastes the GPU, so the start counts against the number of tasks.
  const shortest = Math.max(policy.taskMinutes * 60, 2 * startSeconds, 1);
  const most = Math.min(policy.maxArrayRunning ?? 16, pages);
  const shards = Math.max(1, Math.min(most, Math.floor(work / shortest)));
  return { shards, seconds: startSeconds + work / shards };
}

/** What is wrong with a split that somebody asked for, in sentences; nothing if all is well or no speed is known. */
export function shardNotes(
  shards: number,
  pages: number,
  pagesPerSecond: number | undefined,
  policy: Pick<Policy, "minTaskMinutes" | "taskMinutes" | "maxArrayRunning">,
  startSeconds = 0,
): string[] {
  if (shards <= 1 || pagesPerSecond === undefined || pagesPerSecond <= 0) return [];
  const seconds = startSeconds + pages / pagesPerSecond / shards;
  const better = planShards(pages, pagesPerSecond, policy, startSeconds).shards;
  if (seconds >= policy.minTaskMinutes * 60) return [];
  return [
    `Each of ${count(shards, "task")} would run for about ${duration(seconds)}; tasks under ${policy.minTaskMinutes} min are not wanted there. ${better === 1 ? "Leave shards out" : `${count(better, "shard")} would do`}.`,
  ];
}
