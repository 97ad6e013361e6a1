/** `yale init`: a first config.yaml, from a few questions or from flags. */
import { existsSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface, type Interface } from "node:readline/promises";
import { loadConfig } from "../config/index.js";
import { type NewCluster, newConfig } from "../config/write.js";
import { ConfigError, InterruptedError, UsageError } from "../errors.js";
import { configDir } from "../paths.js";
import { SITES, siteNamed, siteOfHost } from "../sites/index.js";
import type { Flags } from "./flags.js";
import { login } from "./login.js";
import { print, printJson } from "./terminal.js";

/** Sites that can be used over SSH. */
const USABLE = SITES.filter((site) => site.outOfScope === undefined);

/** `yale init`. */
export async function init(flags: Flags): Promise<void> {
  const path = typeof flags.config === "string" ? resolve(flags.config) : join(configDir(), "config.yaml");
  if (existsSync(path) && flags.force !== true)
    throw new UsageError(
      `${path} is there already.`,
      "Add a cluster to it (docs/clusters.md), write another with --config, or replace it with --force.",
    );
  const person = process.stdin.isTTY === true && process.stdout.isTTY === true && flags.json !== true;
  const questions = person ? createInterface({ input: process.stdin, output: process.stdout }) : undefined;
  let cluster: NewCluster;
  let test = false;
  try {
    cluster = await described(flags, questions);
    await writeConfig(path, cluster);
    if (flags.json !== true) print(`\nWritten: ${path}`);
    if (questions !== undefined && cluster.host !== undefined && flags.login !== false)
      test = /^(|y|yes)$/i.test(
        (await ask(questions, `Log in to ${cluster.name} now, to see that it works? [Y/n] `)).trim(),
      );
  } finally {
    questions?.close();
  }
  if (flags.json === true) return printJson({ path, ...cluster });
  if (test) await login(cluster.name, { config: path });
  const named = typeof flags.config === "string" ? ` --config ${path}` : "";
  print(
    [
      "",
      "Next:",
      ...(test || cluster.host === undefined ? [] : [`  yale login ${cluster.name}${named}`]),
      `  yale doctor ${cluster.name}${named}   # asks the cluster what it has`,
      `  yale jobs ocr scans.pdf --cluster ${cluster.name}${named} --wait`,
      "",
      "or in a notebook:",
      `  const job = await yale.ocr("scans.pdf").on(${JSON.stringify(cluster.name)}).submit();`,
    ].join("\n"),
  );
}

/** From the flags, and for what they leave open from the person. */
async function described(flags: Flags, questions: Interface | undefined): Promise<NewCluster> {
  const flag = (name: string) => (typeof flags[name] === "string" ? (flags[name] as string) : undefined);
  const chosen =
    flag("cluster") ?? flag("host") ?? (questions === undefined ? undefined : await whichCluster(questions));
  if (chosen === undefined)
    throw new UsageError(
      "It is not said which cluster is meant, and there is no terminal to ask on.",
      `Give --cluster (${USABLE.map((s) => s.name).join(", ")}, or a name of your own with --host).`,
    );
  const here = chosen === HERE;
  const profile = here && questions !== undefined ? await whichSite(questions) : chosen;
  const site = siteNamed(profile) ?? siteOfHost(flag("host") ?? profile);
  if (site?.outOfScope !== undefined) throw new UsageError(site.outOfScope, "Choose another cluster.");
  const host = here ? undefined : (flag("host") ?? site?.hosts[0] ?? chosen);
  const user =
    flag("user") ??
    (here || questions === undefined
      ? undefined
      : await withDefault(questions, "Your user name there (NetID)", userInfo().username));
  const scratch = site?.name === "bouchet" ? "~/scratch_pi_*/yale-jobs" : "~/yale-jobs";
  const jobDir =
    flag("jobDir") ??
    (questions === undefined ? scratch : await withDefault(questions, "Folder for jobs and datasets there", scratch));
  const account =
    flag("account") ??
    (questions === undefined
      ? undefined
      : (await ask(questions, "SLURM account (empty: the cluster's default) ")).trim());
  const name = site?.name ?? (here ? "cluster" : (flag("cluster") ?? nameOf(chosen)));
  return {
    name,
    jobDir,
    ...(host === undefined ? {} : { host }),
    ...(user === undefined || user === "" ? {} : { user }),
    ...(site === undefined || (host !== undefined && siteOfHost(host) === site) ? {} : { site: site.name }),
    ...(account === undefined || account === "" ? {} : { account }),
  };
}

/** Answer that says: this machine is on the cluster. */
const HERE = "(here)";

async function whichCluster(questions: Interface): Promise<string> {
  const choices = [
    ...USABLE.map((s) => ({
      value: s.name,
      text: s.title + (s.windingDown === undefined ? "" : " (being shut down)"),
    })),
    { value: HERE, text: "this machine is on the cluster (Open OnDemand)" },
  ];
  print("Which cluster?\n");
  for (const [i, choice] of choices.entries()) print(`  ${i + 1}. ${choice.text}`);
  print("");
  for (;;) {
    const answer = (await ask(questions, "Number, or the host of another SLURM cluster: ")).trim();
    const found = choices[Number(answer) - 1];
    if (found !== undefined) return found.value;
    if (answer !== "" && !/^\d+$/.test(answer)) return answer;
  }
}

/** Name of the site's profile where no host says it; empty for none. */
async function whichSite(questions: Interface): Promise<string> {
  const names = USABLE.map((s) => s.name);
  for (;;) {
    const answer = (await ask(questions, `Which one is it? (${names.join(", ")}; empty: another) `)).trim();
    if (answer === "" || names.includes(answer)) return answer;
  }
}

async function withDefault(questions: Interface, question: string, usual: string): Promise<string> {
  const answer = (await ask(questions, `${question} [${usual}] `)).trim();
  return answer === "" ? usual : answer;
}

/** An answer. Throws InterruptedError where the person ends the dialog: nothing has been written then. */
async function ask(questions: Interface, question: string): Promise<string> {
  const gone = new AbortController();
  const end = () => gone.abort();
  questions.once("close", end);
  questions.once("SIGINT", end);
  try {
    return await questions.question(question, { signal: gone.signal });
  } catch {
    throw new InterruptedError("Interrupted.", "Run `yale init` again when you like.");
  } finally {
    questions.off("close", end);
    questions.off("SIGINT", end);
  }
}

/** A name for the file from a host: `login.example.edu` is `example`. */
function nameOf(host: string): string {
  const parts = host.replace(/^.*@/, "").split(".");
  return (parts.length > 2 ? parts.at(-2) : parts[0]) ?? host;
}

/** Writes the file, once the reader has taken it. */
async function writeConfig(path: string, cluster: NewCluster): Promise<void> {
  const part = `${path}.part`;
  await mkdir(dirname(path), { recursive: true });
  try {
    await writeFile(part, await newConfig(cluster), { mode: 0o600 });
    await loadConfig({ path: part });
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    // What is wrong is an answer, and not a line of a file that nobody has seen.
    if (error instanceof ConfigError) throw new UsageError(error.what.replace(/^.*\.part:\d+: /, ""), error.fix);
    throw error;
  }
}
