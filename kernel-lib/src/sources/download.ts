/**
 * Downloads from servers as they are: slow, strict, and not always honest. Each address is asked for politely (see
 * `hosts.ts`), tried again where that can help, resumed where it stopped, kept in a cache, and believed by its bytes,
 * not by its header. What can't be had is an error in words; bytes go to disk, so memory does not grow with the number
 * of downloads.
 */
import { open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { InterruptedError, QuotaError, SourceError } from "../errors.js";
import { checkImage } from "../images.js";
import { packageVersion } from "../paths.js";
import { DownloadCache, type Entry } from "./cache.js";
import {
  causeOf,
  DownloadError,
  NoJsonError,
  networkWords,
  OUT_OF_REACH,
  Passing,
  refusal,
  worn,
} from "./download-errors.js";
import { readBytes } from "./files.js";
import { Hosts } from "./hosts.js";

export { DownloadError, NoJsonError, retryAfter } from "./download-errors.js";

/** Milliseconds in which the first byte, and then each next one, must come. */
const PATIENCE = 30_000;
/** Tries of an address that fails in a way that may pass; refusals for asking too much are counted apart. */
const TRIES = 4;
/** Refusals for asking too much that one address bears where others of its host are answered. */
const REFUSALS = 12;
const REDIRECTS = 8;
/** Bytes of one file, at most: a page image is far below, a runaway is not. */
const MOST_BYTES = 256 << 20;
/** Age in ms up to which what is in the cache is taken without asking the server. */
const FRESH = 24 * 3600_000;
/** The same for documents, which change: long enough that looking at a manifest and then reading it fetches it once. */
const FRESH_JSON = 60_000;
/** Refusals (403) one after another, without one good answer, after which a host is left alone. */
const CLOSED_DOORS = 5;

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
  readonly #hosts: Hosts;
  readonly #maxBytes: number;
  readonly #patience: number;
  readonly #closed = new Map<string, number>();
  /** Hosts that were worn out by being asked, with the reason. */
  readonly #worn = new Map<string, DownloadError>();
  readonly #running = new Map<string, Promise<Entry>>();
  /** Hosts that gave an answer of any kind, and those that gave none and are left alone, with the reason. */
  readonly #answered = new Set<string>();
  readonly #dead = new Map<string, string>();

  constructor(options: DownloaderOptions = {}) {
    this.cache = options.cache ?? new DownloadCache();
    this.#hosts = options.hosts ?? (options.delay === undefined ? shared : new Hosts({ delay: options.delay }));
    this.#maxBytes = options.maxBytes ?? MOST_BYTES;
    this.#patience = options.patience ?? PATIENCE;
  }

  /** Brings an address into the cache. The same address asked for twice at once is fetched once. Throws DownloadError, QuotaError, InterruptedError. */
  async get(address: string, wanted: Wanted): Promise<Entry> {
    const url = httpUrl(address).href;
    const running = this.#running.get(url);
    if (running !== undefined) return running;
    const work = this.#get(url, wanted).finally(() => this.#running.delete(url));
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

  async #get(url: string, wanted: Wanted): Promise<Entry> {
    const known = await this.cache.get(url);
    const fresh = wanted.as === "json" ? FRESH_JSON : FRESH;
    if (known !== undefined && Date.now() - Date.parse(known.at) < fresh) return known;
    const host = new URL(url).host;
    let tries = 0;
    let refusals = 0;
    for (;;) {
      const giveBack = await this.#hosts.turn(host, wanted.signal);
      let failed: Passing;
      try {
        if ((this.#closed.get(host) ?? 0) >= CLOSED_DOORS)
          throw new DownloadError(
            `${host} refuses everything that is asked of it.`,
            "It may want a login, or have blocked this address for asking too much: wait, and use the option delay.",
          );
        const before = this.#worn.get(host);
        if (before !== undefined) throw before;
        const dead = this.#dead.get(host);
        if (dead !== undefined)
          throw new DownloadError(
            `${url}: ${dead}.`,
            `${host} was not asked again; check the address and the network.`,
          );
        const entry = await this.#attempt(url, wanted, known, giveBack);
        this.#hosts.good(host);
        this.#closed.delete(host);
        this.#worn.delete(host);
        return entry;
      } catch (error) {
        if (wanted.signal?.aborted) throw new InterruptedError("The download was interrupted.", "What arrived stays.");
        if (!(error instanceof Passing)) {
          if (error instanceof DownloadError && error.status === 403)
            this.#closed.set(host, (this.#closed.get(host) ?? 0) + 1);
          throw error;
        }
        failed = error;
        if (error.tooMuch) {
          refusals += 1;
          if (this.#worn.has(host) || !this.#hosts.refused(host, error.seconds)) {
            const reason = this.#worn.get(host) ?? worn(host, error);
            this.#worn.set(host, reason);
            throw reason;
          }
        } else tries += 1;
      } finally {
        giveBack();
      }
      if (tries >= TRIES || refusals >= REFUSALS) {
        // Whoever was out of reach all this time, and never in it, need not be waited for at each of its addresses.
        if (failed.unreachable !== undefined && !this.#answered.has(host)) this.#dead.set(host, failed.unreachable);
        throw failed.reason;
      }
      // The host's own rest is kept by its turn; this is for faults of one address.
      if (tries > 0)
        await sleep(Math.min(10_000, 200 * 3 ** tries) * (0.5 + Math.random()), undefined, {
          ...(wanted.signal === undefined ? {} : { signal: wanted.signal }),
        }).catch(() => undefined);
    }
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
    const stalled = new AbortController();
    let timer = setTimeout(() => stalled.abort(), this.#patience);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(), this.#patience);
    };
    const signal = wanted.signal === undefined ? stalled.signal : AbortSignal.any([wanted.signal, stalled.signal]);
    try {
      const response = await follow(url, ask, signal, (host) => this.#answered.add(host));
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
        throw new Passing(
          new DownloadError(
            `${url}: the server sent another part of the file than the one that was asked for.`,
            "The server is at fault; try again later.",
            response.status,
          ),
        );
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
        throw new Passing(
          new DownloadError(
            `${url}: ${bytes} bytes came of ${range.total}.`,
            "The server is at fault; try again later.",
            206,
          ),
        );
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
    } catch (error) {
      if (error instanceof Passing || error instanceof SourceError || error instanceof QuotaError) throw error;
      if (stalled.signal.aborted)
        throw new Passing(
          new DownloadError(
            `${url}: nothing came for ${this.#patience / 1000} s.`,
            "The server hangs; try again later.",
          ),
        );
      const words = networkWords(error);
      const reason = new DownloadError(`${url}: ${words}.`, "Check the address and the network.");
      const { code, hostname } = causeOf(error);
      // A name that nobody knows will not be known in a second; that of a host that answered is lost for a moment only.
      if (code === "ENOTFOUND" && !this.#answered.has(new URL(url).host)) {
        this.#dead.set(new URL(url).host, words);
        throw reason;
      }
      if (code === "ENOTFOUND" && hostname !== new URL(url).hostname) throw reason;
      // The body was cut, or the line failed: what is here stays, and the next try goes on if the server can.
      throw new Passing(reason, OUT_OF_REACH.has(code ?? "") ? { unreachable: words } : {});
    } finally {
      clearTimeout(timer);
      // What is left of an answer that was not read to its end is not wanted any more.
      stalled.abort();
    }
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

  #tooLarge(url: string, bytes: number): DownloadError {
    return new DownloadError(
      `${url} is larger than ${this.#maxBytes >> 20} MiB (${bytes} bytes or more).`,
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

/** `Content-Range`: where the part begins, and the size of the whole where the server knows it (RFC 9110, 14.4). */
function contentRange(response: Response): { start?: number; total?: number } {
  const [, start, total] =
    /^\s*bytes\s+(?:(\d+)-\d+|\*)\/(\d+|\*)\s*$/i.exec(response.headers.get("content-range") ?? "") ?? [];
  return {
    ...(start === undefined ? {} : { start: Number(start) }),
    ...(total === undefined || total === "*" ? {} : { total: Number(total) }),
  };
}

/** An address that may be asked for. Spaces are encoded; `%` is left alone, since some servers want it twice encoded. Throws DownloadError. */
export function httpUrl(address: string): URL {
  let url: URL;
  try {
    url = new URL(address.trim().replace(/ /g, "%20"));
  } catch {
    throw new DownloadError(`${JSON.stringify(address)} is no address.`, "An address begins with https:// or http://.");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new DownloadError(`${address}: only http and https are fetched.`, "Give a path for a local file.");
  url.hash = "";
  return url;
}

async function follow(
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal,
  answered: (host: string) => void,
): Promise<Response> {
  let at = url;
  let ask = headers;
  for (let hop = 0; hop <= REDIRECTS; hop++) {
    const response = await fetch(at, { headers: ask, redirect: "manual", signal });
    answered(new URL(at).host);
    const to = response.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(response.status) || to === null) return response;
    await response.body?.cancel();
    const next = httpUrl(new URL(to, at).href);
    if (next.host !== new URL(at).host) {
      // A secret meant for one host is nobody else's.
      const { authorization: _authorization, cookie: _cookie, ...rest } = ask;
      ask = rest;
    }
    at = next.href;
  }
  throw new DownloadError(
    `${url} redirects more than ${REDIRECTS} times.`,
    "The server is at fault; tell its keepers.",
  );
}

/** Name, version and, from `$YALE_JOBS_CONTACT`, whom to write to: so that who keeps a server can tell us what is wrong. */
function userAgent(): string {
  const contact = process.env.YALE_JOBS_CONTACT?.replace(/[^\x20-\x7e]/g, "");
  return `yale-jobs/${packageVersion()} (library digitisation${contact ? `; ${contact}` : ""})`;
}
