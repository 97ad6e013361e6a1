/** Starts the agent when it is needed: of several who try at once, one succeeds and all find it. */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../errors.js";
import { distFile, socketPath, stateDir } from "../paths.js";
import type { Hello } from "../protocol.js";
import { call } from "./call.js";

/** Milliseconds in which a started agent must answer, on a busy machine. */
const START_TIME = 30_000;

/** What the agent says of itself, or undefined if there is none. */
export async function hello(): Promise<Hello | undefined> {
  try {
    return (await call("GET", "/hello")) as Hello;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** True if the error says that nobody answers at the socket: no file, or one left behind by a killed agent. */
export function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ECONNREFUSED"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** Path of the agent's log. */
export function agentLog(): string {
  return join(stateDir(), "agent.log");
}

/** Makes sure that an agent answers, and returns what it says of itself. Throws AgentError. */
export async function ensureAgent(): Promise<Hello> {
  const there = await hello();
  if (there !== undefined) return there;
  mkdirSync(stateDir(), { recursive: true, mode: 0o700 });
  const log = openSync(agentLog(), "a", 0o600);
  // Detached: it outlives the notebook, terminal or JupyterLab that happened to need it first.
  const child = spawn(process.execPath, [distFile("agent.cjs")], {
    detached: true,
    stdio: ["ignore", log, log, "pipe"],
    cwd: "/",
    env: { ...process.env, YALE_JOBS_SOCKET: socketPath() },
  });
  closeSync(log);
  const ready = child.stdio[3];
  let failed: Error | undefined;
  try {
    // The agent writes one byte when it serves, or when it has found that another one does; or it ends.
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, START_TIME);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      child.once("error", (error) => {
        failed = error;
        done();
      });
      ready?.once("data", done).once("close", done);
    });
  } finally {
    ready?.destroy();
    child.removeAllListeners();
    child.on("error", () => undefined);
    child.unref();
  }
  const started = await hello();
  if (started !== undefined) return started;
  throw new AgentError(
    `The agent could not be started${failed === undefined ? "" : `: ${failed.message}`}.\n${logTail()}`,
    `Its log is ${agentLog()}.`,
  );
}

function logTail(): string {
  try {
    return readFileSync(agentLog(), "utf8").trimEnd().split("\n").slice(-5).join("\n");
  } catch {
    return "";
  }
}

/** Asks the agent to end; jobs go on. False if there was none. */
export async function stopAgent(): Promise<boolean> {
  try {
    await call("POST", "/stop");
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}
