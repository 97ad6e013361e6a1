import { createHash, randomBytes } from "node:crypto";
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openTransport } from "../../kernel-lib/src/cluster/registry.js";
import { writeDataset } from "../../kernel-lib/src/dataset/index.js";
import { Job } from "../../kernel-lib/src/jobs/job.js";
import { type OpenCore, openCore } from "../../kernel-lib/src/jobs/service.js";
import { runSpec } from "../../kernel-lib/src/jobs/spec.js";
import type { Core, JobRecord } from "../../kernel-lib/src/protocol.js";
import { sharedBed, type Variant } from "../support/bed.js";
import { type Events, watched } from "../support/cutting.js";
import { cutAfterSubmission } from "../support/cutting-sbatch.js";
import { jpeg } from "../support/material.js";
import { Sandbox } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
let core: OpenCore;
/** The pages that every job sends and brings back. */
let pages: string;
/** Bytes of them. */
let size = 0;
/** How often a line was opened. */
let opened = 0;
/** What happens on the next line that is opened; `cut` ends it as a network would. */
let next: ((cut: () => void) => Events) | undefined;
let cutNow: () => void = () => undefined;
/** What the next opening of a line waits for. */
let gate: Promise<void> | undefined;
let openGate: () => void = () => undefined;

beforeAll(async () => {
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
  pages = join(box.home, "pages");
  // Noise, so that nothing on the way can make it smaller.
  const image = await jpeg(1);
  const noise = (n: number) => new Uint8Array(Buffer.concat([image, randomBytes(700_000 + n)]));
  await writeDataset(
    (async function* () {
      for (let n = 1; n <= 10; n++)
        yield {
          key: `p${n}`,
          image: noise(n),
          mime: "image/jpeg",
          width: 400,
          height: 500,
          source: "noise",
          page: n,
          metadata: {},
        };
    })(),
    { folder: pages },
  );
  size = statSync(join(pages, "data-00000-of-00001.arrow")).size;
});
beforeEach(async () => {
  await bed.reset();
  rmSync(bed.home("yale-jobs"), { recursive: true, force: true });
  opened = 0;
  next = undefined;
  gate = undefined;
  core = await openCore({
    open: async (cluster, login) => {
      if (opened > 0) await gate;
      const line = await openTransport(cluster, login);
      const pid = Number((await line.exec(["sh", "-c", "echo $PPID"])).stdout);
      opened += 1;
      cutNow = () => process.kill(pid, "SIGKILL");
      const events = next?.(cutNow) ?? {};
      next = undefined;
      return watched(line, events);
    },
  });
});
afterEach(() => core.close());
afterAll(() => box.close());

/** Counts the pages, and gives them back as they came. */
const SCRIPT = "#!/bin/bash\necho begun\ncp dataset/*.arrow back.bin\nsleep 2\necho done\n";

async function submit(cluster: Variant = "key"): Promise<Job> {
  const spec = runSpec(SCRIPT, {
    cluster,
    time: "00:05:00",
    data: { kind: "dataset", location: pages },
    output: join(box.home, `out-${Date.now()}`),
  });
  return new Job(core, await core.submit({ ...spec, config: bed.configPath }));
}

async function when(job: Job, check: (record: JobRecord) => boolean): Promise<JobRecord> {
  for await (const record of job.changes()) if (check(record)) return record;
  return job.record;
}

const sha = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** That it ended as if nothing had happened: once, with all of its bytes there and back. */
async function endsRight(job: Job, cuts = 1): Promise<void> {
  await job.wait({ bar: false });
  expect(job.record).toMatchObject({ state: "completed", attempt: 1 });
  expect(job.record.reason).toBeUndefined();
  expect(opened).toBe(1 + cuts);
  const { resultsDir, dataset, jobDir } = job.record;
  const name = join("datasets", dataset?.hash ?? "", "data-00000-of-00001.arrow");
  const sent = sha(readFileSync(join(box.home, "cache", "yale-jobs", name)));
  expect(sha(readFileSync(join(jobDir ?? "", "..", name)))).toBe(sent);
  expect(sha(readFileSync(join(resultsDir ?? "", "back.bin")))).toBe(sent);
  const queue = await bed.root("squeue", "--states=all", "--noheader", "--format=%k");
  expect(queue.split("\n").filter((token) => token.includes(job.id))).toHaveLength(1);
}

describe("the line is cut", () => {
  it("while it is being made", async () => {
    // The listener takes the connection and says nothing; then it is gone.
    await bed.daemon("freeze", "sshd-key");
    const job = await submit();
    await connecting(job);
    await bed.daemon("stop", "sshd-key");
    await bed.cut("key");
    await when(job, (r) => /could not be reached/.test(r.reason ?? ""));
    await bed.daemon("start", "sshd-key");
    await endsRight(job, 0);
  });

  it("while somebody is asked for the second factor", async () => {
    const job = await submit("duo");
    const abort = new AbortController();
    for await (const event of core.events(abort.signal))
      if (event.type === "prompt" || (event.type === "listening" && (await core.prompts()).length > 0)) break;
    await bed.cut("duo");
    await when(job, (r) => /Login needed/.test(r.reason ?? ""));
    // Nobody is asked again before somebody wants it.
    expect(await core.prompts()).toEqual([]);
    const login = core.login("duo", bed.configPath);
    const [prompt] = await asked(core);
    await core.answer(prompt?.id ?? "", ["1"]);
    await login;
    await endsRight(job, 0);
  });

  it.each([5, 50, 95])("at %i % of the upload", async (percent) => {
    next = (cut) => ({ at: { bytes: (size * percent) / 100, run: cut } });
    await endsRight(await submit());
  });

  it("at the last rename of the upload, before it", async () => {
    next = (cut) => ({ rename: { run: (_, to) => /datasets\/[0-9a-f]{32}$/.test(to) && cut() } });
    await endsRight(await submit());
  });

  it("at the last rename of the upload, after it", async () => {
    next = (cut) => ({ rename: { run: (_, to) => /datasets\/[0-9a-f]{32}$/.test(to) && cut(), late: true } });
    await endsRight(await submit());
  });

  it("after sbatch and before its answer", async () => {
    const sbatch = cutAfterSubmission(bed);
    try {
      const job = await submit();
      await endsRight(job);
      expect(sbatch.cuts()).toBe(1);
    } finally {
      sbatch.remove();
    }
  });

  it("after sbatch, and it is cancelled before the line is back", async () => {
    const sbatch = cutAfterSubmission(bed);
    try {
      const job = await submit();
      gate = new Promise((open) => {
        openGate = open;
      });
      await when(job, (r) => r.submitting === true && /line to key was lost/.test(r.reason ?? ""));
      await job.cancel();
      expect(job.record).toMatchObject({ cancelling: true, state: "uploading" });
      openGate();
      await job.wait({ bar: false }).catch(() => undefined);
      expect(job.state).toBe("cancelled");
      const queue = await bed.root("squeue", "--states=all", "--noheader", "--format=%k %T");
      const own = queue.split("\n").filter((line) => line.includes(job.id));
      expect(own).toHaveLength(1);
      expect(own[0]).toMatch(/CANCELLED/);
    } finally {
      openGate();
      sbatch.remove();
    }
  });

  it("while the job is watched", async () => {
    const job = await submit();
    await when(job, (r) => r.state === "running");
    cutNow();
    await when(job, (r) => /line to key was lost/.test(r.reason ?? ""));
    expect(job.state).toBe("running");
    await endsRight(job);
  });

  it("while its log is followed", async () => {
    const job = await submit();
    let log = "";
    for await (const text of job.logs({ follow: true })) {
      if (log === "") cutNow();
      log += text;
    }
    expect(log).toBe("begun\ndone\n");
    await endsRight(job);
  });

  it("at 50 % of the download", async () => {
    next = (cut) => ({ at: { bytes: size * 1.5, run: cut } });
    await endsRight(await submit());
  });
});

/** Until the line of a job is being made. */
async function connecting(job: Job): Promise<void> {
  const { cluster } = job.record.spec;
  for await (const event of core.events()) {
    const { state } = (await core.connections()).find((c) => c.cluster === cluster) ?? {};
    if (state === "connecting" || (event.type === "connection" && event.connection.state === "connecting")) return;
  }
}

async function asked(core: Core): Promise<Awaited<ReturnType<Core["prompts"]>>> {
  for (;;) {
    const prompts = await core.prompts();
    if (prompts.length > 0) return prompts;
    await new Promise((done) => setTimeout(done, 20));
  }
}
