/**
 * From sources to a dataset folder in this machine's cache, named by its content. What was prepared once, from files
 * that have not changed since, is not prepared again; what was interrupted goes on where it was.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { type DatasetInfo, writeDataset } from "../dataset/index.js";
import { InterruptedError, SourceError } from "../errors.js";
import { cacheDir, packageVersion } from "../paths.js";
import { dropLock, takeLock } from "../process.js";
import type { Fault, JobSpec, SourceSpec } from "../protocol.js";
import { combineSources } from "../sources/combine.js";
import { isFault } from "../sources/index.js";
import { openSource } from "../sources/registry.js";
import { keepDataset, sweepDatasets, wholeDataset } from "./dataset-cache.js";

/** A part of a dataset that is whole and will not change, while the rest is still prepared. */
export interface ReadyShard {
  /** Counts from 0. Where the source has changed while an interrupted preparation goes on, they begin anew. */
  index: number;
  /** Where it is until all pages are prepared; it is moved then. */
  path: string;
  bytes: number;
  sha256: string;
}

/** What {@link prepare} tells while it works. */
export interface PrepareOptions {
  signal?: AbortSignal;
  onProgress?: (prepared: number, total: number | undefined, faults: Fault[]) => void;
  /** Called for each shard as it is closed; not for pages that were prepared before, or that another call prepares. */
  onShard?: (shard: ReadyShard) => void;
  /** Default 128 MB: of a large dataset all but a little is on its way to the cluster before its last page is prepared. */
  shardBytes?: number;
}

const SHARD_BYTES = 128e6;
/** Milliseconds for which an interrupted preparation of pages from the network is gone on with: they may change there. */
const RESUMED = 24 * 3_600_000;

/** Preparations under way in this process, with everybody who wants to hear of each. */
const RUNNING = new Map<string, { listeners: Set<NonNullable<PrepareOptions["onProgress"]>>; end: Promise<unknown> }>();

/**
 * Prepares the pages of a specification; two jobs on the same pages prepare them once. Throws SourceError where not one
 * page could be had, QuotaError, InterruptedError.
 */
export async function prepare(spec: JobSpec, options: PrepareOptions = {}): Promise<DatasetInfo> {
  const folder = join(cacheDir(), "datasets");
  await mkdir(folder, { recursive: true });
  const { fingerprint, stamped } = await fingerprintOf(spec);
  const note = join(folder, `${fingerprint}.json`);
  for (let other = RUNNING.get(fingerprint); other !== undefined; other = RUNNING.get(fingerprint)) {
    if (options.onProgress !== undefined) other.listeners.add(options.onProgress);
    await settled(other.end, options.signal);
    if (options.onProgress !== undefined) other.listeners.delete(options.onProgress);
  }
  const listeners = new Set(options.onProgress === undefined ? [] : [options.onProgress]);
  const work = (async () => {
    try {
      const known = stamped ? await preparedBefore(folder, note) : undefined;
      if (known !== undefined) return known;
      const info = await write(
        spec,
        folder,
        { fingerprint, stamped },
        {
          ...options,
          onProgress: (prepared, total, faults) => {
            for (const listener of listeners) listener(prepared, total, faults);
          },
        },
      );
      if (stamped) {
        const part = `${note}.${randomBytes(4).toString("hex")}.part`;
        await writeFile(part, `${JSON.stringify({ hash: info.hash })}\n`);
        await rename(part, note);
      }
      return info;
    } finally {
      // Before those who wait hear of the end: they look again.
      RUNNING.delete(fingerprint);
    }
  })();
  RUNNING.set(fingerprint, { listeners, end: work.catch(() => undefined) });
  return work;
}

/** What a note of an earlier preparation leads to, if that is still there. */
async function preparedBefore(folder: string, note: string): Promise<DatasetInfo | undefined> {
  const known = await readFile(note, "utf8").catch(() => "");
  const hash = /^\{"hash":"([0-9a-f]+)"\}\s*$/.exec(known)?.[1];
  return hash === undefined ? undefined : wholeDataset(join(folder, hash));
}

/** Waits for what somebody else does. Throws InterruptedError if `signal` aborts first. */
async function settled(end: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    signal?.addEventListener("abort", () => resolve(), { once: true });
    void end.then(() => resolve());
  });
  if (signal?.aborted) throw new InterruptedError("The preparation of pages was interrupted.");
}

async function write(
  spec: JobSpec,
  folder: string,
  { fingerprint, stamped }: Fingerprint,
  options: PrepareOptions,
): Promise<DatasetInfo> {
  const sources = await Promise.all(spec.sources.map(openSource));
  const all = combineSources(sources, spec.maxSamples);
  // Counting must not hold the first page up, and a source that can't count has a right to.
  let total: number | undefined;
  void all.count?.().then(
    (n) => {
      total = n;
    },
    () => undefined,
  );
  await sweepDatasets(folder);
  // Another process may prepare the same pages: each has a folder of its own, and the first to be done wins.
  const lock = join(folder, `.preparing-${fingerprint}.lock`);
  const mine = takeLock(lock);
  const work = join(folder, `.preparing-${fingerprint}${mine ? "" : `-${process.pid}`}`);
  const began = (await stat(work).catch(() => undefined))?.mtimeMs ?? Number.POSITIVE_INFINITY;
  if (!stamped && began < Date.now() - RESUMED) await rm(work, { recursive: true, force: true });
  let prepared = 0;
  const faults: Fault[] = [];
  try {
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    const info = await writeDataset((have) => all.pages({ ...signal, have }), {
      folder: work,
      shardBytes: options.shardBytes ?? SHARD_BYTES,
      ...signal,
      onItem: (item) => {
        if (isFault(item)) faults.push(item.fault);
        else prepared += 1;
        options.onProgress?.(prepared, total, faults);
      },
      onShard: ({ file, ...shard }) => options.onShard?.({ path: join(work, file), ...shard }),
    });
    if (info.pages === 0) {
      const first = info.faults[0];
      throw new SourceError(
        first === undefined
          ? `No pages were found in ${spec.sources.map((s) => s.location).join(", ")}.`
          : `Not one page could be read. ${info.faultCount === 1 ? "" : `The first of ${info.faultCount} faults: `}${first.source}: ${first.reason}`,
        first?.fix ?? "Check the source with `yale source inspect`.",
      );
    }
    return await keepDataset(folder, work, info);
  } finally {
    if (mine) dropLock(lock);
    else await rm(work, { recursive: true, force: true });
  }
}

/** Names what pages depend on: {@link fingerprintOf}. `stamped` if that says of every one whether it has changed. */
export interface Fingerprint {
  fingerprint: string;
  stamped: boolean;
}

/**
 * What the pages depend on: the sources' specifications, the state of local files, and this version. A source on the
 * network can't be stamped without asking it, so it is read again each time; its downloads are cached below.
 */
export async function fingerprintOf(spec: Pick<JobSpec, "sources" | "maxSamples">): Promise<Fingerprint> {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([packageVersion(), spec.sources, spec.maxSamples ?? null]));
  const stamps = await Promise.all(spec.sources.map(stampOf));
  hash.update(JSON.stringify(stamps));
  return { fingerprint: hash.digest("hex").slice(0, 32), stamped: !stamps.includes(undefined) };
}

async function stampOf(source: SourceSpec): Promise<string | undefined> {
  if (
    /^[a-z][a-z0-9+.-]*:\/\//i.test(source.location) ||
    source.kind === "hf" ||
    source.kind === "iiif" ||
    source.kind === "web"
  )
    return undefined;
  const one = await stat(source.location).catch(() => undefined);
  const files = one?.isFile()
    ? [source.location]
    : await glob(one?.isDirectory() ? "**/*" : source.location, {
        ...(one?.isDirectory() ? { cwd: source.location } : {}),
        absolute: true,
        dot: true,
      });
  const lines: string[] = [];
  for (const file of files.sort()) {
    const s = await stat(file).catch(() => undefined);
    if (s !== undefined) lines.push(`${file}\u0000${s.size}\u0000${s.mtimeMs}`);
  }
  return lines.join("\n");
}
