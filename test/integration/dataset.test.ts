import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readManifest, readPage, readResult, readRows, writeDataset } from "../../kernel-lib/src/dataset/index.js";
import { openParquetFile } from "../../kernel-lib/src/dataset/parquet.js";
import { DatasetError } from "../../kernel-lib/src/errors.js";
import { PageSource } from "../../kernel-lib/src/jobs/page-source.js";
import { fingerprintOf } from "../../kernel-lib/src/jobs/prepare.js";
import { isFault, type Page, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { openSource } from "../../kernel-lib/src/sources/registry.js";
import { jpeg } from "../support/material.js";
import { python, ROOT, Sandbox } from "../support/sandbox.js";

let box: Sandbox;
beforeAll(() => {
  box = new Sandbox().enter();
});
afterAll(() => box.close());

async function* pages(n: number, image?: Uint8Array): AsyncGenerator<PageOrFault> {
  for (let i = 1; i <= n; i++)
    yield {
      key: `book#${i}`,
      image: image ?? (await jpeg(i, 60, 80)),
      mime: "image/jpeg",
      width: 60,
      height: 80,
      source: "büch <1>.pdf",
      page: i,
      label: { none: [`f. ${i}r`] },
      metadata: { title: '"quoted"\n', n: i },
    } satisfies Page;
  yield { fault: { key: "book#x", source: "büch <1>.pdf", reason: "torn" } };
}

describe("a dataset that we write", () => {
  it("is read by Python's datasets, images and all, from several shards and batches", async () => {
    const folder = join(box.home, "several");
    const info = await writeDataset(pages(25), { folder, batchBytes: 2000, shardBytes: 6000 });
    expect(info.shards.length).toBeGreaterThan(2);
    expect(info).toMatchObject({ pages: 25, faultCount: 1 });
    const code = `
import json, sys
from datasets import load_from_disk, Image
d = load_from_disk(sys.argv[1])
assert isinstance(d.features["image"], Image), d.features
out = [(r["key"], r["image"].size, r["image"].format, r["source"], r["page"], json.loads(r["label"]), json.loads(r["metadata"])["n"]) for r in d]
d2 = d.map(lambda r: {"w": r["image"].width})
print(json.dumps([len(out), out[24], d2["w"][:3]]))`;
    const out = JSON.parse(execFileSync(python(), ["-c", code, folder], { encoding: "utf8", env: box.env }));
    expect(out).toEqual([
      25,
      ["book#25", [60, 80], "JPEG", "büch <1>.pdf", 25, { none: ["f. 25r"] }, 25],
      [60, 60, 60],
    ]);
  });

  it("gives a page by its key wherever it lies, and reads little else", async () => {
    const folder = join(box.home, "large");
    // Pages that differ only in their keys, each as large as a scan; several batches in each of several shards.
    const image = new Uint8Array(200_000).fill(7);
    image.set(await jpeg(1, 60, 80));
    await writeDataset(pages(200, image), { folder, batchBytes: 1 << 20, shardBytes: 10 << 20 });
    const bytesRead = () => Number(/^rchar: (\d+)/.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);
    for (const n of [1, 77, 200]) {
      const before = bytesRead();
      expect(await readPage(folder, `book#${n}`)).toMatchObject({ key: `book#${n}`, page: n, width: 60 });
      expect(bytesRead() - before).toBeLessThan(4 << 20);
    }
    expect(await readPage(folder, "book#")).toBeUndefined();
    expect(await readPage(folder, "book#2011")).toBeUndefined();
  });

  it("gives a page by its key also from files that Python wrote, whatever their layout", async () => {
    const folder = join(box.home, "from-python");
    const code = `
import sys
from datasets import Dataset
rows = {"numbers": [[1.5, 2.5], []], "key": ["a", "ä"], "source": ["x", "y"], "page": [1, 2], "text": [None, "words"]}
Dataset.from_dict(rows).save_to_disk(sys.argv[1])`;
    execFileSync(python(), ["-c", code, folder], { env: box.env });
    expect(await readResult(folder, "ä")).toMatchObject({ source: "y", page: 2, text: "words" });
    expect(await readResult(folder, "b")).toBeUndefined();
  });

  it("has the same name for the same pages, whatever its shards, and another for others", async () => {
    const [a, b, c] = await Promise.all([
      writeDataset(pages(5), { folder: join(box.home, "a") }),
      writeDataset(pages(5), { folder: join(box.home, "b"), batchBytes: 1, shardBytes: 1 }),
      writeDataset(pages(4), { folder: join(box.home, "c") }),
    ]);
    expect(a.hash).toBe(b.hash);
    expect(a.hash).not.toBe(c.hash);
  });

  it("is complete only when its manifest is there; an interrupted one is written anew", async () => {
    const folder = join(box.home, "cut");
    const stop = new AbortController();
    let n = 0;
    await expect(
      writeDataset(pages(50), {
        folder,
        batchBytes: 1,
        shardBytes: 1,
        signal: stop.signal,
        onItem: () => ++n === 10 && stop.abort(),
      }),
    ).rejects.toThrow(/interrupted/);
    await expect(readManifest(folder)).rejects.toThrow(/not a complete dataset/);
    await writeDataset(pages(3), { folder });
    expect((await readManifest(folder)).pages).toBe(3);
    expect(readdirSync(folder).filter((f) => f.endsWith(".part"))).toEqual([]);
  });

  it("gives every page a key of its own", async () => {
    async function* twice() {
      yield* pages(2);
      yield* pages(2);
    }
    const folder = join(box.home, "twice");
    await writeDataset(twice(), { folder });
    const keys: unknown[] = [];
    for await (const row of readRows(folder, { columns: ["key"] })) keys.push(row.key);
    expect(keys).toEqual(["book#1", "book#2", "book#1 (2)", "book#2 (2)"]);
    expect((await readPage(folder, "book#2 (2)"))?.page).toBe(2);
    expect(await readPage(folder, "none")).toBeUndefined();
  });

  it("takes bounded memory however much is written", () => {
    // A process of its own, so that its peak is its own: 400 MB of pages must not need 400 MB.
    const script = join(box.home, "big.mjs");
    writeFileSync(
      script,
      `import { writeDataset } from ${JSON.stringify(join(ROOT, "kernel-lib/src/dataset/index.ts"))};
      async function* pages() {
        for (let i = 0; i < 400; i++) {
          const image = new Uint8Array(1_000_000).fill(i & 255);
          yield { key: String(i), image, mime: "image/jpeg", width: 1, height: 1, source: "s", page: i, metadata: {} };
        }
      }
      writeDataset(pages(), { folder: ${JSON.stringify(join(box.home, "big"))} }).then((info) =>
        console.log(JSON.stringify({ bytes: info.bytes, peak: process.resourceUsage().maxRSS * 1024 })));`,
    );
    const built = join(box.home, "big.cjs");
    const esbuild = join(ROOT, "node_modules", ".bin", "esbuild");
    const options = [
      "--bundle",
      "--platform=node",
      "--format=cjs",
      "--external:apache-arrow",
      "--supported:dynamic-import=false",
      "--log-level=error",
    ];
    execFileSync(esbuild, [script, ...options, `--outfile=${built}`]);
    const ran = spawnSync(process.execPath, [built], {
      encoding: "utf8",
      env: { ...process.env, NODE_PATH: join(ROOT, "node_modules") },
    });
    expect(ran.stderr).toBe("");
    const { bytes, peak } = JSON.parse(ran.stdout);
    expect(bytes).toBeGreaterThan(400e6);
    expect(peak).toBeLessThan(330 * 2 ** 20);
  });
});

describe("a dataset whose writing was interrupted", () => {
  const options = { shardBytes: 60_000, batchBytes: 10_000 };
  /** Pages of which those that are there already come without their image; `made` counts the others. */
  async function* source(count: number, have: (key: string) => boolean, made: string[]): AsyncGenerator<PageOrFault> {
    for await (const page of pages(count)) {
      if (isFault(page)) continue;
      if (have(page.key)) yield { ...page, image: new Uint8Array(0) };
      else {
        made.push(page.key);
        yield page;
      }
    }
  }

  it("goes on behind its last whole batch, and is equal to one that was not", async () => {
    const whole = await writeDataset(pages(40), { folder: join(box.home, "whole"), ...options });
    for (const after of [1, 7, 19, 39]) {
      const folder = join(box.home, `cut-${after}`);
      const stop = new AbortController();
      const first: string[] = [];
      let seen = 0;
      const onItem = () => {
        seen += 1;
        if (seen > after) stop.abort();
      };
      await expect(
        writeDataset((have) => source(40, have, first), { folder, ...options, signal: stop.signal, onItem }),
      ).rejects.toThrow(/interrupted/);
      const second: string[] = [];
      const info = await writeDataset((have) => source(40, have, second), { folder, ...options });
      expect(info.hash).toBe(whole.hash);
      // What the reader had in hand when it was stopped is made once more, no other page.
      expect(second.length).toBeLessThanOrEqual(40 - after);
      expect(new Set([...first, ...second]).size).toBe(40);
      const keys: unknown[] = [];
      for await (const row of readRows(folder))
        keys.push([
          row.key,
          createHash("sha1")
            .update((row.image as { bytes: Uint8Array }).bytes)
            .digest("hex"),
        ]);
      const wanted: unknown[] = [];
      for await (const row of readRows(whole.folder))
        wanted.push([
          row.key,
          createHash("sha1")
            .update((row.image as { bytes: Uint8Array }).bytes)
            .digest("hex"),
        ]);
      expect(keys).toEqual(wanted);
    }
  });

  it("begins anew if other pages come, or if what it left is not whole", async () => {
    const folder = join(box.home, "other");
    const stop = new AbortController();
    let seen = 0;
    const onItem = () => {
      seen += 1;
      if (seen > 20) stop.abort();
    };
    await expect(
      writeDataset((have) => source(40, have, []), { folder, ...options, signal: stop.signal, onItem }),
    ).rejects.toThrow();
    const fewer = await writeDataset((have) => source(5, have, []), { folder, ...options });
    expect(fewer.hash).toBe((await writeDataset(pages(5), { folder: join(box.home, "five") })).hash);
  });
});

describe("a folder that holds something already", () => {
  const contents = (folder: string) =>
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(join(folder, name), "latin1")]);

  it("keeps what others wrote: it is refused in words, whatever marks it has", async () => {
    const theirs = join(box.home, "theirs");
    const code = `
import sys
from datasets import Dataset
Dataset.from_dict({"n": [1, 2]}).save_to_disk(sys.argv[1])`;
    execFileSync(python(), ["-c", code, theirs], { env: box.env, stdio: "pipe" });
    const film = join(box.home, "film");
    mkdirSync(film);
    writeFileSync(join(film, "film.part"), "half a film");
    const mixed = join(box.home, "mixed");
    await writeDataset(pages(1), { folder: mixed });
    writeFileSync(join(mixed, "table.arrow"), "a table");
    for (const [folder, name] of [
      [theirs, "data-00000-of-00001.arrow"],
      [film, "film.part"],
      [mixed, "table.arrow"],
    ] as const) {
      const before = contents(folder);
      await expect(writeDataset(() => pages(2), { folder })).rejects.toThrow(
        new RegExp(`holds data that Yale Jobs did not write: ${name}.*new or empty`, "s"),
      );
      expect(contents(folder)).toEqual(before);
    }
  });

  it("keeps an earlier dataset of ours until the first page has come, and then only the new one", async () => {
    const folder = join(box.home, "earlier");
    await writeDataset(pages(4), { folder, batchBytes: 1, shardBytes: 1 });
    writeFileSync(join(folder, "README.md"), "My own words.");
    const before = contents(folder);
    async function* none(): AsyncGenerator<PageOrFault> {
      yield { fault: { key: "x", source: "x.pdf", reason: "It is torn." } };
    }
    await expect(writeDataset(() => none(), { folder })).rejects.toThrow(/x\.pdf: It is torn\..*left as it is/s);
    async function* broken(): AsyncGenerator<PageOrFault> {
      yield* none();
      throw new Error("no network");
    }
    await expect(writeDataset(() => broken(), { folder })).rejects.toThrow("no network");
    expect(contents(folder)).toEqual(before);
    await writeDataset(() => pages(1), { folder });
    expect(readdirSync(folder).filter((f) => /arrow|part|journal/.test(f))).toEqual(["data-00000-of-00001.arrow"]);
    expect(readFileSync(join(folder, "README.md"), "utf8")).toBe("My own words.");
  });

  it("is no place for a dataset that is made of it, and may lie beside or among images", async () => {
    const ours = join(box.home, "ours");
    await writeDataset(pages(2), { folder: ours });
    const before = contents(ours);
    const cases: [PageSource, string][] = [
      [new PageSource("dataset", ours), ours],
      [new PageSource("dataset", ours), join(ours, "out")],
      [new PageSource("dataset", ours), box.home],
      [new PageSource("dataset", join(ours, "*.arrow")), ours],
    ];
    for (const [source, folder] of cases) await expect(source.toDataset(folder)).rejects.toThrow(/lie in each other/);
    expect(contents(ours)).toEqual(before);
    const photographs = join(box.home, "photographs");
    mkdirSync(photographs);
    writeFileSync(join(photographs, "a.jpg"), await jpeg(1, 60, 80));
    for (const folder of [join(photographs, "out"), photographs, photographs])
      expect((await new PageSource("directory", photographs).toDataset(folder)).pages).toBe(1);
    expect(readdirSync(photographs)).toContain("a.jpg");
  });
});

describe("pages that are written again after an interruption", () => {
  /** A folder in which the first two of four images are written, as a killed conversion leaves it. */
  async function killed(name: string): Promise<{ images: string; folder: string }> {
    const images = join(box.home, `${name}-images`);
    mkdirSync(images);
    for (const n of [1, 2, 3, 4]) writeFileSync(join(images, `${n}.jpg`), await jpeg(n, 60, 80));
    const folder = join(box.home, `${name}-out`);
    const source = new PageSource("directory", images, { recursive: true });
    const { fingerprint } = await fingerprintOf({ sources: [source.spec] });
    const stop = new AbortController();
    let seen = 0;
    const interrupted = writeDataset((have) => source.pages({ have }), {
      ...{ folder, fingerprint, signal: stop.signal, batchBytes: 1 },
      onItem: () => ++seen === 3 && stop.abort(),
    });
    await expect(interrupted).rejects.toThrow(/interrupted/);
    expect(readFileSync(join(folder, "journal.jsonl"), "utf8").split("\n").length).toBeGreaterThan(3);
    return { images, folder };
  }
  const journalWas = async (folder: string, source: PageSource) => {
    const asked: string[] = [];
    const pages = source.pages.bind(source);
    source.pages = (options = {}) =>
      pages({
        ...options,
        have: (key) => {
          const had = options.have?.(key) === true;
          if (had) asked.push(key);
          return had;
        },
      });
    await source.toDataset(folder);
    return asked;
  };

  it("are gone on with if source and options are the same", async () => {
    const { images, folder } = await killed("same");
    const had = await journalWas(folder, new PageSource("directory", images, { recursive: true }));
    expect(had.length).toBeGreaterThan(1);
  });

  it("are begun anew if the options are others, or a file has changed", async () => {
    const other = await killed("options");
    expect(await journalWas(other.folder, new PageSource("directory", other.images, { recursive: false }))).toEqual([]);
    const changed = await killed("changed");
    writeFileSync(join(changed.images, "1.jpg"), await jpeg(9, 90, 90));
    const source = new PageSource("directory", changed.images, { recursive: true });
    expect(await journalWas(changed.folder, source)).toEqual([]);
    expect(await readPage(changed.folder, "1.jpg")).toMatchObject({ width: 90 });
  });
});

describe("datasets that Python writes", () => {
  it("are read with nulls, lists, structs, class labels, dates and splits", async () => {
    const folder = join(box.home, "python");
    const code = `
import sys, datetime
from datasets import Dataset, DatasetDict, ClassLabel, Features, Value, Sequence
d = Dataset.from_dict({"text": ["a", None, "ü"], "n": [1, 2**40, None], "tags": [["x", "y"], [], None], "box": [{"x": 1, "y": "q"}, None, {"x": 3, "y": "r"}], "f": [0.5, None, 2.0]})
d = d.map(lambda r: {"upper": (r["text"] or "").upper()})
DatasetDict({"train": d, "test": d.select([2])}).save_to_disk(sys.argv[1])`;
    execFileSync(python(), ["-c", code, folder], { env: box.env, stdio: "pipe" });
    const rows: unknown[] = [];
    for await (const row of readRows(folder)) rows.push(row);
    expect(rows).toEqual(
      [
        { text: "a", n: 1, tags: ["x", "y"], box: { x: 1, y: "q" }, f: 0.5, upper: "A" },
        { text: null, n: 2 ** 40, tags: [], box: expect.anything(), f: null, upper: "" },
        { text: "ü", n: null, tags: null, box: { x: 3, y: "r" }, f: 2, upper: "Ü" },
      ].map((r, i) => (i === 1 ? { ...r, box: (rows[1] as { box: unknown }).box } : r)),
    );
    const test: unknown[] = [];
    for await (const row of readRows(folder, { split: "test", columns: ["text"] })) test.push(row);
    expect(test).toEqual([{ text: "ü" }]);
    await expect(async () => {
      for await (const _ of readRows(folder, { split: "none" }));
    }).rejects.toThrow(/train, test/);
  });

  it("are read with every type of theirs, from their folder and from Parquet", async () => {
    const folder = join(box.home, "types");
    mkdirSync(folder);
    execFileSync(python(), [join(ROOT, "test/python/every_type.py"), folder], { env: box.env, stdio: "pipe" });
    const day = "1875-03-01T00:00:00.000Z";
    const first = {
      ...{ uint8: 200, int8: -5, uint64: "4611686018427387909", int64: "-1152921504606846976" },
      ...{ float16: 1.5, float32: 0.25, float64: 1e300, bool: true, large_string: "größe" },
      ...{ date32: day, date64: "1999-12-31T00:00:00.000Z", timestamp_s: "1875-03-01T05:06:07.000Z" },
      ...{ timestamp_us: "2020-01-02T03:04:05.678Z", timestamp_ns: "2020-01-02T03:04:05.678Z" },
      ...{ time64: 3_723_456_789, duration: 1500, decimal: -12.34, class_label: 1 },
      ...{ list: ["x", "ü"], fixed_list: [1, 2], large_list: [7, 8], dates: [day] },
      structs: [
        { x: 1, word: "w" },
        { x: 2, word: null },
      ],
      nested: { a: { day }, b: [[1], [], [2, 3]] },
      array: [
        [1, 2],
        [3, 4],
      ],
      ...{ null: null, thumbnails: [{ bytes: null, path: null }], added: 1 },
    };
    const nulls = Object.fromEntries(Object.keys(first).map((name) => [name, null]));
    const second = {
      ...nulls,
      array: [
        [0, 0],
        [0, 0],
      ],
      large_binary: null,
      added: 1,
    };
    for (const name of ["disk", "rows.parquet"]) {
      const found: Page[] = [];
      const source = await openSource({ kind: "dataset", location: join(folder, name) });
      for await (const item of source.pages()) found.push(item as Page);
      expect([name, ...found.map((p) => [p.key, p.width, p.metadata])]).toEqual([
        name,
        ["a", 4, first],
        ["b", 4, second],
      ]);
    }
  });

  /** Writes datasets with Python: `I` is three images, `small(columns, features, name)` a folder and a Parquet file. */
  const written = (name: string, code: string): string => {
    const folder = join(box.home, name);
    mkdirSync(folder, { recursive: true });
    const prelude = `
import os, sys, io, decimal
import numpy as np
import pyarrow as pa, pyarrow.parquet as pq
import datasets
from datasets import *
from PIL import Image as P
os.chdir(sys.argv[1])
def encoded(image, form="PNG", **more):
    out = io.BytesIO(); image.save(out, form, **more); return {"bytes": out.getvalue(), "path": None}
def im(seed, w=30, h=20):
    return P.fromarray(np.random.RandomState(seed).randint(0, 255, (h, w, 3)).astype(np.uint8))
I = [encoded(im(i)) for i in range(3)]
def small(columns, features, name):
    made = Dataset.from_dict(columns, features=Features(features)); made.save_to_disk(name); made.to_parquet(name + ".parquet")
`;
    execFileSync(python(), ["-c", prelude + code, folder], { env: box.env, stdio: "pipe" });
    return folder;
  };
  const both = async (folder: string, name: string) => {
    const all: PageOrFault[][] = [];
    for (const location of [join(folder, name), join(folder, `${name}.parquet`)]) {
      const found: PageOrFault[] = [];
      for await (const item of (await openSource({ kind: "dataset", location })).pages()) found.push(item);
      all.push(found);
    }
    return all;
  };

  it("keep their columns whatever these are called", async () => {
    const folder = written(
      "odd",
      `
small({"image": I, "page": ["1r", "1v", "2r"], "key": [101, 102, 103], "source": [7, 8, 9], "width": ["wide", "x", "y"],
  "metadata": ["null", "[1,2]", '{"a": 1}'], "label": ["{x", '{"en": ["L"]}', "plain"],
  "sum": [decimal.Decimal("12345678901234567.001"), decimal.Decimal("-1.500"), None]},
  {"image": datasets.Image(), "page": Value("string"), "key": Value("int64"), "source": Value("int32"), "width": Value("string"),
  "metadata": Value("string"), "label": Value("string"), "sum": Value("decimal128(20, 3)")}, "odd")`,
    );
    for (const found of await both(folder, "odd"))
      expect(found.map((p) => (isFault(p) ? p.fault : [p.page, p.width, p.label, p.metadata]))).toEqual([
        [
          ...[1, 30, undefined],
          {
            page: "1r",
            key: 101,
            source: 7,
            width: "wide",
            metadata: "null",
            label: "{x",
            sum: "12345678901234567.001",
          },
        ],
        [2, 30, { en: ["L"] }, { page: "1v", key: 102, source: 8, width: "x", metadata: "[1,2]", sum: -1.5 }],
        [3, 30, undefined, { page: "2r", key: 103, source: 9, width: "y", a: 1, label: "plain", sum: null }],
      ]);
  });

  it("have their images found by their features, in lists as well", async () => {
    const folder = written(
      "features",
      `
small({"image": ["a.png", "b.png", "c.png"], "scan": I}, {"image": Value("string"), "scan": datasets.Image()}, "named")
small({"audio": [{"bytes": b"RIFF", "path": "a.wav"}] * 3, "pic": I},
  {"audio": {"bytes": Value("binary"), "path": Value("string")}, "pic": datasets.Image()}, "audio")
small({"images": [[I[0], I[1]], [I[2]], []]}, {"images": Sequence(datasets.Image())}, "lists")`,
    );
    for (const name of ["named", "audio"])
      for (const found of await both(folder, name))
        expect([name, ...found.map((p) => (isFault(p) ? p.fault.reason : p.width))]).toEqual([name, 30, 30, 30]);
    for (const [i, found] of (await both(folder, "lists")).entries()) {
      const dataset = i === 0 ? "lists" : "lists.parquet";
      expect(found.map((p) => (isFault(p) ? [p.fault.key, p.fault.reason] : [p.key, p.width]))).toEqual([
        [`${dataset}#row=1#page=1`, 30],
        [`${dataset}#row=1#page=2`, 30],
        [`${dataset}#row=2`, 30],
        [`${dataset}#row=3`, "The row's list of images is empty."],
      ]);
    }
  });

  it("have every page of their TIFFs, upright sizes, and 8 bits", async () => {
    const folder = written(
      "forms",
      `
exif = P.Exif(); exif[0x112] = 6
deep = P.fromarray((np.linspace(20000, 65535, 30)[None, :] * np.ones((20, 1))).astype(np.uint16))
small({"image": [encoded(im(1), "JPEG", exif=exif), encoded(im(1), "TIFF", save_all=True, append_images=[im(2, 40, 20)]),
  encoded(deep), encoded(im(3), "AVIF")]}, {"image": datasets.Image()}, "forms")`,
    );
    for (const found of await both(folder, "forms"))
      expect(found.map((p) => (isFault(p) ? p.fault : [p.mime, p.width, p.height]))).toEqual([
        ["image/jpeg", 20, 30],
        ["image/png", 30, 20],
        ["image/png", 40, 20],
        ["image/png", 30, 20],
        ["image/png", 30, 20],
      ]);
  });

  it("are read from Parquet with every codec, and a damaged one says so in words", async () => {
    const folder = written(
      "codecs",
      `
n = list(range(5000))
for codec in ["lz4", "zstd", "snappy", "gzip", "brotli", "none"]:
    pq.write_table(pa.table({"image": pa.array([I[i % 3]["bytes"] for i in n]), "n": pa.array(n), "same": ["x" * 50] * 5000}), codec + ".parquet", compression=codec, row_group_size=1000)`,
    );
    const digestOf = async (name: string) => {
      const hash = createHash("sha1");
      let rows = 0;
      for await (const row of (await openParquetFile(join(folder, name))).read()) {
        hash.update(row.image as Uint8Array).update(`${row.n} ${row.same}`);
        rows += 1;
      }
      return `${rows} ${hash.digest("hex")}`;
    };
    const plain = await digestOf("none.parquet");
    expect(plain).toMatch(/^5000 /);
    for (const codec of ["lz4", "zstd", "snappy", "gzip", "brotli"])
      expect([codec, await digestOf(`${codec}.parquet`)]).toEqual([codec, plain]);
    const bytes = readFileSync(join(folder, "lz4.parquet"));
    bytes.fill(0xee, 200, 4000);
    writeFileSync(join(folder, "damaged.parquet"), bytes);
    const error = await digestOf("damaged.parquet").catch((e: unknown) => e);
    expect(error).toBeInstanceOf(DatasetError);
    expect(String(error)).toMatch(/damaged\.parquet can't be read in its rows 1 to 1000/);
  });

  it("say in words that they are damaged", async () => {
    const folder = join(box.home, "damaged");
    await writeDataset(pages(3), { folder });
    const shard = join(folder, "data-00000-of-00001.arrow");
    writeFileSync(shard, readFileSync(shard).subarray(0, statSync(shard).size / 2));
    await expect(async () => {
      for await (const _ of readRows(folder));
    }).rejects.toThrow(/damaged|can't be read/);
  });
});
