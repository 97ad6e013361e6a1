import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openLocal } from "../../kernel-lib/src/cluster/local.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { clusterBundle, clusterText, estimateBundle, estimateText, shown } from "../../kernel-lib/src/display/index.js";
import { LoginError } from "../../kernel-lib/src/errors.js";
import { type EstimateOptions, estimateJob } from "../../kernel-lib/src/jobs/estimate.js";
import { HF_PRICES, hfCost, hfFlavor } from "../../kernel-lib/src/jobs/hf-prices.js";
import type { ResolvedJob } from "../../kernel-lib/src/jobs/plan.js";
import { parseQuota } from "../../kernel-lib/src/jobs/quota.js";
import { newRecord } from "../../kernel-lib/src/jobs/records.js";
import { quotaOf } from "../../kernel-lib/src/jobs/site-quota.js";
import { speedOf } from "../../kernel-lib/src/jobs/speed.js";
import type { ClusterInfo, JobRecord, JobSpec, Resources } from "../../kernel-lib/src/protocol.js";
import type { RunnerCard } from "../../kernel-lib/src/runners.js";
import type { Scheduler, TestAnswer } from "../../kernel-lib/src/schedulers/index.js";
import { local } from "../../kernel-lib/src/schedulers/local.js";
import { siteNamed } from "../../kernel-lib/src/sites/index.js";

const GIB = 2 ** 30;
let folder = "";
let state: string | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "yale-estimate-"));
  state = process.env.XDG_STATE_HOME;
  process.env.XDG_STATE_HOME = folder;
  mkdirSync(join(folder, "pages"));
  writeFileSync(join(folder, "pages", "yale-dataset.json"), JSON.stringify({ pages: 1200 }));
  mkdirSync(join(folder, "other"));
  writeFileSync(
    join(folder, "other", "dataset_info.json"),
    JSON.stringify({ splits: { train: { num_examples: 500 } } }),
  );
});
afterAll(() => {
  if (state === undefined) delete process.env.XDG_STATE_HOME;
  else process.env.XDG_STATE_HOME = state;
  rmSync(folder, { recursive: true, force: true });
});

const site = siteNamed("bouchet");
const bouchet: ClusterConfig = {
  name: "bouchet",
  transport: "ssh",
  scheduler: "slurm",
  host: "bouchet.ycrc.yale.edu",
  jobDir: "~/jobs",
  defaults: {},
  policy: { pollSeconds: 15, submissionsPerHour: 200, minTaskMinutes: 5, taskMinutes: 10 },
  ...(site && { site }),
};

const dots: RunnerCard = {
  name: "dots-ocr",
  title: "",
  engine: "vllm",
  licence: "",
  gpus: 1,
  mostGpus: 8,
  gpuMemory: 24,
  pagesPerSecond: { h200: 2 },
  startSeconds: 120,
  command: ["python3", "x"],
  options: {},
  folder: "",
};
const tesseract: RunnerCard = { ...dots, name: "tesseract", gpus: 0, pagesPerSecond: { core: 0.5 }, startSeconds: 2 };

function spec(resources: Resources, more: Partial<JobSpec> = {}): JobSpec {
  return {
    kind: "ocr",
    name: "x",
    cluster: "bouchet",
    sources: [],
    datasetPath: join(folder, "pages"),
    runner: "dots-ocr",
    options: {},
    resources,
    ...more,
  };
}

/** A job whose scheduler gives this answer. */
function job(s: JobSpec, card: RunnerCard | undefined, answer: TestAnswer = {}): ResolvedJob {
  const scheduler: Scheduler = { ...local, kind: "slurm", test: async () => answer };
  return { spec: s, cluster: bouchet, scheduler, warnings: [], ...(card && { card }) };
}

const options = (more: Partial<EstimateOptions> = {}): EstimateOptions => ({ open: openLocal, records: [], ...more });

function record(more: Partial<JobRecord> & { resources?: Resources; shards?: number }): JobRecord {
  const { resources = { gpus: "h200:1", partition: "gpu_h200" }, shards, ...rest } = more;
  return {
    ...newRecord("6fkk8e35m7", spec(resources, shards === undefined ? {} : { shards })),
    state: "completed",
    createdAt: "2026-11-24T10:00:00Z",
    submittedAt: "2026-11-24T10:00:00Z",
    startedAt: "2026-11-24T10:10:00Z",
    endedAt: "2026-11-24T10:20:00Z",
    progress: { prepared: 0, done: 1440, failed: 0 },
    ...rest,
  };
}

describe("an estimate", () => {
  it("is pages by the card's speed, with the start of the model, GPU hours and a price", async () => {
    const e = await estimateJob(
      job(spec({ gpus: "h200:1", time: "01:00:00" }), dots, { start: "2026-11-25T12:00:00Z" }),
      options(),
    );
    expect(e).toMatchObject({
      pages: 1200,
      pagesPerSecond: 2,
      basis: "the runner's card, on h200",
      seconds: 120 + 600,
      gpuHours: 0.2,
      expectedStart: "2026-11-25T12:00:00Z",
      huggingFace: { flavor: "h200", hours: 0.2, dollars: 1, checked: HF_PRICES.checked },
    });
    expect(e.reliability).toMatch(/forecast, not a promise/);
    expect(e.notes).toEqual([]);
    const text = estimateText(e);
    expect(text).toMatch(/Pages\s+1,200/);
    expect(text).toMatch(/Running\s+about 12 min/);
    expect(text).toMatch(/Hugging Face\s+\$1\.00 for 0\.2 h on h200/);
    expect(estimateBundle(e)["text/html"]).toContain("about 12 min");
  });

  it("says what is not known, and invents nothing", async () => {
    const e = await estimateJob(job(spec({ gpus: "b200:1" }), dots), options());
    expect(e).not.toHaveProperty("seconds");
    expect(e).not.toHaveProperty("huggingFace");
    expect(e.notes.join()).toMatch(/How fast dots-ocr is on b200 has not been measured/);
    expect(estimateText(e)).toMatch(/Speed\s+not known/);
  });

  it("takes this user's own jobs before the card", async () => {
    // 1,440 pages in 10 min, of which 2 are the start: 3 pages a second.
    const records = [record({}), record({ state: "failed", progress: { prepared: 0, done: 0, failed: 0 } })];
    const e = await estimateJob(job(spec({ gpus: "h200:1", partition: "gpu_h200" }), dots), options({ records }));
    expect(e.pagesPerSecond).toBe(3);
    expect(e.basis).toBe("your last job of this kind (1,440 pages)");
  });

  it("asks nobody for a second factor, and says that it did not ask", async () => {
    const open = async () => {
      throw new LoginError("The line to bouchet is not open.", "Log in.");
    };
    const e = await estimateJob(job(spec({ gpus: "h200:1" }), dots, { start: "x" }), options({ open }));
    expect(e).not.toHaveProperty("expectedStart");
    expect(e.notes.join()).toMatch(
      /When it would start was not asked: The line to bouchet is not open\. `yale login bouchet`/,
    );
    expect(e.pages).toBeUndefined();
  });

  it("gives the scheduler's refusal in its words", async () => {
    const e = await estimateJob(
      job(spec({ gpus: "h200:1" }), dots, { refusal: "Requested node configuration is not available" }),
      options(),
    );
    expect(e.refusal).toBe("Requested node configuration is not available");
    expect(estimateText(e)).toMatch(/never: the scheduler says: Requested node/);
  });

  it("knows rows of any dataset, a cut, and how long one waited", async () => {
    const other = spec(
      { gpus: "h200:1", partition: "gpu_h200" },
      { datasetPath: join(folder, "other"), maxSamples: 300 },
    );
    const records = [
      record({}),
      record({ startedAt: "2026-11-24T10:01:00Z" }),
      record({ startedAt: "2026-11-24T12:00:00Z" }),
    ];
    const e = await estimateJob(job(other, dots, { start: "2026-11-25T12:00:00Z" }), options({ records }));
    expect(e.pages).toBe(300);
    expect(e.reliability).toMatch(/Your last 3 jobs there waited 10 min in the middle, 2 h at most/);
  });

  it.each<[string, Resources, Partial<JobSpec>, RegExp]>([
    [
      "a limit that is too short",
      { gpus: "h200:1", time: "00:05:00" },
      {},
      /needs about 12 min, and time is 5 min: .* 2 times/,
    ],
    ["a limit that nobody set", { cpus: 1 }, { runner: "tesseract", maxSamples: 2000 }, /without time it gets 1 h/],
    [
      "shards that are too short",
      { gpus: "h200:1" },
      { shards: 50 },
      /Each of 50 tasks would run for about 2 min 12 s/,
    ],
    ["more shards than may run", { gpus: "h200:1", partition: "gpu_h200" }, { shards: 8 }, /Of 8 tasks 6 run at once/],
    ["a model that loads longer than it works", { gpus: "h200:1" }, { maxSamples: 20 }, /the GPU mostly waits/],
  ])("advises on %s", async (_, resources, more, words) => {
    const s = spec(resources, more);
    const card = s.runner === "tesseract" ? { ...tesseract, pagesPerSecond: { core: 0.2 } } : dots;
    expect((await estimateJob(job(s, card), options())).notes.join("\n")).toMatch(words);
  });

  it("proposes shards for long work", async () => {
    const slow = { ...dots, pagesPerSecond: { h200: 0.05 } };
    const e = await estimateJob(
      job(spec({ gpus: "h200:1", time: "12:00:00", partition: "gpu_h200" }), slow),
      options(),
    );
    expect(e.notes.join()).toMatch(/Split with shards\(6\) it would be done about 1 h 9 min after its start/);
  });

  it("says where the price is of other hardware", async () => {
    const e = await estimateJob(job(spec({ gpus: "h100:1" }), { ...dots, pagesPerSecond: { h100: 1 } }), options());
    expect(e.huggingFace?.flavor).toBe("a100-large");
    expect(e.notes.join()).toMatch(
      /has no h100: the price is for the same time on a100-large, whose speed was not compared/,
    );
  });
});

describe("the speed of a runner", () => {
  const s = spec({ gpus: "h200:1" });
  it.each<[string, Parameters<typeof record>[0]]>([
    ["another GPU", { resources: { gpus: "h100:1" } }],
    ["a job that still runs", { state: "running" }],
    ["a job that was resumed", { attempt: 2 }],
    ["too few pages", { progress: { prepared: 0, done: 5, failed: 0 } }],
    ["an array without figures", { shards: 4 }],
    ["times that are none", { startedAt: "soon" }],
  ])("is not taken from %s", (_, more) => {
    expect(speedOf(s, { ...dots, pagesPerSecond: {} }, [record(more)], 1)).toBeUndefined();
  });

  it("counts an array by the GPU time of its tasks", () => {
    const array = record({ shards: 4, usage: { gpuSeconds: 4 * 480 } });
    expect(speedOf(s, dots, [array], 1)?.pagesPerSecond).toBe(1440 / (4 * 480 - 4 * 120));
  });

  it("grows with the cores, up to what the runner takes", () => {
    const cpu = spec({}, { runner: "tesseract" });
    expect(speedOf(cpu, tesseract, [], 1)?.pagesPerSecond).toBe(0.5);
    expect(speedOf(cpu, tesseract, [], 16)?.pagesPerSecond).toBe(2);
    expect(speedOf({ ...cpu, options: { batchSize: 16 } }, tesseract, [], 16)?.pagesPerSecond).toBe(8);
  });
});

describe("prices of Hugging Face Jobs", () => {
  it("are whole: each flavor has a name of its own, a price, and memory where it has GPUs", () => {
    expect(new Set(HF_PRICES.flavors.map((f) => f.flavor)).size).toBe(HF_PRICES.flavors.length);
    expect(HF_PRICES.checked).toMatch(/^20\d\d-\d\d-\d\d$/);
    for (const f of HF_PRICES.flavors) {
      expect(f.dollars).toBeGreaterThan(0);
      expect(f.gpus > 0).toBe(f.gigabytes !== undefined);
    }
  });

  it.each([
    [{ cpus: 1, gpus: 0 }, "cpu-basic", true],
    [{ cpus: 12, gpus: 0 }, "cpu-xl", true],
    [{ cpus: 1, gpus: 2, gpu: "a100" }, "a100x4", true],
    [{ cpus: 1, gpus: 1, gpu: "a40", gigabytes: 48 }, "l40sx1", false],
    [{ cpus: 1, gpus: 1, gigabytes: 24 }, "l4x1", false],
  ])("for %j are those of %s", (need, flavor, same) => {
    expect(hfFlavor(need)).toMatchObject({ flavor: { flavor }, same });
  });

  it("are not made up for what is not there", () => {
    expect(hfFlavor({ cpus: 64, gpus: 0 })).toBeUndefined();
    expect(hfFlavor({ cpus: 1, gpus: 1, gpu: "b200", gigabytes: 193 })).toBeUndefined();
    expect(hfFlavor({ cpus: 1, gpus: 1, gpu: "x" })).toBeUndefined();
  });

  it("are billed by the begun minute of each task", () => {
    const flavor = HF_PRICES.flavors.find((f) => f.flavor === "h200");
    expect(flavor && hfCost(flavor, 3, 61)).toEqual({ hours: 0.1, dollars: 0.5 });
  });
});

describe("quotas", () => {
  it("are read from Yale's getquota", () => {
    const text = `This script shows information about your quotas on grace.
## Usage Details for support (as of Jan 25 2023 12:00)
Fileset                User  Usage (GiB) File Count   
---------------------- ----- ---------- -------------
gibbs:project          ab3          568       121,786
----
## Quota Summary for support (as of right now [*palmer stats are gathered once a day])
Fileset                Type    Usage (GiB)  Quota (GiB) File Count    File Limit    Backup    Purged   
---------------------- ------- ------------ ----------- ------------- ------------- --------- ---------
palmer:home.grace      USR               63         125       216,046       500,000 Yes       No        
gibbs:project          GRP             3832       10240     3,350,198    10,000,000 No        No        
palmer:scratch         GRP                0       10240           903    15,000,000 No        60 days        
`;
    expect(parseQuota(text)).toEqual([
      {
        path: "palmer:home.grace",
        bytesUsed: 63 * GIB,
        bytesLimit: 125 * GIB,
        filesUsed: 216_046,
        filesLimit: 500_000,
      },
      {
        path: "gibbs:project",
        bytesUsed: 3832 * GIB,
        bytesLimit: 10_240 * GIB,
        filesUsed: 3_350_198,
        filesLimit: 10_000_000,
      },
      {
        path: "palmer:scratch",
        bytesUsed: 0,
        bytesLimit: 10_240 * GIB,
        filesUsed: 903,
        filesLimit: 15_000_000,
        purgeDays: 60,
      },
    ]);
  });

  it("are read from quota and lfs quota, with and without units, grace and long names", () => {
    const quota = `Disk quotas for user ab3 (uid 1001): 
     Filesystem   space   quota   limit   grace   files   quota   limit   grace
/dev/mapper/home  20000  100000  120000              31       0       0        
nfs:/a/very/long/name/of/a/volume
                  1024M*   900M   1000M   6days     15k     10k     20k   none
`;
    expect(parseQuota(quota)).toEqual([
      { path: "/dev/mapper/home", bytesUsed: 20_000 * 1024, bytesLimit: 120_000 * 1024, filesUsed: 31 },
      {
        path: "nfs:/a/very/long/name/of/a/volume",
        bytesUsed: GIB,
        bytesLimit: 1000 * 2 ** 20,
        filesUsed: 15_000,
        filesLimit: 20_000,
      },
    ]);
    const lustre = `Disk quotas for usr ab3 (uid 1001):
      Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
 /lustre/scratch 1048576  10485760 11534336       -  120000  500000  600000       -
`;
    expect(parseQuota(lustre)).toEqual([
      {
        path: "/lustre/scratch",
        bytesUsed: GIB,
        bytesLimit: 11_534_336 * 1024,
        filesUsed: 120_000,
        filesLimit: 600_000,
      },
    ]);
  });

  it("are none in text that has none", () => {
    expect(parseQuota("bash: getquota: command not found\n")).toEqual([]);
    expect(parseQuota("Disk quotas for user ab3 (uid 1001): none\n")).toEqual([]);
  });
});

describe("the quota that counts for a folder", () => {
  const rows = [
    { path: "roberts:project", bytesUsed: 1 },
    { path: "roberts:scratch", bytesUsed: 2 },
    { path: "/lustre/work", bytesUsed: 3 },
  ];
  it.each([
    ["/nfs/roberts/scratch/pi_xy1/ab3/jobs", 2],
    ["/nfs/roberts/project/pi_xy1", 1],
    ["/lustre/work/jobs", 3],
    ["/lustre/work", 3],
    ["/lustre/workshop", undefined],
    ["/home/ab3/jobs", undefined],
    ["/tmp/jobs", undefined],
  ])("%s", (path, used) => expect(quotaOf(bouchet, rows, path)?.bytesUsed).toBe(used));
});

it("plain data shows itself, and stays plain data", () => {
  const data = shown(
    { pages: 1, notes: [] },
    () => "the text",
    () => ({ "text/plain": "the text" }),
  );
  expect(inspect(data)).toBe("the text");
  expect(JSON.stringify(data)).toBe('{"pages":1,"notes":[]}');
  expect({ ...data }).toEqual({ pages: 1, notes: [] });
});

describe("what a cluster has", () => {
  const hostile = `<script>alert(1)</script>\u001b[31m`;
  const info: ClusterInfo = {
    cluster: "bed",
    scheduler: "slurm",
    version: "22.05.8",
    askedAt: "2026-11-25T01:00:00Z",
    partitions: [
      {
        name: "gpu",
        default: true,
        up: true,
        maxSeconds: 172_800,
        defaultSeconds: 3600,
        gpusPerUser: 16,
        runningPerUser: 12,
        nodes: { total: 10, idle: 2, mixed: 4, down: 1 },
        cpus: { total: 480, free: 100 },
        gpus: [{ type: "h200", total: 72, free: 3 }],
      },
    ],
    accounts: ["pi_xy1"],
    qos: ["normal"],
    storage: [
      {
        path: "/scratch/x",
        bytesUsed: GIB,
        bytesLimit: 4 * GIB,
        filesFree: 1000,
        purgeDays: 30,
        staged: { datasets: 2, expires: "2026-12-24" },
      },
    ],
    submissions: { lastHour: 3, limit: 200 },
    site: {
      name: "bouchet",
      title: "Bouchet (Yale)",
      checked: "2026-08-20",
      notes: ["No computing on the login nodes."],
    },
  };

  it("is shown in tables", () => {
    const text = clusterText(info);
    expect(text).toMatch(
      /gpu\*\s+up\s+2 d\s+1 h\s+2 idle of 10, 1 down\s+100 of 480\s+h200 3 of 72\s+16 GPUs, 12 running/,
    );
    expect(text).toMatch(
      /\/scratch\/x\s+1\.0 GiB of 4\.0 GiB\s+1,000 free\s+after 30 days\s+2 datasets, the first expires on 2026-12-24/,
    );
    expect(text).toContain("3 of 200 in the last hour");
    expect(text).toContain("Bouchet (Yale); what it does not say itself is from the site's pages of 2026-08-20");
  });

  it("is never markup or a terminal's command, whatever the cluster says", () => {
    const poison = (value: unknown): unknown =>
      typeof value === "string"
        ? hostile
        : Array.isArray(value)
          ? value.map(poison)
          : typeof value === "object" && value !== null
            ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, poison(v)]))
            : value;
    const bundle = clusterBundle(poison(info) as ClusterInfo);
    expect(String(bundle["text/html"])).not.toContain("<script>");
    expect(`${String(bundle["text/html"])}${String(bundle["text/plain"])}`).not.toContain("\u001b");
    const estimate = estimateBundle(
      poison({
        basis: "x",
        notes: ["x"],
        refusal: "x",
        reliability: "x",
        expectedStart: "x",
        huggingFace: { flavor: "x", hours: 1, dollars: 1, checked: "x" },
      }) as never,
    );
    expect(String(estimate["text/html"])).not.toContain("<script>");
    expect(`${String(estimate["text/html"])}${String(estimate["text/plain"])}`).not.toContain("\u001b");
  });
});
