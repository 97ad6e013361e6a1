/** Pages to an HF `save_to_disk` folder: a stream in, sharded Arrow files out, memory bounded by one batch. */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatasetError, InterruptedError, QuotaError } from "../errors.js";
import { imageHash } from "../images.js";
import type { Fault } from "../protocol.js";
import { isFault, type Page, type PageOrFault } from "../sources/index.js";
import { ArrowFile, writeDatasetFiles } from "./arrow.js";
import type { Features, Row } from "./features.js";
import {
  beginJournal,
  finalName,
  forget,
  journalFiles,
  note,
  type Remains,
  readRemains,
  shardName,
  type WrittenRow,
} from "./journal.js";
import { type DatasetInfo, MANIFEST, readManifest } from "./manifest.js";
import { STATE_FILE } from "./state.js";

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
  /** Made if missing. What an interrupted write left in it is gone on with, if the same pages come again. */
  folder: string;
  /** Names what the pages depend on: what an interrupted write left is gone on with only if it had the same. */
  fingerprint?: string;
  /** A shard is closed when it has grown to so many bytes. Default 500 MB, as datasets does. */
  shardBytes?: number;
  /** Images in one record batch. Default 8 MiB: Arrow, copies and garbage come to several times that at the peak. */
  batchBytes?: number;
  signal?: AbortSignal;
  /** Called for every page and fault, before it is written. */
  onItem?: (item: PageOrFault) => void;
  /** Called when a shard is complete under its name; of one that was already, when its pages have come again. */
  onShard?: (shard: { index: number; file: string; bytes: number; sha256: string }) => void;
}

/** Faults that are kept one by one; all are counted. */
const KEPT_FAULTS = 1000;

/**
 * Writes a dataset and returns what is in it. Pages whose key was there already get a number added, so that keys are
 * unique. `items` is a list, or what makes one and is told which keys an interrupted write has left whole: it may give
 * those pages without their images. An earlier dataset of ours in the folder is replaced when the first page has come.
 * Throws DatasetError if the folder holds data that is not ours, QuotaError if the disk is full, InterruptedError if
 * `signal` aborts; what is complete stays.
 */
export async function writeDataset(
  items: AsyncIterable<PageOrFault> | ((have: (key: string) => boolean) => AsyncIterable<PageOrFault>),
  options: WriteOptions,
): Promise<DatasetInfo> {
  await mkdir(options.folder, { recursive: true });
  await refuseForeign(options.folder);
  const remains = typeof items === "function" ? await readRemains(options.folder, options.fingerprint) : undefined;
  const keys = new Set(remains?.rows.map(([key]) => key));
  const stream = typeof items === "function" ? items((key) => keys.has(key)) : items;
  try {
    return await write(stream, options, remains);
  } catch (error) {
    if (!(error instanceof OtherPages) || typeof items !== "function") throw error;
    // The source has changed since: what was written is of no use.
    return write(
      items(() => false),
      options,
      undefined,
    );
  }
}

/** The pages that come are not those that an interrupted write began with. */
class OtherPages extends Error {}

async function write(
  items: AsyncIterable<PageOrFault>,
  options: WriteOptions,
  remains: Remains | undefined,
): Promise<DatasetInfo> {
  const { folder } = options;
  const shardBytes = options.shardBytes ?? 500e6;
  const batchBytes = options.batchBytes ?? 8 << 20;
  const content = createHash("sha256");
  const keys = new Set<string>();
  const shards = [...(remains?.shards ?? [])];
  const faults: Fault[] = [];
  let faultCount = 0;
  let pages = 0;
  let file: ArrowFile | undefined;
  let hash = createHash("sha256");
  let batch: Row[] = [];
  let written: WrittenRow[] = [];
  let size = 0;

  let cleared = false;

  const clear = async () => {
    if (cleared) return;
    cleared = true;
    await clearFolder(options, remains);
  };
  const flush = async () => {
    if (batch.length === 0) return;
    file ??= await openShard();
    await file.write(batch);
    const full = file.bytes >= shardBytes;
    if (!full) await note(folder, { shard: shards.length, end: file.bytes, rows: written });
    else await closeShard();
    batch = [];
    written = [];
    size = 0;
  };
  const openShard = async () => {
    hash = createHash("sha256");
    const onBytes = (chunk: Uint8Array) => hash.update(chunk);
    const path = join(folder, shardName(shards.length));
    const open = remains?.open?.shard === shards.length ? remains.open : undefined;
    return open === undefined
      ? ArrowFile.create(path, PAGE_FEATURES, onBytes)
      : ArrowFile.resume(path, PAGE_FEATURES, open.bytes, onBytes);
  };
  const closeShard = async () => {
    // A shard that was left open by an earlier run, and gets no more pages, is closed all the same.
    if (file === undefined && remains?.open?.shard === shards.length) file = await openShard();
    if (file === undefined) return;
    await file.close();
    const shard = { file: shardName(shards.length), bytes: file.bytes, sha256: hash.digest("hex") };
    await note(folder, { shard: shards.length, end: shard.bytes, closed: shard.sha256, rows: written });
    written = [];
    file = undefined;
    options.onShard?.({ index: shards.length, ...shard });
    shards.push(shard);
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
      await clear();
      const row = rowOf(item, uniqueKey(item.key, keys));
      const known = remains?.rows[pages];
      if (known !== undefined && known[0] !== row.key) throw new OtherPages();
      pages += 1;
      // The image by its own hash: the same pages have the same name whatever the size of batches and shards.
      const image = known?.[1] ?? imageHash(item.image);
      const rest =
        known?.[2] ?? JSON.stringify([row.key, row.source, row.page, row.label, row.width, row.height, row.metadata]);
      content.update(Buffer.from(image, "hex"));
      content.update(rest);
      if (known !== undefined) {
        const index = remains?.ends.indexOf(pages) ?? -1;
        const shard = remains?.shards[index];
        if (shard !== undefined) options.onShard?.({ index, ...shard });
        continue;
      }
      // A source that leaves an image out must not do so for a page that is not there.
      if (item.image.length === 0) throw new OtherPages();
      batch.push(row);
      written.push([String(row.key), image, rest]);
      size += item.image.length;
      if (size >= batchBytes || batch.length >= 1000) await flush();
    }
    if (options.signal?.aborted) {
      await flush();
      throw new InterruptedError("The preparation of pages was interrupted.", "It goes on where it was.");
    }
    if (pages < (remains?.rows.length ?? 0)) throw new OtherPages();
    if (pages === 0 && (await isComplete(folder)))
      throw new DatasetError(
        `Not one page could be had${faults[0] === undefined ? "" : `: ${faults[0].source}: ${faults[0].reason}`} The dataset in ${folder} was left as it is.`,
        "Check the source; to have an empty dataset, give a new folder.",
      );
    await clear();
    await flush();
    await closeShard();
    for (const [i, shard] of shards.entries()) {
      const name = finalName(i, shards.length);
      await rename(join(folder, shard.file), join(folder, name));
      shard.file = name;
    }
    if (shards.length === 0) {
      // load_from_disk wants at least one file.
      const empty = await ArrowFile.create(join(folder, finalName(0, 1)), PAGE_FEATURES);
      await empty.close();
      shards.push({ file: finalName(0, 1), bytes: empty.bytes, sha256: "" });
    }
    const digest = content.digest("hex").slice(0, 32);
    const bytes = shards.reduce((sum, s) => sum + s.bytes, 0);
    await writeDatasetFiles(
      folder,
      PAGE_FEATURES,
      shards.map((s) => s.file),
      digest.slice(0, 16),
    );
    const readme = await readFile(join(folder, "README.md"), "utf8").catch(() => "");
    if (readme === "" || readme.includes(WRITTEN_BY))
      await writeFile(join(folder, "README.md"), card(pages, bytes, faultCount));
    const info = { hash: digest, pages, bytes, faults, faultCount, shards };
    // Last of all but the journal, without which nobody would know the files as ours: a folder with a manifest is complete.
    await writeFile(join(folder, `${MANIFEST}.part`), `${JSON.stringify(info)}\n`);
    await rename(join(folder, `${MANIFEST}.part`), join(folder, MANIFEST));
    await forget(folder);
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

/** What a README of ours says. */
const WRITTEN_BY = "Written by Yale Jobs.";

async function isComplete(folder: string): Promise<boolean> {
  return (await readManifest(folder).catch(() => undefined)) !== undefined;
}

/** Names of the files in a folder that are ours by their marks, the journal and the manifest; undefined without marks. */
async function ownFiles(folder: string): Promise<Set<string> | undefined> {
  const manifest = await readManifest(folder).catch(() => undefined);
  const journal = await journalFiles(folder);
  if (manifest === undefined && journal === undefined) return undefined;
  return new Set([...(manifest?.shards ?? []).map((s) => s.file), ...(journal ?? [])]);
}

/** Half-written files of ours, which the next write replaces. */
const OWN_PARTS: ReadonlySet<string> = new Set(
  ["journal.jsonl", "dataset_info.json", STATE_FILE, MANIFEST].map((name) => `${name}.part`),
);

/** Refuses a folder in which somebody else's data would be mixed with ours, or taken for it. Throws DatasetError. */
async function refuseForeign(folder: string): Promise<void> {
  const own = await ownFiles(folder);
  const foreign = (await readdir(folder)).filter(
    (name) =>
      (/\.(arrow|part)$/.test(name) && own?.has(name) !== true && !OWN_PARTS.has(name)) ||
      name === "dataset_dict.json" ||
      (own === undefined && name === STATE_FILE),
  );
  if (foreign.length > 0)
    throw new DatasetError(
      `${folder} holds data that Yale Jobs did not write: ${foreign.slice(0, 3).join(", ")}${foreign.length > 3 ? ", …" : ""}.`,
      "Give a folder that is new or empty.",
    );
}

/** Removes what earlier writes of ours left, but for what is gone on with. */
async function clearFolder({ folder, fingerprint }: WriteOptions, remains: Remains | undefined): Promise<void> {
  const keep = new Set(remains?.shards.map((s) => s.file));
  if (remains?.open !== undefined) keep.add(`${shardName(remains.open.shard)}.part`);
  const own = (await ownFiles(folder)) ?? new Set();
  const there = (await readdir(folder)).filter((name) => own.has(name) && !keep.has(name));
  if (remains === undefined) await beginJournal(folder, fingerprint, there);
  // The manifest goes first: a folder that has one is taken for complete.
  for (const name of [MANIFEST, STATE_FILE, ...there]) await rm(join(folder, name), { force: true });
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

function card(pages: number, bytes: number, faults: number): string {
  return `---
size_categories:
- ${pages < 1000 ? "n<1K" : pages < 10_000 ? "1K<n<10K" : pages < 100_000 ? "10K<n<100K" : "n>100K"}
task_categories:
- image-to-text
---

# Page images

${pages} pages, ${bytes} bytes${faults === 0 ? "" : `, ${faults} pages could not be had (see ${MANIFEST})`}. ${WRITTEN_BY}

\`\`\`python
from datasets import load_from_disk

pages = load_from_disk(".")
\`\`\`
`;
}
