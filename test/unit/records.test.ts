import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { JobRecords, newRecord } from "../../kernel-lib/src/jobs/records.js";
import { processStart } from "../../kernel-lib/src/process.js";
import { isJobRecord, type JobRecord, newJobId } from "../../kernel-lib/src/protocol.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "records-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

let clock = 0;
function record(id: string, name = "a"): JobRecord {
  return {
    ...newRecord(id, { kind: "ocr", name, cluster: "local", sources: [], options: {}, resources: {} }),
    state: "running",
    createdAt: new Date(1_700_000_000_000 + clock++ * 1000).toISOString(),
  };
}

describe("job records", () => {
  it("are found by id, unique beginning, scheduler id and name, the newest first", () => {
    const records = new JobRecords(folder);
    records.save({ ...record("abcdef0001", "first"), schedulerId: "17" });
    records.save(record("abcdef0002", "second"));
    records.save(record("xyz0000003", "second"));
    expect(records.get("abcdef0001").spec.name).toBe("first");
    expect(records.get("xyz").id).toBe("xyz0000003");
    expect(records.get("17").id).toBe("abcdef0001");
    expect(records.get("second").id).toBe("xyz0000003");
    expect(() => records.get("abc")).toThrow(/2 job ids/);
    expect(() => records.get("nope")).toThrow(/no job/);
    expect(() => records.get("../../etc/passwd")).toThrow(/no job/);
    expect(records.list().map((r) => r.id)).toEqual(["xyz0000003", "abcdef0002", "abcdef0001"]);
  });

  it("are seen by another process as soon as they are written, and leave no parts behind", () => {
    const [one, other] = [new JobRecords(folder), new JobRecords(folder)];
    const r = record("abcdef0001");
    one.save(r);
    expect(other.get("abcdef0001").state).toBe("running");
    r.state = "completed";
    one.save(r);
    expect(other.get("abcdef0001").state).toBe("completed");
    expect(readdirSync(folder)).toEqual(["abcdef0001.json"]);
  });

  it("are not confused by a file that is no record", () => {
    writeFileSync(join(folder, "broken.json"), "{");
    expect(new JobRecords(folder).list()).toEqual([]);
  });

  it("are driven by one living process at a time, and freed by its death", async () => {
    const records = new JobRecords(folder);
    const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
    await once(child, "spawn");
    writeFileSync(join(folder, "job1.lock"), `${child.pid} ${processStart(child.pid ?? 0)}`);
    expect(records.lock("job1")).toBe(false);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(records.lock("job1")).toBe(true);
    expect(records.lock("job1")).toBe(true);
    records.unlock("job1");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("have ids that sort by time and differ within a second", () => {
    const ids = [newJobId(1_700_000_000_000), newJobId(1_700_000_001_000), newJobId(1_800_000_000_000)];
    expect([...ids].sort()).toEqual(ids);
    const batch = Array.from({ length: 10_000 }, () => newJobId(1_700_000_000_000));
    expect(new Set(batch).size).toBe(10_000);
    expect([...batch].sort()).toEqual(batch);
    expect(batch.every((id) => /^[0-9a-hjkmnp-tv-z]{10}$/.test(id) && id.slice(0, 6) === ids[0]?.slice(0, 6))).toBe(
      true,
    );
  });

  it("are recognised only if whole", () => {
    expect(isJobRecord(record("a"))).toBe(true);
    for (const bad of [null, 1, {}, { ...record("a"), state: "odd" }, { ...record("a"), progress: null }])
      expect(isJobRecord(bad)).toBe(false);
  });
});
