/** Servers on loopback for tests of downloads: images by IIIF's rules, a Hub, and one that misbehaves as it is told. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join, relative } from "node:path";

/** A server that is up. */
export interface Running {
  /** `http://127.0.0.1:port`. */
  url: string;
  /** Requests so far: method, path and status, in the order of their answers. */
  log: { method: string; path: string; status: number; range?: string | undefined }[];
  /** Most requests that were under way at once. */
  most: () => number;
  close(): Promise<void>;
}

/** Serves with `handle` on a free port of loopback. */
export async function listen(
  handle: (request: IncomingMessage, response: ServerResponse) => void | Promise<void>,
): Promise<Running> {
  const log: Running["log"] = [];
  let now = 0;
  let most = 0;
  const server: Server = createServer((request, response) => {
    now += 1;
    most = Math.max(most, now);
    response.on("close", () => {
      now -= 1;
      log.push({
        method: request.method ?? "",
        path: request.url ?? "",
        status: response.statusCode,
        range: request.headers.range,
      });
    });
    Promise.resolve(handle(request, response)).catch(() => response.destroy());
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    log,
    most: () => most,
    async close() {
      server.closeAllConnections();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}

/** Sends bytes with an ETag, whole or the range that was asked for. */
export function sendFile(request: IncomingMessage, response: ServerResponse, bytes: Buffer, type: string): void {
  const etag = `"${createHash("sha1").update(bytes).digest("hex")}"`;
  const head = { etag, "content-type": type, "accept-ranges": "bytes" };
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, head).end();
    return;
  }
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  const same = request.headers["if-range"] === undefined || request.headers["if-range"] === etag;
  if (range === null || !same) {
    response.writeHead(200, { ...head, "content-length": bytes.length });
    response.end(request.method === "HEAD" ? undefined : bytes);
    return;
  }
  const [, a = "", b = ""] = range;
  const start = a === "" ? Math.max(0, bytes.length - Number(b)) : Number(a);
  const end = a === "" || b === "" ? bytes.length - 1 : Math.min(Number(b), bytes.length - 1);
  if (start > end) {
    response.writeHead(416, { ...head, "content-range": `bytes */${bytes.length}` }).end();
    return;
  }
  response.writeHead(206, {
    ...head,
    "content-length": end - start + 1,
    "content-range": `bytes ${start}-${end}/${bytes.length}`,
  });
  response.end(request.method === "HEAD" ? undefined : bytes.subarray(start, end + 1));
}

/** A IIIF image server (iiif-processor): `/2/<id>/…` and `/3/<id>/…` over images by id. */
export async function imageServer(
  images: Readonly<Record<string, Buffer>>,
  options: { max?: number } = {},
): Promise<Running> {
  const { Processor } = await import("iiif-processor");
  const { Readable } = await import("node:stream");
  const running: Running = await listen(async (request, response) => {
    const version = /^\/([23])\//.exec(request.url ?? "")?.[1];
    if (version === undefined) {
      response.writeHead(404).end();
      return;
    }
    const processor = new Processor(
      `${running.url}${request.url}`,
      async ({ id }: { id: string }) => Readable.from([images[id] ?? Buffer.alloc(0)]),
      {
        pathPrefix: "/{{version}}/",
        ...(options.max === undefined ? {} : { max: { width: options.max } }),
      },
    );
    try {
      const result = (await processor.execute()) as {
        type: string;
        statusCode?: number;
        contentType?: string;
        body?: string | Buffer;
      };
      response.writeHead(result.statusCode ?? 200, { "content-type": result.contentType ?? "text/plain" });
      response.end(result.body);
    } catch (error) {
      response.writeHead((error as { statusCode?: number }).statusCode ?? 500).end();
    }
  });
  return running;
}

/** A Hub of datasets under `root/<owner>/<name>`; files of a revision other than main lie in `<name>@<revision>`. With `token` nothing is open. */
export async function hub(root: string, options: { token?: string } = {}): Promise<Running> {
  return listen((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "", "http://hub").pathname);
    const refuse = (status: number, code: string) =>
      response
        .writeHead(status, { "x-error-code": code, "content-type": "application/json" })
        .end(`{"error":"${code}"}`);
    if (options.token !== undefined && request.headers.authorization !== `Bearer ${options.token}`)
      return void refuse(401, "RepoNotFound");
    const tree = /^\/api\/datasets\/([^/]+\/[^/]+)\/tree\/(refs\/convert\/parquet|[^/]+)/.exec(path);
    const file = /^\/datasets\/([^/]+\/[^/]+)\/resolve\/(refs\/convert\/parquet|[^/]+)\/(.+)$/.exec(path);
    const [, id = "", revision = ""] = tree ?? file ?? [];
    const folder = join(root, revision === "main" ? id : `${id}@${revision.replaceAll("/", "-")}`);
    const there = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
    if ((tree ?? file) === null || !there) return void refuse(404, "RepoNotFound");
    if (tree !== null) {
      const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
      const list = entries.map((e) => {
        const full = join(e.parentPath, e.name);
        return { type: "file", oid: "0".repeat(40), size: statSync(full).size, path: relative(folder, full) };
      });
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(list));
      return;
    }
    const name = join(folder, file?.[3] ?? "");
    if (statSync(name, { throwIfNoEntry: false })?.isFile() !== true) return void refuse(404, "EntryNotFound");
    sendFile(request, response, readFileSync(name), "application/octet-stream");
  });
}
