import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Job } from "../../kernel-lib/src/jobs/job.js";
import type { JobRecord, Json } from "../../kernel-lib/src/protocol.js";
import type { Page, Source } from "../../kernel-lib/src/sources/index.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { sharedBed } from "../support/bed.js";
import { jpeg, textPdf } from "../support/material.js";
import { python, ROOT, Sandbox, until } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
let yale: Yale;

beforeAll(() => {
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
});
beforeEach(async () => {
  await bed.reset();
  yale = new Yale({ agent: false, config: bed.configPath });
});
afterEach(() => yale.close());
afterAll(() => box.close());

const ended = (job: Job) => job.wait({ bar: false }).catch(() => job);

/** The record as soon as `check` holds for it. */
async function when(job: Job, check: (record: JobRecord) => boolean): Promise<JobRecord> {
  for await (const record of job.changes()) if (check(record)) return record;
  return job.record;
}

function logOf(job: Job, task?: number): Promise<string> {
  return job.logText(task === undefined ? {} : { task });
}

/** Presses `1` for every push that is asked for; returns how many there were. */
function pushes(): { count: number; stop: () => void } {
  const abort = new AbortController();
  const asked = { count: 0, stop: () => abort.abort() };
  void (async () => {
    const core = await yale.core();
    for await (const event of core.events(abort.signal)) {
      if (event.type !== "prompt") continue;
      asked.count += 1;
      await core.answer(event.prompt.id, ["1"]);
    }
  })();
  return asked;
}

/** Pages of a caller's own, of which one is a picture that Tesseract refuses: wider than 32,767 pixels. */
function oneTooWide(): Source {
  return {
    kind: "own",
    async *pages() {
      const good = new Uint8Array(await jpeg(1));
      const wide = await sharp({ create: { width: 40_000, height: 8, channels: 3, background: "white" } })
        .png()
        .toBuffer();
      for (const [i, image] of [good, new Uint8Array(wide), good].entries()) {
        const metadata: { [key: string]: Json } = {};
        const size = i === 1 ? { width: 40_000, height: 8 } : { width: 400, height: 500 };
        const mime = i === 1 ? "image/png" : "image/jpeg";
        yield { key: `p${i}`, image, mime, ...size, source: "own", page: i + 1, metadata } satisfies Page;
      }
    },
  };
}

describe("the demo's job on a cluster with a second factor", () => {
  it("gives what it gives on this machine, and asks once", async () => {
    const scan = join(ROOT, "notebooks", "material", "declaration.pdf");
    const before = bed.authentications("duo");
    const asked = pushes();
    const there = await yale.ocr(yale.pdf(scan)).name("declaration").on("duo").submit();
    const here = await yale.ocr(yale.pdf(scan)).name("declaration").on("local").submit();
    await Promise.all([there.wait({ bar: false }), here.wait({ bar: false })]);
    const [far, near] = [await there.results(), await here.results()];
    expect(far.length).toBe(4);
    expect(far.rows.map((r) => [r.key, r.text])).toEqual(near.rows.map((r) => [r.key, r.text]));
    expect(far.text).toContain("When in the Course of human events");
    const kept = await there.download(join(box.home, "kept"));
    const read = await box.run(python(), [
      "-c",
      `from datasets import load_from_disk; d = load_from_disk(${JSON.stringify(kept.folder)}); print(d["page"][:], d["error"][:])`,
    ]);
    expect(read.stdout).toContain("[1, 2, 3, 4] [None, None, None, None]");
    expect(asked.count).toBe(1);
    expect(bed.authentications("duo") - before).toBe(1);
    asked.stop();
  });
});

describe("jobs that need each other", () => {
  it("run one after another on the cluster, with pages in error on the way, and nothing comes back between", async () => {
    const first = await yale.ocr(oneTooWide()).on("key").time("00:10:00").submit();
    const script =
      "import json\ns = json.load(open('dataset/state.json'))\nprint([f['filename'] for f in s['_data_files']])\n";
    const next = await yale.run(script).data(first).on("key").time("00:10:00").submit();
    const fails = await yale.run("#!/bin/bash\nexit 4\n").on("key").time("00:10:00").after(first).submit();
    const never = await yale.run("#!/bin/bash\ntrue\n").on("key").time("00:10:00").after(fails).submit();
    await Promise.all([first, next, fails, never].map(ended));
    expect(first.record).toMatchObject({ state: "completed", progress: { done: 3, failed: 1 } });
    expect(next.record).toMatchObject({ state: "completed", attempt: 1 });
    expect(await logOf(next)).toContain(".arrow");
    expect(fails.state).toBe("failed");
    expect(never.record).toMatchObject({ state: "cancelled" });
    expect(never.record.reason).toContain(fails.id);
  });
});

describe("a job after one that is run again by itself", () => {
  it("waits for that one's last attempt, though SLURM had given it up", async () => {
    const first = await yale.run("data = bytearray(300 << 20)\n").on("key").memory("200M").time("00:05:00").submit();
    const next = await yale.run("#!/bin/bash\ntrue\n").on("key").time("00:05:00").after(first).submit();
    await Promise.all([first, next].map((job) => job.wait({ bar: false })));
    expect(first.record).toMatchObject({ attempt: 2 });
    expect(Date.parse(next.record.startedAt ?? "")).toBeGreaterThanOrEqual(
      Date.parse(first.record.endedAt ?? "") - 1000,
    );
    expect(next.record.earlier?.every((e) => e.state === "cancelled") ?? true).toBe(true);
  });
});

describe("a job that is told to stop before it is done", () => {
  it("goes on in the queue where it stopped, every page once", async () => {
    const pdf = await textPdf(box.home, "twelve.pdf", 12, 2);
    const job = await yale.ocr(pdf).dpi(200).batchSize(1).cpus(1).time("00:30:00").on("key").submit();
    const { schedulerId, jobDir } = await when(job, (r) => r.progress.done >= 2);
    await bed.root("scancel", "--batch", "--signal=USR1", schedulerId ?? "");
    await job.wait({ bar: false });
    expect(job.record).toMatchObject({ schedulerId, attempt: 1, progress: { done: 12, total: 12 } });
    const pages = readFileSync(join(jobDir ?? "", "progress.jsonl"), "utf8").match(/"type":"page"/g);
    expect(pages?.length).toBe(12);
    expect(await logOf(job)).toMatch(/Back into the queue[\s\S]*Attempt 1, run 2/);
  });
});

describe("a job with shards", () => {
  it("comes back as one, in page order; a retry does only what is missing", async () => {
    const pdf = await textPdf(box.home, "nine.pdf", 9, 2);
    const job = await yale.ocr(pdf).dpi(100).shards(3).cpus(1).time("00:10:00").on("key").submit();
    await job.wait({ bar: false });
    expect(job.record.progress).toMatchObject({ done: 9, failed: 0, total: 9 });
    expect((await job.results()).rows.map((r) => r.page)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await logOf(job)).toMatch(/==> task 0 <==[\s\S]*==> task 1 <==[\s\S]*==> task 2 <==/);
    expect(await logOf(job, 1)).not.toContain("==>");
    await expect(logOf(job, 3)).rejects.toThrow(/no task 3/);
    const folder = join(box.home, "nine");
    await job.download(folder);
    const read = await box.run(python(), [
      "-c",
      `from datasets import load_from_disk; print(load_from_disk(${JSON.stringify(folder)})["page"][:])`,
    ]);
    expect(read.stdout).toContain("[1, 2, 3, 4, 5, 6, 7, 8, 9]");
  });
});

describe("a retry of a job with shards", () => {
  it("runs only the tasks that did not end well", async () => {
    const script = `#!/bin/bash
echo "task $YALE_JOBS_SHARD of $YALE_JOBS_SHARDS"
[ "$YALE_JOBS_SHARD" != 1 ] || [ -e ../once ] || { touch ../once; exit 5; }
`;
    const job = await yale.run(script).shards(3).time("00:05:00").on("key").submit();
    expect((await ended(job)).state).toBe("failed");
    const again = await job.retry();
    await again.wait({ bar: false });
    expect(again.record).toMatchObject({ attempt: 2, onlyTasks: [1], tasks: { total: 1, completed: 1 } });
    expect((await logOf(job, 0)).match(/task 0 of 3/g)?.length).toBe(1);
    expect(await logOf(job, 1)).toMatch(/task 1 of 3[\s\S]*Attempt 2[\s\S]*task 1 of 3/);
  });
});

describe("a job that ends badly for reasons that may pass", () => {
  it("gets more memory, and keeps the log of each attempt", async () => {
    const script = `import sys
data = bytearray(400 << 20)
print("had enough", len(data))
`;
    const job = await yale.run(script).on("key").memory("200M").time("00:05:00").submit();
    await job.wait({ bar: false });
    expect(job.record).toMatchObject({ attempt: 3, spec: { resources: { memory: "800M" } } });
    expect(job.record.earlier?.map((e) => [e.state, e.automatic])).toEqual([
      ["out_of_memory", true],
      ["out_of_memory", true],
    ]);
    expect(job.record.notes?.join("\n")).toMatch(/gets 400M instead of 200M[\s\S]*gets 800M instead of 400M/);
    const log = await logOf(job);
    expect(log).toContain("had enough");
    expect(log).toMatch(/Attempt 2/);
    expect(log).toMatch(/Attempt 3/);
  });

  it("is run again after its node failed, and not if nobody wants that", async () => {
    const script = "#!/bin/bash\n[ -e second ] && exit 0\ntouch second\nsleep 600\n";
    const options = { extra: ["#SBATCH --no-requeue"], time: "00:20:00" } as const;
    const job = await yale.run(script, options).on("key").submit();
    const once = await yale
      .run(script, { ...options, retries: 0 })
      .on("key")
      .submit();
    await Promise.all([job, once].map((j) => when(j, (r) => r.state === "running")));
    // SLURM calls a job running before its script has done anything, and the second attempt goes by what the first did.
    await until("the first attempt", () => existsSync(join(job.record.jobDir ?? "", "output", "second")));
    await bed.root("scontrol", "update", `nodename=${bed.name}01`, "state=down", "reason=test");
    expect((await ended(once)).record).toMatchObject({ state: "node_fail", attempt: 1 });
    await job.wait({ bar: false });
    expect(job.record).toMatchObject({ attempt: 2, earlier: [{ state: "node_fail", automatic: true }] });
  });
});

describe("a job that SLURM ended, and does not run again by itself", () => {
  it("goes on where it stopped after its time limit, every page once", async () => {
    const pdf = await textPdf(box.home, "limit.pdf", 12, 2);
    const job = await yale.ocr(pdf).dpi(200).batchSize(1).cpus(1).time("00:01:00").on("key").submit();
    const { schedulerId } = await when(job, (r) => r.progress.done >= 2);
    // As a runner that hangs: it does not hear that the limit is near.
    await bed.root("scancel", "--full", "--signal=STOP", schedulerId ?? "");
    await job.wait({ bar: false });
    expect(job.record).toMatchObject({ attempt: 2, earlier: [{ state: "timeout", automatic: true }] });
    expect(job.record.notes?.join("\n")).toMatch(/time limit of 00:01:00\); attempt 2 goes on where it stopped\./);
    const first = job.record.earlier?.[0]?.done ?? 0;
    expect(first).toBeGreaterThanOrEqual(2);
    expect((await job.results()).rows.map((r) => r.page)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    // The second attempt did what the first had not: one page at most was under way when it was stopped.
    const pages = readFileSync(join(job.record.jobDir ?? "", "progress.jsonl"), "utf8").match(/"type": ?"page"/g) ?? [];
    expect(pages.length).toBe(12);
  }, 240_000);

  it("is run again when it had to make room", async () => {
    const node = `${bed.name}02`;
    const extra = [`#SBATCH --nodelist=${node}`, "#SBATCH --no-requeue"];
    const script = "#!/bin/bash\n[ -e second ] && exit 0\ntouch second\nsleep 600\n";
    const job = await yale
      .run(script, { extra, time: "00:20:00", cpus: 4, memory: "100M", partition: "scavenge" })
      .on("key")
      .submit();
    await when(job, (r) => r.state === "running");
    await until("the first attempt", () => existsSync(join(job.record.jobDir ?? "", "output", "second")));
    const stronger = ["--partition=gpu", `--nodelist=${node}`, "--cpus-per-task=8", "--mem=100M", "--wrap=sleep 2"];
    await bed.as(bed.user, ["sbatch", "--output=/dev/null", ...stronger]);
    await job.wait({ bar: false });
    expect(job.record).toMatchObject({ attempt: 2, earlier: [{ state: "preempted", automatic: true }] });
  });
});

describe("a job in the queue", () => {
  it("is held and released", async () => {
    const blocker = await yale
      .run("#!/bin/bash\nsleep 600\n", { extra: ["#SBATCH --exclusive"], time: "00:20:00" })
      .on("key")
      .submit();
    await when(blocker, (r) => r.state === "running");
    const job = await yale.run("#!/bin/bash\ntrue\n").time("00:05:00").on("key").submit();
    await when(job, (r) => r.schedulerId !== undefined);
    await job.hold();
    await when(job, (r) => /JobHeldUser|[Hh]eld/.test(r.reason ?? ""));
    await blocker.cancel();
    await ended(blocker);
    expect((await job.refresh()).state).toBe("queued");
    await job.release();
    expect((await ended(job)).state).toBe("completed");
  });

  it("waits while the site takes no more submissions, and says so", async () => {
    const config = join(box.home, "slow.yaml");
    writeFileSync(
      config,
      readFileSync(bed.configPath, "utf8").replaceAll(
        "    poll_seconds: 1",
        "    poll_seconds: 1\n    submissions_per_hour: 2",
      ),
    );
    // The book of this host is shared with the other tests: another user has one of their own.
    const slow = new Yale({ agent: false, config });
    try {
      const jobs: Job[] = [];
      for (let n = 0; n < 3; n++) jobs.push(await slow.run("#!/bin/bash\ntrue\n").time("00:05:00").on("few").submit());
      const last = jobs[2] as Job;
      const record = await when(last, (r) => r.reason?.startsWith("Waits its turn") === true);
      expect(record).toMatchObject({ state: "queued" });
      expect(record.schedulerId).toBeUndefined();
      await last.cancel();
      expect((await ended(last)).state).toBe("cancelled");
    } finally {
      await slow.close();
    }
  });

  it.each([
    ["was stopped", "stop", "start"],
    ["was frozen", "freeze", "thaw"],
  ] as const)("goes to a scheduler that %s as soon as it answers, once", async (_, ill, well) => {
    await bed.daemon(ill, "slurmctld");
    const job = await yale.run("#!/bin/bash\necho there\n").time("00:05:00").name("silent").on("key").submit();
    const record = await when(job, (r) => /did not answer|does not answer/.test(r.reason ?? ""));
    expect(record.schedulerId).toBeUndefined();
    await bed.daemon(well, "slurmctld");
    await job.wait({ bar: false });
    const names = await bed.root("squeue", "--states=all", "--noheader", "--format=%k");
    expect(names.split("\n").filter((t) => t.includes(job.id)).length).toBe(1);
  });
});

describe("a job that is cancelled while the line is down", () => {
  it("is cancelled when the line is back, and says so until then", async () => {
    const job = await yale.run("#!/bin/bash\nsleep 600\n").time("00:20:00").on("key").submit();
    await when(job, (r) => r.state === "running");
    await bed.daemon("stop", "sshd-key");
    await bed.cut("key");
    await when(job, (r) => /line to key was lost/.test(r.reason ?? ""));
    await job.cancel();
    expect(job.record).toMatchObject({ state: "running", cancelling: true });
    expect(job.record.reason).toMatch(/cancelled as soon as/i);
    await bed.daemon("start", "sshd-key");
    expect((await ended(job)).state).toBe("cancelled");
  });

  it("before it was uploaded is at its end at once", async () => {
    await bed.daemon("stop", "sshd-few");
    const job = await yale.run("#!/bin/bash\nsleep 600\n").time("00:20:00").on("few").submit();
    await when(job, (r) => /few could not be reached|line to few/.test(r.reason ?? ""));
    await job.cancel();
    expect((await ended(job)).state).toBe("cancelled");
    await bed.daemon("start", "sshd-few");
  });
});

describe("a login that nobody gives", () => {
  it("lets the job wait, and goes on with the next login", async () => {
    bed.push("deny");
    const asked = pushes();
    const job = await yale.run("#!/bin/bash\ntrue\n").time("00:05:00").on("duo").submit();
    const record = await when(job, (r) => /Login needed/.test(r.reason ?? ""));
    expect(["preparing", "uploading"]).toContain(record.state);
    const count = asked.count;
    bed.push("approve");
    await yale.login("duo");
    await job.wait({ bar: false });
    expect(asked.count).toBe(count + 1);
    asked.stop();
  });
});

describe("jobs of another machine", () => {
  it("are found again by their folders; what is broken, foreign or hostile does nothing", async () => {
    const pdf = await textPdf(box.home, "two.pdf", 2, 2);
    const done = await yale.ocr(pdf).dpi(100).time("00:10:00").label("box", "12").on("key").submit();
    await done.wait({ bar: false });
    const runs = await yale.run("#!/bin/bash\nsleep 600\n").time("00:20:00").on("key").submit();
    await when(runs, (r) => r.state === "running");
    await yale.close();
    const root = bed.home("yale-jobs");
    const plant = (name: string, content?: string) => {
      mkdirSync(join(root, name), { recursive: true });
      if (content !== undefined) writeFileSync(join(root, name, "job.json"), content);
    };
    const good = JSON.parse(readFileSync(join(root, done.id, "job.json"), "utf8"));
    plant("empty00001");
    plant("broken0001", "{");
    plant("other00001", JSON.stringify(good));
    plant(
      "hostile001",
      JSON.stringify({
        ...good,
        id: "hostile001",
        spec: { ...good.spec, name: "<img src=x onerror=alert(1)>\u001b[2J" },
      }),
    );
    plant("evil000001", JSON.stringify({ ...good, id: "evil000001", schedulerId: "1; touch /tmp/evil" }));
    plant("$(touch evil)");
    plant("linked0001");
    symlinkSync("/etc/passwd", join(root, "linked0001", "job.json"));
    symlinkSync("/etc", join(root, "folder0001"));

    const second = new Sandbox().enter();
    bed.writeSshFolder(second.home);
    const there = new Yale({ agent: false, config: bed.configPath });
    try {
      const core = await there.core();
      const found = await there.sync("key");
      const ids = (await there.jobs()).map((j) => j.id);
      expect(ids).toContain(done.id);
      expect(ids).toContain(runs.id);
      for (const id of [
        "empty00001",
        "broken0001",
        "other00001",
        "hostile001",
        "evil000001",
        "linked0001",
        "folder0001",
      ])
        expect(ids).not.toContain(id);
      const told = found.skipped.join("\n");
      for (const id of [
        "empty00001",
        "broken0001",
        "other00001",
        "hostile001",
        "evil000001",
        "linked0001",
        "touch evil",
      ])
        expect(told).toContain(id);
      const again = await there.job(done.id);
      expect(again.record).toMatchObject({
        state: "completed",
        progress: { done: 2 },
        spec: { labels: { box: "12" } },
      });
      expect((await again.results()).length).toBe(2);
      // What was not done could be done from here: the pages are on the cluster, though not on this machine.
      rmSync(pdf);
      const once = await again.retry({ time: "00:09:00" });
      await once.wait({ bar: false });
      expect(once.record).toMatchObject({ attempt: 2, progress: { done: 2 } });
      expect(await core.sync("key", bed.configPath)).toMatchObject({ added: 0 });
      const running = await there.job(runs.id);
      await when(running, (r) => r.state === "running" && r.heardAt !== undefined);
      await running.cancel();
      expect((await ended(running)).state).toBe("cancelled");
    } finally {
      await there.close();
      await second.close();
      box.enter();
      rmSync(root, { recursive: true, force: true });
    }
  });
});
