import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import type { Command } from "commander";
import { Project, ts } from "ts-morph";
import { describe, expect, it } from "vitest";
import { CLUSTER_KEYS, loadConfig, TOP_KEYS } from "../../kernel-lib/src/config/index.js";
import { EXIT } from "../../kernel-lib/src/errors.js";
import { FORMAT_LIST } from "../../kernel-lib/src/exports/names.js";
import { ROOT } from "../support/sandbox.js";

interface Docs {
  program(): Command;
  cliReference(): string;
  apiReference(): string;
  publicNames(): { name: string; doc: string; text: string; bare: string[] }[];
  sites(): Promise<{ name: string }[]>;
  clusterPage(site: { name: string }): string;
}
const docs = (await import("../../scripts/docs.mjs" as string)) as Docs;

/** Documents for people; those of dependencies and of the build are not ours. */
function documents(folder = ROOT): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return /^(node_modules|dist|\..*|lib|build)$/.test(entry.name) ? [] : documents(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}
const DOCUMENTS = documents();
const read = (name: string) => readFileSync(join(ROOT, name), "utf8");
const place = (path: string) => relative(ROOT, path);

/** Blocks of code of a language, each with the line that it begins in. */
function blocks(text: string, ...languages: string[]): { line: number; code: string }[] {
  const found: { line: number; code: string }[] = [];
  for (const match of text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm))
    if (languages.includes(match[1] ?? ""))
      found.push({ line: text.slice(0, match.index).split("\n").length + 1, code: match[2] ?? "" });
  return found;
}

/** Anchors of a document, as GitHub makes them of its headings. */
function anchors(text: string): Set<string> {
  const seen = new Map<string, number>();
  const prose = text.replace(/^```[\s\S]*?^```$/gm, "");
  return new Set(
    [...prose.matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = ""]) => {
      const slug = heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\p{M} _-]/gu, "")
        .trim()
        .replaceAll(" ", "-");
      const before = seen.get(slug) ?? 0;
      seen.set(slug, before + 1);
      return before === 0 ? slug : `${slug}-${before}`;
    }),
  );
}

describe("what is made of the code", () => {
  it.each([
    ["docs/cli.md", () => docs.cliReference()],
    ["docs/api.md", () => docs.apiReference()],
  ])("%s is as the code has it", (path, make) => {
    expect(read(path) === make(), `${path} is old: run \`npm run build && node scripts/docs.mjs\``).toBe(true);
  });

  it("has a page for each known cluster, as its profile has it", async () => {
    const sites = await docs.sites();
    expect(sites.length).toBeGreaterThan(4);
    for (const site of sites)
      expect(
        read(`docs/clusters/${site.name}.md`) === docs.clusterPage(site),
        `${site.name}: node scripts/docs.mjs`,
      ).toBe(true);
    expect(readdirSync(join(ROOT, "docs", "clusters")).sort()).toEqual(sites.map((s) => `${s.name}.md`).sort());
  });

  it("leaves no public name without a comment", () => {
    const names = docs.publicNames();
    expect(names.filter((n) => n.doc === "")).toEqual([]);
    expect(names.flatMap((n) => n.bare)).toEqual([]);
  });

  it("leaves no command without an example, and no option without a word", () => {
    const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
    for (const command of all(docs.program())) {
      expect(command.description() || command.name()).not.toBe("");
      for (const option of command.options)
        expect(option.description, `${command.name()} ${option.flags}`).not.toBe("");
    }
  });
});

describe("what is written by hand", () => {
  it("says every key of config.yaml", () => {
    const text = read("docs/clusters.md");
    const said = (key: string) => new RegExp(`\`[^\`]*\\b${key}\\b[^\`]*\``).test(text);
    expect([...TOP_KEYS, ...CLUSTER_KEYS].filter((key) => !said(key))).toEqual([]);
  });

  it("says every error code with its class and exit code, and no other", () => {
    const rows = [...read("docs/errors.md").matchAll(/^\| `(\w+)` +\| [^|]+\| (\d+) +\|/gm)];
    expect(Object.fromEntries(rows.map((m) => [m[1], Number(m[2])]))).toEqual(EXIT);
    for (const { name } of docs.publicNames())
      if (/^[A-Z]\w+Error$/.test(name) && name !== "YaleError")
        expect(read("docs/errors.md"), name).toContain(`\`${name}\``);
  });

  it("says every format of export", () => {
    for (const format of FORMAT_LIST) expect(read("docs/results.md")).toContain(`\`${format}\``);
  });

  it("says every variable of the environment that people set", () => {
    const source = (folder: string): string =>
      readdirSync(folder, { withFileTypes: true })
        .map((e) => (e.isDirectory() ? source(join(folder, e.name)) : readFileSync(join(folder, e.name), "utf8")))
        .join("\n");
    const used = new Set(source(join(ROOT, "kernel-lib", "src")).match(/\bYALE_JOBS_[A-Z_]+\b/g));
    const all = DOCUMENTS.map((path) => readFileSync(path, "utf8")).join("\n");
    expect([...used].filter((name) => !all.includes(name))).toEqual([]);
  });

  it("links to what is there", () => {
    const broken: string[] = [];
    for (const path of DOCUMENTS) {
      const text = readFileSync(path, "utf8").replace(/^```[\s\S]*?^```$/gm, "");
      for (const [, target = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/i.test(target)) continue;
        const [file = "", anchor] = target.split("#");
        const to = file === "" ? path : join(dirname(path), decodeURIComponent(file));
        const there = statSync(to, { throwIfNoEntry: false });
        const ok =
          there !== undefined &&
          (anchor === undefined || (there.isFile() && anchors(readFileSync(to, "utf8")).has(anchor)));
        if (!ok) broken.push(`${place(path)}: ${target}`);
      }
    }
    expect(broken).toEqual([]);
  });
});

/** Words of a shell line, as far as documents use the shell: quotes, comments, and an end at a pipe. */
function words(line: string): string[] {
  const found: string[] = [];
  for (const match of line.matchAll(/\s*(?:(#.*)|([|;&>].*)|((?:"[^"]*"|'[^']*'|[^\s"'|;&>])+))/g)) {
    if (match[3] === undefined) break;
    found.push(match[3].replace(/"([^"]*)"|'([^']*)'/g, (_, a, b) => a ?? b));
  }
  return found;
}

describe("snippets", () => {
  it("of the shell are commands and options that there are", () => {
    const faults: string[] = [];
    const bare = (command: Command): Command => {
      command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
      if (command.commands.length === 0) command.action(() => undefined);
      command.commands.forEach(bare);
      return command;
    };
    for (const path of DOCUMENTS)
      for (const { line, code } of blocks(readFileSync(path, "utf8"), "bash", "sh", "console"))
        for (const [i, text] of code
          .replace(/\\\n\s*/g, " ")
          .split("\n")
          .entries()) {
          const [first, ...args] = words(text.replace(/^\$ /, "").replace(/^npx yale-jobs /, "yale "));
          if (first !== "yale" || args.includes("--help")) continue;
          try {
            bare(docs.program()).parse(["node", "yale", ...args]);
          } catch (error) {
            faults.push(`${place(path)}:${line + i}: ${text.trim()}: ${(error as Error).message}`);
          }
        }
    expect(faults).toEqual([]);
  });

  it("of config.yaml are taken by its reader", async () => {
    const folder = mkdtempSync(join(tmpdir(), "yale-test-"));
    let seen = 0;
    try {
      for (const path of DOCUMENTS)
        for (const { line, code } of blocks(readFileSync(path, "utf8"), "yaml")) {
          if (!/^(clusters|default|job_dir|alias):/m.test(code)) continue;
          seen += 1;
          const file = join(folder, `${seen}.yaml`);
          writeFileSync(file, code);
          // A page about a cluster that can't be used shows none.
          await expect(loadConfig({ path: file }), `${place(path)}:${line}`).resolves.toBeDefined();
        }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    expect(seen).toBeGreaterThan(5);
  });

  it("of TypeScript are what the library takes", () => {
    const project = new Project({
      compilerOptions: {
        strict: true,
        noEmit: true,
        skipLibCheck: true,
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        moduleResolution: ts.ModuleResolutionKind.Bundler,
        types: ["node"],
        baseUrl: ROOT,
        paths: { "yale-jobs": ["kernel-lib/dist/types/index.d.ts"] },
      },
      skipAddingFilesFromTsConfig: true,
    });
    // What cells before the snippet have made.
    project.createSourceFile(
      join(ROOT, "docs", "cells.d.ts"),
      `import type * as library from "yale-jobs";
declare global {
  const yale: library.Yale;
  const job: library.Job;
  const results: library.Results;
  const display: (shown: unknown) => void;
}
export {};`,
    );
    const at = new Map<string, string>();
    for (const path of DOCUMENTS) {
      if (place(path) === join("docs", "api.md")) continue;
      for (const { line, code } of blocks(readFileSync(path, "utf8"), "ts", "typescript")) {
        const file = join(dirname(path), `${place(path).replace(/\W/g, "_")}_${line}.ts`);
        project.createSourceFile(file, `${code}\nexport {};`);
        at.set(file, `${place(path)}:${line}`);
      }
    }
    const faults = project
      .getPreEmitDiagnostics()
      .filter((d) => at.has(d.getSourceFile()?.getFilePath() ?? ""))
      .map((d) => {
        const message = d.getMessageText();
        const text = typeof message === "string" ? message : message.getMessageText();
        return `${at.get(d.getSourceFile()?.getFilePath() ?? "")}+${d.getLineNumber()}: ${text}`;
      });
    expect(at.size).toBeGreaterThan(10);
    expect(faults).toEqual([]);
  });
});
