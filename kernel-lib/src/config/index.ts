/**
 * Configuration: which clusters there are. Without any file there is one, `local`: this machine. The seed's keys
 * (`alias login env job_dir result_dir 2fa username`) work at top level as one cluster; `clusters:` holds several. What a
 * file leaves open is taken from the profile of the site, then from what holds everywhere.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { ConfigError } from "../errors.js";
import { checkCount, checkGpus, checkMemory, checkTime, checkWord } from "../options.js";
import { configDir, dataDir } from "../paths.js";
import type { Resources } from "../protocol.js";
import { generic, type Policy, SITES, type SiteProfile, siteNamed, siteOfHost } from "../sites/index.js";
import type { Section } from "./read.js";

/** One cluster, with all defaults filled in. */
export interface ClusterConfig {
  name: string;
  transport: "local" | "ssh" | "openssh";
  scheduler: "local" | "slurm";
  /** Host name, or alias of ~/.ssh/config. */
  host?: string;
  user?: string;
  port?: number;
  /** Absolute path of a private key on this machine. */
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
  /** How it wants to be used: the file's word, else the site's, else what is careful anywhere. */
  policy: Policy;
  /** The site's profile, where the cluster is a known one. */
  site?: SiteProfile;
  /** Files in `jobDir` are deleted by the site when they are so many days old. */
  purgeDays?: number;
  /** Command that prints quotas there, as an argument list. */
  quotaCommand?: readonly string[];
}

/** What a config.yaml says, or what holds without one. */
export interface Config {
  path?: string;
  /** Cluster of jobs that name none. */
  default: string;
  clusters: ReadonlyMap<string, ClusterConfig>;
}

/** Keys of a cluster. Old names stand beside the new ones. */
export const CLUSTER_KEYS: readonly string[] = [
  ...["site", "transport", "scheduler", "host", "alias", "login", "user", "username", "port", "identity", "proxy_jump"],
  ...["job_dir", "result_dir", "env", "modules", "model", "2fa", "gpus", "cpus", "memory", "time", "partition"],
  ...["account", "qos", "constraint", "poll_seconds", "submissions_per_hour", "min_task_minutes", "task_minutes"],
  ...["max_array_running", "purge_days", "quota_command"],
];
/** Keys at the top of the file. */
export const TOP_KEYS: readonly string[] = ["default", "clusters", ...CLUSTER_KEYS];

const CLUSTER_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
// A host, user or jump host that begins with a dash would be an option to ssh, and OpenSSH 9.6 and later refuses what a
// shell would read.
const HOST = /^[A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,254}$/;
const USER = /^[A-Za-z0-9_][A-Za-z0-9_.@+\\-]{0,63}$/;
const JUMP = /^(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*@)?[A-Za-z0-9_[][A-Za-z0-9_.:%[\]-]*$/;

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

/** Files that are being read at this moment. An agent takes up a thousand jobs at once, and all name the same file. */
const reading = new Map<string, Promise<Config>>();

/** Reads a configuration; `search: false` without `path` means none. Throws ConfigError with file and line. */
export async function loadConfig(options: { path?: string; cwd?: string; search?: boolean } = {}): Promise<Config> {
  const path = options.search === false && options.path === undefined ? undefined : findConfig(options);
  if (path === undefined) return { default: "local", clusters: new Map([["local", localCluster()]]) };
  const known = reading.get(path);
  if (known !== undefined) return known;
  const now = readConfig(path).finally(() => reading.delete(path));
  reading.set(path, now);
  return now;
}

async function readConfig(path: string): Promise<Config> {
  const clusters = new Map<string, ClusterConfig>([["local", localCluster()]]);
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new ConfigError(`${path} can't be read.`, "Check its permissions.", { cause });
  });
  // A notebook without a config.yaml need not load the parser.
  const { ConfigFile } = await import("./read.js");
  const root = new ConfigFile(path, text).root(TOP_KEYS);
  if (root === undefined) return { path, default: "local", clusters };

  let first: string | undefined;
  const several = root.section("clusters");
  for (const name of several?.keys() ?? []) {
    if (!CLUSTER_NAME.test(name))
      several?.refuse(name, `${JSON.stringify(name)} is no name for a cluster.`, "Use letters, digits and _ . -");
    const section = several?.section(name, CLUSTER_KEYS);
    if (section === undefined) continue;
    first ??= name;
    clusters.set(name, cluster(name, section, path));
  }
  if (CLUSTER_KEYS.some((key) => root.has(key))) {
    const name = root.word("alias", CLUSTER_NAME, "letters, digits and _ . -") ?? "cluster";
    first ??= name;
    clusters.set(name, cluster(name, root, path));
  }
  const wanted = root.text("default") ?? first ?? "local";
  if (!clusters.has(wanted))
    root.refuse(
      "default",
      `the default cluster ${JSON.stringify(wanted)} is not defined.`,
      `Defined: ${[...clusters.keys()].join(", ")}.`,
    );
  return { path, default: wanted, clusters };
}

/** What one section means, laid over what its site's profile says. */
function cluster(name: string, section: Section, path: string): ClusterConfig {
  const address = addressOf(section);
  const transport =
    section.choice("transport", ["local", "ssh", "openssh"]) ?? (address.host === undefined ? "local" : "ssh");
  const scheduler =
    section.choice("scheduler", ["local", "slurm"]) ??
    (address.host === undefined && name === "local" ? "local" : "slurm");
  if (transport !== "local" && address.host === undefined)
    section.refuse("", `the cluster ${name} has no host.`, "Write `host: login.example.edu`.");

  const site = siteOf(section, address.host);
  const local = (p: string | undefined) => (p === undefined ? undefined : localPath(p, path));
  const jobDir = jobDirOf(section) ?? (transport === "local" ? join(dataDir(), "jobs") : "~/yale-jobs");
  const given = {
    ...address,
    port: section.checked("port", (v) => checkCount("port", v, 1, 65_535)),
    identity: local(section.text("identity")),
    proxyJump: proxyJump(section),
    resultDir: local(section.text("result_dir")),
    env: section.word("env", /^(?!-)/, "the name or path of a conda environment"),
    modules: section.list("modules", "[miniconda, CUDA]"),
    model: section.text("model"),
    site,
    purgeDays: section.count("purge_days"),
    quotaCommand: section.list("quota_command", "[quota, -w]") ?? site?.quotaCommand,
  };
  return {
    name,
    transport,
    scheduler,
    jobDir: transport === "local" ? localPath(jobDir, path) : jobDir,
    defaults: defaultsOf(section),
    policy: policyOf(section, scheduler === "local" ? LOCAL_POLICY : (site ?? generic).policy),
    ...defined(given),
  };
}

/** Host and user, by any of their names. Seed files write `login: netid@host`, or an alias and the login beside it. */
function addressOf(section: Section): { host?: string; user?: string } {
  const key = section.given("host", "alias", "login");
  const found: { host?: string; user?: string } = {};
  for (const name of ["login", "alias", "host"]) {
    const text = section.text(name);
    if (text === undefined) continue;
    const at = text.lastIndexOf("@");
    const [user, host] = at < 0 ? [undefined, text] : [text.slice(0, at), text.slice(at + 1)];
    if (!HOST.test(host) || (user !== undefined && !USER.test(user)))
      section.refuse(
        name,
        `${name} is ${JSON.stringify(text)}.`,
        "Give a host name or an alias of ~/.ssh/config, such as login.example.edu or netid@login.example.edu.",
      );
    if (name === key) found.host = host;
    if (user !== undefined) found.user = user;
  }
  const user = section.given("user", "username");
  if (user !== undefined) found.user = section.word(user, USER, "the name that you log in with there") ?? "";
  return found;
}

function proxyJump(section: Section): string | undefined {
  const text = section.text("proxy_jump");
  if (text !== undefined && !text.split(",").every((hop) => JUMP.test(hop)))
    section.refuse(
      "proxy_jump",
      `proxy_jump is ${JSON.stringify(text)}.`,
      "Give hosts as ssh -J takes them: user@host:port, several separated by commas.",
    );
  return text;
}

/** By the key `site`, or by the host. A site that can't be used over SSH is refused here, before anybody tries. */
function siteOf(section: Section, host: string | undefined): SiteProfile | undefined {
  const named = section.choice("site", [generic.name, ...SITES.map((s) => s.name)]);
  const site = named === undefined ? (host === undefined ? undefined : siteOfHost(host)) : siteNamed(named);
  if (site?.outOfScope !== undefined)
    section.refuse(named === undefined ? "host" : "site", site.outOfScope, "Remove this cluster from the file.");
  return site;
}

function jobDirOf(section: Section): string | undefined {
  const path = section.text("job_dir");
  if (path === undefined) return undefined;
  if (/["\\]/.test(path) || path.split("/").includes("..") || /^~[^/]/.test(path))
    section.refuse(
      "job_dir",
      `job_dir is ${JSON.stringify(path)}.`,
      "Give an absolute path or one that begins with ~/, without .. and without double quotes or backslashes, which a batch script can't hold.",
    );
  return path === "~" ? "~/" : path;
}

/** What jobs ask for if they say nothing: by the same rules as the options of a job. */
function defaultsOf(section: Section): Resources {
  const word = (key: string) => section.checked(key, (v) => checkWord(key, v));
  return defined({
    gpus: section.checked("gpus", checkGpus),
    cpus: section.checked("cpus", (v) => checkCount("cpus", v, 1, 1024)),
    memory: section.checked("memory", checkMemory),
    time: section.checked("time", checkTime),
    partition: word("partition"),
    account: word("account"),
    qos: word("qos"),
    constraint: word("constraint"),
  });
}

const LOCAL_POLICY: Readonly<Policy> = { pollSeconds: 1, minTaskMinutes: 0, taskMinutes: 0 };

function policyOf(section: Section, base: Readonly<Policy>): Policy {
  return {
    ...base,
    ...defined({
      pollSeconds: section.count("poll_seconds"),
      submissionsPerHour: section.count("submissions_per_hour"),
      minTaskMinutes: section.count("min_task_minutes"),
      taskMinutes: section.count("task_minutes"),
      maxArrayRunning: section.checked("max_array_running", (v) => checkCount("max_array_running", v)),
    }),
  };
}

function localCluster(): ClusterConfig {
  return {
    name: "local",
    transport: "local",
    scheduler: "local",
    jobDir: join(dataDir(), "jobs"),
    defaults: {},
    policy: { ...LOCAL_POLICY },
  };
}

/** A path on this machine: from the home, or from the folder of the file that names it, whoever reads it. */
function localPath(path: string, config: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : resolve(dirname(config), path);
}

/** Without the values that are undefined. */
function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, v]) => v !== undefined)) as never;
}
