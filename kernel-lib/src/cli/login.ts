/** The verbs of the lines to clusters: login, logout, connections. */
import { connectionsText } from "../display/index.js";
import { InterruptedError } from "../errors.js";
import { attended } from "../jobs/login.js";
import { Yale } from "../yale.js";
import type { Flags } from "./flags.js";
import { terminalAttend } from "./question.js";
import { print, printJson } from "./terminal.js";

/** `yale login <cluster>`: opens the line, and answers what is asked on the way, whoever caused it. */
export async function login(cluster: string, flags: Flags): Promise<void> {
  const yale = new Yale(typeof flags.config === "string" ? { config: flags.config } : {});
  const [config, { connect }] = [await yale.configPath(), await import("../agent/client.js")];
  const core = await connect();
  const interrupted = new AbortController();
  const onInterrupt = () => interrupted.abort();
  process.once("SIGINT", onInterrupt);
  const stopped = new Promise<never>((_, reject) =>
    interrupted.signal.addEventListener("abort", () =>
      reject(
        new InterruptedError(
          `Interrupted; the login to ${cluster} goes on if it is accepted.`,
          `\`yale logout ${cluster}\` ends it.`,
        ),
      ),
    ),
  );
  try {
    const opened = await attended(
      terminalAttend({ pipe: true }),
      core,
      async () => (name) => name === cluster,
      () => Promise.race([core.login(cluster, config), stopped]),
      0,
    );
    if (flags.json === true) return printJson(opened);
    print(`The line to ${cluster} is open.`);
  } finally {
    process.off("SIGINT", onInterrupt);
  }
}

/** `yale logout <cluster>`. */
export async function logout(cluster: string, flags: Flags): Promise<void> {
  const { connect } = await import("../agent/client.js");
  const core = await connect();
  const known = (await core.connections()).some((c) => c.cluster === cluster);
  const closed = await core.logout(cluster);
  if (flags.json === true) return printJson(closed);
  print(known ? `The line to ${cluster} is closed; jobs go on.` : `There was no line to ${cluster}.`);
}

/** `yale connections`. */
export async function connections(flags: Flags): Promise<void> {
  const { connect } = await import("../agent/client.js");
  const lines = await (await connect()).connections();
  if (flags.json === true) return printJson(lines);
  print(connectionsText(lines));
}
