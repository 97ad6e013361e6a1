/** Many small pieces of work at once, all ended by the first that fails. */
import { setMaxListeners } from "node:events";
import { InterruptedError } from "../errors.js";

/** Calls `work` for each item, `atOnce` at a time; the first failure stops it, and is thrown when all have ended. */
export async function eachOf<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, index: number) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  let next = 0;
  let failed: { error: unknown } | undefined;
  const worker = async () => {
    while (next < items.length && failed === undefined) {
      const index = next++;
      try {
        signal?.throwIfAborted();
        await work(items[index] as T, index);
      } catch (error) {
        failed ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  if (failed !== undefined) throw failed.error;
}

/** One transfer: whatever belongs to it ends when one part fails or the caller wants it to. */
export class Scope {
  readonly #stop = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #onAbort = () => this.fail(this.interruption());

  constructor(caller?: AbortSignal) {
    this.#caller = caller;
    // Every call in flight listens.
    setMaxListeners(0, this.#stop.signal);
    caller?.addEventListener("abort", this.#onAbort, { once: true });
    if (caller?.aborted) this.#onAbort();
  }

  /** Aborted when the transfer has failed or was interrupted; its reason is the error. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Ends everything else with this error, unless another was first. */
  fail(error: unknown): void {
    if (!this.signal.aborted) this.#stop.abort(error);
  }

  /** Settles as `work` does, or with the error of the scope at once. */
  race<T>(work: Promise<T>): Promise<T> {
    if (this.signal.aborted) {
      work.catch(() => undefined);
      return Promise.reject(this.signal.reason);
    }
    return new Promise((resolve, reject) => {
      const abort = () => reject(this.signal.reason);
      this.signal.addEventListener("abort", abort, { once: true });
      work.then(resolve, reject).finally(() => this.signal.removeEventListener("abort", abort));
    });
  }

  /** Runs every task, `atOnce` at a time; the others stop at once when one fails, rather than when they notice. */
  all(tasks: readonly (() => Promise<void>)[], atOnce: number): Promise<void> {
    return eachOf(
      tasks,
      atOnce,
      async (task) => {
        try {
          await task();
        } catch (error) {
          this.fail(error);
          throw error;
        }
      },
      this.signal,
    );
  }

  /** Runs the whole, and ends what is left of it if it fails. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    try {
      this.signal.throwIfAborted();
      return await work();
    } catch (error) {
      this.fail(error);
      throw error;
    } finally {
      this.#caller?.removeEventListener("abort", this.#onAbort);
    }
  }

  private interruption(): InterruptedError {
    return new InterruptedError("The transfer was interrupted.", "What arrived stays; it goes on when asked again.");
  }
}

/** Counts of a transfer as they are told to its caller, ten times a second at most. */
export class Meter {
  /** Bytes that went over the line, again where they had to. */
  sent = 0;
  /** Files that are whole. */
  files = 0;
  /** Bytes of the tree that are there. */
  bytes = 0;
  readonly #total: number;
  readonly #tell: ((progress: { files: number; bytes: number; total: number }) => void) | undefined;
  #told = 0;

  constructor(total: number, tell?: (progress: { files: number; bytes: number; total: number }) => void) {
    this.#total = total;
    this.#tell = tell;
  }

  /** Bytes have arrived. */
  arrived(bytes: number): void {
    this.sent += bytes;
    this.there(bytes);
  }

  /** Bytes were there already. */
  there(bytes: number): void {
    this.bytes += bytes;
    const now = performance.now();
    if (now - this.#told < 100) return;
    this.#told = now;
    this.tell();
  }

  tell(): void {
    this.#tell?.({ files: this.files, bytes: Math.min(this.bytes, this.#total), total: this.#total });
  }
}

/** Bytes for people. */
export function amount(bytes: number): string {
  if (bytes < 1 << 20) return `${bytes} bytes`;
  const [unit, name] = bytes < 1 << 30 ? [1 << 20, "MiB"] : [1 << 30, "GiB"];
  return `${(bytes / unit).toFixed(1)} ${name}`;
}
