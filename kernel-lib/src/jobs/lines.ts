/**
 * The lines to clusters: at most one to each, shared by everything in this process, and so by everybody who talks to
 * the agent. A line that needs a person is opened for a person (`yale login`, a submission, results) and asks once; what
 * runs in the background comes along, and never repeats a question that was refused, declined or left unanswered,
 * since repeats lock accounts.
 */
import { connectionKey, openTransport } from "../cluster/registry.js";
import type { Ask, LoginOptions, Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { ConnectionError, InterruptedError, LoginError } from "../errors.js";
import type { Connection } from "../protocol.js";
import { isConnection, isLogin, joined, Line, type Opening, refusalOf, sentence } from "./line.js";

/**
 * Milliseconds after a question went wrong in which the verbs of other callers get the same refusal instead of the
 * question: twenty commands of one script are one person. `yale login` asks again at any time.
 */
const REFUSAL_HOLDS = 15_000;

/** Milliseconds for which it is remembered which line a configuration means. */
const KEY_HOLDS = 60_000;

/** Milliseconds until the next try after so many that failed: a second, doubled up to a minute, never in step with others. */
function backoff(failures: number): number {
  return Math.min(1000 * 2 ** Math.min(failures, 10), 60_000) * (0.75 + Math.random() / 2);
}

/** What {@link Lines} are made of. */
export interface LinesOptions {
  /** Asks whoever is there: `Prompts.ask`. */
  ask: Ask;
  /** Told of every change of every line. */
  onChange: (connection: Connection) => void;
  /** How a line is opened; tests give their own. */
  open?: (cluster: ClusterConfig, login: LoginOptions) => Promise<Transport>;
  /** What a connection is, whatever its cluster is called in one config.yaml or another. */
  key?: (cluster: ClusterConfig) => Promise<string>;
  /** Milliseconds before the next try after so many failures. */
  backoff?: (failures: number) => number;
}

/** How a line is asked for. */
export interface OpenOptions {
  /** True (the default) where a person wants it now and may be asked; false for what runs by itself, such as polls. */
  interactive?: boolean;
  /** Leaves off waiting; an opening that nobody waits for any more is given up, its question withdrawn. */
  signal?: AbortSignal;
}

/** All lines of one core. */
export class Lines {
  readonly #lines = new Map<string, Line>();
  readonly #keys = new Map<string, { key: Promise<string>; at: number }>();
  readonly #key: (cluster: ClusterConfig) => Promise<string>;
  readonly #ask: Ask;
  readonly #onChange: (connection: Connection) => void;
  readonly #openTransport: (cluster: ClusterConfig, login: LoginOptions) => Promise<Transport>;
  readonly #backoff: (failures: number) => number;
  #closed = false;

  constructor(options: LinesOptions) {
    this.#ask = options.ask;
    this.#onChange = options.onChange;
    this.#openTransport = options.open ?? openTransport;
    this.#key = options.key ?? connectionKey;
    this.#backoff = options.backoff ?? backoff;
  }

  /**
   * The line to a cluster, opened if there is none; who comes while it is being opened waits for the same. With
   * `interactive: false` it fails at once where a person would have to be asked again, or while a lost line waits for
   * its next try. Throws LoginError, HostKeyError, ConnectionError, and the reason of `signal`.
   */
  async open(cluster: ClusterConfig, options: OpenOptions = {}): Promise<Transport> {
    const line = await this.#line(cluster);
    return this.#open(line, options.interactive === false ? "nobody" : "person", options.signal);
  }

  /** As {@link open} for a person who asked for nothing but this line: asks, whatever was refused a moment ago. */
  async login(cluster: ClusterConfig, signal?: AbortSignal): Promise<Transport> {
    return this.#open(await this.#line(cluster), "login", signal);
  }

  /**
   * The line as soon as it is open, however long that takes: for work that goes on by itself after a lost line or a
   * login. It lets the line be opened where that needs nobody (and asks once where a line that a person had opened was
   * lost); otherwise it waits until a person logs in. So after a ConnectionError or LoginError in the middle of an
   * upload or a submission: `transport = await lines.whenOpen(cluster, signal)`, and go on from what is there. Throws
   * what no waiting mends (ConfigError), and the reason of `signal`.
   */
  async whenOpen(cluster: ClusterConfig, signal?: AbortSignal): Promise<Transport> {
    const line = await this.#line(cluster);
    line.waiters += 1;
    try {
      for (;;) {
        const change = line.change(signal);
        try {
          return await this.#open(line, "nobody", signal);
        } catch (error) {
          signal?.throwIfAborted();
          if (this.#closed || !(isLogin(error) || isConnection(error))) throw error;
          this.#tryLater(line);
          await change.happened;
        } finally {
          change.letGo();
        }
      }
    } finally {
      line.waiters -= 1;
    }
  }

  async #open(line: Line, who: "person" | "login" | "nobody", signal?: AbortSignal): Promise<Transport> {
    for (;;) {
      signal?.throwIfAborted();
      if (line.transport !== undefined) return line.transport;
      let opening = line.opening;
      if (opening === undefined) {
        this.#admit(line, who);
        opening = this.#start(line, who !== "nobody" || (line.mayAsk && !line.silent));
      }
      try {
        return await joined(opening, signal);
      } catch (error) {
        // A try without questions told that a person is needed, and this caller is one, or may ask for one.
        const asksNow = who !== "nobody" || (line.mayAsk && !line.silent);
        if (opening.asks || !asksNow || !isLogin(error) || signal?.aborted) throw error;
      }
    }
  }

  /** Throws where no try may be made now. */
  #admit(line: Line, who: "person" | "login" | "nobody"): void {
    if (this.#closed) throw new ConnectionError("The lines are closed: the agent ends.", "Try again.");
    const { refused } = line;
    if (refused !== undefined && who !== "login") {
      const fresh = refused.asked && Date.now() - refused.at < REFUSAL_HOLDS;
      if (who === "nobody" || fresh) throw refused.error;
    }
    if (who === "nobody" && line.lastError !== undefined && Date.now() < line.nextTry) throw line.lastError;
  }

  #start(line: Line, asks: boolean): Opening {
    clearTimeout(line.timer);
    this.#set(line, "connecting");
    const abort = new AbortController();
    const opening: Opening = { asks, abort, callers: 0, transport: this.#connect(line, asks, abort) };
    // Those who wait hear of it; that nobody waits is no fault.
    opening.transport.catch(() => undefined);
    line.opening = opening;
    return opening;
  }

  async #connect(line: Line, asks: boolean, abort: AbortController): Promise<Transport> {
    const { cluster } = line;
    let asked = false;
    // False once `close` has given this opening up: what is to be said has been said.
    const current = () => line.opening?.abort === abort;
    const ask: Ask = async (question, withdrawn) => {
      asked = true;
      const how = `answer with \`yale login ${cluster.name}\` or in JupyterLab`;
      if (current()) this.#set(line, "prompting", `asks for a login: ${how}`);
      try {
        return await this.#ask(
          question,
          AbortSignal.any([abort.signal, ...(withdrawn === undefined ? [] : [withdrawn])]),
        );
      } finally {
        if (current()) this.#set(line, "connecting", "answered; waits for the cluster");
      }
    };
    try {
      const transport = await this.#openTransport(cluster, { ask, interactive: asks, signal: abort.signal });
      if (abort.signal.aborted) {
        await transport.close().catch(() => undefined);
        throw abort.signal.reason;
      }
      line.opening = undefined;
      line.transport = transport;
      line.refused = undefined;
      line.lastError = undefined;
      line.failures = 0;
      line.keep = false;
      line.mayAsk = true;
      this.#set(line, "connected");
      void transport.lost.then((reason) => this.#lost(line, transport, reason));
      return transport;
    } catch (error) {
      if (current()) {
        line.opening = undefined;
        if (abort.signal.aborted) this.#set(line, "disconnected", "given up: nobody waits for it any more");
        else this.#failed(line, error as Error, { asks, asked });
      }
      // Who waits hears why it was given up, not that it was.
      throw abort.signal.aborted ? abort.signal.reason : error;
    }
  }

  #failed(line: Line, error: Error, { asks, asked }: { asks: boolean; asked: boolean }): void {
    const what = sentence(error);
    if (isLogin(error) && !asks && line.mayAsk) {
      // A line that came back by itself so far now needs its person, who is asked once somebody wants the line.
      line.silent = false;
      line.keep = false;
      line.lastError = undefined;
      this.#set(line, "disconnected", `${what}; its next use asks for a login`);
    } else if (isLogin(error) || asked) {
      line.refused = { error: refusalOf(error, line.cluster), at: Date.now(), asked };
      line.silent = true;
      line.keep = false;
      line.mayAsk = false;
      this.#set(line, "login_needed", `login needed: ${what}`);
    } else if (isConnection(error)) {
      line.lastError = error;
      line.nextTry = Date.now() + this.#backoff(line.failures);
      line.failures += 1;
      const again = line.keep || line.waiters > 0 ? "; it is tried again by itself" : "";
      this.#set(line, "disconnected", `${what}${again}`);
      this.#tryLater(line);
    } else this.#set(line, "disconnected", what);
  }

  #lost(line: Line, transport: Transport, reason: Error): void {
    if (line.transport !== transport) return;
    const what = sentence(reason);
    line.transport = undefined;
    line.silent = !transport.asked;
    line.keep = !transport.asked;
    line.lastError = isConnection(reason) ? reason : new ConnectionError(`The line was lost: ${what}.`, "Try again.");
    line.nextTry = line.keep ? Date.now() + this.#backoff(0) : 0;
    const how = line.keep ? "comes back by itself" : "its next use asks for a login";
    this.#set(line, "disconnected", `lost: ${what}; ${how}`);
    this.#tryLater(line);
  }

  /** Lets a line that is wanted be tried again when its time has come. */
  #tryLater(line: Line): void {
    clearTimeout(line.timer);
    const wanted = () => !this.#closed && (line.keep || line.waiters > 0) && line.refused === undefined;
    if (!wanted()) return;
    line.timer = setTimeout(
      () => {
        if (!wanted() || line.transport !== undefined || line.opening !== undefined) return;
        this.#start(line, line.mayAsk && !line.silent && line.waiters > 0);
      },
      Math.max(0, line.nextTry - Date.now()),
    );
    // Only work that waits for it keeps a script alive.
    if (line.waiters === 0) line.timer.unref();
  }

  #set(line: Line, state: Connection["state"], message?: string): void {
    if (line.state !== state || line.since === undefined) line.since = new Date().toISOString();
    line.state = state;
    line.message = message;
    if (line.cluster.transport !== "local") for (const connection of line.connections()) this.#onChange(connection);
    for (const listener of [...line.listeners]) listener();
  }

  async #line(cluster: ClusterConfig): Promise<Line> {
    const key = await this.#keyOf(cluster);
    const line = this.#lines.get(key) ?? new Line(cluster);
    this.#lines.set(key, line);
    line.cluster = cluster;
    line.names.add(cluster.name);
    return line;
  }

  /** Remembered for a while: polls come often, and ~/.ssh/config, which is asked, changes seldom. */
  #keyOf(cluster: ClusterConfig): Promise<string> {
    const id = JSON.stringify(cluster);
    const known = this.#keys.get(id);
    if (known !== undefined && Date.now() - known.at < KEY_HOLDS) return known.key;
    const key = this.#key(cluster);
    this.#keys.set(id, { key, at: Date.now() });
    key.catch(() => this.#keys.delete(id));
    return key;
  }

  /** State of every line that was ever asked for; this machine itself is none. */
  list(): Connection[] {
    return [...this.#lines.values()].filter((l) => l.cluster.transport !== "local").flatMap((l) => l.connections());
  }

  /** Closes the lines of that name, and gives up their opening; jobs go on without, until a person logs in. */
  async close(name: string): Promise<Connection> {
    const error = new LoginError(
      `The line to ${name} was closed by a logout.`,
      `\`yale login ${name}\` opens it again.`,
    );
    for (const line of this.#lines.values()) if (line.names.has(name)) await this.#close(line, error, "logged out");
    return this.list().find((c) => c.cluster === name) ?? { cluster: name, state: "disconnected" };
  }

  async #close(line: Line, error: Error, message: string): Promise<void> {
    const { transport, opening } = line;
    clearTimeout(line.timer);
    line.transport = undefined;
    line.opening = undefined;
    line.refused = { error, at: Date.now(), asked: false };
    line.silent = true;
    line.keep = false;
    line.mayAsk = false;
    opening?.abort.abort(error);
    this.#set(line, "disconnected", message);
    await transport?.close().catch(() => undefined);
  }

  /** Closes all: the core ends. */
  async closeAll(): Promise<void> {
    this.#closed = true;
    const error = new InterruptedError("The line was closed: the agent ends.", "Jobs go on.");
    await Promise.all([...this.#lines.values()].map((line) => this.#close(line, error, "closed")));
  }
}
