import { existsSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { readResults } from "../../kernel-lib/src/dataset/index.js";
import type { Job } from "../../kernel-lib/src/jobs/job.js";
import type { JobRecord } from "../../kernel-lib/src/protocol.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { sharedBed } from "../support/bed.js";
import { heavyJpegs, sentence } from "../support/material.js";
import { Sandbox, until } from "../support/sandbox.js";
import { listen, type Running } from "../support/servers.js";

const bed = sharedBed();
const root = bed.home("yale-jobs");
/** Pages of 6 MB: a shard of such a job is full after 6 of them. */
const PAGES = 14;
let box: Sandbox;
let yale: Yale;
let server: Running;
/** A page that the server does not have for now. */
let missing: number | undefined;
/** What the server says to whoever wants the last page. */
let answer: (status: number) => void;
let answered: Promise<number>;

beforeAll(async () => {
  box = new Sandbox({ YALE_JOBS_CONFIG: bed.configPath }).enter();
  bed.writeSshFolder(box.home);
  yale = new Yale({ agent: false, config: bed.configPath });
  const images = await heavyJpegs(box.home, PAGES, 6e6);
  server = await listen(async (request, response) => {
    const number = numberOf(request.url ?? "");
    if (number === PAGES) response.statusCode = await answered;
    if (number === missing) response.statusCode = 404;
    response.setHeader("content-type", "image/jpeg");
    response.end(response.statusCode === 200 ? images[number - 1] : "");
  });
});
beforeEach(async () => {
  missing = undefined;
  await bed.reset();
  rmSync(root, { recursive: true, force: true });
  rmSync(join(box.home, "cache"), { recursive: true, force: true });
  answered = new Promise((resolve) => {
    answer = resolve;
  });
});
afterAll(async () => {
  answer(404);
  await yale.close();
  await server.close();
  await box.close();
  rmSync(root, { recursive: true, force: true });
});

const NUMBERS = Array.from({ length: PAGES }, (_, i) => i + 1);
const urls = () => NUMBERS.map((number) => `${server.url}/${number}.jpg`);
const submit = ({ strict = false, node = "key" } = {}) =>
  yale.ocr(yale.web(urls(), { strict })).model("tesseract").on(node).time("00:10:00").startEarly().submit();

/** The record as soon as pages are done while the last one is still to come. */
async function atWork(job: Job): Promise<JobRecord> {
  for await (const record of job.changes()) if (record.progress.done >= 2) return record;
  throw new Error(`It ended as ${job.state}: ${JSON.stringify(job.record.error)}`);
}

const numberOf = (key: string) => Number(/(\d+)\.jpg/.exec(key)?.[1]);

async function keysOf(job: Pick<JobRecord, "jobDir">): Promise<string[]> {
  const keys: string[] = [];
  for await (const row of readResults(join(job.jobDir ?? "", "output"))) {
    expect(row.error).toBeNull();
    expect(row.text).toContain(sentence(numberOf(row.key) * 10));
    keys.push(row.key);
  }
  return keys;
}

it("a job runs on the first pages before the last is prepared, and does all of them once and in order", async () => {
  const job = await submit();
  const record = await atWork(job);
  expect(record.state).toBe("running");
  expect(record.dataset).toBeUndefined();
  expect(record.coming).toBe(true);
  expect(record.progress.prepared).toBeLessThan(PAGES);
  expect(readlinkSync(join(record.jobDir ?? "", "input"))).toBe("coming");
  answer(200);
  await job.wait({ bar: false });
  expect([job.state, job.record.attempt, job.record.coming]).toEqual(["completed", 1, undefined]);
  expect(job.record.progress).toMatchObject({ done: PAGES, total: PAGES, prepared: PAGES });
  expect(readlinkSync(join(job.record.jobDir ?? "", "input"))).toBe(`../datasets/${job.record.dataset?.hash}`);
  expect(existsSync(join(job.record.jobDir ?? "", "coming"))).toBe(false);
  expect((await keysOf(job.record)).map(numberOf)).toEqual(NUMBERS);
});

it("where the channel for files breaks again and again every page comes, and is done once", async () => {
  bed.dropAfter(30 << 20);
  const job = await submit({ node: "drop" });
  answer(200);
  const reasons = new Set<string>();
  for await (const { reason } of job.changes()) if (reason !== undefined) reasons.add(reason);
  expect([job.state, job.record.attempt, job.record.coming]).toEqual(["completed", 1, undefined]);
  expect([...reasons].join("\n")).toMatch(/The line to drop was lost .*channel for files/);
  expect((await keysOf(job.record)).map(numberOf)).toEqual(NUMBERS);
});

/** A job by an agent of its own, at work on the first pages. */
async function byAgent(): Promise<JobRecord> {
  const list = join(box.home, "pages.txt");
  writeFileSync(list, urls().join("\n"));
  const sent = await box.yale(
    ...["jobs", "ocr", list, "--source-type", "web", "--model", "tesseract", "--cluster", "key"],
    ...["--time", "00:10:00", "--start-early", "-q"],
  );
  expect(sent).toMatchObject({ code: 0 });
  return until("pages done", () => {
    const record = box.records().find((r) => sent.stdout.includes(r.id));
    return record !== undefined && record.progress.done >= 2 && record;
  });
}
const recordOf = ({ id }: JobRecord) => box.records().find((r) => r.id === id);

it("the next agent brings the rest of the pages if the first one dies", async () => {
  const running = await byAgent();
  expect(running.coming).toBe(true);
  process.kill(box.agentPid(), "SIGKILL");
  answer(200);
  expect(await box.yale("jobs", "wait", running.id)).toMatchObject({ code: 0 });
  const record = recordOf(running);
  expect([record?.attempt, record?.coming, record?.progress.done]).toEqual([1, undefined, PAGES]);
  const keys = await keysOf(running);
  expect([keys.length, new Set(keys).size]).toEqual([PAGES, PAGES]);
  // Whoever finds the job from another machine is told which pages it had.
  const told = JSON.parse(readFileSync(join(running.jobDir ?? "", "job.json"), "utf8"));
  expect(told.dataset).toEqual(record?.dataset);
});

it("if the pages are others by then, the job is cancelled and says so", async () => {
  missing = 3;
  const running = await byAgent();
  process.kill(box.agentPid(), "SIGKILL");
  missing = undefined;
  answer(200);
  expect((await box.yale("jobs", "wait", running.id)).code).not.toBe(0);
  expect(recordOf(running)).toMatchObject({ state: "failed", attempt: 1, error: { code: "source" } });
  expect(recordOf(running)?.error?.what).toContain("The pages have changed");
  expect(recordOf(running)?.coming).toBeUndefined();
});

it("where the rest of the pages can't be had, the job is cancelled and says why", async () => {
  const job = await submit({ strict: true });
  const { schedulerId = "" } = await atWork(job);
  answer(404);
  await job.wait({ bar: false }).catch(() => undefined);
  expect(job.state).toBe("failed");
  expect(job.record.error?.what).toMatch(/404/);
  await expect
    .poll(() => bed.root("squeue", "--noheader", "--states=all", "--format=%T", `--jobs=${schedulerId}`))
    .toMatch(/CANCELLED/);
});

it("cancelling it ends the job and what brings its pages", async () => {
  const job = await submit();
  await atWork(job);
  await job.cancel();
  await job.wait({ bar: false }).catch(() => undefined);
  expect([job.state, job.record.coming]).toEqual(["cancelled", undefined]);
});
