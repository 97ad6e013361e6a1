import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Job } from "../../kernel-lib/src/jobs/job.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { textPdf } from "../support/material.js";
import { python, Sandbox } from "../support/sandbox.js";

let box: Sandbox;
let yale: Yale;
beforeAll(() => {
  // The jobs' python3 is the one of the tests' environment.
  box = new Sandbox({ PATH: `${dirname(python())}:${process.env.PATH}` }).enter();
  process.env.PATH = box.env.PATH;
  yale = new Yale({ agent: false });
});
afterAll(async () => {
  await yale.close();
  await box.close();
});

const ended = (job: Job) => job.wait({ bar: false }).catch(() => job);

/** A job's state as soon as `check` holds for its record. */
async function when(job: Job, check: (job: Job) => boolean): Promise<void> {
  for await (const _ of job.changes()) if (check(job)) return;
}

describe("jobs one after another", () => {
  it("gives the pages that were recognised to the next script, where they are", async () => {
    const pdf = await textPdf(box.home, "chain.pdf", 3);
    const first = await yale.ocr(pdf).on("local").dpi(100).submit();
    // Submitted while the first has not even been prepared.
    const second = await yale
      .run(
        "from datasets import load_from_disk\nd = load_from_disk('dataset')\nprint(sorted(d['page'][:]), 'library' in ' '.join(d['text'][:]))\n",
      )
      .data(first)
      .on("local")
      .submit();
    expect(second.record.spec).toMatchObject({ dataFrom: first.id, after: [{ job: first.id, condition: "afterok" }] });
    await second.wait({ bar: false });
    const log = await second.logText();
    expect(log).toContain("[1, 2, 3] True");
    expect((await first.refresh()).state).toBe("completed");
  });

  it("does not start what comes after a failure, and says why", async () => {
    const first = await yale.run("#!/bin/bash\nexit 4\n").on("local").submit();
    const ok = await yale.run("#!/bin/bash\necho ok\n").on("local").after(first).submit();
    const any = await yale.run("#!/bin/bash\necho any\n").on("local").after(first, "afterany").submit();
    await Promise.all([first, ok, any].map(ended));
    expect(first.state).toBe("failed");
    expect(ok.record).toMatchObject({ state: "cancelled", reason: expect.stringContaining(first.id) });
    expect(any.state).toBe("completed");
    // What has ended is decided without the scheduler, which may know nothing of it any more.
    const late = await ended(await yale.run("#!/bin/bash\necho late\n").on("local").after(first).submit());
    expect(late.record).toMatchObject({ state: "cancelled", reason: expect.stringContaining("ended as failed") });
    expect(late.record.schedulerId).toBeUndefined();
  });

  it("refuses the output of a job on another cluster, and of none", async () => {
    writeFileSync(
      join(box.home, "two.yaml"),
      `clusters:\n  other: { transport: local, scheduler: local, job_dir: ${box.home}/other }\n`,
    );
    const first = await ended(await yale.run("#!/bin/bash\ntrue\n").on("local").submit());
    const two = new Yale({ agent: false, config: join(box.home, "two.yaml") });
    await expect(two.run("#!/bin/bash\ntrue\n").data(first).on("other").submit()).rejects.toThrow(/is on local/);
    await expect(yale.run("#!/bin/bash\ntrue\n").data({ id: "nosuchjob1" }).on("local").submit()).rejects.toThrow(
      /no job/,
    );
    await two.close();
  });
});

describe("a job that has not started", () => {
  it("is held before the scheduler has it, released, and cancelled, wherever it is", async () => {
    const slow = await yale.run("#!/bin/bash\nsleep 300\n").on("local").submit();
    const next = await yale.run("#!/bin/bash\ntrue\n").on("local").after(slow, "afterany").submit();
    await next.hold();
    await when(next, (j) => j.state === "queued");
    await slow.cancel();
    expect((await ended(slow)).state).toBe("cancelled");
    expect((await next.refresh()).record).toMatchObject({ held: true, state: "queued" });
    await next.release();
    expect((await ended(next)).state).toBe("completed");
    await expect(next.hold()).rejects.toThrow(/nothing to hold/);
  });

  it("is cancelled while it waits for another, and never submitted", async () => {
    const slow = await yale.run("#!/bin/bash\nsleep 300\n").on("local").submit();
    const held = await yale.run("#!/bin/bash\ntrue\n").on("local").submit();
    await held.hold().catch(() => undefined);
    const next = await yale.run("#!/bin/bash\ntrue\n").on("local").after(held).submit();
    await next.cancel();
    expect((await ended(next)).record).toMatchObject({ state: "cancelled" });
    expect(next.record.schedulerId).toBeUndefined();
    await held.cancel();
    await slow.cancel();
    await Promise.all([held, slow].map(ended));
  });
});

describe("a retry", () => {
  it("with more memory is the same job, which keeps its log; with other results it is a new one", async () => {
    const script = 'echo "memory $YALE_JOBS_ID"\n[ -e ../again ] || { touch ../again; exit 1; }\n';
    const job = await ended(await yale.run(`#!/bin/bash\n${script}`).on("local").memory("1G").submit());
    expect(job.state).toBe("failed");
    const again = await job.retry({ memory: "2G" });
    expect(again.id).toBe(job.id);
    await again.wait({ bar: false });
    expect(again.record).toMatchObject({
      attempt: 2,
      spec: { resources: { memory: "2G" } },
      earlier: [{ attempt: 1, state: "failed", automatic: false }],
    });
    const log = await again.logText();
    expect(log.match(/memory/g)?.length).toBe(2);
    const other = await again.retry({ variables: { OTHER: "1" } });
    expect(other.id).not.toBe(job.id);
    await ended(other);
    expect(other.record.retryOf).toBe(job.id);
  });

  it("checks changes as the builder does", async () => {
    const job = await ended(await yale.run("#!/bin/bash\nexit 1\n").on("local").submit());
    await expect(job.retry({ memory: "2" })).rejects.toThrow(/2G|32G/);
    await expect(job.retry({ memroy: "2G" } as object)).rejects.toThrow(/did you mean "memory"/);
    await expect(job.retry({ data: "x.pdf" } as object)).rejects.toThrow(/no option "data"/);
  });
});

describe("a job with shards on this machine", () => {
  it("takes its tasks one after another and comes back as one", async () => {
    const pdf = await textPdf(box.home, "five.pdf", 5, 2);
    const job = await yale.ocr(pdf).dpi(100).shards(2).on("local").submit();
    await job.wait({ bar: false });
    expect(job.record).toMatchObject({ progress: { done: 5, total: 5 }, tasks: { total: 2, completed: 2 } });
    expect((await job.results()).rows.map((r) => r.page)).toEqual([1, 2, 3, 4, 5]);
    const log = await job.logText();
    expect(log).toMatch(/==> task 0 <==\n2 of 2 pages[\s\S]*==> task 1 <==\n3 of 3 pages/);
  });
});
