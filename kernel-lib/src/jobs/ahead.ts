/**
 * Shards of a dataset that go to the cluster while the rest is still prepared. They wait there under the names of their
 * content, for whichever job brings the whole (stage.ts), which moves them into place. Nothing here fails a job: what did
 * not go ahead goes when all pages are prepared.
 */
import { existsSync } from "node:fs";
import { posix } from "node:path";
import { uploadTree } from "../cluster/transfer.js";
import { isMissing, type Sftp, type Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { jobRoot } from "./job-root.js";
import { isOfTheLine } from "./over-line.js";
import type { ReadyShard } from "./prepare.js";
import { checkQuota } from "./site-quota.js";

/** Folder beside the datasets, in which shards wait. */
const FOLDER = "datasets/.ahead";
/** Bytes from which a shard is sent by itself; smaller ones share their round trips with the rest of the dataset. */
const LEAST = 8 << 20;
/** Shards under way at once: while one is compared and named, the other keeps the line full. */
const AT_ONCE = 2;
/** Milliseconds after which a shard that no job came for is removed. */
const KEPT = 7 * 86_400_000;

/** What {@link ShardsAhead} works with. */
export interface AheadOptions {
  cluster: ClusterConfig;
  /** Does work with the line to the cluster; rejects where that is not there and is not waited for. */
  over: (work: (transport: Transport) => Promise<void>) => Promise<void>;
  signal: AbortSignal;
  /** For a job that waits for each of them, small ones too. */
  job?: {
    /** Where a shard goes, as an absolute path. */
    place: (shard: ReadyShard) => Promise<string>;
    /** Called when it is there. */
    arrived: (shard: ReadyShard) => void;
  };
}

/** Sends shards as they are given. */
export class ShardsAhead {
  readonly #options: AheadOptions;
  readonly #queue: ReadyShard[] = [];
  readonly #sent = { bytes: 0, files: 0 };
  readonly #work = new Set<Promise<void>>();
  #ended = false;
  #isMoved: (paths: ReadonlyMap<string, string>) => void = () => {};
  /** Resolves when all pages are prepared: with where the shards lie from then on, by their hash. */
  readonly #moved = new Promise<ReadonlyMap<string, string>>((resolve) => {
    this.#isMoved = resolve;
  });

  constructor(options: AheadOptions) {
    this.#options = options;
  }

  /** Takes in a shard. Never throws. */
  add(shard: ReadyShard): void {
    if (this.#ended || (shard.bytes < LEAST && this.#options.job === undefined)) return;
    this.#queue.push(shard);
    if (this.#work.size === AT_ONCE) return;
    const work = this.#send().finally(() => this.#work.delete(work));
    this.#work.add(work);
  }

  /**
   * All pages are prepared, and the shards have moved to `paths`, by their hash: one that is not among them, since the
   * same pages were prepared before and divided otherwise, goes with the whole. Resolves when all have arrived or failed.
   */
  async rest(paths: ReadonlyMap<string, string>): Promise<void> {
    this.#isMoved(paths);
    await Promise.all(this.#work);
  }

  /** Begins no other, and resolves when those that are under way have arrived or failed. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#isMoved(new Map());
    await Promise.all(this.#work);
  }

  async #send(): Promise<void> {
    for (let shard = this.#queue.shift(); shard !== undefined && !this.#ended; shard = this.#queue.shift())
      try {
        await this.#one(shard);
      } catch (error) {
        // A line comes back. What else there is the job will meet itself, and tell.
        if (!isOfTheLine(error)) this.#ended = true;
      }
  }

  async #one(shard: ReadyShard): Promise<void> {
    const { cluster, over, signal, job } = this.#options;
    this.#sent.bytes += shard.bytes;
    this.#sent.files += 1;
    const place = await job?.place(shard);
    await over(async (transport) => {
      if (transport.kind === "local" && job === undefined) {
        this.#ended = true;
        return;
      }
      const root = await jobRoot(transport, await transport.sftp(), cluster.jobDir);
      await checkQuota(cluster, transport, root, this.#sent);
      const there = place ?? posix.join(root, FOLDER, shard.sha256);
      const options = { signal, sha256: new Map([["", shard.sha256]]) };
      await uploadTree(transport, shard.path, there, options).catch(async (error: unknown) => {
        if (job === undefined || existsSync(shard.path)) throw error;
        // All pages are prepared by now, and the shard has gone where the dataset is.
        const path = (await this.#moved).get(shard.sha256);
        if (path === undefined) throw error;
        await uploadTree(transport, path, there, options);
      });
    });
    job?.arrived(shard);
  }
}

/** Which of these shards wait on the cluster, by their file names. Those that nobody came for are removed. */
export async function shardsAhead(
  sftp: Sftp,
  root: string,
  shards: readonly { file: string; bytes: number; sha256: string }[],
): Promise<Map<string, string>> {
  const folder = posix.join(root, FOLDER);
  const found = new Map<string, string>();
  let waiting: Awaited<ReturnType<Sftp["readdir"]>>;
  try {
    waiting = await sftp.readdir(folder);
  } catch (error) {
    if (isMissing(error)) return found;
    throw error;
  }
  for (const { name, stat } of waiting) {
    const shard = shards.find((s) => s.sha256 === name && s.bytes === stat.size);
    if (shard !== undefined) found.set(shard.file, posix.join(folder, name));
    else if (stat.mtime < Date.now() - KEPT) await sftp.unlink(posix.join(folder, name)).catch(() => undefined);
  }
  return found;
}
