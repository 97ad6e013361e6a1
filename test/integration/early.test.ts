import { join } from "node:path";
import { expect, it } from "vitest";
import { Yale } from "../../kernel-lib/src/yale.js";
import { heavyJpegs, sentence } from "../support/material.js";
import { Sandbox } from "../support/sandbox.js";
import { listen } from "../support/servers.js";

/** Pages of 6 MB: a shard of such a job is full after 6 of them. */
const PAGES = 8;

it("on this machine, too, a job starts on the first pages while the last is still to come", async () => {
  const box = new Sandbox().enter();
  const yale = new Yale({ agent: false });
  let release: () => void = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const images = await heavyJpegs(box.home, PAGES, 6e6);
  const server = await listen(async (request, response) => {
    const number = Number(/(\d+)\.jpg$/.exec(request.url ?? "")?.[1]);
    if (number === PAGES) await released;
    response.setHeader("content-type", "image/jpeg");
    response.end(images[number - 1]);
  });
  try {
    const urls = Array.from({ length: PAGES }, (_, i) => `${server.url}/${i + 1}.jpg`);
    const job = await yale.ocr(yale.web(urls)).startEarly().output(join(box.home, "results")).submit();
    for await (const record of job.changes()) if (record.progress.done >= 1) break;
    expect([job.state, job.record.dataset]).toEqual(["running", undefined]);
    release();
    await job.wait({ bar: false });
    expect(job.record.progress).toMatchObject({ done: PAGES, failed: 0, total: PAGES });
    const texts = (await job.results()).rows.map((row) => row.text?.trim());
    expect(texts).toEqual(Array.from({ length: PAGES }, (_, i) => sentence((i + 1) * 10)));
  } finally {
    release();
    await yale.close();
    await server.close();
    await box.close();
  }
});
