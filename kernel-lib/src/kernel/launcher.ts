/**
 * Starts the tslab kernel so that `yale-jobs` resolves (types, completion, run time) from any notebook folder, with no
 * node_modules beside the notebook. A kernel specification calls it:
 *
 *   node launcher.cjs <folder of tslab> <connection file>
 *
 * A copy installed near the notebook wins, as Node's rule is; then nothing is changed.
 */
import { existsSync, readFileSync } from "node:fs";
import { createRequire, Module } from "node:module";
import { dirname, join } from "node:path";
import { packageRoot } from "../paths.js";
import { bindFirst, type Sockets } from "./bind-first.js";

const NAME = "yale-jobs";

/** The functions of TypeScript's `sys` by which it looks for a module's declarations. */
const LOOKUPS = ["readFile", "fileExists", "directoryExists", "getDirectories", "realpath", "getModifiedTime"] as const;

type Lookup = (path: string, ...rest: unknown[]) => unknown;
type Resolve = (request: string, ...rest: unknown[]) => string;

/** True if Node would find `yale-jobs` from `folder` by itself. */
function installedNear(folder: string): boolean {
  for (let at = folder; ; at = dirname(at)) {
    if (existsSync(join(at, "node_modules", NAME, "package.json"))) return true;
    if (dirname(at) === at) return false;
  }
}

/** Lets TypeScript see this package as if it were installed in `<folder>/node_modules`. */
function showTypes(sys: { [lookup: string]: Lookup | undefined }, folder: string): void {
  // TypeScript writes paths with slashes on every system.
  const slashes = (path: string) => path.replaceAll("\\", "/");
  const here = `${slashes(folder).replace(/\/$/, "")}/node_modules/${NAME}`;
  const there = slashes(packageRoot());
  for (const name of LOOKUPS) {
    const original = sys[name];
    if (original === undefined) continue;
    sys[name] = (path, ...rest) => {
      const ours = path === here || path.startsWith(`${here}/`);
      return original.call(sys, ours ? there + path.slice(here.length) : path, ...rest);
    };
  }
}

/** Lets `require` find this package where nothing else answers to its name. */
function showModule(): void {
  const own = createRequire(join(packageRoot(), "package.json"));
  const loader = Module as unknown as { _resolveFilename: Resolve };
  const original = loader._resolveFilename;
  loader._resolveFilename = function resolveFilename(this: unknown, request, ...rest) {
    try {
      return original.call(this, request, ...rest);
    } catch (error) {
      // A package may name itself, by its own `exports`: that is how its doors are found here.
      if (request === NAME || request.startsWith(`${NAME}/`)) return own.resolve(request);
      throw error;
    }
  };
}

function start(): void {
  const [tslab, configPath] = process.argv.slice(2);
  if (tslab === undefined || configPath === undefined || !existsSync(join(tslab, "dist", "main.js"))) {
    process.stderr.write(
      `${tslab === undefined || configPath === undefined ? "usage: launcher.cjs <folder of tslab> <connection file>" : `There is no tslab in ${tslab}: set it up again with \`npm start\` in the checkout of Yale Jobs.`}\n`,
    );
    process.exit(2);
  }
  const require = createRequire(join(tslab, "dist", "main.js"));
  const { version } = JSON.parse(readFileSync(join(tslab, "package.json"), "utf8")) as { version: string };
  const folder = process.cwd();
  if (!installedNear(folder)) {
    // Before tslab's main.js, which builds its compiler on this very object.
    showTypes((require("@tslab/typescript-for-tslab") as { sys: { [lookup: string]: Lookup } }).sys, folder);
    showModule();
  }
  bindFirst(require("zeromq") as Sockets);
  const { startKernel } = require("./main.js") as {
    startKernel(options: { configPath: string; enableFindLocal: boolean; globalVersion: string }): void;
  };
  // A tslab in some node_modules above the notebook would run a TypeScript that knows nothing of the above.
  startKernel({ configPath, enableFindLocal: false, globalVersion: version });
}

start();
