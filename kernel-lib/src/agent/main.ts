/**
 * The agent process: one for each user, started on demand, gone after a long time with nothing to do. It holds the
 * lines to clusters, the job records and the polls; everyone else is its client.
 */
import { closeSync, rmSync, statSync, truncateSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { openCore } from "../jobs/service.js";
import { packageVersion, socketPath } from "../paths.js";
import { dropLock, takeLock } from "../process.js";
import { serve, socketFolder } from "./server.js";
import { agentLog, hello } from "./start.js";

/** Seconds without clients and jobs after which the agent ends. */
const IDLE = Number(process.env.YALE_JOBS_AGENT_IDLE) || 8 * 3600;
/** A log larger than this begins anew. */
const LOG_LIMIT = 10 << 20;

function log(line: string): void {
  // On one line, whatever was said: a log that can be read line by line can't be forged line by line.
  process.stdout.write(`${new Date().toISOString()} ${line.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ")}\n`);
}

/** Begins the log anew if it is large; it is open for appending, so that what comes next stands at its beginning. */
function trimLog(): void {
  if ((statSync(agentLog(), { throwIfNoEntry: false })?.size ?? 0) > LOG_LIMIT) truncateSync(agentLog());
}

/** Tells whoever started this process that there is an agent now. */
function ready(): void {
  try {
    writeSync(3, "1");
    closeSync(3);
  } catch {
    // Started by hand: nobody waits.
  }
}

async function main(): Promise<void> {
  const socket = socketPath();
  socketFolder(socket);
  const lock = join(dirname(socket), "agent.lock");
  if (!takeLock(lock)) {
    // Another one is starting or runs. Whoever started this process looks again when the other serves.
    for (let i = 0; i < 300 && (await hello().catch(() => undefined)) === undefined; i++)
      await new Promise((done) => setTimeout(done, 50));
    ready();
    return;
  }
  // With the lock in hand a socket file can only be a dead agent's.
  rmSync(socket, { force: true });
  trimLog();
  const core = await openCore();
  let last = Date.now();
  let listeners = 0;
  let stopping = false;
  const stop = async (why: string) => {
    if (stopping) return;
    stopping = true;
    log(`stops: ${why}`);
    await server.close();
    await core.close();
    dropLock(lock);
    process.exit(0);
  };
  const server = await serve(core, {
    socket,
    log,
    onActivity: (n) => {
      listeners = n;
      last = Date.now();
    },
    onStop: () => void stop("asked to"),
  });
  setInterval(
    () => {
      trimLog();
      if (core.active() > 0 || listeners > 0) last = Date.now();
      if (Date.now() - last > IDLE * 1000) void stop(`nothing to do for ${IDLE} s`);
    },
    Math.min(10_000, IDLE * 250),
  ).unref();
  process.on("SIGTERM", () => void stop("SIGTERM"));
  process.on("SIGINT", () => void stop("SIGINT"));
  process.on("uncaughtException", (error) => log(`fault: ${error.stack ?? error.message}`));
  process.on("unhandledRejection", (error) => log(`fault: ${(error as Error)?.stack ?? String(error)}`));
  log(`agent ${packageVersion()} serves, pid ${process.pid}`);
  ready();
}

main().catch((error: unknown) => {
  log(`could not start: ${(error as Error).stack ?? String(error)}`);
  process.exit(1);
});
