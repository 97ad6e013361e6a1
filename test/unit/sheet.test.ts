import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import writeExcel from "write-excel-file/node";
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

  it("has cells of every kind: files with spaces in their names, switches, times of Excel", async () => {
    mkdirSync(join(folder, "my box"), { recursive: true });
    for (const name of ["1.jpg", "2, 3.jpg"]) writeFileSync(join(folder, "my box", name), "");
    const [one, two, three] = await readSheet(
      sheet(
        'script;data;startEarly\n\na.py;my box/1.jpg;TRUE\na.py;my box/2, 3.jpg;no\n\na.py;"my box/1.jpg, hf://x/y";\n',
      ),
    );
    expect(one).toMatchObject({ row: 3, options: { data: [join(folder, "my box/1.jpg")], startEarly: true } });
    expect(two).toMatchObject({ row: 4, options: { data: [join(folder, "my box/2, 3.jpg")], startEarly: false } });
    expect(three).toMatchObject({ row: 6, options: { data: [join(folder, "my box/1.jpg"), "hf://x/y"] } });
    const workbook = join(folder, "times.xlsx");
    const day = (ms: number) => new Date(Date.UTC(1899, 11, 30) + ms);
    const data = [
      [{ value: "source" }, { value: "time" }, { value: "label:seen" }],
      [
        { value: "a.pdf" },
        { value: day(2 * 3_600_000), type: Date, format: "hh:mm:ss" },
        { value: new Date("2024-05-06T07:08:09Z"), type: Date, format: "yyyy-mm-dd hh:mm:ss" },
      ],
      [
        { value: "b.pdf" },
        { value: day(26.5 * 3_600_000), type: Date, format: "[h]:mm:ss" },
        { value: new Date("2024-05-06"), type: Date, format: "yyyy-mm-dd" },
      ],
    ];
    writeFileSync(workbook, await writeExcel([{ data }]).toBuffer());
    expect((await readSheet(workbook)).map(({ options }) => [options.time, options.labels])).toEqual([
      ["02:00:00", { seen: "2024-05-06 07:08:09" }],
      ["26:30:00", { seen: "2024-05-06" }],
    ]);
  });

  it.each([
    ["UTF-16", Buffer.from("\ufeffsource\tlabel:Ort\na.pdf\tMünchen\n", "utf16le")],
    ["Latin-1", Buffer.from("source,label:Ort\na.pdf,München\n", "latin1")],
    ["a line that names the delimiter", Buffer.from("sep=;\nsource;label:Ort\na.pdf;München\n")],
    ["tabs", Buffer.from("source\tlabel:Ort\na.pdf\tMünchen\n")],
    ["bars", Buffer.from("source|label:Ort\na.pdf|München\n")],
    ["semicolons and a comma in a head", Buffer.from("label:Titel, Jahr;source;label:Ort\n;a.pdf;München\n")],
  ])("may be written with %s", async (_, bytes) => {
    const path = join(folder, "jobs.csv");
    writeFileSync(path, bytes);
    expect(await readSheet(path)).toMatchObject([{ source: "a.pdf", options: { labels: { Ort: "München" } } }]);
  });

  it("is refused where two of its columns are one option", async () => {
    await expect(readSheet(sheet("source,Max samples,maxSamples\na.pdf,1,2\n"))).rejects.toThrow(
      /"Max samples" and "maxSamples" are one option/,
    );
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
