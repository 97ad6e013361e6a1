/** Results as files that other programs take: {@link FORMAT_LIST} says which there are. */
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname, extname, join, relative, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type ResultRow, shardFiles } from "../dataset/index.js";
import { UsageError } from "../errors.js";
import { annotationsOf } from "./annotations.js";
import { type Content, FILE_FORMATS, type Unit } from "./formats.js";
import { type ExportFormat, FORMAT_LIST, FORMAT_NAMES } from "./names.js";
import { type ExportPage, extensionOf, type PageContext, type Work, worksOf } from "./pages.js";

export type { Unit } from "./formats.js";
export type { ExportFormat } from "./names.js";
export { type PageContext, type PageImage, worksOf } from "./pages.js";

/** How results are exported. */
export interface ExportOptions {
  /** What one file holds: `page`, `work` (the pages of one source) or `job`. Default by format. */
  per?: Unit;
  /** Overwrite files that are there already. Default false: then nothing is written at all. */
  force?: boolean;
  /** For `annotations`: the web address at which the folder will be found. Default `http://localhost:8000`. */
  base?: string;
}

/** What an export has written. */
export interface Exported {
  format: ExportFormat;
  /** The folder or the one file. */
  target: string;
  /** Paths of the files, in the order of the pages. */
  files: string[];
  pages: number;
  /** Pages without text, since they ended in an error; formats with one file a page have an empty one for each. */
  errors: number;
  /** Pages whose image was asked for and is not on this machine any more. */
  imagesMissing: number;
  bytes: number;
}

/** A file to be written. */
interface Planned {
  path: string;
  content: () => Content;
}

/**
 * Exports rows. `target` is a folder, which is made, or for formats of files a file, which holds everything then; without
 * a format the file's end says it. Throws UsageError for a format, unit or target that can't be, and where a file is
 * there already.
 */
export async function exportRows(
  rows: readonly ResultRow[],
  context: PageContext,
  folder: string,
  format: ExportFormat | undefined,
  target: string,
  options: ExportOptions = {},
): Promise<Exported> {
  const chosen = formatOf(format, target);
  if (rows.length === 0) throw new UsageError("There are no pages to export yet.", "Wait for the first pages.");
  let imagesMissing = 0;
  const works = worksOf(rows, {
    metadata: (key) => context.metadata(key),
    image: async (row) => {
      const image = await context.image(row);
      if (image === undefined) imagesMissing += 1;
      return image;
    },
  });
  const to = resolve(target);
  const planned =
    chosen === "dataset"
      ? await datasetPlan(folder, to)
      : chosen === "images"
        ? imagePlan(works, to)
        : chosen === "annotations"
          ? annotationPlan(works, to, baseOf(options.base))
          : filePlan(chosen, works, to, target, options.per);
  const single = planned.length === 1 && planned[0] !== undefined && "path" in planned[0] && planned[0].path === to;
  if (!single && (await stat(to).catch(() => undefined))?.isFile())
    throw new UsageError(`${target} is a file, and ${chosen} makes several.`, "Give a folder.");
  if (options.force !== true) await refuseOverwriting(planned);
  const files: string[] = [];
  let bytes = 0;
  for (const item of planned) {
    if ("path" in item) {
      bytes += await write(item.path, item.content());
      files.push(item.path);
    } else
      for await (const file of item.files()) {
        bytes += await write(file.path, file.content);
        files.push(file.path);
      }
  }
  const errors = rows.filter((r) => r.error !== null).length;
  return { format: chosen, target: to, files, pages: rows.length, errors, imagesMissing, bytes };
}

/** The format by its name, else by the end of the target's name. */
function formatOf(format: ExportFormat | undefined, target: string): ExportFormat {
  if (format !== undefined) {
    if (FORMAT_LIST.includes(format)) return format;
    throw new UsageError(`There is no format ${JSON.stringify(format)}.`, `Formats: ${FORMAT_NAMES}.`);
  }
  const extension = endOf(target);
  const by = (Object.keys(FILE_FORMATS) as (keyof typeof FILE_FORMATS)[]).filter(
    (name) => extension !== "" && FILE_FORMATS[name].extension === extension,
  );
  if (by.length === 1 && by[0] !== undefined) return by[0];
  throw new UsageError(
    extension === "xml" ? "Several formats are XML." : "It is not said which format is wanted.",
    `Give a format (${FORMAT_NAMES}), or a file whose end says it, such as book.pdf.`,
  );
}

function endOf(target: string): string {
  const end = extname(target).slice(1).toLowerCase();
  return end === "html" || end === "xhtml" ? "hocr" : end;
}

function baseOf(base = "http://localhost:8000"): string {
  if (!/^https?:\/\/[^\s/]+/.test(base))
    throw new UsageError(
      `${JSON.stringify(base)} is no web address.`,
      "IIIF's identifiers are addresses: give one that begins with http:// or https://.",
    );
  return base;
}

function filePlan(
  name: keyof typeof FILE_FORMATS,
  works: readonly Work[],
  to: string,
  target: string,
  per: Unit | undefined,
): Planned[] {
  const format = FILE_FORMATS[name];
  if (per !== undefined && !format.units.includes(per))
    throw new UsageError(
      `A file of the format ${name} can't hold a ${per}.`,
      `It holds a ${format.units.join(" or a ")}.`,
    );
  const all = works.flatMap((work) => work.pages);
  const title = works.length === 1 ? (works[0]?.title ?? "") : `${works.length} works`;
  const file = (path: string, pages: readonly ExportPage[], of: string): Planned => ({
    path,
    content: () => format.write(pages, of),
  });
  // A target with the format's own end is one file, with everything in it. A folder may be called so too: not with us.
  if (endOf(target) === format.extension) {
    const whole = format.units.includes("job") || (format.units.includes("work") ? works : all).length === 1;
    if (!whole || (per !== undefined && per !== "job" && all.length > 1))
      throw new UsageError(
        `A file of the format ${name} holds one ${per ?? format.units[0]}, and there are more.`,
        "Give a folder instead of a file.",
      );
    return [file(to, all, title)];
  }
  const unit = per ?? format.units[0];
  if (unit === "job") return [file(join(to, `results.${format.extension}`), all, title)];
  if (unit === "work") return works.map((w) => file(join(to, `${w.name}.${format.extension}`), w.pages, w.title));
  return works.flatMap((w) =>
    w.pages.map((page) =>
      file(join(to, w.name, `${page.name}.${format.extension}`), [page], `${w.title}, ${page.label}`),
    ),
  );
}

/** Files of which only the first is known beforehand. */
interface PlannedFolder {
  /** A file that is there if the folder was written before. */
  known: string;
  files: () => AsyncIterable<{ path: string; content: Content }>;
}

function annotationPlan(works: readonly Work[], to: string, base: string): PlannedFolder[] {
  return works.map((work) => ({
    known: join(to, work.name, "manifest.json"),
    async *files() {
      for await (const { path, bytes } of annotationsOf(work, base))
        yield { path: join(to, work.name, path), content: [bytes] };
    },
  }));
}

function imagePlan(works: readonly Work[], to: string): PlannedFolder[] {
  return works.map((work) => ({
    known: join(to, work.name),
    async *files() {
      for (const page of work.pages) {
        const image = await page.image();
        if (image === undefined) continue;
        yield { path: join(to, work.name, `${page.name}.${extensionOf(image)}`), content: [image.bytes] };
      }
    },
  }));
}

/** The results' own folder as it is: `state.json`, `dataset_info.json` and the shards. */
async function datasetPlan(folder: string, to: string): Promise<PlannedFolder[]> {
  const shards = await shardFiles(folder);
  return [
    {
      known: join(to, "state.json"),
      async *files() {
        // The books come last: a folder that has them is whole.
        for (const from of [...shards, join(folder, "dataset_info.json"), join(folder, "state.json")])
          yield { path: join(to, relative(folder, from)), content: createReadStream(from) };
      },
    },
  ];
}

async function refuseOverwriting(planned: readonly (Planned | PlannedFolder)[]): Promise<void> {
  for (const item of planned) {
    const path = "path" in item ? item.path : item.known;
    if ((await stat(path).catch(() => undefined)) !== undefined)
      throw new UsageError(`${path} is there already; nothing was written.`, "Give another place, or force it.");
  }
}

/** Writes beside the name and then gives it the name: a reader finds the whole file or none. */
async function write(path: string, content: Content): Promise<number> {
  const parts = content instanceof Promise ? [await content] : content;
  await mkdir(dirname(path), { recursive: true });
  const part = `${path}.part`;
  let bytes = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const piece of parts) {
      const buffer =
        typeof piece === "string"
          ? Buffer.from(piece, "utf8")
          : Buffer.from(piece.buffer, piece.byteOffset, piece.length);
      bytes += buffer.length;
      if (buffer.length > 0) yield buffer;
    }
  }
  try {
    await pipeline(Readable.from(counted(), { objectMode: true }), createWriteStream(part));
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
  return bytes;
}
