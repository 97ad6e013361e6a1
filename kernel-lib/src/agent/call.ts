/** One request to the agent's socket: node:http and nothing else, since every `yale` command waits for it to load. */
import { lstatSync } from "node:fs";
import { request } from "node:http";
import { dirname } from "node:path";
import { AgentError, type ErrorData, ProtocolError, reviveError } from "../errors.js";
import { socketPath } from "../paths.js";
import { PROTOCOL_VERSION } from "../protocol.js";
import { mismatch, PROTOCOL_HEADER } from "./http.js";

/**
 * Throws AgentError if somebody else could be listening at the socket: in a shared temporary folder another user may
 * have made its folder first, and would be told everything.
 */
function checkOwner(socket: string): void {
  const folder = dirname(socket);
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  const own = process.getuid?.();
  if (stat === undefined || own === undefined || (stat.isDirectory() && stat.uid === own && (stat.mode & 0o022) === 0))
    return;
  throw new AgentError(
    `The folder of the agent's socket, ${folder}, is not yours alone.`,
    "Set XDG_RUNTIME_DIR or YALE_JOBS_SOCKET to a place of your own.",
  );
}

/** Sends a request and returns its value. Throws the agent's errors as they were, and connection errors with their `code`. */
export async function call(method: "GET" | "POST", path: string, args?: readonly unknown[]): Promise<unknown> {
  checkOwner(socketPath());
  return new Promise((resolve, reject) => {
    const text = args === undefined ? "" : JSON.stringify(args);
    const headers = { [PROTOCOL_HEADER]: String(PROTOCOL_VERSION), "content-length": Buffer.byteLength(text) };
    const r = request({ socketPath: socketPath(), method, path, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (chunk: Buffer) => parts.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const theirs = response.headers[PROTOCOL_HEADER];
        if (theirs !== String(PROTOCOL_VERSION)) {
          const { what, fix } = mismatch(String(theirs), "agent");
          return reject(new ProtocolError(what, fix));
        }
        try {
          const answer = JSON.parse(Buffer.concat(parts).toString("utf8")) as { ok?: unknown; error?: ErrorData };
          if (answer.error !== undefined) reject(reviveError(answer.error));
          else resolve(answer.ok);
        } catch (cause) {
          reject(
            new AgentError("The agent gave an answer that can't be read.", "`yale agent stop`, then try again.", {
              cause,
            }),
          );
        }
      });
    });
    r.on("error", reject);
    r.end(text);
  });
}
