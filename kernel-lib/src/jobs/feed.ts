/**
 * Brings the pages of a job that is submitted on the first of them (`startEarly`): shard by shard while they are prepared,
 * and at the end the whole dataset, as any job has it.
 */
import { join } from "node:path";
import type { Transport } from "../cluster/transport.js";
import type { DatasetInfo } from "../dataset/index.js";
import { SourceError } from "../errors.js";
import { ShardsAhead } from "./ahead.js";
import { ComingPages, comingPath, EARLY_SHARD_BYTES, listComing, listedComing } from "./coming.js";
import type { LiveJob } from "./live.js";
import type { ResolvedJob } from "./plan.js";
import type { PrepareOptions } from "./prepare.js";
import { type StageOptions, stageJob } from "./stage.js";

/** What {@link feed} works with. */
export interface FeedOptions {
  /** Does work with the line to the cluster, and again when it comes back, unless the signal aborts first. */
  over: <T>(work: (transport: Transport) => Promise<T>, signal: AbortSignal) => Promise<T>;
  signal: AbortSignal;
  /** Prepares the pages, and says so in the record. */
  prepare: (options: PrepareOptions) => Promise<DatasetInfo>;
  /** Called when the job may be submitted. */
  onFirst: () => void;
}

/** Resolves when all pages are there. Rejects with why they will not be, and has ended whatever it began by then. */
export async function feed(job: ResolvedJob, live: LiveJob, options: FeedOptions): Promise<void> {
  const { record } = live;
  const { onFirst } = options;
  const others = new AbortController();
  const signal = AbortSignal.any([options.signal, others.signal]);
  const over = <T>(work: (transport: Transport) => Promise<T>) => options.over(work, signal);
  const whole = () => {
    delete record.coming;
    live.changed(true);
    onFirst();
  };
  const before = record.coming === true ? await over((t) => listedComing(t, record.jobDir ?? "")) : [];
  if (before === undefined) return whole();
  if (before.length > 0) onFirst();

  const stage = async (more: Partial<StageOptions>): Promise<string> => {
    const all = { id: record.id, signal, onProgress: () => undefined, ...more };
    record.jobDir = await over((transport) => stageJob(transport, job, all));
    return record.jobDir;
  };
  let folder: Promise<string> | undefined;
  const jobDir = () => {
    folder ??= record.jobDir === undefined ? stage({ coming: true }) : Promise.resolve(record.jobDir);
    return folder;
  };
  const coming = new ComingPages(async (shards) => {
    await over(async (transport) => listComing(transport, await jobDir(), shards));
    record.coming = true;
    live.changed(true);
    onFirst();
  }, before);
  const ahead = new ShardsAhead({
    cluster: job.cluster,
    over,
    signal,
    job: {
      place: async ({ sha256 }) => comingPath(await jobDir(), sha256),
      arrived: (shard) => {
        coming.arrived(shard).catch((error: unknown) => {
          // Whatever else there is, the whole dataset will meet it, too.
          if (error instanceof SourceError) others.abort(error);
        });
      },
    },
  });
  try {
    const info = await options.prepare({
      signal,
      shardBytes: EARLY_SHARD_BYTES,
      onShard: (shard) => ahead.add(shard),
    });
    await ahead.rest(new Map(info.shards.map(({ file, sha256 }) => [sha256, join(info.folder, file)])));
    await coming.settled();
    signal.throwIfAborted();
    await stage({ dataset: info, onProgress: (done, total) => live.uploaded(done, total) });
    whole();
  } catch (error) {
    const cause: unknown = others.signal.aborted ? others.signal.reason : error;
    // Also what still waits for the line.
    others.abort(cause);
    throw cause;
  } finally {
    await ahead.end();
    await coming.settled();
  }
}
