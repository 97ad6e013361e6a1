/**
 * The questions of clusters on this terminal: the server's words, and the answer as it is typed. What is secret is not
 * shown and kept in no history; where there is no terminal, a script may pipe one line for each field.
 */
import { fstatSync } from "node:fs";
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { choiceKey, fieldLabel, howToAnswer, promptLines, promptTitle, timeLeft } from "../display/index.js";
import { LoginError } from "../errors.js";
import { type Attend, followLogin } from "../jobs/login.js";
import type { Core, Prompt } from "../protocol.js";
import { escapeTerminal, remark, takeTerminal, WaitingLine } from "./terminal.js";

/** How questions are taken on a terminal. */
export interface TerminalOptions {
  /** Lines of standard input are answers where it is a pipe or a file; only for a command that reads nothing else. */
  pipe?: boolean;
  /** Called when the person declined. */
  onDecline?: () => void;
  /**
   * For a command that waits for jobs, which go on without it: opens the line to a cluster whose login was refused before
   * this command came, since a person is here now. Without a terminal it is said that a login is needed.
   */
  login?: (cluster: string) => Promise<unknown>;
}

/** States in which nobody waits for an answer to be accepted. */
const OVER: ReadonlySet<string | undefined> = new Set(["connected", "disconnected", "login_needed"]);

/** Why a question does not stand any more, in words. */
const GONE = {
  answered: "It was answered elsewhere.",
  expired: "Nobody answered in time.",
  withdrawn: "It does not ask any more.",
} as const;

/** True where a person can be asked: both ends are a terminal, whatever becomes of standard output. */
function onTerminal(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** True where somebody may have put answers into standard input; /dev/null is neither a terminal nor that. */
function isPiped(): boolean {
  try {
    const stdin = fstatSync(0);
    return stdin.isFIFO() || stdin.isSocket() || stdin.isFile();
  } catch {
    // It is closed.
    return false;
  }
}

/** Asks on this terminal what clusters ask, and says where there is none how it is answered. */
export function terminalAttend(options: TerminalOptions = {}): Attend {
  const piped = options.pipe === true && isPiped() ? new PipedAnswers() : undefined;
  return async (core, concerns, signal) => {
    const standing = new Map<string, AbortController>();
    /** Clusters and questions that were told of, and refusals by their time. */
    const seen = new Set<string>();
    const refused = new Set<string>();
    let turn: Promise<void> = Promise.resolve();
    let waiting: WaitingLine | undefined;
    const stopWaiting = () => {
      waiting?.end();
      waiting = undefined;
    };
    signal.addEventListener("abort", stopWaiting, { once: true });
    const ask = async (prompt: Prompt, gone: AbortController) => {
      const sent = await question(core, prompt, piped, AbortSignal.any([signal, gone.signal]), () =>
        standing.delete(prompt.id),
      );
      if (sent === "declined") options.onDecline?.();
      if (sent === "answered" && !signal.aborted) waiting = new WaitingLine(`Waiting for ${prompt.cluster}`);
    };
    for await (const { cluster, connection, prompt, gone } of followLogin(core, concerns, signal)) {
      if (gone !== undefined) standing.get(gone.prompt.id)?.abort(GONE[gone.reason]);
      if (OVER.has(connection?.state) || (prompt !== undefined && !seen.has(prompt.id))) stopWaiting();
      if (connection?.state === "login_needed" && options.login !== undefined && !refused.has(connection.since ?? "")) {
        if (refused.size === 0 && !seen.has(cluster) && onTerminal())
          void options.login(cluster).catch(() => undefined);
        else remark(`${cluster}: ${connection.message ?? "login needed"}\n  → Log in with ${howToAnswer(cluster)}.`);
        refused.add(connection.since ?? "");
      }
      seen.add(cluster);
      if (prompt === undefined || seen.has(prompt.id)) continue;
      seen.add(prompt.id);
      const withdrawn = new AbortController();
      standing.set(prompt.id, withdrawn);
      // Two clusters may ask at once; a terminal asks one thing at a time.
      turn = turn.then(() => ask(prompt, withdrawn)).catch(() => undefined);
    }
    await turn;
  };
}

/** Asks one question and sends the answer. */
async function question(
  core: Core,
  prompt: Prompt,
  piped: PipedAnswers | undefined,
  signal: AbortSignal,
  onAnswer: () => void,
): Promise<"answered" | "declined" | "left"> {
  if (signal.aborted) return "left";
  if (!onTerminal() && piped === undefined) {
    remark(`${promptTitle(prompt)}; answer with ${howToAnswer(prompt.cluster)}.`);
    return "left";
  }
  const release = takeTerminal();
  try {
    remark(`${promptTitle(prompt)} (${timeLeft(prompt, Date.now())} left):`);
    // The bar tells the server's words from ours.
    for (const line of promptLines(prompt)) remark(`  | ${line}`);
    if (piped !== undefined)
      remark(`Answer with a line of standard input for each field, or with ${howToAnswer(prompt.cluster)}.`);
    const answers: string[] = [];
    for (const { label, echo } of prompt.fields) {
      const typed = piped === undefined ? await typedLine(fieldLabel(label), echo, signal) : await piped.next(signal);
      if (signal.aborted) {
        remark(typeof signal.reason === "string" ? signal.reason : "");
        return "left";
      }
      // An empty standard input is that of a program that has nobody to ask: somebody else may still answer.
      if (typed === null && piped?.any === false) return "left";
      if (typed === null) {
        onAnswer();
        await core.answer(prompt.id, null);
        remark(piped === undefined ? "Declined." : "Declined: standard input has ended.");
        return "declined";
      }
      answers.push(numberMeansChoice(prompt, piped !== undefined) ? choiceValue(prompt, typed) : typed);
    }
    onAnswer();
    await core.answer(prompt.id, answers);
    return "answered";
  } catch (error) {
    // Somebody else was quicker.
    if (!(error instanceof LoginError)) throw error;
    remark(error.what);
    return "left";
  } finally {
    release();
  }
}

/**
 * Whether a number may stand for a choice. A script's `1` is meant for a push and was written before anybody saw the
 * question: it vouches for no machine, which takes `yes` or the fingerprint.
 */
function numberMeansChoice(prompt: Prompt, piped: boolean): boolean {
  return prompt.fields.length === 1 && !(piped && prompt.kind === "host_key");
}

/** What is sent for what was typed: the number of a choice stands for its value. */
function choiceValue(prompt: Prompt, typed: string): string {
  return prompt.choices.find((_, i) => choiceKey(prompt, i) === typed.trim())?.value ?? typed;
}

/** One line from the terminal; null where the person declined by Ctrl-C or Ctrl-D, and when `signal` aborts. */
function typedLine(label: string, echo: boolean, signal: AbortSignal): Promise<string | null> {
  const hidden = new Writable({ write: (_chunk, _encoding, done) => done() });
  const shown = escapeTerminal(label);
  return new Promise((resolve) => {
    const reader = createInterface({
      input: process.stdin,
      output: echo ? process.stderr : hidden,
      terminal: true,
      historySize: 0,
    });
    let over = false;
    const end = (text: string | null) => {
      if (over) return;
      over = true;
      signal.removeEventListener("abort", leave);
      resolve(text);
      reader.close();
      // The line that was being typed is left as it is; what is hidden has no line end of its own.
      if (text === null || !echo) process.stderr.write("\n");
    };
    const leave = () => end(null);
    signal.addEventListener("abort", leave);
    reader.once("SIGINT", leave).once("close", leave);
    if (!echo) process.stderr.write(`${shown} (not shown) `);
    reader.question(echo ? `${shown} ` : "", end);
  });
}

/** Answers that a script pipes in, a line for each field. */
class PipedAnswers {
  readonly #lines: AsyncIterator<string> = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  #next: Promise<IteratorResult<string>> | undefined;
  /** True once a line has come. */
  any = false;

  /** The next line; null at the end. A line that comes after `signal` is kept for the next question. */
  async next(signal: AbortSignal): Promise<string | null> {
    this.#next ??= this.#lines.next();
    const line = await unlessAborted(this.#next, signal);
    if (line === undefined) return null;
    this.#next = undefined;
    if (line.done === true) return null;
    this.any = true;
    return line.value;
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const leave = () => resolve(undefined);
    signal.addEventListener("abort", leave, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}
