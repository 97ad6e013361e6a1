import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, it } from "vitest";
import { prepare } from "../../kernel-lib/src/jobs/prepare.js";
import type { JobSpec } from "../../kernel-lib/src/protocol.js";
import { Sandbox } from "../support/sandbox.js";

/** A folder of so many white pages, and a job on it. */
async function folderOf(home: Sandbox, count: number): Promise<{ pages: string; spec: JobSpec }> {
  const pages = join(home.home, "pages");
  mkdirSync(pages);
  const image = sharp({ create: { width: 8, height: 8, channels: 3, background: "white" } });
  for (let n = 1; n <= count; n++) writeFileSync(join(pages, `${n}.png`), await image.png().toBuffer());
  const sources = [{ kind: "directory" as const, location: pages }];
  return { pages, spec: { kind: "ocr", name: "a", cluster: "local", sources, options: {}, resources: {} } };
}

it("a note that a crash left half written costs one preparation, not every job on these pages", async () => {
  const home = new Sandbox().enter();
  try {
    const { spec } = await folderOf(home, 1);
    const { hash } = await prepare(spec);
    const folder = join(home.home, "cache", "yale-jobs", "datasets");
    const notes = readdirSync(folder).filter((name) => /^[0-9a-f]{32}\.json$/.test(name));
    expect(notes).toHaveLength(1);
    for (const torn of ["", '{"ha', '{"hash":"../../elsewhere"}']) {
      writeFileSync(join(folder, notes[0] ?? ""), torn);
      expect((await prepare(spec)).hash).toBe(hash);
    }
    expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
  } finally {
    await home.close();
  }
});

it("a preparation that was interrupted goes on where it was", async () => {
  const home = new Sandbox().enter();
  try {
    const { pages, spec } = await folderOf(home, 4);
    const first = join(pages, "1.png");
    utimesSync(first, 1e9, 1e9);
    const stop = new AbortController();
    const onProgress = (prepared: number) => prepared === 3 && stop.abort();
    await expect(prepare(spec, { signal: stop.signal, onProgress })).rejects.toThrow(/interrupted/);
    // Of the same size and time, so that nobody would know but who reads it: the first page is not read again.
    writeFileSync(first, "?".repeat(statSync(first).size));
    utimesSync(first, 1e9, 1e9);
    expect(await prepare(spec)).toMatchObject({ pages: 4, faultCount: 0 });
  } finally {
    await home.close();
  }
});

it("what a cleaner took from a prepared dataset is made again, and what was begun long ago goes", async () => {
  const home = new Sandbox().enter();
  try {
    const { spec } = await folderOf(home, 1);
    const { folder, shards } = await prepare(spec);
    const shard = join(folder, shards[0]?.file ?? "");
    const datasets = join(home.home, "cache", "yale-jobs", "datasets");
    const [old, recent] = ["0", "1"].map((digit) => join(datasets, `.preparing-${digit.repeat(32)}`));
    for (const [path, days] of [
      [old, 40],
      [recent, 2],
    ] as const) {
      mkdirSync(path ?? "");
      utimesSync(path ?? "", Date.now() / 1000 - days * 86_400, Date.now() / 1000 - days * 86_400);
    }
    for (const harm of [() => rmSync(shard), () => writeFileSync(shard, "half")]) {
      harm();
      const again = await prepare(spec);
      expect(again.folder).toBe(folder);
      expect(statSync(shard).size).toBe(shards[0]?.bytes);
    }
    expect([old, recent].map((path) => existsSync(path ?? ""))).toEqual([false, true]);
  } finally {
    await home.close();
  }
});
