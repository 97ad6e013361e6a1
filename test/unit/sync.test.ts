import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { openTransport } from "../../kernel-lib/src/cluster/registry.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { findJobs } from "../../kernel-lib/src/jobs/sync.js";
import type { Scheduler } from "../../kernel-lib/src/schedulers/index.js";
import { Sandbox } from "../support/sandbox.js";

it("a job that is found again while the scheduler is silent is not taken for lost", async () => {
  const home = new Sandbox().enter();
  try {
    const jobDir = join(home.home, "jobs");
    const id = "abcdef0001";
    mkdirSync(join(jobDir, id), { recursive: true });
    const spec = { kind: "ocr", name: "a", sources: [], options: {}, resources: {} };
    const content = { id, attempt: 1, createdAt: "2026-01-01T00:00:00.000Z", schedulerId: "17", spec };
    writeFileSync(join(jobDir, id, "job.json"), JSON.stringify(content));
    const cluster: ClusterConfig = {
      name: "here",
      transport: "local",
      scheduler: "slurm",
      jobDir,
      defaults: {},
      policy: { pollSeconds: 15, minTaskMinutes: 0, taskMinutes: 0 },
    };
    const transport = await openTransport(cluster, { ask: async () => null });
    const found = async (silent: string[]) => {
      const scheduler = { kind: "slurm", query: async () => ({ jobs: new Map(), silent }) } as unknown as Scheduler;
      return (await findJobs({ cluster, scheduler, transport, known: () => false })).records;
    };
    expect(await found(["slurmdbd does not answer"])).toMatchObject([{ id, schedulerId: "17", state: "unknown" }]);
    expect((await found(["slurmdbd does not answer"]))[0]).not.toHaveProperty("error");
    expect(await found([])).toMatchObject([{ id, state: "lost" }]);
    await transport.close();
  } finally {
    await home.close();
  }
});
