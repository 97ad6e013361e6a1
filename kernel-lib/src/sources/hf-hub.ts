/**
 * The Hugging Face Hub as a place of files: which files a dataset has, where each lies, and which of them make up a
 * subset and a split, by the rules of Python's `datasets` (README first, then names, then the Hub's Parquet copy).
 */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { SourceError } from "../errors.js";
import { withoutSecret } from "./addresses.js";
import { DownloadError, type Downloader } from "./download.js";

/** Branch on which the Hub keeps a Parquet copy of datasets in other formats. */
const CONVERTED = "refs/convert/parquet";

/** Split names and the words in file and folder names that stand for them (datasets' own list). */
const SPLIT_WORDS: readonly [string, readonly string[]][] = [
  ["validation", ["validation", "valid", "dev", "val"]],
  ["test", ["test", "testing", "eval", "evaluation"]],
  ["train", ["train", "training"]],
];

/** How `push_to_hub` calls the files of a split, whatever the split is called: this pattern goes before all words. */
const SHARD = /^data\/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*$/;

const IMAGE = /\.(jpe?g|png|tiff?|webp|gif|bmp|jp2)$/i;

/** Where the Hub is and who asks. */
export interface HubAccess {
  /** `$HF_ENDPOINT`, or the public Hub. */
  endpoint: string;
  /** `$HF_TOKEN`, or what `hf auth login` left in `$HF_HOME/token`. Sent to the Hub only. */
  token?: string;
}

/** Reads access from the environment, as Python's huggingface_hub does. */
export async function hubAccess(): Promise<HubAccess> {
  const endpoint = (process.env.HF_ENDPOINT ?? "https://huggingface.co").replace(/\/+$/, "");
  const home = process.env.HF_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  const stored = await readFile(process.env.HF_TOKEN_PATH ?? join(home, "token"), "utf8").catch(() => "");
  const token = (process.env.HF_TOKEN ?? stored).trim();
  return { endpoint, ...(token === "" ? {} : { token }) };
}

/** Files of one split of one subset, all of one format. */
export interface SplitFiles {
  format: "parquet" | "images";
  revision: string;
  files: string[];
  subset: string;
  split: string;
  /** What else there was to choose. */
  subsets: string[];
  splits: string[];
}

/** One dataset repository at one revision. */
export class HubDataset {
  readonly id: string;
  readonly #access: HubAccess;
  readonly #downloader: Downloader;

  constructor(id: string, access: HubAccess, downloader: Downloader) {
    this.id = id;
    this.#access = access;
    this.#downloader = downloader;
  }

  /** Headers that carry the token, if there is one. */
  get headers(): Record<string, string> {
    return this.#access.token === undefined ? {} : { authorization: `Bearer ${this.#access.token}` };
  }

  /** Address of a file. */
  url(revision: string, path: string): string {
    const file = path.split("/").map(encodeURIComponent).join("/");
    return `${this.#access.endpoint}/datasets/${this.id}/resolve/${encodeURIComponent(revision)}/${file}`;
  }

  /** Paths of all files at a revision. Throws SourceError where there is no such dataset, or it is not open to us. */
  async files(revision: string): Promise<string[]> {
    const { listFiles } = await import("@huggingface/hub");
    const found: string[] = [];
    try {
      for await (const file of listFiles({
        repo: { type: "dataset", name: this.id },
        revision,
        recursive: true,
        hubUrl: this.#access.endpoint,
        // The library takes only tokens of the public Hub (`hf_…`), a mirror has others.
        fetch: this.#downloader.fetchFor(this.#access.endpoint, this.headers),
      }))
        if (file.type === "file") found.push(file.path);
    } catch (cause) {
      const status = (cause as { statusCode?: number }).statusCode;
      const words =
        status === 401 || status === 403
          ? "is not open to you"
          : status === 404
            ? `does not exist${revision === "main" ? "" : ` at revision ${revision}`}`
            : `can't be listed: ${(cause as Error).message}`;
      throw new SourceError(
        `The dataset ${this.id} ${words} (${withoutSecret(this.#access.endpoint)}).`,
        status === 404
          ? "Check its id and revision. A private one looks so, too: set HF_TOKEN."
          : "Set HF_TOKEN to a token that may read it, or try again later.",
        { cause },
      );
    }
    return found;
  }

  /** The files of a subset and split; defaults as `load_dataset` has them. Throws SourceError that lists what there is. */
  async resolve(revision: string, subset?: string, split?: string): Promise<SplitFiles> {
    const files = await this.files(revision);
    const configs = await this.#configs(revision, files);
    let tables = await tablesOf(configs, files);
    let at = revision;
    if (tables.size === 0) {
      at = CONVERTED;
      const converted = await this.files(CONVERTED).catch((error: SourceError) => {
        if (refusedForGood((error.cause as { statusCode?: number }).statusCode)) return [];
        throw error;
      });
      tables = byFolder(converted.filter((f) => f.endsWith(".parquet")));
      if (tables.size === 0)
        throw new SourceError(
          `The dataset ${this.id} holds neither Parquet files nor images, and the Hub has no Parquet copy of it.`,
          "Convert it with Python's `datasets` (save_to_disk), and give that folder.",
        );
    }
    const subsets = [...tables.keys()];
    const chosen = subset ?? configs?.find((c) => c.default)?.name ?? (tables.has("default") ? "default" : subsets[0]);
    const splits = tables.get(chosen ?? "");
    if (chosen === undefined || splits === undefined)
      throw new SourceError(
        `The dataset ${this.id} has no subset ${JSON.stringify(subset)}.`,
        `It has: ${subsets.join(", ")}.`,
      );
    const names = [...splits.keys()];
    const wanted = split ?? (splits.has("train") ? "train" : names[0]);
    const members = splits.get(wanted ?? "");
    if (wanted === undefined || members === undefined)
      throw new SourceError(
        `The dataset ${this.id} has no split ${JSON.stringify(split)}${subsets.length > 1 ? ` in ${chosen}` : ""}.`,
        `It has: ${names.join(", ")}.`,
      );
    const format = members.some((f) => f.endsWith(".parquet")) ? "parquet" : "images";
    const kept = members.filter((f) => (format === "parquet" ? f.endsWith(".parquet") : IMAGE.test(f)));
    return { format, revision: at, files: kept, subset: chosen, split: wanted, subsets, splits: names };
  }

  /** `configs:` at the head of README.md. */
  async #configs(revision: string, files: readonly string[]): Promise<Config[] | undefined> {
    if (!files.includes("README.md")) return undefined;
    const bytes = await this.#downloader
      .bytes(this.url(revision, "README.md"), { as: "file", headers: this.headers })
      .catch((error: unknown) => {
        // Without it other files would be taken for the split: only what is not there may be passed over.
        if (error instanceof DownloadError && refusedForGood(error.status)) return new Uint8Array(0);
        throw error;
      });
    const head = /^---\r?\n([\s\S]*?)\r?\n---/.exec(new TextDecoder().decode(bytes))?.[1];
    if (head === undefined) return undefined;
    const { parse } = await import("yaml");
    const configs = safely(() => parse(head) as { configs?: unknown } | null)?.configs;
    if (!Array.isArray(configs)) return undefined;
    return configs.flatMap(
      (c: { config_name?: unknown; data_files?: unknown; data_dir?: unknown; default?: unknown }) => {
        const name = typeof c?.config_name === "string" ? c.config_name : "default";
        const folder = typeof c?.data_dir === "string" ? `${c.data_dir.replace(/\/+$/, "")}/` : "";
        const patterns = dataFiles(c?.data_files);
        return [{ name, folder, patterns, default: c?.default === true }];
      },
    );
  }
}

interface Config {
  name: string;
  folder: string;
  /** Patterns by split; undefined: found by the files' names. */
  patterns: { split?: string; path: string[] }[] | undefined;
  default: boolean;
}

/** `data_files` in any of its forms: a pattern, patterns, or a list of `{split, path}`. */
function dataFiles(value: unknown): Config["patterns"] {
  const texts = (v: unknown): string[] =>
    (Array.isArray(v) ? v : [v]).filter((t): t is string => typeof t === "string");
  if (typeof value === "string") return [{ path: [value] }];
  if (!Array.isArray(value)) return undefined;
  const plain = value.filter((v): v is string => typeof v === "string");
  if (plain.length > 0) return [{ path: plain }];
  return (value as { split?: unknown; path?: unknown }[]).map((v) => ({
    ...(typeof v?.split === "string" ? { split: v.split } : {}),
    path: texts(v?.path),
  }));
}

type Tables = Map<string, Map<string, string[]>>;

async function tablesOf(configs: Config[] | undefined, files: readonly string[]): Promise<Tables> {
  const data = files.filter((f) => f.endsWith(".parquet") || IMAGE.test(f));
  if (configs === undefined || configs.length === 0) {
    const splits = bySplit(preferParquet(data));
    return splits.size === 0 ? new Map() : new Map([["default", splits]]);
  }
  const { default: picomatch } = await import("picomatch");
  const tables: Tables = new Map();
  for (const config of configs) {
    const inside = data.filter((f) => f.startsWith(config.folder));
    if (config.patterns === undefined) {
      const splits = bySplit(preferParquet(inside), config.folder);
      if (splits.size > 0) tables.set(config.name, splits);
      continue;
    }
    const splits = new Map<string, string[]>();
    for (const { split, path } of config.patterns) {
      const matches = picomatch(path.map((p) => config.folder + p.replace(/^\.?\//, "")));
      const found = data.filter((f) => matches(f));
      if (split === undefined) for (const [name, members] of bySplit(found)) splits.set(name, members);
      else if (found.length > 0) splits.set(split, found.sort());
    }
    if (splits.size > 0) tables.set(config.name, splits);
  }
  return tables;
}

/** The Hub's Parquet copies lie in `<subset>/<split>/0000.parquet`. */
function byFolder(files: readonly string[]): Tables {
  const tables: Tables = new Map();
  for (const file of [...files].sort()) {
    const [subset, folder] = file.split("/");
    if (subset === undefined || folder === undefined) continue;
    // `partial-train`: the copy of a large split holds its beginning only.
    const split = folder.replace(/^partial-/, "");
    const splits = tables.get(subset) ?? new Map<string, string[]>();
    splits.set(split, [...(splits.get(split) ?? []), file]);
    tables.set(subset, splits);
  }
  return tables;
}

function preferParquet(files: readonly string[]): string[] {
  const parquet = files.filter((f) => f.endsWith(".parquet"));
  return parquet.length > 0 ? parquet : [...files];
}

/** Files below `folder` by the split that their names or folders name; all are `train` where none does. */
function bySplit(files: readonly string[], folder = ""): Map<string, string[]> {
  const splits = new Map<string, string[]>();
  for (const file of [...files].sort()) {
    const split = SHARD.exec(file.slice(folder.length))?.[1];
    if (split !== undefined) splits.set(split, [...(splits.get(split) ?? []), file]);
  }
  if (splits.size > 0) return inOrder(splits);
  const nameOf = (file: string): string | undefined => {
    for (const part of file.toLowerCase().split("/").reverse())
      for (const [split, words] of SPLIT_WORDS)
        if (words.some((w) => new RegExp(`(^|[^a-z0-9])${w}([^a-z]|$)`).test(part))) return split;
    return undefined;
  };
  const named = files.some((f) => nameOf(f) !== undefined);
  for (const file of [...files].sort()) {
    const split = named ? nameOf(file) : "train";
    if (split === undefined) continue;
    splits.set(split, [...(splits.get(split) ?? []), file]);
  }
  return inOrder(splits);
}

/** train, validation, test, then the others by name. */
function inOrder(splits: ReadonlyMap<string, string[]>): Map<string, string[]> {
  const names = new Set(["train", "validation", "test", ...[...splits.keys()].sort()]);
  return new Map([...names].flatMap((s) => (splits.has(s) ? [[s, splits.get(s) ?? []]] : [])));
}

function refusedForGood(status: number | undefined): boolean {
  return status !== undefined && status >= 400 && status < 500 && status !== 429;
}

function safely<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
