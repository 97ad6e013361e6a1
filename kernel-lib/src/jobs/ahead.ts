/**
 * Shards of a dataset that go to the cluster while the rest is still prepared. They wait there under the names of their
 * content, for whichever job brings the whole (stage.ts), which moves them into place. Nothing here fails a job: what did
 * not go ahead goes when all pages are prepared.
 */
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

/** Sends shards as they are given. */
export class ShardsAhead {
  readonly #cluster: ClusterConfig;
  readonly #open: () => Promise<Transport>;
  readonly #signal: AbortSignal;
  readonly #queue: ReadyShard[] = [];
  readonly #sent = { bytes: 0, files: 0 };
  readonly #work = new Set<Promise<void>>();
  #ended = false;

  /** `open` gives the line to the cluster if it is there without asking anybody again. */
  constructor(cluster: ClusterConfig, open: () => Promise<Transport>, signal: AbortSignal) {
    this.#cluster = cluster;
    this.#open = open;
    this.#signal = signal;
  }

  /** Takes in a shard. Never throws. */
  add(shard: ReadyShard): void {
    if (this.#ended || shard.bytes < LEAST) return;
    this.#queue.push(shard);
    if (this.#work.size === AT_ONCE) return;
    const work = this.#send().finally(() => this.#work.delete(work));
    this.#work.add(work);
  }

  /** Begins no other, and resolves when those that are under way have arrived or failed. */
  async end(): Promise<void> {
    this.#ended = true;
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

  async #one({ path, bytes, sha256 }: ReadyShard): Promise<void> {
    const transport = await this.#open();
    if (transport.kind === "local") {
      this.#ended = true;
      return;
    }
    const root = await jobRoot(transport, await transport.sftp(), this.#cluster.jobDir);
    this.#sent.bytes += bytes;
    this.#sent.files += 1;
    await checkQuota(this.#cluster, transport, root, this.#sent);
    await uploadTree(transport, path, posix.join(root, FOLDER, sha256), { signal: this.#signal });
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
