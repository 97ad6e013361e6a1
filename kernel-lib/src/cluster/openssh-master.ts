/**
 * The one authenticated connection of OpenSSH to a cluster (ControlMaster), which every session goes through: the user's
 * own where one is open already, else one of ours, which ends with this process.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { homedir, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import type { ClusterConfig } from "../config/index.js";
import { ConfigError, ConnectionError, HostKeyError, InterruptedError, LoginError } from "../errors.js";
import { runtimeDir } from "../paths.js";
import { Askpass } from "./openssh-ask.js";
import { guarded } from "./shell.js";
import { parseDump, sshArguments } from "./ssh-config.js";
import type { LoginOptions } from "./transport.js";

/** A connection that sessions can be opened over. */
export interface Master {
  /** Arguments of `ssh` up to the host, with which a session goes over this connection or nowhere. */
  readonly session: readonly string[];
  /** It was there before, belongs to the user, and stays when we are done. */
  readonly borrowed: boolean;
  /** A person had to answer something. */
  readonly asked: boolean;
  /** What was said in the course of the login and in no question. */
  readonly greeting: string;
  /** Resolves with the reason when it is gone; of a borrowed one only {@link alive} can tell. */
  readonly lost: Promise<Error>;
  alive(): Promise<boolean>;
  /** Ends it, if it is ours. */
  close(): Promise<void>;
}

/** Seconds between signs of life, and how many may stay away: a dead line is found after 20. */
const ALIVE_SECONDS = 5;
const ALIVE_COUNT = 3;
/** Seconds for the connection itself, before anybody is asked. */
const CONNECT_SECONDS = 30;
/** Characters of ssh's own words that are kept. */
const SAID = 16_384;
/** Bytes of a unix socket's path (108), less the zero and the 17 that ssh adds while it makes one. */
const LONGEST_SOCKET = 90;

/** Opens it. Throws LoginError, HostKeyError, ConnectionError, ConfigError and InterruptedError. */
export async function openMaster(cluster: ClusterConfig, login: LoginOptions): Promise<Master> {
  login.signal?.throwIfAborted();
  const { host } = cluster;
  if (host === undefined)
    throw new ConfigError(`The cluster ${cluster.name} has no host.`, "Write `host: login.example.edu`.");
  const where = [
    ...sshArguments(),
    ...(cluster.user === undefined ? [] : ["-l", cluster.user]),
    ...(cluster.port === undefined ? [] : ["-p", String(cluster.port)]),
    ...(cluster.identity === undefined ? [] : ["-i", cluster.identity]),
    ...(cluster.proxyJump === undefined ? [] : ["-J", cluster.proxyJump]),
  ];
  const settings = parseDump(await dump(where, host));
  const path = settings.get("controlpath")?.[0];
  if (path !== undefined && path !== "none" && (await check(path, host)))
    return {
      session: session(path, host),
      borrowed: true,
      asked: false,
      greeting: "",
      lost: new Promise(() => undefined),
      alive: () => check(path, host),
      close: async () => undefined,
    };
  return new OwnMaster(cluster.name, host).open(where, settings, login);
}

/** Sessions must not open a connection of their own when the master is gone: nothing leads there but the socket. */
function session(control: string, host: string): string[] {
  const options = ["ControlMaster=no", "BatchMode=yes", "ProxyCommand=false"].flatMap((o) => ["-o", o]);
  return ["-F", "/dev/null", "-S", control, ...options, "-T", "--", host];
}

function check(control: string, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const args = ["-F", "/dev/null", "-S", control, "-O", "check", "--", host];
    execFile("ssh", args, { timeout: 10_000 }, (error) => resolve(error === null));
  });
}

/** What OpenSSH makes of ~/.ssh/config for this host. */
function dump(where: readonly string[], host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile("ssh", [...where, "-G", "--", host], { timeout: 20_000, maxBuffer: 1 << 20 }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      if ((error as NodeJS.ErrnoException).code === "ENOENT")
        return reject(
          new ConfigError("There is no `ssh` on this machine.", "Install OpenSSH, or write `transport: ssh`."),
        );
      reject(new ConfigError(`~/.ssh/config can't be used: ${lastLine(stderr)}`, `Try \`ssh -G ${host}\`.`));
    });
  });
}

class OwnMaster implements Master {
  readonly borrowed = false;
  readonly lost: Promise<Error>;
  readonly #cluster: string;
  readonly #host: string;
  readonly #folder: string;
  readonly #control: string;
  #child: ChildProcess | undefined;
  #askpass: Askpass | undefined;
  #ended: Promise<void> = Promise.resolve();
  #lose: (reason: Error) => void = () => undefined;
  /** What ssh has said, and how much of it stands in a question already. */
  #said = "";
  #told = 0;
  #greeting = "";

  constructor(cluster: string, host: string) {
    this.#cluster = cluster;
    this.#host = host;
    this.#folder = privateFolder();
    this.#control = join(this.#folder, "master");
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
  }

  get session(): string[] {
    return session(this.#control, this.#host);
  }

  get asked(): boolean {
    return this.#askpass?.asked ?? false;
  }

  get greeting(): string {
    return this.#greeting;
  }

  alive(): Promise<boolean> {
    return check(this.#control, this.#host);
  }

  async open(where: readonly string[], settings: Map<string, string[]>, login: LoginOptions): Promise<this> {
    try {
      const interactive = login.interactive !== false;
      const ask = interactive ? await this.#bridge(login) : {};
      const args = [...where, ...this.#options(settings, interactive), "--", this.#host];
      await this.#start(args, ask, login.signal);
      return this;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      this.#askpass?.close();
    }
  }

  async close(): Promise<void> {
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      // The guard tells ssh to end; ssh ends its sessions.
      (child.stdio[3] as { destroy(): void } | null)?.destroy();
      const timer = setTimeout(() => kill(child), 3_000);
      await this.#ended;
      clearTimeout(timer);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** What ssh has said since the last time, without what is no news. */
  #fresh(): string {
    const fresh = this.#said.slice(this.#told);
    this.#told = this.#said.length;
    return fresh.replace(/^(Warning: Permanently added|Permission denied, please try again).*$/gm, "").trim();
  }

  async #bridge(login: LoginOptions): Promise<NodeJS.ProcessEnv> {
    const said = () => this.#fresh();
    this.#askpass = new Askpass({ folder: this.#folder, cluster: this.#cluster, ask: login.ask, said });
    return this.#askpass.open();
  }

  #options(settings: Map<string, string[]>, interactive: boolean): string[] {
    const strict = settings.get("stricthostkeychecking")?.[0];
    const options: Record<string, string | number> = {
      ControlMaster: "yes",
      ControlPersist: "no",
      ControlPath: this.#control,
      BatchMode: interactive ? "no" : "yes",
      // Unknown hosts are asked about, whatever is said elsewhere, unless they are refused altogether.
      StrictHostKeyChecking: strict === "true" || strict === "yes" ? "yes" : "ask",
      ServerAliveInterval: ALIVE_SECONDS,
      ServerAliveCountMax: ALIVE_COUNT,
      ConnectTimeout: CONNECT_SECONDS,
      ClearAllForwardings: "yes",
      ForwardAgent: "no",
      ForwardX11: "no",
      PermitLocalCommand: "no",
      RemoteCommand: "none",
      RequestTTY: "no",
    };
    // OpenSSH looks for known_hosts in the password database's home, everything of ours in $HOME.
    const home = userInfo().homedir;
    const known = settings.get("userknownhostsfile")?.[0] ?? "";
    if (homedir() !== home && known.split(" ").every((file) => file.startsWith(join(home, ".ssh"))))
      options["UserKnownHostsFile"] = join(homedir(), ".ssh", "known_hosts");
    return ["-N", ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`])];
  }

  async #start(args: readonly string[], ask: NodeJS.ProcessEnv, signal: AbortSignal | undefined): Promise<void> {
    const { NODE_OPTIONS: _options, ...env } = process.env;
    const [program = "", ...rest] = guarded(["ssh", ...args]);
    // A session of its own, so that ssh finds no terminal to ask on, and Ctrl-C here does not end it.
    const child = spawn(program, rest, {
      detached: true,
      env: { ...env, ...ask, LC_ALL: "C" },
      stdio: ["ignore", "ignore", "pipe", "pipe"],
    });
    this.#child = child;
    child.stdio[3]?.on("error", () => undefined);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      const all = this.#said + text;
      const over = Math.max(0, all.length - SAID);
      this.#said = all.slice(over);
      this.#told = Math.max(0, this.#told - over);
    });
    const ended = new Promise<void>((resolve) => {
      child.once("error", () => resolve());
      child.once("close", () => resolve());
    });
    this.#ended = ended;
    const up = new Promise<"up">((resolve) => {
      // The socket appears when ssh has logged in. fs.watch sees nothing on some file systems.
      const timer = setInterval(() => {
        if (!existsSync(this.#control)) return;
        clearInterval(timer);
        resolve("up");
      }, 50);
      void ended.then(() => clearInterval(timer));
    });
    const aborted = new Promise<Error>((resolve) => {
      const abort = () => resolve(new InterruptedError(`The login to ${this.#cluster} was interrupted.`));
      signal?.addEventListener("abort", abort, { once: true });
      void Promise.race([ended, up]).then(() => signal?.removeEventListener("abort", abort));
      if (signal?.aborted) abort();
    });
    const failed = this.#askpass?.failed ?? new Promise<Error>(() => undefined);
    const end = await Promise.race([up, ended, aborted, failed]);
    if (end instanceof Error) throw end;
    // What ssh said last comes a moment before its end.
    if (end !== "up") throw this.#refusal();
    this.#greeting = this.#fresh();
    void ended.then(() =>
      this.#lose(new ConnectionError(`The line to ${this.#cluster} was lost: ${this.#last()}.`, "Try again.")),
    );
  }

  #last(): string {
    return lastLine(this.#said).replace(/\.$/, "") || "ssh ended";
  }

  /** Why there is no connection, by what ssh said. */
  #refusal(): Error {
    const said = this.#said;
    const name = this.#cluster;
    const last = this.#last();
    if (/marked as revoked|REVOKED HOST KEY/i.test(said))
      return new HostKeyError(
        `The host key of ${name} is revoked in known_hosts. Nothing was sent to it.`,
        "Ask the site; do not log in there until it has a new key.",
      );
    if (/HOST IDENTIFICATION HAS CHANGED|host key for .* has changed/i.test(said)) {
      const shown = /fingerprint for the \S+ key sent by the remote host is\s+(SHA256:\S+)/.exec(said)?.[1];
      const line = /^(?:Offending .* key in|Add correct host key in) (\S+)/m.exec(said)?.[1];
      return new HostKeyError(
        `The host key of ${name} is not the one that is known${shown === undefined ? "" : `: it shows ${shown}`}. Somebody may stand between, or the cluster was rebuilt.`,
        `Ask the cluster's staff. If the new key is right, remove the old one${line === undefined ? "" : ` (${line})`} with \`ssh-keygen -R\`, and log in again.`,
      );
    }
    if (/Host key verification failed|authenticity of host .* can't be established|No .* host key is known/.test(said))
      return new LoginError(`The host key of ${name} is not known yet.`, `Run \`yale login ${name}\` and confirm it.`);
    if (/Permission denied|Too many authentication failures|Authentication failed|no more authentication/i.test(said))
      return new LoginError(
        `${name} refused the login: ${last}.`,
        `Check user, key and second factor; then \`yale login ${name}\`.`,
      );
    return new ConnectionError(`${name} can't be reached: ${last}.`, "Check host, network and VPN; then try again.");
  }
}

/** A folder that only this user can enter, with a path short enough for the sockets in it. */
function privateFolder(): string {
  const base = runtimeDir();
  const name = "ssh-XXXXXX";
  if (Buffer.byteLength(join(base, name, "master")) <= LONGEST_SOCKET) {
    mkdirSync(base, { recursive: true, mode: 0o700 });
    return mkdtempSync(join(base, "ssh-"));
  }
  return mkdtempSync(join(tmpdir(), "yale-ssh-"));
}

function kill(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch {
    // It ended meanwhile.
  }
}

/** The last line of what ssh said, without what a terminal would obey. */
export function lastLine(said: string): string {
  const lines = said
    .replace(/[^\x20-\x7e\n]/g, "")
    .trim()
    .split("\n");
  return (lines.at(-1) ?? "").trim().slice(0, 300);
}
