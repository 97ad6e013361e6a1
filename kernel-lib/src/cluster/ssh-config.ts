/**
 * Where a cluster is and how one gets in, as the user's own `ssh` would have it: ~/.ssh/config through `ssh -G`, which
 * knows Include, Match and every default of the installed OpenSSH; read by ssh-config-file.ts where there is no `ssh`.
 * What config.yaml says wins, as options on OpenSSH's command line do.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { homedir, hostname, userInfo } from "node:os";
import { join } from "node:path";
import type { ClusterConfig } from "../config/index.js";
import { ConfigError } from "../errors.js";
import { readSshConfig, type SshOptions } from "./ssh-config-file.js";

/** One machine on the way, with everything that OpenSSH's options say about it. */
export interface SshHost {
  /** The name it was asked for by: a host name, or a `Host` of ~/.ssh/config. */
  alias: string;
  host: string;
  port: number;
  user: string;
  /** Absolute paths of private keys, in the order in which they are tried; some may not exist. */
  identities: string[];
  /** Only keys of `identities` are offered, though an agent may hold more. */
  identitiesOnly: boolean;
  /** Socket of the ssh-agent; undefined for none. */
  agent: string | undefined;
  /** The user's known_hosts files; a new host is added to the first. */
  knownHosts: string[];
  globalKnownHosts: string[];
  /** Name to look up in known_hosts in place of the host's own. */
  hostKeyAlias: string | undefined;
  /** New lines of known_hosts hide the name. */
  hashKnownHosts: boolean;
  /** Unknown hosts are refused without a question (`StrictHostKeyChecking yes`). */
  strict: boolean;
  /** Milliseconds; undefined where it is not set. */
  connectTimeout: number | undefined;
  family: 4 | 6 | undefined;
  bindAddress: string | undefined;
  /** User certificates that are configured, which ssh2 can't use: named in errors. */
  certificates: string[];
}

/** Machines between here and the cluster: `ssh` itself stops no loop of ProxyJump either. */
const MOST_HOPS = 8;

/**
 * Options for every call of the `ssh` program. OpenSSH looks for ~/.ssh in the password database; everything of ours goes
 * by $HOME, so where they differ it is told.
 */
export function sshArguments(): string[] {
  const home = homedir();
  if (home === userInfo().homedir) return [];
  const config = join(home, ".ssh", "config");
  return ["-F", existsSync(config) ? config : "/dev/null"];
}

/**
 * The machines from here to a cluster, jump hosts first. Throws ConfigError where the configuration is wrong or asks for
 * what only OpenSSH can do.
 */
export async function sshRoute(cluster: ClusterConfig): Promise<SshHost[]> {
  const { name, host, identity } = cluster;
  if (host === undefined) throw new ConfigError(`The cluster ${name} has no host.`, "Write `host: login.example.edu`.");
  if (identity !== undefined && !existsSync(identity))
    throw new ConfigError(`The key ${identity} of the cluster ${name} does not exist.`, "Check `identity:`.");
  return route({ ...cluster, host }, 1);
}

/** What is asked for of one machine. */
interface Asked {
  host: string;
  user?: string | undefined;
  port?: number | undefined;
  identity?: string | undefined;
  proxyJump?: string | undefined;
}

async function route(asked: Asked, depth: number): Promise<SshHost[]> {
  if (depth > MOST_HOPS)
    throw new ConfigError(`There are more than ${MOST_HOPS} jump hosts on the way.`, "Look for a loop of ProxyJump.");
  const options = await optionsOf(asked);
  const found = settle(asked.host, options, asked);
  const jumps = (first(options, "proxyjump") ?? "none").split(",");
  const last = jumps.pop()?.trim() ?? "none";
  if (last === "none" || last === "") {
    const proxy = first(options, "proxycommand");
    if (proxy !== undefined && proxy !== "none")
      throw new ConfigError(
        `${asked.host} is reached by a ProxyCommand of ~/.ssh/config, which this way to a cluster can't run.`,
        "Write `transport: openssh` for it in config.yaml, or use ProxyJump.",
      );
    return [found];
  }
  // As OpenSSH has it: each jump is reached through those before it, the first by its own configuration.
  const before = { ...jump(last), proxyJump: jumps.length > 0 ? jumps.join(",") : undefined };
  const way = await route(before, depth + 1);
  // A key that config.yaml names is meant for the whole way; OpenSSH would have it in ~/.ssh/config for each.
  const shared = asked.identity === undefined ? [] : [asked.identity];
  return [...way.map((h) => ({ ...h, identities: [...new Set([...h.identities, ...shared])] })), found];
}

/** `[user@]host[:port]` or `ssh://…`, as ProxyJump takes it. */
function jump(text: string): Asked {
  const match = /^(?:ssh:\/\/)?(?:([^@]+)@)?(\[[^\]]+\]|[^:[\]]+)(?::(\d+))?\/?$/.exec(text);
  if (match === null)
    throw new ConfigError(`ProxyJump ${JSON.stringify(text)} can't be read.`, "Write user@host:port.");
  const [, user, host = "", port] = match;
  return { host: host.replace(/^\[|\]$/g, ""), user, port: port === undefined ? undefined : Number(port) };
}

async function optionsOf(asked: Asked): Promise<SshOptions> {
  // A name that begins with a dash would be an option of ssh.
  if (!/^[A-Za-z0-9_.:%][A-Za-z0-9_.:%-]*$/.test(asked.host))
    throw new ConfigError(`${JSON.stringify(asked.host)} is no name of a host.`, "Check `host:` and ProxyJump.");
  if (asked.user !== undefined && !/^[A-Za-z0-9_.][^\s\u0000-\u001f]*$/.test(asked.user))
    throw new ConfigError(`${JSON.stringify(asked.user)} is no user name.`, "Check `user:`.");
  return (await optionsOfSsh(asked)) ?? readSshConfig(asked);
}

/** Asks the installed `ssh`; undefined where there is none. */
function optionsOfSsh(asked: Asked): Promise<SshOptions | undefined> {
  const option = (flag: string, value: string | number | undefined) => (value === undefined ? [] : [flag, `${value}`]);
  const args = [
    ...sshArguments(),
    ...option("-l", asked.user),
    ...option("-p", asked.port),
    ...option("-i", asked.identity),
    ...option("-J", asked.proxyJump),
    ...["-G", "--", asked.host],
  ];
  return new Promise((resolve, reject) => {
    execFile("ssh", args, { timeout: 20_000, maxBuffer: 1 << 20 }, (error, stdout, stderr) => {
      if (error === null) return resolve(parseDump(stdout));
      // No OpenSSH here; or one before 6.8 (2015), which lacks -G.
      if ((error as NodeJS.ErrnoException).code === "ENOENT" || /(illegal|unknown) option/.test(stderr))
        return resolve(undefined);
      const words = stderr.trim() || error.message;
      reject(
        new ConfigError(`~/.ssh/config can't be used: ${words}`, `Mend it, until \`ssh -G ${asked.host}\` works.`),
      );
    });
  });
}

/** The output of `ssh -G`: one option a line, in small letters. */
export function parseDump(text: string): SshOptions {
  const options: SshOptions = new Map();
  for (const line of text.split(/\r?\n/)) {
    const space = line.indexOf(" ");
    if (space > 0)
      options.set(line.slice(0, space), [...(options.get(line.slice(0, space)) ?? []), line.slice(space + 1)]);
  }
  return options;
}

function first(options: SshOptions, name: string): string | undefined {
  return options.get(name)?.[0];
}

function settle(alias: string, options: SshOptions, asked: Asked): SshHost {
  const user = asked.user ?? first(options, "user") ?? userInfo().username;
  const port = asked.port ?? Number(first(options, "port") ?? 22);
  const host = first(options, "hostname") ?? alias;
  const hostKeyAlias = first(options, "hostkeyalias");
  const names: Names = { alias, host, user, port, hostKeyAlias, jump: first(options, "proxyjump") ?? "" };
  const paths = (name: string) =>
    (options.get(name) ?? []).filter((p) => p.toLowerCase() !== "none").map((p) => expand(p, names));
  const yes = (name: string) => /^(yes|true|on)$/i.test(first(options, name) ?? "no");
  const revoked = first(options, "revokedhostkeys");
  if (revoked !== undefined && revoked !== "none")
    throw new ConfigError(
      `~/.ssh/config names RevokedHostKeys for ${alias}, which only OpenSSH can read.`,
      "Write `transport: openssh` for it in config.yaml.",
    );
  const family = first(options, "addressfamily");
  const timeout = Number(first(options, "connecttimeout"));
  const bindAddress = first(options, "bindaddress");
  return {
    alias,
    host: host.toLowerCase(),
    port,
    user,
    identities: [...new Set([...(asked.identity === undefined ? [] : [asked.identity]), ...paths("identityfile")])],
    identitiesOnly: yes("identitiesonly"),
    agent: agentSocket(first(options, "identityagent"), names),
    knownHosts: knownHostsFiles(options).map((p) => expand(p, names)),
    globalKnownHosts: list(options, "globalknownhostsfile", ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]),
    hostKeyAlias,
    hashKnownHosts: yes("hashknownhosts"),
    strict: yes("stricthostkeychecking"),
    connectTimeout: timeout > 0 ? timeout * 1000 : undefined,
    family: family === "inet" ? 4 : family === "inet6" ? 6 : undefined,
    bindAddress: bindAddress === undefined || bindAddress === "none" ? undefined : bindAddress,
    certificates: paths("certificatefile"),
  };
}

function list(options: SshOptions, name: string, standard: string[]): string[] {
  const value = first(options, name);
  const files = value === undefined ? standard : value.split(/\s+/).filter((word) => word !== "");
  return files.filter((file) => file.toLowerCase() !== "none");
}

function knownHostsFiles(options: SshOptions): string[] {
  // `ssh -G` has the home folder of the password database in them, which may not be ours.
  const printed = join(userInfo().homedir, ".ssh", "/");
  const files = list(options, "userknownhostsfile", ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]);
  return files.map((file) => (file.startsWith(printed) ? join(homedir(), ".ssh", file.slice(printed.length)) : file));
}

/** IdentityAgent: a path, `none`, `SSH_AUTH_SOCK`, or the name of another variable after `$`. */
function agentSocket(value: string | undefined, names: Names): string | undefined {
  if (value?.toLowerCase() === "none") return undefined;
  const standard = process.env["SSH_AUTH_SOCK"] ?? (process.platform === "win32" ? WINDOWS_AGENT : undefined);
  if (value === undefined || value === "SSH_AUTH_SOCK") return standard === "" ? undefined : standard;
  const named = /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(value);
  return named === null ? expand(value, names) : process.env[named[1] ?? ""];
}

/** Where the agent of Windows' own OpenSSH listens. */
const WINDOWS_AGENT = "\\\\.\\pipe\\openssh-ssh-agent";

/** What tokens stand for. */
interface Names {
  alias: string;
  host: string;
  user: string;
  port: number;
  hostKeyAlias: string | undefined;
  jump: string;
}

/** `~`, `${VARIABLE}` and the tokens of ssh_config(5). */
function expand(path: string, names: Names): string {
  const me = userInfo();
  const local = hostname();
  const hash = () =>
    createHash("sha1").update(`${local}${names.host}${names.port}${names.user}${names.jump}`).digest("hex");
  const tokens: Record<string, () => string> = {
    "%": () => "%",
    C: hash,
    d: homedir,
    h: () => names.host,
    i: () => String(me.uid),
    j: () => names.jump,
    k: () => names.hostKeyAlias ?? names.alias,
    L: () => local.split(".")[0] ?? local,
    l: () => local,
    n: () => names.alias,
    p: () => String(names.port),
    r: () => names.user,
    u: () => me.username,
  };
  return path
    .replace(/^~(?=\/|$)/, () => homedir())
    .replace(/\$\{([^}]+)\}/g, (_, variable: string) => process.env[variable] ?? "")
    .replace(/%(.)/g, (whole, token: string) => tokens[token]?.() ?? whole);
}
