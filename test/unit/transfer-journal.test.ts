import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Journal } from "../../kernel-lib/src/cluster/transfer-journal.js";
import { cut } from "../../kernel-lib/src/cluster/transfer-pack.js";
import type { TreeFile } from "../../kernel-lib/src/cluster/transfer-tree.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "yale-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (identity = "one", remote = "/far/tree") => Journal.open(folder, "/near/tree", remote, identity);
const path = () => join(folder, readdirSync(folder).find((n) => n.endsWith(".jsonl")) ?? "");

describe("the journal of an upload", () => {
  it("is taken up with all that it knew", () => {
    const first = open();
    first.pack(0, "aa");
    first.pack(3, "bb");
    first.block(7, 0, "cc");
    first.mark(7, 100, true);
    first.mark(7, 200, true);
    first.forget({ pack: 0 });
    first.close();
    const second = open();
    expect(second.token).toBe(first.token);
    expect([...second.packs]).toEqual([[3, "bb"]]);
    expect([...second.blocks]).toEqual([["7:0", "cc"]]);
    expect([...second.marks]).toEqual([[7, 200]]);
    second.remove();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("begins anew where the source has changed, under another token", () => {
    const first = open();
    first.pack(0, "aa");
    first.close();
    const second = open("two");
    expect(second.token).not.toBe(first.token);
    expect(second.packs.size).toBe(0);
    second.close();
    // And what was known of the old state is gone for good.
    const third = open();
    expect([first.token, second.token]).not.toContain(third.token);
    third.close();
  });

  it("loses no more than the line that a crash cut in two", () => {
    const first = open();
    first.pack(0, "aa");
    first.pack(1, "bb");
    first.close();
    truncateSync(path(), readFileSync(path()).length - 5);
    const second = open();
    expect([...second.packs.keys()]).toEqual([0]);
    // What is noted next must not be lost with the cut line.
    second.pack(2, "cc");
    second.pack(3, "dd");
    second.close();
    const third = open();
    expect([...third.packs.keys()]).toEqual([0, 2, 3]);
    third.close();
  });

  it("begins anew where its file is damaged", () => {
    for (const text of ["", "\n", "nonsense\n", '{"identity":"one","token":"../../evil"}\n', '["one"]\n', "null\n"]) {
      const first = open();
      first.pack(0, "aa");
      first.close();
      writeFileSync(path(), text);
      const second = open();
      expect(second.packs.size).toBe(0);
      expect(second.token).toMatch(/^[0-9a-f]{12}$/);
      second.remove();
    }
    const first = open();
    first.close();
    appendFileSync(path(), '{"pack":"x"}\n{"file":1}\n{"file":-1,"mark":"y"}\n17\n');
    const second = open();
    expect(second.packs.size + second.blocks.size + second.marks.size).toBe(0);
    second.close();
  });

  it("is kept by one call at a time; a second has its own, and leaves no trace", () => {
    const first = open();
    const second = open();
    expect(second.token).not.toBe(first.token);
    second.pack(0, "aa");
    second.remove();
    first.pack(1, "bb");
    first.close();
    const third = open();
    expect([third.token, ...third.packs.keys()]).toEqual([first.token, 1]);
    third.close();
  });

  it("is another for another target", () => {
    const first = open();
    const second = open("one", "/far/other");
    expect(readdirSync(folder).filter((n) => n.endsWith(".jsonl"))).toHaveLength(2);
    first.remove();
    second.remove();
  });

  it("stays small: a mark is noted after four megabytes and half a second", () => {
    const journal = open();
    for (let i = 0; i < 1000; i++) journal.mark(0, i << 17);
    journal.mark(0, 999 << 17, true);
    journal.close();
    expect(readFileSync(path(), "utf8").split("\n").length).toBeLessThan(10);
    const again = open();
    expect(again.marks.get(0)).toBe(999 << 17);
    again.remove();
  });
});

describe("files are cut", () => {
  const file = (path: string, size: number): TreeFile => ({ path, size, mtime: 0, mode: 0o644 });

  it("into packs of at most 24 MiB and 2048 files, and those that travel alone", () => {
    const files = [
      ...Array.from({ length: 5000 }, (_, i) => file(`tiny/${i}`, 10)),
      ...Array.from({ length: 40 }, (_, i) => file(`medium/${i}`, 3 << 20)),
      file("big", (4 << 20) + 1),
      file("line\nend", 1),
      file("back\\slash", 1),
    ];
    const { packs, single } = cut(files);
    expect(single.map(({ file }) => file.path)).toEqual(["big", "line\nend", "back\\slash"]);
    expect(single.map(({ index }) => files[index]?.path)).toEqual(["big", "line\nend", "back\\slash"]);
    for (const pack of packs) {
      expect(pack.files.length).toBeLessThanOrEqual(2048);
      expect(pack.files.reduce((sum, f) => sum + f.size, 0)).toBeLessThanOrEqual(24 << 20);
    }
    expect(packs.flatMap((p) => p.files)).toEqual(files.slice(0, 5040));
    expect(packs.map((p) => p.index)).toEqual(packs.map((_, i) => i));
    expect(cut(files)).toEqual({ packs, single });
  });

  it("not at all where the tree is one file, or empty", () => {
    expect(cut([file("", 3)])).toEqual({ packs: [], single: [{ index: 0, file: file("", 3) }] });
    expect(cut([])).toEqual({ packs: [], single: [] });
  });
});
