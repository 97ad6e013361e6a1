/** One stream of events for any number of listeners; a listener that falls behind loses old states of a job, never the newest. */
import type { AgentEvent } from "../protocol.js";

/** Where the core says what happened. */
export class EventHub {
  readonly #listeners = new Set<(event: AgentEvent) => void>();

  /** Tells everyone who listens now. */
  emit(event: AgentEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Events from now on, `listening` first; ends when `signal` aborts or the loop is left. */
  async *listen(signal?: AbortSignal): AsyncGenerator<AgentEvent> {
    const queue: AgentEvent[] = [{ type: "listening" }];
    let wake: () => void = () => undefined;
    const listener = (event: AgentEvent) => {
      // Of one job only the newest state matters: a slow reader's queue stays as short as the number of jobs.
      if (event.type === "job") {
        const old = queue.findIndex((e) => e.type === "job" && e.job.id === event.job.id);
        if (old >= 0) queue.splice(old, 1);
      }
      queue.push(event);
      wake();
    };
    const stop = () => wake();
    this.#listeners.add(listener);
    signal?.addEventListener("abort", stop);
    try {
      for (;;) {
        while (queue.length > 0 && !signal?.aborted) {
          const event = queue.shift();
          if (event !== undefined) yield event;
        }
        if (signal?.aborted) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      this.#listeners.delete(listener);
      signal?.removeEventListener("abort", stop);
    }
  }
}
