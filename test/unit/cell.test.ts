import { describe, expect, it } from "vitest";
import { ocrSpec, runSpec } from "../../kernel-lib/src/jobs/spec.js";
import type { JobSpec } from "../../kernel-lib/src/protocol.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { cellOf } from "../../labextension/src/cell.js";

/** What the builder of a cell says it would send. */
function specOf(cell: string): JobSpec {
  const [, expression] = /const job = await ([\s\S]*)\n {2}\.submit\(\);\njob$/.exec(cell) ?? [];
  if (expression === undefined) throw new Error(`This is no cell: ${cell}`);
  const make = new Function("yale", `return ${expression}.spec()`) as (yale: Yale) => JobSpec;
  return make(new Yale({ agent: false }));
}

/** What stands in a template string for something else, and must not in a cell. */
const PLACE = ["$", "{x}"].join("");

const SPECS: Record<string, JobSpec> = {
  "a file": ocrSpec("/w/scans.pdf"),
  "several sources, with a resolution": ocrSpec(["/w/a.pdf", "/w/b/*.pdf"], { dpi: 300 }),
  "kinds and options of sources": ocrSpec([
    { kind: "pdf", location: "/w/a.pdf", options: { pages: "1-3", dpi: 150 } },
    { kind: "iiif", location: "https://example.org/manifest.json" },
    { kind: "hf", location: "org/scans", options: { split: "test" } },
  ]),
  "what is asked of the scheduler": ocrSpec("/w/scans.pdf", {
    name: "letters",
    cluster: "bouchet",
    gpus: "a100:1",
    cpus: 4,
    memory: "32G",
    time: "02:00:00",
    partition: "gpu",
    nodes: 1,
    account: "pi_x",
    qos: "normal",
    constraint: "a100",
    extra: ["#SBATCH --exclusive", "#SBATCH --x='y'"],
    mail: { user: "a@yale.edu", type: "END" },
  }),
  "what is asked of the runner": ocrSpec("/w/scans.pdf", {
    model: "dots-ocr",
    promptMode: "layout-all",
    batchSize: 4,
    maxModelLen: 2000,
    maxTokens: 1000,
    lang: "deu+lat",
    options: { odd: { a: [1, null, "x"] } },
  }),
  "what else there is": ocrSpec("/w/scans.pdf", {
    env: "ocr",
    modules: ["miniconda", "CUDA/12"],
    variables: { A_B: "c d" },
    maxSamples: 7,
    output: "/w/results",
    labels: { project: "x y", b: "2" },
    shards: 8,
    after: ["aaaa", "bbbb"],
    afterCondition: "afterany",
    retries: 0,
  }),
  "one that starts early, and where its results go": ocrSpec("/w/scans.pdf", {
    startEarly: true,
    pushToHub: "ab123/letters",
  }),
  "a dataset on the cluster": ocrSpec([], { datasetPath: "/data/pages", name: "there" }),
  "a script": runSpec(`#!/usr/bin/env python3\nprint(f'${PLACE}', \`y\`, "\\n")\n`, {
    name: "mine",
    args: ["--a", "b c", "$(d)"],
    data: "/w/scans.pdf",
  }),
  "a script that takes another job's output": runSpec("#!/bin/bash\necho\n", { data: { id: "cccc" } }),
  "words made to break out": ocrSpec('/w/"; process.exit(); ".pdf', { name: `\`${PLACE}\` \\ "'\u2028` }),
};

describe("a job as a cell", () => {
  it.each(Object.entries(SPECS))("is the same job again: %s", (_, spec) => {
    expect(specOf(cellOf(spec))).toEqual(spec);
  });

  it("names files below the notebook from there, and no others", () => {
    const cell = cellOf(ocrSpec(["/w/a.pdf", "/w2/b.pdf"], { output: "/w/out" }), "/w");
    expect(cell).toContain('yale.ocr(["a.pdf", "/w2/b.pdf"])');
    expect(cell).toContain('.output("out")');
  });
});
