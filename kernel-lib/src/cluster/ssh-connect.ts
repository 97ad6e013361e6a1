/** One machine on the way: the connection, its host key, its login, and noticing when it is gone. */
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Client } from "ssh2";
import { ConnectionError, HostKeyError, InterruptedError, LoginError, YaleError } from "../errors.js";
import {
  addKnownHost,
  fingerprint,
  hostKeyName,
  judge,
  type KnownHost,
  keyType,
  knownAlgorithms,
  readKnownHosts,
} from "./known-hosts.js";
import { Authentication } from "./ssh-auth.js";
import type { SshHost } from "./ssh-config.js";
import { words } from "./ssh-prompts.js";
import { stillAlive, storePadding } from "./ssh2-private.js";
import type { LoginOptions } from "./transport.js";

/** A machine that we are logged in to. */
export interface SshConnection {
  client: Client;
  /** Resolves with the reason once it is gone. */
  lost: Promise<Error>;
  /** Whether a person had to answer something that would be asked again next time. */
  asked: boolean;
  /** What it said in the course of the login. */
  said: readonly string[];
}

/** What {@link connectHost} is given. */
export interface ConnectOptions {
  /** Name of the cluster, for questions and errors. */
  cluster: string;
  host: SshHost;
  /** The key that config.yaml names. */
  chosen: string | undefined;
  /** The machine before it on the way. */
  via: Client | undefined;
  login: LoginOptions;
}

/** Milliseconds for a TCP connection, and for the exchange of keys after it, unless ConnectTimeout says otherwise. */
const CONNECT_TIME = 15_000;
const HANDSHAKE_TIME = 30_000;
/** Milliseconds of silence after an answer: a push stands for a minute at Duo. */
const ANSWER_TIME = 120_000;
/** A dead line is found after (count + 1) × interval = 20 s, where nothing at all comes. */
const KEEPALIVE = { keepaliveInterval: 5_000, keepaliveCountMax: 3 };
/** Bytes that a call to the system takes at once. */
const GATHERED = 256 << 10;
/** Kinds of host keys that ssh2 can check, as `ssh` prefers them. */
const HOST_KEYS = [
  "ssh-ed25519",
  ...["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"],
  ...["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
];

/** Connects and logs in. Throws LoginError, HostKeyError, ConnectionError and InterruptedError. */
export async function connectHost(options: ConnectOptions): Promise<SshConnection> {
  const { host, cluster, chosen, via, login } = options;
  login.signal?.throwIfAborted();
  const known = await readKnownHosts(
    [...host.knownHosts, ...host.globalKnownHosts],
    host.host,
    host.port,
    host.hostKeyAlias,
  );
  const socket = via === undefined ? await dial(host, login.signal) : await forward(via, host, login.signal);
  gatherWrites(socket);
  const client = new Client();
  const over = new AbortController();
  const checker = new HostKeyCheck(options, known, over.signal);
  const authentication = new Authentication({
    ...login,
    cluster,
    host,
    chosen,
    started: Date.now(),
    over: over.signal,
  });

  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => undefined);
  let lose: (reason: Error) => void = () => undefined;
  const lost = new Promise<Error>((resolve) => {
    lose = resolve;
  });
  let stage: "handshake" | "login" | "open" = "handshake";
  let timer: NodeJS.Timeout | undefined;
  const hurry = () => {
    const time = host.connectTimeout ?? HANDSHAKE_TIME;
    const late = () => (checker.asks ? hurry() : end(silent(host, "the exchange of keys", time)));
    timer = setTimeout(late, time);
  };
  const end = (error?: Error) => {
    clearTimeout(timer);
    login.signal?.removeEventListener("abort", abort);
    if (stage === "open") lose(error === undefined || isOurs(error) ? (error ?? lostBy(host)) : lostBy(host, error));
    else if (error !== undefined && isOurs(error)) fail(authentication.failure ?? error);
    else if (checker.failure !== undefined) fail(checker.failure);
    else fail(stage === "handshake" ? handshakeError(host, error) : authentication.explain(error));
    authentication.forget();
    over.abort();
    // What was written last, such as why we leave, still goes out.
    socket.uncork();
    client.destroy();
    socket.destroy();
  };
  const abort = () => end(new InterruptedError(`The login to ${cluster} was interrupted.`));
  // ssh2 tells errors of an agent too, after which it goes on with the next key.
  client.on("error", (error: Error & { level?: string }) => error.level !== "agent" && end(error));
  client.on("close", () => end());
  client.on("end", () => end());
  client.once("handshake", () => {
    clearTimeout(timer);
    stage = "login";
    timer = setInterval(() => {
      if (authentication.silence > ANSWER_TIME) end(silent(host, "the login", ANSWER_TIME));
    }, 5_000);
  });
  const ready = new Promise<void>((resolve) => {
    client.once("ready", () => {
      clearTimeout(timer);
      authentication.forget();
      storePadding(client);
      stage = "open";
      resolve();
    });
  });
  login.signal?.addEventListener("abort", abort, { once: true });
  hurry();
  try {
    client.connect({
      sock: socket as Socket,
      username: host.user,
      readyTimeout: 0,
      ...KEEPALIVE,
      algorithms: {
        // The quickest by far that ssh2 has in plain JavaScript.
        cipher: { prepend: ["aes128-gcm@openssh.com"], append: [], remove: [] },
        serverHostKey: knownAlgorithms(known, HOST_KEYS) as never,
      },
      hostVerifier: (key: Buffer, done: (valid: boolean) => void) => {
        // In the course of a line this must be answered at once: ssh2 goes on to send meanwhile, with the wrong keys.
        if (checker.accepted !== undefined) return checker.accepted.equals(key);
        checker.accepts(key).then(done, (error: Error) => {
          checker.failure ??= error;
          done(false);
        });
        return undefined;
      },
      authHandler: authentication.handler,
    });
    authentication.attach(client);
    await Promise.race([ready, failed]);
  } catch (error) {
    end(error as Error);
    throw error;
  }
  login.signal?.removeEventListener("abort", abort);
  let heard = Date.now();
  socket.on("data", () => {
    if (Date.now() - heard < 1_000) return;
    heard = Date.now();
    stillAlive(client);
  });
  return { client, lost, asked: authentication.asked, said: authentication.said };
}

/**
 * What is written to a socket in one turn goes out by one call of the system, or a few: ssh2 writes each packet by itself,
 * and without its native binding each in three pieces.
 */
function gatherWrites(socket: Duplex): void {
  const write = socket.write.bind(socket) as (chunk: Uint8Array, ...rest: unknown[]) => boolean;
  let corked = false;
  let bytes = 0;
  socket.write = ((chunk: Uint8Array, ...rest: unknown[]) => {
    if (!corked) {
      corked = true;
      socket.cork();
      process.nextTick(() => {
        corked = false;
        bytes = 0;
        socket.uncork();
      });
    } else if (bytes > GATHERED) {
      // The far side need not wait for the rest.
      bytes = 0;
      socket.uncork();
      socket.cork();
    }
    bytes += chunk.length;
    return write(chunk, ...rest);
  }) as typeof socket.write;
}

function dial(host: SshHost, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: host.host,
      port: host.port,
      ...(host.family === undefined ? {} : { family: host.family }),
      ...(host.bindAddress === undefined ? {} : { localAddress: host.bindAddress }),
      // ssh2 leaves Nagle's algorithm on, which costs 40 ms for every small packet and most of the throughput.
      noDelay: true,
      keepAlive: true,
    });
    const time = host.connectTimeout ?? CONNECT_TIME;
    const settle = (error?: Error) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      socket.removeListener("error", settle);
      if (error === undefined) return resolve(socket);
      socket.on("error", () => undefined);
      socket.destroy();
      reject(isOurs(error) ? error : dialError(host, error));
    };
    const timer = setTimeout(() => settle(unanswered(host, time)), time);
    const abort = () => settle(new InterruptedError(`The connection to ${host.host} was interrupted.`));
    signal?.addEventListener("abort", abort, { once: true });
    socket.once("error", settle);
    socket.once("connect", () => settle());
  });
}

function forward(via: Client, host: SshHost, signal: AbortSignal | undefined): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const time = host.connectTimeout ?? CONNECT_TIME;
    const settle = (error: Error | undefined, channel?: Duplex) => {
      clearTimeout(timer);
      via.removeListener("close", gone);
      signal?.removeEventListener("abort", abort);
      if (channel !== undefined) resolve(channel);
      else reject(error);
    };
    const timer = setTimeout(() => settle(unanswered(host, time)), time);
    const gone = () => settle(new ConnectionError(`The jump host before ${host.host} was lost.`, "Try again."));
    const abort = () => settle(new InterruptedError(`The connection to ${host.host} was interrupted.`));
    via.once("close", gone);
    signal?.addEventListener("abort", abort, { once: true });
    via.forwardOut("127.0.0.1", 0, host.host, host.port, (error, channel) => {
      const why = error === undefined ? "" : words([error.message.replace("(SSH) Channel open failure: ", "")]);
      const failure = new ConnectionError(
        `The jump host can't reach ${host.host} on port ${host.port}: ${why}.`,
        "Check `host:` and `port:`, and that the jump host allows forwarding.",
      );
      settle(error === undefined ? undefined : failure, channel);
    });
  });
}

function isOurs(error: Error): boolean {
  return error instanceof YaleError;
}

function dialError(host: SshHost, error: Error & { code?: string; errors?: (Error & { code?: string })[] }): Error {
  // Several addresses were tried at once; the last to fail says most.
  const cause = error.errors?.at(-1) ?? error;
  const where = `${host.host} on port ${host.port}`;
  switch (cause.code) {
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "EAI_NONAME":
      return new ConnectionError(
        `There is no host ${host.host}, or its name can't be looked up now.`,
        "Check `host:` in config.yaml, and your network: some names are known only on campus or its VPN.",
        { cause: error },
      );
    case "ECONNREFUSED":
      return new ConnectionError(
        `${where} refused the connection.`,
        "Check `port:`. If it is right, the machine is up but takes no logins: see the site's news.",
        { cause: error },
      );
    case "ETIMEDOUT":
      return unanswered(host);
    case "EHOSTUNREACH":
    case "ENETUNREACH":
    case "ENETDOWN":
    case "EADDRNOTAVAIL":
      return new ConnectionError(
        `There is no way to ${where} from this network (${cause.code}).`,
        "Check your network, and the VPN if the site wants one.",
        { cause: error },
      );
    default:
      return new ConnectionError(`${where} can't be reached: ${cause.message}.`, "Try again.", { cause: error });
  }
}

function unanswered(host: SshHost, time?: number): ConnectionError {
  return new ConnectionError(
    `${host.host} did not answer on port ${host.port}${time === undefined ? "" : ` within ${time / 1000} s`}.`,
    "Are you on the campus network or its VPN? Most clusters answer nobody else.",
  );
}

function silent(host: SshHost, what: string, time: number): ConnectionError {
  return new ConnectionError(
    `${host.host} fell silent in ${what}: nothing came for ${time / 1000} s.`,
    "Try again; if it stays so, the login node is overloaded.",
  );
}

function handshakeError(host: SshHost, error: Error | undefined): ConnectionError {
  const message = error?.message ?? "";
  if (/no matching/i.test(message))
    return new ConnectionError(
      `${host.host} and ssh2 have no method in common: ${words([message])}.`,
      "Write `transport: openssh` for it in config.yaml.",
      { cause: error },
    );
  if (message === "" || /before handshake|ECONNRESET|EPIPE/.test(message))
    return new ConnectionError(
      `${host.host} took the connection and closed it at once.`,
      "Too many logins at the same moment (MaxStartups), or your address is blocked for a while: try again in a minute.",
      { cause: error },
    );
  return new ConnectionError(`The line to ${host.host} broke before the login: ${words([message])}.`, "Try again.", {
    cause: error,
  });
}

function lostBy(host: SshHost, error?: Error & { level?: string }): ConnectionError {
  const why =
    error === undefined
      ? "it was closed by the far side"
      : error.level === "client-timeout"
        ? "nothing came from it for 20 s"
        : words([error.message]);
  return new ConnectionError(`The line to ${host.host} was lost: ${why}.`, "What was done stands; try again.", {
    cause: error,
  });
}

/** Whether the key that a host shows is the one it is known by. */
class HostKeyCheck {
  failure: Error | undefined;
  /** A person is being asked. */
  asks = false;
  /** The key that was found right: it is shown again whenever keys are exchanged in the course of a long line. */
  accepted: Buffer | undefined;
  readonly #options: ConnectOptions;
  readonly #known: readonly KnownHost[];
  readonly #over: AbortSignal;

  constructor(options: ConnectOptions, known: readonly KnownHost[], over: AbortSignal) {
    this.#options = options;
    this.#known = known;
    this.#over = over;
  }

  /** True, or throws HostKeyError, or LoginError where nobody is there to ask. */
  async accepts(key: Buffer): Promise<boolean> {
    const verdict = judge(this.#known, key);
    const shown = `${keyType(key)} ${fingerprint(key)}`;
    const at = (entry: KnownHost) => `${entry.file}:${entry.line}`;
    switch (verdict.status) {
      case "known":
        break;
      case "changed":
        throw new HostKeyError(
          `The host key of ${this.#name} has changed. It shows ${shown}; ${at(verdict.entry)} has ${fingerprint(verdict.entry.key)}. ` +
            "Somebody may be listening in, or the machine was set up anew. Nothing was sent to it.",
          `Ask the site whether its key is new and what its fingerprint is. If it is, remove the old one: ` +
            `ssh-keygen -R '${this.#name}' -f '${verdict.entry.file}'`,
        );
      case "revoked":
        throw new HostKeyError(
          `The host key of ${this.#name} (${shown}) is revoked: ${at(verdict.entry)}. Nothing was sent to it.`,
          "Ask the site; do not log in there until it has a new key.",
        );
      case "authority":
        throw new HostKeyError(
          `${this.#name} is vouched for by a certificate authority (${at(verdict.entry)}), which ssh2 can't check.`,
          "Write `transport: openssh` for it in config.yaml.",
        );
      case "unknown":
        await this.#confirm(key, verdict.others);
    }
    this.accepted = key;
    return true;
  }

  get #name(): string {
    const { host } = this.#options;
    return hostKeyName(host.host, host.port, host.hostKeyAlias);
  }

  async #confirm(key: Buffer, others: readonly KnownHost[]): Promise<void> {
    const { host, login, cluster } = this.#options;
    const print = fingerprint(key);
    const shown = `${keyType(key)} key with the fingerprint ${print}`;
    const publish = "Compare the fingerprint with the one that the site publishes.";
    if (host.strict)
      throw new HostKeyError(
        `${this.#name} is not in known_hosts, and ~/.ssh/config wants that (StrictHostKeyChecking yes). It shows a ${shown}.`,
        `${publish} Add it with \`ssh-keyscan\`, or log in once with \`ssh -o StrictHostKeyChecking=ask ${host.alias}\`.`,
      );
    if (login.interactive === false)
      throw new LoginError(
        `The host key of ${this.#name} is not known yet.`,
        `Run \`yale login ${cluster}\` and confirm it.`,
      );
    const also = others.map((o) => `${o.type} (${o.file}:${o.line})`).join(", ");
    this.asks = true;
    const asked = login.ask(
      {
        cluster,
        kind: "host_key",
        text:
          `${this.#name} is not known yet. It shows this key:\n  ${keyType(key)} ${print}\n` +
          `${also === "" ? "" : `It is known by keys of other kinds, which it does not show: ${also}.\n`}${publish}`,
        fields: [{ label: "Is it the right machine? (yes/no, or the fingerprint)", echo: true }],
        choices: [
          { value: "yes", label: "Yes, and remember it" },
          { value: "no", label: "No" },
        ],
        attempt: 1,
      },
      this.#over,
    );
    const answers = await asked.finally(() => {
      this.asks = false;
    });
    if (this.#over.aborted) throw new InterruptedError("The question was withdrawn.");
    const answer = answers?.[0]?.trim() ?? "";
    if (answer !== print && !/^y(es)?$/i.test(answer))
      throw new HostKeyError(
        `The host key of ${this.#name} (${print}) was not confirmed. Nothing was sent to it.`,
        `Ask the site for its fingerprint, then run \`yale login ${cluster}\`.`,
      );
    const [file] = host.knownHosts;
    // Where it can't be written, as in a read-only home, it is asked again next time: as `ssh` does.
    if (file !== undefined) await addKnownHost(file, this.#name, key, host.hashKnownHosts).catch(() => undefined);
  }
}
