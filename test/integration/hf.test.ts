import { mkdirSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Downloader } from "../../kernel-lib/src/sources/download.js";
import { HubDataset } from "../../kernel-lib/src/sources/hf-hub.js";
import { isFault, type Page, type PageOrFault } from "../../kernel-lib/src/sources/index.js";
import { openSource } from "../../kernel-lib/src/sources/registry.js";
import { jpeg } from "../support/material.js";
import { python, Sandbox } from "../support/sandbox.js";
import { hub, listen, type Running } from "../support/servers.js";

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
rows(70, 74).to_parquet(f"{root}/library/sides/data/left-00000-of-00001.parquet")
rows(74, 77).to_parquet(f"{root}/library/sides/data/right-00000-of-00002.parquet")
rows(77, 79).to_parquet(f"{root}/library/sides/data/right-00001-of-00002-0123abc.parquet")
for name in ["data/verso.a-00000-of-00001", "data/valid-00000-of-00001", "data/train-00000-of-00001", "data/test-00000-of-00001", "data/extra"]:
    rows(80, 81).to_parquet(f"{root}/library/nested/scans/{name}.parquet")
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
    "library/sides/data",
    "library/nested/scans/data",
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
  writeFileSync(
    join(root, "library/nested/README.md"),
    "---\nconfigs:\n- config_name: scans\n  data_dir: scans\n---\n",
  );
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

  it("has the splits that its files in data/ are called by, whatever those are", async () => {
    expect((await collect("library/sides")).length).toBe(4);
    expect((await collect("library/sides", { split: "right" })).length).toBe(5);
    await expect(collect("library/sides", { split: "train" })).rejects.toThrow(/left, right/);
    // Below the folder that a configuration names, and with Python's own order; other files do not count beside them.
    const source = await openSource({ kind: "hf", location: "library/nested" });
    expect((await source.inspect?.())?.version).toBe("scans/train");
    expect((await source.inspect?.())?.skipped.map((s) => s.key)).toEqual(["test", "valid", "verso.a"]);
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

/** A Hub in front of which `first` may answer; what it leaves goes to the Hub. */
async function flawed(
  first: (request: IncomingMessage, response: ServerResponse, bytes: () => Promise<Buffer>) => unknown,
): Promise<Running> {
  return listen(async (request, response) => {
    const address = `${server.url}${request.url}`;
    const headers = Object.fromEntries(
      Object.entries(request.headers).filter(([name]) => ["range", "authorization"].includes(name)),
    ) as Record<string, string>;
    const ask = () => fetch(address, { method: request.method ?? "GET", headers });
    const took = await first(request, response, async () => Buffer.from(await (await ask()).arrayBuffer()));
    if (took !== undefined) return;
    const answer = await ask();
    for (const name of ["content-range", "content-length", "content-type", "etag"]) {
      const value = answer.headers.get(name);
      if (value !== null) response.setHeader(name, value);
    }
    response.writeHead(answer.status);
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
}

describe("a Hub with faults", () => {
  it.each([
    ["the list", (r: IncomingMessage) => (r.url ?? "").includes("/tree/")],
    ["the size of a file", (r: IncomingMessage) => r.method === "HEAD"],
    ["a part of a file", (r: IncomingMessage) => r.headers.range !== undefined],
  ])("is asked again for %s, after 503, a cut line, and 500 or a cut body", async (_, is) => {
    let times = 0;
    const bad = await flawed(async (request, response, bytes) => {
      if (!is(request) || times > 2) return undefined;
      times += 1;
      if (times === 1) return response.writeHead(503, { "retry-after": "1" }).end();
      if (times === 2) return response.destroy();
      if (request.method === "HEAD") return response.writeHead(500).end();
      const body = await bytes();
      response.writeHead(request.headers.range === undefined ? 200 : 206, {
        "content-length": body.length,
        "content-range": request.headers.range?.replace("=", " ").concat("/*") ?? "",
      });
      response.write(body.subarray(0, body.length / 2));
      return setTimeout(() => response.destroy(), 100);
    });
    process.env.HF_ENDPOINT = bad.url;
    try {
      expect((await collect("library/leaves", { subset: "small" })).filter((p) => !isFault(p)).length).toBe(2);
      expect(times).toBe(3);
    } finally {
      process.env.HF_ENDPOINT = server.url;
      await bad.close();
    }
  });

  it("is not believed when it sends another part of a file, and is named when it does nothing else", async () => {
    let lies = 0;
    const bad = await flawed(async (request, response, bytes) => {
      if (request.headers.range === undefined) return undefined;
      lies += 1;
      const body = await bytes();
      return response.writeHead(206, { "content-range": `bytes 7-${body.length + 6}/*` }).end(body);
    });
    process.env.HF_ENDPOINT = bad.url;
    try {
      await expect(collect("library/leaves", { subset: "small" })).rejects.toThrow(/another part of the file/);
      expect(lies).toBe(4);
    } finally {
      process.env.HF_ENDPOINT = server.url;
      await bad.close();
    }
  });

  it("that hangs is left, and a reader who goes is not kept", async () => {
    const bad = await flawed((request) => (request.headers.range === undefined ? undefined : true));
    const dataset = new HubDataset("library/leaves", { endpoint: bad.url }, new Downloader({ patience: 200 }));
    const files = await dataset.files("main");
    expect(files).toContain("README.md");
    const ask = new Downloader({ patience: 200 }).fetchFor(bad.url, {});
    await expect(ask(dataset.url("main", "small/part.parquet"), { headers: { range: "bytes=0-9" } })).rejects.toThrow(
      /nothing came for 0.2 s/,
    );
    process.env.HF_ENDPOINT = bad.url;
    try {
      const source = await openSource({ kind: "hf", location: "library/leaves", options: { subset: "small" } });
      const stop = new AbortController();
      const reading = source.pages({ signal: stop.signal })[Symbol.asyncIterator]().next();
      setTimeout(() => stop.abort(), 300);
      expect((await reading).done).toBe(true);
    } finally {
      process.env.HF_ENDPOINT = server.url;
      await bad.close();
    }
  }, 60_000);
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
  it("of a mirror opens with the mirror's kind of token, which goes nowhere else", async () => {
    const seen: (string | undefined)[] = [];
    const store = await flawed((request) => void seen.push(request.headers.authorization));
    const elsewhere = store.url.replace("127.0.0.1", "localhost");
    const mirror = await listen(async (request, response) => {
      if (request.headers.authorization !== "Bearer mirror-canary") return void response.writeHead(401).end();
      if ((request.url ?? "").includes("/resolve/"))
        return void response.writeHead(302, { location: `${elsewhere}${request.url}` }).end();
      // The list goes on at another host, as a careless or a hostile mirror may say.
      response.setHeader("link", `<${elsewhere}${request.url}>; rel="next"`);
      response.writeHead(200, { "content-type": "application/json" }).end("[]");
    });
    process.env.HF_ENDPOINT = mirror.url;
    process.env.HF_TOKEN = "mirror-canary";
    try {
      expect((await collect("library/leaves", { subset: "small" })).length).toBe(2);
      expect(seen.length).toBeGreaterThan(2);
      expect(seen.filter((s) => s !== undefined)).toEqual([]);
    } finally {
      delete process.env.HF_TOKEN;
      process.env.HF_ENDPOINT = server.url;
      for (const one of [mirror, store]) await one.close();
    }
  });

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
