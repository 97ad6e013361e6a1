import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isFault, type Page, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { detectSource, openSource } from "../../kernel-lib/src/sources/registry.js";
import { jpeg } from "../support/material.js";
import { Sandbox } from "../support/sandbox.js";
import { imageServer, listen, type Running, sendFile } from "../support/servers.js";

let box: Sandbox;
let images: Running;
let limited: Running;
const servers: Running[] = [];
beforeAll(async () => {
  box = new Sandbox().enter();
  const pictures = { one: await jpeg(1, 800, 1000), two: await jpeg(2, 600, 900) };
  images = await imageServer(pictures);
  limited = await imageServer(pictures, { max: 300 });
  servers.push(images, limited);
});
afterAll(async () => {
  for (const server of servers) await server.close();
  await box.close();
});

async function collect(
  location: string,
  options: Record<string, string | number | boolean> = {},
): Promise<PageOrFault[]> {
  const source = await openSource({ kind: "iiif", location, options });
  const items: PageOrFault[] = [];
  for await (const item of source.pages()) items.push(item);
  return items;
}

const canvas = (id: string, body: unknown, label = id) => ({
  id: `https://example.org/${id}`,
  type: "Canvas",
  label: { none: [label] },
  items: [{ items: [{ motivation: "painting", body, target: id }] }],
});
function manifest(name: string, canvases: unknown[], more: object = {}): string {
  const path = join(box.home, `${name}.json`);
  const context = "http://iiif.io/api/presentation/3/context.json";
  const doc = {
    "@context": context,
    id: `https://example.org/${name}`,
    type: "Manifest",
    label: { en: [name] },
    items: canvases,
    ...more,
  };
  writeFileSync(path, JSON.stringify(doc));
  return path;
}
const body3 = (server: Running, id: string) => ({
  id: `${server.url}/3/${id}/full/max/0/default.jpg`,
  type: "Image",
  service: [{ id: `${server.url}/3/${id}`, type: "ImageService3", profile: "level2" }],
});
const body2 = (server: Running, id: string) => ({
  id: "nowhere",
  type: "Image",
  service: {
    "@context": "http://iiif.io/api/image/2/context.json",
    "@id": `${server.url}/2/${id}`,
    profile: "http://iiif.io/api/image/2/level2.json",
  },
});

describe("pages from a real image server", () => {
  it("come in their order, whole, with labels and what the manifest says", async () => {
    const path = manifest("book", [canvas("a", body3(images, "one"), "1r"), canvas("b", body2(images, "two"), "1v")], {
      rights: "https://creativecommons.org/publicdomain/zero/1.0/",
    });
    const pages = (await collect(path)) as Page[];
    expect(pages.map((p) => [p.key, p.width, p.height, p.page, p.label])).toEqual([
      ["https://example.org/a", 800, 1000, 1, { none: ["1r"] }],
      ["https://example.org/b", 600, 900, 2, { none: ["1v"] }],
    ]);
    expect(pages[0]?.metadata).toMatchObject({
      title: "book",
      rights: "https://creativecommons.org/publicdomain/zero/1.0/",
      url: `${images.url}/3/one/full/max/0/default.jpg`,
    });
    const found = await (await openSource({ kind: "iiif", location: path })).inspect?.();
    expect(found).toMatchObject({ kind: "iiif", version: "3", count: 2 });
  });

  it("come as large as a limited server gives them, and no larger than was asked for", async () => {
    const path = manifest("limits", [canvas("a", body3(limited, "one"))]);
    const [page] = (await collect(path)) as Page[];
    expect(Math.max(page?.width ?? 0, page?.height ?? 0)).toBe(300);
    const small = manifest("small", [canvas("a", body3(images, "one"))]);
    expect(((await collect(small, { width: 200 })) as Page[])[0]?.width).toBe(200);
  });

  it("are chosen by number, id and range", async () => {
    const path = manifest(
      "choice",
      [canvas("a", body3(images, "one")), canvas("b", body3(images, "two")), canvas("c", body3(images, "one"))],
      {
        structures: [
          {
            id: "r",
            type: "Range",
            label: { en: ["Chapter 1"] },
            items: [
              { id: "https://example.org/b", type: "Canvas" },
              { id: "https://example.org/c", type: "Canvas" },
            ],
          },
          {
            id: "r2",
            type: "Range",
            label: { en: ["Backwards"] },
            items: ["c", "a", "c"].map((id) => ({ id: `https://example.org/${id}`, type: "Canvas" })),
          },
          { id: "r3", type: "Range", label: { en: ["Empty"] }, items: [] },
        ],
      },
    );
    const keys = async (options: Record<string, string | number>) =>
      ((await collect(path, options)) as Page[]).map((p) => p.key.slice(-1));
    expect(await keys({ canvas: "2-3" })).toEqual(["b", "c"]);
    expect(await keys({ canvas: 1 })).toEqual(["a"]);
    expect(await keys({ canvas: "https://example.org/b" })).toEqual(["b"]);
    expect(await keys({ range: "Chapter 1" })).toEqual(["b", "c"]);
    expect(await keys({ range: "Backwards" })).toEqual(["c", "a"]);
    await expect(collect(path, { range: "Chapter 9" })).rejects.toThrow(/Chapter 1/);
    await expect(collect(path, { range: "Empty" })).rejects.toThrow(/none of its canvases/);
    await expect(collect(path, { canvas: 9 })).rejects.toThrow(/from 1 to 3/);
  });
});

describe("a server that does not keep its word", () => {
  it("is asked in other ways until one works, and from then on in that way", async () => {
    const bytes = await jpeg(3);
    const old = await listen((request, response) => {
      if (/\/full\/full\/0\/native\.jpg$/.test(request.url ?? "")) sendFile(request, response, bytes, "image/jpeg");
      else response.writeHead(400).end();
    });
    servers.push(old);
    const path = manifest(
      "old",
      ["a", "b", "c", "d", "e", "f"].map((id) =>
        canvas(id, {
          id: "nowhere",
          type: "Image",
          service: { "@id": `${old.url}/${id}`, profile: "http://iiif.io/api/image/2/level1.json" },
        }),
      ),
    );
    expect((await collect(path)).filter(isFault)).toEqual([]);
    // Found out once, by the first page; one request for each of the others.
    expect(old.log.length).toBeLessThanOrEqual(4 + 5);
  });

  /** A server whose images are so wide; it refuses what is wider, and whatever `refuses` says. */
  async function made(
    wide: (id: string) => number,
    refuses: (path: string) => boolean = () => false,
  ): Promise<Running> {
    const server = await listen(async (request, response) => {
      const [, id = "", , size = ""] = (request.url ?? "").split("/");
      const most = wide(id);
      const width = /^(?:full|max)$/.test(size)
        ? most
        : /^!/.test(size)
          ? 60
          : Number(/^(\d+),$/.exec(size)?.[1] ?? Infinity);
      if (refuses(request.url ?? "") || width > most) response.writeHead(400).end();
      else sendFile(request, response, await jpeg(1, width, width), "image/jpeg");
    });
    servers.push(server);
    return server;
  }

  it("at one page gives the derivative of that page alone, with a notice", async () => {
    const server = await made(
      () => 300,
      (path) => path.startsWith("/a/") && !path.includes("!60,60"),
    );
    const page = (id: string) =>
      canvas(id, {
        id: `${server.url}/${id}/full/!60,60/0/default.jpg`,
        type: "Image",
        width: 60,
        height: 60,
        service: { "@id": `${server.url}/${id}`, profile: "http://iiif.io/api/image/2/level1.json" },
      });
    const pages = (await collect(manifest("odd", ["a", "b", "c"].map(page)))) as Page[];
    expect(pages.map((p) => p.width)).toEqual([60, 300, 300]);
    expect(pages.map((p) => p.metadata.notice)).toEqual([expect.stringMatching(/60 × 60/), undefined, undefined]);
  });

  it("with one page that is too small does not make the others larger than was asked for", async () => {
    const server = await made((id) => (id === "a" ? 100 : 300));
    const page = (id: string) =>
      canvas(id, {
        id: `${server.url}/${id}/full/max/0/default.jpg`,
        type: "Image",
        service: [{ id: `${server.url}/${id}`, type: "ImageService3", profile: "level2" }],
      });
    const path = manifest("small-first", ["a", "b", "c"].map(page));
    expect(((await collect(path, { width: 150 })) as Page[]).map((p) => p.width)).toEqual([100, 150, 150]);
  });

  it("tells its own size, where the manifest does not know it", async () => {
    const path = manifest("unknown", [
      {
        ...canvas("a", { ...body3(images, "one"), id: `${images.url}/3/one/full/99,/0/default.jpg` }),
        width: 90,
        height: 90,
      },
    ]);
    // The canvas is smaller than what is asked for, the image is not.
    expect(((await collect(path, { width: 200 })) as Page[])[0]?.width).toBe(200);
    expect(((await collect(path, { width: 2000 })) as Page[])[0]?.width).toBe(800);
  });

  it("with listed sizes only gives the largest of them", async () => {
    const bytes = await jpeg(4);
    const flat = await listen((request, response) => {
      if (request.url === "/x/info.json")
        response.writeHead(200).end(
          JSON.stringify({
            "@context": "http://iiif.io/api/image/2/context.json",
            "@id": `${flat.url}/x`,
            profile: ["http://iiif.io/api/image/2/level0.json"],
            width: 400,
            height: 500,
            sizes: [
              { width: 100, height: 125 },
              { width: 200, height: 250 },
            ],
          }),
        );
      else if (request.url === "/x/full/200,/0/default.jpg") sendFile(request, response, bytes, "image/jpeg");
      else response.writeHead(404).end();
    });
    servers.push(flat);
    const path = manifest("flat", [
      canvas("x", {
        type: "Image",
        service: { "@id": `${flat.url}/x`, profile: "http://iiif.io/api/image/2/level0.json" },
      }),
    ]);
    expect((await collect(path)).filter(isFault)).toEqual([]);
  });

  it("gives the images that it has; the others are faults that say why", async () => {
    const path = manifest("mixed", [
      canvas("a", body3(images, "one")),
      canvas("b", { id: `${images.url}/nothing.jpg`, type: "Image" }),
      canvas("c", { id: "v.mp4", type: "Video" }),
      canvas("d", body3(images, "two")),
    ]);
    const items = await collect(path);
    expect(items.map((i) => (isFault(i) ? i.fault.reason : i.page))).toEqual([1, expect.stringMatching(/404/), 3]);
    const found = await (await openSource({ kind: "iiif", location: path })).inspect?.();
    expect(found?.skipped).toEqual([{ key: "https://example.org/c", reason: expect.stringMatching(/Video/) }]);
  });
});

/** A server of documents by path, in which `HERE` stands for its address. */
async function library(documents: Record<string, unknown>): Promise<Running> {
  const server = await listen((request, response) => {
    const doc = documents[request.url ?? ""];
    if (doc === undefined) response.writeHead(404).end();
    else
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify(doc).replaceAll("HERE", server.url));
  });
  servers.push(server);
  return server;
}
const work = (name: string) => ({
  id: `HERE/${name}`,
  type: "Manifest",
  items: [canvas(name, body3(images, "one"))],
});
const keys = (items: PageOrFault[]) => items.map((i) => (isFault(i) ? `fault ${i.fault.key}` : basename(i.key)));

describe("a document", () => {
  it("may begin with a mark of byte order", async () => {
    const path = manifest("marked", [canvas("a", body3(images, "one"))]);
    writeFileSync(path, `\ufeff${readFileSync(path, "utf8")}`);
    expect((await detectSource(path)).kind).toBe("iiif");
    expect((await collect(path)).filter(isFault)).toEqual([]);
  });

  it("on the web is asked for once, by whoever finds out what it is and whoever reads it", async () => {
    const server = await library({ "/m": work("m") });
    expect((await detectSource(`${server.url}/m`)).kind).toBe("iiif");
    expect(keys(await collect(`${server.url}/m`))).toEqual(["m"]);
    expect(server.log.map((r) => r.path)).toEqual(["/m"]);
  });

  it("that is an image is not fetched whole to find that out", async () => {
    let asked = 0;
    let sent = 0;
    const endless = async function* () {
      yield await jpeg(5);
      for (; sent < 2000; sent++) yield Buffer.alloc(64 << 10);
    };
    const server = await listen((_, response) => {
      asked += 1;
      response.writeHead(200, { "content-type": "image/jpeg" });
      Readable.from(endless()).pipe(response);
    });
    servers.push(server);
    expect(await detectSource(`${server.url}/picture`)).toMatchObject({
      kind: "web",
      why: expect.stringMatching(/jpeg/),
    });
    expect(asked).toBe(1);
    expect(sent).toBeLessThan(2000);
  });
});

describe("a collection", () => {
  it("gives the pages of its manifests one after another; one that is missing is a fault", async () => {
    const documents = new Map<string, unknown>();
    const server = await listen((request, response) => {
      const doc = documents.get(request.url ?? "");
      if (doc === undefined) response.writeHead(404).end();
      else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(doc));
    });
    servers.push(server);
    const member = (name: string, type: string) => ({ id: `${server.url}/${name}`, type, label: { en: [name] } });
    for (const name of ["m1", "m2"])
      documents.set(`/${name}`, {
        id: `${server.url}/${name}`,
        type: "Manifest",
        items: [canvas(name, body3(images, "one"))],
      });
    documents.set("/inner", {
      type: "Collection",
      id: `${server.url}/inner`,
      items: [member("m2", "Manifest"), member("top", "Collection")],
    });
    documents.set("/top", {
      type: "Collection",
      id: `${server.url}/top`,
      items: [member("m1", "Manifest"), member("gone", "Manifest"), member("inner", "Collection")],
    });
    const items = await collect(`${server.url}/top`);
    expect(items.map((i) => (isFault(i) ? "fault" : i.key))).toEqual([
      "https://example.org/m1",
      "fault",
      "https://example.org/m2",
    ]);
  });

  it("from the web reads no file of this machine, and finds what it names beside it", async () => {
    const secret = manifest("secret", [canvas("secret", body3(images, "one"))]);
    const server = await library({
      "/shelf/top": {
        id: "HERE/shelf/top",
        type: "Collection",
        items: [
          { id: secret, type: "Manifest" },
          { id: `file://${secret}`, type: "Manifest" },
          { id: "m", type: "Manifest" },
          // What lies in the document itself has come the same way, whatever id it gives itself.
          { id: secret, type: "Collection", items: [{ id: secret, type: "Manifest" }] },
          { type: "Collection", items: [{ id: "secret.json", type: "Manifest" }] },
        ],
      },
      "/shelf/m": { ...work("m"), items: [canvas("m", { id: "own.jpg", type: "Image" })] },
    });
    const items = await collect(`${server.url}/shelf/top`);
    expect(keys(items).filter((k) => !k.startsWith("fault"))).toEqual([]);
    // A path is one of the server's, not of this machine.
    const paths = new Set(server.log.map((r) => r.path));
    expect(paths).toEqual(new Set(["/shelf/top", secret, "/shelf/m", "/shelf/own.jpg", "/shelf/secret.json"]));
    expect(items.map((i) => isFault(i) && i.fault.reason)).toContainEqual(
      expect.stringMatching(/no address of the web/),
    );
  });

  it("from the web is not led to a file by a redirect", async () => {
    const secret = manifest("hidden", [canvas("hidden", body3(images, "one"))]);
    const server = await listen((_, response) => {
      response.writeHead(302, { location: `file://${secret}` }).end();
    });
    servers.push(server);
    await expect(collect(server.url)).rejects.toThrow(/only http and https/);
  });

  it("in a file finds what it names beside it", async () => {
    manifest("neighbour", [canvas("n", body3(images, "one"))]);
    const path = join(box.home, "shelf.json");
    writeFileSync(
      path,
      JSON.stringify({ id: "x", type: "Collection", items: [{ id: "neighbour.json", type: "Manifest" }] }),
    );
    expect(keys(await collect(path))).toEqual(["n"]);
  });

  it("of many pages is read to its end, and no page twice", async () => {
    const page = (more: object) => ({ "@id": "HERE/top", "@type": "sc:Collection", ...more });
    const server = await library({
      "/top": page({ first: "HERE/p1", total: 3 }),
      "/p1": page({ manifests: ["HERE/m1"], next: "HERE/p2" }),
      "/p2": page({ manifests: ["HERE/m2"], next: { "@id": "HERE/p3" } }),
      "/p3": page({ manifests: ["HERE/m1", "HERE/m3"], next: "HERE/p1" }),
      "/m1": work("m1"),
      "/m2": work("m2"),
      "/m3": work("m3"),
    });
    expect(keys(await collect(`${server.url}/top`))).toEqual(["m1", "m2", "m3"]);
    expect(server.log.length).toBe(7);
  });

  it("gives what lies in it under one and the same id, and says what it leaves out", async () => {
    const shelf = (more: object) => ({ "@id": "HERE/top", "@type": "sc:Collection", ...more });
    const server = await library({
      "/top": shelf({
        collections: [shelf({ manifests: ["HERE/m1"] }), shelf({ members: [{ "@id": "HERE/m2" }] })],
        members: [{ "@id": "HERE/odd", "@type": "sc:Range" }],
      }),
      "/m1": work("m1"),
      "/m2": work("m2"),
    });
    expect(keys(await collect(`${server.url}/top`))).toEqual([`fault ${server.url}/odd`, "m1", "m2"]);
  });

  it("without the range that is asked for says so", async () => {
    const server = await library({
      "/top": { type: "Collection", items: [{ id: "m", type: "Manifest" }] },
      "/m": work("m"),
    });
    const [item, ...rest] = await collect(`${server.url}/top`, { range: "Chapter 1" });
    expect(item && isFault(item) && item.fault.reason).toMatch(/range "Chapter 1"/);
    expect(rest).toEqual([]);
  });

  it("of many works on a host that is none has its rows at once", async () => {
    const path = join(box.home, "dead.json");
    const items = Array.from({ length: 200 }, (_, i) => ({ id: `http://nowhere.invalid/${i}`, type: "Manifest" }));
    writeFileSync(path, JSON.stringify({ id: "x", type: "Collection", items }));
    const found = await collect(path);
    expect(found.map((i) => isFault(i) && i.fault.key)).toEqual(items.map((i) => i.id));
  }, 30_000);
});
