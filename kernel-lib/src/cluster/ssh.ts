/**
 * A line to a cluster by ssh2: one authenticated connection that carries commands, one long-lived shell and files. Every
 * call is settled when the line goes, whatever ssh2 does about its own callbacks.
 */
import { once } from "node:events";
import type { Client, ClientChannel, SFTPWrapper } from "ssh2";
import type { ClusterConfig } from "../config/index.js";
import { ConnectionError, InterruptedError, isYaleError, LoginError } from "../errors.js";
import { RemoteShell, type ShellStreams } from "./remote-shell.js";
import { isRefusal, Sessions } from "./sessions.js";
import { SftpPool } from "./sftp-pool.js";
import { loginCommand, PLAIN_SHELL } from "./shell.js";
import { sshRoute } from "./ssh-config.js";
import { connectHost, type SshConnection } from "./ssh-connect.js";
import { words } from "./ssh-prompts.js";
import { type SftpChannel, wrapSftp } from "./ssh-sftp.js";
import { signalChannel } from "./ssh2-private.js";
import type { ExecOptions, ExecResult, LoginOptions, Transport } from "./transport.js";

/** Bytes of output that a command may give where nobody takes it piece by piece. */
const FLOOD = 64 << 20;
/** Milliseconds for the first session: behind `login_duo` it stands until a push is answered. */
const FIRST_SESSION = 90_000;
/** Milliseconds for a channel for files to open. */
const SFTP_TIME = 60_000;

/**
 * Targets that ask for the second factor in every session, by their own words or as far as can be told: nothing is
 * opened there without a person, since opening it is what sends the push.
 */
const pushInside = new Set<string>();

/**
 * Opens a line: the way there by ~/.ssh/config, host keys by known_hosts, the login with whatever it asks. Throws
 * LoginError, HostKeyError, ConnectionError, ConfigError and InterruptedError.
 */
export async function openSsh(cluster: ClusterConfig, login: LoginOptions): Promise<Transport> {
  const route = await sshRoute(cluster);
  const target = route.map((h) => `${h.user}@${h.host}:${h.port}`).join(" ");
  if (login.interactive === false && pushInside.has(target))
    throw new LoginError(
      `${cluster.name} asks for the second factor inside each session, so opening it would send a push.`,
      `Run \`yale login ${cluster.name}\`.`,
    );
  const way: SshConnection[] = [];
  try {
    for (const host of route)
      way.push(
        await connectHost({ cluster: cluster.name, host, chosen: cluster.identity, via: way.at(-1)?.client, login }),
      );
    const line = new SshLine(cluster.name, way);
    const first = await line.begin(login.signal);
    if (first === "plain") return line;
    pushInside.add(target);
    if (first instanceof Error) throw first;
    line.asked = true;
    return line;
  } catch (error) {
    for (const { client } of way.reverse()) client.destroy();
    throw error;
  }
}

/** How a session of a shell ended, as far as it was seen. */
interface ShellEnd {
  code: number | null | undefined;
  said: string;
}

class SshLine implements Transport {
  readonly kind = "ssh";
  readonly lost: Promise<Error>;
  readonly greeting: string;
  asked: boolean;
  readonly #name: string;
  readonly #way: readonly SshConnection[];
  readonly #client: Client;
  readonly #sessions = new Sessions();
  readonly #shell: RemoteShell;
  readonly #files: SftpPool;
  /** Rejects what is in flight. */
  readonly #pending = new Set<(reason: Error) => void>();
  #gone: Error | undefined;
  #lose: (reason: Error) => void = () => undefined;
  #shellEnd: ShellEnd = { code: undefined, said: "" };

  constructor(name: string, way: readonly SshConnection[]) {
    const last = way.at(-1);
    if (last === undefined) throw new ConnectionError(`There is no way to ${name}.`);
    this.#name = name;
    this.#way = way;
    this.#client = last.client;
    this.asked = way.some((connection) => connection.asked);
    this.greeting = way.flatMap((connection) => connection.said).join("\n");
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
    for (const connection of way) void connection.lost.then((reason) => this.#die(reason));
    this.#shell = new RemoteShell({
      open: () => this.#openShell(),
      alone: (argv, options) => this.#alone(argv, options),
      startTime: FIRST_SESSION,
      rested: () => this.#sessions.rested(),
    });
    this.#sessions.keep(this.#shell);
    this.#files = new SftpPool(this.#sessions, (onGone) => this.#openFiles(onGone));
  }

  /**
   * Runs the first session, which tells whether one may work there at all: "forced" where the site runs a command of its
   * own around it, as login_duo does, or the error of one that was refused in its way. Throws LoginError where no
   * session works for another reason.
   */
  async begin(signal: AbortSignal | undefined): Promise<"forced" | "plain" | LoginError> {
    const probe = ["sh", "-c", 'test -z "$SSH_ORIGINAL_COMMAND" || printf forced'];
    try {
      const { stdout } = await this.#shell.run(probe, { timeout: FIRST_SESSION, ...(signal && { signal }) });
      return stdout === "forced" ? "forced" : "plain";
    } catch (error) {
      const { code, said } = this.#shellEnd;
      if (this.#gone !== undefined || code === undefined || signal?.aborted) throw error;
      if (code === 1 && said === "")
        return new LoginError(
          `${this.#name} let the key in and then refused the session without a word. That is what a second factor inside the session (login_duo) looks like when its push is refused or nobody answers it.`,
          `Run \`yale login ${this.#name}\` and approve the push on your telephone. Nothing is tried again by itself.`,
        );
      throw new LoginError(
        `${this.#name} let the login in but runs no commands (code ${code}). It said: “${words([said])}”`,
        "Check that the account is active and has a login shell; nodes for file transfer run no commands.",
      );
    }
  }

  exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const { shared, input, onStdout, ...rest } = options;
    if (shared === true && input === undefined && onStdout === undefined) return this.#shell.run(argv, rest);
    return this.#alone(argv, options);
  }

  sftp(channel = 0): ReturnType<SftpPool["sftp"]> {
    return this.#files.sftp(channel);
  }

  async close(): Promise<void> {
    this.#die(new ConnectionError(`The line to ${this.#name} was closed.`, `\`yale login ${this.#name}\` opens it.`));
    await Promise.all(this.#way.map((connection) => connection.lost));
  }

  #die(reason: Error): void {
    if (this.#gone !== undefined) return;
    this.#gone = reason;
    this.#lose(reason);
    this.#sessions.close(reason);
    this.#shell.close(reason);
    for (const reject of [...this.#pending]) reject(reason);
    this.#pending.clear();
    for (const { client } of [...this.#way].reverse()) {
      client.end();
      // The far side may be past answering.
      setTimeout(() => client.destroy(), 1_000).unref();
    }
  }

  /** A call of ssh2 that opens something, settled by the end of the line too. */
  #call<T>(start: (done: (error: Error | undefined, value: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== undefined) return reject(this.#gone);
      this.#pending.add(reject);
      const done = (error: Error | undefined, value: T) => {
        this.#pending.delete(reject);
        if (error === undefined || error === null) resolve(value);
        else reject(this.#gone ?? error);
      };
      try {
        start(done);
      } catch (error) {
        done(error as Error, undefined as T);
      }
    });
  }

  async #openShell(): Promise<ShellStreams> {
    const { session: channel, release } = await this.#sessions.open(() => this.#channel(PLAIN_SHELL), {
      lasting: true,
    });
    const end: ShellEnd = { code: undefined, said: "" };
    this.#shellEnd = end;
    const hear = (chunk: Buffer) => {
      if (end.said.length < 2_000) end.said += chunk.toString("latin1");
    };
    channel.on("data", hear);
    channel.stderr.on("data", hear);
    channel.once("exit", (code: number | null) => {
      end.code = code;
    });
    channel.once("close", release);
    return { stdin: channel, stdout: channel, stderr: channel.stderr, close: () => this.#kill(channel) };
  }

  async #channel(line: string): Promise<ClientChannel> {
    try {
      return await this.#call<ClientChannel>((done) => this.#client.exec(line, done));
    } catch (error) {
      if (isYaleError(error) || isRefusal(error)) throw error;
      const message = words([(error as Error).message]);
      throw new ConnectionError(`${this.#name} ran no command: ${message}.`, "Try again.", { cause: error });
    }
  }

  /** Ends what runs in a channel, and the channel. */
  #kill(channel: ClientChannel): void {
    if (this.#gone !== undefined) return;
    signalChannel(this.#client, channel, "KILL");
    channel.close();
  }

  async #openFiles(onGone: () => void): Promise<SftpChannel> {
    let timer: NodeJS.Timeout | undefined;
    try {
      const raw = await this.#call<SFTPWrapper>((done) => {
        let late = false;
        timer = setTimeout(() => {
          late = true;
          done(new ConnectionError("The channel for files did not open.", "Try again."), undefined as never);
        }, SFTP_TIME);
        this.#client.sftp((error, channel) => {
          if (late) channel?.end();
          else done(error, channel);
        });
      });
      raw.once("close", onGone);
      return wrapSftp(raw, this.lost);
    } catch (error) {
      if (isYaleError(error) || isRefusal(error)) throw error;
      const message = (error as Error).message;
      throw new ConnectionError(
        `${this.#name} opens no channel for files: ${words([message])}.`,
        /packet|VERSION/i.test(message)
          ? "A start-up file of your login shell there prints something. Let it be silent where no terminal is (.bashrc, .cshrc)."
          : "Ask the site whether it allows SFTP.",
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  #alone(argv: readonly string[], options: ExecOptions): Promise<ExecResult> {
    return new Promise((resolve, reject) => {
      const line = loginCommand(argv, options.cwd);
      if (this.#gone !== undefined) return reject(this.#gone);
      if (options.signal?.aborted) return reject(new InterruptedError(`${argv[0]} was interrupted.`));
      const timeout = options.timeout ?? 60_000;
      let channel: ClientChannel | undefined;
      let over = false;
      const settle = () => {
        if (over) return false;
        over = true;
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", abort);
        this.#pending.delete(stop);
        return true;
      };
      const stop = (error: Error) => {
        if (!settle()) return;
        reject(error);
        if (channel !== undefined) this.#kill(channel);
      };
      const late = () => stop(new ConnectionError(`${argv[0]} did not end within ${timeout / 1000} s.`, "Try again."));
      const abort = () => stop(new InterruptedError(`${argv[0]} was interrupted.`));
      const timer = setTimeout(late, timeout);
      options.signal?.addEventListener("abort", abort, { once: true });
      this.#pending.add(stop);
      this.#sessions
        .open(() => this.#channel(line), { cancelled: () => over })
        .then(({ session, release }) => {
          session.once("close", release);
          channel = session;
          if (over) return this.#kill(session);
          collect(session, options, stop, argv[0] ?? "").then((result) => settle() && resolve(result), stop);
        }, stop);
    });
  }
}

/** Feeds a command and gathers what it says until its channel closes. */
async function collect(
  channel: ClientChannel,
  options: ExecOptions,
  stop: (error: Error) => void,
  program: string,
): Promise<ExecResult> {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  let size = 0;
  const keep = (list: Buffer[], chunk: Buffer) => {
    size += chunk.length;
    if (size > FLOOD)
      return stop(new ConnectionError(`${program} gave more than ${FLOOD >> 20} MiB of output.`, "Take it by files."));
    list.push(chunk);
  };
  channel.on("data", (chunk: Buffer) => (options.onStdout ? options.onStdout(chunk) : keep(out, chunk)));
  channel.stderr.on("data", (chunk: Buffer) => keep(err, chunk));
  channel.on("error", () => undefined);
  let ended: { code: number | null; signal?: string } | undefined;
  channel.once("exit", (code: number | null, signal?: string) => {
    ended = { code, ...(signal === undefined ? {} : { signal }) };
  });
  const closed = new Promise((resolve) => channel.once("close", resolve));
  feed(channel, options.input, closed).catch((error: Error) => stop(error));
  await closed;
  if (ended === undefined)
    throw new ConnectionError(
      `How ${program} ended is not known: its session was closed without a code.`,
      "Try again.",
    );
  const text = (parts: Buffer[]) => Buffer.concat(parts).toString("utf8");
  return { ...ended, stdout: text(out), stderr: text(err) };
}

/** Writes a command's input as fast as it takes it, until it has ended. */
async function feed(channel: ClientChannel, input: ExecOptions["input"], closed: Promise<unknown>): Promise<void> {
  if (input === undefined || typeof input === "string" || input instanceof Uint8Array) {
    channel.end(input);
    return;
  }
  let open = true;
  const end = closed.then(() => {
    open = false;
  });
  for await (const chunk of input) {
    if (!open) return;
    if (!channel.write(chunk)) await Promise.race([end, once(channel, "drain")]);
  }
  channel.end();
}
