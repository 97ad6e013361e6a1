/**
 * The way to a cluster through the system's own OpenSSH, for logins that only it can do (certificates, FIDO keys,
 * GSSAPI, ProxyCommand): one master connection (ControlMaster), and an `ssh` for each session over its socket. The
 * contract is that of ssh.ts.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { constants } from "node:os";
import { pipeline } from "node:stream/promises";
import type { ClusterConfig } from "../config/index.js";
import { ConnectionError } from "../errors.js";
import { checkSilent, type ShellEnd } from "./first-session.js";
import { lastLine, type Master, openMaster } from "./openssh-master.js";
import { sftpOverStreams } from "./openssh-sftp.js";
import { Preamble } from "./preamble.js";
import { RemoteLine } from "./remote-line.js";
import type { ShellStreams } from "./remote-shell.js";
import { endShell, reportedCommand, reportedShell } from "./shell.js";
import { type SftpChannel, wrapSftp } from "./ssh-sftp.js";
import type { ExecOptions, ExecResult, LoginOptions, Transport } from "./transport.js";

/** Milliseconds between looks at a master that is not ours, and for its answer: dead within 30 s. */
const LOOK_EVERY = 10_000;
const LOOK_TIME = 15_000;
/** Milliseconds that ending what was interrupted may take. */
const END_TIME = 10_000;

/** Opens it. Throws LoginError, HostKeyError, ConnectionError, ConfigError and InterruptedError. */
export async function openOpenSsh(cluster: ClusterConfig, login: LoginOptions): Promise<Transport> {
  const target = `openssh ${cluster.user}@${cluster.host}:${cluster.port} ${cluster.proxyJump}`;
  checkSilent(cluster.name, target, login);
  const line = new OpenSsh(cluster.name, await openMaster(cluster, login));
  try {
    await line.begin(target, login.signal);
    return line;
  } catch (error) {
    await line.close();
    throw error;
  }
}

/** The far side does not allow one more session now; has the reason that sessions.ts knows it by. */
class Refused extends Error {
  readonly reason = 2;
}

/** A session whose command has begun. */
interface Session {
  child: ChildProcessWithoutNullStreams;
  /** Of the command on the far side, which leads its process group. */
  pid: number;
  mark: string;
  /** All of standard error so far. */
  errors: Buffer[];
  /** Resolves with ssh's exit code when it has ended. */
  ended: Promise<number | null>;
}

class OpenSsh extends RemoteLine {
  readonly kind = "openssh";
  readonly #master: Master;
  readonly #children = new Set<ChildProcessWithoutNullStreams>();
  #shellEnd: Promise<ShellEnd> = Promise.resolve({ code: undefined, said: "" });

  constructor(cluster: string, master: Master) {
    super(cluster, master);
    this.#master = master;
    void master.lost.then((reason) => this.die(reason));
    if (master.borrowed) this.#watch();
  }

  async close(): Promise<void> {
    this.die(new ConnectionError(`The line to ${this.name} was closed.`, "It is opened again when needed."));
    await this.#master.close();
  }

  protected override hangUp(): void {
    for (const child of this.#children) child.kill("SIGKILL");
  }

  protected override shellEnd(): Promise<ShellEnd> {
    return this.#shellEnd;
  }

  /** Looks after a master that is not ours, which may know no keepalive. */
  #watch(): void {
    const timer = setInterval(async () => {
      try {
        await this.exec(["true"], { shared: true, timeout: LOOK_TIME });
      } catch (cause) {
        const what = `The line to ${this.name} was lost: the ssh connection that it used does not answer.`;
        this.die(new ConnectionError(what, "Try again.", { cause }));
      }
    }, LOOK_EVERY);
    timer.unref();
    void this.lost.then(() => clearInterval(timer));
  }

  #spawn(args: readonly string[]): ChildProcessWithoutNullStreams {
    if (this.gone !== undefined) throw this.gone;
    const child = spawn("ssh", args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, LC_ALL: "C" } });
    this.#children.add(child);
    child.stdin.on("error", () => undefined);
    return child;
  }

  /** Starts a session and resolves when its command begins, which it tells by `mark`. */
  async #begin(
    mark: string,
    line: string,
    onChild?: (child: ChildProcessWithoutNullStreams) => void,
  ): Promise<Session> {
    const child = this.#spawn([...this.#master.session, line]);
    onChild?.(child);
    const errors: Buffer[] = [];
    const ended = this.#endOf(child);
    const pid = await new Promise<number | undefined>((resolve) => {
      let waits = true;
      child.stderr.on("data", (chunk: Buffer) => {
        errors.push(chunk);
        const pid = waits ? report(errors, mark).pid : undefined;
        if (pid === undefined) return;
        waits = false;
        resolve(pid);
      });
      void ended.then(() => resolve(report(errors, mark).pid));
    });
    if (pid !== undefined) return { child, pid, mark, errors, ended };
    throw await this.#failure(Buffer.concat(errors).toString("latin1"));
  }

  #endOf(child: ChildProcessWithoutNullStreams): Promise<number | null> {
    return new Promise((resolve) => {
      const end = (code: number | null) => {
        this.#children.delete(child);
        resolve(code);
      };
      child.once("close", end);
      child.once("error", () => end(null));
    });
  }

  /** Why a session ended before it began. */
  async #failure(said: string): Promise<Error> {
    if (this.gone !== undefined) return this.gone;
    if (/session request failed|session open refused/i.test(said)) return new Refused(lastLine(said));
    // The master's own end is heard a moment later than that of its sessions.
    if (!(await this.#master.alive())) return this.#whyLost();
    return new ConnectionError(`${this.name} opens no session: ${lastLine(said) || "it says nothing"}.`, "Try again.");
  }

  async #whyLost(): Promise<Error> {
    let timer: NodeJS.Timeout | undefined;
    const unknown = new Promise<Error>((resolve) => {
      const reason = new ConnectionError(`The line to ${this.name} was lost.`, "Try again.");
      timer = setTimeout(() => resolve(reason), 1_000);
    });
    const reason = await Promise.race([this.#master.lost, this.lost, unknown]);
    clearTimeout(timer);
    this.die(reason);
    return reason;
  }

  protected override alone(argv: readonly string[], options: ExecOptions): Promise<ExecResult> {
    const program = argv[0] ?? "";
    let child: ChildProcessWithoutNullStreams | undefined;
    let begun: Session | undefined;
    const kill = () => {
      child?.kill("SIGKILL");
      if (begun !== undefined) this.#endThere(begun);
    };
    return this.inTime(program, options, kill, (call) => {
      const mark = randomBytes(16).toString("hex");
      const line = reportedCommand(argv, mark, options.cwd);
      const out: Buffer[] = [];
      const start = () =>
        this.#begin(mark, line, (started) => {
          child = started;
          // Taken from the start: what nobody listens to, Node throws away when a quick command has ended.
          const before = new Preamble(`${mark}O`);
          started.stderr.on("data", (chunk: Buffer) => void call.count(chunk.length));
          started.stdout.on("data", (chunk: Buffer) => {
            const part = before.push(chunk);
            if (part.length === 0) return;
            if (options.onStdout) return options.onStdout(part);
            if (call.count(part.length)) out.push(part);
          });
        });
      this.sessions
        .open(start, { cancelled: call.over })
        .then(({ session, release }) => {
          void session.ended.then(release);
          begun = session;
          if (call.over()) {
            session.child.kill("SIGKILL");
            this.#endThere(session);
            return;
          }
          this.#follow(session, options.input, call.stop, program).then(
            (end) => call.done({ ...end, stdout: Buffer.concat(out).toString("utf8") }),
            call.stop,
          );
        })
        .catch(call.stop);
    });
  }

  /** Feeds a command and tells how it ended. */
  async #follow(
    { child, errors, mark, ended }: Session,
    input: ExecOptions["input"],
    stop: (error: Error) => void,
    program: string,
  ): Promise<Omit<ExecResult, "stdout">> {
    if (input === undefined || typeof input === "string" || input instanceof Uint8Array) child.stdin.end(input);
    // A command that closes its input early is not an error; a stream that breaks is.
    else
      pipeline(input, child.stdin).catch((error: NodeJS.ErrnoException) => {
        if (!["EPIPE", "ECONNRESET", "ERR_STREAM_PREMATURE_CLOSE", "ERR_STREAM_DESTROYED"].includes(error.code ?? ""))
          stop(error);
      });
    await ended;
    const { code, text } = report(errors, mark);
    if (code !== undefined) return { ...ending(code), stderr: text };
    if (!(await this.#master.alive())) throw await this.#whyLost();
    throw new ConnectionError(
      `How ${program} ended on ${this.name} is not known: its session was cut off.`,
      "Try again.",
    );
  }

  /** Ends what a session was running: sshd lets it go on when its session is closed. */
  #endThere({ pid }: Session): void {
    if (this.gone !== undefined) return;
    this.alone(["/bin/sh", "-c", endShell(pid, pid)], { timeout: END_TIME }).catch(() => undefined);
  }

  protected override async openShell(): Promise<ShellStreams> {
    const mark = randomBytes(16).toString("hex");
    const start = () =>
      this.#begin(mark, reportedShell(mark), (child) => {
        this.#shellEnd = this.#hear(child);
      });
    const { session, release } = await this.sessions.open(start, { lasting: true });
    void session.ended.then(release);
    const { stdin, stdout, stderr } = session.child;
    return { stdin, stdout, stderr, close: () => void session.child.kill("SIGKILL") };
  }

  /** How a session ends, with the beginning of what it says. */
  #hear(child: ChildProcessWithoutNullStreams): Promise<ShellEnd> {
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      if (said.length < 2_000) said += chunk.toString("latin1");
    });
    return this.#endOf(child).then((code) => ({ code, said }));
  }

  protected override async openFiles(onGone: () => void): Promise<SftpChannel> {
    const child = this.#spawn(["-s", ...this.#master.session, "sftp"]);
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString("latin1")).slice(-4_096);
    });
    const ended = this.#endOf(child);
    try {
      const channel = wrapSftp(await sftpOverStreams(child.stdout, child.stdin), this.lost);
      void ended.then(onGone);
      return channel;
    } catch (error) {
      child.kill("SIGKILL");
      await ended;
      const why = await this.#failure(said);
      // What ssh2 says of the first bytes tells more than that ssh ended.
      throw why instanceof Refused || this.gone !== undefined ? why : error;
    }
  }
}

/** What standard error tells of a command, by {@link reportedCommand}. */
interface Report {
  pid?: number;
  code?: number;
  /** What the command itself wrote. */
  text: string;
}

function report(errors: readonly Buffer[], mark: string): Report {
  const all = Buffer.concat(errors);
  const text = all.toString("latin1");
  const begin = new RegExp(`${mark}P(\\d+)\\n`).exec(text);
  const end = new RegExp(`${mark}E(\\d+)\\n`).exec(text);
  // What a start-up file prints before is not the command's.
  const from = begin === null ? 0 : begin.index + begin[0].length;
  return {
    ...(begin === null ? {} : { pid: Number(begin[1]) }),
    ...(end === null ? {} : { code: Number(end[1]) }),
    text: all.subarray(from, end?.index).toString("utf8"),
  };
}

const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** A shell tells a signal by 128 and its number. */
function ending(code: number): Pick<ExecResult, "code" | "signal"> {
  const signal = SIGNALS.get(code - 128);
  return signal === undefined ? { code } : { code: null, signal };
}
