/** A client of the agent's events, as the panel is one. */
import { connect } from "../../kernel-lib/src/agent/client.js";
import type { AgentEvent, Connection, Core, Prompt } from "../../kernel-lib/src/protocol.js";

/** Somebody who listens to the agent's events, as the panel does. */
export class Listener {
  /** All that was heard. */
  readonly events: AgentEvent[] = [];
  readonly #stop = new AbortController();
  readonly #sleepers: (() => void)[] = [];
  readonly core: Core;

  constructor(core: Core) {
    this.core = core;
    void (async () => {
      for await (const event of core.events(this.#stop.signal)) {
        this.events.push(event);
        // What stood before one came is read, as the panel does.
        if (event.type === "listening") {
          const [connections, prompts] = await Promise.all([core.connections(), core.prompts()]);
          for (const connection of connections) this.events.push({ type: "connection", connection });
          for (const prompt of prompts) this.events.push({ type: "prompt", prompt });
        }
        for (const wake of this.#sleepers.splice(0)) wake();
      }
    })();
  }

  static readonly #all = new Set<Listener>();

  /** Lets all go, also those of a test that failed: who listens starts the agent again when it ends. */
  static closeAll(): void {
    for (const listener of Listener.#all) listener.close();
  }

  /** Begins to listen to the agent of the sandbox that this process is in. */
  static async begin(): Promise<Listener> {
    const listener = new Listener(await connect());
    Listener.#all.add(listener);
    await listener.until("the stream", (events) => events.length > 0);
    return listener;
  }

  /** Waits until what was heard holds something. */
  async until<T>(what: string, find: (events: AgentEvent[]) => T | undefined | false, seconds = 60): Promise<T> {
    const end = Date.now() + seconds * 1000;
    for (;;) {
      const found = find(this.events);
      if (found !== undefined && found !== false) return found;
      if (Date.now() > end)
        throw new Error(`Waited for ${what}; heard ${JSON.stringify(this.events.slice(-8), null, 1)}`);
      await new Promise<void>((resolve) => {
        this.#sleepers.push(resolve);
        setTimeout(resolve, 1000).unref();
      });
    }
  }

  /** The questions so far. */
  get prompts(): Prompt[] {
    return this.events.flatMap((e) => (e.type === "prompt" ? [e.prompt] : []));
  }
  /** The question number `n`, counted from 1. */
  prompt(n = 1): Promise<Prompt> {
    return this.until(`question ${n}`, () => this.prompts[n - 1]);
  }
  /** Answers question `n`, or declines. */
  async answer(answers: string[] | null, n = 1): Promise<void> {
    await this.core.answer((await this.prompt(n)).id, answers);
  }
  /** The states of a line so far. */
  states(cluster: string): Connection[] {
    return this.events.flatMap((e) =>
      e.type === "connection" && e.connection.cluster === cluster ? [e.connection] : [],
    );
  }
  /** Waits until the newest state of a line is so, after `from` states. */
  state(cluster: string, state: Connection["state"], from = 0): Promise<Connection> {
    return this.until(`${cluster} ${state}`, () => {
      const last = this.states(cluster).slice(from).at(-1);
      return last?.state === state && last;
    });
  }
  /** Goes away. */
  close(): void {
    this.#stop.abort();
    Listener.#all.delete(this);
  }
}
