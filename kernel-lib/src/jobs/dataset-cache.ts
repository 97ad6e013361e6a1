/** Datasets in this machine's cache, each in a folder named by its content. What cleans caches takes single files of them. */
import { readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type DatasetInfo, readManifest } from "../dataset/index.js";

/** Milliseconds after which nobody comes back to what was begun and never ended. */
const ABANDONED = 30 * 24 * 3_600_000;
/** Folders that are not datasets yet, or not any more. */
const UNFINISHED = /^\.(preparing|own|broken)-/;

/** The dataset in a folder; undefined if any of it is gone. */
export async function wholeDataset(folder: string): Promise<DatasetInfo | undefined> {
  try {
    const info = await readManifest(folder);
    await Promise.all(["state.json", "dataset_info.json"].map((name) => stat(join(folder, name))));
    const sizes = await Promise.all(info.shards.map(async ({ file }) => (await stat(join(folder, file))).size));
    return info.shards.every(({ bytes }, i) => bytes === sizes[i]) ? info : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Gives a dataset that was written to `work` its place in the cache, unless the same is there already: then that is
 * returned, whose shards may be cut in another way, and `work` goes.
 */
export async function keepDataset(cache: string, work: string, info: DatasetInfo): Promise<DatasetInfo> {
  const folder = join(cache, info.hash);
  try {
    await rename(work, folder);
    return { ...info, folder };
  } catch (error) {
    const there = await wholeDataset(folder);
    if (there !== undefined) {
      await rm(work, { recursive: true, force: true });
      return { ...info, folder, shards: there.shards, bytes: there.bytes };
    }
    // Moved first and removed later: meanwhile another process may put a whole one there.
    const broken = join(cache, `.broken-${info.hash}-${process.pid}-${Date.now()}`);
    await rename(folder, broken).catch(() => {
      throw error;
    });
    await rename(work, folder);
    await rm(broken, { recursive: true, force: true }).catch(() => undefined);
    return { ...info, folder };
  }
}

/** Removes what was begun long ago and never ended. Never throws: whoever calls has other work to do. */
export async function sweepDatasets(cache: string): Promise<void> {
  for (const name of await readdir(cache).catch(() => []))
    if (UNFINISHED.test(name)) {
      const path = join(cache, name);
      const changed = (await stat(path).catch(() => undefined))?.mtimeMs ?? Number.POSITIVE_INFINITY;
      if (changed < Date.now() - ABANDONED) await rm(path, { recursive: true, force: true }).catch(() => undefined);
    }
}
