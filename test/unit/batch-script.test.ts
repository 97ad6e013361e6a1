import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ocrSpec, runSpec } from "../../kernel-lib/src/jobs/spec.js";
import type { JobSpec } from "../../kernel-lib/src/protocol.js";
import type { ScriptPlan } from "../../kernel-lib/src/schedulers/index.js";
import { directives } from "../../kernel-lib/src/schedulers/sbatch.js";
import { batchScript } from "../../kernel-lib/src/schedulers/script.js";
import { ROOT } from "../support/sandbox.js";

/** Words that a shell, SLURM or a careless template would make something of. */
const NASTY = 'it\'s "$(touch /tmp/owned)" `id` $HOME\n#SBATCH --nodes=9\n%j \\ -x é';
/** The same on one line, as a name has to be. */
const NAME = NASTY.replaceAll("\n", " ");

function plan(spec: JobSpec, more: Partial<ScriptPlan> = {}): ScriptPlan {
  const command =
    spec.kind === "ocr" ? ["bash", "runner/start.sh", "--options", "options.json"] : ["bash", "../work.sh"];
  return {
    ...{ id: "6fkk8e35m7", token: "yale-6fkk8e35m7-1", jobDir: "/home/netid/yale jobs/6fkk8e35m7", prologue: [] },
    ...{ spec, command, attempt: 1 },
    ...more,
  };
}

/** Everything that can be chosen, in one job. */
const everything = ocrSpec(["/x/a.pdf"], {
  ...{ name: NAME, partition: "gpu", gpus: "a100:2", cpus: 8, memory: "64G", time: "1-00:00:00", nodes: 1 },
  ...{ account: "prio_lib", qos: "normal", constraint: "a100-80g|h100" },
  ...{ mail: { user: "netid@yale.edu", type: "END,FAIL" }, extra: ["#SBATCH --exclusive"] },
  ...{ env: "my env", modules: ["CUDA/12.1", "miniconda"], variables: { QUOTED: NASTY }, shards: 8 },
  after: ["otherjob01", "otherjob02"],
});

describe("the batch script", () => {
  it.each<[string, ScriptPlan]>([
    ["run-least", plan(runSpec("#!/bin/bash\ntrue\n"))],
    ["ocr-least", plan(ocrSpec(["/x/a.pdf"], {}))],
    ["ocr-everything", plan(everything, { afterIds: ["17", "18"], tasksAtOnce: 4 })],
  ])("%s is as it was read and found right", async (name, given) => {
    const script = batchScript(given);
    execFileSync("bash", ["-n"], { input: script });
    await expect(script).toMatchFileSnapshot(join(ROOT, "test", "files", "batch", `${name}.sh`));
  });

  it("of a further attempt differs in its tasks and its heading, and in nothing else", () => {
    const lines = (more: Partial<ScriptPlan>) =>
      batchScript(plan(everything, { afterIds: ["17", "18"], ...more })).split("\n");
    const first = lines({});
    const changed = lines({ attempt: 3, onlyTasks: [2, 5] }).map((line, i) =>
      line === first[i] ? [] : [first[i], line],
    );
    const heading = (attempt: number) =>
      `  printf '\\n==== Attempt %s, run %s, on %s at %s ====\\n' ${attempt} "$((\${SLURM_RESTART_COUNT:-0} + 1))" "$(uname -n)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"`;
    expect(changed.filter((pair) => pair.length > 0)).toEqual([
      ["#SBATCH --array=0-7", "#SBATCH --array=2,5"],
      [heading(1), heading(3)],
    ]);
  });

  it("gives a job its arguments, its variables and its folder as they were meant, whatever they are made of", () => {
    const folder = mkdtempSync(join(tmpdir(), "yale-batch-"));
    const jobDir = join(folder, "it's $(id) %j");
    try {
      mkdirSync(join(jobDir, "output"), { recursive: true });
      mkdirSync(join(jobDir, "log"));
      const spec = runSpec("#!/bin/bash\n", { name: NAME, variables: { QUOTED: NASTY } });
      const tell = 'printf "%s\\0" "$QUOTED" "$PWD" "$YALE_JOBS_OUTPUT" "$@" > told; exit 7';
      const script = batchScript(plan(spec, { jobDir, command: ["bash", "-c", tell, "x", NASTY, "", "--help"] }));
      let code: unknown = 0;
      try {
        execFileSync("bash", { input: script });
      } catch (error) {
        code = (error as { status: unknown }).status;
      }
      const output = join(jobDir, "output");
      const told = readFileSync(join(output, "told"), "utf8").split("\0");
      expect(told).toEqual([NASTY, output, output, NASTY, "", "--help", ""]);
      expect([code, readFileSync(join(jobDir, "exit"), "utf8")]).toEqual([7, "7\n"]);
      // The variable's second line looks like a directive, but sbatch has stopped to look for any by then.
      expect(directives(script).has("nodes")).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("has the exit code of a runner that ends at once when it is told to, before the signal has been passed on", () => {
    const jobDir = mkdtempSync(join(tmpdir(), "yale-batch-"));
    try {
      mkdirSync(join(jobDir, "log"));
      const runner = 'trap "exit 75" USR1; while :; do kill -USR1 $PPID; sleep 0.05; done';
      const script = batchScript(plan(ocrSpec(["/x/a.pdf"], {}), { jobDir, command: ["bash", "-c", runner] }));
      // The shell has taken leave of the child by the time that it comes back to waiting.
      const slow =
        'kill() { builtin kill "$@"; local told=$?; [ "$1" != -USR1 ] || sleep 0.3; return $told; }\ntrap : USR1\n';
      expect(spawnSync("bash", { input: slow + script }).status).toBe(75);
      expect(readFileSync(join(jobDir, "exit"), "utf8")).toBe("75\n");
    } finally {
      rmSync(jobDir, { recursive: true });
    }
  });
});
