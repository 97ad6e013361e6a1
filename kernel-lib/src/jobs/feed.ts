/**
 * Brings the pages of a job that is submitted on the first of them (`startEarly`): shard by shard while they are prepared,
 * and at the end the whole dataset, as any job has it.
 */
import { join } from "node:path";
import type { Transport } from "../cluster/transport.js";
import type { DatasetInfo } from "../dataset/index.js";
import { ShardsAhead } from "./ahead.js";
import { ComingPages, clearComing, EARLY_SHARD_BYTES, listComing, listedComing } from "./coming.js";
import type { LiveJob } from "./live.js";
import type { ResolvedJob } from "./plan.js";
import type { PrepareOptions } from "./prepare.js";
import { stageJob } from "./stage.js";

/** What {@link feed} works with. */
export interface FeedOptions {
  /** Does work with the line to the cluster, and again when it comes back. */
  over: <T>(work: (transport: Transport) => Promise<T>) => Promise<T>;
  signal: AbortSignal;
  /** Prepares the pages, and says so in the record. */
  prepare: (options: PrepareOptions) => Promise<DatasetInfo>;
  /** Called when the job may be submitted. */
  onFirst: () => void;
}

/** Resolves when all pages are there. Rejects with why they will not be, and has ended whatever it began by then. */
export async function feed(job: ResolvedJob, live: LiveJob, options: FeedOptions): Promise<void> {
  const { record } = live;
  const { over, signal } = options;
  const { id } = record;
  const stage = (more: Parameters<typeof stageJob>[2]) =>
    over(async (transport) => {
      record.jobDir = await stageJob(transport, job, more);
    });
  const before = record.coming === true ? await over((t) => listedComing(t, record.jobDir ?? "")) : [];
  const coming = new ComingPages(async (shards) => {
    if (record.jobDir === undefined) await stage({ id, coming: true, signal, onProgress: () => undefined });
    await over((transport) => listComing(transport, record.jobDir ?? "", shards));
    record.coming = true;
    live.changed(true);
  }, before);
  coming.first.then(options.onFirst, () => undefined);
  const ahead = new ShardsAhead({ cluster: job.cluster, over, signal, onArrived: (shard) => coming.arrived(shard) });
  try {
    const info = await options.prepare({
      signal,
      shardBytes: EARLY_SHARD_BYTES,
      onShard: (shard) => ahead.add(shard),
    });
    await ahead.rest(info.shards.map(({ file }) => join(info.folder, file)));
    await coming.settled();
    await stage({
      id,
      dataset: info,
      signal,
      onProgress: (done, total) => {
        record.progress = { ...record.progress, uploadedBytes: done, uploadTotalBytes: total };
        live.changed();
      },
    });
    if (record.coming === true)
      await over(async (transport) => clearComing(await transport.sftp(), record.jobDir ?? "")).catch(() => undefined);
    delete record.coming;
    live.changed(true);
    options.onFirst();
  } finally {
    await ahead.end();
  }
}
