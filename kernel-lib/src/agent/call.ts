/** One request to the agent's socket: node:http and nothing else, since every `yale` command waits for it to load. */
import { request } from "node:http";
import { AgentError, type ErrorData, ProtocolError, reviveError } from "../errors.js";
import { socketPath } from "../paths.js";
import { PROTOCOL_VERSION } from "../protocol.js";
import { mismatch, PROTOCOL_HEADER } from "./http.js";

/** Sends a request and returns its value. Throws the agent's errors as they were, and connection errors with their `code`. */
export function call(method: "GET" | "POST", path: string, args?: readonly unknown[]): Promise<unknown> {
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
