/**
 * A Hugging Face Hub that datasets can be pushed to, on loopback: create, preupload, Git LFS and commit, as their own clients
 * use them (measured with huggingface_hub 1.x). What is pushed lies in a folder, where the readable hub serves it from.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { dirname, join } from "node:path";
import { hub, listen, type Running } from "./servers.js";

/** What was asked of it. */
export interface HubLog {
  /** Large files that were sent, by their hash. */
  sent: string[];
  /** Visibility with which each dataset was made. */
  made: { [repo: string]: string };
  commits: number;
  /** Answers 500 to so many more uploads of large files. */
  failures: number;
  /** Status that a commit is answered with instead. */
  refuse?: number;
  /** Status that a wish for a new dataset is answered with instead, whether there is one or not. */
  refuseNew?: number;
}

/** Starts one; `token` is the one that may write. */
export async function writableHub(root: string, token: string): Promise<Running & { pushed: HubLog }> {
  const log: HubLog = { sent: [], made: {}, commits: 0, failures: 0 };
  const lfs = join(root, ".lfs");
  mkdirSync(lfs, { recursive: true });
  const readable = await hub(root, { token });
  const server = await listen(async (request, response) => {
    const { pathname } = new URL(request.url ?? "", "http://hub");
    const path = decodeURIComponent(pathname);
    const json = (status: number, value: unknown) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    const stored = /^\/lfs\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (stored !== undefined && request.method === "PUT") {
      const bytes = await body(request);
      // As with the real storage, the address itself is the permission: a token must not travel there.
      if (request.headers.authorization !== undefined) return void json(400, { error: "a token came here" });
      if (log.failures > 0) {
        log.failures -= 1;
        return void json(500, { error: "storage is away" });
      }
      if (createHash("sha256").update(bytes).digest("hex") !== stored) return void json(400, { error: "hash" });
      writeFileSync(join(lfs, stored), bytes);
      log.sent.push(stored);
      return void response.writeHead(200).end();
    }
    if (request.headers.authorization !== `Bearer ${token}`) return void json(401, { error: "Invalid credentials" });
    if (path === "/api/repos/create") {
      const asked = JSON.parse((await body(request)).toString());
      if (log.refuseNew !== undefined)
        return void json(log.refuseNew, { error: "You don't have the rights to create" });
      const repo = `${asked.organization}/${asked.name}`;
      if (existsSync(join(root, repo))) return void json(409, { error: "You already created this dataset repo" });
      mkdirSync(join(root, repo), { recursive: true });
      log.made[repo] = asked.visibility;
      return void json(200, { url: `${server.url}/datasets/${repo}`, name: repo, id: repo });
    }
    const named = /^\/api\/datasets\/([^/]+\/[^/]+)$/.exec(path)?.[1];
    if (named !== undefined)
      return void (existsSync(join(root, named))
        ? json(200, { id: named })
        : json(404, { error: "Repository not found" }));
    const batch = /^\/datasets\/([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(path);
    if (batch !== null) {
      const { objects } = JSON.parse((await body(request)).toString()) as { objects: { oid: string; size: number }[] };
      return void json(200, {
        transfer: "basic",
        objects: objects.map((o) =>
          existsSync(join(lfs, o.oid))
            ? o
            : { ...o, actions: { upload: { href: `${server.url}/lfs/${o.oid}`, header: {} } } },
        ),
      });
    }
    const [, repo = "", what = ""] = /^\/api\/datasets\/([^/]+\/[^/]+)\/(preupload|commit)\//.exec(path) ?? [];
    if (what === "preupload") {
      const { files } = JSON.parse((await body(request)).toString()) as { files: { path: string }[] };
      const mode = (name: string) => (name.endsWith(".parquet") ? "lfs" : "regular");
      return void json(200, {
        files: files.map((f) => ({ path: f.path, uploadMode: mode(f.path), shouldIgnore: false })),
      });
    }
    if (what === "commit") {
      const lines = (await body(request)).toString().split("\n").filter(Boolean);
      if (log.refuse !== undefined) return void json(log.refuse, { error: "no" });
      for (const line of lines) {
        const { key, value } = JSON.parse(line);
        const to = join(root, repo, value.path ?? "");
        if (key !== "header") mkdirSync(dirname(to), { recursive: true });
        if (key === "file") writeFileSync(to, Buffer.from(value.content, value.encoding));
        if (key === "lfsFile") writeFileSync(to, readFileSync(join(lfs, value.oid)));
        if (key === "deletedFile") rmSync(to);
      }
      log.commits += 1;
      return void json(200, { commitOid: "c0ffee", commitUrl: `${server.url}/c0ffee`, hookOutput: "" });
    }
    // Reading is what the other one does.
    const answer = await fetch(`${readable.url}${request.url}`, {
      method: request.method ?? "GET",
      headers: { authorization: `Bearer ${token}`, ...(request.headers.range ? { range: request.headers.range } : {}) },
    });
    const kept = ["content-type", "x-error-code", "etag", "content-range"].flatMap((name) => {
      const found = answer.headers.get(name);
      return found === null ? [] : [[name, found] as const];
    });
    response.writeHead(answer.status, Object.fromEntries(kept)).end(Buffer.from(await answer.arrayBuffer()));
  });
  return {
    ...server,
    pushed: log,
    close: async () => {
      await server.close();
      await readable.close();
    },
  };
}

async function body(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
