import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { checkRunnerOptions, findCard, readCard, readCards } from "../../kernel-lib/src/runners.js";
import { SITES } from "../../kernel-lib/src/sites/index.js";

const folder = mkdtempSync(join(tmpdir(), "yale-card-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("cards", () => {
  it.each(readCards().map((c) => [c.name, c] as const))("%s says what a person and the builder need", (_, card) => {
    expect(card.title).toMatch(/^\S.{10,120}$/);
    expect(card.licence).not.toBe("");
    expect(Array.isArray(card.command)).toBe(true);
    for (const [name, option] of Object.entries(card.options)) {
      expect(name).toMatch(/^[a-z][A-Za-z]*$/);
      expect(option.help.length).toBeGreaterThan(10);
      // A default is what it allows.
      if (option.default !== undefined) checkRunnerOptions(card, { [name]: option.default });
    }
    if (card.gpus === 0) return;
    expect(card.model).toMatch(/^[\w.-]+\/[\w.-]+$/);
    expect(card.evidence).toBeTruthy();
    expect(card.dependencies?.some((d) => d.startsWith("vllm>="))).toBe(true);
    // Somewhere at Yale there is a GPU for it.
    const gpus = SITES.filter((s) => s.outOfScope === undefined).flatMap((s) => s.gpus);
    expect(gpus.some((g) => g.gigabytes >= (card.gpuMemory ?? 0))).toBe(true);
  });

  it("are found by name and by model id, and a wrong name is told the right one", () => {
    expect(findCard("rednote-hilab/dots.ocr").name).toBe("dots-ocr");
    expect(() => findCard("dots-orc")).toThrow(/did you mean "dots-ocr"/);
  });

  it("of the siblings have the common options, each with its own defaults", () => {
    const light = findCard("lighton-ocr-2");
    expect(Object.keys(light.options)).toEqual(expect.arrayContaining(Object.keys(findCard("qwen3-vl").options)));
    expect(light.options.temperature?.default).toBe(0.2);
    expect(light.options.maxTokens?.default).toBe(4096);
    expect(findCard("dots-ocr").options.maxTokens?.default).toBe(16384);
    expect(() => checkRunnerOptions(light, { promptMode: "layout-all" })).toThrow(/promptMode/);
    expect(() => checkRunnerOptions(light, { batchSize: 0 })).toThrow(/of 1 or more/);
  });

  it("that are not whole are refused in words", () => {
    const write = (name: string, head: string) => {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "main.py"), head);
      return join(folder, name);
    };
    expect(() => readCard(write("bare", "print(1)\n"))).toThrow(/has no card/);
    const half = '# /// script\n# [tool.yale-jobs]\n# name = "half"\n# ///\n';
    expect(() => readCard(write("half", half))).toThrow(/has no title/);
    expect(() => readCard(folder)).toThrow(/holds no runner/);
  });
});
