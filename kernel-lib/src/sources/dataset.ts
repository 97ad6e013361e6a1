/** A local `save_to_disk` folder of Hugging Face `datasets`, ours or Python's, as a source of pages. */
import { readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { readRows, shardFiles } from "../dataset/read.js";
import { SourceError, UsageError } from "../errors.js";
import { checkImage } from "../images.js";
import type { Json } from "../protocol.js";
import type { LanguageMap, PageOrFault, Source, SourceType } from "./index.js";

/** Source type `dataset`. */
export const dataset: SourceType = {
  kind: "dataset",
  options: {
    split: "split of a DatasetDict; default its first",
    column: "column that holds the images; default found",
  },
  async open(spec) {
    const { split, column } = spec.options ?? {};
    for (const [name, value] of Object.entries({ split, column }))
      if (value !== undefined && typeof value !== "string")
        throw new UsageError(`${name}: got ${JSON.stringify(value)}.`, "Give a name.");
    await shardFiles(spec.location, split as string | undefined);
    return new DatasetSource(spec.location, split as string | undefined, column as string | undefined);
  },
  async detect(location) {
    for (const file of ["state.json", "dataset_dict.json"])
      if (await stat(join(location, file)).catch(() => undefined)) return { score: 1, why: `it holds ${file}` };
    return { score: 0, why: "it is no dataset folder" };
  },
};

class DatasetSource implements Source {
  readonly kind = "dataset";
  readonly #folder: string;
  readonly #split: string | undefined;
  readonly #column: string | undefined;

  constructor(folder: string, split: string | undefined, column: string | undefined) {
    this.#folder = folder;
    this.#split = split;
    this.#column = column;
  }

  async count(): Promise<number | undefined> {
    const manifest = await readFile(join(this.#folder, "yale-dataset.json"), "utf8").catch(() => undefined);
    return manifest === undefined ? undefined : (JSON.parse(manifest) as { pages: number }).pages;
  }

  async *pages(options: { signal?: AbortSignal } = {}): AsyncGenerator<PageOrFault> {
    const name = basename(this.#folder);
    let row = 0;
    for await (const values of readRows(this.#folder, this.#split === undefined ? {} : { split: this.#split })) {
      if (options.signal?.aborted) return;
      row += 1;
      const column = this.#column ?? imageColumn(values);
      if (column === undefined || !(column in values))
        throw new SourceError(
          `${this.#folder} has no column of images${this.#column === undefined ? "" : ` called ${this.#column}`}.`,
          `It has: ${Object.keys(values).join(", ")}. Name it with the option column.`,
        );
      const key = typeof values.key === "string" ? values.key : `${name}#row=${row}`;
      const source = typeof values.source === "string" ? values.source : name;
      const page = typeof values.page === "number" ? values.page : row;
      try {
        const image = bytesIn(values[column]);
        if (image === undefined)
          throw new SourceError(
            "The row holds only a path, not the image's bytes.",
            "Save the dataset with its images embedded.",
          );
        const info = await checkImage(image);
        yield {
          key,
          image: image.slice(),
          ...info,
          source,
          page,
          ...(labelOf(values.label) ?? {}),
          metadata: rest(values, column),
        };
      } catch (error) {
        const { what, fix, message } = error as SourceError;
        yield { fault: { key, source, page, reason: what ?? message, fix: fix ?? "Check the dataset." } };
      }
    }
  }
}

function bytesIn(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  const bytes = (value as { bytes?: unknown } | null)?.bytes;
  return bytes instanceof Uint8Array ? bytes : undefined;
}

function imageColumn(row: Record<string, unknown>): string | undefined {
  if ("image" in row) return "image";
  return Object.keys(row).find((name) => {
    const value = row[name];
    return typeof value === "object" && value !== null && "bytes" in value && "path" in value;
  });
}

function labelOf(value: unknown): { label: LanguageMap } | undefined {
  if (typeof value !== "string" || !value.startsWith("{")) return undefined;
  try {
    return { label: JSON.parse(value) as LanguageMap };
  } catch {
    return undefined;
  }
}

/** The other columns, kept as metadata; the metadata column of our own datasets is taken apart again. */
function rest(row: Record<string, unknown>, image: string): { [key: string]: Json } {
  const kept: { [key: string]: Json } = {};
  for (const [name, value] of Object.entries(row)) {
    if ([image, "key", "source", "page", "width", "height"].includes(name) || value instanceof Uint8Array) continue;
    if (name === "label" && labelOf(value) !== undefined) continue;
    if (name === "metadata" && typeof value === "string") {
      try {
        Object.assign(kept, JSON.parse(value));
        continue;
      } catch {
        // A column that merely has this name.
      }
    }
    kept[name] = (value instanceof Date ? value.toISOString() : value) as Json;
  }
  return kept;
}
