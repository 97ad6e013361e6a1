/** The manifest of a dataset of ours: written last, so that a folder that has one is complete. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DatasetError } from "../errors.js";
import type { Fault } from "../protocol.js";

/** Its name in the dataset folder. */
export const MANIFEST = "yale-dataset.json";

/** What is in a dataset folder. */
export interface DatasetInfo {
  folder: string;
  /** Names the content: keys, images and columns; the same on every machine and for every shard size. */
  hash: string;
  pages: number;
  bytes: number;
  /** The first 1,000 pages that could not be had. */
  faults: Fault[];
  faultCount: number;
  shards: { file: string; bytes: number; sha256: string }[];
}

/** Reads the manifest. Throws DatasetError if the folder is not a complete dataset of ours. */
export async function readManifest(folder: string): Promise<DatasetInfo> {
  try {
    const info = JSON.parse(await readFile(join(folder, MANIFEST), "utf8")) as Omit<DatasetInfo, "folder">;
    return { folder, ...info };
  } catch (cause) {
    throw new DatasetError(`${folder} is not a complete dataset of Yale Jobs.`, "Prepare it again.", { cause });
  }
}
