// The notebooks are executed in a copy, so that those in the repository stay as they are.
import { cpSync } from "node:fs";
import { join } from "node:path";
import { root } from "./stamp.mjs";

/** Copies notebooks/ to `folder`, without what an earlier run has left there. */
export function copyNotebooks(folder) {
  const left = (path) => /results$|checkpoints$/.test(path);
  cpSync(join(root, "notebooks"), folder, { recursive: true, filter: (path) => !left(path) });
}
