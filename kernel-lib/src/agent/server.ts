/**
 * The agent's door: HTTP over a unix socket in a folder of the user's own. Commands by POST, events by WebSocket
 * (server-sent events leak behind Jupyter's proxy). Nothing listens on a port, and pages in a browser are refused.
 */
import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { userInfo } from "node:os";
import { dirname } from "node:path";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { AgentError, errorData, ProtocolError, UsageError } from "../errors.js";
import { packageVersion } from "../paths.js";
import { type Core, type Hello, PROTOCOL_VERSION } from "../protocol.js";
import { mismatch, PANEL_CALLS, PROTOCOL_HEADER, VERBS, type Verb } from "./http.js";
import { Panel, type Picture } from "./panel.js";

/** A specification with a long script fits; a flood does not. */
const MAX_BODY = 16 << 20;

/** Options of {@link serve}. */
export interface ServeOptions {
  socket: string;
  /** Called for every command: verb and how it went. Never what was said. */
  log: (line: string) => void;
  /** Called with the number of listeners whenever somebody comes, calls or goes. */
  onActivity: (listeners: number) => void;
  /** Called when a client asks the agent to end. */
  onStop: () => void;
}

/** Makes the socket's folder, for this user alone. Throws AgentError if it belongs to somebody else. */
export function socketFolder(socket: string): void {
  const folder = dirname(socket);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const stat = lstatSync(folder);
  // In a shared temporary directory somebody else could have made it first.
  if (!stat.isDirectory() || stat.uid !== userInfo().uid)
    throw new AgentError(
      `${folder} does not belong to you.`,
      "Set XDG_RUNTIME_DIR or YALE_JOBS_SOCKET to a place of your own.",
    );
  if ((stat.mode & 0o077) !== 0) chmodSync(folder, 0o700);
}

/** Serves a core on a socket that is free. */
export async function serve(core: Core, options: ServeOptions): Promise<{ close(): Promise<void> }> {
  socketFolder(options.socket);
  const startedAt = new Date().toISOString();
  const panel = new Panel(core);
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 1 << 16 });
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      const status = errorData(error).code === "usage" ? 400 : 500;
      if (!response.headersSent) reply(response, status, { error: errorData(error) });
      else response.destroy();
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    options.onActivity(sockets.clients.size);
    // Whatever is answered: a connection that is closed with something unread takes the answer along.
    const text = await body(request);
    // A page in a browser sends its origin; the JupyterLab extension checks it and leaves it out.
    if (request.headers.origin !== undefined)
      return reply(response, 403, { error: { code: "agent", what: "Pages are not served here.", fix: "" } });
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    if (request.method === "GET" && path === "/hello") {
      const hello: Hello = { protocol: PROTOCOL_VERSION, version: packageVersion(), pid: process.pid, startedAt };
      return reply(response, 200, { ok: hello });
    }
    if (request.method === "POST" && path === "/stop") {
      reply(response, 200, { ok: null });
      options.onStop();
      return;
    }
    const verb = /^\/v1\/([a-z]+)$/.exec(path)?.[1];
    const asked = PANEL_CALLS.find((name) => name === verb);
    if (request.method !== "POST" || verb === undefined || !(Object.hasOwn(VERBS, verb) || asked !== undefined))
      return reply(response, 404, {
        error: { code: "protocol", what: `There is no ${request.method} ${path}.`, fix: "Update the older side." },
      });
    const theirs = request.headers[PROTOCOL_HEADER];
    if (theirs !== String(PROTOCOL_VERSION)) {
      const { what, fix } = mismatch(String(theirs), "client");
      return reply(response, 400, { error: errorData(new ProtocolError(what, fix)) });
    }
    const from = Date.now();
    try {
      const args = list(text || "[]");
      if (asked === "image")
        return picture(response, await panel.image(String(args[0]), String(args[1]), Number(args[2])));
      const call = (asked === undefined ? core[verb as Verb] : panel[asked]) as (
        ...args: unknown[]
      ) => Promise<unknown>;
      const ok = await call.apply(asked === undefined ? core : panel, args);
      reply(response, 200, { ok: ok ?? null });
      if (asked === undefined && verb !== "list" && verb !== "get" && verb !== "logs")
        options.log(`${verb}: ok, ${Date.now() - from} ms`);
    } catch (error) {
      const data = errorData(error);
      reply(response, 400, { error: data });
      options.log(`${verb}: ${data.code}: ${data.what}`);
    }
  }

  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const path = (request.url ?? "").split("?", 1)[0];
    if (path !== "/v1/events" || request.headers.origin !== undefined) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      options.onActivity(sockets.clients.size);
      const gone = new AbortController();
      client.on("close", () => {
        gone.abort();
        options.onActivity(sockets.clients.size);
      });
      client.on("error", () => client.terminate());
      void (async () => {
        for await (const event of core.events(gone.signal)) {
          // A reader that is slower than the jobs change is waited for; the core keeps only the newest of each job.
          await new Promise<void>((sent) => client.send(JSON.stringify(event), () => sent()));
        }
        client.close(1001);
      })().catch(() => client.terminate());
    });
  });

  await listen(server, options.socket);
  return {
    async close() {
      // Told from a killed agent by its goodbye: whoever listens then need not start another.
      for (const client of sockets.clients) {
        client.close(1001);
        setTimeout(() => client.terminate(), 300);
      }
      server.closeAllConnections();
      await new Promise<void>((done) => server.close(() => done()));
      rmSync(options.socket, { force: true });
    },
  };
}

async function listen(server: Server, socket: string): Promise<void> {
  const mask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(socket, () => resolve());
    });
    chmodSync(socket, 0o600);
  } finally {
    process.umask(mask);
  }
}

function reply(response: ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    [PROTOCOL_HEADER]: String(PROTOCOL_VERSION),
  });
  response.end(text);
}

/** The arguments. The engine's own error would repeat a piece of them, which may be a passcode, in the log. */
function list(text: string): unknown[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError("The arguments are no JSON.");
  }
  if (!Array.isArray(value)) throw new UsageError("The arguments must be a list.");
  return value;
}

function picture(response: ServerResponse, found: Picture | undefined): void {
  if (found === undefined) {
    const what = "The page image is not on this machine.";
    reply(response, 400, { error: { code: "dataset", what, fix: "" } });
    return;
  }
  response.writeHead(200, {
    "content-type": found.mime,
    "content-length": found.bytes.length,
    [PROTOCOL_HEADER]: String(PROTOCOL_VERSION),
  });
  response.end(found.bytes);
}

async function body(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > MAX_BODY)
      throw new UsageError(
        `The request is larger than ${MAX_BODY} bytes.`,
        "Put the script into a file on the cluster.",
      );
    parts.push(chunk as Buffer);
  }
  return Buffer.concat(parts).toString("utf8");
}
