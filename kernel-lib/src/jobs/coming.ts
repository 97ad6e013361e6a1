/**
 * Pages that come to a job while it waits in the queue and runs (`startEarly`). Its `input` leads to the folder `coming`,
 * a dataset that grows shard by shard, by links to where the shards wait (ahead.ts); when all are there, `input` leads to
 * the dataset itself. A runner looks again when it has read what there is (runners/common/input.ts), for as long as the
 * folder says that it is not whole.
 */
import { posix } from "node:path";
import { readFile, type Sftp, type Transport, writeFile } from "../cluster/transport.js";
import { SourceError } from "../errors.js";
import { AHEAD_FOLDER } from "./ahead.js";
import { placeLink } from "./job-root.js";

/** Name of the growing folder in the job folder. */
export const COMING_FOLDER = "coming";
/** A file in it that says that it is not whole. */
const COMING_FILE = "coming.json";
/** Bytes of a shard of such a job: the first is to be full soon. */
export const EARLY_SHARD_BYTES = 32e6;

/** The list of what has come. */
export class ComingPages {
  /** Resolves when the first shard is listed on the cluster. Never rejects. */
  readonly first: Promise<void>;
  readonly #write: (shards: readonly string[]) => Promise<void>;
  readonly #before: readonly string[];
  readonly #arrived = new Map<number, string>();
  #listed = 0;
  #writing: Promise<void> = Promise.resolve();
  #isFirst: () => void = () => {};

  /** `write` lists shards by their content on the cluster; `before` is what an earlier core of this job has listed. */
  constructor(write: (shards: readonly string[]) => Promise<void>, before: readonly string[]) {
    this.#write = write;
    this.#before = before;
    this.first = new Promise((resolve) => {
      this.#isFirst = resolve;
    });
    if (before.length > 0) this.#isFirst();
  }

  /** A shard is on the cluster. They are listed in their order, each when those before it are there. */
  arrived({ index, sha256 }: { index: number; sha256: string }): void {
    this.#arrived.set(index, sha256);
    this.#writing = this.#writing.then(() => this.#list());
    // Told by `settled`.
    this.#writing.catch(() => undefined);
  }

  /** Resolves when nothing is being written any more. Throws SourceError if pages have changed that were listed before. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async #list(): Promise<void> {
    const shards: string[] = [];
    for (let sha256 = this.#arrived.get(0); sha256 !== undefined; sha256 = this.#arrived.get(shards.length))
      shards.push(sha256);
    if (shards.length === this.#listed) return;
    if (shards.some((sha256, i) => (this.#before[i] ?? sha256) !== sha256))
      throw new SourceError(
        "The pages have changed since the job started on the first of them.",
        "Submit it again: it starts on the pages as they are now.",
      );
    // What an earlier core listed stays: a runner has read it, maybe.
    if (shards.length >= this.#before.length) await this.#write(shards);
    this.#listed = shards.length;
    this.#isFirst();
  }
}

/** Makes these shards what the job finds in its growing folder. */
export async function listComing(transport: Transport, jobDir: string, shards: readonly string[]): Promise<void> {
  const sftp = await transport.sftp();
  const folder = posix.join(jobDir, COMING_FOLDER);
  await sftp.mkdir(folder, 0o700);
  await writeFile(sftp, posix.join(folder, COMING_FILE), "{}\n");
  for (const sha256 of shards)
    await placeLink(sftp, posix.join("../..", AHEAD_FOLDER, sha256), posix.join(folder, fileOf(sha256)));
  const state = {
    _data_files: shards.map((sha256) => ({ filename: fileOf(sha256) })),
    _fingerprint: "coming",
    _format_columns: null,
    _format_kwargs: {},
    _format_type: null,
    _output_all_columns: false,
    _split: null,
  };
  await writeFile(sftp, posix.join(folder, "state.json"), `${JSON.stringify(state, null, 2)}\n`);
  await placeLink(sftp, COMING_FOLDER, posix.join(jobDir, "input"));
}

/** What is listed there, by content; nothing where nothing is. */
export async function listedComing(transport: Transport, jobDir: string): Promise<string[]> {
  const sftp = await transport.sftp();
  const text = await readFile(sftp, posix.join(jobDir, COMING_FOLDER, "state.json")).catch(() => undefined);
  if (text === undefined) return [];
  const { _data_files } = JSON.parse(new TextDecoder().decode(text)) as { _data_files: { filename: string }[] };
  return _data_files.map(({ filename }) => filename.replace(/\.arrow$/, ""));
}

/** Removes the growing folder, when `input` leads to the whole dataset. */
export async function clearComing(sftp: Sftp, jobDir: string): Promise<void> {
  const folder = posix.join(jobDir, COMING_FOLDER);
  for (const { name } of await sftp.readdir(folder)) await sftp.unlink(posix.join(folder, name));
  await sftp.rmdir(folder);
}

function fileOf(sha256: string): string {
  return `${sha256}.arrow`;
}
