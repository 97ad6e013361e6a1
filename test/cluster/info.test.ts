import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { openLocal } from "../../kernel-lib/src/cluster/local.js";
import type { Transport } from "../../kernel-lib/src/cluster/transport.js";
import { describeSlurm, testSlurm } from "../../kernel-lib/src/schedulers/slurm-info.js";
import { sharedBed } from "../support/bed.js";

const bed = sharedBed();
const before = process.env.SLURM_CONF;
let line: Transport;

beforeAll(async () => {
  process.env.SLURM_CONF = bed.info.slurmConf;
  const local = await openLocal();
  const become = ["setpriv", "--reuid", bed.user, "--regid", bed.user, "--init-groups", "--"];
  line = { ...local, exec: (argv, options) => local.exec([...become, ...argv], { cwd: "/", ...options }) };
});
afterEach(() => bed.reset());
afterAll(() => {
  if (before === undefined) delete process.env.SLURM_CONF;
  else process.env.SLURM_CONF = before;
});

const script = (...directives: string[]) =>
  `#!/bin/bash\n${directives.map((d) => `#SBATCH ${d}\n`).join("")}sleep 600\n`;

describe("what SLURM says of the bed", () => {
  it("is its version, partitions, limits, accounts and what is free", async () => {
    const found = await describeSlurm(line);
    expect(found.version).toMatch(/^\d\d\.\d\d\./);
    expect(found.maxArraySize).toBe(1001);
    expect(found.accounts).toEqual([`pi_${bed.name}`]);
    expect(found.qos).toEqual(["normal"]);
    expect(found.partitions.map((p) => p.name).sort()).toEqual(["day", "devel", "gpu", "gpu_devel", "scavenge"]);
    const of = (name: string) => found.partitions.find((p) => p.name === name);
    expect(of("day")).toMatchObject({ default: true, up: true, maxSeconds: 86_400, defaultSeconds: 3600, gpus: [] });
    expect(of("gpu")).toMatchObject({
      default: false,
      maxSeconds: 172_800,
      cpus: { total: 8, free: 8 },
      gpus: [
        { type: "a100", total: 2, free: 2 },
        { type: "h100", total: 2, free: 2 },
      ],
    });
    expect(of("scavenge")?.nodes.total).toBe(2);
  });

  it("counts GPUs in use, and none of a node that is down", async () => {
    const sent = await bed.as(bed.user, ["sbatch", "--parsable"], {
      input: script("--partition=gpu", "--gpus=a100:1", "--output=/dev/null"),
    });
    expect(sent.code).toBe(0);
    const free = async () => (await describeSlurm(line)).partitions.find((p) => p.name === "gpu")?.gpus;
    await expect.poll(free, { timeout: 30_000, interval: 100 }).toEqual([
      { type: "a100", total: 2, free: 1 },
      { type: "h100", total: 2, free: 2 },
    ]);
    await bed.root("scontrol", "update", `nodename=${bed.name}02`, "state=drain", "reason=test");
    try {
      const gpu = (await describeSlurm(line)).partitions.find((p) => p.name === "gpu");
      expect(gpu?.gpus.map((g) => g.free)).toEqual([0, 0]);
      expect(gpu?.nodes.down).toBe(1);
    } finally {
      await bed.root("scontrol", "update", `nodename=${bed.name}02`, "state=resume");
    }
  });

  it("lacks the accounts while the accounting is down, and throws without the controller instead of taking its silence for an answer", async () => {
    await bed.daemon("stop", "slurmdbd");
    const found = await describeSlurm(line);
    expect(found.accounts).toEqual([]);
    expect(found.partitions).toHaveLength(5);
    await bed.daemon("stop", "slurmctld");
    await expect(describeSlurm(line)).rejects.toThrow(/can't tell: slurmctld does not answer/);
    await expect(testSlurm(line, script())).rejects.toThrow(/can't tell: slurmctld/);
  });
});

describe("what SLURM would do", () => {
  it("starts what fits, at a time that is no zone away", async () => {
    const answer = await testSlurm(line, script("--partition=gpu", "--gpus=h100:1"));
    expect(answer).toMatchObject({ nodes: `${bed.name}02` });
    const start = Date.parse(("start" in answer && answer.start) || "");
    expect(Math.abs(start - Date.now())).toBeLessThan(120_000);
  });

  it.each([
    [["--partition=gpu", "--gpus=v100:1"], /Requested node configuration is not available/],
    [["--partition=nope"], /[Ii]nvalid partition/],
    [["--account=pi_nope"], /Invalid account/],
    [["--time=soon"], /Invalid --time specification/],
  ])("refuses %j in its own words", async (directives, words) => {
    expect(await testSlurm(line, script(...directives))).toEqual({ refusal: expect.stringMatching(words) });
  });
});
