/**
 * What a line to another machine is made of, whatever carries it: sessions that are shared out, one long-lived shell,
 * channels for files, and an end that everything in flight hears of. ssh.ts and openssh.ts say how a session is opened.
 */
import { ConnectionError, InterruptedError } from "../errors.js";
import { FIRST_SESSION_TIME, firstSession, type ShellEnd } from "./first-session.js";
import { RemoteShell, type ShellStreams } from "./remote-shell.js";
import { Sessions } from "./sessions.js";
import { SftpPool } from "./sftp-pool.js";
import type { SftpChannel } from "./ssh-sftp.js";
import type { ExecOptions, ExecResult, Transport } from "./transport.js";

/** Bytes of output that a command may give where nobody takes it piece by piece. */
const FLOOD = 64 << 20;

/** A command under way. */
export interface Call {
  /** True once it was ended, by itself or not. */
  over(): boolean;
  /** It has ended by itself. */
  done(result: ExecResult): void;
  /** Ends it with an error. */
  stop(error: Error): void;
  /** Counts output that is kept; false, and the command is ended, if it is more than can be. */
  count(bytes: number): boolean;
}

/** A line over which every call is settled when it goes. */
export abstract class RemoteLine implements Transport {
  abstract readonly kind: "ssh" | "openssh";
  asked: boolean;
  readonly greeting: string;
  readonly lost: Promise<Error>;
  protected readonly name: string;
  protected readonly sessions: Sessions = new Sessions();
  /** Ends what is in flight; a list, since a line that stands for weeks would gather listeners to its end. */
  protected readonly pending: Set<(reason: Error) => void> = new Set();
  /** Why there is no line any more. */
  protected gone: Error | undefined;
  readonly #shell: RemoteShell;
  readonly #files: SftpPool;
  #lose: (reason: Error) => void = () => undefined;

  /** `name` is the cluster's; `asked` and `greeting` are those of the login. */
  protected constructor(name: string, login: { asked: boolean; greeting: string }) {
    this.name = name;
    this.asked = login.asked;
    this.greeting = login.greeting;
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
    this.#shell = new RemoteShell({
      open: () => this.openShell(),
      alone: (argv, options) => this.alone(argv, options),
      startTime: FIRST_SESSION_TIME,
      rested: () => this.sessions.rested(),
    });
    this.sessions.keep(this.#shell);
    this.#files = new SftpPool(this.sessions, (onGone) => this.openFiles(onGone));
  }

  /** A command in a session of its own. */
  protected abstract alone(argv: readonly string[], options: ExecOptions): Promise<ExecResult>;
  protected abstract openShell(): Promise<ShellStreams>;
  /** How the session of the shell that was opened last has ended. */
  protected abstract shellEnd(): Promise<ShellEnd>;
  protected abstract openFiles(onGone: () => void): Promise<SftpChannel>;
  /** Ends what carries the line; called once. */
  protected abstract hangUp(): void;
  abstract close(): Promise<void>;

  /** Runs the first session, which a person may have to approve. Throws LoginError where none works. */
  async begin(target: string, signal: AbortSignal | undefined): Promise<void> {
    const ended = () => (this.gone === undefined ? this.shellEnd() : { code: undefined, said: "" });
    if (await firstSession({ name: this.name, target, shell: this.#shell, ended }, signal)) this.asked = true;
  }

  exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const { shared, input, onStdout, ...rest } = options;
    if (shared === true && input === undefined && onStdout === undefined) return this.#shell.run(argv, rest);
    return this.alone(argv, options);
  }

  sftp(channel = 0): ReturnType<SftpPool["sftp"]> {
    return this.#files.sftp(channel);
  }

  /** The line is gone: everything that waits hears of it. */
  protected die(reason: Error): void {
    if (this.gone !== undefined) return;
    this.gone = reason;
    this.#lose(reason);
    this.sessions.close(reason);
    this.#shell.close(reason);
    for (const stop of [...this.pending]) stop(reason);
    this.pending.clear();
    this.hangUp();
  }

  /**
   * Runs a command until it ends, or its time, its caller or the line does; then `kill` ends what is left of it. `begin`
   * starts it.
   */
  protected inTime(
    program: string,
    options: Pick<ExecOptions, "timeout" | "signal">,
    kill: () => void,
    begin: (call: Call) => void,
  ): Promise<ExecResult> {
    return new Promise((resolve, reject) => {
      if (this.gone !== undefined) return reject(this.gone);
      if (options.signal?.aborted) return reject(new InterruptedError(`${program} was interrupted.`));
      const timeout = options.timeout ?? 60_000;
      let over = false;
      let size = 0;
      const settle = () => {
        if (over) return false;
        over = true;
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", abort);
        this.pending.delete(stop);
        return true;
      };
      const stop = (error: Error) => {
        if (!settle()) return;
        reject(this.gone ?? error);
        kill();
      };
      const late = () => stop(new ConnectionError(`${program} did not end within ${timeout / 1000} s.`, "Try again."));
      const abort = () => stop(new InterruptedError(`${program} was interrupted.`));
      const timer = setTimeout(late, timeout);
      options.signal?.addEventListener("abort", abort, { once: true });
      this.pending.add(stop);
      begin({
        over: () => over,
        done: (result) => {
          if (settle()) resolve(result);
        },
        stop,
        count: (bytes) => {
          size += bytes;
          if (size <= FLOOD) return true;
          stop(new ConnectionError(`${program} gave more than ${FLOOD >> 20} MiB of output.`, "Take it by files."));
          return false;
        },
      });
    });
  }
}
