/** Telling a command's own output from what the login shell's start-up files print before it. */

/** Bytes of a preamble that are kept: a command that never began is told of by them. */
const KEPT = 64 << 10;

/** One stream of a session whose command begins with a mark. */
export class Preamble {
  readonly #mark: Buffer;
  #held: Buffer = Buffer.alloc(0);
  #over = false;

  /** @param mark random, so that nothing but the command can have printed it. */
  constructor(mark: string) {
    this.#mark = Buffer.from(mark);
  }

  /** The part of a piece that is the command's. */
  push(chunk: Buffer): Buffer {
    if (this.#over) return chunk;
    const data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const at = data.indexOf(this.#mark);
    if (at < 0) {
      this.#held = data.subarray(Math.max(0, data.length - KEPT));
      return Buffer.alloc(0);
    }
    this.#over = true;
    this.#held = Buffer.alloc(0);
    return data.subarray(at + this.#mark.length);
  }

  /** What was said where no command began, as by a login shell that lets nobody in. */
  rest(): Buffer {
    return this.#held;
  }
}
