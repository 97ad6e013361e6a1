/**
 * What is in a tree of files, here or on the far side, before any of it is moved. Names are checked here: what comes from
 * the far side must not lead out of a folder, and what is local must not lead out of it by a link.
 */
import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { join, posix, relative, sep } from "node:path";
import { TransferError } from "../errors.js";
import type { FarSide } from "./transfer-far.js";
import { eachOf } from "./transfer-work.js";
import type { Sftp } from "./transport.js";

/** A regular file; `path` is relative to the tree with `/` between folders, or empty if the tree is this one file. */
export interface TreeFile {
  path: string;
  size: number;
  /** Milliseconds since 1970. */
  mtime: number;
  mode: number;
}

/** A folder's content, or one file. */
export interface Tree {
  files: TreeFile[];
  /** Relative paths of the folders below the root, each after its parent. */
  folders: string[];
  /** Symbolic links that stay inside, with their targets relative to the folder that they are in. */
  links: { path: string; target: string }[];
  /** Bytes of all files. */
  bytes: number;
  /** Changes whenever a file was changed, added or removed: size, time, inode and mode of each. */
  identity: string;
}

/** Files looked at, and folders listed, at once. */
const LOOKS = 32;

/**
 * Lists a local folder or file. Links inside the tree are kept as links; one that leads out of it, a socket, a device,
 * or a name that is not UTF-8 is a TransferError, for leaving it out in silence would be a loss.
 */
export async function localTree(root: string): Promise<Tree> {
  const top = await fs.stat(root).catch((cause: NodeJS.ErrnoException) => {
    throw new TransferError(`${root} can't be read (${cause.code}).`, "Check the path.", { cause });
  });
  const files: (TreeFile & { inode: number })[] = [];
  const folders: string[] = [];
  const links: Tree["links"] = [];
  if (top.isFile())
    files.push({ path: "", size: top.size, mtime: top.mtimeMs, mode: top.mode & 0o777, inode: top.ino });
  else if (!top.isDirectory()) throw new TransferError(`${root} is neither a file nor a folder.`, "Name one of these.");
  else {
    const real = await fs.realpath(root);
    let level = [""];
    while (level.length > 0) {
      const next: string[] = [];
      await eachOf(level, LOOKS, async (folder) => {
        const entries = await fs.readdir(join(root, folder), { withFileTypes: true });
        await eachOf(entries, LOOKS, async (entry) => {
          const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
          const full = join(root, path);
          if (entry.isDirectory()) next.push(path);
          else if (entry.isSymbolicLink()) links.push({ path, target: await insideTarget(real, full, path) });
          else if (entry.isFile()) {
            const s = await fs.lstat(full).catch((cause: NodeJS.ErrnoException) => {
              throw new TransferError(
                `${JSON.stringify(full)} can't be read (${cause.code})${entry.name.includes("\ufffd") ? "; its name is not UTF-8" : ""}.`,
                "Rename it or move it out of the folder.",
                { cause },
              );
            });
            files.push({ path, size: s.size, mtime: s.mtimeMs, mode: s.mode & 0o777, inode: s.ino });
          } else
            throw new TransferError(
              `${JSON.stringify(full)} is neither a file, a folder nor a link.`,
              "Move it out of the folder.",
            );
        });
      });
      folders.push(...next.sort(byCode));
      level = next;
    }
  }
  files.sort((a, b) => byCode(a.path, b.path));
  links.sort((a, b) => byCode(a.path, b.path));
  const hash = createHash("sha256");
  for (const { path, size, mtime, mode, inode } of files) hash.update(JSON.stringify([path, size, mtime, mode, inode]));
  hash.update(JSON.stringify([folders, links]));
  return { files, folders, links, bytes: sum(files), identity: hash.digest("hex") };
}

/**
 * Lists a folder or file of the far side, without what `leave` names. Links, devices, and everything called `….part`
 * (not whole yet, by our own rule) are left out. Throws TransferError for a name that leads anywhere but down.
 */
export async function farTree(
  far: FarSide | undefined,
  sftp: Sftp,
  root: string,
  leave: (path: string) => boolean,
  signal: AbortSignal,
): Promise<Tree> {
  const top = await sftp.stat(root);
  const files: TreeFile[] = [];
  const folders: string[] = [];
  if (top.type === "file") files.push({ path: "", size: top.size, mtime: top.mtime, mode: top.mode & 0o777 });
  else {
    const take = (type: "file" | "directory", path: string, stat: Omit<TreeFile, "path">) => {
      checkFarName(path);
      if (leave(path) || path.split("/").some((name) => name.endsWith(".part"))) return;
      if (type === "directory") folders.push(path);
      else files.push({ path, size: stat.size, mtime: stat.mtime, mode: stat.mode & 0o777 });
    };
    if (far?.finds) await far.find(root, take, signal);
    else await walk(sftp, root, take);
  }
  files.sort((a, b) => byCode(a.path, b.path));
  folders.sort(byCode);
  return { files, folders, links: [], bytes: sum(files), identity: "" };
}

/** Throws TransferError unless `path` from the far side is relative and leads down only. */
export function checkFarName(path: string): void {
  const wrong = path.split("/").some((name) => name === "" || name === "." || name === "..");
  if (!wrong && !path.includes("\0") && !(sep === "\\" && /[\\:]/.test(path))) return;
  throw new TransferError(
    `The far side has a file called ${JSON.stringify(path)}, which leads out of the folder.`,
    "It is refused; nothing was written. Look at that folder with `ls -la`.",
  );
}

async function walk(
  sftp: Sftp,
  root: string,
  take: (type: "file" | "directory", path: string, stat: Omit<TreeFile, "path">) => void,
): Promise<void> {
  let level = [""];
  while (level.length > 0) {
    const next: string[] = [];
    await eachOf(level, LOOKS, async (folder) => {
      for (const { name, stat } of await sftp.readdir(posix.join(root, folder))) {
        if (name === "." || name === "..") continue;
        // Readdir gives names, not paths: one with a slash in it is a lie.
        if (name.includes("/")) checkFarName(`../${name}`);
        const path = folder === "" ? name : `${folder}/${name}`;
        if (stat.type === "directory" || stat.type === "file") take(stat.type, path, stat);
        if (stat.type === "directory" && !name.endsWith(".part")) next.push(path);
      }
    });
    level = next;
  }
}

/** Where a link inside `real` leads, relative to its own folder. */
async function insideTarget(real: string, full: string, path: string): Promise<string> {
  const target = await fs.realpath(full).catch(() => undefined);
  const inside = target === undefined ? ".." : relative(real, target);
  if (inside === ".." || inside.startsWith(`..${sep}`))
    throw new TransferError(
      `${JSON.stringify(full)} is a link that leads ${target === undefined ? "nowhere" : `out of the folder, to ${target}`}.`,
      "Put what it names into the folder, or remove the link.",
    );
  return posix.relative(posix.dirname(path), inside.split(sep).join("/")) || ".";
}

function sum(files: readonly TreeFile[]): number {
  return files.reduce((total, f) => total + f.size, 0);
}

function byCode(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
