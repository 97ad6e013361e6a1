import { mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { DownloadCache } from "../../kernel-lib/src/sources/cache.js";
import { Downloader, retryAfter } from "../../kernel-lib/src/sources/download.js";
import { Hosts } from "../../kernel-lib/src/sources/hosts.js";
import { isFault, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { openSource } from "../../kernel-lib/src/sources/registry.js";
import { jpeg } from "../support/material.js";
import { Sandbox } from "../support/sandbox.js";
import { listen, type Running, sendFile } from "../support/servers.js";

let box: Sandbox;
let good: Buffer;
const servers: Running[] = [];
beforeAll(async () => {
  box = new Sandbox().enter();
  good = await jpeg(7);
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
afterAll(() => box.close());

async function serve(handle: Parameters<typeof listen>[0]): Promise<Running> {
  const server = await listen(handle);
  servers.push(server);
  return server;
}

let caches = 0;
function downloader(options: ConstructorParameters<typeof Downloader>[0] = {}): Downloader {
  const folder = join(box.home, `cache${caches++}`);
  mkdirSync(folder);
  return new Downloader({ cache: new DownloadCache(folder), patience: 2000, ...options });
}

describe("a download", () => {
  it("waits as long as the server says, in seconds or by a date, and then goes on", async () => {
    expect(retryAfter("3")).toBe(3);
    expect(retryAfter("Wed, 25 Nov 2026 10:00:30 GMT", Date.parse("2026-11-25T10:00:00Z"))).toBe(30);
    expect(retryAfter("soon")).toBeUndefined();
    expect(retryAfter("1.5")).toBe(1.5);
    expect(retryAfter("-1")).toBeUndefined();
    let asked = 0;
    const server = await serve((request, response) => {
      asked += 1;
      if (asked === 1) response.writeHead(429, { "retry-after": "1" }).end();
      else if (asked === 2) response.writeHead(503, { "retry-after": new Date(Date.now() + 1500).toUTCString() }).end();
      else sendFile(request, response, good, "image/jpeg");
    });
    const from = Date.now();
    const entry = await downloader().get(`${server.url}/a.jpg`, { as: "image" });
    expect(entry.image).toEqual({ mime: "image/jpeg", width: 400, height: 500 });
    expect(asked).toBe(3);
    expect(Date.now() - from).toBeGreaterThan(1000);
  });

  it("is tried again after a fault of the server, and given up in words", async () => {
    let asked = 0;
    const server = await serve((_, response) => {
      asked += 1;
      response.writeHead(500).end();
    });
    await expect(downloader().get(`${server.url}/a.jpg`, { as: "image" })).rejects.toThrow(/answered with 500/);
    expect(asked).toBeGreaterThan(2);
    expect(asked).toBeLessThan(10);
  });

  it("goes on where the line was cut", async () => {
    let asked = 0;
    const server = await serve((request, response) => {
      asked += 1;
      if (asked > 1) return sendFile(request, response, good, "image/jpeg");
      response.writeHead(200, { etag: '"x"', "content-length": good.length });
      response.write(good.subarray(0, 1000));
      // What is cut off before it was read is lost to fetch: no event of the server tells when that is.
      setTimeout(() => response.destroy(), 300);
      return undefined;
    });
    // The second server must know the tag of the first answer to add to it: another one starts afresh.
    const entry = await downloader().get(`${server.url}/a.jpg`, { as: "image" });
    expect(entry.bytes).toBe(good.length);
    expect(server.log.at(-1)?.range).toBe("bytes=1000-");
  });

  it("adds only bytes that belong to the same version", async () => {
    let asked = 0;
    const tag = `"${(await import("node:crypto")).createHash("sha1").update(good).digest("hex")}"`;
    const server = await serve((request, response) => {
      asked += 1;
      if (asked > 1) return sendFile(request, response, good, "image/jpeg");
      response.writeHead(200, { etag: tag, "content-length": good.length });
      response.write(good.subarray(0, 1000));
      // What is cut off before it was read is lost to fetch: no event of the server tells when that is.
      setTimeout(() => response.destroy(), 300);
      return undefined;
    });
    const down = downloader();
    await down.get(`${server.url}/a.jpg`, { as: "image" });
    expect(server.log.at(-1)).toMatchObject({ status: 206, range: "bytes=1000-" });
    expect(Buffer.from(await down.cache.bytes(`${server.url}/a.jpg`))).toEqual(good);
  });

  /** Half of an image, its end cut off, with a tag that the next request may name; then what `next` answers. */
  async function cutOnce(next: Parameters<typeof listen>[0], bytes = good.length / 2): Promise<Running> {
    let asked = 0;
    return serve((request, response) => {
      asked += 1;
      if (asked === 2) return next(request, response);
      response.setHeader("etag", '"x"');
      if (asked > 2) return void response.writeHead(200).end(good);
      response.writeHead(200, { "content-length": good.length + 1 });
      response.write(good.subarray(0, bytes));
      setTimeout(() => response.destroy(), 300);
      return undefined;
    });
  }

  it.each([
    ["from another place", () => ({ at: 700, etag: '"x"' })],
    ["from the beginning", () => ({ at: 0, etag: '"x"' })],
    ["of another version", (from: number) => ({ at: from, etag: '"y"' })],
    ["from nobody knows where", () => ({ at: undefined, etag: '"x"' })],
  ])("does not add a part %s to what it has, and begins anew", async (_, part) => {
    const other = await jpeg(8);
    const server = await cutOnce((request, response) => {
      const from = Number(/=(\d+)-/.exec(request.headers.range ?? "")?.[1]);
      const { at, etag } = part(from);
      const all = etag === '"x"' ? good : other;
      if (at !== undefined) response.setHeader("content-range", `bytes ${at}-${all.length - 1}/${all.length}`);
      response.writeHead(206, { etag }).end(all.subarray(at ?? from));
    });
    const down = downloader();
    await down.get(`${server.url}/a.jpg`, { as: "file" });
    expect(Buffer.from(await down.cache.bytes(`${server.url}/a.jpg`))).toEqual(good);
    expect(server.log.map((l) => l.range !== undefined)).toEqual([false, true, false]);
  });

  it("asks on where a part ended before the whole did", async () => {
    let asked = 0;
    const server = await serve((request, response) => {
      asked += 1;
      const from = Number(/=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      const to = asked === 3 ? good.length : from + 1000;
      response.writeHead(206, { etag: '"x"', "content-range": `bytes ${from}-${to - 1}/${good.length}` });
      response.end(good.subarray(from, to));
    });
    const down = downloader();
    await down.get(`${server.url}/a.jpg`, { as: "file" });
    expect(Buffer.from(await down.cache.bytes(`${server.url}/a.jpg`))).toEqual(good);
    expect(server.log.map((l) => l.range)).toEqual([undefined, "bytes=1000-", "bytes=2000-"]);
  });

  it.each([
    ["takes what it has as whole", () => good.length, [false, true]],
    ["begins anew", () => good.length - 5, [false, true, false]],
    ["begins anew where the server does not say how much there is", () => undefined, [false, true, false]],
  ])("%s when the server has nothing more to add", async (_, total, ranges) => {
    const server = await cutOnce((_request, response) => {
      const size = total();
      response.writeHead(416, size === undefined ? {} : { "content-range": `bytes */${size}` }).end();
    }, good.length);
    const down = downloader();
    const entry = await down.get(`${server.url}/a.jpg`, { as: "image" });
    expect(entry.image).toMatchObject({ width: 400 });
    expect(Buffer.from(await down.cache.bytes(`${server.url}/a.jpg`))).toEqual(good);
    expect(server.log.map((l) => l.range !== undefined)).toEqual(ranges);
  });

  it("begins anew what came packed, of which a range would be another place", async () => {
    const packed = gzipSync(good, { level: 0 });
    let asked = 0;
    const server = await serve((request, response) => {
      asked += 1;
      const head = { etag: '"x"', "content-encoding": "gzip" };
      const from = Number(/=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      if (from > 0)
        return void response
          .writeHead(206, { ...head, "content-range": `bytes ${from}-${packed.length - 1}/${packed.length}` })
          .end(packed.subarray(from));
      response.writeHead(200, { ...head, "content-length": packed.length });
      if (asked > 1) return void response.end(packed);
      response.write(packed.subarray(0, 2000));
      setTimeout(() => response.destroy(), 300);
      return undefined;
    });
    const down = downloader();
    await down.get(`${server.url}/a.jpg`, { as: "file" });
    expect(Buffer.from(await down.cache.bytes(`${server.url}/a.jpg`))).toEqual(good);
    expect(server.log.map((l) => l.range)).toEqual([undefined, undefined]);
  });

  it.each([
    ["an HTML page that calls itself a JPEG", "<!doctype html><html>Log in</html>", /HTML page/],
    ["an empty answer", "", /empty/],
    ["JSON", '{"error":1}', /JSON/],
  ])("is not taken in by %s", async (_, body, words) => {
    const server = await serve((_, response) => {
      response.writeHead(200, { "content-type": "image/jpeg" }).end(body);
    });
    await expect(downloader().get(`${server.url}/a.jpg`, { as: "image" })).rejects.toThrow(words);
    expect(server.log.length).toBe(1);
  });

  it("sees that an image is cut though its header calls it whole, and takes it when it is", async () => {
    let asked = 0;
    const server = await serve((_, response) => {
      asked += 1;
      const body = asked === 1 ? good.subarray(0, good.length / 2) : good;
      response.writeHead(200, { "content-type": "application/octet-stream", "content-length": body.length }).end(body);
    });
    const entry = await downloader().get(`${server.url}/a.jpg`, { as: "image" });
    expect(entry.bytes).toBe(good.length);
    expect(asked).toBe(2);
  });

  it("ends when a server hangs, sends without end, or leads in circles", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/hang") return;
      if (request.url === "/circle") return void response.writeHead(302, { location: "/circle" }).end();
      if (request.url === "/file") return void response.writeHead(302, { location: "file:///etc/passwd" }).end();
      response.writeHead(200, { "content-type": "image/jpeg" });
      response.write(good);
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(1 << 16)));
      };
      response.on("drain", more);
      more();
    });
    const down = downloader({ patience: 300, maxBytes: 1 << 20 });
    await expect(down.get(`${server.url}/hang`, { as: "image" })).rejects.toThrow(/nothing came for/);
    await expect(down.get(`${server.url}/circle`, { as: "image" })).rejects.toThrow(/redirects more than/);
    await expect(down.get(`${server.url}/file`, { as: "image" })).rejects.toThrow(/only http and https/);
    await expect(down.get(`${server.url}/endless`, { as: "image" })).rejects.toThrow(/larger than 1 MiB/);
  });

  it("keeps a secret to the host that it is for", async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      sendFile(request, response, good, "image/jpeg");
    });
    const server = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(302, { location: `${other.url}/b.jpg` }).end();
    });
    await downloader().get(`${server.url}/a.jpg`, { as: "image", headers: { authorization: "Bearer canary" } });
    expect(seen).toEqual(["Bearer canary", undefined]);
  });

  it("says the name and password of an address to its host, and to nobody else", async () => {
    const seen: string[] = [];
    const other = await serve((request, response) => {
      seen.push(`other ${request.headers.authorization}`);
      sendFile(request, response, good, "image/jpeg");
    });
    const server = await serve((request, response) => {
      seen.push(`own ${request.headers.authorization}`);
      const path = request.url ?? "";
      if (path === "/away.jpg") return void response.writeHead(302, { location: `${other.url}/b.jpg` }).end();
      if (path === "/named.jpg")
        return void response.writeHead(302, { location: other.url.replace("//", "//u:p@") }).end();
      if (path === "/none.jpg") return void response.writeHead(404).end();
      if (path === "/text.jpg") return void response.writeHead(200).end("<html>");
      sendFile(request, response, good, "image/jpeg");
    });
    const secret = (path: string) => `${server.url.replace("//", "//ada:c%40nary%25@")}${path}`;
    const urls = ["/a.jpg", "/away.jpg", "/named.jpg", "/none.jpg", "/text.jpg"].map(secret);
    urls.push("http://ada:c/nary%@nowhere", "ftp://ada:c@nary%@host/x", "http://ada:c@nary%@nowhere.invalid/x");
    const source = await openSource({ kind: "web", location: urls[0] ?? "", options: { urls } });
    const items: PageOrFault[] = [];
    for await (const item of source.pages()) items.push(item);
    expect(items.map((i) => (isFault(i) ? i.fault.reason : "good"))).toEqual([
      "good",
      "good",
      "good",
      expect.stringMatching(/404/),
      expect.stringMatching(/HTML/),
      expect.stringMatching(/no address/),
      expect.stringMatching(/only http/),
      expect.stringMatching(/no such host|looked up/),
    ]);
    const basic = `own Basic ${Buffer.from("ada:c@nary%").toString("base64")}`;
    expect(seen.filter((s) => s.startsWith("own"))).toEqual(Array.from({ length: 5 }, () => basic));
    expect(seen.filter((s) => s.startsWith("other"))).toEqual(["other undefined", "other undefined"]);
    const auto = await openSource({ kind: "auto", location: urls[0] ?? "" });
    const told = [items.map((i) => ({ ...i, image: 0 })), await source.inspect?.(), await auto.inspect?.()];
    expect(auto.kind).toBe("web");
    expect(seen.every((s) => s === basic || s === "other undefined")).toBe(true);
    const kept = await box.run("grep", ["-rlE", "nary|ada:", join(box.home)]);
    expect([JSON.stringify(told).match(/.{40}nary.{20}|.{20}ada:/), kept.stdout]).toEqual([null, ""]);
  });

  it("is not repeated: the same address at once, later, or in another run", async () => {
    const server = await serve((request, response) => sendFile(request, response, good, "image/jpeg"));
    const cache = new DownloadCache(join(box.home, "shared-cache"));
    const first = new Downloader({ cache });
    await Promise.all([1, 2, 3].map(() => first.get(`${server.url}/a.jpg`, { as: "image" })));
    await first.get(`${server.url}/a.jpg`, { as: "image" });
    await new Downloader({ cache }).get(`${server.url}/a.jpg`, { as: "image" });
    expect(server.log.length).toBe(1);
    expect(server.log[0]?.path).toBe("/a.jpg");
  });

  it("leaves the cache within its limit, the oldest first", async () => {
    const server = await serve((request, response) => sendFile(request, response, good, "image/jpeg"));
    const down = downloader();
    for (const n of [1, 2, 3]) {
      await down.get(`${server.url}/${n}.jpg`, { as: "image" });
      await new Promise((done) => setTimeout(done, 15));
    }
    await down.cache.prune(good.length * 2);
    expect(
      await Promise.all([1, 2, 3].map(async (n) => (await down.cache.get(`${server.url}/${n}.jpg`)) !== undefined)),
    ).toEqual([false, true, true]);
  });
});

describe("a host", () => {
  it("gets more while it answers, half after a refusal, and is asked seldom for what it refused", async () => {
    const hosts = new Hosts();
    const begin = hosts.limitOf("h");
    expect(begin).toBeGreaterThanOrEqual(2);
    expect(begin).toBeLessThanOrEqual(4);
    // Kept busy: somebody always waits.
    const held = await Promise.all(Array.from({ length: begin }, () => hosts.turn("h")));
    const stop = new AbortController();
    const waiting = Array.from({ length: 40 }, () => hosts.turn("h", stop.signal).catch(() => undefined));
    for (let i = 0; i < 40; i++) hosts.good("h");
    const grown = hosts.limitOf("h");
    expect(grown).toBeGreaterThan(begin);
    hosts.refused("h", 0);
    expect(hosts.limitOf("h")).toBe(Math.floor(grown / 2));
    for (let i = 0; i < 60; i++) hosts.good("h");
    expect(hosts.limitOf("h")).toBeLessThan(grown);
    stop.abort();
    for (const back of held) back();
    await Promise.all(waiting);
  });

  it("that allows four at once is never asked for many more for long, and nothing is lost", async () => {
    let now = 0;
    let refused = 0;
    const server = await serve((request, response) => {
      now += 1;
      response.on("close", () => {
        now -= 1;
      });
      if (now > 4) {
        refused += 1;
        response.writeHead(429, { "retry-after": "0" }).end();
        return;
      }
      setTimeout(() => sendFile(request, response, good, "image/jpeg"), 10);
    });
    const urls = Array.from({ length: 120 }, (_, i) => `${server.url}/${i}.jpg`);
    const source = await openSource({ kind: "web", location: urls[0] ?? "", options: { urls } });
    const items: PageOrFault[] = [];
    for await (const item of source.pages()) items.push(item);
    expect(items.filter(isFault)).toEqual([]);
    expect(items.map((i) => ("key" in i ? i.key : ""))).toEqual(urls);
    expect(refused).toBeLessThan(40);
    expect(server.most()).toBeLessThanOrEqual(7);
  });

  it("that nobody knows, or where nobody answers, is given up for all of its addresses", async () => {
    const gone = await serve(() => undefined);
    await gone.close();
    servers.pop();
    const patient = downloader();
    for (const host of ["http://nowhere.invalid", gone.url]) {
      await expect(patient.get(`${host}/1`, { as: "file" })).rejects.toThrow(/no such host|looked up|nobody answers/);
      const from = Date.now();
      const others = [2, 3, 4].map((n) => patient.get(`${host}/${n}`, { as: "file" }));
      for (const other of await Promise.allSettled(others))
        expect((other as PromiseRejectedResult).reason).toMatchObject({
          fix: expect.stringMatching(/not asked again/),
        });
      expect(Date.now() - from).toBeLessThan(1000);
    }
  }, 60_000);

  it("that answered before and then does not is tried again", async () => {
    const server = await serve((_, response) => {
      response.writeHead(200).end("x");
    });
    const patient = downloader();
    await patient.get(`${server.url}/1`, { as: "file" });
    const port = Number(new URL(server.url).port);
    await server.close();
    servers.pop();
    await expect(patient.get(`${server.url}/2`, { as: "file" })).rejects.toThrow(/nobody answers/);
    const back = createServer((_, response) => response.end("x"));
    await new Promise<void>((done) => back.listen(port, "127.0.0.1", done));
    try {
      expect((await patient.get(`${server.url}/3`, { as: "file" })).bytes).toBe(1);
    } finally {
      back.close();
    }
  }, 60_000);

  it.each([["0"], ["0.001"], [undefined]])(
    "that goes on to refuse for too much is asked ever more seldom, and then no more (Retry-After: %s)",
    async (after) => {
      const asked: number[] = [];
      const server = await serve((_, response) => {
        asked.push(Date.now());
        response.writeHead(429, after === undefined ? {} : { "retry-after": after }).end();
      });
      const down = downloader({ hosts: new Hosts({ rest: 40 }) });
      await expect(down.get(`${server.url}/1`, { as: "file" })).rejects.toThrow(/goes on refusing.*429/);
      expect(asked.length).toBeLessThan(10);
      // The longest rest of all was longer than the first by far, whatever the server said.
      expect((asked.at(-1) ?? 0) - (asked.at(-2) ?? 0)).toBeGreaterThan(400);
      const before = asked.length;
      const others = await Promise.allSettled([2, 3, 4].map((n) => down.get(`${server.url}/${n}`, { as: "file" })));
      for (const other of others)
        expect((other as PromiseRejectedResult).reason.message).toMatch(/goes on refusing.*429/);
      expect(asked.length).toBe(before);
    },
  );

  it("that wants an hour of rest does not get us to wait for it", async () => {
    const server = await serve((_, response) => void response.writeHead(429, { "retry-after": "3600" }).end());
    const urls = Array.from({ length: 30 }, (_, i) => `${server.url}/${i}.jpg`);
    const source = await openSource({ kind: "web", location: urls[0] ?? "", options: { urls } });
    const faults: PageOrFault[] = [];
    for await (const item of source.pages()) faults.push(item);
    expect(faults.map((f) => isFault(f) && f.fault.reason)).toEqual(
      urls.map(() => expect.stringMatching(/wants to rest for 60 min/)),
    );
    expect(server.log.length).toBeLessThan(6);
  });

  it("that refuses now and then goes on being asked", async () => {
    let asked = 0;
    const server = await serve((request, response) => {
      asked += 1;
      if (asked % 3 !== 0) return void response.writeHead(429).end();
      sendFile(request, response, good, "image/jpeg");
    });
    const down = downloader({ hosts: new Hosts({ rest: 5 }) });
    for (let n = 0; n < 12; n++)
      expect((await down.get(`${server.url}/${n}`, { as: "image" })).bytes).toBe(good.length);
  });

  it("that refuses everything is left alone after a few", async () => {
    const server = await serve((_, response) => void response.writeHead(403).end());
    const urls = Array.from({ length: 60 }, (_, i) => `${server.url}/${i}.jpg`);
    const source = await openSource({ kind: "web", location: urls[0] ?? "", options: { urls } });
    const faults: PageOrFault[] = [];
    for await (const item of source.pages()) faults.push(item);
    expect(faults.length).toBe(60);
    expect(faults.every(isFault)).toBe(true);
    expect(server.log.length).toBeLessThan(25);
  });
});

describe("a list of addresses", () => {
  it("gives every good page in its place and every bad one as a fault with its reason, once", async () => {
    const server = await serve((request, response) => {
      const path = request.url ?? "";
      if (path.startsWith("/good")) return sendFile(request, response, good, "text/html");
      if (path === "/missing") return void response.writeHead(404).end();
      if (path === "/html") return void response.writeHead(200, { "content-type": "image/jpeg" }).end("<html></html>");
      if (path === "/cut") return void response.writeHead(200).end(good.subarray(0, 900));
      if (path === "/error") return void response.writeHead(500).end();
      return void response.writeHead(302, { location: path }).end();
    });
    const urls = ["/good1", "/missing", "/good2", "/html", "/cut", "/good3", "/error", "/circle", "/good4"].map(
      (p) => `${server.url}${p}`,
    );
    const source = await openSource({ kind: "web", location: urls[0] ?? "", options: { urls } });
    const items: PageOrFault[] = [];
    for await (const item of source.pages()) items.push(item);
    expect(items.map((i) => (isFault(i) ? i.fault.reason.replace(/.*?: |http\S+ /g, "") : i.page))).toEqual([
      1,
      expect.stringMatching(/404/),
      3,
      expect.stringMatching(/HTML page/),
      expect.stringMatching(/can't be decoded|VipsJpeg|premature/i),
      6,
      expect.stringMatching(/500/),
      expect.stringMatching(/redirects/),
      9,
    ]);
    const strict = await openSource({ kind: "web", location: urls[0] ?? "", options: { urls, strict: true } });
    await expect(
      (async () => {
        for await (const _ of strict.pages());
      })(),
    ).rejects.toThrow(/404/);
  });

  it("is read from text with remarks and from tables, duplicates told", async () => {
    const { writeFileSync } = await import("node:fs");
    const text = join(box.home, "list.txt");
    writeFileSync(
      text,
      "# pages\nhttp://a.example/1.jpg\n\n http://a.example/2.jpg  # second\nhttp://a.example/1.jpg\r\nnonsense\n",
    );
    const found = await (await openSource({ kind: "web", location: text })).inspect?.();
    expect(found?.pages.map((p) => p.url)).toEqual(["http://a.example/1.jpg", "http://a.example/2.jpg"]);
    expect(found?.skipped).toEqual([
      { key: "http://a.example/1.jpg", reason: "It is listed more than once." },
      { key: "nonsense", reason: expect.stringMatching(/no address/) },
    ]);
    const table = join(box.home, "list.csv");
    writeFileSync(table, 'shelf;image\n"A; 1";http://a.example/1.jpg\nB 2;http://a.example/2.jpg\n');
    const rows = await (await openSource({ kind: "web", location: table })).inspect?.();
    expect(rows?.pages.length).toBe(2);
    await expect(openSource({ kind: "web", location: table, options: { column: "nope" } })).rejects.toThrow(
      /shelf, image/,
    );
  });
});
