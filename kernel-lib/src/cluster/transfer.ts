/**
 * Trees of files to and from a cluster, over any transport: several channels for big files, packs for small ones. A file
 * gets its name only when it is whole and its SHA-256 here and there agree; what is there already is not sent again, and
 * after a cut line the same call goes on where it was.
 *
 * Memory: at most 10 MiB in flight in all lanes together, and 24 MiB for each of three packs where a disk is slow.
 */
import { fetchTree } from "./transfer-fetch.js";
import { copyTree } from "./transfer-local.js";
import { sendTree } from "./transfer-send.js";
import { Scope } from "./transfer-work.js";
import type { Transport } from "./transport.js";

/** How far a transfer is. What earlier calls brought counts as there. */
export interface TransferProgress {
  /** Files that are whole. */
  files: number;
  /** Bytes that have arrived. */
  bytes: number;
  /** Bytes of all files. */
  total: number;
}

/** Options of {@link uploadTree} and {@link downloadTree}. */
export interface TransferOptions {
  signal?: AbortSignal;
  /** Called ten times a second at most, and at the end. */
  onProgress?: (progress: TransferProgress) => void;
}

/** Options of {@link uploadTree}. */
export interface UploadOptions extends TransferOptions {
  /** Where journals of unfinished uploads are kept; default the cache folder. */
  journals?: string;
  /**
   * Big files of the folder that are on the far side already, by their relative paths: absolute paths, on the disk of
   * `remote`, from which they are moved into place. That they hold these bytes is the caller's word.
   */
  have?: ReadonlyMap<string, string>;
  /** SHA-256 of big files, by their relative paths ("" for a single file), where known: they are not hashed here again. */
  sha256?: ReadonlyMap<string, string>;
}

/** Options of {@link downloadTree}. */
export interface DownloadOptions extends TransferOptions {
  /** Relative paths of files that are left there. */
  exclude?: (path: string) => boolean;
}

/** What a transfer did. */
export interface TransferResult {
  /** Files that this call brought. */
  files: number;
  /** Bytes of all files that are there now. */
  bytes: number;
  /** Files that were there already. */
  skipped: number;
  /** Bytes that went over the line in this call, with what had to go again and what tar adds. */
  sent: number;
  /**
   * Who compared the bytes: `far` by a command of the far side; `here` by reading them back, where it has none, which
   * takes the way twice; `none` where nothing was sent, or was copied on one disk.
   */
  verified: "far" | "here" | "none";
}

/** Uploads under way, with everybody who wants to hear of them: two jobs on the same pages send them once. */
const RUNNING = new WeakMap<
  Transport,
  Map<string, { listeners: Set<(p: TransferProgress) => void>; end: Promise<unknown> }>
>();

/**
 * Brings a local folder, or one file, to the absolute path `remote`, which it gets only when it is complete: a folder that
 * is there is complete by definition, and nothing is sent; a file that is there is replaced unless its bytes are the
 * same. Modes are kept, times too where files travel in packs (up to 4 MiB). Symbolic links stay links; one that leads
 * out of the folder is an error.
 *
 * Throws TransferError, QuotaError (nothing or not all was sent), ConnectionError and InterruptedError; what arrived stays,
 * and the same call goes on. Several at once, also from several machines, don't disturb each other: one wins.
 */
export async function uploadTree(
  transport: Transport,
  local: string,
  remote: string,
  options: UploadOptions = {},
): Promise<TransferResult> {
  const running = RUNNING.get(transport) ?? new Map();
  RUNNING.set(transport, running);
  const listeners = new Set<(p: TransferProgress) => void>();
  if (options.onProgress !== undefined) listeners.add(options.onProgress);
  const scope = new Scope(options.signal);
  return scope.run(async () => {
    for (let other = running.get(remote); other !== undefined; other = running.get(remote)) {
      for (const listener of listeners) other.listeners.add(listener);
      await scope.race(other.end);
      for (const listener of listeners) other.listeners.delete(listener);
    }
    const tell = (progress: TransferProgress) => {
      for (const listener of listeners) listener(progress);
    };
    const work = (transport.kind === "local" ? copyTree : sendTree)(transport, local, remote, {
      ...options,
      scope,
      tell,
    });
    const mine = { listeners, end: work.catch(() => undefined) };
    running.set(remote, mine);
    try {
      return await work;
    } finally {
      running.delete(remote);
    }
  });
}

/**
 * Copies a far folder, or one file, to the path `local`. Files that exist with the same size and time, or the same bytes,
 * stay; one that is the beginning of what is there now is continued; one that differs is a TransferError and stays,
 * unless it is a `.json` (these describe what else is there, and change with it). Unfinished files wait in the folder
 * `.part` beside the others, and the same call goes on with them. Links, devices, and everything that is called `….part`
 * are left there; a name that leads out of the folder is refused.
 *
 * Throws TransferError, QuotaError (this disk is full), ConnectionError and InterruptedError.
 */
export async function downloadTree(
  transport: Transport,
  remote: string,
  local: string,
  options: DownloadOptions = {},
): Promise<TransferResult> {
  const scope = new Scope(options.signal);
  return scope.run(() => fetchTree(transport, remote, local, { ...options, scope }));
}
