import { describe, expect, it } from "vitest";
import { jobFileText, parseJobFile } from "../../kernel-lib/src/jobs/job-file.js";
import { newRecord } from "../../kernel-lib/src/jobs/records.js";
import { ocrSpec, runSpec } from "../../kernel-lib/src/jobs/spec.js";
import type { JobRecord, JobSpec } from "../../kernel-lib/src/protocol.js";

const ID = "6fkk8e35m7";
function record(spec: JobSpec): JobRecord {
  return {
    ...newRecord(ID, spec),
    state: "running",
    createdAt: "2026-01-02T03:04:05.000Z",
    schedulerId: "17",
    submittedAt: "2026-01-02T03:05:05.000Z",
    dataset: { hash: "0123456789abcdef", pages: 3, bytes: 4 },
    earlier: [{ attempt: 1, schedulerId: "16", state: "timeout", done: 2, automatic: true }],
    attempt: 2,
    revision: 9,
  };
}

const ocr = record(
  ocrSpec(["/x/a.pdf"], {
    ...{ gpus: "a100:1", memory: "32G", time: "02:00:00", partition: "gpu", extra: ["#SBATCH --exclusive"] },
    ...{ mail: { user: "netid@yale.edu" }, labels: { box: "12", __proto__: "x" }, shards: 8, retries: 2 },
    ...{ modules: ["miniconda"], variables: { A: "$(id)\nb" }, lang: "eng", after: "otherjob01", dpi: 150 },
  }),
);

describe("job.json", () => {
  it.each([
    ["of an OCR job", ocr],
    ["of a job that starts early", record(ocrSpec("/x/a.pdf", { startEarly: true }))],
    ["of a script", record(runSpec("#!/bin/bash\necho '$x'\n", { args: ["a b", "--c"], data: { id: "otherjob01" } }))],
  ])("%s says all that is needed to run it again", (_, r) => {
    const { spec, ...rest } = parseJobFile(jobFileText(r), ID);
    // Which cluster it is, the reader knows.
    expect(spec).toEqual({ ...JSON.parse(JSON.stringify(r.spec)), cluster: "" });
    expect(rest).toMatchObject({
      attempt: 2,
      token: `yale-${ID}-2`,
      createdAt: r.createdAt,
      schedulerId: "17",
      dataset: r.dataset,
      earlier: r.earlier,
    });
  });

  const change = (path: string, value: unknown) => {
    const content = JSON.parse(jobFileText(ocr));
    const keys = path.split(".");
    const last = keys.pop() ?? "";
    keys.reduce((o, key) => o[key], content)[last] = value;
    return JSON.stringify(content);
  };

  it.each<[string, unknown]>([
    ["id", "../../etc"],
    ["id", "otherjob01"],
    ["schedulerId", "17; rm -rf /"],
    ["schedulerId", "--all"],
    ["attempt", -1],
    ["attempt", "2"],
    ["createdAt", "yesterday"],
    ["dataset.hash", "../../../home"],
    ["spec.kind", "shell"],
    ["spec.name", "a\u001b[2J"],
    ["spec.name", { toString: "x" }],
    ["spec.resources.partition", "gpu\n#SBATCH --x"],
    ["spec.resources.extra", ["#SBATCH -x\nrm -rf /"]],
    ["spec.resources.cpus", "$(id)"],
    ["spec.variables", { "A;B": "x" }],
    ["spec.modules", ["a\nb"]],
    ["spec.after", [{ job: "../x" }]],
    ["spec.dataFrom", "../other"],
    ["spec.runner", "../../x y"],
    ["spec.script", { name: "../run.sh", text: "", interpreter: "bash", args: [] }],
    ["spec.sources", "x"],
    ["spec", null],
  ])("is refused with %s = %j", (path, value) => {
    expect(() => parseJobFile(change(path, value), ID)).toThrow(TypeError);
  });

  it("leaves out what nobody knows, and what belongs to the other machine", () => {
    const { spec } = parseJobFile(change("spec.output", "/home/ada/results"), ID);
    expect(spec.output).toBeUndefined();
    expect(parseJobFile(change("spec.surprise", 1), ID).spec).not.toHaveProperty("surprise");
  });

  it.each(["", "{", "null", "[]", '"x"', '{"id":"6fkk8e35m7"}'])("is refused as %j", (text) => {
    expect(() => parseJobFile(text, ID)).toThrow(TypeError);
  });
});
