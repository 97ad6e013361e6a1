import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isFault, type Page, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { openSource } from "../../kernel-lib/src/sources/registry.js";
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
        ],
      },
    );
    const keys = async (options: Record<string, string | number>) =>
      ((await collect(path, options)) as Page[]).map((p) => p.key.slice(-1));
    expect(await keys({ canvas: "2-3" })).toEqual(["b", "c"]);
    expect(await keys({ canvas: 1 })).toEqual(["a"]);
    expect(await keys({ canvas: "https://example.org/b" })).toEqual(["b"]);
    expect(await keys({ range: "Chapter 1" })).toEqual(["b", "c"]);
    await expect(collect(path, { range: "Chapter 9" })).rejects.toThrow(/Chapter 1/);
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
});
