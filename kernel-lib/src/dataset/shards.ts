/**
 * The output of an array job: a folder `shard-<n>` for each task, and above them a state.json that lists the files of all,
 * so that the whole is one dataset to `load_from_disk` and to us. Tasks write it as they go, side by side.
 */
import { randomBytes } from "node:crypto";
import { readdir, readFile, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { STATE_FILE, stateText } from "./state.js";

/** Name of a task's folder inside the output. */
export function shardFolder(index: number): string {
  return `shard-${index}`;
}

/**
 * Lists what the tasks have written so far as one dataset, in the order of the shards. Nothing happens where there are
 * no shards with results. Any number of processes may do this at once.
 */
export async function composeShards(folder: string): Promise<void> {
  let files = await filesOf(folder);
  // Whoever renames last may have looked first: it looks again afterwards.
  for (let again = 0; files.length > 0 && again < 50; again++) {
    const info = await readFile(join(folder, (files[0] ?? "").split("/")[0] ?? "", "dataset_info.json"), "utf8");
    await whole(folder, "dataset_info.json", info);
    await whole(folder, STATE_FILE, stateText(files));
    const now = await filesOf(folder);
    if (now.join("\n") === files.join("\n")) return;
    files = now;
  }
}

/** Files of all shards, relative to the output. */
async function filesOf(folder: string): Promise<string[]> {
  const shards = (await readdir(folder).catch(() => []))
    .map((name) => /^shard-(\d{1,5})$/.exec(name))
    .filter((m) => m !== null)
    .sort((a, b) => Number(a[1]) - Number(b[1]));
  const found: string[] = [];
  for (const [name] of shards) {
    const text = await readFile(join(folder, name, "state.json"), "utf8").catch(() => undefined);
    if (text === undefined) continue;
    const state = JSON.parse(text) as { _data_files: { filename: string }[] };
    found.push(...state._data_files.map((f) => `${name}/${basename(f.filename)}`));
  }
  return found;
}

/** Several tasks write the same names: each has a file of its own until the rename. */
async function whole(folder: string, name: string, text: string): Promise<void> {
  const part = join(folder, `${name}.${randomBytes(4).toString("hex")}.part`);
  await writeFile(part, text);
  await rename(part, join(folder, name));
}
