import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { SubmissionBudget } from "../../kernel-lib/src/jobs/budget.js";
import { planShards, shardNotes } from "../../kernel-lib/src/jobs/shards.js";
import { refusal } from "../../kernel-lib/src/schedulers/slurm-refusals.js";
import { SITES } from "../../kernel-lib/src/sites/index.js";

const HOUR = 3_600_000;
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "yale-budget-"));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

function cluster(submissionsPerHour: number | undefined, more: Partial<ClusterConfig> = {}): ClusterConfig {
  return {
    name: "one",
    transport: "ssh",
    scheduler: "slurm",
    host: "login.example.edu",
    user: "ab123",
    jobDir: "~/jobs",
    defaults: {},
    policy: { pollSeconds: 15, minTaskMinutes: 5, taskMinutes: 10, ...(submissionsPerHour && { submissionsPerHour }) },
    ...more,
  };
}

/** Everything that is due now, and what follows from it. */
const settle = () => vi.advanceTimersByTimeAsync(0);

describe("the submission budget", () => {
  it("lets so many through in an hour, and the next when the first is an hour old", async () => {
    vi.useFakeTimers({ now: new Date("2026-11-25T10:00:00Z") });
    const budget = new SubmissionBudget(folder);
    const c = cluster(3);
    for (let i = 0; i < 3; i++) {
      await budget.turn(c);
      vi.setSystemTime(Date.now() + 60_000);
    }
    expect(await budget.used(c)).toEqual({ lastHour: 3, limit: 3, refused: false });
    const waits: [string, string][] = [];
    let through = false;
    const fourth = budget.turn(c, { onWait: (...w) => waits.push(w) }).then(() => {
      through = true;
    });
    await settle();
    expect(waits).toHaveLength(1);
    expect(waits[0]?.[0]).toBe("2026-11-25T11:00:00.000Z");
    expect(waits[0]?.[1]).toMatch(
      /^Waits its turn: one takes 3 submissions an hour from one person\. Goes on at 2026-11-25 \d\d:00\.$/,
    );
    await vi.advanceTimersByTimeAsync(56 * 60_000);
    expect(through).toBe(false);
    await vi.advanceTimersByTimeAsync(61_000);
    await fourth;
    expect(through).toBe(true);
  });

  it("is kept across restarts, and shared by names of the same cluster, not by other users", async () => {
    await new SubmissionBudget(folder).turn(cluster(2));
    await new SubmissionBudget(folder).turn(cluster(2, { name: "two", host: "LOGIN.example.edu" }));
    expect((await new SubmissionBudget(folder).used(cluster(2))).lastHour).toBe(2);
    expect((await new SubmissionBudget(folder).used(cluster(2, { user: "cd456" }))).lastHour).toBe(0);
    const files = readdirSync(folder).filter((f) => !f.includes(".lock"));
    expect(files).toEqual(["login.example.edu-ab123.json"]);
  });

  it("counts right when several processes take turns at once", async () => {
    const script = join(folder, "take.mts");
    writeFileSync(
      script,
      `import { SubmissionBudget } from ${JSON.stringify(join(process.cwd(), "kernel-lib/src/jobs/budget.ts"))};
       const c = JSON.parse(process.argv[2]);
       const b = new SubmissionBudget(process.argv[3]);
       for (let i = 0; i < 40; i++) await b.turn(c);`,
    );
    const c = cluster(200);
    const books = join(folder, "books");
    const { build } = await import("esbuild");
    await build({
      entryPoints: [script],
      outfile: join(folder, "take.mjs"),
      bundle: true,
      platform: "node",
      format: "esm",
      logLevel: "silent",
      external: ["sharp"],
      banner: { js: "import{createRequire as r}from'node:module';const require=r(import.meta.url);" },
    });
    const run = () =>
      new Promise<void>((resolve, reject) =>
        execFile(process.execPath, [join(folder, "take.mjs"), JSON.stringify(c), books], (e) =>
          e ? reject(e) : resolve(),
        ),
      );
    // One that was killed in the middle has left its lock.
    mkdirSync(books);
    writeFileSync(join(books, "login.example.edu-ab123.json.lock"), "999999999 1");
    await Promise.all([run(), run(), run(), run()]);
    expect((await new SubmissionBudget(books).used(c)).lastHour).toBe(160);
    expect(readdirSync(books)).toEqual(["login.example.edu-ab123.json"]);
  });

  it("waits after the scheduler's own refusal, longer each time", async () => {
    vi.useFakeTimers({ now: new Date("2026-11-25T10:00:00Z") });
    const budget = new SubmissionBudget(folder);
    const c = cluster(200);
    await budget.turn(c);
    await budget.refused(c);
    expect(await budget.used(c)).toEqual({ lastHour: 0, limit: 200, refused: true });
    const waits: [string, string][] = [];
    const next = budget.turn(c, { onWait: (...w) => waits.push(w) });
    await settle();
    expect(waits[0]?.[0]).toBe("2026-11-25T10:05:00.000Z");
    expect(waits[0]?.[1]).toMatch(/one takes no more submissions of yours for now\. Goes on at/);
    await vi.advanceTimersByTimeAsync(5 * 60_000 + 1000);
    await next;
    await budget.refused(c);
    const again = budget.turn(c, { onWait: (...w) => waits.push(w) });
    await settle();
    expect(Date.parse(waits[1]?.[0] ?? "") - Date.now()).toBe(10 * 60_000);
    await vi.advanceTimersByTimeAsync(10 * 60_000 + 1000);
    await again;
  });

  it("ends a wait when the job is cancelled, and takes no turn then", async () => {
    const budget = new SubmissionBudget(folder);
    const c = cluster(1);
    await budget.turn(c);
    const abort = new AbortController();
    const waiting = budget.turn(c, { signal: abort.signal, onWait: () => abort.abort(new Error("cancelled")) });
    await expect(waiting).rejects.toThrow("cancelled");
    expect((await budget.used(c)).lastHour).toBe(1);
  });

  it("has no limit where none is set, and forgives a broken or future file", async () => {
    const budget = new SubmissionBudget(folder);
    const c = cluster(undefined);
    for (let i = 0; i < 5; i++) await budget.turn(c);
    expect(await budget.used(c)).toEqual({ lastHour: 5, refused: false });
    const file = join(folder, "login.example.edu-ab123.json");
    writeFileSync(file, "{ half");
    await budget.turn(cluster(1));
    expect((JSON.parse(readFileSync(file, "utf8")) as { taken: number[] }).taken).toHaveLength(1);
    writeFileSync(file, JSON.stringify({ taken: [Date.now() + 10 * HOUR, "x"] }));
    expect((await budget.used(c)).lastHour).toBe(0);
  });

  it("knows the refusal of a site's submit plugin, and no other for it", () => {
    const limit = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
    const yale = `sbatch: error: Reached jobs per hour limit\nsbatch: error: Batch job submission failed: ${limit}`;
    expect(refusal(yale, 1).later).toBe("limit");
    expect(refusal("sbatch: error: Batch job submission failed: Invalid account", 1).later).toBeUndefined();
  });
});

describe("shards", () => {
  const policy = { taskMinutes: 10, minTaskMinutes: 5, maxArrayRunning: 12 };

  it("are planned by minutes, and by how many may run", () => {
    // 10,000 pages at 4 s each are 11 h of work.
    expect(planShards(10_000, 0.25, policy)).toEqual({ shards: 12, seconds: 10_000 / 0.25 / 12 });
    expect(planShards(600, 0.25, policy)).toEqual({ shards: 4, seconds: 600 });
    expect(planShards(100, 0.25, policy)).toEqual({ shards: 1, seconds: 400 });
    expect(planShards(100, undefined, policy)).toEqual({ shards: 1, seconds: 0 });
    expect(planShards(0, 1, policy)).toEqual({ shards: 1, seconds: 0 });
  });

  it.each(SITES.map((s) => [s.name, s.policy] as const))("fit the rules of %s for any book", (_, rules) => {
    for (const pages of [1, 50, 1000, 20_000, 1_000_000])
      for (const speed of [0.05, 0.5, 2, 40]) {
        const plan = planShards(pages, speed, rules, 180);
        expect(plan.shards).toBeLessThanOrEqual(rules.maxArrayRunning ?? 16);
        expect(shardNotes(plan.shards, pages, speed, rules, 180)).toEqual([]);
      }
  });

  it("that would be too short are told, with the number that would do", () => {
    expect(shardNotes(100, 1000, 1, policy)[0]).toMatch(
      /Each of 100 tasks would run for about 10 s; .*under 5 min .*Leave shards out/,
    );
    expect(shardNotes(100, 6000, 1, policy)[0]).toMatch(/10 shards would do/);
    expect(shardNotes(4, 6000, 1, policy)).toEqual([]);
    expect(shardNotes(4, 6000, undefined, policy)).toEqual([]);
  });
});
