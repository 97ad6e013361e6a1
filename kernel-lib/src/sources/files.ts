/** Local files of a source: one, a glob's, or a folder's, in natural order. */
import { readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { glob } from "tinyglobby";
import { SourceError } from "../errors.js";

/** A file and the name it has within its source. */
export interface SourceFile {
  path: string;
  /** Relative to the folder that was given, with `/`; the base name for a single file. */
  name: string;
}

/** Bytes of a file, without a copy of what Node has read. */
export async function readBytes(path: string): Promise<Uint8Array> {
  const { buffer, byteOffset, byteLength } = await readFile(path);
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** page2 before page10. */
export const naturalOrder: (a: string, b: string) => number = new Intl.Collator("en", { numeric: true }).compare;

/**
 * The files that a location names. `pattern` is what is taken from a folder, such as `*.pdf`, case ignored; `recursive`
 * looks into folders of the folder. Throws SourceError if there is nothing at that place.
 */
export async function sourceFiles(location: string, pattern: string, recursive: boolean): Promise<SourceFile[]> {
  const path = resolve(location);
  const there = await stat(path).catch(() => undefined);
  if (there?.isFile()) return [{ path, name: basename(path) }];
  let base = path;
  let patterns = recursive ? `**/${pattern}` : pattern;
  if (!there?.isDirectory()) {
    if (!/[*?[{]/.test(location))
      throw new SourceError(
        `There is no file or folder ${path}.`,
        "Check the path; it is relative to the folder of the notebook or terminal.",
      );
    base = dirname(path);
    while (/[*?[{]/.test(base)) base = dirname(base);
    patterns = isAbsolute(location) ? relative(base, location) : relative(base, path);
  }
  const found = await glob(patterns, { cwd: base, caseSensitiveMatch: false, expandDirectories: false, dot: false });
  return once(found.sort(naturalOrder).map((name) => ({ path: join(base, name), name })));
}

/** Each file once, by its shortest way: a link to a folder above would give all of them again. */
async function once(files: SourceFile[]): Promise<SourceFile[]> {
  const depth = ({ name }: SourceFile) => name.split("/").length;
  const taken = new Map<string, SourceFile>();
  for (const file of files.toSorted((a, b) => depth(a) - depth(b))) {
    const real = await realpath(file.path).catch(() => file.path);
    if (!taken.has(real)) taken.set(real, file);
  }
  const kept = new Set(taken.values());
  return files.filter((file) => kept.has(file));
}
