/** Appends a runner's events to `progress.jsonl`, one line and one write each. */
import { appendFileSync, readFileSync } from "node:fs";
import type { RunnerEvent } from "../../kernel-lib/src/protocol.js";

type Unnumbered = RunnerEvent extends infer E ? (E extends RunnerEvent ? Omit<E, "n" | "time"> : never) : never;

/** Writer of one attempt's events; numbers go on over attempts. */
export class ProgressWriter {
  readonly #path: string;
  #n = 0;

  constructor(path: string = process.env.YALE_JOBS_PROGRESS ?? "progress.jsonl") {
    this.#path = path;
    try {
      const text = readFileSync(path, "utf8");
      this.#n = text.split("\n").length - 1;
      // A line that a killed attempt tore is ended, so that the next one stands by itself.
      if (text !== "" && !text.endsWith("\n")) appendFileSync(path, "\n");
    } catch {
      // The first attempt.
    }
  }

  /** Writes one event. */
  write(event: Unnumbered): void {
    this.#n += 1;
    appendFileSync(this.#path, `${JSON.stringify({ n: this.#n, time: new Date().toISOString(), ...event })}\n`);
  }

  start(about: { total: number; done: number; attempt: number }): void {
    this.write({ type: "start", ...about });
  }
  total(total: number): void {
    this.write({ type: "total", total });
  }
  page(key: string, seconds: number): void {
    this.write({ type: "page", key, seconds: Math.round(seconds * 1000) / 1000 });
  }
  error(key: string, reason: string): void {
    this.write({ type: "error", key, reason: reason.slice(0, 1000) });
  }
}
