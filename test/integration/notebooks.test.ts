import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { copyNotebooks, NOTEBOOKS } from "../support/lessons.js";
import { python, ROOT, Sandbox } from "../support/sandbox.js";

interface Outputs {
  stable(notebook: unknown): { printed: string; shown: string[][] }[];
  kept(notebook: unknown, folder: string): unknown;
}
const { stable, kept } = (await import("../../scripts/lib/notebook_outputs.mjs" as string)) as Outputs;

const FOLDER = join(ROOT, "notebooks");

let box: Sandbox;
let work: string;
beforeAll(() => {
  box = new Sandbox({ JUPYTER_PATH: join(ROOT, ".yale", "venv", "share", "jupyter") });
  work = join(box.home, "notebooks");
  copyNotebooks(work);
});
afterAll(() => box.close());

describe("the notebooks", () => {
  it("are these eight lessons", () => {
    expect(NOTEBOOKS.map((name) => name.replace(".ipynb", ""))).toEqual([
      "cluster_and_2fa",
      "custom_job",
      "data_sources",
      "iiif_ocr",
      "many_jobs",
      "quickstart",
      "results_and_quality",
      "simple_ocr",
    ]);
  });

  it.each(NOTEBOOKS)("%s runs from top to bottom and says what it said when it was kept", async (name) => {
    const file = join(work, name);
    const runner = join(ROOT, "scripts", "lib", "run_notebook.py");
    const ran = await box.run(python(), [runner, file], { timeout: 115_000 });
    expect(ran.code, ran.stderr).toBe(0);
    const before = JSON.parse(readFileSync(join(FOLDER, name), "utf8"));
    const now = kept(JSON.parse(readFileSync(file, "utf8")), work);
    const hint = "if this is meant: node scripts/notebooks.mjs";
    expect(stable(now), hint).toEqual(stable(before));
  });

  it("are kept with what they show, and without what names a machine", () => {
    for (const name of NOTEBOOKS) {
      const text = readFileSync(join(FOLDER, name), "utf8");
      expect(text.length, name).toBeLessThan(400_000);
      expect(text, name).not.toMatch(/\/(home|root|tmp|work|Users)\//);
      const shown = stable(JSON.parse(text)).flatMap((cell) => cell.shown);
      expect(shown.length, name).toBeGreaterThan(0);
    }
  });
});
