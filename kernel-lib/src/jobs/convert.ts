/** A source to a dataset folder of the user's: what `yale source convert` and `toDataset` share. */
import { realpath, stat } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { type DatasetInfo, writeDataset } from "../dataset/index.js";
import { UsageError } from "../errors.js";
import type { SourceSpec } from "../protocol.js";
import { combineSources } from "../sources/combine.js";
import { sourceFiles } from "../sources/files.js";
import type { PageOrFault, Source } from "../sources/index.js";
import { fingerprintOf } from "./prepare.js";

/** Options of {@link convertSource}. */
export interface ConvertOptions {
  maxSamples?: number;
  signal?: AbortSignal;
  onItem?: (item: PageOrFault) => void;
}

/**
 * Writes the pages of `source`, which `spec` describes. What an interrupted call left is gone on with, if the options and
 * local files are still the same. Throws UsageError if it would be written into the dataset that it is made of, and as writeDataset does.
 */
export async function convertSource(
  spec: SourceSpec,
  source: Source,
  folder: string,
  { maxSamples, ...options }: ConvertOptions = {},
): Promise<DatasetInfo> {
  if (source.kind === "dataset") await refuseOverlap(spec.location, folder);
  const { fingerprint } = await fingerprintOf({
    sources: [spec],
    ...(maxSamples === undefined ? {} : { maxSamples }),
  });
  const all = combineSources([source], maxSamples);
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  return writeDataset((have) => all.pages({ ...signal, have }), { folder: resolve(folder), fingerprint, ...options });
}

/** A dataset that is written into one that it is made of would take its place. */
async function refuseOverlap(location: string, folder: string): Promise<void> {
  const target = await real(folder);
  const isFolder = (await stat(location).catch(() => undefined))?.isDirectory() === true;
  const files = isFolder ? [] : await sourceFiles(location, "*", false).catch(() => []);
  const clash = isFolder
    ? within(await real(location), target) || within(target, await real(location))
    : (await Promise.all(files.map(async (f) => within(target, await real(f.path))))).includes(true);
  if (clash)
    throw new UsageError(
      `The folder for the dataset, ${resolve(folder)}, and the dataset ${location} lie in each other.`,
      "Give a folder elsewhere, beside the source.",
    );
}

/** A path without symbolic links; of what does not exist yet, that of the folder it will lie in. */
async function real(path: string): Promise<string> {
  const whole = resolve(path);
  const there = await realpath(whole).catch(() => undefined);
  if (there !== undefined || dirname(whole) === whole) return there ?? whole;
  return join(await real(dirname(whole)), relative(dirname(whole), whole));
}

function within(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way === "" || !(way === ".." || way.startsWith("../"));
}
