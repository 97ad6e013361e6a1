/** Where on a cluster the folders of jobs, datasets and runners are, and how they are linked. */
import { posix } from "node:path";
import { isMissing, type Sftp, type Transport } from "../cluster/transport.js";
import { ConfigError } from "../errors.js";

/** The folder of all jobs: made if it is missing, its wildcards resolved on the cluster to the one folder they name. */
export async function jobRoot(transport: Transport, sftp: Sftp, given: string): Promise<string> {
  let path = given;
  if (!posix.isAbsolute(path)) path = posix.join(await sftp.realpath("."), path.replace(/^~\//, ""));
  if (!/[*?[]/.test(path)) {
    await sftp.mkdir(path, 0o700);
    return path;
  }
  let found = [""];
  for (const part of path.split("/").slice(1)) {
    if (!/[*?[]/.test(part)) {
      found = found.map((f) => `${f}/${part}`);
      continue;
    }
    const pattern = wildcard(part);
    const next: string[] = [];
    for (const folder of found) {
      const entries = await sftp.readdir(folder === "" ? "/" : folder).catch(() => []);
      for (const entry of entries)
        if (pattern.test(entry.name) && !entry.name.startsWith(".")) next.push(`${folder}/${entry.name}`);
    }
    found = next;
  }
  const real: string[] = [];
  for (const folder of found) if (await isFolder(sftp, folder)) real.push(folder);
  if (real.length === 1 && real[0] !== undefined) return real[0];
  throw new ConfigError(
    real.length === 0
      ? `job_dir ${JSON.stringify(given)} matches no folder on ${transport.kind === "local" ? "this machine" : "the cluster"}.`
      : `job_dir ${JSON.stringify(given)} matches ${real.length} folders: ${real.slice(0, 4).join(", ")}.`,
    "Write it so that it names exactly one.",
  );
}

function wildcard(part: string): RegExp {
  const source = part
    .replace(/[.+^${}()|\\]/g, "\\$&")
    .replace(/\*/g, "[^/]*")
    .replace(/\?/g, "[^/]");
  return new RegExp(`^${source}$`);
}

/**
 * Makes `path` a symbolic link to `target`. One that is there already, from an earlier try, is replaced if it leads
 * elsewhere, in one step: whoever follows it meanwhile comes to the one or to the other.
 */
export async function placeLink(sftp: Sftp, target: string, path: string): Promise<void> {
  const old = await sftp.readlink(path).catch(() => undefined);
  if (old === target) return;
  if (old === undefined) return sftp.symlink(target, path);
  const part = `${path}.part`;
  await sftp.unlink(part).catch(() => undefined);
  await sftp.symlink(target, part);
  await sftp.rename(part, path);
}

/** True if `path` is a folder there; false if there is nothing. */
export async function isFolder(sftp: Sftp, path: string): Promise<boolean> {
  try {
    return (await sftp.stat(path)).type === "directory";
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
