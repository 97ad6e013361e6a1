/** A program on a terminal of its own (a pty, which Python's standard library makes), as a person sits before it. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { CLI, python, type Sandbox } from "./sandbox.js";

const PTY = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/** A running program and what it has shown. */
export class Terminal {
  readonly #child: ChildProcessWithoutNullStreams;
  /** All that appeared, what is echoed included. */
  shown = "";
  /** Its exit code, once it has ended. */
  readonly ended: Promise<number>;
  #over = false;
  readonly #sleepers: (() => void)[] = [];
  static readonly #all = new Set<Terminal>();

  /** Ends all that still run. */
  static async closeAll(): Promise<void> {
    await Promise.all([...Terminal.#all].map((terminal) => terminal.close()));
  }

  /** Starts a program; its arguments stand in the process list. */
  constructor(box: Sandbox, argv: readonly string[]) {
    this.#child = spawn(python(), ["-c", PTY, ...argv], { cwd: box.home, env: { ...box.env, TERM: "xterm" } });
    Terminal.#all.add(this);
    const wake = () => {
      for (const sleeper of this.#sleepers.splice(0)) sleeper();
    };
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.shown += text;
      wake();
    });
    this.ended = new Promise((resolve) =>
      this.#child.on("close", (code) => {
        this.#over = true;
        Terminal.#all.delete(this);
        wake();
        resolve(code ?? 255);
      }),
    );
  }

  /** Starts `yale`. */
  static yale(box: Sandbox, ...args: string[]): Terminal {
    return new Terminal(box, [process.execPath, CLI, ...args]);
  }

  /** Waits until `what` appears after everything that was waited for before. Throws if the program ends without. */
  async until(what: string | RegExp): Promise<string> {
    for (;;) {
      const rest = this.shown.slice(this.#seen);
      const found = typeof what === "string" ? rest.indexOf(what) : rest.search(what);
      if (found >= 0) {
        this.#seen += found + 1;
        return rest;
      }
      if (this.#over) throw new Error(`It ended without ${what}. It showed:\n${this.shown}`);
      await new Promise<void>((resolve) => this.#sleepers.push(resolve));
    }
  }
  #seen = 0;

  /** Types, Enter where it says `\r`, Ctrl-C as `\u0003`. */
  type(text: string): void {
    this.#child.stdin.write(text);
  }

  /** Ends it, if it has not ended. */
  async close(): Promise<void> {
    if (!this.#over) this.#child.kill("SIGTERM");
    await this.ended;
  }
}
