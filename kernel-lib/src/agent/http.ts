/** What both ends of the agent's socket agree on. */
import { PROTOCOL_VERSION } from "../protocol.js";

export { PROTOCOL_HEADER } from "../protocol.js";

/** A verb of {@link Core} that can be called by `POST /v1/<verb>` with a JSON list of arguments. */
export type Verb =
  | "submit"
  | "plan"
  | "list"
  | "get"
  | "cancel"
  | "hold"
  | "release"
  | "estimate"
  | "cluster"
  | "sync"
  | "retry"
  | "remove"
  | "logs"
  | "results"
  | "download"
  | "connections"
  | "login"
  | "logout"
  | "prompts"
  | "answer";

/** For each verb, whether it may be sent again after a lost answer: it reads, or its repetition changes nothing. */
export const VERBS: Readonly<Record<Verb, { repeatable: boolean }>> = {
  submit: { repeatable: true },
  plan: { repeatable: true },
  list: { repeatable: true },
  get: { repeatable: true },
  cancel: { repeatable: true },
  hold: { repeatable: true },
  release: { repeatable: true },
  estimate: { repeatable: true },
  cluster: { repeatable: true },
  sync: { repeatable: true },
  retry: { repeatable: false },
  remove: { repeatable: false },
  logs: { repeatable: true },
  results: { repeatable: true },
  download: { repeatable: true },
  connections: { repeatable: true },
  login: { repeatable: false },
  logout: { repeatable: false },
  prompts: { repeatable: true },
  answer: { repeatable: false },
};

/** The calls of {@link PanelCalls}, and a page's image, which is answered by its bytes: `POST /v1/<call>`. */
export const PANEL_CALLS = ["jobs", "choices", "form", "pages", "page", "image"] as const;

/** Why two versions can't talk, and which side to bring up to date. */
export function mismatch(theirs: string | number | undefined, role: "client" | "agent"): { what: string; fix: string } {
  const other = Number(theirs);
  // `role` says who is told: the agent judges the client, or the other way round.
  const [client, agent] = role === "agent" ? [PROTOCOL_VERSION, other] : [other, PROTOCOL_VERSION];
  const what = `This client speaks protocol ${Number.isNaN(client) ? "unknown" : client}, the running agent ${Number.isNaN(agent) ? "unknown" : agent}.`;
  return client > agent
    ? { what, fix: "The agent is older: `yale agent stop`, and the next command starts the new one. Jobs go on." }
    : { what, fix: "This client is older: update yale-jobs here, then restart the kernel or terminal." };
}
