import { afterEach, beforeEach, expect, it } from "vitest";
import type { Transport } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import type { Lines } from "../../kernel-lib/src/jobs/lines.js";
import { LiveJobs } from "../../kernel-lib/src/jobs/live.js";
import type { ResolvedJob } from "../../kernel-lib/src/jobs/plan.js";
import { JobRecords, newRecord } from "../../kernel-lib/src/jobs/records.js";
import { Watching } from "../../kernel-lib/src/jobs/watching.js";
import type { JobRecord } from "../../kernel-lib/src/protocol.js";
import type { Scheduler } from "../../kernel-lib/src/schedulers/index.js";
import { Sandbox } from "../support/sandbox.js";

let home: Sandbox;
beforeEach(() => {
  home = new Sandbox().enter();
});
afterEach(() => home.close());

function record(id: string): JobRecord {
  return {
    ...newRecord(id, { kind: "run", name: id, cluster: "grace", sources: [], options: {}, resources: {} }),
    state: "queued",
    schedulerId: "17",
  };
}

it("a job is watched where its config.yaml leads when it is submitted, not where that led before", async () => {
  const hosts: string[] = [];
  const lines = {
    open: async (cluster: ClusterConfig) => {
      hosts.push(cluster.host ?? "");
      return { kind: "ssh", lost: new Promise(() => undefined), sftp: async () => ({}) } as unknown as Transport;
    },
  } as unknown as Lines;
  const scheduler = {
    kind: "local",
    query: async (_: Transport, asked: { id: string }[]) => ({
      jobs: new Map(asked.map(({ id }) => [id, { state: "cancelled", raw: "CANCELLED" }])),
      silent: [],
    }),
  } as unknown as Scheduler;
  const jobs = new LiveJobs(new JobRecords(`${home.home}/jobs`), () => undefined);
  const watching = new Watching(lines, jobs);
  for (const host of ["old.example.edu", "new.example.edu"]) {
    const live = jobs.take(record(host.slice(0, 3)), false);
    if (live === undefined) throw new Error("not taken");
    const job = { cluster: { name: "grace", host, policy: { pollSeconds: 15 } }, scheduler } as unknown as ResolvedJob;
    await watching.until(job, live);
    jobs.drop(live);
  }
  watching.close();
  expect(hosts).toEqual(["old.example.edu", "new.example.edu"]);
});
