/**
 * A runner's output folder: an HF dataset that can be read at any time, and a journal in front of it. A page that is
 * done is one appended line; now and then the journal is folded into an Arrow shard; at the end all shards become one,
 * in the order of the input. Whatever is killed when, every page is there once or not at all.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { ArrowFile, writeDatasetFiles } from "../../kernel-lib/src/dataset/arrow.js";
import { RESULT_FEATURES } from "../../kernel-lib/src/dataset/features.js";
import { readRows, shardFiles } from "../../kernel-lib/src/dataset/read.js";
import { composeShards, shardFolder } from "../../kernel-lib/src/dataset/shards.js";
import type { Shard } from "./shard.js";

/** One result; `text` is null where `error` says why. */
export interface OutputRow {
  key: string;
  source: string;
  page: number;
  label: string | null;
  text: string | null;
  markdown: string | null;
  layout: string | null;
  error: string | null;
  confidence: number | null;
  seconds: number;
  width: number;
  height: number;
  inference_info: string;
  [column: string]: string | number | null;
}

/** The runner can't do what it is asked: exit 64. */
export class Refused extends Error {}

/** Milliseconds between two folds, so that results can be looked at while the job runs. */
const FOLD_INTERVAL = 20_000;
/** Rows of a record batch when shards are put together. */
const BATCH = 500;

/** The output of one runner. */
export class Output {
  /** Attempts so far, this one included. */
  readonly attempt: number;
  readonly #folder: string;
  /** The output of all tasks, if this is the part of one. */
  readonly #whole: string | undefined;
  readonly #journal: string;
  readonly #keys = new Set<string>();
  #order = new Map<string, number>();
  #shards: string[];
  #pending: OutputRow[] = [];
  #failed = 0;
  #lastFold = 0;
  #folding = false;
  /** What run.json says of this attempt. */
  #run: object = {};

  private constructor(folder: string, shards: string[], attempt: number, whole: string | undefined) {
    this.#folder = folder;
    this.#whole = whole;
    this.#journal = join(folder, "journal.jsonl");
    this.#shards = shards;
    this.attempt = attempt;
  }

  /**
   * Opens a folder, new or of an earlier attempt; a task of an array job has a folder of its own inside it. Throws
   * {@link Refused} if the earlier attempt read another input or had other settings: its pages would not fit.
   */
  static async open(whole: string, about: { input: string; settings: object; shard?: Shard }): Promise<Output> {
    const { shard } = about;
    const folder = shard === undefined ? whole : join(whole, shardFolder(shard.index));
    mkdirSync(folder, { recursive: true });
    const run = join(folder, "run.json");
    const now = {
      input: inputFingerprint(about.input),
      settings: shard === undefined ? about.settings : { ...about.settings, shards: shard.count },
    };
    let attempt = 1;
    let heeded = 0;
    if (existsSync(run)) {
      const before = JSON.parse(readFileSync(run, "utf8")) as {
        input: string;
        settings: object;
        attempt: number;
        asked?: number;
      };
      heeded = before.asked ?? 0;
      attempt = before.attempt + 1;
      if (before.input !== now.input) throw new Refused("The output holds pages of another input; use a new folder.");
      if (JSON.stringify(before.settings) !== JSON.stringify(now.settings))
        throw new Refused(
          `The output was made with other settings (${JSON.stringify(before.settings)}); use a new folder.`,
        );
    }
    const shards = existsSync(join(folder, "state.json")) ? (await shardFiles(folder)).map((f) => basename(f)) : [];
    // What a killed attempt wrote and did not enter into state.json does not count.
    for (const file of await readdir(folder))
      if (/\.(arrow|part)$/.test(file) && !shards.includes(file)) rmSync(join(folder, file), { force: true });
    const output = new Output(folder, shards, attempt, shard === undefined ? undefined : whole);
    output.#run = { ...now, attempt };
    output.#heed(heeded);
    await output.#load();
    const asked = Number(process.env.YALE_JOBS_ASKED ?? 0);
    if (asked > heeded) {
      await output.#forgetErrors();
      // Only now: killed before, it begins anew. An attempt that begins by itself does not try them again, or a page that
      // ends its runner would do so for ever.
      output.#heed(asked);
    }
    return output;
  }

  /** Notes how often a person's wish to run the job again was heeded here. */
  #heed(asked: number): void {
    const run = join(this.#folder, "run.json");
    writeFileSync(`${run}.part`, `${JSON.stringify({ ...this.#run, asked })}\n`);
    renameSync(`${run}.part`, run);
  }

  /** Leaves what went well, so that the pages in error are missing and done once more. */
  async #forgetErrors(): Promise<void> {
    if (this.#failed === 0) return;
    const old = this.#shards;
    const rows: OutputRow[] = [...this.#pending];
    if (old.length > 0) for await (const row of readRows(this.#folder)) rows.push(row as unknown as OutputRow);
    const good = rows.filter((row) => row.error === null);
    const name = `part-${this.attempt}-00000.arrow`;
    await this.#writeShard(name, good);
    this.#shards = [name];
    this.#pending = [];
    this.#failed = 0;
    this.#keys.clear();
    for (const row of good) this.#keys.add(row.key);
    await this.#publish();
    if (existsSync(this.#journal)) truncateSync(this.#journal);
    for (const shard of old) rmSync(join(this.#folder, shard), { force: true });
  }

  async #writeShard(name: string, rows: readonly OutputRow[]): Promise<void> {
    const file = await ArrowFile.create(join(this.#folder, name), RESULT_FEATURES);
    for (let i = 0; i < rows.length; i += BATCH) await file.write(rows.slice(i, i + BATCH));
    await file.close();
  }

  async #load(): Promise<void> {
    if (this.#shards.length > 0)
      for await (const row of readRows(this.#folder, { columns: ["key", "error"] })) {
        this.#keys.add(String(row.key));
        if (row.error !== null) this.#failed += 1;
      }
    if (!existsSync(this.#journal)) return;
    const text = readFileSync(this.#journal, "utf8");
    const whole = text.lastIndexOf("\n") + 1;
    if (whole < text.length) truncateSync(this.#journal, Buffer.byteLength(text.slice(0, whole)));
    for (const line of text.slice(0, whole).split("\n")) {
      if (line === "") continue;
      const row = JSON.parse(line) as OutputRow;
      // Killed between writing the shard and emptying the journal: the shard has it already.
      if (!this.#keys.has(row.key)) this.#remember(row);
    }
  }

  #remember(row: OutputRow): void {
    this.#keys.add(row.key);
    this.#pending.push(row);
    if (row.error !== null) this.#failed += 1;
  }

  /** Tells the order in which rows shall stand at the end. */
  async order(keys: readonly string[]): Promise<void> {
    this.#order = new Map(keys.map((key, i) => [key, i]));
  }

  /** Of an input that has only its job's id for a name: throws {@link Refused} if a page is there that is none of `keys`. */
  check(keys: readonly string[]): void {
    if (process.env.YALE_JOBS_EARLY !== "1") return;
    const known = new Set(keys);
    if ([...this.#keys].some((key) => !known.has(key)))
      throw new Refused("The output holds pages of another input; submit the job anew.");
  }

  /** Pages that are there, and those of them in error. */
  get done(): number {
    return this.#keys.size;
  }
  get failed(): number {
    return this.#failed;
  }

  /** True if a page needs no work any more. */
  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** Takes a result in: from this line on it survives whatever happens to the process. */
  add(row: OutputRow): void {
    if (this.#keys.has(row.key)) return;
    appendFileSync(this.#journal, `${JSON.stringify(row)}\n`);
    this.#remember(row);
  }

  /** Folds the journal if it is time. */
  async foldIfDue(): Promise<void> {
    const due = this.#shards.length === 0 && this.#pending.length >= 3 ? 0 : FOLD_INTERVAL;
    if (this.#folding || this.#pending.length === 0 || Date.now() - this.#lastFold < due) return;
    await this.#fold();
  }

  async #fold(): Promise<void> {
    if (this.#pending.length === 0) return;
    this.#folding = true;
    try {
      const rows = this.#pending;
      this.#pending = [];
      const name = `part-${this.attempt}-${String(this.#shards.length).padStart(5, "0")}.arrow`;
      try {
        await this.#writeShard(name, rows);
      } catch (error) {
        // The next fold empties the journal, where these still stand.
        this.#pending = [...rows, ...this.#pending];
        throw error;
      }
      this.#shards.push(name);
      await this.#publish();
      // What came in meanwhile goes back into the journal; the rest is in the shard.
      writeFileSync(`${this.#journal}.part`, this.#pending.map((r) => `${JSON.stringify(r)}\n`).join(""));
      renameSync(`${this.#journal}.part`, this.#journal);
      this.#lastFold = Date.now();
    } finally {
      this.#folding = false;
    }
  }

  /** Makes what is written part of the dataset, which a reader may open at any moment. */
  async #publish(): Promise<void> {
    await writeDatasetFiles(this.#folder, RESULT_FEATURES, this.#shards);
    if (this.#whole !== undefined) await composeShards(this.#whole);
  }

  /** Closes the shard; a finished output becomes one file in the order of the input. */
  async close(options: { finished: boolean }): Promise<void> {
    await this.#fold();
    if (!options.finished || this.#keys.size === 0) return;
    const rows: OutputRow[] = [];
    for await (const row of readRows(this.#folder)) rows.push(row as unknown as OutputRow);
    const place = (row: OutputRow) => this.#order.get(row.key) ?? Number.MAX_SAFE_INTEGER;
    rows.sort((a, b) => place(a) - place(b));
    const name = "data-00000-of-00001.arrow";
    const old = this.#shards.filter((s) => s !== name);
    if (old.length === 0) return;
    await this.#writeShard(name, rows);
    this.#shards = [name];
    await this.#publish();
    for (const shard of old) rmSync(join(this.#folder, shard), { force: true });
    rmSync(this.#journal, { force: true });
  }
}

/** What names the input: the hash of a dataset of ours, or the fingerprint of Python's. */
function inputFingerprint(input: string): string {
  // Its pages are not all there when it starts, and have no hash yet; they are the same in all its attempts.
  if (process.env.YALE_JOBS_EARLY === "1") return `job ${process.env.YALE_JOBS_ID}`;
  for (const [file, key] of [
    ["yale-dataset.json", "hash"],
    ["state.json", "_fingerprint"],
  ] as const)
    try {
      const value = (JSON.parse(readFileSync(join(input, file), "utf8")) as Record<string, unknown>)[key];
      if (typeof value === "string") return value;
    } catch {
      // Not this kind.
    }
  return "unknown";
}
