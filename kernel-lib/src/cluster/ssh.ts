/**
 * A line to a cluster by ssh2: one authenticated connection that carries commands, one long-lived shell and files. Every
 * call is settled when the line goes, whatever ssh2 does about its own callbacks.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Client, ClientChannel, SFTPWrapper } from "ssh2";
import type { ClusterConfig } from "../config/index.js";
import { ConnectionError, isYaleError } from "../errors.js";
import { checkSilent, type ShellEnd } from "./first-session.js";
import { Preamble } from "./preamble.js";
import { type Call, RemoteLine } from "./remote-line.js";
import type { ShellStreams } from "./remote-shell.js";
import { isRefusal } from "./sessions.js";
import { loginCommand, PLAIN_SHELL } from "./shell.js";
import { sshRoute } from "./ssh-config.js";
import { connectHost, type SshConnection } from "./ssh-connect.js";
import { words } from "./ssh-prompts.js";
import { type SftpChannel, wrapSftp } from "./ssh-sftp.js";
import { signalChannel } from "./ssh2-private.js";
import type { ExecOptions, ExecResult, LoginOptions, Transport } from "./transport.js";

/** Milliseconds between the end of a shell's output and the word of its code. */
const EXIT_TIME = 2_000;
/** Milliseconds for a channel for files to open. */
const SFTP_TIME = 60_000;

/**
 * Opens a line: the way there by ~/.ssh/config, host keys by known_hosts, the login with whatever it asks. Throws
 * LoginError, HostKeyError, ConnectionError, ConfigError and InterruptedError.
 */
export async function openSsh(cluster: ClusterConfig, login: LoginOptions): Promise<Transport> {
  const route = await sshRoute(cluster);
  const target = route.map((h) => `${h.user}@${h.host}:${h.port}`).join(" ");
  checkSilent(cluster.name, target, login);
  const way: SshConnection[] = [];
  try {
    for (const host of route)
      way.push(
        await connectHost({ cluster: cluster.name, host, chosen: cluster.identity, via: way.at(-1)?.client, login }),
      );
    const line = new SshLine(cluster.name, way);
    await line.begin(target, login.signal);
    return line;
  } catch (error) {
    for (const { client } of way.reverse()) client.destroy();
    throw error;
  }
}

class SshLine extends RemoteLine {
  readonly kind = "ssh";
  readonly #way: readonly SshConnection[];
  readonly #client: Client;
  #shellEnd: () => Promise<ShellEnd> = async () => ({ code: undefined, said: "" });

  constructor(name: string, way: readonly SshConnection[]) {
    const last = way.at(-1);
    if (last === undefined) throw new ConnectionError(`There is no way to ${name}.`);
    super(name, {
      asked: way.some((connection) => connection.asked),
      greeting: way.flatMap((connection) => connection.said).join("\n"),
    });
    this.#way = way;
    this.#client = last.client;
    for (const connection of way) void connection.lost.then((reason) => this.die(reason));
  }

  async close(): Promise<void> {
    this.die(new ConnectionError(`The line to ${this.name} was closed.`, `\`yale login ${this.name}\` opens it.`));
    await Promise.all(this.#way.map((connection) => connection.lost));
  }

  protected override hangUp(): void {
    for (const { client } of [...this.#way].reverse()) {
      client.end();
      // The far side may be past answering.
      setTimeout(() => client.destroy(), 1_000).unref();
    }
  }

  protected override shellEnd(): Promise<ShellEnd> {
    return this.#shellEnd();
  }

  /** A call of ssh2 that opens something, settled by the end of the line too. */
  #call<T>(start: (done: (error: Error | undefined, value: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.gone !== undefined) return reject(this.gone);
      this.pending.add(reject);
      const done = (error: Error | undefined, value: T) => {
        this.pending.delete(reject);
        if (error === undefined || error === null) resolve(value);
        else reject(this.gone ?? error);
      };
      try {
        start(done);
      } catch (error) {
        done(error as Error, undefined as T);
      }
    });
  }

  protected override async openShell(): Promise<ShellStreams> {
    const { session, release } = await this.sessions.open(() => this.#channel(PLAIN_SHELL), { lasting: true });
    const { channel } = session;
    let said = "";
    this.#shellEnd = async () => {
      await Promise.race([session.closed, new Promise((resolve) => setTimeout(resolve, EXIT_TIME))]);
      return { code: session.exit?.code, said };
    };
    const hear = (chunk: Buffer) => {
      if (said.length < 2_000) said += chunk.toString("latin1");
    };
    channel.on("data", hear);
    channel.stderr.on("data", hear);
    void session.closed.then(release);
    const close = () => {
      // One that has ended by itself tells its code in a moment, after its output.
      if (channel.readableEnded) setTimeout(() => this.#kill(session), EXIT_TIME).unref();
      else this.#kill(session);
    };
    return { stdin: channel, stdout: channel, stderr: channel.stderr, close };
  }

  async #channel(line: string): Promise<Session> {
    try {
      return await this.#call<Session>((done) =>
        // Listened to at once: how a quick command ends may stand in the same packet as that it began.
        this.#client.exec(line, (error, channel) => done(error, error ? (undefined as never) : new Session(channel))),
      );
    } catch (error) {
      if (isYaleError(error) || isRefusal(error)) throw error;
      const message = words([(error as Error).message]);
      throw new ConnectionError(`${this.name} ran no command: ${message}.`, "Try again.", { cause: error });
    }
  }

  /** Ends what runs in a channel, and the channel. */
  #kill(session: Session): void {
    if (this.gone !== undefined) return;
    signalChannel(this.#client, session.channel, "KILL");
    session.channel.close();
    // ssh2 tells of the end only when all output was taken.
    session.channel.resume();
    session.channel.stderr.resume();
  }

  protected override async openFiles(onGone: () => void): Promise<SftpChannel> {
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
        `${this.name} opens no channel for files: ${words([message])}.`,
        /packet|VERSION/i.test(message)
          ? "A start-up file of your login shell there prints something. Let it be silent where no terminal is (.bashrc, .cshrc)."
          : "Ask the site whether it allows SFTP.",
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  protected override alone(argv: readonly string[], options: ExecOptions): Promise<ExecResult> {
    const program = argv[0] ?? "";
    let running: Session | undefined;
    const kill = () => {
      if (running !== undefined) this.#kill(running);
    };
    return this.inTime(program, options, kill, (call) => {
      const mark = randomBytes(16).toString("hex");
      const line = loginCommand(argv, options.cwd, mark);
      this.sessions
        .open(() => this.#channel(line), { cancelled: call.over })
        .then(({ session, release }) => {
          void session.closed.then(release);
          running = session;
          if (call.over()) return this.#kill(session);
          collect(session, mark, options, call, program).then(call.done, call.stop);
        }, call.stop);
    });
  }
}

/** A channel that runs a command, and how it ends. */
class Session {
  readonly channel: ClientChannel;
  readonly closed: Promise<void>;
  /** What its command ended with, if that was told. */
  exit: { code: number | null; signal?: string } | undefined;

  constructor(channel: ClientChannel) {
    this.channel = channel;
    this.closed = new Promise((resolve) => channel.once("close", () => resolve()));
    channel.once("exit", (code: number | null, signal?: string) => {
      this.exit = { code, ...(signal === undefined ? {} : { signal }) };
    });
  }
}

/** Feeds a command and gathers what it says until its channel closes. */
async function collect(
  session: Session,
  mark: string,
  options: ExecOptions,
  call: Call,
  program: string,
): Promise<ExecResult> {
  const { channel } = session;
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  const keep = (list: Buffer[], chunk: Buffer) => {
    if (call.count(chunk.length)) list.push(chunk);
  };
  const before = { out: new Preamble(mark), err: new Preamble(mark) };
  channel.on("data", (chunk: Buffer) => {
    const part = before.out.push(chunk);
    if (options.onStdout === undefined) keep(out, part);
    else if (part.length > 0) options.onStdout(part);
  });
  channel.stderr.on("data", (chunk: Buffer) => keep(err, before.err.push(chunk)));
  channel.on("error", () => undefined);
  feed(channel, options.input, session.closed).catch((error: Error) => call.stop(error));
  await session.closed;
  if (session.exit === undefined)
    throw new ConnectionError(
      `How ${program} ended is not known: its session was closed without a code.`,
      "Try again.",
    );
  const text = (parts: Buffer[], preamble: Preamble) => Buffer.concat([...parts, preamble.rest()]).toString("utf8");
  return { ...session.exit, stdout: text(out, before.out), stderr: text(err, before.err) };
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
