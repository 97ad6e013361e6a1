/**
 * What was downloaded, by address: bytes in one file, what the server said of them in another. What is half there goes
 * on where it stopped. The whole may be deleted at any time; the oldest goes when it grows beyond its limit.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { cacheDir } from "../paths.js";
import { readBytes } from "./files.js";

/** What the server said of a file. */
export interface Entry {
  url: string;
  etag?: string;
  lastModified?: string;
  bytes: number;
  /** Pixels, where it is an image that was looked at. */
  image?: { mime: string; width: number; height: number };
  /** When it was fetched or last confirmed; ISO 8601. */
  at: string;
}

/** Bytes that the cache may hold; `$YALE_JOBS_DOWNLOAD_CACHE` in GiB overrides it. */
function limit(): number {
  const given = Number(process.env.YALE_JOBS_DOWNLOAD_CACHE);
  return (given > 0 ? given : 10) * 2 ** 30;
}

/** The cache of this user's downloads. */
export class DownloadCache {
  readonly #folder: string;

  constructor(folder: string = join(cacheDir(), "downloads")) {
    this.#folder = folder;
  }

  /** Where the bytes of an address lie, or will. */
  path(url: string): string {
    const name = createHash("sha256").update(url).digest("hex");
    return join(this.#folder, name.slice(0, 2), name.slice(2, 42));
  }

  /** What is known of an address whose bytes are there. Looking it up makes it young again. */
  async get(url: string): Promise<Entry | undefined> {
    const path = this.path(url);
    try {
      const entry = JSON.parse(await readFile(`${path}.json`, "utf8")) as Entry;
      const { size } = await stat(path);
      // Two addresses with one name, or bytes cut by a full disk: as if it were not there.
      if (entry.url !== url || size !== entry.bytes) return undefined;
      const now = new Date();
      await utimes(path, now, now);
      return entry;
    } catch {
      return undefined;
    }
  }

  /** The bytes of an address that {@link get} knows. */
  async bytes(url: string): Promise<Uint8Array> {
    return readBytes(this.path(url));
  }

  /** A file to write to, and how much of it is there from an earlier try with the same `etag` or date. */
  async part(url: string): Promise<{ path: string; have: number; validator?: string }> {
    const path = `${this.path(url)}.part`;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const validator = await readFile(`${path}.json`, "utf8").catch(() => undefined);
    const have = validator === undefined ? 0 : ((await stat(path).catch(() => undefined))?.size ?? 0);
    return { path, have, ...(validator === undefined ? {} : { validator }) };
  }

  /** Notes by what a part can be asked to go on. */
  async notePart(url: string, validator: string | undefined): Promise<void> {
    const note = `${this.path(url)}.part.json`;
    if (validator === undefined) await rm(note, { force: true });
    else await writeFile(note, validator, { mode: 0o600 });
  }

  /** The part is whole: from now on it is what the address holds. */
  async keep(url: string, entry: Entry): Promise<void> {
    const path = this.path(url);
    await rm(`${path}.json`, { force: true });
    await rename(`${path}.part`, path);
    await this.note(url, entry);
    await rm(`${path}.part.json`, { force: true });
  }

  /** Writes down what is known of an address. */
  async note(url: string, entry: Entry): Promise<void> {
    const path = this.path(url);
    await writeFile(`${path}.json.part`, JSON.stringify(entry), { mode: 0o600 });
    await rename(`${path}.json.part`, `${path}.json`);
  }

  /** Forgets an address, and what is half there of it. */
  async drop(url: string): Promise<void> {
    const path = this.path(url);
    for (const end of ["", ".json", ".part", ".part.json"]) await rm(`${path}${end}`, { force: true });
  }

  /** Deletes the oldest until it is within its limit. */
  async prune(bytes: number = limit()): Promise<void> {
    const files: { path: string; size: number; used: number }[] = [];
    for (const folder of await readdir(this.#folder).catch(() => []))
      for (const name of await readdir(join(this.#folder, folder)).catch(() => [])) {
        if (name.endsWith(".json")) continue;
        const path = join(this.#folder, folder, name);
        const s = await stat(path).catch(() => undefined);
        if (s !== undefined) files.push({ path, size: s.size, used: s.mtimeMs });
      }
    let total = files.reduce((sum, f) => sum + f.size, 0);
    for (const file of files.sort((a, b) => a.used - b.used)) {
      if (total <= bytes) return;
      await rm(file.path, { force: true });
      await rm(`${file.path}.json`, { force: true });
      total -= file.size;
    }
  }
}
