/**
 * Worker threads that read PDFs. A page that takes too long, or a file that eats memory, ends its worker and nothing
 * else: the page is a fault, and a new worker goes on.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { SourceError } from "../errors.js";
import { distFile } from "../paths.js";
import type { Json } from "../protocol.js";

/** What a PDF says of itself. */
export interface PdfInfo {
  pages: number;
  labels?: (string | null)[];
  metadata: { [key: string]: Json };
  /** The end of the file is missing. */
  truncated: boolean;
  /** Where the file is readable only with it: what to read behind its bytes, for each of its pages. */
  appendix?: Uint8Array;
  /** Numbers of pages that the file should have, and that are not there. */
  lost: readonly number[];
}

/** A page as an encoded image. */
export interface PdfPage {
  image: Uint8Array;
  /** SHA-256 of it, in hexadecimal. */
  sha256: string;
  mime: string;
  width: number;
  height: number;
  metadata: { [key: string]: Json };
}

/** Which page, and how. */
export interface PageRequest {
  /** Counted from 1. */
  page: number;
  /** Pages of the file. */
  of: number;
  dpi: number;
  passthrough: boolean;
  password?: string;
  appendix?: Uint8Array;
}

/** What a worker is asked. */
export type PdfRequest =
  | { id: number; type: "open"; path: string; password?: string }
  | ({ id: number; type: "page"; path: string } & PageRequest);
/** What it answers. */
export type PdfAnswer = { id: number } & (
  | { info: PdfInfo }
  | { made: PdfPage }
  | { error: { what: string; fix: string } }
);

/** Milliseconds for one page or one file to open. */
const TIME_LIMIT = 120_000;
/**
 * MiB of JavaScript heap of one worker; operator lists with a cycle need all there is (measured: 4 GB in a minute). Below
 * 2048, V8 takes the bitmaps outside the heap for pressure and collects after every other page, a third of all the time,
 * with not a MiB less at the peak.
 */
const HEAP_LIMIT = 2048;

interface Slot {
  worker: Worker | undefined;
  pending: { request: PdfRequest; resolve: (answer: PdfAnswer) => void; reject: (error: Error) => void } | undefined;
}

/** A few workers and a queue in front of them. */
export class PdfPool {
  /** Number of workers. */
  readonly size: number;
  readonly #slots: Slot[];
  readonly #queue: NonNullable<Slot["pending"]>[] = [];
  #next = 1;
  #closed = false;

  constructor(size: number = Math.min(4, availableParallelism())) {
    this.size = size;
    this.#slots = Array.from({ length: size }, () => ({ worker: undefined, pending: undefined }));
  }

  /** Opens a file and reads what it says of itself. Throws SourceError. */
  async open(path: string, password?: string): Promise<PdfInfo> {
    // While the first reads what the file says of itself, the others begin to live.
    for (const slot of this.#slots) slot.worker ??= this.#start(slot);
    const answer = await this.#ask({
      id: this.#next++,
      type: "open",
      path,
      ...(password === undefined ? {} : { password }),
    });
    if ("info" in answer) return answer.info;
    throw new SourceError(
      "error" in answer ? answer.error.what : "It gave no answer.",
      "error" in answer ? answer.error.fix : "",
    );
  }

  /** One page as an image. Throws SourceError. */
  async page(path: string, options: PageRequest): Promise<PdfPage> {
    const answer = await this.#ask({ id: this.#next++, type: "page", path, ...options });
    if ("made" in answer) return answer.made;
    throw new SourceError(
      "error" in answer ? answer.error.what : "It gave no answer.",
      "error" in answer ? answer.error.fix : "",
    );
  }

  #ask(request: PdfRequest): Promise<PdfAnswer> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ request, resolve, reject });
      this.#serve();
    });
  }

  #serve(): void {
    for (const slot of this.#slots) {
      if (this.#queue.length === 0 || this.#closed) return;
      if (slot.pending !== undefined) continue;
      slot.pending = this.#queue.shift();
      this.#run(slot);
    }
  }

  #run(slot: Slot): void {
    const { pending } = slot;
    if (pending === undefined) return;
    slot.worker ??= this.#start(slot);
    const { worker } = slot;
    const settle = (act: () => void) => {
      clearTimeout(timer);
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
      slot.pending = undefined;
      act();
      this.#serve();
    };
    const lose = (what: string) => {
      slot.worker = undefined;
      void worker.terminate();
      settle(() =>
        pending.reject(new SourceError(what, "Look at it in a PDF viewer; it may be damaged or made to harm.")),
      );
    };
    const onMessage = (answer: PdfAnswer) => {
      if (answer.id === pending.request.id) settle(() => pending.resolve(answer));
    };
    const onError = (error: Error & { code?: string }) =>
      lose(
        error.code === "ERR_WORKER_OUT_OF_MEMORY" ? `It needs more than ${HEAP_LIMIT} MiB of memory.` : error.message,
      );
    const onExit = () => lose("The reader ended while it was at work.");
    const timer = setTimeout(() => lose(`It took longer than ${TIME_LIMIT / 1000} s.`), TIME_LIMIT);
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
    worker.postMessage(pending.request);
  }

  #start(slot: Slot): Worker {
    const worker = new Worker(distFile("pdf-worker.cjs"), {
      resourceLimits: { maxOldGenerationSizeMb: HEAP_LIMIT, maxYoungGenerationSizeMb: 8 },
      // What pdf.js prints belongs to nobody's terminal.
      stdout: true,
      stderr: true,
    });
    // Also one that ends before it has work is not given any.
    worker.on("error", () => undefined);
    worker.once("exit", () => {
      if (slot.worker === worker) slot.worker = undefined;
    });
    return worker;
  }

  /** Ends the workers. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { reject } of this.#queue.splice(0)) reject(new SourceError("The source was closed."));
    await Promise.all(
      this.#slots.map(async (slot) => {
        const { worker } = slot;
        slot.worker = undefined;
        await worker?.terminate();
      }),
    );
  }
}
