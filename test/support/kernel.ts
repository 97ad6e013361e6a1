/** The real tslab kernel, started by our launcher from our kernel specification, as Jupyter starts it. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { python, ROOT } from "./sandbox.js";

/** What is shown under a cell. */
export interface Shown {
  data: Record<string, unknown>;
  /** Display id, by which it can be changed. */
  id: string | undefined;
}

/** What a cell did. */
export class CellRun {
  readonly status: string;
  readonly seconds: number;
  readonly #messages: [string, Record<string, unknown>][];

  constructor(answer: { status: string; seconds: number; messages: [string, Record<string, unknown>][] }) {
    this.status = answer.status;
    this.seconds = answer.seconds;
    this.#messages = answer.messages;
  }

  #shown(kind: string): Shown[] {
    return this.#messages
      .filter(([type]) => type === kind)
      .map(([, content]) => ({
        data: content["data"] as Record<string, unknown>,
        id: (content["transient"] as { display_id?: string } | undefined)?.display_id,
      }));
  }
  /** What appeared. */
  get displays(): Shown[] {
    return this.#shown("display_data");
  }
  /** What changed, of this cell or an earlier one. */
  get updates(): Shown[] {
    return this.#shown("update_display_data");
  }
  /** What was printed. */
  printed(stream: "stdout" | "stderr"): string {
    return this.#messages
      .filter(([type, content]) => type === "stream" && content["name"] === stream)
      .map(([, content]) => String(content["text"]))
      .join("");
  }
}

/** A running kernel. */
export class Kernel {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;
  #errors = "";

  private constructor(cwd: string, env: NodeJS.ProcessEnv) {
    this.#child = spawn(python(), [join(ROOT, "test", "support", "kernel.py")], { cwd, env });
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Starts one in a folder, as for a notebook that lies there. */
  static async start(cwd: string, env: NodeJS.ProcessEnv): Promise<Kernel> {
    const jupyter = join(ROOT, ".yale", "venv", "share", "jupyter");
    if (!existsSync(join(jupyter, "kernels", "tslab", "kernel.json")))
      throw new Error("The kernel is not set up: run the tests with `npm test`, or `node scripts/setup.mjs test`.");
    const kernel = new Kernel(cwd, { ...env, JUPYTER_PATH: jupyter });
    await kernel.#next();
    return kernel;
  }

  async #next(): Promise<Record<string, unknown>> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`The kernel's driver ended: ${this.#errors}`);
    return JSON.parse(value as string) as Record<string, unknown>;
  }

  async #ask(request: object): Promise<Record<string, unknown>> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return this.#next();
  }

  /** Runs a cell to its end; `interruptAfter` seconds interrupt it, as Jupyter's stop button does. */
  async run(code: string, options: { interruptAfter?: number } = {}): Promise<CellRun> {
    const { interruptAfter } = options;
    const more = interruptAfter === undefined ? {} : { interrupt_after: interruptAfter };
    return new CellRun(
      (await this.#ask({ run: code, ...more })) as unknown as ConstructorParameters<typeof CellRun>[0],
    );
  }

  /** What the Tab key offers at the end of `code`. */
  async complete(code: string): Promise<string[]> {
    return (await this.#ask({ complete: code }))["matches"] as string[];
  }

  /** Ends the kernel and its driver. */
  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.stdin.end();
    await ended;
  }
}
