/** The core as the verbs of `yale` call it: what a cluster asks meanwhile is asked on this terminal. */
import { attendedCore } from "../jobs/login.js";
import type { Core } from "../protocol.js";
import { Yale } from "../yale.js";
import type { Flags } from "./flags.js";
import { terminalAttend } from "./question.js";

/** The agent's client, with questions asked here. */
export async function core(): Promise<Core> {
  const { connect } = await import("../agent/client.js");
  return attendedCore(await connect(), terminalAttend());
}

class TerminalYale extends Yale {
  #attended: Promise<Core> | undefined;

  override core(): Promise<Core> {
    this.#attended ??= core();
    return this.#attended;
  }
}

/** The library's object with the configuration of the flags, with questions asked here. */
export function yaleOf(flags: Flags): Yale {
  return new TerminalYale(typeof flags.config === "string" ? { config: flags.config } : {});
}
