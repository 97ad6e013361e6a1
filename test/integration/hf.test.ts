import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isFault, type Page, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { openSource } from "../../kernel-lib/src/sources/registry.js";
import { jpeg } from "../support/material.js";
import { python, Sandbox } from "../support/sandbox.js";
import { hub, type Running } from "../support/servers.js";

/** Writes what Python's own `datasets` writes: Parquet with images, bytes and odd columns, in two subsets. */
const WRITE = `
import sys, datetime, numpy as np
from datasets import Dataset, Features, Image, Value, ClassLabel, Sequence, load_from_disk
from PIL import Image as I
root = sys.argv[1]
def picture(n):
    return I.fromarray(np.random.default_rng(n).integers(0, 255, (60, 40, 3), dtype=np.uint8))
features = Features({"scan": Image(), "title": Value("string"), "year": Value("int64"), "kind": ClassLabel(names=["print", "manuscript"]),
    "tags": Sequence(Value("string")), "big": Value("int64"), "when": Value("timestamp[s]"), "score": Value("float32")})
def rows(a, b):
    return Dataset.from_dict({"scan": [picture(n) for n in range(a, b)], "title": [f"leaf {n}" for n in range(a, b)],
        "year": [1700 + n for n in range(a, b)], "kind": [n % 2 for n in range(a, b)], "tags": [["x", "y"]] * (b - a), "big": [2**60] * (b - a),
        "when": [datetime.datetime(2020, 1, 1)] * (b - a), "score": [0.5] * (b - a)}, features=features)
rows(0, 30).to_parquet(f"{root}/library/leaves/data/train-00000-of-00002.parquet", batch_size=5)
rows(30, 40).to_parquet(f"{root}/library/leaves/data/train-00001-of-00002.parquet")
rows(40, 43).to_parquet(f"{root}/library/leaves/data/test-00000-of-00001.parquet")
rows(50, 52).to_parquet(f"{root}/library/leaves/small/part.parquet")
rows(60, 63).to_parquet(f"{root}/library/texts@refs-convert-parquet/default/train/0000.parquet")
`;

let box: Sandbox;
let server: Running;
let root: string;
beforeAll(async () => {
  box = new Sandbox().enter();
  root = join(box.home, "hub");
  for (const folder of [
    "library/leaves/data",
    "library/leaves/small",
    "library/texts",
    "library/texts@refs-convert-parquet/default/train",
    "library/folder/train/a",
    "library/folder/train/b",
  ])
    mkdirSync(join(root, folder), { recursive: true });
  const wrote = await box.run(python(), ["-c", WRITE, root]);
  expect(wrote.stderr.replace(/Creating parquet.*\n?/g, "")).not.toMatch(/Error/);
  writeFileSync(
    join(root, "library/leaves/README.md"),
    "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n  - split: test\n    path: data/test-*\n- config_name: small\n  data_files: small/*.parquet\n---\n",
  );
  writeFileSync(join(root, "library/texts/data.jsonl"), "{}\n");
  for (const [i, name] of ["a/1.jpg", "a/2.jpg", "b/10.jpg"].entries())
    writeFileSync(join(root, "library/folder/train", name), await jpeg(i));
  writeFileSync(join(root, "library/folder/train/metadata.csv"), "file_name,author\na/1.jpg,Ada\nb/10.jpg,Ben\n");
  server = await hub(root);
  process.env.HF_ENDPOINT = server.url;
});
afterAll(async () => {
  delete process.env.HF_ENDPOINT;
  await server.close();
  await box.close();
});

async function collect(
  location: string,
  options: Record<string, string> = {},
  most = Number.POSITIVE_INFINITY,
): Promise<PageOrFault[]> {
  const source = await openSource({ kind: "hf", location, options });
  const items: PageOrFault[] = [];
  for await (const item of source.pages()) {
    items.push(item);
    if (items.length >= most) break;
  }
  return items;
}

describe("a dataset in Parquet", () => {
  it("gives the pages of its default subset and split, other columns beside them", async () => {
    const source = await openSource({ kind: "hf", location: "library/leaves" });
    expect(await source.count?.()).toBe(40);
    const pages = (await collect("library/leaves")) as Page[];
    expect(pages.filter(isFault)).toEqual([]);
    expect(pages.map((p) => p.metadata.title)).toEqual(Array.from({ length: 40 }, (_, n) => `leaf ${n}`));
    expect(pages[3]).toMatchObject({ width: 40, height: 60, mime: "image/png", key: "library/leaves#row=4" });
    expect(pages[3]?.metadata).toEqual({
      title: "leaf 3",
      year: 1703,
      kind: 1,
      tags: ["x", "y"],
      big: String(2n ** 60n),
      when: "2020-01-01T00:00:00.000Z",
      score: 0.5,
    });
  });

  it("fetches the rows that are asked for, not the files", async () => {
    const before = server.log.length;
    await collect("library/leaves", {}, 2);
    const asked = server.log.slice(before).filter((l) => l.path.includes("train-00000"));
    expect(asked.length).toBeGreaterThan(0);
    expect(asked.filter((l) => l.method === "GET").every((l) => l.range !== undefined)).toBe(true);
    expect(server.log.slice(before).some((l) => l.path.includes("train-00001"))).toBe(false);
  });

  it("has other subsets and splits, and says which where one is missing", async () => {
    expect((await collect("library/leaves", { split: "test" })).length).toBe(3);
    expect((await collect("library/leaves", { subset: "small" })).length).toBe(2);
    await expect(collect("library/leaves", { split: "nope" })).rejects.toThrow(/train, test/);
    await expect(collect("library/leaves", { subset: "nope" })).rejects.toThrow(/default, small/);
    await expect(collect("library/leaves", { revision: "v9" })).rejects.toThrow(/v9/);
    await expect(collect("library/nothing")).rejects.toThrow(/does not exist/);
  });

  it("is read from the Hub's Parquet copy where its own files are of another kind", async () => {
    expect((await collect("library/texts")).length).toBe(3);
  });

  it("as a file on this machine is a source, too", async () => {
    const source = await openSource({ kind: "auto", location: join(root, "library/leaves/small/part.parquet") });
    const pages: PageOrFault[] = [];
    for await (const page of source.pages()) pages.push(page);
    expect([source.kind, await source.count?.(), pages.length, pages.filter(isFault).length]).toEqual([
      "dataset",
      2,
      2,
      0,
    ]);
  });
});

describe("a folder of images", () => {
  it("gives them with the columns of its metadata file", async () => {
    const pages = (await collect("library/folder")) as Page[];
    expect(pages.map((p) => [p.metadata.path, p.metadata.author])).toEqual([
      ["train/a/1.jpg", "Ada"],
      ["train/a/2.jpg", undefined],
      ["train/b/10.jpg", "Ben"],
    ]);
  });
});

describe("a private dataset", () => {
  it("opens with HF_TOKEN, and says that it wants one without", async () => {
    const closed = await hub(root, { token: "hf_canary" });
    process.env.HF_ENDPOINT = closed.url;
    try {
      await expect(collect("library/folder")).rejects.toThrow(/HF_TOKEN/);
      process.env.HF_TOKEN = "hf_canary";
      expect((await collect("library/folder")).length).toBe(3);
      expect((await collect("library/leaves", { subset: "small" })).length).toBe(2);
    } finally {
      delete process.env.HF_TOKEN;
      process.env.HF_ENDPOINT = server.url;
      await closed.close();
    }
  });
});
