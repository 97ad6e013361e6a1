/**
 * How much may be asked of each host at once. Nobody tells: it is found out. Every host begins with a few requests,
 * gets one more for every round that goes well, and half after a refusal; a refusal with `Retry-After` rests the whole
 * host. Asking sixteen at once of a server that allows four takes five times longer than asking four.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { InterruptedError } from "../errors.js";

/** Requests at once that a host nobody knows yet gets. */
const FIRST = 4;
/** Requests at once that no host gets more of. */
const MOST = 16;
/** Good answers, for each request of a level, after which one that was refused is tried again; four times as many each time. */
const PATIENCE = 25;

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
  refusals: number;
  waiting: (() => void)[];
}

/** Shares the hosts of one process between everything that downloads. */
export class Hosts {
  readonly #hosts = new Map<string, Host>();
  readonly #delay: number;

  /** `delay`: least milliseconds between two requests to one host, which then gets one at a time. */
  constructor(options: { delay?: number } = {}) {
    this.#delay = options.delay ?? 0;
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
    const round = host.limit < host.ceiling ? host.limit : host.limit * host.patience;
    // Only a host that is kept busy shows that it could bear more.
    if (host.good < round || host.waiting.length === 0 || this.#delay > 0) return;
    host.good = 0;
    host.limit = Math.min(MOST, host.limit + 1);
    host.ceiling = Math.max(host.ceiling, host.limit);
    this.#wake(host);
  }

  /**
   * The host refused because too much was asked: half as much from now on, and a rest of `seconds` (its own word, or a
   * growing time with jitter). Refusals that belong to one moment count once.
   */
  refused(name: string, seconds?: number): void {
    const host = this.#of(name);
    const now = Date.now();
    if (now >= host.restsUntil) {
      host.ceiling = Math.max(1, host.limit - 1);
      host.patience *= 4;
      host.limit = Math.max(1, Math.floor(host.limit / 2));
      host.good = 0;
      host.refusals += 1;
    }
    const growing = Math.min(60, 0.5 * 2 ** host.refusals) * (0.75 + Math.random() / 2);
    host.restsUntil = Math.max(host.restsUntil, now + Math.min(seconds ?? growing, 3600) * 1000);
  }
}
