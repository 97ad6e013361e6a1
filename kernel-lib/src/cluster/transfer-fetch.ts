/** A download from its listing to the renames that end it. */
import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import { dirname, join, posix } from "node:path";
import { QuotaError, TransferError } from "../errors.js";
import { dropLock, takeLock } from "../process.js";
import type { DownloadOptions, TransferResult } from "./transfer.js";
import { FarHashes, FarSide } from "./transfer-far.js";
import { hashOf, type Moving, receiveFile } from "./transfer-file.js";
import { Lanes } from "./transfer-lanes.js";
import { diskFull } from "./transfer-local.js";
import { cut, receivePack } from "./transfer-pack.js";
import { farTree, type TreeFile } from "./transfer-tree.js";
import { amount, eachOf, Meter, type Scope } from "./transfer-work.js";
import type { Transport } from "./transport.js";

/** Packs and big files under way at once. */
const AT_ONCE = 3;
/** Local files looked at, or given their names, at once. */
const LOOKS = 16;

/** A file that is to come; `grown` if what is here is its beginning. */
interface Wanted {
  file: TreeFile;
  grown: boolean;
}

/** See `downloadTree`. */
export async function fetchTree(
  transport: Transport,
  remote: string,
  local: string,
  { scope, exclude, onProgress }: DownloadOptions & { scope: Scope },
): Promise<TransferResult> {
  const sftp = await scope.race(transport.sftp());
  const far = transport.kind === "local" ? undefined : await scope.race(FarSide.of(transport));
  const tree = await scope.race(farTree(far, sftp, remote, (path) => exclude?.(path) === true, scope.signal));
  const meter = new Meter(tree.bytes, onProgress);
  const hashes = far === undefined ? undefined : new FarHashes(far, sftp, scope.signal);
  const farHash = async (path: string, length: number) => {
    const at = { path: posix.join(remote, path), at: 0, length };
    return hashes === undefined ? hashLocal(at.path, length) : hashes.of(at);
  };
  const wanted = await decide(tree.files, local, farHash, scope);
  const skipped = tree.files.length - wanted.length;
  for (const { file } of wanted) meter.bytes -= file.size;
  Object.assign(meter, { files: skipped, bytes: meter.bytes + tree.bytes });

  const single = tree.files[0]?.path === "";
  const home = new Home(single ? dirname(local) : local, remote);
  try {
    await home.open(tree.folders);
    await checkDisk(home, wanted);
    if (wanted.length > 0) {
      if (far === undefined || hashes === undefined) await copyAll(remote, local, wanted, home, meter, scope);
      else {
        const lanes = await scope.race(Lanes.open(transport, "down"));
        await fetchAll({ far, lanes, scope, meter, hashes }, { remote, local, wanted, home });
      }
    }
    await home.close();
  } catch (error) {
    scope.fail(error);
    home.leave();
    const fault: unknown = scope.signal.reason;
    throw diskFull(fault, local) ?? fault;
  }
  meter.tell();
  const verified = meter.sent === 0 ? "none" : far?.hasher === undefined ? "here" : "far";
  return { files: wanted.length, bytes: tree.bytes, skipped, sent: meter.sent, verified };
}

/** Which files are to come. Throws TransferError, before anything is written, if one stands in the way. */
async function decide(
  files: readonly TreeFile[],
  local: string,
  farHash: (path: string, length: number) => Promise<string>,
  scope: Scope,
): Promise<Wanted[]> {
  const wanted = new Map<TreeFile, Wanted>();
  await eachOf(
    files,
    LOOKS * 16,
    async (file) => {
      const path = localPath(local, file);
      const here = await fs.lstat(path).catch(() => undefined);
      if (here === undefined) return void wanted.set(file, { file, grown: false });
      const replaced = file.path.endsWith(".json") && !here.isDirectory();
      if (here.isFile() && here.size <= file.size) {
        const sameTime = Math.floor(here.mtimeMs / 1000) === Math.floor(file.mtime / 1000);
        if (here.size === file.size && sameTime && !replaced) return;
        const same =
          here.size === 0 || (await hashLocal(path, here.size)) === (await scope.race(farHash(file.path, here.size)));
        if (same && here.size === file.size) return;
        if (same || replaced) return void wanted.set(file, { file, grown: same });
      } else if (replaced) return void wanted.set(file, { file, grown: false });
      throw new TransferError(
        `${path} exists and is not what the job wrote.`,
        "Choose another folder, or move it away.",
      );
    },
    scope.signal,
  );
  return files.flatMap((file) => wanted.get(file) ?? []);
}

async function fetchAll(
  moving: Moving,
  job: { remote: string; local: string; wanted: readonly Wanted[]; home: Home },
): Promise<void> {
  const { scope, meter } = moving;
  const { remote, local, wanted, home } = job;
  const grown = new Set(wanted.filter((w) => w.grown).map((w) => w.file));
  const one = async (file: TreeFile) => {
    const part = home.part(file);
    if (grown.has(file)) await fs.copyFile(localPath(local, file), part, constants.COPYFILE_FICLONE);
    await receiveFile(moving, { remote: posix.join(remote, file.path), part, file });
    await home.place(file, localPath(local, file));
    meter.files += 1;
  };
  const files = wanted.map((w) => w.file);
  const plan = cut(files);
  const placing: Promise<void>[] = [];
  const tasks = [
    ...plan.packs.map(({ files }) => async () => {
      const write = (file: TreeFile, data: Uint8Array) => fs.writeFile(home.part(file), data, { mode: 0o600 });
      const again = new Set(await receivePack(moving, { from: remote, files, write, have: await home.have(files) }));
      // Names are given while the next pack comes.
      const placed = eachOf(files, LOOKS, async (file) => {
        if (again.has(file)) return;
        await home.place(file, localPath(local, file));
        meter.files += 1;
      });
      placed.catch((error: unknown) => scope.fail(error));
      placing.push(placed);
      // What changed or broke on the way comes by itself, as it was listed.
      for (const file of again) {
        await fs.rm(home.part(file), { force: true });
        meter.bytes -= file.size;
        await one(file);
      }
    }),
    ...plan.single.map(
      ({ file }) =>
        () =>
          one(file),
    ),
  ];
  await scope.all(tasks, AT_ONCE);
  await Promise.all(placing);
}

/** Where the cluster is this machine. */
async function copyAll(
  remote: string,
  local: string,
  wanted: readonly Wanted[],
  home: Home,
  meter: Meter,
  scope: Scope,
): Promise<void> {
  await eachOf(
    wanted,
    LOOKS,
    async ({ file }) => {
      await fs.copyFile(join(remote, file.path), home.part(file), constants.COPYFILE_FICLONE);
      await home.place(file, localPath(local, file));
      meter.files += 1;
      meter.there(file.size);
    },
    scope.signal,
  );
}

/** The folder that files come to, and the folder `.part` in it where they grow. */
class Home {
  readonly root: string;
  #parts = "";
  #lock: string | undefined;
  readonly #remote: string;
  readonly #safe = new Map<string, Promise<void>>();
  readonly #mask = process.umask();

  constructor(root: string, remote: string) {
    this.root = root;
    this.#remote = remote;
  }

  /** Makes it, with `folders` in it. */
  async open(folders: readonly string[]): Promise<void> {
    await fs.mkdir(this.root, { recursive: true });
    for (const folder of folders) await this.#folder(folder);
    // Another download that ends at this moment takes the empty folder away between two of these steps.
    for (let tries = 1; ; tries++) {
      try {
        return await this.#settle();
      } catch (error) {
        if (tries === 5 || (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        this.#safe.delete(".part");
      }
    }
  }

  async #settle(): Promise<void> {
    this.#parts = join(this.root, ".part");
    await this.#folder(".part");
    const lock = join(this.#parts, "lock");
    // A second download to the same folder keeps its unfinished files to itself.
    if (!HELD.has(lock) && takeLock(lock)) {
      HELD.add(lock);
      this.#lock = lock;
    } else {
      const own = `.part/${randomBytes(6).toString("hex")}`;
      await this.#folder(own);
      this.#parts = join(this.root, own);
    }
  }

  /**
   * Where a file grows. The name says which state of which far file it is, so that a changed one begins afresh; bytes
   * are written in their order, so that its size says how far it is.
   */
  part(file: TreeFile): string {
    const { path, size, mtime } = file;
    const name = createHash("sha256")
      .update(JSON.stringify([this.#remote, path, size, mtime]))
      .digest("hex");
    return join(this.#parts, name.slice(0, 32));
  }

  /** Hashes of the parts that are as long as their file: an earlier call was cut before it knew whether they are right. */
  async have(files: readonly TreeFile[]): Promise<Map<TreeFile, string>> {
    const hashes = new Map<TreeFile, string>();
    await eachOf(files, LOOKS, async (file) => {
      const part = this.part(file);
      const there = await fs.lstat(part).catch(() => undefined);
      if (there?.isFile() && there.size === file.size) hashes.set(file, await hashLocal(part, file.size));
    });
    return hashes;
  }

  /** Gives a whole file its mode, time and name. */
  async place(file: TreeFile, path: string): Promise<void> {
    const part = this.part(file);
    const folder = posix.dirname(file.path);
    if (folder !== "." && folder !== "") await this.#folder(folder);
    await fs.chmod(part, file.mode & 0o777 & ~this.#mask);
    await fs.utimes(part, new Date(), new Date(file.mtime));
    await fs.rename(part, path);
  }

  /** Everything is there: no part is needed any more. */
  async close(): Promise<void> {
    const first = this.#lock !== undefined;
    if (first)
      // Folders in there are those of other downloads, which may still be at work.
      for (const entry of await fs.readdir(this.#parts, { withFileTypes: true }))
        if (!entry.isDirectory() && entry.name !== "lock") await fs.rm(join(this.#parts, entry.name), { force: true });
    this.leave();
    if (!first) await fs.rm(this.#parts, { recursive: true, force: true });
    // Whoever ends last finds it empty.
    await fs.rmdir(join(this.root, ".part")).catch(() => undefined);
  }

  /** Leaves the parts for another try. */
  leave(): void {
    if (this.#lock === undefined) return;
    HELD.delete(this.#lock);
    dropLock(this.#lock);
    this.#lock = undefined;
  }

  /** Makes a folder below the root; a link on the way would lead elsewhere and is refused. */
  #folder(path: string): Promise<void> {
    let making = this.#safe.get(path);
    if (making === undefined) {
      making = this.#make(path);
      this.#safe.set(path, making);
    }
    return making;
  }

  async #make(path: string): Promise<void> {
    const above = posix.dirname(path);
    if (above !== ".") await this.#folder(above);
    const full = join(this.root, ...path.split("/"));
    await fs.mkdir(full).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    if (!(await fs.lstat(full)).isDirectory())
      throw new TransferError(`${full} is not a folder, or a link to one.`, "Choose another folder, or move it away.");
  }
}

/** Locks that this process has. */
const HELD = new Set<string>();

async function checkDisk(home: Home, wanted: readonly Wanted[]): Promise<void> {
  const needed = wanted.reduce((sum, { file }) => sum + file.size, 0);
  let there = 0;
  await eachOf(wanted, LOOKS, async ({ file }) => {
    there += (await fs.stat(home.part(file)).catch(() => undefined))?.size ?? 0;
  });
  const { bavail, bsize } = await fs.statfs(home.root);
  if (bavail * bsize >= needed - there) return;
  throw new QuotaError(
    `${amount(needed - there)} are to come and ${amount(bavail * bsize)} are free at ${home.root}.`,
    "Make room, or choose another folder. Nothing was fetched.",
  );
}

function localPath(local: string, file: TreeFile): string {
  return file.path === "" ? local : join(local, ...file.path.split("/"));
}

async function hashLocal(path: string, length: number): Promise<string> {
  const file = await fs.open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return (await hashOf(file, { at: 0, length })) ?? "";
  } finally {
    await file.close();
  }
}
