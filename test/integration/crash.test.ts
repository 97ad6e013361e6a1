import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readResults } from "../../kernel-lib/src/dataset/index.js";
import type { JobRecord } from "../../kernel-lib/src/protocol.js";
import { textPdf } from "../support/material.js";
import { jsonLines, Sandbox, until } from "../support/sandbox.js";

const PAGES = 60;
/** Pages in work at once on the test machine. */
const IN_FLIGHT = 4;

let box: Sandbox;
beforeEach(() => {
  box = new Sandbox();
});
afterEach(() => box.close());

function progressOf(record: JobRecord): Record<string, unknown>[] {
  try {
    return jsonLines(join(record.jobDir ?? "", "progress.jsonl"));
  } catch {
    return [];
  }
}

async function runningWithPages(pages: number): Promise<JobRecord> {
  return until("pages of a running job", () => {
    const [record] = box.records();
    if (record?.jobDir === undefined) return undefined;
    return progressOf(record).filter((e) => e.type === "page").length >= pages ? record : undefined;
  });
}

async function everyPageOnce(record: JobRecord): Promise<void> {
  const keys: string[] = [];
  for await (const row of readResults(join(record.jobDir ?? "", "output"))) {
    expect(row.error).toBeNull();
    keys.push(row.key);
  }
  expect(new Set(keys).size).toBe(PAGES);
  expect(keys.length).toBe(PAGES);
}

describe("a job of 60 pages whose processes are killed", () => {
  it("goes on without its agent, and the next client finds it done", async () => {
    const pdf = await textPdf(box.home, "sixty.pdf", PAGES, 2);
    expect((await box.yale("jobs", "ocr", pdf, "-q")).code).toBe(0);
    const record = await runningWithPages(5);
    process.kill(box.agentPid(), "SIGKILL");
    const waited = await box.yale("jobs", "wait", record.id);
    expect(waited).toMatchObject({ code: 0 });
    expect(waited.stdout).toContain(`${PAGES} pages`);
    await everyPageOnce(record);
    expect(progressOf(record).filter((e) => e.type === "page").length).toBe(PAGES);
  });

  it("says that its runner was killed, and one retry does only what is missing", async () => {
    const pdf = await textPdf(box.home, "sixty.pdf", PAGES, 2);
    expect((await box.yale("jobs", "ocr", pdf, "-q")).code).toBe(0);
    const record = await runningWithPages(5);
    for (const pid of pidsWith("runner/main.cjs", record.jobDir ?? "")) process.kill(pid, "SIGKILL");
    const failed = await box.yale("jobs", "wait", record.id);
    expect(failed.code).toBe(4);
    expect(failed.stderr).toMatch(/signal 9/);
    const before = progressOf(record).filter((e) => e.type === "page").length;
    expect(before).toBeLessThan(PAGES);
    expect(await box.yale("jobs", "retry", record.id, "--wait")).toMatchObject({ code: 0 });
    await everyPageOnce(record);
    const recognised = progressOf(record).filter((e) => e.type === "page").length;
    expect(recognised).toBeLessThanOrEqual(PAGES + IN_FLIGHT);
  });

  it("is prepared again by the next agent if its agent dies while it prepares", async () => {
    const pdf = await textPdf(box.home, "sixty.pdf", PAGES, 2);
    expect((await box.yale("jobs", "ocr", pdf, "-q", "--dpi", "150", "--max-samples", "12")).code).toBe(0);
    process.kill(box.agentPid(), "SIGKILL");
    const [record] = box.records();
    expect(await box.yale("jobs", "wait", record?.id ?? "")).toMatchObject({ code: 0 });
    expect(box.records().length).toBe(1);
  });
});

/** Processes whose command line holds `text` and whose working directory is `folder`. */
function pidsWith(text: string, folder: string): number[] {
  const { readFileSync, readlinkSync } = process.getBuiltinModule("node:fs");
  return readdirSync("/proc")
    .filter((n) => /^\d+$/.test(n))
    .map(Number)
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text) && readlinkSync(`/proc/${pid}/cwd`) === folder
        );
      } catch {
        return false;
      }
    });
}
