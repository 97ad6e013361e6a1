/**
 * Pages that come to a job while it waits in the queue and runs (`startEarly`). Its `input` leads to its folder `coming`, a
 * dataset that grows shard by shard; when all are there, `input` leads to the whole dataset. A runner looks again when it
 * has read what there is (runners/common/input.ts), for as long as the folder says that it is not whole.
 */
import { posix } from "node:path";
import { isMissing, readFile, type Sftp, type Transport, writeFile } from "../cluster/transport.js";
import { STATE_FILE, stateText } from "../dataset/state.js";
import { SourceError } from "../errors.js";
import { placeLink } from "./job-root.js";

/** Name of the growing folder in the job folder. */
const FOLDER = "coming";
/** A file in it that says that it is not whole. */
const COMING_FILE = "coming.json";
/** Bytes of a shard of such a job: the first is to be full soon. */
export const EARLY_SHARD_BYTES = 32e6;

/** Where a shard of a job goes while not all are there. */
export function comingPath(jobDir: string, sha256: string): string {
  return posix.join(jobDir, FOLDER, fileOf(sha256));
}

/** The list of what has come. */
export class ComingPages {
  readonly #write: (shards: readonly string[]) => Promise<void>;
  readonly #before: readonly string[];
  readonly #arrived = new Map<number, string>();
  #listed = 0;
  #last: Promise<void> = Promise.resolve();

  /** `write` lists shards by their content on the cluster; `before` is what an earlier core of this job has listed. */
  constructor(write: (shards: readonly string[]) => Promise<void>, before: readonly string[]) {
    this.#write = write;
    this.#before = before;
  }

  /**
   * A shard is on the cluster: lists it, when those before it are there. Throws SourceError if it is another than one
   * that was listed in its place, and whatever the far side says.
   */
  arrived({ index, sha256 }: { index: number; sha256: string }): Promise<void> {
    const work = this.#last.then(() => {
      if ((this.#arrived.get(index) ?? this.#before[index] ?? sha256) !== sha256)
        throw new SourceError(
          "The pages have changed since the job started on the first of them.",
          "Submit it anew: it starts on the pages as they are now.",
        );
      this.#arrived.set(index, sha256);
      return this.#list();
    });
    // What could not be listed is listed with the next.
    this.#last = work.catch(() => undefined);
    return work;
  }

  /** Resolves when nothing is being listed any more. */
  async settled(): Promise<void> {
    await this.#last;
  }

  async #list(): Promise<void> {
    const shards: string[] = [];
    for (let sha256 = this.#arrived.get(0); sha256 !== undefined; sha256 = this.#arrived.get(shards.length))
      shards.push(sha256);
    if (shards.length === this.#listed) return;
    // What an earlier core listed stays: a runner has read it, maybe.
    if (shards.length > this.#before.length) await this.#write(shards);
    this.#listed = shards.length;
  }
}

/** Makes these shards, which are in the job's growing folder, what the job finds there. */
export async function listComing(transport: Transport, jobDir: string, shards: readonly string[]): Promise<void> {
  const sftp = await transport.sftp();
  const folder = posix.join(jobDir, FOLDER);
  await writeFile(sftp, posix.join(folder, COMING_FILE), "{}\n");
  await writeFile(sftp, posix.join(folder, STATE_FILE), stateText(shards.map(fileOf), "coming"));
  await placeLink(sftp, FOLDER, posix.join(jobDir, "input"));
}

/** What is listed there, by content; undefined where the job has all its pages already. */
export async function listedComing(transport: Transport, jobDir: string): Promise<string[] | undefined> {
  const sftp = await transport.sftp();
  if ((await sftp.readlink(posix.join(jobDir, "input"))) !== FOLDER) return undefined;
  const text = await readFile(sftp, posix.join(jobDir, FOLDER, STATE_FILE));
  const { _data_files } = JSON.parse(new TextDecoder().decode(text)) as { _data_files: { filename: string }[] };
  return _data_files.map(({ filename }) => filename.replace(/\.arrow$/, ""));
}

/** Which of a dataset's shards are in the growing folder, by their file names. */
export async function shardsCome(
  sftp: Sftp,
  jobDir: string,
  shards: readonly { file: string; bytes: number; sha256: string }[],
): Promise<Map<string, string>> {
  const there = await sftp.readdir(posix.join(jobDir, FOLDER)).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  const sizes = new Map(there.map(({ name, stat }) => [name, stat.size]));
  return new Map(
    shards
      .filter(({ bytes, sha256 }) => sizes.get(fileOf(sha256)) === bytes)
      .map(({ file, sha256 }) => [file, comingPath(jobDir, sha256)]),
  );
}

/** Removes the growing folder of a job that needs it no more. */
export async function clearComing(transport: Transport, jobDir: string): Promise<void> {
  const sftp = await transport.sftp();
  const folder = posix.join(jobDir, FOLDER);
  for (const { name } of await sftp.readdir(folder)) await sftp.unlink(posix.join(folder, name));
  await sftp.rmdir(folder);
}

function fileOf(sha256: string): string {
  return `${sha256}.arrow`;
}
