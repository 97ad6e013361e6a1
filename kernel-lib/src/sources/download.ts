/**
 * Downloads from servers as they are: slow, strict, and not always honest. Each address is asked for politely (see
 * `hosts.ts`), tried again where that can help, resumed where it stopped, kept in a cache, and believed by its bytes,
 * not by its header. What can't be had is an error in words; bytes go to disk, so memory does not grow with the number
 * of downloads.
 */
import { open } from "node:fs/promises";
import { QuotaError, type SourceError } from "../errors.js";
import { checkImage } from "../images.js";
import { packageVersion } from "../paths.js";
import { httpUrl, secretOf } from "./addresses.js";
import { Asker } from "./asker.js";
import { DownloadCache, type Entry } from "./cache.js";
import { DownloadError, NoJsonError, Passing, refusal } from "./download-errors.js";
import { readBytes } from "./files.js";
import { Hosts } from "./hosts.js";

export { httpUrl } from "./addresses.js";
export { DownloadError, NoJsonError, retryAfter } from "./download-errors.js";

/** Milliseconds in which the first byte, and then each next one, must come. */
const PATIENCE = 30_000;
/** Bytes of one file, at most: a page image is far below, a runaway is not. */
const MOST_BYTES = 256 << 20;
/** The same for what libraries read into memory: a row group of a large Parquet file, or the whole of one that can't be read in parts. */
const MOST_IN_MEMORY = 2 ** 31;
/** Age in ms up to which what is in the cache is taken without asking the server. */
const FRESH = 24 * 3600_000;
/** The same for documents, which change: long enough that looking at a manifest and then reading it fetches it once. */
const FRESH_JSON = 60_000;

/** What is wanted of one address. */
export interface Wanted {
  /** `image`: must decode whole. `json`: must parse; what does not begin so is not fetched whole. `file`: any bytes. */
  as: "image" | "json" | "file";
  /** Sent to the address' own host only, never after a redirect to another one. */
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
}

/** How a {@link Downloader} behaves. */
export interface DownloaderOptions {
  /** Least milliseconds between two requests to one host. Default: as fast as it bears. */
  delay?: number;
  cache?: DownloadCache;
  /** Bytes of one file, at most. Default 256 MiB. */
  maxBytes?: number;
  /** Milliseconds without a byte after which a try is given up. Default 30,000. */
  patience?: number;
  /** The limits of hosts; default those of the process, or, with `delay`, its own. */
  hosts?: Hosts;
}

/** Downloads for one source; several of one process share the hosts' limits through {@link Hosts}. */
export class Downloader {
  readonly cache: DownloadCache;
  readonly #asker: Asker;
  readonly #maxBytes: number;
  readonly #running = new Map<string, Promise<Entry>>();

  constructor(options: DownloaderOptions = {}) {
    this.cache = options.cache ?? new DownloadCache();
    const hosts = options.hosts ?? (options.delay === undefined ? shared : new Hosts({ delay: options.delay }));
    this.#asker = new Asker(hosts, options.patience ?? PATIENCE);
    this.#maxBytes = options.maxBytes ?? MOST_BYTES;
  }

  /** Brings an address into the cache. The same address asked for twice at once is fetched once. Throws DownloadError, QuotaError, InterruptedError. */
  async get(address: string, wanted: Wanted): Promise<Entry> {
    const url = httpUrl(address).href;
    const running = this.#running.get(url);
    if (running !== undefined) return running;
    const work = this.#get(url, address, wanted).finally(() => this.#running.delete(url));
    this.#running.set(url, work);
    return work;
  }

  /** The bytes of an address. Throws as {@link get}. */
  async bytes(address: string, wanted: Wanted): Promise<Uint8Array> {
    const entry = await this.get(address, wanted);
    return this.cache.bytes(entry.url);
  }

  /** A JSON document. Throws as {@link get}. */
  async json(address: string, options: Omit<Wanted, "as"> = {}): Promise<unknown> {
    const bytes = await this.bytes(address, { ...options, as: "json" });
    return JSON.parse(new TextDecoder().decode(bytes));
  }

  async #get(url: string, address: string, wanted: Wanted): Promise<Entry> {
    const known = await this.cache.get(url);
    const fresh = wanted.as === "json" ? FRESH_JSON : FRESH;
    if (known !== undefined && Date.now() - Date.parse(known.at) < fresh) return known;
    const secret = secretOf(address);
    return this.#asker.patiently(url, wanted.signal, (arrived) =>
      this.#attempt(url, { ...wanted, headers: { ...secret, ...wanted.headers } }, known, arrived),
    );
  }

  /**
   * `fetch` for libraries that ask by themselves, with the manners of {@link get} but no cache: the body is in memory
   * when it returns, whole. What an address refuses for good is returned, what did not pass is thrown as DownloadError.
   * `headers` go to the origin of `home` only.
   */
  fetchFor(home: string, headers: Readonly<Record<string, string>>, signal?: AbortSignal): typeof fetch {
    const { origin } = httpUrl(home);
    return async (input, init) => {
      const address = input instanceof Request ? input.url : String(input);
      const url = httpUrl(address);
      const ask: Record<string, string> = {
        "user-agent": userAgent(),
        "accept-encoding": "identity",
        ...Object.fromEntries(new Headers(init?.headers)),
        ...secretOf(address),
        ...(url.origin === origin ? headers : {}),
      };
      const stop = [signal, init?.signal].filter((s): s is AbortSignal => s instanceof AbortSignal);
      return this.#asker.patiently(url.href, stop.length === 0 ? undefined : AbortSignal.any(stop), (_, signal) =>
        this.#asker.timed(url.href, signal, async (alive, signal) => {
          const response = await this.#asker.follow(url.href, ask, signal, init?.method);
          alive();
          if (response.status >= 400) {
            const refused = refusal(url.href, response);
            if (refused instanceof Passing) {
              await response.body?.cancel();
              throw refused;
            }
          }
          const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(ask.range ?? "") ?? [];
          const isPart = response.status === 206 && from !== undefined;
          const { start, total = Number.POSITIVE_INFINITY } = contentRange(response);
          if (isPart && start !== Number(from)) {
            await response.body?.cancel();
            throw new Passing(anotherPart(url.href, 206));
          }
          const chunks: Uint8Array[] = [];
          let size = 0;
          for await (const chunk of response.body ?? []) {
            alive();
            size += chunk.length;
            if (size > MOST_IN_MEMORY) throw this.#tooLarge(url.href, size, MOST_IN_MEMORY);
            chunks.push(chunk);
          }
          const told = Math.min(to ? Number(to) + 1 : total, total) - (start ?? 0);
          if (isPart && Number.isFinite(told) && size !== told) throw new Passing(cutShort(url.href, size, told));
          const { status, statusText, headers } = response;
          const isEmpty = init?.method === "HEAD" || [204, 205, 304].includes(status);
          return new Response(isEmpty ? null : new Blob(chunks as Uint8Array<ArrayBuffer>[]), {
            status,
            statusText,
            headers,
          });
        }),
      );
    };
  }

  /** One try. `arrived` is called when the server has nothing more to do. Throws Passing for what may be better next time. */
  async #attempt(url: string, wanted: Wanted, known: Entry | undefined, arrived: () => void): Promise<Entry> {
    const part = await this.cache.part(url);
    const ask: Record<string, string> = {
      "user-agent": userAgent(),
      accept: wanted.as === "json" ? "application/ld+json, application/json, */*;q=0.5" : "*/*",
      // A picture does not get smaller, and ranges of packed bytes can't be added up.
      "accept-encoding": wanted.as === "json" ? "gzip, br" : "identity",
      ...wanted.headers,
    };
    if (known?.etag !== undefined) ask["if-none-match"] = known.etag;
    else if (known?.lastModified !== undefined) ask["if-modified-since"] = known.lastModified;
    else if (part.have > 0 && part.validator !== undefined) {
      ask.range = `bytes=${part.have}-`;
      ask["if-range"] = part.validator;
    }
    return this.#asker.timed(url, wanted.signal, async (alive, signal) => {
      const response = await this.#asker.follow(url, ask, signal);
      alive();
      if (response.status === 304 && known !== undefined) {
        await response.body?.cancel();
        const entry = { ...known, at: new Date().toISOString() };
        await this.cache.note(url, entry);
        return entry;
      }
      const have = ask.range === undefined ? 0 : part.have;
      // Nothing more than what is here: all of it came before, and the end of the answer, or ours, before a look at it.
      const isHere = response.status === 416 && ask.range !== undefined;
      const isPart = response.status === 206 || isHere;
      const range = contentRange(response);
      const isOther = have > 0 && (response.headers.get("etag") ?? part.validator) !== part.validator;
      if (isPart && (isOther || (isHere ? range.total : range.start) !== have)) {
        await response.body?.cancel();
        await this.cache.drop(url);
        throw new Passing(anotherPart(url, response.status));
      }
      if (response.status !== 200 && !isPart) {
        await response.body?.cancel();
        throw refusal(url, response);
      }
      const etag = response.headers.get("etag") ?? (isPart && have > 0 ? part.validator : undefined);
      const lastModified = response.headers.get("last-modified") ?? undefined;
      // A weak tag does not promise the same bytes, so nothing may be added to them (RFC 9110, 13.1.5); and what came
      // packed lies here unpacked, where a range, which counts packed bytes, does not fit.
      const isPacked = !["identity", ""].includes(response.headers.get("content-encoding") ?? "");
      const strong = etag !== undefined && !etag.startsWith("W/") && !isPacked ? etag : undefined;
      await this.cache.notePart(url, strong);
      let bytes = have;
      if (isHere) await response.body?.cancel();
      else
        bytes = await this.#save(response, part.path, response.status === 206 ? have : 0, alive, (first) => {
          if (wanted.as === "json" && !beginsAsJson(first)) throw new NoJsonError(url, first, response.status);
        });
      if (response.status === 206 && range.total !== undefined && bytes !== range.total) {
        if (bytes > range.total) await this.cache.drop(url);
        throw new Passing(cutShort(url, bytes, range.total));
      }
      arrived();
      const entry: Entry = {
        url,
        bytes,
        at: new Date().toISOString(),
        ...(etag === undefined ? {} : { etag }),
        ...(lastModified === undefined ? {} : { lastModified }),
      };
      const image = await this.#look(url, wanted, part.path, response);
      if (image !== undefined) entry.image = image;
      await this.cache.keep(url, entry);
      return entry;
    });
  }

  /** Writes a body to disk. `look` sees its first bytes, and may throw. */
  async #save(
    response: Response,
    path: string,
    from: number,
    alive: () => void,
    look: (first: Uint8Array) => void,
  ): Promise<number> {
    const told = Number(response.headers.get("content-length") ?? "0");
    if (from + told > this.#maxBytes) {
      await response.body?.cancel();
      throw this.#tooLarge(response.url, from + told);
    }
    const file = await open(path, from > 0 ? "r+" : "w", 0o600);
    let at = from;
    try {
      for await (const chunk of response.body ?? []) {
        alive();
        if (at === 0) look(chunk);
        if (at + chunk.length > this.#maxBytes) throw this.#tooLarge(response.url, at + chunk.length);
        await file.write(chunk, 0, chunk.length, at);
        at += chunk.length;
      }
      await file.truncate(at);
      return at;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOSPC")
        throw new QuotaError("The disk is full: a download could not be kept.", "Make room, then try again.", {
          cause: error,
        });
      throw error;
    } finally {
      await file.close();
    }
  }

  #tooLarge(url: string, bytes: number, most = this.#maxBytes): DownloadError {
    return new DownloadError(
      `${url} is larger than ${Math.floor(most / 2 ** 20)} MiB (${bytes} bytes or more).`,
      "Ask for a smaller size of it, or fetch it by hand.",
    );
  }

  /** Believes the bytes. Throws DownloadError for what is something else, Passing for what arrived cut. */
  async #look(url: string, wanted: Wanted, path: string, response: Response): Promise<Entry["image"] | undefined> {
    if (wanted.as === "file") return undefined;
    const bytes = await readBytes(path);
    if (wanted.as === "json") {
      try {
        JSON.parse(new TextDecoder().decode(bytes));
        return undefined;
      } catch {
        await this.cache.drop(url);
        throw new NoJsonError(url, bytes, response.status);
      }
    }
    try {
      return await checkImage(bytes);
    } catch (error) {
      await this.cache.drop(url);
      const { what, fix } = error as SourceError;
      const reason = new DownloadError(`${url}: ${what}`, fix, response.status, { cause: error });
      // What begins as an image and ends too soon was cut on its way, whatever its header said.
      throw /can't be decoded|is cut/.test(what) && !/pixel limit/i.test(what) ? new Passing(reason) : reason;
    }
  }
}

/** The limits of hosts are found out once for a process. */
const shared = new Hosts();

/** True for the first bytes of a JSON document, after blanks and the mark of byte order. */
function beginsAsJson(first: Uint8Array): boolean {
  return /^\s*(?:$|[[{"\-\dtfn])/.test(new TextDecoder().decode(first.subarray(0, 200)));
}

function anotherPart(url: string, status: number): DownloadError {
  return new DownloadError(
    `${url}: the server sent another part of the file than the one that was asked for.`,
    "The server is at fault; try again later.",
    status,
  );
}

function cutShort(url: string, bytes: number, of: number): DownloadError {
  return new DownloadError(`${url}: ${bytes} bytes came of ${of}.`, "The server is at fault; try again later.", 206);
}

/** `Content-Range`: where the part begins, and the size of the whole where the server knows it (RFC 9110, 14.4). */
function contentRange(response: Response): { start?: number; total?: number } {
  const [, start, total] =
    /^\s*bytes\s+(?:(\d+)-\d+|\*)\/(\d+|\*)\s*$/i.exec(response.headers.get("content-range") ?? "") ?? [];
  return {
    ...(start === undefined ? {} : { start: Number(start) }),
    ...(total === undefined || total === "*" ? {} : { total: Number(total) }),
  };
}

/** Name, version and, from `$YALE_JOBS_CONTACT`, whom to write to: so that who keeps a server can tell us what is wrong. */
function userAgent(): string {
  const contact = process.env.YALE_JOBS_CONTACT?.replace(/[^\x20-\x7e]/g, "");
  return `yale-jobs/${packageVersion()} (library digitisation${contact ? `; ${contact}` : ""})`;
}
