import { describe, expect, it } from "vitest";
import { ocrSpec, runSpec } from "../../kernel-lib/src/jobs/spec.js";
import {
  checkCount,
  checkGpus,
  checkKeys,
  checkMemory,
  checkTime,
  checkWord,
  timeSeconds,
} from "../../kernel-lib/src/options.js";
import { refused } from "../support/refused.js";

describe("options of a job", () => {
  it.each([
    ["a100:1", "a100:1"],
    ["h200", "h200:1"],
    [2, "2"],
    ["4", "4"],
    ["rtx_5000_ada:2", "rtx_5000_ada:2"],
  ])("takes GPUs as %j", (given, made) => expect(checkGpus(given)).toBe(made));

  it.each(["a100:", "a100:x", ":2", "a100:0", "a100:1:2", "-1", -1, 1.5, "a 100:1", "$(id):1", "", 65, null])(
    "refuses GPUs as %j and says what is allowed",
    (given) => expect(refused(() => checkGpus(given))).toMatch(/gpus: got .*[\s\S]*a100:1/),
  );

  it.each([
    ["02:00:00", 7200],
    ["1-00:00:00", 86_400],
    ["1-12", 129_600],
    ["0-00:30", 1800],
    ["100:00:00", 360_000],
  ])("takes %s as a time", (given, seconds) => {
    expect(checkTime(given)).toBe(given);
    expect(timeSeconds(given)).toBe(seconds);
  });

  it.each([60, "60", "2h", "1:2:3:4", "02:61:00", "00:00:00", "10:00", "-1-00:00:00", "", undefined])(
    "refuses %j as a time",
    (given) => expect(refused(() => checkTime(given))).toContain("02:00:00"),
  );

  it.each(["32G", "512m", "1TB"])("takes %s as memory", (given) => expect(checkMemory(given)).toMatch(/^\d+[KMGT]$/));
  it.each(["32", 32, "0G", "-1G", "1.5G", "32 G", "lots"])("refuses %j as memory", (given) =>
    expect(refused(() => checkMemory(given))).toContain("32G"),
  );

  it.each([-1, 0, 1.5, "2", Number.NaN])("refuses %j as a count", (given) => {
    expect(refused(() => checkCount("cpus", given))).toContain("cpus");
  });

  it.each(["--exclusive", "a b", "x;id", "$(id)", "'", "x\ny", ""])("refuses %j as a partition", (given) =>
    expect(refused(() => checkWord("partition", given))).toContain("partition"),
  );

  it("divides no pages among tasks that are not known yet", () => {
    expect(refused(() => ocrSpec("a.pdf", { startEarly: true, shards: 2 }))).toMatch(/startEarly and shards/);
    expect(refused(() => ocrSpec("a.pdf", { startEarly: "yes" } as object))).toContain("true or false");
    expect(ocrSpec("a.pdf", { startEarly: false, shards: 2 })).not.toHaveProperty("startEarly");
    // There is nothing to wait for.
    expect(ocrSpec([], { startEarly: true, datasetPath: "/d" })).not.toHaveProperty("startEarly");
  });

  it("names the nearest option for a misspelt one", () => {
    expect(refused(() => checkKeys("job", { cpu: 1 }, ["cpus", "gpus"]))).toContain('did you mean "cpus"');
    expect(refused(() => ocrSpec("a.pdf", { batchsize: 1 } as object))).toContain('"batchSize"');
  });
});

describe("specifications", () => {
  it("makes local paths absolute and leaves URLs alone", () => {
    const spec = ocrSpec(["a.pdf", "https://example.org/manifest"]);
    expect(spec.sources.map((s) => s.location)).toEqual([`${process.cwd()}/a.pdf`, "https://example.org/manifest"]);
  });

  it("names a job after its source, whatever the file is called", () => {
    expect(ocrSpec("/x/two words.pdf").name).toBe("ocr two words");
    expect(ocrSpec("/x/a\nb.pdf").name).toBe("ocr a?b");
  });

  it("refuses variables by whose names programs look for secrets", () => {
    for (const name of ["HF_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"]) {
      const words = refused(() => ocrSpec("a.pdf", { variables: { [name]: "canary" } }));
      expect(words).toContain(name);
      expect(words).not.toContain("canary");
    }
    expect(ocrSpec("a.pdf", { variables: { HF_HOME: "/x", TOKENS: "8" } }).variables).toEqual({
      HF_HOME: "/x",
      TOKENS: "8",
    });
  });

  it("refuses a job without a source", () => expect(refused(() => ocrSpec([]))).toContain("source"));

  it("takes a script's text as it is and guesses who runs it", () => {
    const text = "#!/usr/bin/env python3\nfrom datasets import load_from_disk\nprint(load_from_disk('dataset'))\n";
    expect(runSpec(text).script).toEqual({ name: "script.py", text, interpreter: "python3", args: [] });
    expect(runSpec("#!/bin/sh\necho\n").script?.interpreter).toBe("bash");
  });

  it("says which script can't be read", () => {
    expect(refused(() => runSpec("no-such.py"))).toContain("no-such.py");
  });

  it("refuses environments and modules that a command would take for options", () => {
    expect(refused(() => ocrSpec("a.pdf", { env: "--help" }))).toContain("dash");
    expect(refused(() => ocrSpec("a.pdf", { modules: ["-x"] }))).toContain("dash");
  });

  it("refuses batch lines that are none", () => {
    expect(refused(() => ocrSpec("a.pdf", { extra: ["rm -rf /"] }))).toContain("#SBATCH");
    expect(refused(() => ocrSpec("a.pdf", { extra: ["#SBATCH --x\nrm"] }))).toContain("#SBATCH");
  });
});
