/**
 * One long-lived `sh` on the far side that runs short commands one after another: a session of its own for each would
 * start the user's login shell each time, which loads modules and conda. Works over anything that carries three streams.
 *
 * Every command stands between marks of 128 random bits that it never sees, so that its output can't pass for the end
 * of it, and what a start-up file or a process left behind prints falls outside. A command that outlives its deadline is
 * ended with its shell, and the next one gets a new shell.
 */
import { randomBytes } from "node:crypto";
import type { Readable, Writable } from "node:stream";
import { ConnectionError, InterruptedError } from "../errors.js";
import { endShell, framed, shellIdentity } from "./shell.js";
import type { ExecOptions, ExecResult } from "./transport.js";

/** The streams of one {@link PLAIN_SHELL} that the transport has started. */
export interface ShellStreams {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Lets go of it. What still runs there is ended by the next shell. */
  close(): void;
}

/** What a {@link RemoteShell} needs of its transport. */
export interface ShellHost {
  /** Starts a {@link PLAIN_SHELL}; called again when the one before is gone. */
  open(): Promise<ShellStreams>;
  /** Runs a command in a session of its own: for those that would wait behind a slow one. */
  alone(argv: readonly string[], options: ExecOptions): Promise<ExecResult>;
  /** Milliseconds for the login shell to start; default 30,000: loaded login nodes and conda take long. */
  startTime?: number;
  /** Called when nothing runs and nothing waits. */
  rested?(): void;
}

/** Options of {@link RemoteShell.run}, as in {@link ExecOptions}. */
export type SharedOptions = Pick<ExecOptions, "cwd" | "timeout" | "signal">;

/** Bytes of both streams of one command; a list of ten thousand jobs has 2 MiB. */
const FLOOD = 16 << 20;
/** Milliseconds for the login shell to start, by default. */
const START_TIME = 30_000;
/** Milliseconds that commands wait behind another before they go into sessions of their own. */
const PATIENCE = 1_000;

/** A command that has been asked for. */
interface Waiting {
  argv: readonly string[];
  options: SharedOptions;
  deadline: number;
  /** Not yet answered, and not yet given to a shell. */
  waits: boolean;
  resolve(result: ExecResult | Promise<ExecResult>): void;
  reject(error: Error): void;
}

/** Commands in one `sh`, in the order in which they came. */
export class RemoteShell {
  readonly #host: ShellHost;
  readonly #queue: Waiting[] = [];
  #session: ShellSession | undefined;
  /** Shells that were left behind with something running, to be ended by the next one. */
  #left: { pid: number; group: number }[] = [];
  #working = false;
  /** The command that runs now has used up the patience of those behind it. */
  #slow = false;
  #closed: Error | undefined;

  constructor(host: ShellHost) {
    this.#host = host;
  }

  /**
   * Runs one command and resolves with how it ended; a command ended by a signal has the code 128 and the signal's
   * number, as shells have it. Throws ConnectionError (line gone, time out, more than 16 MiB of output) and
   * InterruptedError. The time counts from the call.
   */
  run(argv: readonly string[], options: SharedOptions = {}): Promise<ExecResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(this.#closed);
      if (options.signal?.aborted) return reject(interrupted(argv));
      const timeout = options.timeout ?? 60_000;
      const leave = (error: Error) => {
        if (!entry.waits) return;
        const at = this.#queue.indexOf(entry);
        if (at >= 0) this.#queue.splice(at, 1);
        entry.reject(error);
      };
      const late = () =>
        leave(new ConnectionError(`${argv[0]} could not start within ${timeout / 1000} s.`, "Try again later."));
      const abort = () => leave(interrupted(argv));
      const timer = setTimeout(late, timeout);
      options.signal?.addEventListener("abort", abort, { once: true });
      const settle = () => {
        entry.waits = false;
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", abort);
      };
      const entry: Waiting = {
        argv,
        options,
        deadline: Date.now() + timeout,
        waits: true,
        resolve: (result) => {
          settle();
          resolve(result);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      if (this.#slow) return this.#alone(entry);
      this.#queue.push(entry);
      void this.#work();
    });
  }

  /** Gives the shell up if nothing runs in it, as if it had never been; true if there was one. The next command opens another. */
  rest(): boolean {
    if (this.#working || this.#session === undefined || this.#session.over !== undefined) return false;
    this.#session.end(new ConnectionError("The shell was given up for something that waited."));
    this.#session = undefined;
    return true;
  }

  /** Ends it: everything that runs or waits is rejected with `reason`. */
  close(reason: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    for (const entry of this.#queue.splice(0)) entry.reject(reason);
    this.#session?.end(reason);
  }

  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      for (let entry = this.#queue.shift(); entry !== undefined; entry = this.#queue.shift()) {
        const impatient = setTimeout(() => this.#spill(), PATIENCE);
        try {
          const session = await this.#open();
          // Its time may have run out while the shell started.
          if (!entry.waits) continue;
          entry.waits = false;
          entry.resolve(await session.run(entry.argv, entry.options, entry.deadline));
        } catch (error) {
          entry.reject(error as Error);
        } finally {
          clearTimeout(impatient);
          this.#slow = false;
        }
      }
    } finally {
      this.#working = false;
    }
    this.#host.rested?.();
  }

  /** Those that wait behind a slow command go alone, and so do those that come while it runs. */
  #spill(): void {
    // A shell that is still starting is as quick as a session that would have to start too.
    if (this.#session?.ready !== true) return;
    this.#slow = true;
    for (const entry of this.#queue.splice(0)) this.#alone(entry);
  }

  #alone({ argv, options, deadline, resolve }: Waiting): void {
    resolve(this.#host.alone(argv, { ...options, timeout: Math.max(1, deadline - Date.now()) }));
  }

  async #open(): Promise<ShellSession> {
    if (this.#session !== undefined && this.#session.over === undefined) return this.#session;
    if (this.#session?.identity !== undefined && this.#session.busy) this.#left.push(this.#session.identity);
    this.#session = undefined;
    if (this.#closed !== undefined) throw this.#closed;
    const session = new ShellSession(await this.#host.open());
    this.#session = session;
    if (this.#closed !== undefined) session.end(this.#closed);
    await session.start(this.#left, this.#host.startTime ?? START_TIME);
    this.#left = [];
    return session;
  }
}

function interrupted(argv: readonly string[]): InterruptedError {
  return new InterruptedError(`${argv[0]} was interrupted.`);
}

/** One shell, from its start to its end. */
class ShellSession {
  /** Why it can't be used any more. */
  over: Error | undefined;
  /** Its pid and process group on the far side. */
  identity: { pid: number; group: number } | undefined;
  /** Something runs in it. */
  busy = false;
  ready = false;
  readonly #streams: ShellStreams;
  #fail: ((error: Error) => void) | undefined;
  #take: ((from: "stdout" | "stderr", chunk: Buffer) => void) | undefined;

  constructor(streams: ShellStreams) {
    this.#streams = streams;
    const { stdin, stdout, stderr } = streams;
    stdout.on("data", (chunk: Buffer) => this.#take?.("stdout", chunk));
    stderr.on("data", (chunk: Buffer) => this.#take?.("stderr", chunk));
    const ended = () => this.end(new ConnectionError("The shell on the far side ended.", "Try again."));
    stdout.on("end", ended).on("close", ended).on("error", ended);
    stderr.on("error", ended);
    stdin.on("error", ended);
  }

  end(reason: Error): void {
    if (this.over !== undefined) return;
    this.over = reason;
    this.#fail?.(reason);
    this.#streams.close();
  }

  /** Waits until the login shell has become `sh`, whatever it prints before, and ends shells left behind. */
  async start(left: readonly { pid: number; group: number }[], time: number): Promise<void> {
    const mark = randomBytes(16).toString("hex");
    const script = left.map(({ pid, group }) => endShell(pid, group)).join("") + shellIdentity(mark);
    let said = "";
    const known = await this.#exchange<RegExpExecArray>(script, time, {
      take: (_from, chunk, done) => {
        // The end is enough to find the mark in and to quote from.
        said = (said + chunk.toString("latin1")).slice(-4096);
        const match = new RegExp(`${mark}P(\\d+) (\\d+)\\n`).exec(said);
        if (match !== null) done(match);
      },
      late: () =>
        new ConnectionError(
          `The login shell on the far side did not start within ${time / 1000} s${lastWords(said)}.`,
          "Log in with `ssh` and see what its start-up files wait for.",
        ),
    });
    this.identity = { pid: Number(known[1]), group: Number(known[2]) };
    this.ready = true;
  }

  async run(argv: readonly string[], options: SharedOptions, deadline: number): Promise<ExecResult> {
    const mark = randomBytes(16).toString("hex");
    const streams = { stdout: new Frame(mark), stderr: new Frame(mark) };
    const timeout = options.timeout ?? 60_000;
    const code = await this.#exchange<number>(framed(argv, mark, options.cwd), deadline - Date.now(), {
      signal: options.signal,
      take: (from, chunk, done, fail) => {
        streams[from].push(chunk);
        const { stdout, stderr } = streams;
        if (stdout.size + stderr.size > FLOOD)
          fail(new ConnectionError(`${argv[0]} gave more than ${FLOOD >> 20} MiB of output.`, "Ask for less at once."));
        else if (stdout.tail !== undefined && stderr.tail !== undefined) done(Number(stdout.tail));
      },
      late: () => new ConnectionError(`${argv[0]} did not end within ${timeout / 1000} s.`, "Try again."),
      abort: () => interrupted(argv),
    });
    return { code, stdout: streams.stdout.text(), stderr: streams.stderr.text() };
  }

  /** Sends a script and settles with what `take` makes of the output. What fails ends the session. */
  #exchange<T>(
    script: string,
    timeout: number,
    on: {
      take(from: "stdout" | "stderr", chunk: Buffer, done: (value: T) => void, fail: (error: Error) => void): void;
      late(): Error;
      abort?(): Error;
      signal?: AbortSignal | undefined;
    },
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.over !== undefined) return reject(this.over);
      this.busy = true;
      const settle = () => {
        clearTimeout(timer);
        on.signal?.removeEventListener("abort", abort);
        this.#take = undefined;
        this.#fail = undefined;
      };
      this.#fail = (error) => {
        settle();
        reject(error);
      };
      const timer = setTimeout(() => this.end(on.late()), Math.max(1, timeout));
      const abort = () => this.end(on.abort?.() ?? on.late());
      on.signal?.addEventListener("abort", abort, { once: true });
      const done = (value: T) => {
        settle();
        this.busy = false;
        resolve(value);
      };
      this.#take = (from, chunk) => on.take(from, chunk, done, (error) => this.end(error));
      this.#streams.stdin.write(script);
    });
  }
}

/** One stream's output of one command: what stands between its marks. */
class Frame {
  /** What follows the second mark on its line; undefined until it has come. */
  tail: string | undefined;
  size = 0;
  readonly #begin: Buffer;
  readonly #end: Buffer;
  readonly #parts: Buffer[] = [];
  #begun = false;
  #rest: Buffer = Buffer.alloc(0);

  constructor(mark: string) {
    this.#begin = Buffer.from(`${mark}B`);
    this.#end = Buffer.from(`${mark}E`);
  }

  push(chunk: Buffer): void {
    if (this.tail !== undefined) return;
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (!this.#begun) {
      const at = data.indexOf(this.#begin);
      if (at < 0) {
        this.#rest = last(data, this.#begin.length - 1);
        return;
      }
      this.#begun = true;
      data = data.subarray(at + this.#begin.length);
    }
    const at = data.indexOf(this.#end);
    // A mark may be cut in two by the line; the last bytes wait for what follows.
    const whole = at < 0 ? Math.max(0, data.length - this.#end.length + 1) : at;
    this.#keep(data.subarray(0, whole));
    this.#rest = data.subarray(whole);
    if (at < 0) return;
    const tail = this.#rest.subarray(this.#end.length);
    const stop = tail.indexOf(10);
    if (stop >= 0) this.tail = tail.subarray(0, stop).toString("latin1");
  }

  text(): string {
    return Buffer.concat(this.#parts).toString("utf8");
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    this.size += part.length;
    this.#parts.push(part);
  }
}

function last(data: Buffer, length: number): Buffer {
  return data.subarray(Math.max(0, data.length - length));
}

/** What the far side said last, fit for an error: one line, nothing that a terminal would obey. */
function lastWords(said: string): string {
  const line = said
    .replace(/[^\x20-\x7e\n]/g, "")
    .trim()
    .split("\n")
    .at(-1);
  return line === undefined || line === "" ? "" : `; the last that it said: "${line.slice(-200)}"`;
}
