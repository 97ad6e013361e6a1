import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readSheet } from "../../kernel-lib/src/jobs/sheet.js";
import { Yale } from "../../kernel-lib/src/yale.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "yale-sheet-"));
  writeFileSync(join(folder, "box 1.pdf"), "");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function sheet(text: string): string {
  const path = join(folder, "jobs.csv");
  writeFileSync(path, text);
  return path;
}

describe("a sheet", () => {
  it("is a job for each row, options by column whatever their spelling", async () => {
    const path = sheet("Source,Job-cluster,label:shelf\n");
    await expect(readSheet(path)).rejects.toThrow(/Job-cluster/);
    const rows = await readSheet(
      sheet(
        'Source,Max samples,gpus,modules,label:Shelf,output\nbox 1.pdf,3,a100:1,"miniconda, CUDA",A 1,out/1\nhttps://example.org/m,,,,,\n',
      ),
    );
    expect(rows).toEqual([
      {
        row: 2,
        source: join(folder, "box 1.pdf"),
        options: {
          maxSamples: 3,
          gpus: "a100:1",
          modules: ["miniconda", "CUDA"],
          labels: { Shelf: "A 1" },
          output: join(folder, "out/1"),
        },
      },
      { row: 3, source: "https://example.org/m", options: {} },
    ]);
  });

  it("is refused as a whole, with the row, if one row is wrong", async () => {
    await expect(readSheet(sheet("source,cpus\n,2\n"))).rejects.toThrow(/row 2: it has neither/);
    await expect(new Yale().sheet(sheet("source,time\na.pdf,02:00:00\nb.pdf,90\n"))).rejects.toThrow(
      /row 3: time: got "90".*Nothing was submitted/s,
    );
    await expect(new Yale().sheet(sheet("source,gpu\na.pdf,a100:1\n"))).rejects.toThrow(/did you mean "gpus"/);
  });

  it("takes what its caller says for rows that say nothing", async () => {
    const jobs = await new Yale().sheet(sheet("source,cpus\na.pdf,2\nb.pdf,\n"), { cpus: 4, model: "tesseract" });
    expect(jobs.map((job) => job.spec().resources.cpus)).toEqual([2, 4]);
    expect(jobs.map((job) => job.spec().runner)).toEqual(["tesseract", "tesseract"]);
  });
});
