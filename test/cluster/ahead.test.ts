import { createHash, randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readManifest } from "../../kernel-lib/src/dataset/index.js";
import { cacheDir } from "../../kernel-lib/src/paths.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { sharedBed } from "../support/bed.js";
import { Sandbox, until } from "../support/sandbox.js";
import { listen, type Running } from "../support/servers.js";

const bed = sharedBed();
const root = bed.home("yale-jobs");
const ahead = join(root, "datasets", ".ahead");
/** Pages of 6 MB: a shard is full after 22 of them. */
const PAGES = 26;
let box: Sandbox;
let yale: Yale;
let server: Running;
/** Lets the server give the last page. */
let release: () => void;
let released: Promise<void>;

beforeAll(async () => {
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
  await bed.reset();
  yale = new Yale({ agent: false, config: bed.configPath });
  const [width, height] = [2000, 1000];
  const head = Buffer.alloc(54);
  head.write("BM", "latin1");
  head.writeUInt32LE(54 + 3 * width * height, 2);
  for (const [at, value] of Object.entries({ 10: 54, 14: 40, 18: width, 22: height, 26: 1 + (24 << 16) }))
    head.writeUInt32LE(value, Number(at));
  const image = Buffer.concat([head, randomBytes(3 * width * height)]);
  server = await listen(async (request, response) => {
    if (request.url === `/${PAGES}.bmp`) await released;
    response.setHeader("content-type", "image/bmp");
    response.end(image);
  });
});
afterAll(async () => {
  release();
  await yale.close();
  await server.close();
  await box.close();
  rmSync(root, { recursive: true, force: true });
});

const hold = () => {
  released = new Promise((resolve) => {
    release = resolve;
  });
};
const submit = () =>
  yale
    .run("#!/bin/bash\nls dataset/\n")
    .data(yale.web(Array.from({ length: PAGES }, (_, i) => `${server.url}/${i + 1}.bmp`)))
    .on("key")
    .time("00:10:00")
    .submit();
const shardsThere = () => (existsSync(ahead) ? readdirSync(ahead).filter((name) => /^[0-9a-f]{64}$/.test(name)) : []);

it("a dataset's first shard is on the cluster before its last page is prepared, and is not sent again", async () => {
  hold();
  const job = await submit();
  const [first = ""] = await until("a shard ahead", () => shardsThere().length > 0 && shardsThere());
  for await (const record of job.changes()) if (record.progress.prepared === PAGES - 1) break;
  expect(job.state).toBe("preparing");
  const { ino } = statSync(join(ahead, first));
  release();
  await job.wait({ bar: false });
  const { hash } = job.record.dataset ?? { hash: "" };
  const far = join(root, "datasets", hash);
  const { shards, pages } = await readManifest(far);
  expect([pages, shards.length]).toEqual([PAGES, 2]);
  for (const { file, sha256 } of shards)
    expect(
      createHash("sha256")
        .update(readFileSync(join(far, file)))
        .digest("hex"),
    ).toBe(sha256);
  // It was moved into place.
  expect(statSync(join(far, "data-00000-of-00002.arrow")).ino).toBe(ino);
  expect(readdirSync(ahead)).toEqual([]);
});

it("what was sent ahead for a job that was cancelled serves the next one on the same pages", async () => {
  rmSync(join(root, "datasets"), { recursive: true, force: true });
  for (const kept of ["datasets", "downloads"]) rmSync(join(cacheDir(), kept), { recursive: true, force: true });
  hold();
  const cancelled = await submit();
  const [first = ""] = await until("a shard ahead", () => shardsThere().length > 0 && shardsThere());
  const { ino } = statSync(join(ahead, first));
  await cancelled.cancel();
  expect(shardsThere()).toEqual([first]);
  release();
  const next = await submit();
  await next.wait({ bar: false });
  const far = join(root, "datasets", next.record.dataset?.hash ?? "");
  expect(statSync(join(far, "data-00000-of-00002.arrow")).ino).toBe(ino);
  expect(readdirSync(ahead)).toEqual([]);
});
