/**
 * Yale Jobs in a person's JupyterLab, in one step and with nothing built: the extension (a wheel that travels with this
 * package), the kernel specification, and tslab behind it. What is missing is said in words; what was put is taken out.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { AgentError, UsageError } from "../errors.js";
import { dataDir, distFile, packageRoot, packageVersion } from "../paths.js";
import {
  DISTRIBUTION,
  findPython,
  installWheel,
  kernelsFolder,
  npmCommand,
  type PythonFacts,
  removeWheel,
  runProgram,
} from "./python.js";

/** Name of the kernel specification: that of tslab, which notebooks name in their metadata. */
export const KERNEL = "tslab";
/** Oldest JupyterLab and Jupyter server that the extension runs in: major and minor version. */
const OLDEST = { jupyterlab: [4, 4], jupyter_server: [2, 13] } as const;

/** Options of {@link setUp}, {@link check} and {@link uninstall}. */
export interface SetupOptions {
  /** Python whose JupyterLab is meant; default: see `findPython`. */
  python?: string;
  /** Folder of an installed tslab; default: one is installed for this user. */
  tslab?: string;
  /** Replace a kernel specification of the same name that is not ours. */
  force?: boolean;
  /** Only the kernel, for Jupyter without Lab. */
  kernelOnly?: boolean;
  /** Told of every step that was done. */
  say?: (line: string) => void;
}

/** One thing that was looked at. */
export interface Finding {
  what: string;
  ok: boolean;
  /** What to do; empty where all is well. */
  fix: string;
}

/** Installs what is missing or older. Throws UsageError and AgentError. */
export async function setUp(options: SetupOptions = {}): Promise<void> {
  const say = options.say ?? (() => undefined);
  const python = await findPython(options.python);
  if (python.jupyter_client === undefined)
    throw new UsageError(
      `There is no Jupyter in ${python.prefix}.`,
      `Install it (${python.executable} -m pip install jupyterlab), or name the Python of yours with --python.`,
    );
  const kernels = kernelsFolder(python);
  const folder = join(kernels, KERNEL);
  if (!options.force) refuseForeign(folder);
  const root = keep(say);
  const tslab = options.tslab ?? (await installTslab(root, say));
  writeKernelSpec(folder, root, tslab);
  say(`kernel: ${folder}`);
  if (options.kernelOnly) return;
  const problem = tooOld(python);
  if (problem !== undefined) throw new UsageError(problem.what, problem.fix);
  await installWheel(python, wheelOf(root));
  say(`extension: ${DISTRIBUTION} ${packageVersion()} in ${python.prefix}`);
}

/** Looks at everything that must be there, and changes nothing. */
export async function check(options: SetupOptions = {}): Promise<Finding[]> {
  const python = await findPython(options.python);
  const again = "Run `yale setup`.";
  const old = tooOld(python);
  const findings: Finding[] = [
    {
      what: old?.what ?? `JupyterLab ${python.jupyterlab} of ${python.executable}`,
      ok: old === undefined,
      fix: old?.fix ?? "",
    },
  ];
  const add = (ok: boolean, good: string, bad: string, fix: string = again) =>
    findings.push({ what: ok ? good : bad, ok, fix: ok ? "" : fix });
  const version = packageVersion();
  add(
    python.extension === version,
    `extension ${version}`,
    python.extension === undefined
      ? "The extension is not installed."
      : `The extension is version ${python.extension}, and this is ${version}.`,
  );
  if (python.extension !== undefined) {
    add(
      python.broken === undefined,
      "server part",
      `The server part can't be loaded: ${python.broken ?? ""}`,
      "Run `yale setup`; if it stays so, the Jupyter server is too old.",
    );
    add(
      python.enabled,
      "switched on",
      "The extension is installed and switched off in Jupyter's configuration.",
      "`jupyter server extension enable yale_jobs_jupyter` and `jupyter labextension enable @yale-jobs/labextension`.",
    );
  }
  const { kernel } = python;
  const command = kernel?.spec.metadata?.yale_jobs?.command;
  const files = [...(kernel?.spec.argv ?? []).slice(0, 3), ...(command ?? [])];
  const lost = files.filter((f) => !existsSync(f));
  add(
    command !== undefined && lost.length === 0,
    `kernel TypeScript (Yale Jobs) in ${kernel?.folder ?? ""}`,
    kernel === undefined
      ? "Jupyter knows no kernel of Yale Jobs."
      : command === undefined
        ? `The kernel ${KERNEL} that Jupyter finds first, in ${kernel.folder}, is not that of Yale Jobs.`
        : `The kernel names files that are gone: ${lost.join(", ")}.`,
    kernel !== undefined && command === undefined
      ? `\`jupyter kernelspec remove ${KERNEL}\`, then \`yale setup\`.`
      : again,
  );
  return findings;
}

/** Takes out everything that {@link setUp} put; jobs, results and settings stay. */
export async function uninstall(options: SetupOptions = {}): Promise<void> {
  const say = options.say ?? (() => undefined);
  const python = await findPython(options.python);
  if (python.extension !== undefined) {
    await removeWheel(python);
    // pip leaves the folders that its files were in.
    for (const share of [python.prefix, userBase(python)])
      dropEmpty(join(share, "share", "jupyter", "labextensions", "@yale-jobs"), "labextensions");
    say(`extension: removed from ${python.prefix}`);
  }
  for (const kernels of new Set([kernelsFolder(python), join(python.prefix, "share", "jupyter", "kernels")])) {
    const folder = join(kernels, KERNEL);
    if (!isOurs(folder)) continue;
    rmSync(folder, { recursive: true });
    dropEmpty(kernels, "jupyter");
    say(`kernel: removed ${folder}`);
  }
  for (const folder of [tslabHome(), appHome()])
    if (existsSync(folder)) {
      rmSync(folder, { recursive: true });
      say(`removed ${folder}`);
    }
  dropEmpty(dataDir(), "");
}

function tooOld(python: PythonFacts): { what: string; fix: string } | undefined {
  for (const [name, [major, minor]] of Object.entries(OLDEST) as [
    "jupyterlab" | "jupyter_server",
    [number, number],
  ][]) {
    const found = python[name];
    const [a = 0, b = 0] = (found ?? "").split(".").map(Number);
    if (found !== undefined && (a > major || (a === major && b >= minor))) continue;
    const title = name === "jupyterlab" ? "JupyterLab" : "Jupyter server";
    return {
      what:
        found === undefined
          ? `There is no ${title} in ${python.prefix}.`
          : `${title} ${found} in ${python.prefix} is too old; ${major}.${minor} or later is needed.`,
      fix: `${python.executable} -m pip install --upgrade jupyterlab, or name another Python with --python.`,
    };
  }
  return undefined;
}

// ---- this package ----------------------------------------------------------------------------------------------------

function appHome(): string {
  return join(dataDir(), "app");
}

/** The folder that Jupyter is to start us from: where this package is, or a copy of it where that may vanish. */
function keep(say: (line: string) => void): string {
  const root = packageRoot();
  const parts = root.split(sep);
  const cache = parts.lastIndexOf("_npx");
  if (cache < 0) return root;
  // npx keeps packages in a cache that anything may empty, each in a folder of its own with all it needs.
  const from = parts.slice(0, cache + 2).join(sep);
  const to = appHome();
  rmSync(to, { recursive: true, force: true });
  cpSync(join(from, "node_modules"), join(to, "node_modules"), { recursive: true, verbatimSymlinks: true });
  say(`package: copied to ${to}`);
  return join(to, ...parts.slice(cache + 2));
}

/** The wheel that travels with this package. Throws AgentError where it was not built. */
function wheelOf(root: string): string {
  const folder = join(root, "jupyter");
  const wheel = existsSync(folder) ? readdirSync(folder).find((f) => f.endsWith(".whl")) : undefined;
  if (wheel === undefined)
    throw new AgentError(
      `The extension is not in ${folder}.`,
      "In a checkout it is built by `npm start` and `npm test`; otherwise install yale-jobs again.",
    );
  return join(folder, wheel);
}

// ---- the kernel ------------------------------------------------------------------------------------------------------

function tslabHome(): string {
  return join(dataDir(), "kernel");
}

/** Installs tslab for this user, in the version that this package was tested with; returns its folder. */
async function installTslab(root: string, say: (line: string) => void): Promise<string> {
  const home = tslabHome();
  const folder = join(home, "node_modules", "tslab");
  const wanted = readFileSync(join(root, "dist", "tslab", "package.json"), "utf8");
  const there = join(home, "package.json");
  if (existsSync(join(folder, "package.json")) && existsSync(there) && readFileSync(there, "utf8") === wanted)
    return folder;
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  cpSync(distFile("tslab"), home, { recursive: true });
  const { program, args } = npmCommand();
  // Shallow: tslab looks for the types of Node in its own node_modules. No package here needs its install script.
  const options = ["--install-strategy=shallow", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const { code, all } = await runProgram(program, [...args, "ci", ...options], { cwd: home });
  if (code !== 0) {
    rmSync(home, { recursive: true, force: true });
    throw new AgentError(
      `npm could not install tslab, the TypeScript kernel:\n${all.split("\n").slice(-8).join("\n")}`,
      "Check the network and npm's settings, then run this again.",
    );
  }
  say(`tslab: ${folder}`);
  return folder;
}

interface KernelSpec {
  argv?: string[];
  metadata?: { yale_jobs?: object };
}

function specOf(folder: string): KernelSpec | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, "kernel.json"), "utf8")) as KernelSpec;
  } catch {
    return undefined;
  }
}

function isOurs(folder: string): boolean {
  return specOf(folder)?.metadata?.yale_jobs !== undefined;
}

function refuseForeign(folder: string): void {
  if (!existsSync(folder) || isOurs(folder)) return;
  throw new UsageError(
    `There is another kernel called ${KERNEL} in ${folder}.`,
    `--force replaces it: notebooks of tslab's run in ours too. Or remove it: jupyter kernelspec remove ${KERNEL}`,
  );
}

/** Written by hand rather than by `tslab install`, which would need IPython and knows nothing of our launcher. */
function writeKernelSpec(folder: string, root: string, tslab: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const dist = (file: string) => join(root, "dist", file);
  const spec = {
    argv: [process.execPath, dist("kernel-launcher.cjs"), tslab, "{connection_file}"],
    display_name: "TypeScript (Yale Jobs)",
    language: "typescript",
    interrupt_mode: "signal",
    // Where the server part of the extension finds the agent.
    metadata: { yale_jobs: { command: [process.execPath, dist("cli.cjs")], version: packageVersion() } },
  };
  writeFileSync(join(folder, "kernel.json"), `${JSON.stringify(spec, null, 2)}\n`);
}

/** Where pip puts what `--user` installs. */
function userBase(python: PythonFacts): string {
  return python.user_data === undefined ? python.prefix : dirname(dirname(python.user_data));
}

/** Removes a folder and those above it that are empty, up to one called `stop`. */
function dropEmpty(folder: string, stop: string): void {
  for (let at = folder; existsSync(at) && readdirSync(at).length === 0; at = dirname(at)) {
    rmdirSync(at);
    if (stop === "" || at.endsWith(`${sep}${stop}`)) return;
  }
}
