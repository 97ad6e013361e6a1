/**
 * ~/.ssh/config where no OpenSSH is installed to read it (containers of JupyterLab, mostly): Host, Match by names,
 * Include, the first value wins. Gives what `ssh -G` would give of the options that we use, without OpenSSH's defaults.
 * The package `ssh-config` was looked at for this: it reads no Include and would run `Match exec`.
 */
import { existsSync, readFileSync } from "node:fs";
import { homedir, userInfo } from "node:os";
import { isAbsolute, join } from "node:path";
import { globSync } from "tinyglobby";
import { ConfigError } from "../errors.js";

/** Options by their names in small letters; several values where OpenSSH adds them up. */
export type SshOptions = Map<string, string[]>;

/** What is given on the command line, as it were. */
export interface SshAsked {
  host: string;
  user?: string | undefined;
  port?: number | undefined;
  identity?: string | undefined;
  proxyJump?: string | undefined;
}

/** Options that may be given several times. */
const ADDED_UP = ["identityfile", "certificatefile"];
/** Keys that `ssh` tries where none is configured, as far as ssh2 knows their kinds. */
const STANDARD_KEYS = ["id_rsa", "id_ecdsa", "id_ed25519"];
/** As OpenSSH's READCONF_MAX_DEPTH. */
const DEPTH = 16;

/** Reads the user's and the system's configuration for one host. Throws ConfigError. */
export function readSshConfig(asked: SshAsked): SshOptions {
  const options: SshOptions = new Map();
  const put = (name: string, value: string | number | undefined) => {
    if (value !== undefined) options.set(name, [String(value)]);
  };
  put("user", asked.user);
  put("port", asked.port);
  put("identityfile", asked.identity);
  put("proxyjump", asked.proxyJump);
  const folder = join(homedir(), ".ssh");
  readInto(options, asked.host, join(folder, "config"), folder, true, 0);
  readInto(options, asked.host, "/etc/ssh/ssh_config", "/etc/ssh", true, 0);
  const host = options.get("hostname")?.[0];
  if (host !== undefined)
    put(
      "hostname",
      host.replace(/%([hn%])/g, (_, t: string) => (t === "%" ? "%" : asked.host)),
    );
  if (!options.has("identityfile"))
    options.set(
      "identityfile",
      STANDARD_KEYS.map((key) => `~/.ssh/${key}`),
    );
  return options;
}

function readInto(options: SshOptions, host: string, path: string, base: string, given: boolean, depth: number): void {
  if (depth > DEPTH) throw new ConfigError(`${path}: Include goes too deep.`, "Look for a loop.");
  if (!existsSync(path)) return;
  let active = given;
  for (const [i, line] of readFileSync(path, "utf8").split(/\r?\n/).entries()) {
    const match = /^\s*([A-Za-z][A-Za-z0-9]*)(?:\s*=\s*|\s+)(.*?)\s*$/.exec(line);
    if (match === null) {
      if (/^\s*(#|$)/.test(line)) continue;
      throw new ConfigError(`${path}:${i + 1}: ${JSON.stringify(line.trim())} can't be read.`, "Mend the line.");
    }
    const name = (match[1] ?? "").toLowerCase();
    const words = split(match[2] ?? "");
    if (name === "host") active = given && matches(words, host);
    else if (name === "match") active = given && matchLine(words, options, host);
    else if (!active) continue;
    else if (name === "include")
      for (const word of words) {
        const pattern = word.replace(/^~(?=\/)/, homedir());
        const full = isAbsolute(pattern) ? pattern : join(base, pattern);
        const files = globSync(full, { absolute: true, dot: true, expandDirectories: false }).sort();
        for (const file of files) readInto(options, host, file, base, active, depth + 1);
      }
    else add(options, name, words);
  }
}

function add(options: SshOptions, name: string, words: string[]): void {
  const before = options.get(name);
  if (before === undefined) options.set(name, [words.join(" ")]);
  else if (ADDED_UP.includes(name)) before.push(words.join(" "));
}

/** Words of a line; double quotes keep spaces, a `#` after a space begins a comment. */
function split(text: string): string[] {
  const words: string[] = [];
  for (const [, quoted, bare] of text.matchAll(/"([^"]*)"|(\S+)/g)) {
    if (bare?.startsWith("#")) break;
    words.push(quoted ?? bare ?? "");
  }
  return words;
}

/** Criteria that can be told without running anything; one that can't be told does not match. */
function matchLine(words: string[], options: SshOptions, host: string): boolean {
  for (let i = 0; i < words.length; i++) {
    const negated = words[i]?.startsWith("!") ?? false;
    const criterion = (words[i] ?? "").replace(/^!/, "").toLowerCase();
    if (criterion === "all") continue;
    const subject = {
      host: options.get("hostname")?.[0] ?? host,
      originalhost: host,
      user: options.get("user")?.[0] ?? userInfo().username,
      localuser: userInfo().username,
    }[criterion];
    if (subject === undefined) return false;
    i += 1;
    if (matches((words[i] ?? "").split(","), subject) === negated) return false;
  }
  return true;
}

/** True if one pattern fits and no negated one does. */
export function matches(patterns: readonly string[], name: string): boolean {
  let hit = false;
  for (const pattern of patterns) {
    const negated = pattern.startsWith("!");
    if (!wildcard(negated ? pattern.slice(1) : pattern, name)) continue;
    if (negated) return false;
    hit = true;
  }
  return hit;
}

/** Patterns of ssh_config(5) and known_hosts: `*` and `?`, nothing else. */
function wildcard(pattern: string, name: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*+/g, ".*")
    .replace(/\?/g, ".");
  return new RegExp(`^${source}$`, "s").test(name);
}
