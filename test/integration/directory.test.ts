import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
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

/** Runs Python in a folder of its own below the sandbox, with PIL at hand and `pic(width, height, seed)`, and returns the folder. */
async function drawn(name: string, code: string): Promise<string> {
  const to = join(box.home, name);
  mkdirSync(to);
  const prelude = `
import os, sys, io
import numpy as np
from PIL import Image
os.chdir(sys.argv[1])
def pic(w, h, seed=1):
    return Image.fromarray(np.random.RandomState(seed).randint(0, 255, (h, w, 3)).astype(np.uint8))
def cut(name, share, to):
    data = open(name, "rb").read()
    open(to, "wb").write(data[:int(len(data) * share)])
`;
  const made = await box.run(python(), ["-c", prelude + code, to]);
  expect(made.code, made.stderr).toBe(0);
  return to;
}

const told = (found: PageOrFault[]) =>
  found.map((item) =>
    isFault(item) ? [item.fault.key, item.fault.reason] : [item.key, item.mime, item.width, item.height],
  );

describe("files that were cut", () => {
  it("of several TIFF pages give those that are whole, and a row for each that is lost", async () => {
    const at = await drawn(
      "cut-tiff",
      `
pic(300, 200).save("whole.tif", save_all=True, append_images=[pic(300, 200, 2), pic(300, 200, 3)])
cut("whole.tif", 0.6, "cut.tif")
pic(300, 200).save("one.tif")
cut("one.tif", 0.9, "cut-one.tif")
pic(300, 200).save("big.tif", big_tiff=True, save_all=True, append_images=[pic(300, 200, 2)])
cut("big.tif", 0.7, "cut-big.tif")
pic(300, 200).save("lzw.tif", compression="tiff_lzw")
cut("lzw.tif", 0.9, "cut-lzw.tif")`,
    );
    expect(told(await read(at))).toEqual([
      ["big.tif#page=1", "image/png", 300, 200],
      ["big.tif#page=2", "image/png", 300, 200],
      ["cut-big.tif#page=1", "image/png", 300, 200],
      ["cut-big.tif#page=2", expect.stringMatching(/page 2 lies behind the end/)],
      ["cut-lzw.tif", expect.stringMatching(/is cut|can't be decoded/)],
      ["cut-one.tif", expect.stringMatching(/TIFF.*is cut/)],
      ["cut.tif#page=1", "image/png", 300, 200],
      ["cut.tif#page=2", expect.stringMatching(/page 2 lies behind the end/)],
      ["cut.tif#page=3", expect.stringMatching(/cut before its page 3/)],
      ["lzw.tif", "image/tiff", 300, 200],
      ["one.tif", "image/tiff", 300, 200],
      ["whole.tif#page=1", "image/png", 300, 200],
      ["whole.tif#page=2", "image/png", 300, 200],
      ["whole.tif#page=3", "image/png", 300, 200],
    ]);
  });

  it("of JPEG 2000 are rows that say so, with boxes or without", async () => {
    const at = await drawn(
      "cut-jp2",
      `
for name in ["boxes.jp2", "bare.j2k"]:
    pic(300, 200).save(name)
    for share in [0.3, 0.99]:
        cut(name, share, f"cut-{share}-{name}")
pic(300, 200).save("tiles.jp2", tile_size=(64, 64))
cut("tiles.jp2", 0.5, "cut-tiles.jp2")`,
    );
    const cut = expect.stringMatching(/JPEG 2000.*is cut/);
    expect(told(await read(at))).toEqual([
      ["bare.j2k", "image/jp2", 300, 200],
      ["boxes.jp2", "image/jp2", 300, 200],
      ["cut-0.3-bare.j2k", cut],
      ["cut-0.3-boxes.jp2", cut],
      ["cut-0.99-bare.j2k", cut],
      ["cut-0.99-boxes.jp2", cut],
      ["cut-tiles.jp2", cut],
      ["tiles.jp2", "image/jp2", 300, 200],
    ]);
  });
});

describe("TIFFs that few programs write", () => {
  it("are read without their thumbnails, as BigTIFF, with colours as they are meant", async () => {
    const at = await drawn(
      "odd-tiff",
      `
from PIL import ImageCms, TiffImagePlugin
thumb = {254: 1}
with open("thumb-first.tif", "w+b") as f:
    with TiffImagePlugin.AppendingTiffWriter(f, True) as out:
        for image, info in [(pic(30, 20), thumb), (pic(300, 200), {})]:
            image.save(out, format="TIFF", tiffinfo=info); out.newFrame()
with open("thumb-last.tif", "w+b") as f:
    with TiffImagePlugin.AppendingTiffWriter(f, True) as out:
        for image, info in [(pic(300, 200), {}), (pic(30, 20), thumb)]:
            image.save(out, format="TIFF", tiffinfo=info); out.newFrame()
pic(300, 200).save("big.tif", big_tiff=True)
Image.fromarray(np.tile(np.linspace(0, 1, 100, dtype=np.float32), (10, 1))).save("unit.tif")
Image.fromarray(np.tile(np.linspace(0, 255, 100, dtype=np.float32), (10, 1))).save("byte.tif")
colour = Image.new("RGB", (40, 30), (200, 60, 30))
lab = ImageCms.applyTransform(colour, ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"))
lab.save("lab.tif")`,
    );
    const found = await read(at);
    expect(told(found)).toEqual([
      ["big.tif", "image/tiff", 300, 200],
      ["byte.tif", "image/png", 100, 10],
      ["lab.tif", "image/png", 40, 30],
      ["thumb-first.tif", "image/png", 300, 200],
      ["thumb-last.tif", "image/tiff", 300, 200],
      ["unit.tif", "image/png", 100, 10],
    ]);
    const pixels = async (key: string) => {
      const page = found.find((item) => !isFault(item) && item.key === key);
      if (page === undefined || isFault(page)) throw new Error(key);
      return sharp(page.image).toColourspace("srgb").removeAlpha().raw().toBuffer();
    };
    const [byte, unit, lab] = [await pixels("byte.tif"), await pixels("unit.tif"), await pixels("lab.tif")];
    expect(unit.equals(byte)).toBe(true);
    expect([unit[0], unit[50 * 3], unit[99 * 3]]).toEqual([0, 129, 255]);
    for (const [i, wanted] of [200, 60, 30].entries()) expect(Math.abs((lab[i] ?? 0) - wanted)).toBeLessThan(4);
  });
});

describe("a folder with links and closed files", () => {
  it("gives each file once, and says which can't be read", async () => {
    const at = join(box.home, "linked");
    mkdirSync(join(at, "sub"), { recursive: true });
    writeFileSync(join(at, "a.jpg"), await jpeg(1, 40, 30));
    writeFileSync(join(at, "sub", "b.jpg"), await jpeg(2, 40, 30));
    symlinkSync("..", join(at, "sub", "up"));
    expect(told(await read(at)).map(([key]) => key)).toEqual(["a.jpg", "sub/b.jpg"]);
    // One that not even root can read: its first bytes are no memory of any process.
    symlinkSync("/proc/self/mem", join(at, "closed.jpg"));
    const reason = expect.stringMatching(/^The file can't be read: EIO/);
    const source = await openSource({ kind: "directory", location: at });
    const { pages, skipped } = (await source.inspect?.()) ?? {};
    expect(pages).toMatchObject([{ key: "a.jpg", width: 40, height: 30 }, { key: "sub/b.jpg" }]);
    expect(skipped).toEqual([{ key: "closed.jpg", reason }]);
    expect(told(await read(at))).toContainEqual(["closed.jpg", reason]);
  });
});

it("has several pages of a TIFF from the web, and what PIL would turn wrong as a PNG", async () => {
  const at = await drawn(
    "served",
    `
pic(300, 200).save("several.tif", save_all=True, append_images=[pic(100, 50, 2)])
Image.fromarray((np.linspace(20000, 65535, 30)[None, :] * np.ones((20, 1))).astype(np.uint16)).save("deep.png")
pic(30, 20).save("new.avif")
exif = Image.Exif(); exif[0x112] = 6
pic(30, 20).save("turned.jpg", exif=exif)`,
  );
  const server = await listen((request, response) => {
    response.writeHead(200).end(readFileSync(join(at, (request.url ?? "/").slice(1))));
  });
  try {
    const list = join(box.home, "served.txt");
    const names = ["several.tif", "deep.png", "new.avif", "turned.jpg"];
    writeFileSync(list, names.map((name) => `${server.url}/${name}\n`).join(""));
    const found: PageOrFault[] = [];
    for await (const item of (await openSource({ kind: "web", location: list })).pages()) found.push(item);
    expect(told(found).map(([key, ...rest]) => [String(key).split("/").pop(), ...rest])).toEqual([
      ["several.tif#page=1", "image/png", 300, 200],
      ["several.tif#page=2", "image/png", 100, 50],
      ["deep.png", "image/png", 30, 20],
      ["new.avif", "image/png", 30, 20],
      ["turned.jpg", "image/jpeg", 20, 30],
    ]);
    const [, , deep] = found;
    if (deep === undefined || isFault(deep)) throw new Error("no page");
    expect((await sharp(deep.image).metadata()).depth).toBe("uchar");
  } finally {
    await server.close();
  }
});
