/**
 * The toy cluster of test/bed for tests: SLURM and sshd on loopback. Files in test/cluster share one bed, which is up
 * when they start ({@link sharedBed}); they run one after another, so each may stop daemons and cut lines. What a test
 * has changed is put back by {@link Bed.reset}.
 */

import { execFile } from "node:child_process";
import { createHmac } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inject } from "vitest";
import { type ClusterConfig, loadConfig } from "../../kernel-lib/src/config/index.js";
import { type Ran, ROOT } from "./sandbox.js";

/** The login nodes; test/bed/README.md says what each asks for. */
export type Variant =
  | "key"
  | "duo"
  | "menu"
  | "totp"
  | "password"
  | "method"
  | "command"
  | "drop"
  | "changed"
  | "few"
  | "cert";

/** Where the scripts of the bed lie. */
export const BED_SCRIPTS: string = join(ROOT, "test", "bed");

/** What sets one bed apart from another: its name, its folder, and the first of its 40 ports. */
export interface BedPlace {
  name: string;
  state: string;
  port0: number;
}

/** What `bed.json` says. */
export interface BedInfo extends BedPlace {
  slurmConf: string;
  users: string[];
  ports: Record<Variant, number>;
}

declare module "vitest" {
  interface ProvidedContext {
    bed: BedInfo;
  }
}

/** The bed of this test run, for files in test/cluster. */
export function sharedBed(): Bed {
  return new Bed(inject("bed"));
}

/** Environment of the bed's scripts. */
export function bedEnv(place: BedPlace): NodeJS.ProcessEnv {
  return { ...process.env, NAME: place.name, STATE: place.state, PORT0: String(place.port0) };
}

/** Brings a bed up, or finds that it is up. Throws with the words of up.sh. */
export async function bringUp(place: BedPlace): Promise<Bed> {
  const { code, stdout, stderr } = await run(join(BED_SCRIPTS, "up.sh"), [], { env: bedEnv(place) });
  if (code !== 0) throw new Error(`${stdout}${stderr}`);
  return new Bed(readInfo(join(place.state, "bed.json")));
}

/** Reads a `bed.json`. */
export function readInfo(path: string): BedInfo {
  return JSON.parse(readFileSync(path, "utf8")) as BedInfo;
}

/** What becomes of a push: seconds mean that it is approved after so long. */
export type Push = "approve" | "deny" | "timeout" | { delay: number };

/** A toy cluster that is up. */
export class Bed {
  readonly info: BedInfo;
  readonly name: string;
  /** Folder of everything. */
  readonly state: string;
  readonly ports: Readonly<Record<Variant, number>>;
  /** The user that clusters of {@link configPath} log in as, and another. */
  readonly user: string;
  readonly otherUser: string;
  /** A config.yaml whose clusters are the login nodes. */
  readonly configPath: string;
  readonly knownHosts: string;

  constructor(info: BedInfo) {
    this.info = info;
    this.name = info.name;
    this.state = info.state;
    this.ports = info.ports;
    const [user = "", other = ""] = info.users;
    this.user = user;
    this.otherUser = other;
    this.configPath = join(info.state, "config.yaml");
    this.knownHosts = join(info.state, "known_hosts");
  }

  /** Path of a private key: `id_ed25519 id_ecdsa id_rsa id_passphrase id_certified id_stranger`. */
  key(name = "id_ed25519"): string {
    return join(this.state, "keys", name);
  }

  /** Passphrase of `id_passphrase`. */
  readonly passphrase = "correct horse";

  /** A user's password. */
  password(user: string = this.user): string {
    return `password of ${user}`;
  }

  /** Path in a user's home folder. */
  home(...path: string[]): string {
    return join(this.state, "home", this.user, ...path);
  }

  /** A login node as the bed's config.yaml gives it, with `changes`. */
  async cluster(variant: Variant, changes: Partial<ClusterConfig> = {}): Promise<ClusterConfig> {
    const found = (await loadConfig({ path: this.configPath })).clusters.get(variant);
    if (found === undefined) throw new Error(`${this.configPath} has no cluster ${variant}.`);
    return { ...found, ...changes };
  }

  /**
   * Gives a home folder the `.ssh` of somebody who knows the bed: its host keys, and its ssh_config, by which the login
   * nodes are called `NAME-duo` and so on.
   */
  writeSshFolder(home: string): void {
    const folder = join(home, ".ssh");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const known = join(folder, "known_hosts");
    writeFileSync(known, readFileSync(this.knownHosts), { mode: 0o600 });
    const config = readFileSync(join(this.state, "ssh_config"), "utf8").replaceAll(this.knownHosts, known);
    writeFileSync(join(folder, "config"), config, { mode: 0o600 });
  }

  /** Lets pushes end so from now on. */
  push(how: Push, user: string = this.user): void {
    writeFileSync(this.#duo(user, "push"), typeof how === "string" ? `${how}\n` : `delay ${how.delay}\n`);
  }

  /** A new Duo passcode, good for one login. */
  passcode(user: string = this.user): string {
    const code = String(Math.floor(100_000 + Math.random() * 900_000));
    appendFileSync(this.#duo(user, "passcodes"), `${code}\n`);
    return code;
  }

  /** A time-based code that is good for one login, also where one was used within these 30 seconds. */
  totp(user: string = this.user): string {
    const secret = readFileSync(join(this.state, "sshd", "totp.hex"), "latin1");
    // pam_oath notes the last code of each user in this file and refuses it and all before; so it forgets.
    const path = join(this.state, "sshd", "users.oath");
    const lines = readFileSync(path, "utf8")
      .split("\n")
      .filter((line) => line !== "" && line.split("\t")[1] !== user);
    writeFileSync(path, `${[...lines, `HOTP/T30/6\t${user}\t-\t${secret}`].join("\n")}\n`);
    const step = Buffer.alloc(8);
    step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
    const mac = createHmac("sha1", Buffer.from(secret, "hex")).update(step).digest();
    const at = (mac.at(-1) ?? 0) & 15;
    return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
  }

  /** How many logins a node has accepted since the bed came up. */
  authentications(variant: Variant): number {
    return this.#log(variant).filter((line) => /^Accepted \S+ for /.test(line)).length;
  }

  /** How many connections a node has been asked for, whatever came of them. */
  connections(variant: Variant): number {
    return this.#log(variant).filter((line) => line.startsWith("Connection from ")).length;
  }

  /** Ends every connection to a node at once, as a network does. */
  async cut(variant: Variant): Promise<void> {
    await this.#daemon("cut", `sshd-${variant}`);
  }

  /** Lets every connection to a node fall silent, as a pulled cable does; {@link resume} lets them speak again. */
  async stall(variant: Variant): Promise<void> {
    await this.#daemon("stall", `sshd-${variant}`);
  }

  /** Undoes {@link stall}. */
  async resume(variant: Variant): Promise<void> {
    await this.#daemon("resume", `sshd-${variant}`);
  }

  /** Cuts lines to the node `drop` after so many bytes of file transfer; `undefined` never. */
  dropAfter(bytes: number | undefined): void {
    writeFileSync(join(this.state, "sshd", "drop"), bytes === undefined ? "" : `${bytes}\n`);
  }

  /** Stops, starts, freezes or thaws `slurmctld`, `slurmdbd`, `slurmd-NAME01`, `mariadb`, `munged`, `sshd-duo` … */
  async daemon(action: "stop" | "start" | "freeze" | "thaw", name: string): Promise<void> {
    await this.#daemon(action, name);
  }

  /** Runs a program as a user of the bed, in that user's home and with SLURM's configuration. */
  as(user: string, argv: readonly string[], options: { input?: string; timeout?: number } = {}): Promise<Ran> {
    const home = join(this.state, "home", user);
    const env = { HOME: home, USER: user, LOGNAME: user, PATH: "/usr/bin:/bin", SLURM_CONF: this.info.slurmConf };
    const inside = join(this.state, "bin", "inside");
    const become = user === "root" ? [] : ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"];
    const [program = "", ...args] = [inside, ...become, ...argv];
    return run(program, args, { env, cwd: user === "root" ? this.state : home, ...options });
  }

  /** Runs a program as root with SLURM's configuration, such as `scontrol`. Throws if it fails. */
  async root(...argv: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.as("root", argv);
    if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /**
   * As it was when it came up: every daemon runs, no line is stalled, pushes are approved, nothing is dropped, no job is
   * left in the queue.
   */
  async reset(): Promise<void> {
    for (const user of this.info.users) {
      writeFileSync(this.#duo(user, "push"), "");
      writeFileSync(this.#duo(user, "passcodes"), "");
    }
    this.dropAfter(8 << 20);
    await this.#daemon("reset");
    // A bed that was brought up with SLURM=0 has no queue.
    if (!existsSync(this.info.slurmConf)) return;
    for (const user of this.info.users) await this.root("scancel", "--quiet", `--user=${user}`);
  }

  /** Takes it down; nothing is left. */
  async down(): Promise<void> {
    await run(join(BED_SCRIPTS, "down.sh"), [], { env: bedEnv(this.info) });
  }

  /** What a daemon has written; the log of an sshd is how logins are counted. */
  log(name: string): string {
    return readFileSync(join(this.state, "log", `${name}.log`), "utf8");
  }

  #log(variant: Variant): string[] {
    return this.log(`sshd-${variant}`).split(/\r?\n/);
  }

  #duo(user: string, what: "push" | "passcodes"): string {
    return join(this.state, "sshd", "duo", `${user}.${what}`);
  }

  async #daemon(...args: string[]): Promise<void> {
    const { code, stderr } = await run(join(BED_SCRIPTS, "daemon.sh"), args, { env: bedEnv(this.info) });
    if (code !== 0) throw new Error(`daemon.sh ${args.join(" ")}: ${stderr}`);
  }
}

function run(
  program: string,
  args: readonly string[],
  options: { env: NodeJS.ProcessEnv; cwd?: string; input?: string; timeout?: number },
): Promise<Ran> {
  return new Promise((resolve) => {
    const { input, timeout = 100_000, ...rest } = options;
    const child = execFile(program, [...args], { ...rest, timeout, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 255;
      resolve({ code, stdout, stderr });
    });
    child.stdin?.end(input);
  });
}
