/** Datasets: pages to HF `save_to_disk` folders, and rows back out. */
export { type DatasetInfo, MANIFEST, readManifest } from "./manifest.js";
export {
  type ResultRow,
  readPage,
  readPages,
  readPagesByKey,
  readResult,
  readResults,
  readRows,
  shardFiles,
} from "./read.js";
export { composeShards, shardFolder } from "./shards.js";
export { PAGE_FEATURES, type WriteOptions, writeDataset } from "./write.js";
