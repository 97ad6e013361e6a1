/**
 * Looks at everything that a job needs and says what to do about what is wrong. Makes the folders that a job would make and
 * changes nothing else, sends nothing, and opens a line to a cluster only where one is named.
 */
import { constants } from "node:fs";
import { access, mkdir, stat, statfs } from "node:fs/promises";
import { connect } from "node:net";
import { hello } from "../agent/start.js";
import { readKnownHosts } from "../cluster/known-hosts.js";
import { type SshHost, sshRoute } from "../cluster/ssh-config.js";
import { type ClusterConfig, type Config, findConfig, loadConfig } from "../config/index.js";
import { errorData } from "../errors.js";
import { cacheDir, dataDir, packageVersion, stateDir } from "../paths.js";
import type { ClusterInfo } from "../protocol.js";
import { check as checkJupyter } from "../setup/index.js";
import { onPath, runProgram } from "../setup/python.js";
import { hubAccess } from "../sources/hf-hub.js";

/** One thing that was looked at. */
export interface Diagnosis {
  /** What it belongs to: `this machine`, `config.yaml`, `Jupyter`, or a cluster's name. */
  about: string;
  /** `ok`; `note`: works, and could be better or is not needed by everybody; `fault`: jobs will fail. */
  state: "ok" | "note" | "fault";
  /** What was found, in a sentence. */
  what: string;
  /** What to do; empty where there is nothing to do. */
  fix: string;
}

/** What {@link diagnose} looks at. */
export interface DoctorOptions {
  /** config.yaml to use; default as everywhere. */
  config?: string;
  /** A cluster whose line is opened and that is asked what it has. */
  cluster?: string;
  /** Asks a cluster; opens its line. */
  ask?: (cluster: string) => Promise<ClusterInfo>;
}

/** Milliseconds that one look may take: a home on a file server that is away must not hold up the rest. */
const DEADLINE = 20_000;
/** Free space below which the next dataset may not fit. */
const LITTLE = 2 * 1024 ** 3;
/** Oldest Node that the package says it runs on. */
const NODE = [20, 17] as const;

/** Looks at everything, one thing after another. Never throws: what can't be looked at is a fault of its own. */
export async function* diagnose(options: DoctorOptions = {}): AsyncGenerator<Diagnosis> {
  const machine = "this machine";
  yield* look(machine, "Node", async () => [node(machine)]);
  yield* look(machine, "The agent", async () => [await agent(machine)]);
  for (const [name, folder] of [
    ["The state folder", stateDir()],
    ["The cache folder", cacheDir()],
    ["The data folder", dataDir()],
  ] as const)
    yield* look(machine, name, async () => [await folderIsFine(machine, name, folder)]);
  yield* look(machine, "Tesseract", async () => [await tesseract(machine)]);
  yield* look(machine, "The Hugging Face token", async () => [await token(machine)]);
  yield* look("Jupyter", "Jupyter", jupyter);
  let config: Config | undefined;
  yield* look("config.yaml", "config.yaml", async () => {
    const path = findConfig(options.config === undefined ? {} : { path: options.config });
    config = await loadConfig(path === undefined ? { search: false } : { path });
    return [configFound(path, config)];
  });
  for (const cluster of config?.clusters.values() ?? [])
    if (cluster.transport !== "local") yield* look(cluster.name, `The way to ${cluster.name}`, () => wayTo(cluster));
  const { cluster: named, ask } = options;
  if (named !== undefined && ask !== undefined)
    yield* look(named, `The cluster ${named}`, async () => asked(named, await ask(named)), 0);
}

/** What `work` finds, or why it found nothing. `deadline` 0 is none. */
async function* look(
  about: string,
  what: string,
  work: () => Promise<Diagnosis[]>,
  deadline = DEADLINE,
): AsyncGenerator<Diagnosis> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Diagnosis[]>((resolve) => {
    if (deadline === 0) return;
    timer = setTimeout(
      () =>
        resolve([fault(about, `${what} did not answer within ${deadline / 1000} s.`, "Try again; then look there.")]),
      deadline,
    );
  });
  try {
    yield* await Promise.race([work(), late]);
  } catch (error) {
    const told = errorData(error);
    yield fault(about, told.what, told.fix);
  } finally {
    clearTimeout(timer);
  }
}

function ok(about: string, what: string): Diagnosis {
  return { about, state: "ok", what, fix: "" };
}
function note(about: string, what: string, fix: string): Diagnosis {
  return { about, state: "note", what, fix };
}
function fault(about: string, what: string, fix: string): Diagnosis {
  return { about, state: "fault", what, fix };
}

function node(about: string): Diagnosis {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const what = `Node ${process.versions.node}, Yale Jobs ${packageVersion()}`;
  return major > NODE[0] || (major === NODE[0] && minor >= NODE[1])
    ? ok(about, what)
    : fault(about, `${what}: Node is too old.`, `Install Node ${NODE.join(".")} or later.`);
}

async function agent(about: string): Promise<Diagnosis> {
  const found = await hello();
  if (found === undefined) return ok(about, "No agent runs; the first command that needs one starts it.");
  return found.version === packageVersion()
    ? ok(about, `The agent runs (pid ${found.pid}).`)
    : note(
        about,
        `The agent is of version ${found.version}, and this is ${packageVersion()}.`,
        "`yale agent stop`; the next command starts the right one, and jobs go on.",
      );
}

async function folderIsFine(about: string, name: string, folder: string): Promise<Diagnosis> {
  try {
    // Made here as a job would make it: for root, and on a read-only file system, only that tells.
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (error) {
    return fault(
      about,
      `${name} ${folder} can't be written (${(error as NodeJS.ErrnoException).code}).`,
      "Mend its permissions, or set XDG_STATE_HOME, XDG_CACHE_HOME and XDG_DATA_HOME to folders of yours.",
    );
  }
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const what = `${name} ${folder}: ${(free / 1024 ** 3).toFixed(1)} GiB free`;
  return free < LITTLE
    ? note(
        about,
        `${what}, which a dataset may not fit into.`,
        "Make room; the cache folder may be emptied at any time.",
      )
    : ok(about, what);
}

async function tesseract(about: string): Promise<Diagnosis> {
  const builtIn = "The built-in Tesseract (English) recognises pages here.";
  if (onPath("tesseract") === undefined)
    return note(
      about,
      builtIn,
      "For other languages and more speed install Tesseract: apt install tesseract-ocr, or brew install tesseract.",
    );
  const { code, stdout } = await runProgram("tesseract", ["--list-langs"]);
  const languages = stdout
    .split("\n")
    .slice(1)
    .filter((l) => /^\w+$/.test(l) && l !== "osd");
  return code === 0 && languages.length > 0
    ? ok(about, `Tesseract recognises pages here: ${languages.join(", ")}.`)
    : note(about, `${builtIn} The installed one does not answer.`, "Run `tesseract --list-langs` to see why.");
}

async function token(about: string): Promise<Diagnosis> {
  const { token: found, endpoint } = await hubAccess();
  return found === undefined
    ? note(
        about,
        "No Hugging Face token: public datasets can be read, private ones can't, and nothing can be pushed.",
        "If you need it: `hf auth login`, or set HF_TOKEN.",
      )
    : ok(about, `A Hugging Face token is there, for ${endpoint}.`);
}

async function jupyter(): Promise<Diagnosis[]> {
  const findings = await checkJupyter().catch((error: unknown) => {
    const told = errorData(error);
    return [{ what: told.what, ok: false, fix: told.fix }];
  });
  // A person who works in a terminal needs none of it.
  return findings.map(({ what, ok: fine, fix }) => (fine ? ok("Jupyter", what) : note("Jupyter", what, fix)));
}

function configFound(path: string | undefined, config: Config): Diagnosis {
  if (path === undefined)
    return note("config.yaml", "There is none: jobs run on this machine.", "`yale init` describes a cluster.");
  const names = [...config.clusters.keys()].filter((n) => n !== "local");
  return ok(
    "config.yaml",
    `${path}: ${names.length === 0 ? "no cluster" : names.join(", ")}; default ${config.default}`,
  );
}

/** What can be seen of the way to a cluster from here. */
async function wayTo(cluster: ClusterConfig): Promise<Diagnosis[]> {
  const about = cluster.name;
  const found: Diagnosis[] = [];
  const { site } = cluster;
  if (site?.windingDown !== undefined) found.push(note(about, site.windingDown, "Move to the one that follows it."));
  if (cluster.transport === "openssh") {
    found.push(
      onPath("ssh") === undefined
        ? fault(about, "`transport: openssh` needs the program ssh, and it is not installed.", "Install OpenSSH.")
        : ok(about, `${cluster.host} through the system's ssh`),
    );
    return found;
  }
  const route = await sshRoute(cluster);
  for (const host of route) found.push(...(await hostOnTheWay(about, host)));
  return found;
}

async function hostOnTheWay(about: string, host: SshHost): Promise<Diagnosis[]> {
  const name = `${host.user}@${host.host}${host.port === 22 ? "" : `:${host.port}`}`;
  const known = await readKnownHosts(
    [...host.knownHosts, ...host.globalKnownHosts],
    host.host,
    host.port,
    host.hostKeyAlias,
  );
  const keys = known.filter((k) => k.marker === undefined);
  const found: Diagnosis[] = [
    keys.length > 0
      ? ok(about, `${name}: its host key is known`)
      : note(
          about,
          `${name}: its host key is not known yet.`,
          "The first login shows its fingerprint: compare it with the one that the site publishes.",
        ),
  ];
  let usable = 0;
  for (const path of host.identities) {
    const file = await stat(path).catch(() => undefined);
    if (file === undefined) continue;
    if ((file.mode & 0o077) !== 0)
      found.push(
        fault(about, `The key ${path} can be read by others, and ssh does not take it so.`, `chmod 600 ${path}`),
      );
    else usable += 1;
  }
  const held = host.agent !== undefined && (await answers(host.agent));
  if (host.agent !== undefined && !held && process.env.SSH_AUTH_SOCK !== undefined)
    found.push(note(about, "The ssh-agent of SSH_AUTH_SOCK does not answer.", "Start one, or unset SSH_AUTH_SOCK."));
  if (usable === 0 && !held)
    found.push(
      note(
        about,
        `${name}: there is no key for it here, so that a password will be asked for.`,
        "`ssh-keygen -t ed25519`, then give the public key to the site as its documentation says.",
      ),
    );
  else
    found.push(ok(about, held ? `${name}: an ssh-agent is there` : `${name}: ${usable} of your keys can be offered`));
  return found;
}

/** True where somebody listens at a socket. */
function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const line = connect(socket);
    line.once("connect", () => {
      line.destroy();
      resolve(true);
    });
    line.once("error", () => resolve(false));
  });
}

/** What the cluster itself said. */
function asked(about: string, info: ClusterInfo): Diagnosis[] {
  const names = info.partitions.map((p) => p.name);
  return [
    ok(
      about,
      `It answers: ${names.length} partitions (${names.slice(0, 8).join(", ")}${names.length > 8 ? " …" : ""}).`,
    ),
  ];
}
