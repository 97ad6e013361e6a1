/** How servers are asked: in turn, with patience, again where that can help, and no more where it can't. */
import { setTimeout as sleep } from "node:timers/promises";
import { InterruptedError, YaleError } from "../errors.js";
import { httpUrl } from "./addresses.js";
import { causeOf, DownloadError, networkWords, OUT_OF_REACH, Passing, worn } from "./download-errors.js";
import type { Hosts } from "./hosts.js";

/** Tries of an address that fails in a way that may pass; refusals for asking too much are counted apart. */
const TRIES = 4;
/** Refusals for asking too much that one address bears where others of its host are answered. */
const REFUSALS = 12;
const REDIRECTS = 8;
/** Refusals (403) one after another, without one good answer, after which a host is left alone. */
const CLOSED_DOORS = 5;

/** Asks for one source, and remembers what its hosts said. */
export class Asker {
  readonly #hosts: Hosts;
  readonly #patience: number;
  readonly #closed = new Map<string, number>();
  /** Hosts that were worn out by being asked, with the reason. */
  readonly #worn = new Map<string, DownloadError>();
  /** Hosts that gave an answer of any kind, and those that gave none and are left alone, with the reason. */
  readonly #answered = new Set<string>();
  readonly #dead = new Map<string, string>();

  /** `patience`: milliseconds without a byte after which a try is given up. */
  constructor(hosts: Hosts, patience: number) {
    this.#hosts = hosts;
    this.#patience = patience;
  }

  /**
   * Tries until one goes well. `attempt` calls `arrived` when the server has nothing more to do, and throws Passing for
   * what may be better next time. Throws DownloadError, InterruptedError, and whatever else `attempt` does.
   */
  async patiently<T>(
    url: string,
    signal: AbortSignal | undefined,
    attempt: (arrived: () => void, signal: AbortSignal | undefined) => Promise<T>,
  ): Promise<T> {
    const host = new URL(url).host;
    let tries = 0;
    let refusals = 0;
    for (;;) {
      const giveBack = await this.#hosts.turn(host, signal);
      let failed: Passing;
      try {
        this.#mayBeAsked(url, host);
        const answer = await attempt(giveBack, signal);
        this.#hosts.good(host);
        this.#closed.delete(host);
        this.#worn.delete(host);
        return answer;
      } catch (error) {
        if (signal?.aborted) throw new InterruptedError("The download was interrupted.", "What arrived stays.");
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
          ...(signal === undefined ? {} : { signal }),
        }).catch(() => undefined);
    }
  }

  #mayBeAsked(url: string, host: string): void {
    if ((this.#closed.get(host) ?? 0) >= CLOSED_DOORS)
      throw new DownloadError(
        `${host} refuses everything that is asked of it.`,
        "It may want a login, or have blocked this address for asking too much: wait, and use the option delay.",
      );
    const before = this.#worn.get(host);
    if (before !== undefined) throw before;
    const dead = this.#dead.get(host);
    if (dead !== undefined)
      throw new DownloadError(`${url}: ${dead}.`, `${host} was not asked again; check the address and the network.`);
  }

  /** One try, given up when `alive` was not called for as long as patience lasts. Failures of the network become Passing, or DownloadError where they will last. */
  async timed<T>(
    url: string,
    wanted: AbortSignal | undefined,
    work: (alive: () => void, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const stalled = new AbortController();
    let timer = setTimeout(() => stalled.abort(), this.#patience);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(), this.#patience);
    };
    try {
      return await work(alive, wanted === undefined ? stalled.signal : AbortSignal.any([wanted, stalled.signal]));
    } catch (error) {
      if (error instanceof Passing || error instanceof YaleError) throw error;
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

  /** Fetches, and goes where the server sends us. Secrets among the headers stay with the host of `url`. Throws DownloadError, and what fetch does. */
  async follow(url: string, headers: Record<string, string>, signal: AbortSignal, method = "GET"): Promise<Response> {
    let at = new URL(url);
    let ask = headers;
    for (let hop = 0; hop <= REDIRECTS; hop++) {
      const response = await fetch(at, { method, headers: ask, redirect: "manual", signal });
      this.#answered.add(at.host);
      const to = response.headers.get("location");
      if (![301, 302, 303, 307, 308].includes(response.status) || to === null) return response;
      await response.body?.cancel();
      const next = httpUrl(new URL(to, at).href);
      if (next.host !== at.host || (at.protocol === "https:" && next.protocol === "http:")) {
        // A secret meant for one host is nobody else's, nor for whoever listens on the way to it.
        const { authorization: _authorization, cookie: _cookie, ...rest } = ask;
        ask = rest;
      }
      at = next;
    }
    throw new DownloadError(
      `${url} redirects more than ${REDIRECTS} times.`,
      "The server is at fault; tell its keepers.",
    );
  }
}
