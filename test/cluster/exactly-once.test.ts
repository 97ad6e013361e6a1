import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Job } from "../../kernel-lib/src/jobs/job.js";
import { newJobId } from "../../kernel-lib/src/protocol.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { sharedBed } from "../support/bed.js";
import { cutAfterSubmission, standBefore } from "../support/cutting-sbatch.js";
import { Sandbox, until } from "../support/sandbox.js";

const JOBS = 50;
/** Login nodes, and so lines, that are cut side by side. */
const NODES = ["key", "few", "drop"];
/** Names of this run's jobs: a bed that is kept remembers those of others. */
const RUN = `once-${newJobId()}-`;
const bed = sharedBed();
let box: Sandbox;
let yale: Yale;
let sbatch: ReturnType<typeof cutAfterSubmission>;

beforeAll(async () => {
  await bed.reset();
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
  bed.dropAfter(undefined);
  sbatch = cutAfterSubmission(bed);
  yale = new Yale({ agent: false, config: bed.configPath });
});
afterAll(async () => {
  await yale.close();
  sbatch.remove();
  await box.close();
});

/** Every job of this run that SLURM has got, by name: ended ones stay in its sight for five minutes. */
async function inQueue(): Promise<string[]> {
  const out = await bed.root("squeue", "--states=all", "--noheader", "--format=%j", "--user", bed.user);
  return out.split("\n").filter((name) => name.startsWith(RUN));
}

/** The same by the accounts, with every run of each. */
async function inAccounts(): Promise<string[]> {
  const out = await bed.root("sacct", "-X", "-D", "-n", "-P", "-u", bed.user, "-S", "now-1hour", "-o", "JobName%100");
  return out.split("\n").filter((name) => name.startsWith(RUN));
}

describe("the line is cut between sbatch and its answer", () => {
  it(`${JOBS} times: ${JOBS} jobs in SLURM, and each ends well`, async () => {
    const core = await yale.core();
    const over = new AbortController();
    let lost = 0;
    const counting = (async () => {
      for await (const event of core.events(over.signal))
        if (event.type === "connection" && /^lost/.test(event.connection.message ?? "")) lost += 1;
    })();
    const jobs: Job[] = [];
    for (let n = 0; n < JOBS; n++) {
      const job = await yale
        .run("#!/bin/bash\necho $YALE_JOBS_ID\n")
        .on(NODES[n % NODES.length] ?? "")
        .name(`${RUN}${n}`)
        .time("00:05:00")
        .submit();
      jobs.push(job);
    }
    await Promise.all(jobs.map((job) => job.wait({ bar: false })));
    over.abort();
    await counting;
    expect([sbatch.cuts(), lost]).toEqual([JOBS, JOBS]);
    const names = await inQueue();
    expect(new Set(names).size).toBe(JOBS);
    expect(names.length).toBe(JOBS);
    // slurmdbd hears of them a little later.
    await expect.poll(async () => (await inAccounts()).length, { timeout: 30_000 }).toBe(JOBS);
    expect(new Set(jobs.map((j) => j.record.schedulerId)).size).toBe(JOBS);
  });
});

describe("the agent is killed between sbatch and its answer", () => {
  it("and the next one takes the job over that was submitted", async () => {
    sbatch.remove();
    const remove = standBefore(
      bed,
      '#!/bin/bash\nanswer=$(/usr/bin/sbatch "$@") || exit\ntouch ~/submitted\nsleep 2\necho "$answer"\n',
    );
    const own = new Sandbox({ YALE_JOBS_CONFIG: bed.configPath });
    bed.writeSshFolder(own.home);
    try {
      writeFileSync(join(own.home, "job.sh"), "#!/bin/bash\necho done\n");
      const sent = await own.yale("jobs", "run", "job.sh", "--cluster", "key", "--time", "00:05:00", "-q");
      const id = sent.stdout.trim();
      await until("the submission", () => existsSync(bed.home("submitted")));
      process.kill(own.agentPid(), "SIGKILL");
      expect(own.records()[0]).toMatchObject({ id, submitting: true });
      expect(await own.yale("jobs", "wait", id)).toMatchObject({ code: 0 });
      const tokens = await bed.root("squeue", "--states=all", "--noheader", "--format=%k");
      expect(tokens.split("\n").filter((t) => t.includes(id))).toHaveLength(1);
    } finally {
      await own.close();
      remove();
    }
  });
});
