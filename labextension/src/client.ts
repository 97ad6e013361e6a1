/** The way to the agent: commands by POST, events by one WebSocket, through the Jupyter server and its login. */
import { URLExt } from "@jupyterlab/coreutils";
import { ServerConnection } from "@jupyterlab/services";
import type { IDisposable } from "@lumino/disposable";
import { type AgentEvent, type Core, type PanelCalls, PROTOCOL_HEADER, PROTOCOL_VERSION } from "yale-jobs/protocol";

/** What can be asked: the verbs of the core and the calls made for this panel. */
export type Calls = Omit<Core, "events"> & PanelCalls;

/** A refusal of the agent, or of what lies on the way to it, for people. */
export class AgentError extends Error {
  /** One of the documented codes, such as `login`; `server` where the agent was not reached at all. */
  readonly code: string;
  /** What to do next; empty where nothing can be done. */
  readonly fix: string;

  constructor(code: string, what: string, fix = "") {
    super(what);
    this.code = code;
    this.fix = fix;
  }
}

/** What the server extension says beside the agent's own events: nobody is there, and why. */
export interface Absent {
  type: "absent";
  error: { what: string; fix: string };
}

/** Milliseconds before the first try to reach a lost Jupyter server again, and the longest between two tries. */
const RETRY = { first: 1000, most: 30_000 };

/** The agent as the page sees it. */
export class Agent {
  readonly #settings: ServerConnection.ISettings;
  #socket: WebSocket | undefined;

  constructor(settings: ServerConnection.ISettings = ServerConnection.makeSettings()) {
    this.#settings = settings;
  }

  /** Calls a verb. Throws AgentError. */
  async call<K extends keyof Calls>(verb: K, ...args: Parameters<Calls[K]>): Promise<Awaited<ReturnType<Calls[K]>>> {
    const response = await this.#post(verb, args);
    const answer = (await response.json().catch(() => ({}))) as {
      ok?: unknown;
      error?: { code: string; what: string; fix: string };
      message?: string;
    };
    if (answer.error !== undefined) throw new AgentError(answer.error.code, answer.error.what, answer.error.fix);
    if (!response.ok) throw serverError(response.status, answer.message);
    return answer.ok as Awaited<ReturnType<Calls[K]>>;
  }

  /** A page's image; undefined if it is not on the agent's machine. */
  async image(id: string, key: string, width: number): Promise<Blob | undefined> {
    const response = await this.#post("image", [id, key, width]);
    const picture = response.ok && response.headers.get("Content-Type")?.startsWith("image/") === true;
    return picture ? response.blob() : undefined;
  }

  async #post(call: string, args: readonly unknown[]): Promise<Response> {
    const url = URLExt.join(this.#settings.baseUrl, "yale-jobs", "v1", call);
    const headers = { [PROTOCOL_HEADER]: String(PROTOCOL_VERSION), "Content-Type": "application/json" };
    try {
      return await ServerConnection.makeRequest(
        url,
        { method: "POST", headers, body: JSON.stringify(args) },
        this.#settings,
      );
    } catch {
      throw serverError(0);
    }
  }

  /**
   * Listens until disposed: `onEvent` gets the agent's events, and {@link Absent} when there is none; `onLost` that the
   * Jupyter server itself can't be reached, which is tried again by itself.
   */
  listen(onEvent: (event: AgentEvent | Absent) => void, onLost: (error: AgentError) => void): IDisposable {
    let delay = RETRY.first;
    let timer: number | undefined;
    let over = false;
    const open = () => {
      window.clearTimeout(timer);
      if (over) return;
      const socket = new this.#settings.WebSocket(this.#eventsUrl());
      this.#socket = socket;
      socket.onmessage = (message: MessageEvent<string>) => {
        delay = RETRY.first;
        onEvent(JSON.parse(message.data) as AgentEvent | Absent);
      };
      socket.onclose = () => {
        if (over || this.#socket !== socket) return;
        this.#socket = undefined;
        timer = window.setTimeout(open, delay);
        delay = Math.min(delay * 2, RETRY.most);
        // A WebSocket does not say why it was refused; an ordinary request does.
        this.call("connections").catch((error: unknown) => {
          if (!over && error instanceof AgentError) onLost(error);
        });
      };
    };
    const soon = () => {
      if (this.#socket === undefined && document.visibilityState === "visible") open();
    };
    document.addEventListener("visibilitychange", soon);
    window.addEventListener("online", soon);
    open();
    return {
      get isDisposed() {
        return over;
      },
      dispose: () => {
        over = true;
        window.clearTimeout(timer);
        document.removeEventListener("visibilitychange", soon);
        window.removeEventListener("online", soon);
        this.#socket?.close();
        this.#socket = undefined;
      },
    };
  }

  /** Asks for the agent to be started, after an {@link Absent}. */
  start(): void {
    this.#socket?.send("start");
  }

  #eventsUrl(): string {
    const { wsUrl, appendToken, token } = this.#settings;
    const url = URLExt.join(wsUrl, "yale-jobs", "v1", "events");
    return appendToken && token !== "" ? `${url}?token=${encodeURIComponent(token)}` : url;
  }
}

/** What the status of an answer that is not the agent's means to a person. */
function serverError(status: number, message?: string): AgentError {
  if (status === 404)
    return new AgentError(
      "server",
      "The server part of Yale Jobs is not active in this Jupyter server.",
      "Run `yale setup --check` in a terminal; it says what is missing. Then restart JupyterLab.",
    );
  if (status === 401 || status === 403)
    return new AgentError("server", "The Jupyter server refuses this page.", "Log in again: reload the page.");
  if (status === 0)
    return new AgentError("server", "The Jupyter server can't be reached.", "It is tried again by itself.");
  return new AgentError("server", `The Jupyter server answered ${status}${message ? `: ${message}` : ""}.`);
}
