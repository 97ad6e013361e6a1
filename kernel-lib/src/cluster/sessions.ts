/**
 * The sessions of one SSH connection. sshd allows ten at once (MaxSessions), many sites fewer, and tells by refusing the
 * next; commands, the long-lived shell and the channels for files share what there is.
 */
import { ConnectionError } from "../errors.js";

/** A session that is kept when nothing uses it, and can be given up for something that waits. */
export interface Lasting {
  /** Gives it up if nothing runs in it; true if it did. */
  rest(): boolean;
}

/** Sessions used of the ten that OpenSSH allows: the user's own `ssh` may share the account's, and some sites count. */
const MOST = 8;
/** Times that a refusal is put down to sessions that the far side has not cleared away yet, and the pause between, ms. */
const PATIENCE = { times: 5, pause: 200 };

/** No session is free, for one that would rather share than wait. */
export class NoSession extends Error {}

/** True if the far side refused to open a session (RFC 4254, 5.1), as ssh2 tells it. */
export function isRefusal(error: unknown): boolean {
  return typeof (error as { reason?: unknown }).reason === "number";
}

/** How one is opened. */
export interface SessionOptions {
  /** It stays open. */
  lasting?: boolean;
  /** False: throws {@link NoSession} rather than wait. */
  wait?: boolean;
  /** Set when its opener has gone meanwhile. */
  cancelled?: () => boolean;
}

/** Counts the sessions of one connection and lets others wait. */
export class Sessions {
  #limit = MOST;
  #open = 0;
  #starting = 0;
  /** Sessions in passing, open or starting: while there are any, who waits will be served. */
  #passing = 0;
  /** The most that were open at once: so many are surely allowed. */
  #proved = 0;
  #closed: Error | undefined;
  readonly #queue: { resolve(): void; reject(error: Error): void }[] = [];
  readonly #lasting = new Set<Lasting>();

  /** How many may be open at once, as far as is known. */
  get limit(): number {
    return this.#limit;
  }

  /** Makes a session known that can be given up. */
  keep(lasting: Lasting): void {
    this.#lasting.add(lasting);
  }

  /**
   * Opens a session when there is room, and gives it with the call that gives its place back. Where the
   * far side refuses one, `start` throws what {@link isRefusal} knows. Throws ConnectionError.
   */
  async open<T>(start: () => Promise<T>, options: SessionOptions = {}): Promise<{ session: T; release: () => void }> {
    for (let refusals = 0; ; refusals++) {
      await this.#room(options);
      const passing = options.lasting === true ? 0 : 1;
      this.#starting += 1;
      this.#passing += passing;
      let held = true;
      const leave = () => {
        if (!held) return;
        held = false;
        this.#passing -= passing;
        this.#next();
      };
      try {
        if (options.cancelled?.()) throw new ConnectionError("It is not wanted any more.");
        const session = await start();
        this.#starting -= 1;
        this.#open += 1;
        this.#proved = Math.max(this.#proved, this.#open);
        const release = () => {
          if (held) this.#open -= 1;
          leave();
        };
        return { session, release };
      } catch (error) {
        this.#starting -= 1;
        const refused = isRefusal(error);
        // More than was ever open at once: now it is known how many are allowed. Otherwise one is still being cleared
        // away; if that takes too long, there never were so many, and the end of one was only heard late.
        const clearing = this.#open < this.#proved && refusals < PATIENCE.times;
        const learnt = refused && this.#open > 0 && !clearing;
        if (learnt) this.#proved = this.#limit = Math.min(this.#limit, this.#open);
        leave();
        if (!refused) throw error;
        if (options.wait === false) throw new NoSession();
        if (!learnt && refusals >= PATIENCE.times)
          throw new ConnectionError(
            `The far side allows no more sessions: ${(error as Error).message}.`,
            "Close other programs that share the connection, or log in anew.",
            { cause: error },
          );
        if (!learnt) await new Promise((resolve) => setTimeout(resolve, PATIENCE.pause));
      }
    }
  }

  /** To be called when a lasting session has nothing to do: somebody may wait for its place. */
  rested(): void {
    if (this.#queue.length > 0) this.#evict();
  }

  /** The connection is gone: who waits is told. */
  close(reason: Error): void {
    this.#closed ??= reason;
    for (const waiting of this.#queue.splice(0)) waiting.reject(reason);
  }

  async #room(options: SessionOptions): Promise<void> {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#queue.length === 0 && this.#open + this.#starting < this.#limit) return;
    if (options.wait === false) throw new NoSession();
    await new Promise<void>((resolve, reject) => {
      this.#queue.push({ resolve, reject });
      this.#evict();
    });
  }

  #next(): void {
    if (this.#open + this.#starting < this.#limit) this.#queue.shift()?.resolve();
    if (this.#queue.length > 0) this.#evict();
  }

  /** Makes room by giving up one that rests, if nothing else will. */
  #evict(): void {
    if (this.#passing > 0) return;
    for (const lasting of this.#lasting) if (lasting.rest()) return;
  }
}
