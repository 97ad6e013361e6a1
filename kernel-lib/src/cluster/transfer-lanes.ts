/**
 * Several SFTP channels as one wide way. Each channel of SSH has a window of 2 MiB in OpenSSH and in ssh2, so that over a
 * long way one carries 2 MiB a round trip at best (67 MiB/s at 30 ms), however much is asked for at once.
 */
import type { FileHandle, Sftp, Transport } from "./transport.js";

/**
 * Bytes of one read or write: the most that ssh2 asks of every OpenSSH (256 KiB less 2 KiB); where a server takes less, the
 * transport cuts. With its header it fills eight packets of 32 KiB: of a power of two, the last few bytes would take a
 * packet of their own.
 */
export const CHUNK = 254 << 10;
/** Chunks in flight in one lane: 2.5 MiB, so that its window never runs dry while an answer is under way. */
const IN_FLIGHT = 10;

/** Which way the bytes go. ssh2 hands on half its window a round trip, so that reading needs more lanes. */
export type Direction = "up" | "down";

/** The lanes of one transfer. At most `4 × IN_FLIGHT × CHUNK` = 10 MiB are in flight, whatever the number of files. */
export class Lanes {
  readonly #lanes: { sftp: Sftp; free: number }[];
  readonly #waiting: (() => void)[] = [];

  private constructor(channels: readonly Sftp[]) {
    this.#lanes = channels.map((sftp) => ({ sftp, free: IN_FLIGHT }));
  }

  /** As many lanes as the round trip, measured here, asks for. Throws ConnectionError. */
  static async open(transport: Transport, direction: Direction): Promise<Lanes> {
    const first = await transport.sftp(0);
    let roundTrip = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 2; i++) {
      const start = performance.now();
      await first.realpath(".");
      roundTrip = Math.min(roundTrip, performance.now() - start);
    }
    const more = Array.from({ length: lanesFor(roundTrip, direction) - 1 }, (_, i) => transport.sftp(i + 1));
    return new Lanes([...new Set([first, ...(await Promise.all(more))])]);
  }

  /** The lane for everything that is not bytes of files. */
  get sftp(): Sftp {
    return (this.#lanes[0] as { sftp: Sftp }).sftp;
  }

  /** Every lane, for work that is spread by its caller. */
  get all(): readonly Sftp[] {
    return this.#lanes.map((lane) => lane.sftp);
  }

  /** Opens a file in every lane; the first opens it for the others, which join as they are ready. */
  async open(path: string, flags: "r" | "w" | "r+"): Promise<WideFile> {
    const file = new WideFile(this, await this.sftp.open(path, flags));
    for (const [i, lane] of this.#lanes.entries())
      if (i > 0) file.join(i, lane.sftp.open(path, flags === "r" ? "r" : "r+"));
    return file;
  }

  /** A place in the freest of the given lanes; give it back with {@link release}. */
  async acquire(usable: (lane: number) => boolean): Promise<number> {
    for (;;) {
      let best = -1;
      for (const [i, lane] of this.#lanes.entries())
        if (usable(i) && lane.free > (this.#lanes[best]?.free ?? 0)) best = i;
      const lane = this.#lanes[best];
      if (lane !== undefined) {
        lane.free -= 1;
        return best;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  release(index: number): void {
    const lane = this.#lanes[index];
    if (lane !== undefined) lane.free += 1;
    this.wake();
  }

  /** A lane has become free or usable. */
  wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** A far file that is open in several lanes. */
export class WideFile {
  readonly #lanes: Lanes;
  readonly #handles: (FileHandle | undefined)[];
  readonly #joining: Promise<void>[] = [];
  #closed = false;

  constructor(lanes: Lanes, first: FileHandle) {
    this.#lanes = lanes;
    this.#handles = [first];
  }

  /** The file opens in one more lane; one that can't is done without. */
  join(lane: number, opening: Promise<FileHandle>): void {
    this.#joining.push(
      opening.then(
        (handle) => {
          if (this.#closed) return handle.close().catch(() => undefined);
          this.#handles[lane] = handle;
          this.#lanes.wake();
        },
        () => undefined,
      ),
    );
  }

  /**
   * Begins `work` in the next free lane and resolves with its lane and its promise, which never goes unhandled. The
   * caller gives the lane back when it has done with the result.
   */
  async begin<T>(work: (handle: FileHandle) => Promise<T>): Promise<{ lane: number; result: Promise<T> }> {
    const lane = await this.#lanes.acquire((i) => this.#handles[i] !== undefined);
    const handle = this.#handles[lane];
    if (handle === undefined) {
      // It was closed while this call waited: the transfer is over.
      this.release(lane);
      throw new Error("The file was closed.");
    }
    const result = work(handle);
    result.catch(() => undefined);
    return { lane, result };
  }

  release(lane: number): void {
    this.#lanes.release(lane);
  }

  /** What was written through any lane is asked onto the disk. */
  async sync(): Promise<void> {
    await this.#handles[0]?.sync();
  }

  /** Never throws. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = this.#handles.splice(0);
    await Promise.all([...all.map((handle) => handle?.close().catch(() => undefined)), ...this.#joining]);
  }
}

function lanesFor(roundTrip: number, direction: Direction): number {
  if (roundTrip < 5) return direction === "up" ? 1 : 2;
  if (direction === "down") return 4;
  return roundTrip < 50 ? 2 : 4;
}
