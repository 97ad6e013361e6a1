/**
 * Waiting for a cluster's login, as clients see it: terminal, notebook and scripts all learn from the agent's events
 * what is asked, by whomever it was caused, and that it is gone.
 */
import type { LoginState } from "../display/index.js";
import type { AgentEvent, Core, Prompt } from "../protocol.js";

/** Milliseconds that a verb may take before somebody looks whether it waits for a login; most have ended by then. */
const PATIENCE = 300;

/** Which clusters somebody waits for. */
export type Concerns = (cluster: string) => boolean;

/** What has changed about the login to a cluster. */
export interface LoginNews extends LoginState {
  /** The question that does not stand any more, and why. */
  gone?: { prompt: Prompt; reason: "answered" | "expired" | "withdrawn" };
}

/** Takes an event into what is known of one cluster's login; false if it says nothing about it. */
export function takeLogin(state: LoginState, event: AgentEvent): boolean {
  if (event.type === "connection" && event.connection.cluster === state.cluster) state.connection = event.connection;
  else if (event.type === "prompt" && event.prompt.cluster === state.cluster) state.prompt = event.prompt;
  else if (event.type === "prompt_gone" && event.id === state.prompt?.id) delete state.prompt;
  else return false;
  return true;
}

/** How the logins to the clusters concerned stand now. */
export async function readLogins(core: Core, concerns: Concerns): Promise<LoginState[]> {
  const [connections, prompts] = await Promise.all([core.connections(), core.prompts()]);
  return connections
    .filter((connection) => concerns(connection.cluster))
    .map((connection) => {
      const prompt = prompts.find((p) => p.cluster === connection.cluster);
      return { cluster: connection.cluster, connection, ...(prompt === undefined ? {} : { prompt }) };
    });
}

/**
 * How the logins to the clusters concerned stand: first what stands already, then every change, until `signal` aborts. A
 * question that was never seen to go (the agent was restarted) is told as withdrawn.
 */
export async function* followLogin(core: Core, concerns: Concerns, signal: AbortSignal): AsyncGenerator<LoginNews> {
  let states = new Map<string, LoginState>();
  for await (const event of core.events(signal)) {
    if (event.type === "listening") {
      const now = await readLogins(core, concerns);
      if (signal.aborted) return;
      for (const { prompt, ...rest } of states.values())
        if (prompt !== undefined && !now.some((s) => s.prompt?.id === prompt.id))
          yield { ...rest, gone: { prompt, reason: "withdrawn" } };
      states = new Map(now.map((state) => [state.cluster, state]));
      for (const state of now) yield { ...state };
      continue;
    }
    const cluster =
      event.type === "connection"
        ? event.connection.cluster
        : event.type === "prompt"
          ? event.prompt.cluster
          : event.type === "prompt_gone"
            ? [...states.values()].find((s) => s.prompt?.id === event.id)?.cluster
            : undefined;
    if (cluster === undefined || !concerns(cluster)) continue;
    const state = states.get(cluster) ?? { cluster };
    states.set(cluster, state);
    const { prompt } = state;
    takeLogin(state, event);
    if (event.type === "prompt_gone" && prompt !== undefined)
      yield { ...state, gone: { prompt, reason: event.reason } };
    else yield { ...state };
  }
}

/** Attends to the login of a cluster until `signal` aborts: shows what is asked, takes the answer where it can. */
export type Attend = (core: Core, concerns: Concerns, signal: AbortSignal) => Promise<void>;

/** Runs `work` while somebody attends to the logins that it may wait for. What attending throws is not the work's fault. */
export async function attended<T>(
  attend: Attend,
  core: Core,
  concerns: () => Promise<Concerns | undefined>,
  work: () => Promise<T>,
  patience: number = PATIENCE,
): Promise<T> {
  const over = new AbortController();
  const begin = async () => {
    const concerned = await concerns();
    if (concerned !== undefined && !over.signal.aborted) await attend(core, concerned, over.signal);
  };
  let attending: Promise<void> | undefined;
  const timer = setTimeout(() => {
    attending = begin().catch(() => undefined);
  }, patience);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
    over.abort();
    await attending;
  }
}

/** Says which cluster a verb waits for; `""` where its caller left that to the configuration. */
type Lookup = (core: Core, args: readonly unknown[]) => Promise<string> | string;
const byJob: Lookup = async (core, args) => (await core.get(String(args[0]))).spec.cluster;
const byName: Lookup = (_core, args) => String(args[0]);
const bySpec: Lookup = (_core, args) => (args[0] as { cluster: string }).cluster;

/** The verbs that may wait for a line, and which cluster's. */
const WAITING: Readonly<Record<string, Lookup>> = {
  cancel: byJob,
  hold: byJob,
  release: byJob,
  remove: byJob,
  logs: byJob,
  results: byJob,
  download: byJob,
  estimate: bySpec,
  cluster: byName,
  sync: byName,
  login: byName,
};

/** The same core, whose verbs that wait for a login are attended to. */
export function attendedCore<C extends Core>(core: C, attend: Attend): C {
  return new Proxy(core, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      const verb = value.bind(target) as (...args: unknown[]) => Promise<unknown>;
      const lookup = typeof name === "string" && Object.hasOwn(WAITING, name) ? WAITING[name] : undefined;
      if (lookup === undefined) return verb;
      return (...args: unknown[]) => {
        const concerns = async () => {
          const name = await lookup(target, args);
          // This machine asks for nothing.
          return name === "local" ? undefined : (cluster: string) => name === "" || cluster === name;
        };
        return attended(attend, target, concerns, () => verb(...args));
      };
    },
  });
}
