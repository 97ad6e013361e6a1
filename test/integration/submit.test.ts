import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SUBMIT_SCRIPT } from "../../kernel-lib/src/jobs/submit.js";
import { until } from "../support/sandbox.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "submit it's-"));
  writeFileSync(join(folder, "submit.sh"), SUBMIT_SCRIPT);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A stand-in for sbatch: counts its calls in a file, and answers with a number. */
const SBATCH = "echo x >>calls; sleep 0$1; wc -l <calls; echo warning >&2";

function submit(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile("sh", [join(folder, "submit.sh"), ...args], { cwd: folder }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

const calls = () => readFileSync(join(folder, "calls"), "utf8").trim().split("\n").length;

describe("the script that submits once", () => {
  it("gives twenty callers at once the answer of one submission", async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => submit("1", "first", "sh", "-c", SBATCH, "sbatch", ".3")),
    );
    expect(answers.map((a) => [a.code, a.stdout])).toEqual(Array.from({ length: 20 }, () => [0, "1\n"]));
    expect(calls()).toBe(1);
    expect(await submit("1", "again", "sh", "-c", SBATCH)).toMatchObject({ code: 0, stdout: "1\n" });
    expect(calls()).toBe(1);
  });

  it("submits every attempt once", async () => {
    for (const attempt of ["1", "2", "2", "1", "3"]) await submit(attempt, "first", "sh", "-c", SBATCH);
    expect(calls()).toBe(3);
  });

  it("passes a refusal on with its words and code, and lets the next call try", async () => {
    expect(await submit("1", "first", "sh", "-c", "echo half; echo no such partition >&2; exit 4")).toEqual({
      code: 4,
      stdout: "half\n",
      stderr: "no such partition\n",
    });
    expect(await submit("1", "first", "sh", "-c", SBATCH)).toMatchObject({
      code: 0,
      stdout: "1\n",
      stderr: "warning\n",
    });
  });

  it("finishes and keeps its answer though nobody listens any more", async () => {
    const child = execFile("sh", [join(folder, "submit.sh"), "1", "first", "sh", "-c", SBATCH, "sbatch", ".5"], {
      cwd: folder,
    });
    await until("the submission", () => existsSync(join(folder, "calls")));
    // What the end of a session does: the pipes close, and what belongs to it is told to hang up.
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.kill("SIGHUP");
    await new Promise((ended) => child.once("exit", ended));
    expect(await submit("1", "first", "sh", "-c", SBATCH)).toMatchObject({ code: 0, stdout: "1\n" });
    expect(calls()).toBe(1);
  });

  it("does not submit behind the back of one that may be at work, and does when it is surely gone", async () => {
    const lock = join(folder, "submit-1.1");
    mkdirSync(lock);
    expect((await submit("1", "first", "sh", "-c", SBATCH)).code).toBe(75);
    const old = Date.now() / 1000 - 400;
    utimesSync(lock, old, old);
    expect((await submit("1", "first", "sh", "-c", SBATCH)).code).toBe(76);
    // Asked for again, because the scheduler knows nothing of it: once, whoever asks.
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => submit("1", "again", "sh", "-c", SBATCH, "sbatch", ".2")),
    );
    expect(answers.map((a) => a.stdout)).toEqual(Array.from({ length: 5 }, () => "1\n"));
    // The one that was lost comes late: it finds the newer answer.
    expect(await submit("1", "first", "sh", "-c", SBATCH)).toMatchObject({ code: 0, stdout: "1\n" });
    expect(calls()).toBe(1);
  });

  it("is withdrawn for good by an answer of ours", async () => {
    expect(await submit("1", "first", "echo", "withdrawn")).toMatchObject({ code: 0, stdout: "withdrawn\n" });
    expect(await submit("1", "first", "sh", "-c", SBATCH)).toMatchObject({ code: 0, stdout: "withdrawn\n" });
    expect(existsSync(join(folder, "calls"))).toBe(false);
    expect(readdirSync(folder).sort()).toEqual(["submit-1.1", "submit.sh"]);
  });
});
