/**
 * Brings everything a job needs to its cluster: dataset and runner once by their content, then the job's own folder.
 * Each step looks at what is there already, so that a cut line costs only what had not arrived.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, posix, relative } from "node:path";
import { type TransferProgress, uploadTree } from "../cluster/transfer.js";
import { readFile as readRemote, type Transport, writeFile } from "../cluster/transport.js";
import { readManifest } from "../dataset/index.js";
import { shardsAhead } from "./ahead.js";
import { shardsCome } from "./coming.js";
import { isFolder, jobRoot, placeLink } from "./job-root.js";
import type { JobFile, ResolvedJob } from "./plan.js";
import { checkQuota } from "./site-quota.js";

/** What {@link stageJob} is given. */
export interface StageOptions {
  id: string;
  /** The prepared pages, without `folder` if they are on the cluster already; absent for a job without pages of its own. */
  dataset?: { folder?: string; hash: string };
  /** The pages are still coming (coming.ts). */
  coming?: boolean;
  signal: AbortSignal;
  onProgress: (bytes: number, total: number) => void;
}

/**
 * Brings pages and runner to the cluster and makes the job's folder with its links; returns its absolute path. Throws
 * TransferError, QuotaError and ConnectionError.
 */
export async function stageJob(transport: Transport, job: ResolvedJob, options: StageOptions): Promise<string> {
  const sftp = await transport.sftp();
  const root = await jobRoot(transport, sftp, job.cluster.jobDir);
  const { signal } = options;
  if (options.dataset?.folder !== undefined) {
    const { folder, hash } = options.dataset;
    const there = posix.join(root, "datasets", hash);
    const { shards } = await readManifest(folder);
    const ahead = await shardsAhead(sftp, root, shards);
    const come = job.spec.startEarly === true ? await shardsCome(sftp, posix.join(root, options.id), shards) : [];
    const have = new Map([...ahead, ...come]);
    // What lies there already, whole or in part, takes no more than was looked at when it was sent.
    if (!(await isFolder(sftp, there))) {
      const left = shards.filter((s) => !have.has(s.file));
      const bytes = left.reduce((sum, s) => sum + s.bytes, 0);
      await checkQuota(job.cluster, transport, root, { bytes, files: left.length + 4 });
    }
    const onProgress = (p: TransferProgress) => options.onProgress(p.bytes, p.total);
    const sha256 = new Map(shards.map((s) => [s.file, s.sha256]));
    await uploadTree(transport, folder, there, { signal, onProgress, have, sha256 });
    // Somebody else had brought them already.
    await Promise.all([...ahead.values()].map((path) => sftp.unlink(path).catch(() => undefined)));
  }
  let runner: string | undefined;
  if (job.card !== undefined) {
    const hash = await hashFolder(job.card.folder);
    runner = `../runners/${job.card.name}-${hash}`;
    await uploadTree(transport, job.card.folder, posix.join(root, "runners", `${job.card.name}-${hash}`), { signal });
  }
  signal.throwIfAborted();

  const jobDir = posix.join(root, options.id);
  const folders = ["output", "log", ...(options.coming === true ? ["coming"] : [])];
  for (const folder of folders) await sftp.mkdir(posix.join(jobDir, folder), 0o700);
  const { datasetPath, dataFrom } = job.spec;
  const input =
    options.dataset !== undefined
      ? `../datasets/${options.dataset.hash}`
      : dataFrom !== undefined
        ? `../${dataFrom}/output`
        : datasetPath;
  if (input !== undefined && options.coming !== true) await placeLink(sftp, input, posix.join(jobDir, "input"));
  if (runner !== undefined) await placeLink(sftp, runner, posix.join(jobDir, "runner"));
  if (job.spec.kind === "run") {
    await sftp.mkdir(posix.join(jobDir, "runner"), 0o700);
    if (input !== undefined) await placeLink(sftp, "../input", posix.join(jobDir, "output", "dataset"));
  }
  return jobDir;
}

/** True if the pages of an earlier attempt are still on the cluster. */
export async function isStaged(transport: Transport, jobDir: string, hash: string): Promise<boolean> {
  return isFolder(await transport.sftp(), posix.join(posix.dirname(jobDir), "datasets", hash));
}

/** Writes small files into the job folder; each appears whole. */
export async function writeJobFiles(transport: Transport, jobDir: string, files: readonly JobFile[]): Promise<void> {
  const sftp = await transport.sftp();
  for (const file of files) await writeFile(sftp, posix.join(jobDir, file.path), file.text, file.mode);
}

/**
 * Tasks of an array that have not ended well, by the exit codes in the job folder; undefined where all are to run. With
 * `errors` those with pages in error are among them. Only for SLURM: on this machine a task that finds nothing to do costs
 * nothing.
 */
export async function unfinishedTasks(
  transport: Transport,
  job: ResolvedJob,
  jobDir: string,
  errors: boolean,
): Promise<number[] | undefined> {
  const { shards = 1 } = job.spec;
  if (shards === 1 || job.scheduler.kind !== "slurm") return undefined;
  const sftp = await transport.sftp();
  const done = new Set<number>();
  for (const { name } of await sftp.readdir(jobDir)) {
    const task = /^exit-(\d{1,5})$/.exec(name)?.[1];
    if (task === undefined) continue;
    const code = new TextDecoder().decode(await readRemote(sftp, posix.join(jobDir, name))).trim();
    if (code === "0" || (code === "3" && !errors)) done.add(Number(task));
  }
  const left = [...Array(shards).keys()].filter((task) => !done.has(task));
  return left.length === 0 || left.length === shards ? undefined : left;
}

/** Names a folder by its content: relative paths and bytes. */
async function hashFolder(folder: string): Promise<string> {
  const hash = createHash("sha256");
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((e) => e.isFile()).map((e) => join(e.parentPath, e.name));
  for (const file of files.sort()) {
    hash.update(`${relative(folder, file)}\u0000`);
    hash.update(await readFile(file));
  }
  return hash.digest("hex").slice(0, 16);
}
