/**
 * Where things lie on this machine: XDG folders, the agent's socket, and the files that ship with the package.
 * Imports nothing of ours; reads the environment at each call, so that tests and a changed XDG variable take effect.
 */
import { existsSync, readFileSync } from "node:fs";
import { homedir, tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function xdg(variable: string, fallback: string): string {
  const value = process.env[variable];
  // The XDG specification says that relative values are invalid and must be ignored.
  return join(value?.startsWith("/") ? value : join(homedir(), fallback), "yale-jobs");
}

/** Records, the agent's log and known cluster facts: `$XDG_STATE_HOME/yale-jobs`. */
export function stateDir(): string {
  return xdg("XDG_STATE_HOME", ".local/state");
}

/** Prepared datasets, downloads and results; may be deleted at any time: `$XDG_CACHE_HOME/yale-jobs`. */
export function cacheDir(): string {
  return xdg("XDG_CACHE_HOME", ".cache");
}

/** Job folders of the cluster `local`: `$XDG_DATA_HOME/yale-jobs`. */
export function dataDir(): string {
  return xdg("XDG_DATA_HOME", ".local/share");
}

/** The user's own configuration: `$XDG_CONFIG_HOME/yale-jobs`. */
export function configDir(): string {
  return xdg("XDG_CONFIG_HOME", ".config");
}

/**
 * Folder of the agent's socket, to be made with mode 0700: `$XDG_RUNTIME_DIR/yale-jobs`, or a folder of this user in
 * the temporary directory where there is no such variable (macOS, cron, plain `su`).
 */
export function runtimeDir(): string {
  const base = process.env["XDG_RUNTIME_DIR"];
  return base?.startsWith("/") ? join(base, "yale-jobs") : join(tmpdir(), `yale-jobs-${userInfo().uid}`);
}

/** The agent's unix socket; `$YALE_JOBS_SOCKET` overrides it. */
export function socketPath(): string {
  return process.env["YALE_JOBS_SOCKET"] ?? join(runtimeDir(), "agent.sock");
}

let root: string | undefined;

/** The installed package's own folder (that of its package.json), from the bundle in `dist` as from `src` in tests. */
export function packageRoot(): string {
  if (root !== undefined) return root;
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json")) && folder !== dirname(folder)) folder = dirname(folder);
  root = folder;
  return folder;
}

/** Version of this package. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as { version: string }).version;
}

/** A file that the build puts into `dist`, such as `agent.cjs` or `runners/tesseract`. */
export function distFile(...path: string[]): string {
  return join(packageRoot(), "dist", ...path);
}
