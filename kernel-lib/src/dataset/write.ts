/** Pages to an HF `save_to_disk` folder: a stream in, sharded Arrow files out, memory bounded by one batch. */
import { createHash } from "node:crypto";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { InterruptedError, QuotaError } from "../errors.js";
import type { Fault } from "../protocol.js";
import { isFault, type Page, type PageOrFault } from "../sources/index.js";
import { ArrowFile, writeDatasetFiles } from "./arrow.js";
import type { Features, Row } from "./features.js";
import { type DatasetInfo, MANIFEST } from "./manifest.js";

/** Columns of a page dataset. */
export const PAGE_FEATURES: Features = {
  image: "image",
  key: "string",
  source: "string",
  page: "int64",
  label: "string",
  width: "int64",
  height: "int64",
  metadata: "string",
};

/** Options of {@link writeDataset}. */
export interface WriteOptions {
  /** Made if missing; what an interrupted write left in it is removed first. */
  folder: string;
  /** A shard is closed when it has grown to so many bytes. Default 500 MB, as datasets does. */
  shardBytes?: number;
  /** Images in one record batch. Default 8 MiB: Arrow, copies and garbage come to several times that at the peak. */
  batchBytes?: number;
  signal?: AbortSignal;
  /** Called for every page and fault, before it is written. */
  onItem?: (item: PageOrFault) => void;
  /** Called when a shard is complete under its name. */
  onShard?: (shard: { file: string; bytes: number; sha256: string }) => void;
}

/** Faults that are kept one by one; all are counted. */
const KEPT_FAULTS = 1000;

/**
 * Writes a dataset and returns what is in it. Pages whose key was there already get a number added, so that keys are
 * unique. Throws QuotaError if the disk is full, InterruptedError if `signal` aborts; what is complete stays.
 */
export async function writeDataset(items: AsyncIterable<PageOrFault>, options: WriteOptions): Promise<DatasetInfo> {
  const { folder } = options;
  const shardBytes = options.shardBytes ?? 500e6;
  const batchBytes = options.batchBytes ?? 8 << 20;
  await mkdir(folder, { recursive: true });
  for (const old of await readdir(folder))
    if (/\.(arrow|part)$/.test(old)) await rm(join(folder, old), { force: true });

  const content = createHash("sha256");
  const keys = new Set<string>();
  const shards: { file: string; bytes: number; sha256: string }[] = [];
  const faults: Fault[] = [];
  let faultCount = 0;
  let pages = 0;
  let file: ArrowFile | undefined;
  let hash = createHash("sha256");
  let batch: Row[] = [];
  let size = 0;

  const flush = async () => {
    if (batch.length === 0) return;
    if (file === undefined) {
      hash = createHash("sha256");
      file = await ArrowFile.create(join(folder, `part-${shards.length}.arrow`), PAGE_FEATURES, (c) => hash.update(c));
    }
    await file.write(batch);
    batch = [];
    size = 0;
    if (file.bytes >= shardBytes) await closeShard();
  };
  const closeShard = async () => {
    if (file === undefined) return;
    await file.close();
    const shard = { file: `part-${shards.length}.arrow`, bytes: file.bytes, sha256: hash.digest("hex") };
    file = undefined;
    shards.push(shard);
    options.onShard?.(shard);
  };

  try {
    for await (const item of items) {
      if (options.signal?.aborted) break;
      options.onItem?.(item);
      if (isFault(item)) {
        faultCount += 1;
        if (faults.length < KEPT_FAULTS) faults.push(item.fault);
        continue;
      }
      const row = rowOf(item, uniqueKey(item.key, keys));
      pages += 1;
      // The image by its own hash: the same pages have the same name whatever the size of batches and shards.
      content.update(createHash("sha256").update(item.image).digest());
      content.update(JSON.stringify([row.key, row.source, row.page, row.label, row.width, row.height, row.metadata]));
      batch.push(row);
      size += item.image.length;
      if (size >= batchBytes || batch.length >= 1000) await flush();
    }
    if (options.signal?.aborted) throw new InterruptedError("The preparation of pages was interrupted.");
    await flush();
    await closeShard();
    for (const [i, shard] of shards.entries()) {
      const name = `data-${pad(i)}-of-${pad(shards.length)}.arrow`;
      await rename(join(folder, shard.file), join(folder, name));
      shard.file = name;
    }
    if (shards.length === 0) {
      // load_from_disk wants at least one file.
      const empty = await ArrowFile.create(join(folder, "data-00000-of-00001.arrow"), PAGE_FEATURES);
      await empty.close();
      shards.push({ file: "data-00000-of-00001.arrow", bytes: empty.bytes, sha256: "" });
    }
    const digest = content.digest("hex").slice(0, 32);
    const bytes = shards.reduce((sum, s) => sum + s.bytes, 0);
    await writeDatasetFiles(
      folder,
      PAGE_FEATURES,
      shards.map((s) => s.file),
      digest.slice(0, 16),
    );
    await writeFile(join(folder, "README.md"), card(pages, bytes, faultCount));
    const info = { hash: digest, pages, bytes, faults, faultCount, shards };
    // Last of all: a folder with a manifest is complete.
    await writeFile(join(folder, `${MANIFEST}.part`), `${JSON.stringify(info)}\n`);
    await rename(join(folder, `${MANIFEST}.part`), join(folder, MANIFEST));
    return { folder, ...info };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOSPC" || code === "EDQUOT")
      throw new QuotaError(`The disk is full: ${folder} can't take more pages.`, "Make room and submit again.", {
        cause: error,
      });
    throw error;
  } finally {
    await (file as ArrowFile | undefined)?.abandon();
  }
}

function uniqueKey(key: string, keys: Set<string>): string {
  let unique = key;
  for (let n = 2; keys.has(unique); n++) unique = `${key} (${n})`;
  keys.add(unique);
  return unique;
}

function rowOf(page: Page, key: string): Row {
  return {
    image: page.image,
    key,
    source: page.source,
    page: page.page,
    label: page.label === undefined ? null : JSON.stringify(page.label),
    width: page.width,
    height: page.height,
    metadata: JSON.stringify(page.metadata),
  };
}

function pad(n: number): string {
  return String(n).padStart(5, "0");
}

function card(pages: number, bytes: number, faults: number): string {
  return `---
size_categories:
- ${pages < 1000 ? "n<1K" : pages < 10_000 ? "1K<n<10K" : pages < 100_000 ? "10K<n<100K" : "n>100K"}
task_categories:
- image-to-text
---

# Page images

${pages} pages, ${bytes} bytes${faults === 0 ? "" : `, ${faults} pages could not be had (see ${MANIFEST})`}. Written by Yale Jobs.

\`\`\`python
from datasets import load_from_disk

pages = load_from_disk(".")
\`\`\`
`;
}
