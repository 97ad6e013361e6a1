/** The Python that a person's JupyterLab runs in: which it is, what it holds, and how a package gets into it. */
import { type ExecFileException, execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { AgentError, UsageError } from "../errors.js";

/** What a Python says of itself and of the Jupyter in it. */
export interface PythonFacts {
  executable: string;
  version: string;
  /** Folder of the environment; what is below `share/jupyter` and `etc/jupyter` in it is found by its Jupyter. */
  prefix: string;
  /** True in a virtual or Conda environment: what is put into it harms nothing else. */
  own: boolean;
  /** True if this user may write into it. */
  writable: boolean;
  /** True if the system's package manager owns it and pip refuses to touch it (PEP 668). */
  managed: boolean;
  pip: boolean;
  jupyterlab?: string;
  jupyter_server?: string;
  jupyter_client?: string;
  /** Version of our wheel, where it is installed. */
  extension?: string;
  /** Why our server part can't be imported, if it is installed and can't. */
  broken?: string;
  /** True if a configuration switches our server part on, and the page's part is not switched off. */
  enabled: boolean;
  /** Folder of the user's own Jupyter data, outside any environment. */
  user_data?: string;
  /** The kernel that Jupyter would start under our kernel's name: its folder and its specification. */
  kernel?: { folder: string; spec: { argv?: string[]; metadata?: { yale_jobs?: { command?: string[] } } } };
}

/** Name of the Python distribution of the extension. */
export const DISTRIBUTION = "yale-jobs-jupyter";

// Every question stands alone: an old or half installed Jupyter answers what it can.
const FACTS = `
import importlib.metadata as m, json, os, sys, sysconfig
def version(name):
    try: return m.version(name)
    except Exception: return None
site = sysconfig.get_path("purelib")
f = {"executable": sys.executable, "version": ".".join(map(str, sys.version_info[:3])), "prefix": sys.prefix}
f["own"] = sys.prefix != sys.base_prefix or os.path.isdir(os.path.join(sys.prefix, "conda-meta"))
f["writable"] = os.access(site, os.W_OK)
f["managed"] = not f["own"] and os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
f["pip"] = version("pip") is not None
for name in ("jupyterlab", "jupyter_server", "jupyter_client"): f[name] = version(name)
f["extension"] = version("${DISTRIBUTION}")
f["enabled"] = False
if f["extension"]:
    try:
        import yale_jobs_jupyter
    except Exception as error: f["broken"] = f"{type(error).__name__}: {error}"
try:
    from jupyter_core.paths import jupyter_config_path, jupyter_data_dir
    f["user_data"] = jupyter_data_dir()
    for folder in reversed(jupyter_config_path()):
        for name in ("jupyter_server_config.json", os.path.join("jupyter_server_config.d", "yale_jobs.json")):
            try:
                with open(os.path.join(folder, name)) as file: on = json.load(file)["ServerApp"]["jpserver_extensions"]["yale_jobs_jupyter"]
                f["enabled"] = bool(on)
            except Exception: pass
        try:
            with open(os.path.join(folder, "labconfig", "page_config.json")) as file: off = json.load(file)["disabledExtensions"]
            if (off.get("@yale-jobs/labextension") if isinstance(off, dict) else "@yale-jobs/labextension" in off): f["enabled"] = False
        except Exception: pass
except Exception: pass
try:
    from jupyter_client.kernelspec import KernelSpecManager
    spec = KernelSpecManager().get_all_specs().get("tslab")
    if spec: f["kernel"] = {"folder": spec["resource_dir"], "spec": spec["spec"]}
except Exception: pass
print(json.dumps({k: v for k, v in f.items() if v is not None}))
`;

/** Runs a program to its end and gives back what it said; never throws for how it ended. */
export function runProgram(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<{ code: number; stdout: string; all: string }> {
  return new Promise((resolve) => {
    execFile(
      program,
      [...args],
      { maxBuffer: 16 << 20, ...options },
      (error: ExecFileException | null, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 127;
        const all = `${stdout}${stderr}`.trim();
        resolve({ code, stdout, all: all === "" && error !== null ? error.message : all });
      },
    );
  });
}

/** The program of that name on the PATH. */
export function onPath(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((f) => f !== "");
  return folders.map((folder) => join(folder, name)).find(existsSync);
}

/** Asks a Python. Throws UsageError if it is none. */
export async function askPython(python: string): Promise<PythonFacts> {
  const { code, stdout, all } = await runProgram(python, ["-c", FACTS]);
  try {
    if (code === 0) return JSON.parse(stdout) as PythonFacts;
  } catch {
    // Some other program that ends well.
  }
  throw new UsageError(
    `${python} is no Python that can be asked: ${all.split("\n").at(-1) || "it says nothing"}.`,
    "Name that of your JupyterLab with --python /path/to/python.",
  );
}

/**
 * The Python of the person's JupyterLab: `given`, the active environment's, that of the `jupyter-lab` or `jupyter` on the
 * PATH, or `python3`. Throws UsageError if there is none.
 */
export async function findPython(given?: string): Promise<PythonFacts> {
  if (given !== undefined) return askPython(given);
  const folders = [process.env["VIRTUAL_ENV"], process.env["CONDA_PREFIX"]].filter((f) => f !== undefined);
  const candidates = [
    ...folders.map((folder) => join(folder, "bin", "python")).filter(existsSync),
    ...["jupyter-lab", "jupyter"].flatMap((name) => interpreterOf(onPath(name))),
    ...["python3", "python"].flatMap((name) => onPath(name) ?? []),
  ];
  let first: PythonFacts | undefined;
  for (const python of new Set(candidates)) {
    const facts = await askPython(python).catch(() => undefined);
    if (facts?.jupyterlab !== undefined) return facts;
    first ??= facts;
  }
  if (first !== undefined) return first;
  throw new UsageError(
    "There is no Python on the PATH.",
    "Name that of your JupyterLab with --python /path/to/python.",
  );
}

/** The interpreter of a script that pip or conda made. */
function interpreterOf(script: string | undefined): string[] {
  if (script === undefined) return [];
  const [first = "", second = ""] = readFileSync(script, "utf8").slice(0, 1000).split("\n");
  // A path with spaces, or a long one, does not fit behind `#!`: pip then writes a line of sh that is one of Python too.
  const path =
    /^#!\s*(\/.*python[^\s/]*)\s*$/.exec(first)?.[1] ?? /^'''exec' "?(.*?python[^\s/"]*)"?/.exec(second)?.[1];
  return path === undefined ? [] : [path];
}

/** Puts our wheel into a Python's environment. Throws AgentError with pip's own words. */
export async function installWheel(python: PythonFacts, wheel: string): Promise<void> {
  if (python.managed)
    throw new UsageError(
      `${python.executable} belongs to the system, whose package manager lets nobody else install into it.`,
      "Install JupyterLab into an environment of your own (python3 -m venv), and run this there.",
    );
  // Jupyter finds the user's own site as well, where the environment is somebody else's.
  const where = python.writable ? [] : ["--user"];
  const options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", "--no-input"];
  await pip(python, ["install", ...where, ...options, "--force-reinstall", wheel]);
}

/** Takes our wheel out again. */
export async function removeWheel(python: PythonFacts): Promise<void> {
  await pip(python, ["uninstall", "--yes", "--quiet", "--disable-pip-version-check", DISTRIBUTION]);
}

async function pip(python: PythonFacts, args: readonly string[]): Promise<void> {
  const uv = python.pip ? undefined : onPath("uv");
  if (!python.pip && uv === undefined)
    throw new UsageError(`${python.executable} has no pip.`, `Install it: ${python.executable} -m ensurepip --upgrade`);
  const [verb = "", ...rest] = args;
  const known =
    uv === undefined ? rest : rest.filter((a) => !/^--(yes|no-input|disable-pip-version-check|user)$/.test(a));
  const { code, all } =
    uv === undefined
      ? await runProgram(python.executable, ["-m", "pip", verb, ...known])
      : await runProgram(uv, ["pip", verb, "--python", python.executable, ...known]);
  if (code !== 0)
    throw new AgentError(
      `pip could not ${verb} the extension in ${python.prefix}:\n${all.split("\n").slice(-8).join("\n")}`,
      "Check that you may write there, or name another Python with --python.",
    );
}

/** Folder for kernels: the environment's own, or the user's where the environment is somebody else's. */
export function kernelsFolder(python: PythonFacts): string {
  const data =
    python.writable || python.user_data === undefined ? join(python.prefix, "share", "jupyter") : python.user_data;
  return join(data, "kernels");
}

/** The npm that goes with this Node. */
export function npmCommand(): { program: string; args: string[] } {
  const cli = process.env["npm_execpath"];
  if (cli !== undefined && /npm-cli\.(c|m)?js$/.test(cli)) return { program: process.execPath, args: [cli] };
  const beside = join(dirname(process.execPath), "npm");
  return { program: existsSync(beside) ? beside : "npm", args: [] };
}
