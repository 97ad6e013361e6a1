/** The verbs of the agent: agent status|start|stop|log. */
import { createReadStream, existsSync } from "node:fs";
import { agentLog, ensureAgent, hello, stopAgent } from "../agent/start.js";
import { socketPath } from "../paths.js";
import type { Flags } from "./flags.js";
import { print, printJson } from "./terminal.js";

/** `yale agent status|start|stop|log`. */
export async function agent(verb: "status" | "start" | "stop" | "log", flags: Flags): Promise<void> {
  if (verb === "log") {
    if (!existsSync(agentLog())) return print("The agent has not written a log yet.");
    for await (const chunk of createReadStream(agentLog())) process.stdout.write(chunk as Buffer);
    return;
  }
  if (verb === "stop") {
    const stopped = await stopAgent();
    if (flags.json === true) return printJson({ stopped });
    return print(stopped ? "The agent ends; jobs go on." : "No agent runs.");
  }
  const found = verb === "start" ? await ensureAgent() : await hello();
  if (flags.json === true)
    return printJson(found === undefined ? { running: false } : { running: true, ...found, socket: socketPath() });
  if (found === undefined) return print("No agent runs; the next command that needs one starts it.");
  print(
    `The agent (version ${found.version}, pid ${found.pid}) runs since ${found.startedAt}.\nSocket ${socketPath()}\nLog ${agentLog()}`,
  );
}
