import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ClusterInfo, Estimate, JobRecord } from "../../kernel-lib/src/protocol.js";
import { sharedBed } from "../support/bed.js";
import { ROOT, Sandbox, until } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
let bin: string;

/** `key` and `duo` over SSH; `here` is SLURM on this machine, with a budget of one submission an hour. */
beforeAll(() => {
  box = new Sandbox({ SLURM_CONF: bed.info.slurmConf });
  bed.writeSshFolder(box.home);
  bin = join(box.home, "bin");
  mkdirSync(bin);
  box.env.PATH = `${bin}:${process.env.PATH}`;
  const ssh = (port: number) => `host: 127.0.0.1
    port: ${port}
    user: ${bed.user}
    identity: ${bed.key()}
    scheduler: slurm`;
  writeFileSync(
    join(box.home, "config.yaml"),
    `default: key
clusters:
  key:
    ${ssh(bed.ports.key)}
    job_dir: "~/it's $(touch pwned) "
    purge_days: 30
    quota_command: [cat, quota.txt]
  duo:
    ${ssh(bed.ports.duo)}
  here:
    transport: local
    scheduler: slurm
    job_dir: jobs
    poll_seconds: 1
    submissions_per_hour: 1
  free:
    transport: local
    scheduler: slurm
    job_dir: jobs
    poll_seconds: 1
    max_array_running: 2
`,
  );
});
beforeEach(() => bed.reset());
afterEach(async () => {
  await box.yale("agent", "stop");
});
afterAll(() => box.close());

async function json<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await box.yale(...args, "--json");
  if (code !== 0) throw new Error(`${args.join(" ")}: ${code} ${stderr}`);
  return JSON.parse(stdout) as T;
}

describe("yale cluster info", () => {
  it("says over SSH what SLURM, the file system and the site's quota command say", async () => {
    writeFileSync(bed.home("quota.txt"), "palmer:scratch GRP 12 10240 903 15,000,000 No 60 days\n");
    const datasets = bed.home("it's $(touch pwned) ", "datasets", "0123abcd");
    await bed.as(bed.user, ["mkdir", "-p", datasets]);
    await bed.as(bed.user, ["touch", "--date=2026-11-01T12:00:00Z", datasets]);
    const info = await json<ClusterInfo>("cluster", "info");
    expect(info).toMatchObject({
      cluster: "key",
      scheduler: "slurm",
      accounts: [`pi_${bed.name}`],
      submissions: { lastHour: 0, limit: 200 },
    });
    const [jobs, quota] = info.storage;
    expect(jobs).toMatchObject({
      path: bed.home("it's $(touch pwned) "),
      purgeDays: 30,
      staged: { datasets: 1, expires: "2026-12-01" },
    });
    expect(jobs?.bytesFree).toBeGreaterThan(0);
    expect(jobs?.filesFree).toBeGreaterThan(0);
    expect(quota).toEqual({
      path: "palmer:scratch",
      bytesUsed: 12 * 2 ** 30,
      bytesLimit: 10_240 * 2 ** 30,
      filesUsed: 903,
      filesLimit: 15_000_000,
      purgeDays: 60,
    });
    expect(existsSync(bed.home("pwned"))).toBe(false);
    const text = (await box.yale("cluster", "info", "key")).stdout;
    expect(text).toMatch(/gpu\s+up\s+2 d\s+1 h\s+1 idle of 1\s+8 of 8\s+a100 2 of 2, h100 2 of 2/);
    expect(text).toContain("1 dataset, the first expires on 2026-12-01");
  });

  it("is what `yale doctor CLUSTER` asks for at last", async () => {
    const found = await json<{ about: string; state: string; what: string }[]>("doctor", "key");
    expect(found.filter((d) => d.state === "fault")).toEqual([]);
    expect(found.at(-1)).toMatchObject({
      about: "key",
      state: "ok",
      what: expect.stringMatching(/^It answers: .*gpu/),
    });
    expect(found.some((d) => d.about === "key" && d.what.endsWith("its host key is known"))).toBe(true);
  });

  it("is remembered: a job is held against it without asking again", async () => {
    await json("cluster", "info", "key");
    const asked = bed.authentications("key");
    await box.yale("agent", "stop");
    const refused = await box.yale("jobs", "run", "x.sh", "--gpus", "v100:1");
    expect(refused.stderr).toMatch(/can't be read/);
    writeFileSync(join(box.home, "x.sh"), "#!/bin/bash\ntrue\n");
    for (const [flags, words] of [
      [["--gpus", "v100:1"], /key has no GPU of type "v100"[\s\S]*It has: a100, h100/],
      [["--partition", "gpuu"], /no partition "gpuu" for you \(did you mean "gpu"\?\)/],
      [["--gpus", "a100:1", "--partition", "day"], /partition day of key has no GPU[\s\S]*Use gpu or/],
      [["--time", "3-00:00:00"], /time: 3-00:00:00 is more than the 1 d/],
    ] as const) {
      const { code, stderr } = await box.yale("jobs", "run", "x.sh", ...flags);
      expect([code, stderr]).toEqual([2, expect.stringMatching(words)]);
    }
    const plan = await box.yale("jobs", "run", "x.sh", "--gpus", "h100:1", "--dry-run");
    expect(plan.stdout).toMatch(/#SBATCH --partition=gpu\n/);
    expect(bed.authentications("key")).toBe(asked);
  });
});

it("the first job for GPUs on a cluster that was never asked goes where GPUs are", async () => {
  rmSync(join(box.home, "state", "yale-jobs", "clusters"), { recursive: true, force: true });
  writeFileSync(join(box.home, "first.sh"), "#!/bin/bash\necho there\n");
  const { code, stderr } = await box.yale("jobs", "run", "first.sh", "--gpus", "1", "--wait");
  expect([code, stderr]).toEqual([0, expect.not.stringContaining("refused")]);
  expect(box.records().find((r) => r.spec.script?.name === "first.sh")?.spec.resources).toMatchObject({
    gpus: "1",
    partition: "gpu",
  });
});

describe("a quota", () => {
  it("that is full is told before anything is sent, in words that help", async () => {
    const there = async () => {
      const { stdout } = await bed.as(bed.user, ["ls", bed.home("it's $(touch pwned) ")]);
      return stdout.split("\n").filter((name) => name !== "" && name !== "datasets");
    };
    const before = await there();
    rmSync(join(box.home, "state", "yale-jobs", "clusters"), { recursive: true, force: true });
    writeFileSync(bed.home("quota.txt"), `${join(bed.state, "home")} GRP 125 125 903 500,000 Yes No\n`);
    const pdf = join(ROOT, "notebooks", "material", "declaration.pdf");
    const { code, stderr } = await box.yale("jobs", "ocr", pdf, "--wait");
    expect([code, stderr]).toEqual([
      13,
      expect.stringMatching(/quota of \S+home on key has 0 B left, and the pages take/),
    ]);
    expect(stderr).toMatch(/`cat quota\.txt` shows what is used/);
    writeFileSync(bed.home("quota.txt"), `${join(bed.state, "home")} GRP 1 125 499,999 500,000 Yes No\n`);
    const again = await box.yale("jobs", "ocr", pdf, "--wait");
    expect(again.stderr).toMatch(/room for 1 more file, and the pages take \d+ files/);
    expect(await there()).toEqual(before);
  });
});

it("no more tasks of an array run at once than the site allows", async () => {
  const pdf = join(ROOT, "notebooks", "material", "declaration.pdf");
  const plan = await box.yale("jobs", "ocr", pdf, "--cluster", "free", "--shards", "4", "--dry-run");
  expect(plan.stdout).toMatch(/^#SBATCH --array=0-3%2$/m);
});

describe("yale cluster ls", () => {
  it("lists the clusters with their lines, and opens none", async () => {
    await box.yale("agent", "stop");
    const before = bed.connections("key") + bed.connections("duo");
    const { stdout } = await box.yale("cluster", "ls");
    expect(stdout).toMatch(/^key\*\s+slurm\s+ssh \S+@127\.0\.0\.1\s+disconnected$/m);
    expect(stdout).toMatch(/^here\s+slurm\s+local$/m);
    expect(bed.connections("key") + bed.connections("duo")).toBe(before);
  });
});

describe("an estimate", () => {
  it("asks the scheduler where that needs nobody, and nobody for a second factor", async () => {
    writeFileSync(join(box.home, "x.sh"), "#!/bin/bash\ntrue\n");
    const open = await json<Estimate>("jobs", "run", "x.sh", "--estimate");
    expect(Math.abs(Date.parse(open.expectedStart ?? "") - Date.now())).toBeLessThan(120_000);
    expect(open.reliability).toMatch(/not a promise/);
    const before = bed.authentications("duo");
    const closed = await json<Estimate>("jobs", "run", "x.sh", "--cluster", "duo", "--estimate");
    expect(closed.expectedStart).toBeUndefined();
    expect(closed.notes.join()).toMatch(/When it would start was not asked: .*`yale login duo`/);
    expect(bed.authentications("duo")).toBe(before);
    const never = await json<Estimate>("jobs", "run", "x.sh", "--account", "pi_nope", "--estimate");
    expect(never.refusal).toMatch(/Invalid account/);
  });
});

describe("the submission budget", () => {
  const submit = (cluster: string) => json<JobRecord>("jobs", "run", "x.sh", "--cluster", cluster);
  const record = (id: string) => box.records().find((r) => r.id === id);

  it("lets the second job of the hour wait its turn, across a killed agent, and says until when", async () => {
    writeFileSync(join(box.home, "x.sh"), "#!/bin/bash\ntrue\n");
    const first = await submit("here");
    await box.yale("jobs", "wait", first.id);
    const second = await submit("here");
    const waits = () => /Waits its turn: here takes 1 submission an hour/.test(record(second.id)?.reason ?? "");
    await until("the second job to wait", waits);
    expect(record(second.id)).toMatchObject({ state: "queued" });
    process.kill(box.agentPid(), "SIGKILL");
    // The next call starts another agent, which takes the job up and lets it wait on.
    const info = await json<ClusterInfo>("cluster", "info", "here");
    expect(info.submissions).toEqual({ lastHour: 1, limit: 1 });
    expect((await box.yale("jobs", "status", second.id)).stdout).toContain("Waits its turn");
    expect(record(second.id)?.schedulerId).toBeUndefined();
    await box.yale("jobs", "cancel", second.id);
    await until("the end of the wait", () => record(second.id)?.state === "cancelled");
  });

  it("waits when the scheduler says that it takes no more, and submits once it does", async () => {
    writeFileSync(join(box.home, "x.sh"), "#!/bin/bash\ntrue\n");
    // The words of Yale's submit plugin, which is not to be had; after them the real sbatch.
    writeFileSync(
      join(bin, "sbatch"),
      `#!/bin/sh
if [ ! -e ${join(box.home, "told")} ]; then
  touch ${join(box.home, "told")}
  echo "sbatch: error: Reached jobs per hour limit" >&2
  echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)" >&2
  exit 1
fi
exec /usr/bin/sbatch "$@"
`,
      { mode: 0o755 },
    );
    const job = await submit("free");
    await until("the job to wait", () =>
      /takes no more submissions of yours for now/.test(record(job.id)?.reason ?? ""),
    );
    expect(record(job.id)).toMatchObject({ state: "queued" });
    expect((await json<ClusterInfo>("cluster", "info", "free")).submissions.lastHour).toBe(0);
    // Five minutes later, by a clock that is set back in the book.
    const book = join(box.home, "state", "yale-jobs", "submissions", "here-free-.json");
    await box.yale("agent", "stop");
    writeFileSync(book, JSON.stringify({ taken: [], refused: { at: Date.now() - 300_000, times: 1 } }));
    const done = await box.yale("jobs", "wait", job.id);
    expect(done.code).toBe(0);
    expect(record(job.id)?.schedulerId).toMatch(/^\d+$/);
  });
});
