// Sets up what the demo, the notebooks and the tests need, all of it inside the checkout (node_modules, kernel-lib/dist,
// .yale): npm packages, the build, the tslab kernel in a prefix of its own, and a Python environment for Jupyter. What
// is there already is left alone, so that a second run takes no time.
//   node scripts/setup.mjs [demo|start|test]
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
  jupyterPath: join(made, "jupyter"),
  launcher: join(root, "kernel-lib", "dist", "kernel-launcher.cjs"),
};

/** Name of our kernel specification, as notebooks name it in their metadata. */
export const KERNEL = "tslab";

/**
 * Does what is still to do. `purpose` names a list of Python packages in scripts/python: `demo`, `start` or `test`,
 * each of which holds the one before.
 */
export async function setUp(purpose) {
  console.log("Setting up:");
  checkNode();
  await step("npm packages", npmPackages);
  await step("build", buildOnce);
  await step("TypeScript kernel (tslab)", tslab);
  await step("Python environment", () => pythonEnvironment(purpose));
  writeKernelSpec();
  console.log("");
}

/** Environment for a Jupyter program, so that it finds our kernel beside whatever else it knows. */
export function jupyterEnv() {
  const path = [places.jupyterPath, process.env.JUPYTER_PATH].filter(Boolean).join(delimiter);
  return { ...process.env, JUPYTER_PATH: path, PATH: [join(places.venv, "bin"), process.env.PATH].join(delimiter) };
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

async function npmPackages() {
  if (npmIsCurrent()) return UP_TO_DATE;
  // `npm ci` begins by deleting node_modules; where there is one, a developer may be at work in it.
  await npm([existsSync(join(root, "node_modules")) ? "install" : "ci"], root);
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
  if (isStamped("build", hash) && existsSync(places.launcher)) return UP_TO_DATE;
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
  if ((await attempt(places.python, ["-m", "pip", "--version"])).code !== 0) await makeVenv();
  const folder = join(root, "scripts", "python");
  const files = ["-r", join(folder, `${purpose}.txt`), "-c", join(folder, "constraints.txt")];
  await run(places.python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", ...files]);
  stamp(`python-${purpose}`, hashOf([purpose], "scripts/python"));
  return "installed";
}

async function makeVenv() {
  const python = process.env.YALE_JOBS_PYTHON ?? "python3";
  const version = await attempt(python, ["-c", "import sys; print(*sys.version_info[:2])"]);
  const [major, minor] = version.stdout.trim().split(" ").map(Number);
  if (version.code !== 0 || !(major === 3 && minor >= 10))
    throw new SetupError(
      `${version.code === 0 ? `\`${python}\` is Python ${major}.${minor}` : `There is no \`${python}\` on the PATH`}; Jupyter needs Python 3.10 or later.\n  → Install it (python.org, your system's package manager), or name another with YALE_JOBS_PYTHON=/path/to/python3.`,
    );
  const make = () => attempt(python, ["-m", "venv", "--clear", places.venv]);
  let result = await make();
  if (result.code !== 0 && /ensurepip/.test(result.all)) {
    // Debian and Ubuntu keep this part of Python in a package of its own.
    await installMissing([{ package: "python3-venv", program: "(venv)", why: "Python's own virtual environments" }]);
    result = await make();
  }
  if (result.code !== 0) throw new SetupError(`A Python environment could not be made:\n\n${result.all.trim()}`);
}

/** Written by hand rather than by `tslab install`, which would need IPython and knows nothing of our launcher. */
function writeKernelSpec() {
  const folder = join(places.jupyterPath, "kernels", KERNEL);
  mkdirSync(folder, { recursive: true });
  const spec = {
    argv: [process.execPath, places.launcher, places.tslab, "{connection_file}"],
    display_name: "TypeScript (Yale Jobs)",
    language: "typescript",
    interrupt_mode: "signal",
  };
  writeFileSync(join(folder, "kernel.json"), `${JSON.stringify(spec, null, 2)}\n`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(() => setUp(process.argv[2] ?? "demo"));
