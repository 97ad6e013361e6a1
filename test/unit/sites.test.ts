import { describe, expect, it } from "vitest";
import { generic, SITES, siteNamed, siteOfHost, storageOf } from "../../kernel-lib/src/sites/index.js";

const HOST = /^[a-z0-9-]+(\.[a-z0-9-]+)+$/;

describe.each([...SITES, generic])("the profile of $name", (site) => {
  it("says when it was checked, and against what", () => {
    expect(site.checked).toMatch(/^20\d\d-[01]\d-[0-3]\d$/);
    expect(Date.parse(site.checked)).toBeLessThan(Date.now());
    if (site !== generic) expect(site.sources.length).toBeGreaterThan(0);
    // Names of documents: addresses go stale.
    for (const text of [...site.sources, ...site.notes]) expect(text).not.toMatch(/https?:/);
  });

  it("has hosts that no other has", () => {
    for (const host of [...site.hosts, ...(site.transferHost === undefined ? [] : [site.transferHost])]) {
      expect(host).toMatch(HOST);
      expect(SITES.filter((s) => s.hosts.includes(host) || s.transferHost === host)).toEqual([site]);
    }
    for (const host of site.hosts) expect(siteOfHost(host.toUpperCase())).toBe(site);
  });

  it("has partitions with limits, each once", () => {
    const names = site.partitions.map((p) => p.name);
    expect(new Set(names).size).toBe(names.length);
    for (const p of site.partitions) {
      expect(p.name).toMatch(/^[a-z0-9_]+$/);
      expect(p.maxSeconds).toBeGreaterThanOrEqual(3600);
      for (const limit of [p.cpusPerUser, p.gpusPerUser, p.runningPerUser, p.submittedPerUser])
        if (limit !== undefined) expect(Number.isInteger(limit) && limit > 0).toBe(true);
      if (p.gpusPerUser !== undefined) expect(p.gpus).toBeDefined();
    }
  });

  it("describes every GPU that a partition has, and no other", () => {
    const described = site.gpus.map((g) => g.type).sort();
    const used = [...new Set(site.partitions.flatMap((p) => p.gpus ?? []))].sort();
    expect(described).toEqual(used);
    for (const g of site.gpus) expect(g.gigabytes).toBeGreaterThan(7);
  });

  it("has a partition for CPU work and one for GPU work, unless it is out of scope", () => {
    if (site.outOfScope !== undefined || site === generic) return;
    expect(site.partitions.some((p) => p.use === "batch" && p.gpus === undefined)).toBe(true);
    expect(site.partitions.some((p) => p.use === "batch" && p.gpus !== undefined)).toBe(true);
  });

  it("asks for no more haste than the centre allows", () => {
    const { policy } = site;
    expect(policy.pollSeconds).toBeGreaterThanOrEqual(10);
    expect(policy.submissionsPerHour).toBeLessThanOrEqual(200);
    expect(policy.minTaskMinutes).toBeGreaterThanOrEqual(5);
    expect(policy.taskMinutes).toBeGreaterThanOrEqual(policy.minTaskMinutes);
  });

  it("knows its storage by path", () => {
    for (const s of site.storage)
      for (const root of s.roots) {
        expect(root).toMatch(/^\/.*\/$/);
        expect(storageOf(site, `${root}group/ab123/jobs`)).toBe(s);
        if (s.purgeDays !== undefined) expect([30, 60]).toContain(s.purgeDays);
      }
  });

  it("is found by its name", () => {
    if (site === generic) expect(siteNamed("none")).toBeUndefined();
    else expect(siteNamed(site.name)).toBe(site);
  });
});

describe("sites", () => {
  it("are not guessed", () => {
    expect(siteOfHost("bouchet.example.edu")).toBeUndefined();
    expect(siteOfHost("login.bouchet.ycrc.yale.edu.evil.example")).toBeUndefined();
    const bouchet = siteNamed("bouchet");
    expect(bouchet && storageOf(bouchet, "/nfs/roberts/scratchy/x")).toBeUndefined();
  });
});
