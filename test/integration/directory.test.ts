import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isFault, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { openSource } from "../../kernel-lib/src/sources/registry.js";
import { jpeg } from "../support/material.js";
import { python, Sandbox } from "../support/sandbox.js";
import { listen } from "../support/servers.js";

let box: Sandbox;
let folder: string;
beforeAll(async () => {
  box = new Sandbox().enter();
  folder = join(box.home, "photographs");
  mkdirSync(folder);
  writeFileSync(join(folder, "seen.jpg"), await jpeg(3, 400, 300));
  // As telephones write them: HEVC, one turned by the container, one cut.
  const code = `
import sys, pillow_heif
from PIL import Image
pillow_heif.register_heif_opener()
image = Image.open(sys.argv[1] + "/seen.jpg")
image.save(sys.argv[1] + "/page2.heic", quality=90)
image.save(sys.argv[1] + "/page10.HEIC", quality=90)
`;
  const made = await box.run(python(), ["-c", code, folder]);
  expect(made.code, made.stderr).toBe(0);
  writeFileSync(join(folder, "page3.heic"), readFileSync(join(folder, "page2.heic")).subarray(0, 1500));
});
afterAll(() => box.close());

async function read(location: string): Promise<PageOrFault[]> {
  const all: PageOrFault[] = [];
  for await (const item of (await openSource({ kind: "directory", location })).pages()) all.push(item);
  return all;
}

it("has HEIC from the web read as well", async () => {
  const server = await listen((request, response) => {
    const name = request.url?.endsWith("3.heic") ? "page3.heic" : "page2.heic";
    response.writeHead(200, { "content-type": "image/heic" }).end(readFileSync(join(folder, name)));
  });
  try {
    const found: PageOrFault[] = [];
    const list = join(box.home, "list.txt");
    writeFileSync(list, `${server.url}/2.heic\n${server.url}/3.heic\n`);
    for await (const item of (await openSource({ kind: "web", location: list })).pages()) found.push(item);
    expect(found).toMatchObject([
      { mime: "image/jpeg", width: 400, height: 300 },
      { fault: { reason: expect.stringContaining("HEIC, 1500 bytes") } },
    ]);
  } finally {
    await server.close();
  }
});

describe("a folder of photographs", () => {
  it("has HEIC read as JPEG, in the order of people, and a damaged one as a row that says so", async () => {
    const found = await read(folder);
    const told = found.map((item) => (isFault(item) ? [item.fault.key, item.fault.reason] : [item.key, item.mime]));
    expect(told).toEqual([
      ["page2.heic", "image/jpeg"],
      ["page3.heic", expect.stringMatching(/^The image \(HEIC, 1500 bytes\) can't be decoded: /)],
      ["page10.HEIC", "image/jpeg"],
      ["seen.jpg", "image/jpeg"],
    ]);
    const [page] = found;
    if (page === undefined || isFault(page)) throw new Error("no page");
    expect([page.width, page.height]).toEqual([400, 300]);
    // The same picture, but for what two lossy formats change.
    const raw = (bytes: Uint8Array | Buffer) => sharp(bytes).removeAlpha().raw().toBuffer();
    const [a, b] = await Promise.all([raw(page.image), raw(readFileSync(join(folder, "seen.jpg")))]);
    let difference = 0;
    for (let i = 0; i < a.length; i++) difference += Math.abs((a[i] ?? 0) - (b[i] ?? 0));
    expect(difference / a.length).toBeLessThan(12);
  });
});
