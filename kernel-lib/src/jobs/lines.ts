/**
 * The lines to clusters: at most one to each, opened when first needed, shared by everything, and never opened again
 * by itself where that would ask a person a second time.
 */
import type { Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { ConfigError, ConnectionError, errorData } from "../errors.js";
import type { Connection } from "../protocol.js";

interface Line {
  connection: Connection;
  transport?: Promise<Transport>;
}

/** All lines of one core. */
export class Lines {
  readonly #lines = new Map<string, Line>();
  readonly #onChange: (connection: Connection) => void;

  constructor(onChange: (connection: Connection) => void) {
    this.#onChange = onChange;
  }

  /** The line to a cluster, opened if there is none. Throws LoginError, HostKeyError and ConnectionError. */
  open(cluster: ClusterConfig): Promise<Transport> {
    const line: Line = this.#lines.get(cluster.name) ?? {
      connection: { cluster: cluster.name, state: "disconnected" },
    };
    this.#lines.set(cluster.name, line);
    if (line.transport !== undefined) return line.transport;
    if (cluster.transport !== "local") this.#set(line, "connecting");
    const opening = this.#connect(cluster);
    line.transport = opening;
    opening.then(
      () => this.#set(line, "connected"),
      (error: unknown) => {
        if (line.transport === opening) delete line.transport;
        const { code, what } = errorData(error);
        this.#set(line, code === "login" || code === "host_key" ? "login_needed" : "disconnected", what);
      },
    );
    return opening;
  }

  async #connect(cluster: ClusterConfig): Promise<Transport> {
    if (cluster.transport === "local") return (await import("../cluster/local.js")).openLocal();
    throw new ConfigError(
      `The cluster ${cluster.name} is reached by ${cluster.transport}, which this version does not speak.`,
      "Use a cluster with `transport: local`.",
    );
  }

  #set(line: Line, state: Connection["state"], message?: string): void {
    line.connection = {
      cluster: line.connection.cluster,
      state,
      since: new Date().toISOString(),
      ...(message === undefined ? {} : { message }),
    };
    this.#onChange(line.connection);
  }

  /** State of every line that was ever asked for. */
  list(): Connection[] {
    return [...this.#lines.values()].map((l) => l.connection);
  }

  /** Closes one line; jobs go on without it. */
  async close(cluster: string): Promise<Connection> {
    const line = this.#lines.get(cluster);
    if (line === undefined) throw new ConnectionError(`There is no line to ${cluster}.`, "Nothing needs to be closed.");
    const transport = line.transport;
    delete line.transport;
    await (await transport?.catch(() => undefined))?.close();
    this.#set(line, "disconnected", "logged out");
    return line.connection;
  }

  /** Closes all. */
  async closeAll(): Promise<void> {
    await Promise.allSettled([...this.#lines.keys()].map((name) => this.close(name)));
  }
}
