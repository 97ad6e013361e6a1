/** Uploads where the cluster is this machine: a tree is placed by links or copies, and gets its name by a rename. */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs/promises";
import { dirname, join } from "node:path";
import { QuotaError } from "../errors.js";
import type { TransferResult } from "./transfer.js";
import type { SendOptions } from "./transfer-send.js";
import { localTree } from "./transfer-tree.js";
import { eachOf, Meter } from "./transfer-work.js";
import type { Transport } from "./transport.js";

/** Files at once. */
const AT_ONCE = 8;

/** See `uploadTree`. */
export async function copyTree(
  _transport: Transport,
  from: string,
  to: string,
  { scope, tell }: SendOptions,
): Promise<TransferResult> {
  const tree = await localTree(from);
  const meter = new Meter(tree.bytes, tell);
  const single = tree.files[0]?.path === "";
  const there = await fs.stat(to).catch(() => undefined);
  if (there !== undefined && !single) {
    Object.assign(meter, { files: tree.files.length, bytes: tree.bytes });
    meter.tell();
    return { files: 0, bytes: tree.bytes, skipped: tree.files.length, sent: 0, verified: "none" };
  }
  const part = `${to}.${randomBytes(6).toString("hex")}.part`;
  try {
    await fs.mkdir(single ? dirname(to) : part, { recursive: true, mode: 0o700 });
    for (const folder of tree.folders) await fs.mkdir(join(part, folder), { mode: 0o700 });
    await eachOf(
      tree.files,
      AT_ONCE,
      async (file) => {
        await linkOrCopy(join(from, file.path), join(part, file.path));
        meter.files += 1;
        meter.there(file.size);
      },
      scope.signal,
    );
    for (const { path, target } of tree.links) await fs.symlink(target, join(part, path));
    await fs.rename(part, to).catch(async (error: unknown) => {
      // Somebody else brought the same content meanwhile.
      if (single || (await fs.stat(to).catch(() => undefined)) === undefined) throw error;
    });
  } catch (error) {
    throw diskFull(error, to) ?? error;
  } finally {
    await fs.rm(part, { recursive: true, force: true });
  }
  meter.tell();
  return { files: tree.files.length, bytes: tree.bytes, skipped: 0, sent: 0, verified: "none" };
}

/** A QuotaError if this machine's disk, or a quota on it, is full. */
export function diskFull(error: unknown, path: string): QuotaError | undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ENOSPC" && code !== "EDQUOT") return undefined;
  return new QuotaError(
    `${code === "EDQUOT" ? "Your quota on this machine" : "The disk of this machine"} is full at ${path}.`,
    "Make room, then try again: what arrived stays.",
    { cause: error },
  );
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  // Datasets and runners are never changed, so one copy on the disk serves cache and job.
  await fs.link(from, to).catch(() => fs.copyFile(from, to));
}
