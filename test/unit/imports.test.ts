import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../support/sandbox.js";

/** Which room may import which; files at the top of src are rooms of their own. `*` is everything. */
const RULES: Record<string, string[]> = {
  errors: [],
  protocol: [],
  paths: [],
  process: [],
  text: [],
  options: ["errors", "text"],
  tiff: [],
  jpeg2000: [],
  images: ["errors", "jpeg2000", "tiff"],
  config: ["errors", "options", "paths", "protocol", "text", "sites"],
  sites: ["errors", "protocol", "text"],
  sources: ["errors", "images", "paths", "process", "protocol", "text", "tiff", "dataset"],
  dataset: ["errors", "images", "protocol", "sources"],
  cluster: ["errors", "config", "paths", "process", "protocol"],
  schedulers: ["errors", "options", "paths", "process", "protocol", "cluster"],
  runners: ["errors", "paths", "protocol", "text"],
  display: ["errors", "images", "protocol"],
  exports: ["errors", "images", "paths", "protocol", "dataset", "sources"],
  hub: ["errors", "dataset", "exports", "options", "paths", "sources"],
  quality: ["errors", "dataset", "display", "exports", "paths"],
  jobs: [
    "cluster",
    "config",
    "dataset",
    "display",
    "errors",
    "exports",
    "hub",
    "options",
    "paths",
    "process",
    "protocol",
    "quality",
    "runners",
    "schedulers",
    "sites",
    "sources",
    "text",
  ],
  agent: ["*"],
  cli: ["*"],
  doctor: ["*"],
  kernel: ["paths"],
  setup: ["errors", "paths"],
  yale: ["*"],
  sdk: ["*"],
  index: ["*"],
};
/** Edges that would be against the table but carry types only, or one small reader. */
const NARROW: Record<string, RegExp> = {
  // Datasets hold pages, and a dataset is a source: each sees the other's types or its reader, no more.
  "dataset>sources": /^sources\/index\.ts$/,
  "sources>dataset": /^dataset\/(read|manifest|parquet)\.ts$/,
  "cluster>config": /^config\/index\.ts$/,
};

const src = join(ROOT, "kernel-lib", "src");

function files(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? files(join(folder, e.name)) : e.name.endsWith(".ts") ? [join(folder, e.name)] : [],
  );
}

const room = (path: string) => (path.includes("/") ? path.slice(0, path.indexOf("/")) : path.replace(/\.ts$/, ""));

interface Edge {
  from: string;
  to: string;
}

function edges(): Edge[] {
  return files(src).flatMap((file) => {
    const from = relative(src, file);
    const text = readFileSync(file, "utf8");
    return [...text.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)].map((m) => ({
      from,
      to: relative(src, join(dirname(file), (m[1] ?? "").replace(/\.js$/, ".ts"))),
    }));
  });
}

describe("rooms of kernel-lib", () => {
  it("import only what the design allows", () => {
    const forbidden = edges().filter(({ from, to }) => {
      const [a, b] = [room(from), room(to)];
      if (a === b) return false;
      const allowed = RULES[a];
      if (allowed === undefined) throw new Error(`The room ${a} has no rule; add it to the design and to this test.`);
      if (!allowed.includes("*") && !allowed.includes(b)) return true;
      const narrow = NARROW[`${a}>${b}`];
      return narrow !== undefined && !narrow.test(to);
    });
    expect(forbidden.map((e) => `${e.from} imports ${e.to}`)).toEqual([]);
  });

  it("keeps every file below 600 lines", () => {
    const long = files(src).filter((f) => readFileSync(f, "utf8").split("\n").length > 600);
    expect(long.map((f) => relative(src, f))).toEqual([]);
  });
});
