import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { python, ROOT } from "../support/sandbox.js";

let folder: string;
let env: NodeJS.ProcessEnv;

/** The package as npm would publish it, installed in a folder that knows nothing of the workspace. */
beforeAll(() => {
  // Where npx would put it: a cache that may be emptied any time.
  folder = join(mkdtempSync(join(tmpdir(), "consumer-")), "_npx", "0a1b2c");
  mkdirSync(folder, { recursive: true });
  const home = dirname(dirname(folder));
  env = {
    ...process.env,
    XDG_RUNTIME_DIR: join(home, "run"),
    XDG_STATE_HOME: join(home, "state"),
    XDG_CACHE_HOME: join(home, "cache"),
    XDG_DATA_HOME: join(home, "data"),
  };
  const packed =
    execFileSync("npm", ["pack", "--pack-destination", folder, "--silent"], {
      cwd: join(ROOT, "kernel-lib"),
      encoding: "utf8",
    })
      .trim()
      .split("\n")
      .at(-1) ?? "";
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true }));
  execFileSync(
    "npm",
    [
      "install",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      "--silent",
      join(folder, packed),
      "typescript@5.0.4",
      "@types/node@18.19.0",
    ],
    { cwd: folder },
  );
  mkdirSync(join(home, "run"), { mode: 0o700 });
}, 300_000);
afterAll(() => {
  spawnSync(join(folder, "node_modules/.bin/yale"), ["agent", "stop"], { env });
  rmSync(dirname(dirname(folder)), { recursive: true, force: true });
});

function node(args: string[]): string {
  return execFileSync(process.execPath, args, { cwd: folder, env, encoding: "utf8" });
}

describe("the packed package", () => {
  it("holds what runs and nothing else", () => {
    const files = readdirSync(join(folder, "node_modules/yale-jobs/dist")).sort();
    expect(files).toContain("index.cjs");
    expect(files).toContain("runners");
    expect(readdirSync(join(folder, "node_modules/yale-jobs")).sort()).toEqual(["dist", "jupyter", "package.json"]);
    // The extension as a wheel: `yale setup` builds nothing.
    expect(readdirSync(join(folder, "node_modules/yale-jobs/jupyter"))).toEqual([expect.stringMatching(/\.whl$/)]);
  });

  it("works from require", () => {
    expect(
      node([
        "-e",
        'const { yale } = require("yale-jobs"); console.log(typeof yale.ocr, yale.ocr("a.pdf").gpus("a100").spec().resources.gpus)',
      ]),
    ).toBe("function a100:1\n");
  });

  it("works from import, with names", () => {
    expect(
      node([
        "--input-type=module",
        "-e",
        'import { yale, YaleJobs } from "yale-jobs"; import { isEnd } from "yale-jobs/protocol"; console.log(typeof yale, typeof YaleJobs, isEnd("failed"))',
      ]),
    ).toBe("object function true\n");
  });

  it("has one class of errors, whichever way it came in", () => {
    expect(
      node([
        "--input-type=module",
        "-e",
        'import { UsageError } from "yale-jobs"; import { createRequire } from "node:module"; console.log(createRequire(import.meta.url)("yale-jobs").UsageError === UsageError)',
      ]),
    ).toBe("true\n");
  });

  it("runs a whole job away from the workspace", () => {
    writeFileSync(join(folder, "job.sh"), "echo from afar\n");
    const yale = join(folder, "node_modules/.bin/yale");
    const ran = spawnSync(yale, ["jobs", "run", "job.sh", "--wait"], { cwd: folder, env, encoding: "utf8" });
    expect(ran.status).toBe(0);
  });

  it("is understood by TypeScript 5.0.4 with every declaration checked, and nothing is `any`", () => {
    writeFileSync(
      join(folder, "use.ts"),
      `import { yale, runOcrJob, YaleJobs, type Job } from "yale-jobs";
type IsAny<T> = 0 extends 1 & T ? true : false;
const no = <T>(_: IsAny<T> extends true ? never : T) => undefined;
async function use() {
  const builder = yale.ocr("scans.pdf").gpus("a100:1").cpus(4).memory("32G").time("02:00:00").partition("gpu").name("n").env("e").model("tesseract").promptMode("ocr").batchSize(2).maxSamples(3).output("o").on("local");
  no(builder);
  const job = await builder.submit();
  no(job); no(job.id); no(job.state); no(job.record); no(job.record.progress);
  for await (const p of job.progress()) { no(p); no(p.done); }
  for await (const t of job.logs({ follow: true })) no(t);
  const results = await (await job.wait()).results();
  no(results); no(results.rows); no(results.rows[0]); no(results.rows[0].text); no(results.text);
  no(await job.download("x")); no(await builder.plan()); no((await builder.plan()).script);
  no(await yale.jobs()); no(await yale.job("x")); no(yale.pdf("x")); no(await yale.pdf("x").inspect());
  for await (const item of yale.pdf("x").pages()) no(item);
  no(await runOcrJob("a", "b", { gpus: "h200:2" })); no(await new YaleJobs().getJobStatus("x"));
  const later: Job = await yale.run("x.py").data("y").args("a").after(job).submit(); no(later);
  // @ts-expect-error a time is a text
  yale.ocr("x").time(60);
  // @ts-expect-error there is no such mode
  yale.ocr("x").promptMode("everything");
  // @ts-expect-error there is no such option
  yale.ocr("x").gpu("a100");
}
void use;
`,
    );
    const options = [
      "--noEmit",
      "--strict",
      "--target",
      "es2022",
      "--module",
      "commonjs",
      "--moduleResolution",
      "node10",
      "--lib",
      "es2022",
      "--types",
      "node",
    ];
    const ran = spawnSync(process.execPath, [join(folder, "node_modules/typescript/bin/tsc"), ...options, "use.ts"], {
      cwd: folder,
      encoding: "utf8",
    });
    expect(ran.stdout).toBe("");
    expect(ran.status).toBe(0);
  });

  it("documents every exported name", () => {
    const types = readFileSync(join(folder, "node_modules/yale-jobs/dist/types/protocol.d.ts"), "utf8");
    const lines = types.split("\n");
    const bare = lines.filter(
      (line, i) =>
        /^export (declare )?(interface|type|const|function|class)/.test(line) && !/\*\/\s*$/.test(lines[i - 1] ?? ""),
    );
    expect(bare).toEqual([]);
  });
});

describe("npx yale-jobs setup", () => {
  it("keeps a copy for Jupyter, which lives on when npx's cache is emptied", () => {
    const home = dirname(dirname(folder));
    const venv = join(home, "venv");
    // That of the tests, by links: only added to here.
    execFileSync("cp", ["-al", dirname(dirname(python())), venv]);
    const tslab = join(ROOT, ".yale", "tslab", "node_modules", "tslab");
    const args = ["setup", "--python", join(venv, "bin", "python"), "--tslab", tslab];
    node([join(folder, "node_modules/yale-jobs/dist/cli.cjs"), ...args]);
    const spec = JSON.parse(readFileSync(join(venv, "share/jupyter/kernels/tslab/kernel.json"), "utf8")) as {
      metadata: { yale_jobs: { command: string[] } };
    };
    const [program = "", ...command] = spec.metadata.yale_jobs.command;
    expect(command[0]).toBe(join(home, "data/yale-jobs/app/node_modules/yale-jobs/dist/cli.cjs"));
    rmSync(join(folder, "node_modules"), { recursive: true });
    // With its dependencies: an estimate reads pages, which takes pdf.js.
    const pdf = join(ROOT, "notebooks/material/declaration.pdf");
    const said = execFileSync(program, [...command, "source", "inspect", pdf], { env, encoding: "utf8" });
    expect(said).toMatch(/4 pages/);
    execFileSync(program, [...command, "agent", "stop"], { env });
  });
});
