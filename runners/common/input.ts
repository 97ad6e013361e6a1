/**
 * The pages that a runner is given. Those of a job that starts early come while it runs: its input is a dataset that
 * grows, with a file `coming.json` in it, and is replaced by the whole one at the end.
 */
import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readRows, shardFiles } from "../../kernel-lib/src/dataset/read.js";
import { DatasetError } from "../../kernel-lib/src/errors.js";
import { Refused } from "./output.js";

/** Milliseconds between two looks, and without a new page until the node is given back. */
const LOOK = 1000;
const PATIENCE = 10 * 60_000;

/** An input, as far as it is known. */
export class Input {
  /** Keys of the pages, in their order. Reading them first costs little and says how many pages there are. */
  readonly keys: string[] = [];
  /** True when no more will come. */
  whole = false;
  readonly #folder: string;
  readonly #most: number;
  readonly #stop: Promise<void>;
  #stopped = false;
  readonly #unique = new Set<string>();
  /** Of each shard of a growing dataset the number of its first page. */
  readonly #shards: number[] = [];

  /** `most` is the number of pages after which the rest of a dataset is left alone; after `stop` nothing is waited for. */
  constructor(folder: string, most: number, stop: Promise<void>) {
    this.#folder = folder;
    this.#most = most;
    this.#stop = stop;
    void stop.then(() => {
      this.#stopped = true;
    });
  }

  /**
   * Waits for pages that were not known before, or for the word that no more come; false if the input's `stop` resolves
   * first, or none come for ten minutes. Throws DatasetError for an input that can't be read, {@link Refused} for one that
   * is not what it was.
   */
  async more(): Promise<boolean> {
    for (const since = Date.now(); this.#waits(since); await this.#pause()) if (await this.#look()) return true;
    return false;
  }

  /**
   * Known pages, from the one of that number to before the other; fewer if it is to stop, or some that were there are not
   * for ten minutes.
   */
  async *rows(from: number, to: number, columns: readonly string[]): AsyncGenerator<Record<string, unknown>> {
    let at = from;
    for (let since = Date.now(); at < to && this.#waits(since); )
      try {
        const folder = await this.#now();
        // The whole dataset may be divided otherwise: there pages count from its beginning.
        const shard = isComing(folder) ? this.#shards.findLastIndex((first) => first <= at) : 0;
        const before = isComing(folder) ? (this.#shards[shard] ?? 0) : 0;
        const shards = [shard, Number.POSITIVE_INFINITY] as const;
        for await (const row of readRows(folder, { columns, shards, from: at - before, to: to - before })) {
          yield row;
          at += 1;
          since = Date.now();
        }
        if (at < to) throw new DatasetError(`${this.#folder} has fewer pages than it had.`, "Submit the job again.");
      } catch (error) {
        // Its shards go from what grew to the whole just now.
        if (this.#shards.length === 0 || !isGone(error)) throw error;
        await this.#pause();
      }
  }

  #waits(since: number): boolean {
    return !this.#stopped && Date.now() - since < PATIENCE;
  }

  async #pause(): Promise<void> {
    await Promise.race([sleep(LOOK), this.#stop]);
  }

  /** Takes in what has come; true if that is anything. */
  async #look(): Promise<boolean> {
    const known = this.keys.length;
    const folder = await this.#now();
    if (!isComing(folder)) {
      await this.#takeWhole(folder);
      return true;
    }
    try {
      const { length } = await shardFiles(folder);
      for (let shard = this.#shards.length; shard < length && !this.whole; shard++) {
        const rows: string[] = [];
        for await (const row of readRows(folder, { columns: ["key"], shards: [shard, shard + 1] }))
          rows.push(String(row.key));
        this.#shards.push(this.keys.length);
        for (const key of rows.slice(0, this.#most - this.keys.length)) this.#add(key);
        this.whole = this.keys.length >= this.#most;
      }
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    return this.keys.length > known;
  }

  async #takeWhole(folder: string): Promise<void> {
    const known = this.keys.length;
    let at = 0;
    for await (const row of readRows(folder, { columns: ["key"], to: this.#most })) {
      const key = String(row.key ?? `row=${at + 1}`);
      if (at >= known) this.#add(key);
      else if (key !== this.keys[at]) throw new Refused("The input is not the one that the job started on.");
      at += 1;
    }
    if (at < known) throw new Refused("The input has fewer pages than when the job started.");
    this.whole = true;
  }

  #add(key: string): void {
    if (this.#unique.has(key)) throw new Refused("The dataset has a key twice; keys must be unique.");
    this.#unique.add(key);
    this.keys.push(key);
  }

  /** The folder that the input leads to by now: what is read of one look must be of one dataset. */
  async #now(): Promise<string> {
    return realpath(this.#folder).catch(() => this.#folder);
  }
}

function isComing(folder: string): boolean {
  return existsSync(join(folder, "coming.json"));
}

function isGone(error: unknown): boolean {
  return error instanceof DatasetError || (error as NodeJS.ErrnoException).code === "ENOENT";
}
