/** An upload from its beginning to the rename that ends it. */
import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { join, posix, resolve } from "node:path";
import { isYaleError, QuotaError, TransferError } from "../errors.js";
import { cacheDir } from "../paths.js";
import type { TransferProgress, TransferResult, UploadOptions } from "./transfer.js";
import { FarHashes, FarSide } from "./transfer-far.js";
import { BLOCK, hashOf, type Moving, sendFile } from "./transfer-file.js";
import { Journal } from "./transfer-journal.js";
import { Lanes } from "./transfer-lanes.js";
import { type Cut, cut, farHashes, localHashes, packHash, sendPack, sizeOf } from "./transfer-pack.js";
import { farTree, localTree, type Tree, type TreeFile } from "./transfer-tree.js";
import { amount, eachOf, Meter, type Scope } from "./transfer-work.js";
import { isMissing, type Sftp, type Transport } from "./transport.js";

/** Packs and big files under way at once: while one waits for its hash, others send. */
const AT_ONCE = 3;
/** How often a file of a pack is sent that arrives with other bytes. */
const TRIES = 3;
/** Folders made, and links, at once. */
const FOLDERS = 32;

/** Bytes and files that are free. */
type Room = NonNullable<Awaited<ReturnType<Sftp["free"]>>>;

/** What {@link sendTree} is given. */
export interface SendOptions extends Omit<UploadOptions, "signal" | "onProgress"> {
  scope: Scope;
  tell: (progress: TransferProgress) => void;
}

/** See `uploadTree`. */
export async function sendTree(
  transport: Transport,
  local: string,
  remote: string,
  { scope, tell, journals, have, sha256 }: SendOptions,
): Promise<TransferResult> {
  const folder = posix.dirname(remote);
  const sftp = await scope.race(transport.sftp());
  // All that needs nothing of one another is asked at once: each costs a round trip or more.
  const [tree, there, far, free] = await scope.race(
    Promise.all([localTree(local), statIfThere(sftp, remote), FarSide.of(transport), spaceAt(sftp, folder)]),
  );
  const single = tree.files[0]?.path === "" ? tree.files[0] : undefined;
  const meter = new Meter(tree.bytes, tell);
  const whole = (sent: number): TransferResult => {
    Object.assign(meter, { files: tree.files.length, bytes: tree.bytes });
    meter.tell();
    const [files, skipped] = sent > 0 ? [tree.files.length, 0] : [0, tree.files.length];
    return {
      files,
      bytes: tree.bytes,
      skipped,
      sent,
      verified: sent === 0 ? "none" : far.hasher === undefined ? "here" : "far",
    };
  };
  const complete = async (stat: { type: string; size: number } | undefined): Promise<boolean> => {
    if (stat === undefined) return false;
    if (single === undefined) return true;
    if (stat.type !== "file" || stat.size !== single.size) return false;
    const range = { path: remote, at: 0, length: single.size, whole: true };
    const [[hash], own] = await Promise.all([
      far.hashRanges(sftp, [range], scope.signal),
      hashFile(local, single.size),
    ]);
    return hash === own;
  };
  const journal = Journal.open(
    journals ?? join(cacheDir(), "transfers"),
    resolve(local),
    remote,
    createHash("sha256").update(`1 ${BLOCK} ${tree.identity}`).digest("hex"),
  );
  try {
    if (await complete(there)) {
      journal.remove();
      return whole(0);
    }
    const part = partName(remote, journal.token);
    const plan = cut(tree.files);
    const moved = await scope.race(moveInto(part, sftp, plan, journal, have));
    const held = async () => {
      if ((await statIfThere(sftp, part)) === undefined) return { bytes: 0, files: 0 };
      const found = await farTree(far, sftp, part, () => false, scope.signal);
      return { bytes: found.bytes, files: found.files.length + found.folders.length };
    };
    await scope.race(checkRoom(folder, tree, free, held));
    const [lanes] = await Promise.all([
      scope.race(Lanes.open(transport, "up")),
      single === undefined ? makeFolders(sftp, part, tree, scope) : scope.race(sftp.mkdir(folder, 0o700)),
    ]);
    const moving: Moving = { far, lanes, scope, meter, hashes: new FarHashes(far, sftp, scope.signal) };
    try {
      await sendAll(moving, { local, part, plan, journal, moved, sha256 });
      await linkAll(sftp, part, tree, scope);
      await scope.race(sftp.rename(part, remote));
    } catch (error) {
      scope.fail(error);
      const fault = scope.signal.reason as unknown;
      if (isYaleError(fault) && fault.code !== "transfer") throw fault;
      // Somebody else brought the same meanwhile, and cleared away what is not needed any more.
      if (single !== undefined || (await statIfThere(sftp, remote)) === undefined)
        throw await far.explain(fault, sftp, folder, Math.max(0, tree.bytes - meter.bytes));
    }
    journal.remove();
    if (single === undefined) await clear(far, remote);
    return whole(meter.sent);
  } finally {
    journal.close();
  }
}

/** Everything into the part folder, and compared there. */
async function sendAll(
  moving: Moving,
  {
    local,
    part,
    plan,
    journal,
    moved,
    sha256,
  }: {
    local: string;
    part: string;
    plan: Cut;
    journal: Journal;
    moved: Set<number>;
    sha256: UploadOptions["sha256"];
  },
): Promise<void> {
  const { scope, meter } = moving;
  const bigger = async (index: number, file: TreeFile) => {
    if (moved.has(index)) meter.there(file.size);
    else
      await sendFile(moving, {
        index,
        local: join(local, file.path),
        remote: posix.join(part, file.path),
        file,
        journal,
        sha256: sha256?.get(file.path) || undefined,
      });
    meter.files += 1;
  };
  const pack = async ({ index, files }: Cut["packs"][number]) => {
    const known = journal.packs.get(index);
    const list = `.${journal.token}.${index}`;
    let here: string[] = [];
    let there: string[] = [];
    if (known !== undefined || journal.begun.has(index)) {
      there = await farHashes(moving, part, files);
      here = packHash(there) === known ? there : await localHashes(local, files);
    }
    const wrong = () =>
      files.flatMap((file, i) => (here[i] !== undefined && here[i] === there[i] ? [] : [{ file, i }]));
    let missing = wrong();
    if (known !== undefined && missing.length > 0) journal.forget({ pack: index });
    const kept = files.filter((_, i) => here[i] !== undefined && here[i] === there[i]);
    if (known === undefined && here.length > 0) await settle(kept, list);
    meter.there(sizeOf(kept));
    for (let tries = 1; missing.length > 0; tries++) {
      if (tries > TRIES)
        throw new TransferError(
          `${posix.join(part, missing[0]?.file.path ?? "")} arrived with other bytes than were sent, ${TRIES} times.`,
          "Try again later; if it stays so, the far disk is at fault.",
        );
      if (tries === 1) journal.begin(index);
      const sent = await sendPack(moving, {
        from: local,
        to: part,
        files: missing.map(({ file }) => file),
        list,
      });
      for (const [k, { i }] of missing.entries()) {
        here[i] = sent.here[k] ?? "";
        there[i] = sent.there[k] ?? "";
      }
      missing = wrong();
      meter.bytes -= sizeOf(missing.map(({ file }) => file));
    }
    const hash = packHash(here);
    if (hash !== known) journal.pack(index, hash);
    meter.files += files.length;
  };
  /** What a cut may have left undone: modes come after bytes, and the list of names goes last. */
  const settle = async (kept: readonly TreeFile[], list: string) => {
    const { sftp } = moving.lanes;
    await eachOf(kept, FOLDERS, (file) => sftp.chmod(posix.join(part, file.path), file.mode), scope.signal);
    await sftp.unlink(posix.join(part, list)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  };
  // Where a pack was cut again and again, the line is left to one, so that some of it gets through.
  const often = [...journal.begun].some(([index, times]) => times > 1 && !journal.packs.has(index));
  const tasks = [
    ...plan.packs.map((p) => () => pack(p)),
    ...plan.single.map(
      ({ index, file }) =>
        () =>
          bigger(index, file),
    ),
  ];
  await scope.all(tasks, often ? 1 : AT_ONCE);
}

/** Moves what is on the far side already into the part folder; returns the indexes of these files. */
async function moveInto(
  part: string,
  sftp: Sftp,
  plan: Cut,
  journal: Journal,
  have: UploadOptions["have"],
): Promise<Set<number>> {
  const moved = new Set<number>();
  if (have === undefined || have.size === 0) return moved;
  await eachOf(plan.single, FOLDERS, async ({ index, file }) => {
    const from = have.get(file.path);
    if (from === undefined || journal.marks.has(index)) return;
    const to = posix.join(part, file.path);
    await sftp.mkdir(posix.dirname(to), 0o700);
    try {
      await sftp.rename(from, to);
    } catch (error) {
      // Another upload took it; this one sends its own.
      if (isMissing(error)) return;
      throw error;
    }
    moved.add(index);
    // If this call is cut short, the next one compares its bytes as it does with any that arrived.
    journal.mark(index, file.size, true);
  });
  return moved;
}

/** Throws QuotaError if what is still to be sent does not fit at `folder`; `held` tells what unfinished parts take. */
async function checkRoom(
  folder: string,
  tree: Tree,
  free: Room | undefined,
  held: () => Promise<{ bytes: number; files: number }>,
): Promise<void> {
  let bytes = tree.bytes;
  let files = tree.files.length + tree.folders.length + tree.links.length;
  if (free === undefined || (free.bytes >= bytes && free.files >= files)) return;
  // What an earlier call left is kept, or makes room for what replaces it.
  const there = await held();
  bytes = Math.max(0, bytes - there.bytes);
  files = Math.max(0, files - there.files);
  const fix = "Make room there, or use another job_dir. Nothing was sent.";
  if (free.bytes < bytes)
    throw new QuotaError(`${amount(bytes)} are to be sent and ${amount(free.bytes)} are free at ${folder}.`, fix);
  if (free.files < files)
    throw new QuotaError(`${files} files are to be made and ${free.files} are allowed at ${folder}.`, fix);
}

/** What the disk of a folder has free; that of the nearest folder above it if it is yet to be made. */
async function spaceAt(sftp: Sftp, folder: string): Promise<Room | undefined> {
  try {
    return await sftp.free(folder);
  } catch (error) {
    if (!isMissing(error) || folder === "/") throw error;
    return spaceAt(sftp, posix.dirname(folder));
  }
}

async function makeFolders(sftp: Sftp, part: string, tree: Tree, scope: Scope): Promise<void> {
  await scope.race(sftp.mkdir(part, 0o700));
  // A folder comes with its parents: only the last ones need be asked for.
  const parents = new Set(tree.folders.map((f) => posix.dirname(f)));
  const last = tree.folders.filter((f) => !parents.has(f));
  await scope.race(eachOf(last, FOLDERS, (f) => sftp.mkdir(posix.join(part, f), 0o700), scope.signal));
}

async function linkAll(sftp: Sftp, part: string, tree: Tree, scope: Scope): Promise<void> {
  const link = async ({ path, target }: Tree["links"][number]) => {
    const at = posix.join(part, path);
    try {
      await sftp.symlink(target, at);
    } catch (error) {
      // It is there from an earlier call.
      if ((await sftp.readlink(at).catch(() => undefined)) !== target) throw error;
    }
  };
  await scope.race(eachOf(tree.links, FOLDERS, link, scope.signal));
}

/** Removes what others began of a tree that is complete. Where no command can be run, it stays. */
async function clear(far: FarSide, remote: string): Promise<void> {
  // The token is spelled out, so that the pattern names nothing but what these lines make.
  const pattern = "[0-9a-f]".repeat(12);
  const begin = partName(remote, "").slice(0, -".part".length);
  await far.run(`rm -rf "$1"${pattern}.part`, [begin], { timeout: 600_000 }).catch(() => undefined);
}

/** Name under which something grows, no longer than a file system takes (255 bytes). */
function partName(remote: string, token: string): string {
  let base = posix.basename(remote);
  while (Buffer.byteLength(base) > 200) base = [...base].slice(0, -1).join("");
  return posix.join(posix.dirname(remote), `${base}.${token}.part`);
}

async function hashFile(path: string, size: number): Promise<string | undefined> {
  const file = await fs.open(path, "r");
  try {
    return await hashOf(file, { at: 0, length: size });
  } finally {
    await file.close();
  }
}

async function statIfThere(sftp: Sftp, path: string) {
  try {
    return await sftp.stat(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
