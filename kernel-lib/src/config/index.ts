/**
 * Configuration: which clusters there are. Without any file there is one, `local`: this machine. The seed's keys
 * (`alias login env job_dir result_dir 2fa username`) work at top level as one cluster; `clusters:` holds several.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { ConfigError } from "../errors.js";
import { configDir, dataDir } from "../paths.js";
import type { Resources } from "../protocol.js";
import { nearest } from "../text.js";

/** One cluster, with all defaults filled in. */
export interface ClusterConfig {
  name: string;
  transport: "local" | "ssh" | "openssh";
  scheduler: "local" | "slurm";
  /** Host name, or alias of ~/.ssh/config. */
  host?: string;
  user?: string;
  port?: number;
  identity?: string;
  proxyJump?: string;
  /** Folder of job folders, datasets and runners; wildcards are resolved on the cluster, `~/` is the home there. */
  jobDir: string;
  /** Local folder that results go into if a job names none. */
  resultDir?: string;
  env?: string;
  modules?: readonly string[];
  /** Runner for OCR jobs that name none. */
  model?: string;
  /** What jobs ask for if they say nothing. */
  defaults: Resources;
  policy: { pollSeconds: number };
}

/** What a config.yaml says, or what holds without one. */
export interface Config {
  path?: string;
  /** Cluster of jobs that name none. */
  default: string;
  clusters: ReadonlyMap<string, ClusterConfig>;
}

/** Keys of a cluster: how each is read. Old names stand beside the new ones. */
const CLUSTER_KEYS = [
  ...["transport", "scheduler", "host", "alias", "login", "user", "username", "port", "identity", "proxy_jump"],
  ...["job_dir", "result_dir", "env", "modules", "model", "2fa", "gpus", "cpus", "memory", "time", "partition"],
  ...["account", "qos", "constraint", "poll_seconds"],
];
const TOP_KEYS = ["default", "clusters", ...CLUSTER_KEYS];
/** Never in a file that gets copied and committed. */
const SECRETS = /^(password|passcode|passphrase|token|secret|otp|totp|hf_token)$/i;

/**
 * The config.yaml in force: `path`, `$YALE_JOBS_CONFIG`, `config.yaml` in `cwd`, then the user's own; undefined if there
 * is none. Throws ConfigError if one is named and missing.
 */
export function findConfig(options: { path?: string; cwd?: string } = {}): string | undefined {
  const named = options.path ?? process.env.YALE_JOBS_CONFIG;
  if (named !== undefined && named !== "") {
    const path = resolve(named);
    if (!existsSync(path))
      throw new ConfigError(`There is no configuration ${path}.`, "Check --config or $YALE_JOBS_CONFIG.");
    return path;
  }
  const here = resolve(options.cwd ?? process.cwd(), "config.yaml");
  const own = join(configDir(), "config.yaml");
  return [here, own].find((p) => existsSync(p));
}

/** Reads a configuration; `search: false` without `path` means none. Throws ConfigError with file and line. */
export async function loadConfig(options: { path?: string; cwd?: string; search?: boolean } = {}): Promise<Config> {
  const path = options.search === false ? undefined : findConfig(options);
  const clusters = new Map<string, ClusterConfig>([["local", localCluster()]]);
  if (path === undefined) return { default: "local", clusters };
  const { parseDocument, isMap, isScalar, LineCounter } = await import("yaml");
  const lines = new LineCounter();
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new ConfigError(`${path} can't be read.`, "Check its permissions.", { cause });
  });
  const doc = parseDocument(text, { lineCounter: lines });
  const at = (node: unknown) => {
    const offset = (node as { range?: [number, number, number] | null } | null)?.range?.[0] ?? 0;
    return `${path}:${lines.linePos(offset).line}`;
  };
  const [broken] = doc.errors;
  if (broken !== undefined)
    throw new ConfigError(
      `${path}:${lines.linePos(broken.pos[0]).line}: ${broken.message.split("\n")[0]}`,
      "Mend the YAML.",
    );
  if (doc.contents === null) return { path, default: "local", clusters };
  if (!isMap(doc.contents))
    throw new ConfigError(`${path}: it must be a list of keys and values.`, "See the documentation of config.yaml.");

  type Item = { key: unknown; value: unknown };
  const keysOf = (map: { items: readonly unknown[] }, allowed: readonly string[]) => {
    const found = new Map<string, unknown>();
    for (const item of map.items as readonly Item[]) {
      const name = isScalar(item.key) ? String(item.key.value) : "";
      if (SECRETS.test(name))
        throw new ConfigError(
          `${at(item.key)}: "${name}" must not stand in a file.`,
          "Remove it; what is secret is asked for when it is needed.",
        );
      if (!allowed.includes(name)) {
        const near = nearest(name, allowed);
        throw new ConfigError(
          `${at(item.key)}: there is no key "${name}"${near === undefined ? "" : ` (did you mean "${near}"?)`}.`,
          `Known: ${allowed.join(", ")}.`,
        );
      }
      found.set(name, item.value);
    }
    return found;
  };
  const read = (name: string, map: { items: readonly unknown[] }, allowed: readonly string[]): ClusterConfig => {
    const nodes = keysOf(map, allowed);
    const value = (key: string): unknown => {
      const node = nodes.get(key);
      return isScalar(node) ? node.value : node === undefined ? undefined : (node as { toJSON(): unknown }).toJSON();
    };
    const string = (...keys: string[]): string | undefined => {
      for (const key of keys) {
        const v = value(key);
        if (v === undefined || v === null) continue;
        if (typeof v !== "string" && typeof v !== "number")
          throw new ConfigError(`${at(nodes.get(key))}: "${key}" must be a text.`, "Put it in quotes.");
        return String(v);
      }
      return undefined;
    };
    const choice = <T extends string>(key: string, allowedValues: readonly T[], fallback: T): T => {
      const v = string(key) ?? fallback;
      if (!(allowedValues as readonly string[]).includes(v))
        throw new ConfigError(
          `${at(nodes.get(key))}: ${key} is ${JSON.stringify(v)}.`,
          `Allowed: ${allowedValues.join(", ")}.`,
        );
      return v as T;
    };
    const count = (key: string): number | undefined => {
      const v = value(key);
      if (v === undefined || v === null) return undefined;
      if (typeof v !== "number" || !(v > 0))
        throw new ConfigError(`${at(nodes.get(key))}: "${key}" must be a number above 0.`);
      return v;
    };
    const host = string("host", "alias", "login");
    const transport = choice("transport", ["local", "ssh", "openssh"], host === undefined ? "local" : "ssh");
    const scheduler = choice(
      "scheduler",
      ["local", "slurm"],
      host === undefined && name === "local" ? "local" : "slurm",
    );
    if (transport !== "local" && host === undefined)
      throw new ConfigError(`${at(map)}: the cluster ${name} has no host.`, "Write `host: login.example.edu`.");
    // Seed files write `login: netid@host`.
    const [, loginUser, loginHost] = /^([^@]+)@(.+)$/.exec(host ?? "") ?? [];
    const modules = value("modules");
    if (modules !== undefined && !(Array.isArray(modules) && modules.every((m) => typeof m === "string")))
      throw new ConfigError(
        `${at(nodes.get("modules"))}: "modules" must be a list of names.`,
        "Write [miniconda, CUDA].",
      );
    const jobDir = string("job_dir") ?? (transport === "local" ? join(dataDir(), "jobs") : "~/yale-jobs");
    const defaults: Resources = {};
    for (const key of ["gpus", "memory", "time", "partition", "account", "qos", "constraint"] as const) {
      const v = string(key);
      if (v !== undefined) defaults[key] = v;
    }
    const cpus = count("cpus");
    if (cpus !== undefined) defaults.cpus = cpus;
    const given = {
      host: loginHost ?? host,
      user: string("user", "username") ?? loginUser,
      port: count("port"),
      identity: string("identity"),
      proxyJump: string("proxy_jump"),
      resultDir: string("result_dir"),
      env: string("env"),
      modules: modules as string[] | undefined,
      model: string("model"),
    };
    return {
      name,
      transport,
      scheduler,
      jobDir: transport === "local" ? expandHome(jobDir) : jobDir,
      defaults,
      policy: { pollSeconds: count("poll_seconds") ?? 15 },
      ...(Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)) as Partial<ClusterConfig>),
    };
  };

  const top = keysOf(doc.contents, TOP_KEYS);
  const several = top.get("clusters");
  let first: string | undefined;
  if (several !== undefined) {
    if (!isMap(several)) throw new ConfigError(`${at(several)}: "clusters" must hold a name for each cluster.`);
    for (const item of several.items as readonly Item[]) {
      const name = isScalar(item.key) ? String(item.key.value) : "";
      if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(name))
        throw new ConfigError(`${at(item.key)}: ${JSON.stringify(name)} is no name for a cluster.`);
      if (!isMap(item.value))
        throw new ConfigError(
          `${at(item.key)}: the cluster ${name} has no keys.`,
          "Write `host:` and `job_dir:` under it.",
        );
      first ??= name;
      clusters.set(name, read(name, item.value, CLUSTER_KEYS));
    }
  }
  if (CLUSTER_KEYS.some((key) => top.has(key))) {
    const alias = top.get("alias");
    const name = isScalar(alias) && typeof alias.value === "string" ? alias.value : "cluster";
    first ??= name;
    clusters.set(name, read(name, doc.contents, TOP_KEYS));
  }
  const chosen = top.get("default");
  const wanted = isScalar(chosen) ? String(chosen.value) : (first ?? "local");
  if (!clusters.has(wanted))
    throw new ConfigError(
      `${at(chosen)}: the default cluster ${JSON.stringify(wanted)} is not defined.`,
      `Defined: ${[...clusters.keys()].join(", ")}.`,
    );
  return { path, default: wanted, clusters };
}

function localCluster(): ClusterConfig {
  return {
    name: "local",
    transport: "local",
    scheduler: "local",
    jobDir: join(dataDir(), "jobs"),
    defaults: {},
    policy: { pollSeconds: 1 },
  };
}

function expandHome(path: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : resolve(path);
}
