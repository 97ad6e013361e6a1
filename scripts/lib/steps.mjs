// What the set-up says while it works: one line a step, with its time, and everything a failed command printed.
import { spawn } from "node:child_process";

/** An error whose message is all that a person needs; its stack is not shown. */
export class SetupError extends Error {}

/** Prints what is being done, does it, and prints how long it took. `work` may return a word in place of "done". */
export async function step(title, work) {
  const began = performance.now();
  const seconds = () => `${((performance.now() - began) / 1000).toFixed(1)} s`;
  const live = process.stdout.isTTY === true;
  const say = (text) => process.stdout.write(live ? `\r\u001b[K  ${text}` : `  ${text}\n`);
  // A terminal shows the seconds go by; a log gets a line when a step begins to take time.
  const waiting = live
    ? setInterval(() => say(`${title} … ${seconds()}`), 500)
    : setTimeout(() => say(`${title} …`), 500);
  try {
    const word = (await work()) ?? "done";
    say(`${title}: ${word} (${seconds()})`);
  } catch (error) {
    say(`${title}: failed after ${seconds()}`);
    throw error;
  } finally {
    clearInterval(waiting);
    if (live) process.stdout.write("\n");
  }
}

/** Runs a command quietly and returns its standard output; a SetupError holds all it printed if it fails. */
export async function run(command, args, options = {}) {
  const { code, stdout, all } = await attempt(command, args, options);
  if (code !== 0)
    throw new SetupError(
      `${[command, ...args].join(" ")}\nended with ${code}:\n\n${all.trim() || "(it printed nothing)"}`,
    );
  return stdout;
}

/** Runs a command quietly and says how it ended; 127 where there is no such command. */
export function attempt(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    let stdout = "";
    let all = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
      all += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      all += text;
    });
    child.on("error", (error) => resolve({ code: 127, stdout, all: `${all}${error.message}` }));
    child.on("close", (code, signal) => resolve({ code: code ?? signal, stdout, all }));
  });
}

/** Runs a command that talks to the person itself and resolves with its exit code. */
export function attached(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: "inherit", ...options });
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 1)));
  });
}

/** Runs a script's main function: a SetupError is told in its words, anything else with its stack; both end with 1. */
export async function main(work) {
  try {
    process.exitCode = (await work()) ?? 0;
  } catch (error) {
    console.error(`\n${error instanceof SetupError ? error.message : (error?.stack ?? error)}`);
    process.exitCode = 1;
  }
}
