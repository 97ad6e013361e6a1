/** `yale setup` in somebody's JupyterLab: what it puts, what it says, and that it leaves nothing. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { python, Sandbox } from "../support/sandbox.js";

let box: Sandbox;
/** A Python environment with JupyterLab and without Yale Jobs. */
let venv: string;
let own: string;

const kernel = () => join(venv, "share", "jupyter", "kernels", "tslab", "kernel.json");
const setup = (...args: string[]) => box.yale("setup", "--python", own, ...args);

/** Every file and folder of an environment, without what Python caches. */
function tree(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((e) => relative(folder, join(e.parentPath, e.name)))
    .filter((path) => !path.includes("__pycache__"))
    .sort();
}

beforeAll(async () => {
  box = new Sandbox();
  venv = join(box.home, "venv");
  own = join(venv, "bin", "python");
  // That of the tests, by links: files are only added and removed here, never written to.
  execFileSync("cp", ["-al", dirname(dirname(python())), venv]);
  const { code, stderr } = await setup("--uninstall");
  if (code !== 0) throw new Error(stderr);
});
afterAll(() => box.close());

describe("yale setup", () => {
  let before: string[];

  it("says what is missing, in words, and changes nothing", async () => {
    before = tree(venv);
    expect(before.filter((path) => /yale/i.test(path))).toEqual([]);
    const { code, stdout } = await setup("--check");
    expect(code).toBe(1);
    expect(stdout).toContain("✓ JupyterLab 4.6.6");
    expect(stdout).toContain("✗ The extension is not installed.\n    → Run `yale setup`.");
    expect(stdout).toContain("✗ Jupyter knows no kernel of Yale Jobs.");
    expect(tree(venv)).toEqual(before);
  });

  it("puts kernel, extension and server part where this Jupyter finds them, and builds nothing", async () => {
    const { code, stdout, stderr } = await setup();
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toContain("Yale Jobs is in this JupyterLab");
    // By their modules: the programs in the copied environment begin with the path of the original's Python.
    const list = async (module: string, ...args: string[]) => {
      const { stdout, stderr } = await box.run(own, ["-m", module, "list", ...args]);
      return { stdout, all: stdout + stderr };
    };
    expect((await list("jupyterlab.labextensions")).all).toMatch(/@yale-jobs\/labextension v0\.1\.0 .*enabled.*OK/);
    expect((await list("jupyter_server.extension.serverextension")).all).toMatch(/yale_jobs_jupyter .*OK/);
    const specs = JSON.parse((await list("jupyter_client.kernelspecapp", "--json")).stdout) as {
      kernelspecs: Record<string, { spec: { display_name: string; argv: string[] } }>;
    };
    expect(specs.kernelspecs["tslab"]?.spec.display_name).toBe("TypeScript (Yale Jobs)");
    // tslab was installed for this user, outside any project.
    expect(specs.kernelspecs["tslab"]?.spec.argv[2]).toBe(join(box.home, "data/yale-jobs/kernel/node_modules/tslab"));
    const check = await setup("--check");
    expect(check.stdout).toContain("All is there.");
    expect(check.code).toBe(0);
  });

  it("run again changes nothing that is right", async () => {
    const first = tree(venv);
    expect((await setup()).code).toBe(0);
    expect(tree(venv)).toEqual(first);
  });

  it("says when the kernel's files are gone, or the extension is switched off", async () => {
    const saved = readFileSync(kernel(), "utf8");
    writeFileSync(kernel(), saved.replaceAll("cli.cjs", "gone.cjs"));
    const config = join(venv, "etc/jupyter/jupyter_server_config.json");
    writeFileSync(config, '{ "ServerApp": { "jpserver_extensions": { "yale_jobs_jupyter": false } } }');
    // A file in a folder of its own name, as Jupyter reads them, comes before the other.
    rmSync(join(venv, "etc/jupyter/jupyter_server_config.d/yale_jobs.json"));
    const { code, stdout } = await setup("--check");
    expect(code).toBe(1);
    expect(stdout).toMatch(/✗ The kernel names files that are gone: .*gone\.cjs/);
    expect(stdout).toContain("✗ The extension is installed and switched off");
    rmSync(config);
    expect((await setup()).code).toBe(0);
    expect((await setup("--check")).code).toBe(0);
  });

  it("leaves nothing when it is taken out", async () => {
    const { code, stdout } = await setup("--uninstall");
    expect(code).toBe(0);
    expect(stdout).toContain("Jobs, results and settings stay");
    expect(tree(venv)).toEqual(before);
    expect(existsSync(join(box.home, "data", "yale-jobs"))).toBe(false);
  });

  it("does not overwrite a kernel of the same name that is not ours", async () => {
    mkdirSync(dirname(kernel()), { recursive: true });
    writeFileSync(kernel(), '{ "argv": ["tslab"], "display_name": "TypeScript", "language": "typescript" }');
    const refused = await setup("--kernel-only");
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("There is another kernel called tslab");
    expect(readFileSync(kernel(), "utf8")).toContain('"TypeScript"');
    const check = await setup("--check");
    expect(check.stdout).toContain("is not that of Yale Jobs");
    expect((await setup("--uninstall")).code).toBe(0);
    expect(existsSync(kernel())).toBe(true);
  });

  it("says what to do where the Python that is named is none", async () => {
    const bare = await box.yale("setup", "--python", "/usr/bin/true");
    expect(bare.code).toBe(2);
    expect(bare.stderr).toContain("is no Python that can be asked");
  });
});
