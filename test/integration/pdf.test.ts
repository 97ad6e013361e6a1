import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { open, truncate } from "node:fs/promises";
import { join } from "node:path";
import { degrees, PDFDocument, PDFHexString, PDFName, PDFString, rgb, StandardFonts } from "pdf-lib";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeDataset } from "../../kernel-lib/src/dataset/index.js";
import { imageHash } from "../../kernel-lib/src/images.js";
import type { Json } from "../../kernel-lib/src/protocol.js";
import { isFault, type Page, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { openSource } from "../../kernel-lib/src/sources/registry.js";
import { encryptedPdf, jpeg, scanPdf, textPdf } from "../support/material.js";
import { python, Sandbox } from "../support/sandbox.js";

let box: Sandbox;
let scan: Buffer;
beforeAll(async () => {
  box = new Sandbox().enter();
  scan = await jpeg(3, 600, 800);
});
afterAll(() => box.close());

async function pagesOf(location: string, options: { [key: string]: Json } = {}): Promise<PageOrFault[]> {
  const all: PageOrFault[] = [];
  for await (const item of (await openSource({ kind: "pdf", location, options })).pages()) all.push(item);
  return all;
}

async function only(location: string, options: { [key: string]: Json } = {}): Promise<Page> {
  const items = await pagesOf(location, options);
  expect(items.length).toBe(1);
  const [item] = items;
  if (item === undefined || isFault(item)) throw new Error(`A fault: ${JSON.stringify(item)}`);
  return item;
}

/** A one-page PDF with the scan over the whole page, changed by `more` before it is saved. */
async function withScan(
  name: string,
  more: (page: import("pdf-lib").PDFPage, doc: PDFDocument) => unknown,
): Promise<string> {
  const doc = await PDFDocument.create();
  const image = await doc.embedJpg(scan);
  const page = doc.addPage([300, 400]);
  page.drawImage(image, { x: 0, y: 0, width: 300, height: 400 });
  await more(page, doc);
  const path = join(box.home, name);
  writeFileSync(path, await doc.save());
  return path;
}

describe("scanned pages", () => {
  it("pass through as the scanner's own bytes", async () => {
    const images = await Promise.all([1, 2, 3].map((n) => jpeg(n)));
    const items = (await pagesOf(await scanPdf(box.home, "scan.pdf", images))) as Page[];
    expect(items.map((p) => p.mime)).toEqual(["image/jpeg", "image/jpeg", "image/jpeg"]);
    const md5 = (b: Uint8Array) => createHash("md5").update(b).digest("hex");
    expect(items.map((p) => md5(p.image))).toEqual(images.map(md5));
  });

  it("show the same picture as their rendering", async () => {
    const path = await withScan("same.pdf", () => undefined);
    const [through, rendered] = [await only(path), await only(path, { passthrough: false, dpi: 144 })];
    expect([through.mime, rendered.mime]).toEqual(["image/jpeg", "image/png"]);
    expect([rendered.width, rendered.height]).toEqual([600, 800]);
    const raw = (p: Page) => sharp(p.image).resize(60, 80).removeAlpha().raw().toBuffer();
    const [a, b] = [await raw(through), await raw(rendered)];
    const difference = a.reduce((sum, value, i) => sum + Math.abs(value - (b[i] ?? 0)), 0) / a.length;
    expect(difference).toBeLessThan(3);
  });

  it.each([
    [
      "an invisible text layer",
      true,
      async (page: import("pdf-lib").PDFPage, doc: PDFDocument) => {
        const { PDFOperator, PDFOperatorNames } = await import("pdf-lib");
        page.pushOperators(PDFOperator.of(PDFOperatorNames.SetTextRenderingMode, ["3" as never]));
        page.drawText("hidden", { font: await doc.embedFont(StandardFonts.Helvetica), size: 10 });
      },
    ],
    [
      "a stamp drawn on top",
      false,
      (page: import("pdf-lib").PDFPage) =>
        page.drawRectangle({ x: 10, y: 10, width: 50, height: 50, color: rgb(1, 0, 0) }),
    ],
    [
      "visible text",
      false,
      async (page: import("pdf-lib").PDFPage, doc: PDFDocument) =>
        page.drawText("seen", { font: await doc.embedFont(StandardFonts.Helvetica) }),
    ],
    ["a rotated page", false, (page: import("pdf-lib").PDFPage) => page.setRotation(degrees(90))],
    [
      "a second image",
      false,
      async (page: import("pdf-lib").PDFPage, doc: PDFDocument) =>
        page.drawImage(await doc.embedJpg(await jpeg(9, 50, 50)), { x: 5, y: 5, width: 20, height: 20 }),
    ],
    ["a page larger than its image", false, (page: import("pdf-lib").PDFPage) => page.setMediaBox(0, 0, 400, 500)],
    ["a crop that cuts the image", false, (page: import("pdf-lib").PDFPage) => page.setCropBox(50, 50, 100, 100)],
    [
      "a user unit",
      false,
      (page: import("pdf-lib").PDFPage, doc: PDFDocument) => page.node.set(PDFName.of("UserUnit"), doc.context.obj(2)),
    ],
    [
      "an inverting Decode array",
      false,
      async (_: import("pdf-lib").PDFPage, doc: PDFDocument) => {
        await doc.flush();
        for (const [, object] of doc.context.enumerateIndirectObjects())
          if (
            "dict" in object &&
            String((object as never as { dict: { get(n: PDFName): unknown } }).dict.get(PDFName.of("Subtype"))) ===
              "/Image"
          )
            (object as never as { dict: { set(n: PDFName, v: unknown): void } }).dict.set(
              PDFName.of("Decode"),
              doc.context.obj([1, 0, 1, 0, 1, 0]),
            );
      },
    ],
  ])("with %s: passes through is %s", async (name, passes, more) => {
    const page = await only(await withScan(`${name.replace(/\W/g, "-")}.pdf`, more as never));
    expect(page.mime).toBe(passes ? "image/jpeg" : "image/png");
  });
});

describe("a file's objects are found", () => {
  /** Two scans in a file with its cross references as a table, and no object inside another. */
  async function plain(name: string): Promise<{ path: string; text: string }> {
    const path = await scanPdf(box.home, name, [scan, scan]);
    const doc = await PDFDocument.load(readFileSync(path));
    writeFileSync(path, await doc.save({ useObjectStreams: false }));
    return { path, text: readFileSync(path, "latin1") };
  }
  const rewritten = (path: string, how: string) =>
    execFileSync(python(), [
      "-c",
      `import sys, pikepdf; p = pikepdf.open(sys.argv[1], allow_overwriting_input=True); p.save(sys.argv[1], ${how})`,
      path,
    ]);
  const mimes = async (path: string) => ((await pagesOf(path)) as Page[]).map((p) => p.mime);

  it.each([
    ["in a table of cross references", ""],
    ["in streams of objects", "object_stream_mode=pikepdf.ObjectStreamMode.generate"],
    ["in a file made for the web", "linearize=True"],
    ["in both, made for the web", "linearize=True, object_stream_mode=pikepdf.ObjectStreamMode.generate"],
  ])("%s", async (name, how) => {
    const { path } = await plain(`${name.replace(/\W/g, "-")}.pdf`);
    if (how !== "") rewritten(path, how);
    expect(await mimes(path)).toEqual(["image/jpeg", "image/jpeg"]);
  });

  it("as the newest part of it has them", async () => {
    const { path, text } = await plain("turned.pdf");
    const [object = "", number = ""] = /(\d+) 0 obj\n<<\n\/Type \/Page\n[\s\S]*?endobj\n/.exec(text) ?? [];
    const turned = object.replace("/Type /Page\n", "/Type /Page\n/Rotate 90\n");
    const [, root = ""] = /\/Root (\d+ 0 R)/.exec(text) ?? [];
    const [, before = ""] = /startxref\s+(\d+)/.exec(text) ?? [];
    const at = String(text.length).padStart(10, "0");
    const table = `xref\n${number} 1\n${at} 00000 n \ntrailer\n<< /Root ${root} /Size 99 /Prev ${before} >>\n`;
    const end = `startxref\n${text.length + turned.length}\n%%EOF\n`;
    appendFileSync(path, Buffer.from(turned + table + end, "latin1"));
    expect(await mimes(path)).toEqual(["image/png", "image/jpeg"]);
  });

  it("in a file of 3 GiB, which is never read as a whole", async () => {
    const { path, text } = await plain("large.pdf");
    // Nothing but a hole between two objects, which takes no room on the disk.
    const hole = 3 * 2 ** 30;
    const objects = [...text.matchAll(/^(\d+) 0 obj$/gm)].map((m) => ({ number: Number(m[1]), at: m.index }));
    const middle = objects[Math.floor(objects.length / 2)]?.at ?? 0;
    const table = text.lastIndexOf("xref\n", text.lastIndexOf("startxref") - 1);
    const rows = objects
      .map(({ number, at }) => `${number} 1\n${String(at < middle ? at : at + hole).padStart(10, "0")} 00000 n \n`)
      .join("");
    const [trailer = ""] = /trailer\n[\s\S]*?>>\n/.exec(text.slice(table)) ?? [];
    const end = `xref\n${rows}${trailer}startxref\n${table + hole}\n%%EOF\n`;
    const file = await open(path, "w");
    await file.write(Buffer.from(text.slice(0, middle), "latin1"), 0, null, 0);
    await file.write(Buffer.from(text.slice(middle, table) + end, "latin1"), 0, null, middle + hole);
    await file.close();
    expect(await mimes(path)).toEqual(["image/jpeg", "image/jpeg"]);
    const rendered = await only(path, { passthrough: false, pages: 2, dpi: 50 });
    expect(rendered.mime).toBe("image/png");
    await truncate(path, 2 ** 32);
    expect(await pagesOf(path)).toMatchObject([{ fault: { reason: "The PDF is larger than 4 GiB." } }]);
  });
});

/** The page as poppler draws it, and as we do, both small; the mean difference of their values. */
async function differs(path: string, number: number): Promise<number> {
  const page = (await pagesOf(path, { dpi: 144 }))[number - 1] as Page;
  expect(page.mime).toBe("image/png");
  const theirs = execFileSync("pdftoppm", ["-png", "-r", "144", "-f", `${number}`, "-l", `${number}`, path], {
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const raw = (image: Uint8Array) => sharp(image).resize(75, 100).removeAlpha().toColourspace("srgb").raw().toBuffer();
  const [a, b] = [await raw(page.image), await raw(theirs)];
  expect(a.length).toBe(b.length);
  return a.reduce((sum, value, i) => sum + Math.abs(value - (b[i] ?? 0)), 0) / a.length;
}

/** A page of 300 by 400 points with this content and these resources, whose names stand for the bodies of dictionaries. */
async function drawn(
  name: string,
  content: string | string[],
  resources: (doc: PDFDocument) => { [kind: string]: { [name: string]: import("pdf-lib").PDFObject } } = () => ({}),
): Promise<string> {
  const doc = await PDFDocument.create();
  for (const text of [content].flat()) {
    const page = doc.addPage([300, 400]);
    const font = doc.context.obj({ Type: "Font", Subtype: "Type1", BaseFont: "Helvetica" });
    page.node.set(PDFName.of("Resources"), doc.context.obj({ Font: { F: font }, ...resources(doc) } as never));
    page.node.set(PDFName.of("Contents"), doc.context.register(doc.context.stream(text)));
  }
  const path = join(box.home, `${name}.pdf`);
  writeFileSync(path, await doc.save());
  return path;
}

/** A graphics state with a mask by the luminosity of this content. */
function masked(doc: PDFDocument, content: string): import("pdf-lib").PDFObject {
  const group = doc.context.stream(content, {
    ...{ Type: "XObject", Subtype: "Form", BBox: [0, 0, 300, 400] },
    Group: { S: "Transparency", CS: "DeviceGray" },
  });
  return doc.context.obj({ SMask: { S: "Luminosity", G: doc.context.register(group) } } as never);
}

const WORDS = "BT /F 24 Tf 40 300 Td (What is drawn) Tj ET";

describe("rendered pages", () => {
  it.each<[string, string, (doc: PDFDocument) => { [name: string]: import("pdf-lib").PDFObject }]>([
    [
      "what a mask by luminosity hides",
      "1 0 0 rg 20 20 200 200 re f q /M gs 0 g 0 0 300 400 re f Q",
      (doc) => ({ M: masked(doc, "1 g 0 0 150 400 re f 0.5 g 150 0 50 400 re f") }),
    ],
    [
      "a colour set before a mask",
      "1 0 0 rg q 0 g /M gs 0 0 300 400 re f Q 20 20 200 200 re f",
      (doc) => ({ M: masked(doc, "1 g 100 300 50 50 re f") }),
    ],
    [
      "colours that a transfer function turns round",
      "/T gs 1 0.2 0 rg 20 20 200 200 re f 0.9 g 100 200 150 150 re f",
      (doc) => ({ T: doc.context.obj({ TR: { FunctionType: 2, Domain: [0, 1], C0: [1], C1: [0], N: 1 } } as never) }),
    ],
  ])("show %s as poppler does", async (name, content, states) => {
    const path = await drawn(name, content, (doc) => ({ ExtGState: states(doc) }));
    expect(await differs(path, 1)).toBeLessThan(3);
  });

  it("come with a warning where something on them is missing, and as faults where nothing is left", async () => {
    const path = await drawn("missing", [
      `/None gs ${WORDS}`,
      `/None Do ${WORDS}`,
      "/None Do",
      `/OC /None BDC ${WORDS} EMC`,
    ]);
    const [state, object, nothing, marked] = (await pagesOf(path, { dpi: 144 })) as Page[];
    for (const page of [state, object, marked])
      expect(page?.metadata.warning).toMatch(/^A part of the page may be missing or look otherwise: getOperatorList/);
    expect(nothing).toMatchObject({ fault: { reason: expect.stringContaining("Nothing of the page can be drawn") } });
    for (const number of [1, 2, 4]) expect(await differs(path, number)).toBeLessThan(3);
  });

  it("do not suffer from the page before, however that ended", async () => {
    const spoilt = `0 0 10 10 re W n 5 0 0 5 0 0 cm q q /None gs ${WORDS}`;
    const path = await drawn("after", [spoilt, WORDS, spoilt, `${spoilt} <`, WORDS]);
    const pages = (await pagesOf(path, { dpi: 144 })) as Page[];
    const alone = await only(await drawn("alone", WORDS), { dpi: 144 });
    for (const index of [1, 4]) expect(Buffer.from(pages[index]?.image ?? []).equals(alone.image)).toBe(true);
  });

  it("are as large as their UserUnit says", async () => {
    for (const unit of [0.5, 2]) {
      const doc = await PDFDocument.load(readFileSync(await drawn("unit", WORDS)));
      doc.getPage(0).node.set(PDFName.of("UserUnit"), doc.context.obj(unit));
      writeFileSync(join(box.home, "unit.pdf"), await doc.save());
      const page = await only(join(box.home, "unit.pdf"), { dpi: 144 });
      expect([page.width, page.height, page.metadata.dpi]).toEqual([600 * unit, 800 * unit, 144]);
    }
  });

  it("may have text with a NUL in it", async () => {
    const path = await drawn("nul", "BT /F 24 Tf 40 300 Td (What\\000 is\\000 drawn) Tj ET");
    expect(await differs(path, 1)).toBeLessThan(3);
  });

  it("are grey where nothing on them has a colour, with the very pixels that colours would have", async () => {
    const draw = async (name: string, blue: number) => {
      const doc = await PDFDocument.create();
      const page = doc.addPage([200, 300]);
      page.drawText("Yale", { x: 20, y: 200, size: 40, color: rgb(0.2, 0.2, blue) });
      writeFileSync(join(box.home, name), await doc.save());
      return only(join(box.home, name), { dpi: 150 });
    };
    const [grey, colours] = [await draw("grey.pdf", 0.2), await draw("blue.pdf", 0.9)];
    for (const [page, channels] of [
      [grey, 1],
      [colours, 3],
    ] as const)
      expect(await sharp(page.image).metadata()).toMatchObject({ channels, density: 150, width: 417, height: 625 });
    const red = (page: Page) => sharp(page.image).toColourspace("srgb").extractChannel(0).raw().toBuffer();
    expect((await red(grey)).equals(await red(colours))).toBe(true);
  });
});

/** The JPEG with two empty EXIF blocks, which no decoder has to take. */
function withExifTwice(image: Buffer): Buffer {
  const exif = Buffer.from("ffe100104578696600004d4d002a000000080000", "hex");
  exif.writeUInt16BE(exif.length - 2, 2);
  return Buffer.concat([image.subarray(0, 2), exif, exif, image.subarray(2)]);
}

describe("JPEGs on pages that must be rendered", () => {
  it.each([
    ["in colour", async () => scan],
    ["in grey", async () => sharp(scan).greyscale().jpeg().toBuffer()],
    // Every reader has its own way from CMYK to a screen.
    ["in CMYK", async () => sharp(scan).toColourspace("cmyk").jpeg().toBuffer(), 20],
    ["with a profile of their own", async () => sharp(scan).withIccProfile("p3").jpeg().toBuffer()],
    ["with more EXIF than one", async () => withExifTwice(scan)],
    [
      "that are turned by their EXIF",
      async () =>
        sharp(scan)
          .withExif({ IFD0: { Orientation: "6" } })
          .jpeg()
          .toBuffer(),
    ],
  ])("%s look as in poppler, on every page that has them", async (name, make, most = 3) => {
    const doc = await PDFDocument.create();
    const image = await doc.embedJpg(await make());
    for (let i = 0; i < 3; i++) {
      const page = doc.addPage([300, 400]);
      page.drawImage(image, { x: 0, y: 0, width: 300, height: 400 });
      page.drawText("seen", { x: 200, y: 20, size: 12 });
    }
    const path = join(box.home, `${name}.pdf`);
    writeFileSync(path, await doc.save());
    for (const number of [1, 3]) expect(await differs(path, number)).toBeLessThan(most);
  });

  it("inside the page's own text look as in poppler", async () => {
    const parts = [
      Buffer.from("q 300 0 0 400 0 0 cm BI /W 600 /H 800 /BPC 8 /CS /RGB /F /DCT ID "),
      scan,
      Buffer.from("\nEI Q 0 0 1 rg 10 10 50 50 re f"),
    ];
    const doc = await PDFDocument.create();
    const page = doc.addPage([300, 400]);
    page.node.set(PDFName.of("Contents"), doc.context.register(doc.context.stream(Buffer.concat(parts))));
    const path = join(box.home, "inline.pdf");
    writeFileSync(path, await doc.save());
    expect(await differs(path, 1)).toBeLessThan(3);
  });

  it("that are cut off are drawn as far as they go", async () => {
    const path = await withScan("cut-inside.pdf", (page) => page.drawText("seen", { x: 200, y: 20 }));
    const bytes = readFileSync(path);
    const start = bytes.indexOf(Buffer.from([0xff, 0xd8, 0xff]));
    bytes.fill(0, start + Math.floor(scan.length / 2), start + scan.length);
    writeFileSync(path, bytes);
    const { data } = await sharp((await only(path, { dpi: 144 })).image)
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect(data.length).toBe(600 * 800 * 3);
    expect(await differs(path, 1)).toBeLessThan(10);
  });
});

describe("PDF files", () => {
  it("keep order, labels, source and title, whatever they hold", async () => {
    const doc = await PDFDocument.load(readFileSync(await textPdf(box.home, "labels.pdf", 12)));
    doc.setTitle('<script>alert("x")</script>');
    writeFileSync(join(box.home, "labels.pdf"), await doc.save());
    const items = (await pagesOf(join(box.home, "labels.pdf"), { dpi: 50 })) as Page[];
    expect(items.map((p) => p.page)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(items[0]).toMatchObject({ source: "labels.pdf", key: "labels.pdf#page=1" });
    expect(items[0]?.metadata.title).toBe('<script>alert("x")</script>');
  });

  it("give the pages that were asked for", async () => {
    const path = await textPdf(box.home, "ranges.pdf", 9);
    const items = (await pagesOf(path, { dpi: 40, pages: "2-3,7,9-" })) as Page[];
    expect(items.map((p) => p.page)).toEqual([2, 3, 7, 9]);
    await expect(pagesOf(path, { pages: "0-2" })).rejects.toThrow(/ranges/);
    await expect(pagesOf(path, { pages: "5-2" })).rejects.toThrow(/ranges/);
  });

  it("open with their password, and say when it is wrong", async () => {
    const path = join(box.home, "locked.pdf");
    writeFileSync(path, await encryptedPdf(python(), await textPdf(box.home, "open.pdf", 1)));
    expect((await only(path, { password: "secret", dpi: 50 })).mime).toBe("image/png");
    expect(await pagesOf(path, { password: "other" })).toMatchObject([{ fault: { reason: "The password is wrong." } }]);
  });

  it("come in natural order from a folder and from a glob", async () => {
    mkdirSync(join(box.home, "books/deep"), { recursive: true });
    for (const name of ["page10.pdf", "page2.pdf", "deep/page1.PDF"]) await textPdf(join(box.home, "books"), name, 1);
    const sources = async (location: string, options = {}) =>
      ((await pagesOf(location, { dpi: 40, ...options })) as Page[]).map((p) => p.source);
    expect(await sources(join(box.home, "books"))).toEqual(["deep/page1.PDF", "page2.pdf", "page10.pdf"]);
    expect(await sources(join(box.home, "books"), { recursive: false })).toEqual(["page2.pdf", "page10.pdf"]);
    expect(await sources(join(box.home, "books", "page*.pdf"))).toEqual(["page2.pdf", "page10.pdf"]);
  });

  it("are known by their own bytes, also where somebody changes them on the way", async () => {
    const path = await scanPdf(box.home, "changed.pdf", [await jpeg(5)]);
    const hash = async (name: string, change: (page: Page) => Promise<Uint8Array>) => {
      async function* pages(): AsyncGenerator<PageOrFault> {
        for (const item of await pagesOf(path)) yield isFault(item) ? item : { ...item, image: await change(item) };
      }
      return (await writeDataset(pages(), { folder: join(box.home, name) })).hash;
    };
    const darker = (by: number) => (page: Page) => sharp(page.image).linear(by).jpeg().toBuffer();
    const hashes = [
      await hash("as it is", async (page) => page.image),
      await hash("copied", async (page) => new Uint8Array(page.image)),
      await hash("dark", darker(0.8)),
      await hash("darker", darker(0.6)),
    ];
    expect(new Set(hashes).size).toBe(3);
    expect(hashes[0]).toBe(hashes[1]);
  });
});

describe("a page is passed through only where its scan is what it shows", () => {
  type Dict = { [key: string]: unknown };
  interface Made {
    jpeg?: Buffer;
    content?: string;
    image?: Dict;
    page?: Dict;
    resources?: Dict;
    catalog?: Dict;
  }
  let grey: Buffer;
  let wide: Buffer;
  beforeAll(async () => {
    grey = await sharp(scan).toColourspace("b-w").jpeg().toBuffer();
    wide = await jpeg(4, 800, 600);
  });

  /** A page of 300 by 400 points with one JPEG over it, each part as given. */
  async function made(name: string, how: (doc: PDFDocument) => Made): Promise<string> {
    const doc = await PDFDocument.create();
    const { context } = doc;
    const { jpeg: bytes = scan, content = drawn(0, 0), image, page, resources, catalog } = how(doc);
    const { width, height, channels } = await sharp(bytes).metadata();
    const dict = {
      Type: "XObject",
      Subtype: "Image",
      Width: width,
      Height: height,
      BitsPerComponent: 8,
      ColorSpace: channels === 1 ? "DeviceGray" : "DeviceRGB",
      Filter: "DCTDecode",
      ...image,
    };
    const picture = context.register(context.stream(bytes, dict as never));
    const { node } = doc.addPage([300, 400]);
    node.set(PDFName.of("Contents"), context.register(context.stream(content)));
    node.set(PDFName.of("Resources"), context.obj({ XObject: { I: picture }, ...resources } as never));
    for (const [key, value] of Object.entries(page ?? {})) node.set(PDFName.of(key), context.obj(value as never));
    for (const [key, value] of Object.entries(catalog ?? {}))
      doc.catalog.set(PDFName.of(key), context.obj(value as never));
    const path = join(box.home, `${name.replace(/\W/g, "-")}.pdf`);
    writeFileSync(path, await doc.save());
    return path;
  }

  const drawn = (x: number, y: number) => `q 300 0 0 400 ${x} ${y} cm /I Do Q`;

  /** A layer, and what is said of it. */
  function layer(doc: PDFDocument, config: (layer: unknown) => Dict): Made {
    const ref = doc.context.register(doc.context.obj({ Type: "OCG", Name: PDFString.of("hidden") } as never));
    return {
      content: `/OC /L BDC ${drawn(0, 0)} EMC`,
      resources: { Properties: { L: ref } },
      catalog: { OCProperties: { OCGs: [ref], D: config(ref) } },
    };
  }

  /** A colour space by an ICC profile that is no more than its header. */
  function profile(doc: PDFDocument, space: string, components: number, more: Dict = {}): unknown {
    const header = Buffer.alloc(132);
    header.write(`mntr${space.padEnd(4)}XYZ `, 12, "latin1");
    header.write("acsp", 36, "latin1");
    return ["ICCBased", doc.context.register(doc.context.flateStream(header, { N: components, ...more } as never))];
  }

  const white = [0.95, 1, 1.09];
  const cal = (name: string, gamma: unknown) => [name, { WhitePoint: white, Gamma: gamma }];
  const state = (entries: Dict): Made => ({
    content: `/G gs ${drawn(0, 0)}`,
    resources: { ExtGState: { G: entries } },
  });

  it.each<[string, (doc: PDFDocument) => Made]>([
    ["a layer that is off", (doc) => layer(doc, (off) => ({ OFF: [off] }))],
    ["layers that are off but for some", (doc) => layer(doc, () => ({ BaseState: "OFF" }))],
    ["a crop box beyond the page", () => ({ page: { CropBox: [-150, 0, 150, 400] }, content: drawn(-150, 0) })],
    ["a crop box outside the page", () => ({ page: { CropBox: [900, 900, 1200, 1300] }, content: drawn(900, 900) })],
    ["an image that is stretched", () => ({ jpeg: wide })],
    [
      "a clip of two rectangles that leave one out",
      () => ({ content: `0 0 100 100 re 0 0 300 400 re W* n ${drawn(0, 0)}` }),
    ],
    ["grey of another gamma", () => ({ jpeg: grey, image: { ColorSpace: cal("CalGray", 3) } })],
    ["colours of another gamma", () => ({ image: { ColorSpace: cal("CalRGB", [3, 1, 1]) } })],
    ["a profile of Lab", (doc) => ({ image: { ColorSpace: profile(doc, "Lab", 3) } })],
    [
      "a profile with Lab instead",
      (doc) => ({ image: { ColorSpace: profile(doc, "RGB", 3, { Alternate: ["Lab", { WhitePoint: white }] }) } }),
    ],
    ["colours that are called grey", () => ({ image: { ColorSpace: "DeviceGray" } })],
    ["another meaning of colours", (doc) => ({ resources: { ColorSpace: { DefaultRGB: profile(doc, "RGB", 3) } } })],
    ["a transparent state", () => state({ ca: 0.3 })],
    ["a state with a transfer function", () => state({ TR: { FunctionType: 2, N: 3, Domain: [0, 1] } })],
  ])("%s: it is rendered", async (name, how) => {
    expect(await pagesOf(await made(name, how), { dpi: 36 })).toMatchObject([{ mime: "image/png" }]);
  });

  it.each<[string, (doc: PDFDocument) => Made]>([
    ["a crop box around the page", () => ({ page: { CropBox: [-10, -10, 310, 410] } })],
    ["a box from its other corners", () => ({ page: { MediaBox: [300, 400, 0, 0] } })],
    ["a profile of colours", (doc) => ({ image: { ColorSpace: profile(doc, "RGB", 3) } })],
    ["a profile of grey", (doc) => ({ jpeg: grey, image: { ColorSpace: profile(doc, "GRAY", 1) } })],
    ["a state that changes nothing", () => state({ Type: "ExtGState", BM: "Normal", ca: 1, SMask: "None", SA: true })],
    ["a Decode array that changes nothing", () => ({ image: { Decode: [0, 1, 0, 1, 0, 1] } })],
    ["bytes behind the image's end", () => ({ jpeg: Buffer.concat([scan, Buffer.alloc(500, 0x20)]) })],
  ])("%s: it is passed through", async (name, how) => {
    expect(await pagesOf(await made(name, how))).toMatchObject([{ mime: "image/jpeg" }]);
  });
});

describe("damaged files", () => {
  /** A file whose objects stand in it in plain words, and its pages as they come from it while it is sound. */
  async function plainText(name: string, pages: number): Promise<{ path: string; text: string; sound: Page[] }> {
    const path = await textPdf(box.home, name, pages);
    const doc = await PDFDocument.load(readFileSync(path));
    writeFileSync(path, await doc.save({ useObjectStreams: false }));
    return { path, text: readFileSync(path, "latin1"), sound: (await pagesOf(path, { dpi: 50 })) as Page[] };
  }
  const put = (path: string, text: string) => writeFileSync(path, Buffer.from(text, "latin1"));
  /** Where the content of the last page begins. */
  const lastContent = (text: string) => {
    const [, number = ""] = [...text.matchAll(/\/Contents \[ (\d+) 0 R/g)].at(-1) ?? [];
    return text.indexOf(`\n${number} 0 obj`);
  };
  const image = (item: PageOrFault | undefined) => (item === undefined || isFault(item) ? item : imageHash(item.image));
  const cut = (reason: string) => ({ fault: { key: expect.stringMatching(/\.pdf$/), reason } });

  it("that are cut off give the pages that are there, as they were, and say so once", async () => {
    const { path, text, sound } = await plainText("cut.pdf", 4);
    put(path, text.slice(0, lastContent(text) + 60));
    const items = await pagesOf(path, { dpi: 50 });
    expect(items.slice(0, 3).map(image)).toEqual(sound.slice(0, 3).map(image));
    expect(items.slice(0, 3)).toMatchObject(
      [1, 2, 3].map((n) => ({ key: `cut.pdf#page=${n}`, metadata: { warning: expect.stringMatching(/damaged/) } })),
    );
    expect(items.slice(3)).toMatchObject([
      cut("The file is cut off: 3 pages were found in what is there, and 1 that could not be read."),
    ]);
  });

  it("that are cut off before their list of pages still have them, from streams of objects too", async () => {
    const path = await textPdf(box.home, "packed.pdf", 4);
    const sound = await pagesOf(path, { dpi: 50 });
    const text = readFileSync(path, "latin1");
    expect(text).toMatch(/\/Type \/ObjStm/);
    put(path, text.slice(0, text.lastIndexOf("/Type /XRef") - 10));
    const items = await pagesOf(path, { dpi: 50 });
    expect(items.slice(0, 4).map(image)).toEqual(sound.map(image));
    expect(items.slice(4)).toMatchObject([cut("The file is cut off: 4 pages were found in what is there.")]);
  });

  it("that lost the nodes of their tree have their pages in its order", async () => {
    const { path, text, sound } = await plainText("treeless.pdf", 3);
    const [node = ""] = /\d+ 0 obj\n<<\n\/Type \/Pages\n[\s\S]*?endobj\n/.exec(text) ?? [];
    put(path, text.slice(0, text.lastIndexOf("xref\n", text.lastIndexOf("startxref") - 1)).replace(node, ""));
    const items = await pagesOf(path, { dpi: 50 });
    expect(items.slice(0, 3).map(image)).toEqual(sound.map(image));
    expect(items.length).toBe(4);
  });

  it("that are cut off and large are read in parts", async () => {
    const { path, text, sound } = await plainText("large-cut.pdf", 3);
    const begin = lastContent(text);
    const end = text.lastIndexOf("xref\n", text.lastIndexOf("startxref") - 1);
    const large = `\n900 0 obj\n<< /Length ${33 << 20} >>\nstream\n${"-".repeat(33 << 20)}\nendstream\nendobj`;
    put(path, `${text.slice(0, begin)}${large}${text.slice(begin, end)}`);
    const items = await pagesOf(path, { dpi: 50 });
    expect(items.slice(0, 3).map(image)).toEqual(sound.map(image));
    expect(items.slice(3)).toMatchObject([cut("The file is cut off: 3 pages were found in what is there.")]);
  });

  it("of scans that are cut off give the scanner's own bytes", async () => {
    const images = await Promise.all([1, 2, 3].map((n) => jpeg(n)));
    const path = await scanPdf(box.home, "cut-scans.pdf", images);
    const doc = await PDFDocument.load(readFileSync(path));
    const bytes = Buffer.from(await doc.save({ useObjectStreams: false }));
    writeFileSync(path, bytes.subarray(0, bytes.lastIndexOf("xref\n", bytes.lastIndexOf("startxref") - 1)));
    const items = await pagesOf(path);
    expect(items.slice(0, 3).map(image)).toEqual(images.map(imageHash));
    expect(items.slice(3)).toMatchObject([cut("The file is cut off: 3 pages were found in what is there.")]);
  });

  it("that are cut off and encrypted are one fault", async () => {
    const path = join(box.home, "cut-locked.pdf");
    const bytes = await encryptedPdf(python(), await textPdf(box.home, "cut-open.pdf", 3));
    writeFileSync(path, bytes.subarray(0, bytes.length * 0.9));
    expect(await pagesOf(path)).toMatchObject([{ fault: { key: "cut-locked.pdf" } }]);
  });

  it.each([
    ["null", "null  "],
    ["a page that is not there", "999 0 R"],
    ["a number", "17    "],
  ])("whose list of pages has %s in it lack that page only", async (name, broken) => {
    const { path, text, sound } = await plainText(`kids-${name}.pdf`, 5);
    const [list = ""] = /\/Kids \[[^\]]*\]/.exec(text) ?? [];
    const kids = list.match(/\d+ 0 R/g) ?? [];
    put(path, text.replace(list, list.replace(kids[2] as string, broken.padEnd(kids[2]?.length ?? 0))));
    const items = await pagesOf(path, { dpi: 50 });
    expect(items.map(image)).toEqual([
      image(sound[0]),
      image(sound[1]),
      { fault: expect.objectContaining({ page: 3, reason: expect.stringMatching(/not there/) }) },
      image(sound[3]),
      image(sound[4]),
    ]);
    const { count, skipped } = (await (await openSource({ kind: "pdf", location: path })).inspect?.()) ?? {};
    expect([count, skipped?.length]).toEqual([4, 1]);
  });

  it("are not called so for what stands behind their end, or for an end without its mark", async () => {
    const images = await Promise.all([1, 2].map((n) => jpeg(n)));
    for (const [name, change] of [
      ["zeros.pdf", (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(9000)])],
      ["lines.pdf", (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(9000, "\r\n")])],
      ["unmarked.pdf", (bytes: Buffer) => bytes.subarray(0, bytes.lastIndexOf("%%EOF"))],
    ] as const) {
      const path = await scanPdf(box.home, name, images);
      writeFileSync(path, change(readFileSync(path)));
      expect((await pagesOf(path)).map(image), name).toEqual(images.map(imageHash));
    }
  });
});

describe("labels of pages", () => {
  async function labelled(name: string, labels: unknown): Promise<(string | undefined)[]> {
    const path = await textPdf(box.home, name, 6);
    const doc = await PDFDocument.load(readFileSync(path));
    doc.catalog.set(PDFName.of("PageLabels"), doc.context.obj(labels as never));
    writeFileSync(path, await doc.save());
    return ((await pagesOf(path, { dpi: 36 })) as Page[]).map((p) => p.label?.none?.[0]);
  }
  const text = PDFString.of;

  it.each<[string, unknown[], (string | undefined)[]]>([
    [
      "in every style",
      [0, { S: "r" }, 2, { S: "A", St: 26 }, 4, { S: "D", P: text("p. ") }],
      ["i", "ii", "Z", "AA", "p. 1", "p. 2"],
    ],
    ["that begin with nought", [0, { S: "D", St: 0 }], ["0", "1", "2", "3", "4", "5"]],
    ["that begin after the first page", [2, { S: "D" }], ["1", "2", "1", "2", "3", "4"]],
    ["that are prefixes only", [0, { P: text("cover") }, 1, { S: "D" }], ["cover", "1", "2", "3", "4", "5"]],
    [
      "of which some are damaged",
      [0, { S: "D", St: -3 }, 2, 17, 3, { S: "Q", P: text("x") }, "four", { S: "r" }, 5, { S: "r" }],
      ["1", "2", "3", "x", "x", "i"],
    ],
    [
      "in UTF-8 and UTF-16",
      [0, { P: PDFHexString.fromText("Ä") }, 1, { P: PDFHexString.of("efbbbfc384") }],
      Array(6).fill("Ä"),
    ],
  ])("%s", async (name, Nums, expected) => {
    expect(await labelled(`labels ${name}.pdf`, { Nums })).toEqual(expected);
  });

  it("in a tree of their own, whose circles end", async () => {
    expect(
      await labelled("label-tree.pdf", { Kids: [{ Nums: [0, { S: "r" }] }, null, { Nums: [4, { S: "D" }] }] }),
    ).toEqual(["i", "ii", "iii", "iv", "1", "2"]);
  });
});

describe("pages that were asked for and are not there", () => {
  it("are an error where there is no other page", async () => {
    const path = await textPdf(box.home, "six.pdf", 6);
    for (const pages of ["9", "7-", "8,10-12"])
      await expect(pagesOf(path, { pages })).rejects.toThrow(/six\.pdf has no page/);
  });

  it("are a fault beside the others; a range without an end asks for none", async () => {
    const path = await textPdf(box.home, "three.pdf", 3);
    const of = async (pages: string) =>
      (await pagesOf(path, { dpi: 36, pages })).map((item) => (isFault(item) ? item.fault.reason : item.page));
    expect(await of("2,7")).toEqual(["three.pdf has no page 7.", 2]);
    expect(await of("1-5")).toEqual(["three.pdf has no page 4-5.", 1, 2, 3]);
    expect(await of("2-")).toEqual([2, 3]);
  });

  it("are a fault of each of several files that has none of them", async () => {
    mkdirSync(join(box.home, "shelf"));
    await textPdf(join(box.home, "shelf"), "long.pdf", 4);
    await textPdf(join(box.home, "shelf"), "short.pdf", 2);
    const of = async (pages: string) =>
      (await pagesOf(join(box.home, "shelf"), { dpi: 36, pages })).map((item) =>
        isFault(item) ? item.fault.reason : item.key,
      );
    expect(await of("4")).toEqual(["long.pdf#page=4", "short.pdf has no page 4."]);
    expect(await of("2-3")).toEqual(["long.pdf#page=2", "long.pdf#page=3", "short.pdf#page=2"]);
  });
});
