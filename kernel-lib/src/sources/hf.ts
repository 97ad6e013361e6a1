/** Datasets of the Hugging Face Hub: Parquet-backed ones row by row, image folders file by file; only what is read is fetched. */
import { existsSync } from "node:fs";
import { dirname, posix, resolve } from "node:path";
import type { AsyncBuffer } from "hyparquet";
import { openParquet, type ParquetFile } from "../dataset/parquet.js";
import { SourceError, UsageError, YaleError } from "../errors.js";
import type { Fault, Json, SourceSpec } from "../protocol.js";
import { DownloadError, type Downloader } from "./download.js";
import { HubDataset, hubAccess, type SplitFiles } from "./hf-hub.js";
import type { Inspection, PageOrFault, PagesOptions, Source, SourceType } from "./index.js";
import { pageOnly, REMOTE_OPTIONS, type RemoteImage, remoteOptions, remotePages } from "./remote.js";
import { type DatasetRow, rowPages } from "./rows.js";

/** `owner/name` or `name`, perhaps behind `hf://datasets/` and with `@revision`. */
const ID = /^(?:hf:\/\/datasets\/|hf:)?((?:[A-Za-z0-9][\w.-]*\/)?[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?$/;

/** Source type `hf`. */
export const hf: SourceType = {
  kind: "hf",
  options: {
    subset: "subset (configuration) of the dataset; default its own default",
    split: "split; default train, else the first",
    revision: "branch, tag or commit; default main",
    column: "column that holds the images; default found",
    ...REMOTE_OPTIONS,
    delay: "least seconds between two requests to the Hub, for image folders",
  },
  async open(spec) {
    const [, id, at] = ID.exec(spec.location) ?? [];
    if (id === undefined)
      throw new UsageError(`${JSON.stringify(spec.location)} is no id of a dataset.`, "Write it as owner/name.");
    const options = readOptions(spec);
    const { downloader, strict } = remoteOptions(spec.options);
    const dataset = new HubDataset(id, await hubAccess(), downloader);
    const files = await dataset.resolve(options.revision ?? at ?? "main", options.subset, options.split);
    return new HubSource(dataset, files, options, downloader, strict);
  },
  async detect(location) {
    if (/^hf:/.test(location) && ID.test(location)) return { score: 1, why: "it begins with hf:" };
    const id = ID.exec(location)?.[1];
    // A path of two parts has the same form: what is there on this machine, or has a file's ending, is a path.
    if (id === undefined || !id.includes("/") || /\.[a-z0-9]{2,5}$/i.test(id) || existsSync(resolve(location)))
      return { score: 0, why: "it has not the form of a dataset's id" };
    return { score: 0.6, why: "it has the form of a dataset's id, and no such file is here" };
  },
};

interface HfOptions {
  subset?: string;
  split?: string;
  revision?: string;
  column?: string;
}

function readOptions(spec: SourceSpec): HfOptions {
  const given = spec.options ?? {};
  const options: HfOptions = {};
  for (const name of ["subset", "split", "revision", "column"] as const) {
    const value = given[name];
    if (value === undefined) continue;
    if (typeof value !== "string" || value === "")
      throw new UsageError(`${name}: got ${JSON.stringify(value)}.`, "Give a name.");
    options[name] = value;
  }
  return options;
}

class HubSource implements Source {
  readonly kind = "hf";
  readonly #dataset: HubDataset;
  readonly #files: SplitFiles;
  readonly #options: HfOptions;
  readonly #downloader: Downloader;
  readonly #strict: boolean;
  readonly #open = new Map<string, Promise<ParquetFile>>();
  /** Of whoever reads pages now. */
  #signal: AbortSignal | undefined;

  constructor(dataset: HubDataset, files: SplitFiles, options: HfOptions, downloader: Downloader, strict: boolean) {
    this.#dataset = dataset;
    this.#files = files;
    this.#options = options;
    this.#downloader = downloader;
    this.#strict = strict;
  }

  #parquet(path: string): Promise<ParquetFile> {
    let file = this.#open.get(path);
    if (file === undefined) {
      const url = this.#dataset.url(this.#files.revision, path);
      const { headers } = this.#dataset;
      const ask: typeof fetch = (input, init) => this.#downloader.fetchFor(url, headers, this.#signal)(input, init);
      file = rangesOf(url, ask).then((ranges) => openParquet(ranges, path));
      this.#open.set(path, file);
    }
    return file;
  }

  /** Rows by the footers of the Parquet files; images of a folder. */
  async count(): Promise<number> {
    if (this.#files.format === "images") return this.#files.files.length;
    let rows = 0;
    for (const path of this.#files.files) rows += (await this.#parquet(path)).rows;
    return rows;
  }

  async inspect(): Promise<Inspection> {
    const { files, subset, split, subsets, splits, format } = this.#files;
    const count = await this.count();
    const skipped = [
      ...subsets.filter((s) => s !== subset).map((s) => ({ key: s, reason: `another subset; ${subset} is taken` })),
      ...splits.filter((s) => s !== split).map((s) => ({ key: s, reason: `another split; ${split} is taken` })),
    ];
    const pages: Inspection["pages"] =
      format === "images"
        ? files.map((key) => ({ key, url: this.#dataset.url(this.#files.revision, key) }))
        : Array.from({ length: Math.min(count, 1000) }, (_, i) => ({ key: `${this.#dataset.id}#row=${i + 1}` }));
    return { kind: this.kind, version: `${subset}/${split}`, count, pages, skipped };
  }

  async *pages(options: PagesOptions = {}): AsyncGenerator<PageOrFault> {
    if (this.#files.format === "images") {
      yield* remotePages(this.#images(), this.#downloader, { ...options, strict: this.#strict });
      return;
    }
    this.#signal = options.signal;
    let isRead = false;
    try {
      yield* this.#rowPages(options);
      isRead = true;
    } catch (error) {
      if (!options.signal?.aborted) throw error;
    } finally {
      this.#signal = undefined;
      // What an open file could not get, it would not ask for again.
      if (!isRead) this.#open.clear();
    }
  }

  async *#rowPages(options: PagesOptions): AsyncGenerator<PageOrFault> {
    const first = this.#files.files[0];
    const column =
      this.#options.column ?? (first === undefined ? undefined : (await this.#parquet(first)).imageColumns[0]);
    const pages = rowPages(this.#rows(options.signal), {
      name: this.#dataset.id,
      ...(column === undefined ? {} : { column }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      fetch: (path, signal) => this.#file(path, signal),
    });
    for await (const item of pages) {
      yield this.#strict ? pageOnly(item) : item;
    }
  }

  async *#rows(signal?: AbortSignal): AsyncGenerator<DatasetRow> {
    for (const path of this.#files.files)
      yield* (await this.#parquet(path)).read(signal === undefined ? {} : { signal });
  }

  /** An image that a row names by its path in the repository, or by an address. */
  async #file(path: string, signal?: AbortSignal): Promise<Uint8Array> {
    const own = /^hf:\/\/datasets\/[^@]+@[^/]+\/(.+)$/.exec(path)?.[1] ?? path;
    const web = /^https?:\/\//i.test(own);
    if (path === "") throw new DownloadError("The row holds neither an image nor a path.", "Check the dataset.");
    const url = web ? own : this.#dataset.url(this.#files.revision, posix.normalize(own));
    return this.#downloader.bytes(url, {
      as: "image",
      ...(web ? {} : { headers: this.#dataset.headers }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  async *#images(): AsyncGenerator<RemoteImage | { fault: Fault }> {
    const notes = await this.#notes();
    const { files, revision } = this.#files;
    const folders = new Set(files.map((f) => dirname(f)));
    for (const [i, path] of files.entries())
      yield {
        key: `${this.#dataset.id}/${path}`,
        source: this.#dataset.id,
        page: i + 1,
        metadata: {
          path,
          // Folders are classes to Python's imagefolder, unless a metadata file says otherwise.
          ...(notes.size === 0 && folders.size > 1 ? { label: posix.basename(dirname(path)) } : {}),
          ...notes.get(path),
        },
        fetch: (signal) =>
          this.#downloader.get(this.#dataset.url(revision, path), {
            as: "image",
            headers: this.#dataset.headers,
            ...(signal === undefined ? {} : { signal }),
          }),
      };
  }

  /** metadata.csv and metadata.jsonl beside the images: columns by the path of the image. */
  async #notes(): Promise<Map<string, { [key: string]: Json }>> {
    const notes = new Map<string, { [key: string]: Json }>();
    const all = await this.#dataset.files(this.#files.revision);
    for (const path of all.filter((f) => /(^|\/)metadata\.(csv|jsonl)$/.test(f))) {
      const url = this.#dataset.url(this.#files.revision, path);
      const bytes = await this.#downloader.bytes(url, { as: "file", headers: this.#dataset.headers });
      for (const row of await rowsOf(new TextDecoder().decode(bytes), path.endsWith(".csv"))) {
        const { file_name: name, ...rest } = row;
        if (typeof name === "string") notes.set(posix.join(dirname(path), name), rest);
      }
    }
    return notes;
  }
}

async function rowsOf(text: string, csv: boolean): Promise<{ [key: string]: Json }[]> {
  if (csv) {
    const { parse } = await import("csv-parse/sync");
    return parse(text, { columns: true, skip_empty_lines: true, bom: true }) as { [key: string]: Json }[];
  }
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as { [key: string]: Json });
}

/** A file behind an address, read by ranges. */
async function rangesOf(url: string, ask: typeof fetch): Promise<AsyncBuffer> {
  const { asyncBufferFromUrl, cachedAsyncBuffer } = await import("hyparquet");
  try {
    return cachedAsyncBuffer(await asyncBufferFromUrl({ url, fetch: ask }));
  } catch (cause) {
    if (cause instanceof YaleError) throw cause;
    throw new SourceError(`${url} can't be read: ${(cause as Error).message}.`, "Try again later.", { cause });
  }
}
