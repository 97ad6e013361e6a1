/** The core as notebooks, terminals and the panel see it: every verb goes to the agent, which is started if need be. */
import { AgentError, isYaleError } from "../errors.js";
import { socketPath } from "../paths.js";
import type {
  AgentEvent,
  ClusterInfo,
  Connection,
  Core,
  Estimate,
  JobFilter,
  JobRecord,
  JobSpec,
  LogChunk,
  Plan,
  Prompt,
} from "../protocol.js";
import { newJobId, PROTOCOL_VERSION } from "../protocol.js";
import { call } from "./call.js";
import { PROTOCOL_HEADER, VERBS, type Verb } from "./http.js";
import { ensureAgent, isAbsent } from "./start.js";

/** A client of the agent; nothing is opened before the first call. */
export async function connect(): Promise<Core> {
  return new AgentClient();
}

class AgentClient implements Core {
  async #call<T>(verb: Verb, ...args: unknown[]): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await call("POST", `/v1/${verb}`, args)) as T;
      } catch (error) {
        if (isYaleError(error)) throw error;
        // Nobody was there: nothing was done, so any verb may be sent. A call cut off midway only if it may be repeated.
        if (attempt > 3 || !(isAbsent(error) || VERBS[verb].repeatable))
          throw new AgentError(
            `The agent was lost while it worked on ${verb}: ${(error as Error).message}.`,
            "Look at the job's state before trying again.",
            {
              cause: error,
            },
          );
        await ensureAgent();
      }
    }
  }

  submit(spec: JobSpec, id: string = newJobId()): Promise<JobRecord> {
    return this.#call("submit", spec, id);
  }
  plan(spec: JobSpec): Promise<Plan> {
    return this.#call("plan", spec);
  }
  list(filter: JobFilter = {}): Promise<JobRecord[]> {
    return this.#call("list", filter);
  }
  get(id: string): Promise<JobRecord> {
    return this.#call("get", id);
  }
  cancel(id: string): Promise<JobRecord> {
    return this.#call("cancel", id);
  }
  hold(id: string): Promise<JobRecord> {
    return this.#call("hold", id);
  }
  release(id: string): Promise<JobRecord> {
    return this.#call("release", id);
  }
  retry(id: string, changes?: Partial<JobSpec>): Promise<JobRecord> {
    return this.#call("retry", id, ...(changes === undefined ? [] : [changes]));
  }
  remove(id: string, options: { files?: boolean } = {}): Promise<void> {
    return this.#call("remove", id, options);
  }
  logs(id: string, options: { offset?: number; task?: number } = {}): Promise<LogChunk> {
    return this.#call("logs", id, options);
  }
  results(id: string): Promise<{ folder: string; complete: boolean }> {
    return this.#call("results", id);
  }
  download(id: string, folder: string): Promise<{ files: number; bytes: number; folder: string }> {
    return this.#call("download", id, folder);
  }
  estimate(spec: JobSpec): Promise<Estimate> {
    return this.#call("estimate", spec);
  }
  cluster(cluster: string, config?: string): Promise<ClusterInfo> {
    return this.#call("cluster", cluster, ...(config === undefined ? [] : [config]));
  }
  sync(cluster: string, config?: string): Promise<{ found: number; added: number; skipped: string[] }> {
    return this.#call("sync", cluster, ...(config === undefined ? [] : [config]));
  }
  connections(): Promise<Connection[]> {
    return this.#call("connections");
  }
  login(cluster: string, config?: string): Promise<Connection> {
    return this.#call("login", cluster, ...(config === undefined ? [] : [config]));
  }
  logout(cluster: string): Promise<Connection> {
    return this.#call("logout", cluster);
  }
  prompts(): Promise<Prompt[]> {
    return this.#call("prompts");
  }
  answer(promptId: string, answers: string[] | null): Promise<void> {
    return this.#call("answer", promptId, answers);
  }

  /** Survives a killed agent: it is started again, and the next event is `listening`. */
  async *events(signal?: AbortSignal): AsyncGenerator<AgentEvent> {
    const { WebSocket } = await import("ws");
    while (signal?.aborted !== true) {
      await ensureAgent();
      const socket = new WebSocket(`ws+unix://${socketPath()}:/v1/events`, {
        headers: { [PROTOCOL_HEADER]: String(PROTOCOL_VERSION) },
      });
      const queue: AgentEvent[] = [];
      let over = false;
      let wake: () => void = () => undefined;
      const end = () => {
        over = true;
        wake();
      };
      socket.on("message", (data) => {
        queue.push(JSON.parse(String(data)) as AgentEvent);
        wake();
      });
      // What went wrong shows at the next ensureAgent.
      socket.on("error", end).on("close", end);
      signal?.addEventListener("abort", end);
      try {
        while (!over || queue.length > 0) {
          const event = queue.shift();
          if (event !== undefined) yield event;
          else if (!over)
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          if (signal?.aborted) return;
        }
      } finally {
        signal?.removeEventListener("abort", end);
        socket.terminate();
      }
    }
  }
}
