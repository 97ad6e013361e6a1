import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeDataset } from "../../kernel-lib/src/dataset/index.js";
import { sniff } from "../../kernel-lib/src/images.js";
import type { SourceKind } from "../../kernel-lib/src/protocol.js";
import { isFault, type Page, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { detectSource, openSource, SOURCES } from "../../kernel-lib/src/sources/registry.js";
import { jpeg, scanPdf } from "../support/material.js";
import { Sandbox } from "../support/sandbox.js";
import { hub, listen, type Running, sendFile } from "../support/servers.js";

let box: Sandbox;
const servers: Running[] = [];
/** For each kind, a location with three pages. A kind that is added needs one line here. */
const three: Partial<Record<SourceKind, string>> = {};

beforeAll(async () => {
  box = new Sandbox().enter();
  const images = await Promise.all([1, 2, 10].map((n) => jpeg(n)));
  three.pdf = await scanPdf(box.home, "three.pdf", images);
  three.directory = join(box.home, "images");
  mkdirSync(three.directory);
  for (const [i, n] of [1, 2, 10].entries()) writeFileSync(join(three.directory, `page${n}.jpg`), images[i] ?? "");
  three.dataset = join(box.home, "dataset");
  await writeDataset((await openSource({ kind: "directory", location: three.directory })).pages(), {
    folder: three.dataset,
  });

  const files = new Map(images.map((image, i) => [`/${i + 1}.jpg`, Buffer.from(image)]));
  const plain = await listen((request, response) => {
    const bytes = files.get(request.url ?? "");
    if (bytes === undefined) response.writeHead(404).end();
    else sendFile(request, response, bytes, "image/jpeg");
  });
  three.web = join(box.home, "list.txt");
  writeFileSync(three.web, [...files.keys()].map((path) => `${plain.url}${path}\n`).join(""));
  three.iiif = join(box.home, "manifest.json");
  const canvases = [...files.keys()].map((path) => ({
    id: `https://example.org/canvas${path}`,
    type: "Canvas",
    width: 400,
    height: 500,
    items: [{ items: [{ motivation: "painting", body: { id: `${plain.url}${path}`, type: "Image" } }] }],
  }));
  writeFileSync(
    three.iiif,
    JSON.stringify({
      "@context": "http://iiif.io/api/presentation/3/context.json",
      id: "https://example.org/manifest",
      type: "Manifest",
      label: { en: ["Three pages"] },
      items: canvases,
    }),
  );
  three.hf = "library/three";
  for (const [path, bytes] of files) {
    mkdirSync(join(box.home, "hub", three.hf), { recursive: true });
    writeFileSync(join(box.home, "hub", three.hf, path), bytes);
  }
  const dataHub = await hub(join(box.home, "hub"));
  process.env.HF_ENDPOINT = dataHub.url;
  servers.push(plain, dataHub);
});
afterAll(async () => {
  delete process.env.HF_ENDPOINT;
  for (const server of servers) await server.close();
  await box.close();
});

async function collect(items: AsyncIterable<PageOrFault>): Promise<PageOrFault[]> {
  const all: PageOrFault[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe.each(SOURCES.map((s) => [s.kind, s] as const))("source %s", (kind, type) => {
  const location = () => three[kind] ?? "";

  it("has material to be tested with", () => expect(location()).not.toBe(""));

  it("knows its own by content, and says why", async () => {
    const vote = await type.detect(location());
    expect(vote.score).toBeGreaterThan(0.5);
    expect(vote.why).not.toBe("");
    expect((await detectSource(location())).kind).toBe(kind);
  });

  it("yields whole pages in order with stable, unique keys", async () => {
    const source = await openSource({ kind, location: location() });
    const pages = (await collect(source.pages())) as Page[];
    expect(pages.filter(isFault)).toEqual([]);
    expect(pages.length).toBe(3);
    expect(new Set(pages.map((p) => p.key)).size).toBe(3);
    for (const page of pages) {
      expect(sniff(page.image)?.mime).toBe(page.mime);
      expect([page.width, page.height]).toEqual([400, 500]);
      expect(page.page).toBeGreaterThan(0);
      expect(JSON.parse(JSON.stringify(page.metadata))).toEqual(page.metadata);
    }
    const again = (await collect((await openSource({ kind, location: location() })).pages())) as Page[];
    expect(again.map((p) => p.key)).toEqual(pages.map((p) => p.key));
  });

  it("ends early without error when its reader leaves or its signal aborts", async () => {
    const source = await openSource({ kind, location: location() });
    for await (const item of source.pages()) {
      expect(isFault(item)).toBe(false);
      break;
    }
    expect((await collect(source.pages({ signal: AbortSignal.abort() }))).length).toBe(0);
  });

  it("counts only what it can count", async () => {
    const count = await (await openSource({ kind, location: location() })).count?.();
    if (count !== undefined) expect(count).toBe(3);
  });

  it("refuses options it does not have, and places where nothing is", async () => {
    await expect(openSource({ kind, location: location(), options: { nonsense: 1 } })).rejects.toThrow(/nonsense/);
    await expect(openSource({ kind, location: join(box.home, "nothing-here") })).rejects.toThrow();
  });
});
