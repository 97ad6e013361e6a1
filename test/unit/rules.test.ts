import { describe, expect, it } from "vitest";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { applyRules, gpuRequest, tasksAtOnce } from "../../kernel-lib/src/jobs/rules.js";
import type { ClusterInfo, JobSpec, Resources } from "../../kernel-lib/src/protocol.js";
import type { RunnerCard } from "../../kernel-lib/src/runners.js";
import { generic, SITES, siteNamed } from "../../kernel-lib/src/sites/index.js";
import { refused } from "../support/refused.js";

function cluster(name: string, more: Partial<ClusterConfig> = {}): ClusterConfig {
  const site = siteNamed(name);
  return {
    name,
    transport: "ssh",
    scheduler: "slurm",
    host: `${name}.example.edu`,
    jobDir: "~/jobs",
    defaults: {},
    policy: { ...(site ?? generic).policy },
    ...(site === undefined ? {} : { site }),
    ...more,
  };
}

const card = (gpus: number, gpuMemory?: number): RunnerCard => ({
  name: gpus === 0 ? "tesseract" : "dots-ocr",
  title: "",
  engine: "",
  licence: "",
  gpus,
  mostGpus: gpus === 0 ? 0 : 8,
  command: [],
  options: {},
  folder: "",
  ...(gpuMemory === undefined ? {} : { gpuMemory }),
});

function rule(
  c: ClusterConfig,
  asked: Resources,
  more: { card?: RunnerCard; known?: ClusterInfo; spec?: Partial<JobSpec> } = {},
): { resources: Resources; modules?: string[]; warnings: string[] } {
  const warnings: string[] = [];
  const spec: JobSpec = {
    kind: "ocr",
    name: "x",
    cluster: c.name,
    sources: [],
    options: {},
    resources: { ...c.defaults, ...asked },
    ...more.spec,
  };
  const made = applyRules({ spec, asked, cluster: c, card: more.card, known: more.known }, warnings);
  return { ...made, warnings } as never;
}

const bouchet = cluster("bouchet");
const part = (name: string, gpus: string[], more: Partial<ClusterInfo["partitions"][number]> = {}) => ({
  name,
  default: false,
  up: true,
  maxSeconds: 86_400,
  nodes: { total: 1, idle: 1, mixed: 0, down: 0 },
  cpus: { total: 8, free: 8 },
  gpus: gpus.map((type) => ({ type, total: 2, free: 2 })),
  ...more,
});
const info = (partitions: ClusterInfo["partitions"], more: Partial<ClusterInfo> = {}): ClusterInfo => ({
  cluster: "x",
  scheduler: "slurm",
  askedAt: "2026-11-25T01:00:00Z",
  partitions,
  accounts: [],
  qos: [],
  storage: [],
  submissions: { lastHour: 0 },
  ...more,
});

describe("by the profile of its site", () => {
  it.each<[Resources, RunnerCard | undefined, Resources]>([
    [{}, card(0), { partition: "day" }],
    [{ time: "3-00:00:00" }, card(0), { partition: "week" }],
    [{}, undefined, { partition: "day" }],
    [{}, card(1), { gpus: "1", partition: "gpu" }],
    [{}, card(1, 40), { gpus: "1", partition: "gpu_rtx6000" }],
    [{ gpus: "h200:1" }, card(1), { partition: "gpu_h200" }],
    [{ gpus: "b200:8" }, undefined, { partition: "gpu_b200" }],
    [{ gpus: "l40s:1", time: "1-12:00:00" }, card(1), { partition: "gpu" }],
    [{ gpus: "h200:1", partition: "scavenge_gpu" }, card(1), {}],
    [{ gpus: "h200:1", partition: "pi_xy12" }, card(1), {}],
    [{ gpus: "quantum:1", partition: "pi_xy12" }, card(1), {}],
    [{ partition: "bigmem" }, undefined, {}],
  ])("a job that asks for %j gets %#", (asked, c, added) => {
    expect(rule(bouchet, asked, c === undefined ? {} : { card: c }).resources).toEqual({ ...asked, ...added });
  });

  it.each<[Resources, RegExp]>([
    [
      { gpus: "p100:2" },
      /bouchet has no GPU of type "p100"[\s\S]*It has: rtx_5000_ada, a40, l40s, .*h200, b200 \(by the site's pages of 2026-08-20\)/,
    ],
    [{ gpus: "h20:1" }, /did you mean "h200"\?/],
    [
      { gpus: "h200:1", partition: "gpu" },
      /partition gpu of bouchet has no GPU of type "h200"[\s\S]*It has: rtx_5000_ada, a40, l40s\. Use gpu_h200 or .*leave partition out/,
    ],
    [{ gpus: "h100:1", partition: "day" }, /partition day of bouchet has no GPU of type "h100"[\s\S]*Use gpu_h100/],
    [{ gpus: "1", partition: "week" }, /partition week of bouchet has no GPUs[\s\S]*Use gpu or/],
    [
      { gpus: "h200:1", time: "3-00:00:00" },
      /time: 3-00:00:00 is more than the 2 d that gpu_h200 of bouchet allows[\s\S]*Ask for less/,
    ],
    [{ time: "2-00:00:00", partition: "day" }, /more than the 1 d that day of bouchet allows[\s\S]*partition week/],
    [{ time: "30-00:00:00" }, /more than the 7 d that week of bouchet allows/],
    [
      { gpus: "b200:3", partition: "gpu_devel" },
      /In gpu_devel one person may have 2 GPUs at once, and 3 were asked for/,
    ],
  ])("%j is refused with what there is", (asked, words) => {
    expect(refused(() => rule(bouchet, asked))).toMatch(words);
  });

  it("what one person can't have at once is refused", () => {
    expect(refused(() => rule(bouchet, { cpus: 8, partition: "devel" }))).toMatch(
      /in devel one person may have 4 at once, and 8/,
    );
    expect(refused(() => rule(bouchet, { partition: "devel" }, { spec: { shards: 3 } }))).toMatch(
      /may have 2 jobs at once, and 3/,
    );
    expect(refused(() => rule(bouchet, { gpus: "h200:1", partition: "gpu_devel" }, { spec: { shards: 2 } }))).toMatch(
      /one job at once/,
    );
  });

  it("a GPU runner without a GPU is refused", () => {
    expect(refused(() => rule(bouchet, { gpus: "0" }, { card: card(1) }))).toMatch(
      /dots-ocr needs a GPU[\s\S]*rtx_5000_ada/,
    );
  });

  it("a CPU job does not go where config.yaml sends GPU jobs", () => {
    const c = cluster("bouchet", { defaults: { partition: "gpu" } });
    const made = rule(c, {}, { card: card(0) });
    expect(made.resources.partition).toBe("day");
    expect(made.warnings.join()).toMatch(/goes to day instead of gpu/);
    expect(rule(c, { partition: "gpu" }, { card: card(0) }).resources.partition).toBe("gpu");
    expect(rule(c, { gpus: "a40:1" }, { card: card(1) }).resources.partition).toBe("gpu");
  });

  it("warns of what is on its way out, of preemption and of small memory", () => {
    expect(rule(cluster("grace"), {}).warnings.join()).toMatch(/Grace is being shut down/);
    expect(rule(bouchet, { partition: "scavenge" }).warnings.join()).toMatch(/ended whenever others need/);
    expect(rule(cluster("grace"), { gpus: "a5000:1" }, { card: card(1, 32) }).warnings.join()).toMatch(
      /wants 32 GB .* a5000 has 24/,
    );
    expect(rule(bouchet, { partition: "weak" }).warnings.join()).toMatch(/did you mean "week"/);
  });

  it("a model gets GPUs of one node, as many as it uses", () => {
    const grace = cluster("grace");
    const two = rule(grace, { gpus: "a100:2" }, { card: card(1, 24) });
    expect(two).toMatchObject({ resources: { gpus: "a100:2", nodes: 1, partition: "gpu" } });
    expect(two.warnings.join()).not.toMatch(/memory/);
    // Two hold what one has no room for, and a third would be alone.
    expect(rule(grace, { gpus: "a5000:2" }, { card: card(1, 32) }).warnings.join()).not.toMatch(/memory/);
    expect(refused(() => rule(grace, { gpus: "a5000:3" }, { card: card(1, 32) }))).toMatch(
      /takes 2 GPUs, and 3 were asked for: 1 would stay idle[\s\S]*a5000:2 or a5000:4/,
    );
    const spec = { options: { tensorParallel: 4 } };
    expect(refused(() => rule(grace, { gpus: "a100:2" }, { card: card(1, 24), spec }))).toMatch(/Ask for a100:4/);
    expect(rule(grace, { gpus: "a5000:2" }, { card: card(1, 90) }).warnings.join()).toMatch(/2 of a5000 have 48/);
  });

  it("a model in bfloat16 does not go where that is not known", () => {
    const grace = cluster("grace");
    expect(refused(() => rule(grace, { gpus: "v100:2" }, { card: card(1, 24) }))).toMatch(
      /bfloat16, which v100 does not know[\s\S]*Ampere or later: a100, a5000, rtx3090, l40s/,
    );
    const spec = { options: { modelId: "me/in-float16" } };
    expect(rule(grace, { gpus: "v100:2" }, { card: card(1, 24), spec }).warnings.join()).toMatch(/float16/);
    expect(rule(grace, { gpus: "v100:2" }).resources.gpus).toBe("v100:2");
    const old = SITES.flatMap((s) => s.gpus.map((g) => g.type)).filter((type) => {
      const own = cluster("none", { site: { ...generic, gpus: [{ type, gigabytes: 999 }] } });
      try {
        rule(own, { gpus: `${type}:1` }, { card: card(1, 24) });
        return false;
      } catch {
        return true;
      }
    });
    expect([...new Set(old)].sort()).toEqual(["rtx2080", "rtx2080ti", "rtx5000", "rtx8000", "v100"]);
  });

  it("loads the module that brings conda, for a job that needs it", () => {
    expect(rule(bouchet, {}, { spec: { env: "ocr" } }).modules).toEqual(["miniconda"]);
    expect(rule(bouchet, {}, { spec: { env: "ocr", modules: ["x"] } })).not.toHaveProperty("modules");
    expect(rule(bouchet, {})).not.toHaveProperty("modules");
  });

  it.each(SITES.filter((s) => s.outOfScope === undefined).map((s) => s.name))(
    "every GPU of %s can be asked for",
    (name) => {
      const c = cluster(name);
      for (const p of c.site?.partitions ?? [])
        for (const type of p.gpus ?? [])
          expect(rule(c, { gpus: `${type}:1`, partition: p.name }).resources.partition).toBe(p.name);
    },
  );

  it("is the same when it is applied to its own result", () => {
    const once = rule(bouchet, { gpus: "h200:1" }, { card: card(1) }).resources;
    expect(rule(bouchet, once, { card: card(1) }).resources).toEqual(once);
  });
});

describe("by what the cluster said", () => {
  const own = cluster("bed");
  const known = info(
    [
      part("scavenge", ["a100"]),
      part("gpu_devel", ["a100"], { maxSeconds: 3600 }),
      part("gpu", ["a100", "h100"], { gpusPerUser: 4 }),
      part("long", [], { maxSeconds: 10 * 86_400 }),
      part("day", [], { default: true }),
    ],
    { maxArraySize: 1001 },
  );

  it("takes the default for CPU work, and the partition that has the GPU", () => {
    expect(rule(own, {}, { known, card: card(0) }).resources).toEqual({ partition: "day" });
    expect(rule(own, { time: "2-00:00:00" }, { known }).resources.partition).toBe("long");
    expect(rule(own, { gpus: "h100:1" }, { known }).resources.partition).toBe("gpu");
    expect(rule(own, {}, { known, card: card(1) }).resources).toEqual({ gpus: "1", partition: "gpu" });
  });

  it("refuses what is not there, and says when it was asked", () => {
    expect(refused(() => rule(own, { partition: "gpuu" }, { known }))).toMatch(
      /no partition "gpuu" for you \(did you mean "gpu"\?\)[\s\S]*scavenge, gpu_devel, gpu, long, day/,
    );
    expect(refused(() => rule(own, { gpus: "v100:1" }, { known }))).toMatch(
      /no GPU of type "v100"[\s\S]*a100, h100 \(asked on 2026-11-25\)/,
    );
    expect(refused(() => rule(own, { gpus: "h100:1", partition: "scavenge" }, { known }))).toMatch(/Use gpu, or leave/);
    expect(refused(() => rule(own, { gpus: "a100:5" }, { known }))).toMatch(/may have 4 GPUs/);
    expect(refused(() => rule(own, {}, { known, spec: { shards: 1002 } }))).toMatch(/at most 1001 tasks/);
  });

  it("goes before the profile", () => {
    const newer = info([part("gpu", ["a300"]), part("day", [])]);
    expect(rule(bouchet, { gpus: "a300:1" }, { known: newer }).resources.partition).toBe("gpu");
    expect(refused(() => rule(bouchet, { gpus: "h200:1" }, { known: newer }))).toMatch(/It has: a300/);
    // What only a group has is never chosen by itself, where a profile says what is for everybody.
    const group = info([part("pi_xy", ["a300"]), part("day", [])]);
    expect(rule(bouchet, { gpus: "a300:1" }, { known: group }).resources).toEqual({ gpus: "a300:1" });
  });

  it("lets any type through where the scheduler knows no types", () => {
    const untyped = info([part("gpu", ["gpu"]), part("day", [])]);
    expect(rule(own, { gpus: "a100:1" }, { known: untyped }).resources.partition).toBe("gpu");
  });
});

describe("without anything known", () => {
  it("changes nothing but the GPUs of a runner", () => {
    const own = cluster("elsewhere");
    expect(rule(own, { gpus: "k80:1", partition: "q", time: "90-00:00:00" }).resources).toEqual({
      gpus: "k80:1",
      partition: "q",
      time: "90-00:00:00",
    });
    expect(rule(own, {}, { card: card(0) }).resources).toEqual({});
    expect(rule(own, {}, { card: card(1) }).resources).toEqual({ gpus: "1" });
    expect(rule({ ...own, scheduler: "local" }, {}, { card: card(1) }).resources).toEqual({});
  });
});

it("reads GPU requests", () => {
  expect(gpuRequest("a100:2")).toEqual({ type: "a100", count: 2 });
  expect(gpuRequest("rtx_5000_ada")).toEqual({ type: "rtx_5000_ada", count: 1 });
  expect(gpuRequest("3")).toEqual({ count: 3 });
  expect(gpuRequest(undefined)).toEqual({ count: 0 });
});

it("limits tasks side by side by partition and by config.yaml", () => {
  expect(tasksAtOnce(bouchet, "gpu")).toBe(12);
  expect(tasksAtOnce(bouchet, "gpu_h200")).toBe(6);
  expect(tasksAtOnce(bouchet, "day")).toBeUndefined();
  const strict = cluster("bouchet", { policy: { ...bouchet.policy, maxArrayRunning: 3 } });
  expect(tasksAtOnce(strict, "day")).toBe(3);
  expect(tasksAtOnce(strict, "gpu_h200")).toBe(3);
});
