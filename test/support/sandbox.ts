/** A home of its own for a test: XDG folders, socket and agent that touch nothing of the user's, and leave nothing. */
import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { JobRecords } from "../../kernel-lib/src/jobs/records.js";
import { holderOf, lives } from "../../kernel-lib/src/process.js";
import type { JobRecord } from "../../kernel-lib/src/protocol.js";

/** Root of the checkout. */
export const ROOT: string = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** The built command line. */
export const CLI: string = join(ROOT, "kernel-lib", "dist", "cli.cjs");

/** Python with `datasets`, set by `npm test`; a test that needs it fails without. */
export function python(): string {
  const path = process.env.YALE_TEST_PYTHON;
  if (!path)
    throw new Error("YALE_TEST_PYTHON is not set: run the tests with `npm test`, which makes that environment.");
  return path;
}

/** What a command said. */
export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** A throw-away home. */
export class Sandbox {
  readonly home: string = mkdtempSync(join(tmpdir(), "yale-test-"));
  readonly env: NodeJS.ProcessEnv;

  constructor(more: NodeJS.ProcessEnv = {}) {
    const { YALE_JOBS_CONFIG: _config, YALE_JOBS_SOCKET: _socket, ...env } = process.env;
    mkdirSync(join(this.home, "run"), { mode: 0o700 });
    this.env = {
      ...env,
      HOME: this.home,
      XDG_STATE_HOME: join(this.home, "state"),
      XDG_CACHE_HOME: join(this.home, "cache"),
      XDG_DATA_HOME: join(this.home, "data"),
      XDG_CONFIG_HOME: join(this.home, "config"),
      XDG_RUNTIME_DIR: join(this.home, "run"),
      ...more,
    };
  }

  /** Writes the config.yaml that is in force in the sandbox. */
  configure(text: string): void {
    const folder = join(this.home, "config", "yale-jobs");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "config.yaml"), text);
  }

  /** Makes this process live in the sandbox too; undone by {@link close}. */
  enter(): this {
    for (const name of [
      "HOME",
      "XDG_STATE_HOME",
      "XDG_CACHE_HOME",
      "XDG_DATA_HOME",
      "XDG_CONFIG_HOME",
      "XDG_RUNTIME_DIR",
    ]) {
      this.#before.set(name, process.env[name]);
      process.env[name] = this.env[name];
    }
    return this;
  }
  readonly #before = new Map<string, string | undefined>();

  /** Runs a program in the sandbox. */
  run(
    program: string,
    args: readonly string[],
    options: { cwd?: string; input?: string; timeout?: number } = {},
  ): Promise<Ran> {
    return new Promise((resolve) => {
      const child = execFile(
        program,
        [...args],
        { env: this.env, cwd: options.cwd ?? this.home, timeout: options.timeout ?? 100_000, maxBuffer: 64 << 20 },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === "number" ? error.code : 255;
          resolve({ code, stdout, stderr });
        },
      );
      child.stdin?.end(options.input);
    });
  }

  /** Runs `yale`. */
  yale(...args: string[]): Promise<Ran> {
    return this.run(process.execPath, [CLI, ...args]);
  }

  /** Starts `yale` and leaves it running. */
  start(...args: string[]): ReturnType<typeof spawn> {
    return spawn(process.execPath, [CLI, ...args], {
      env: this.env,
      cwd: this.home,
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** Job records as they are on disk. */
  records(): JobRecord[] {
    return new JobRecords(join(this.home, "state", "yale-jobs", "jobs")).list();
  }

  /** Pid of the running agent. */
  agentPid(): number {
    const holder = holderOf(join(this.home, "run", "yale-jobs", "agent.lock"));
    if (holder === undefined || !lives(holder)) throw new Error("No agent runs in the sandbox.");
    return Number(holder.split(" ")[0]);
  }

  /** Ends everything that was started in the sandbox, by its own pids, and removes the folder. */
  async close(): Promise<void> {
    await this.yale("agent", "stop").catch(() => undefined);
    const queue = join(this.home, "state", "yale-jobs", "local-scheduler");
    for (const id of this.#list(join(queue, "jobs"))) this.#kill(holderOf(join(queue, "jobs", id, "pid")), true);
    this.#kill(holderOf(join(queue, "daemon")), false);
    this.#kill(holderOf(join(this.home, "run", "yale-jobs", "agent.lock")), false);
    for (const [name, value] of this.#before)
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  #list(folder: string): string[] {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  }

  #kill(holder: string | undefined, group: boolean): void {
    if (holder === undefined || !lives(holder)) return;
    const pid = Number(holder.split(" ")[0]);
    try {
      process.kill(group ? -pid : pid, "SIGKILL");
    } catch {
      // It ended meanwhile.
    }
  }
}

/** Lines of a JSON-lines file. */
export function jsonLines(path: string): Record<string, unknown>[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((l) => l !== "")
    .map((l) => JSON.parse(l) as Record<string, unknown>);
}

/** Waits until `check` gives something, looking every 20 ms; for states of other processes that no event tells of. */
export async function until<T>(
  what: string,
  check: () => T | undefined | false | Promise<T | undefined | false>,
  timeout = 60_000,
): Promise<T> {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`Waited ${timeout} ms for ${what}.`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
