/**
 * How much may be asked of each host at once. Nobody tells: it is found out. Every host begins with a few requests,
 * gets one more for every round that goes well, and half after a refusal; a refusal rests the whole host, each one in a
 * row for longer, and never for less than its `Retry-After`. Asking sixteen at once of a server that allows four takes five times longer than asking four.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { InterruptedError } from "../errors.js";

/** Requests at once that a host nobody knows yet gets. */
const FIRST = 4;
/** Requests at once that no host gets more of. */
const MOST = 16;
/** Good answers, for each request of a level, after which one that was refused is tried again; four times as many each time. */
const PATIENCE = 25;

/** Refusals in a row, each after a rest, after which a host is not waited for any more. */
const MOST_REFUSALS = 7;
/** Seconds of all rests in a row; a host that wants more is not waited for either. */
const MOST_REST = 30 * 60;

interface Host {
  /** Requests at once now, and how many are out. */
  limit: number;
  out: number;
  /** Highest level that was not refused; above it is tried seldom. */
  ceiling: number;
  good: number;
  patience: number;
  /** Before this time nothing is asked; ms since 1970. */
  restsUntil: number;
  lastAsked: number;
  /** Since the last good answer: refusals, those of one moment taken as one, and seconds of rest for them. */
  refusals: number;
  rested: number;
  waiting: (() => void)[];
}

/** Shares the hosts of one process between everything that downloads. */
export class Hosts {
  readonly #hosts = new Map<string, Host>();
  readonly #delay: number;
  readonly #rest: number;

  /**
   * `delay`: least milliseconds between two requests to one host, which then gets one at a time. `rest`: milliseconds
   * of rest, about, after a first refusal; default 1000.
   */
  constructor(options: { delay?: number; rest?: number } = {}) {
    this.#delay = options.delay ?? 0;
    this.#rest = (options.rest ?? 1000) / 1000;
  }

  #of(name: string): Host {
    let host = this.#hosts.get(name);
    if (host === undefined) {
      const first = this.#delay > 0 ? 1 : FIRST;
      host = {
        limit: first,
        out: 0,
        ceiling: this.#delay > 0 ? 1 : MOST,
        good: 0,
        patience: PATIENCE,
        restsUntil: 0,
        lastAsked: 0,
        refusals: 0,
        rested: 0,
        waiting: [],
      };
      this.#hosts.set(name, host);
    }
    return host;
  }

  /** Requests at once that the host is given now. */
  limitOf(name: string): number {
    return this.#of(name).limit;
  }

  /** Waits for a turn with the host, and returns what gives it back. Throws InterruptedError. */
  async turn(name: string, signal?: AbortSignal): Promise<() => void> {
    const host = this.#of(name);
    for (;;) {
      if (signal?.aborted) throw new InterruptedError("The download was interrupted.", "What arrived stays.");
      if (host.out >= host.limit) {
        await new Promise<void>((resolve) => {
          const wake = () => {
            signal?.removeEventListener("abort", wake);
            resolve();
          };
          host.waiting.push(wake);
          signal?.addEventListener("abort", wake, { once: true });
        });
        continue;
      }
      const pause = Math.max(host.restsUntil, host.lastAsked + this.#delay) - Date.now();
      if (pause <= 0) break;
      await sleep(pause, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
    }
    host.out += 1;
    host.lastAsked = Date.now();
    let given = false;
    return () => {
      if (given) return;
      given = true;
      host.out -= 1;
      this.#wake(host);
    };
  }

  #wake(host: Host): void {
    const free = host.limit - host.out;
    for (const wake of host.waiting.splice(0, Math.max(free, 0))) wake();
  }

  /** The host answered as asked: after a round of such answers it gets one request more. */
  good(name: string): void {
    const host = this.#of(name);
    host.good += 1;
    host.refusals = 0;
    host.rested = 0;
    const round = host.limit < host.ceiling ? host.limit : host.limit * host.patience;
    // Only a host that is kept busy shows that it could bear more.
    if (host.good < round || host.waiting.length === 0 || this.#delay > 0) return;
    host.good = 0;
    host.limit = Math.min(MOST, host.limit + 1);
    host.ceiling = Math.max(host.ceiling, host.limit);
    this.#wake(host);
  }

  /**
   * The host refused because too much was asked: half as much from now on, and a rest that grows with each refusal in a
   * row, of `seconds` (its own word) at least. Refusals that belong to one moment count once. False, with no rest begun,
   * where that has been so too often, or would last too long: then it is better to give up.
   */
  refused(name: string, seconds = 0): boolean {
    const host = this.#of(name);
    const now = Date.now();
    if (now >= host.restsUntil) {
      host.ceiling = Math.max(1, host.limit - 1);
      host.patience *= 4;
      host.limit = Math.max(1, Math.floor(host.limit / 2));
      host.good = 0;
      host.refusals += 1;
    }
    const growing = Math.min(60, this.#rest * 2 ** (host.refusals - 1)) * (0.75 + Math.random() / 2);
    const until = Math.max(host.restsUntil, now + Math.max(growing, seconds) * 1000);
    const more = (until - Math.max(host.restsUntil, now)) / 1000;
    if (host.refusals >= MOST_REFUSALS || host.rested + more > MOST_REST) {
      // Whoever comes back later, from another job of this process, is not to pay for this one.
      host.refusals = 0;
      host.rested = 0;
      return false;
    }
    host.rested += more;
    host.restsUntil = until;
    return true;
  }
}
