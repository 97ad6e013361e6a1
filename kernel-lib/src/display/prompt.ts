/** What a cluster asks of a person, and how the lines to clusters stand. Pure functions of what the agent tells. */
import type { Connection, Prompt } from "../protocol.js";
import type { Bundle } from "./bundle.js";
import { html, type Markup, type Part } from "./html.js";
import { ERROR, FAINT, frame, PRE, RULE } from "./style.js";
import { duration, localTime, oneLine, secondsBetween, straight, textTable } from "./words.js";

/** What is known of the login to one cluster by whoever waits for it. */
export interface LoginState {
  cluster: string;
  connection?: Connection;
  /** The question that stands. */
  prompt?: Prompt;
}

const KINDS: Readonly<Record<Prompt["kind"], string>> = {
  second_factor: "asks for a second factor",
  password: "asks for a password",
  passphrase: "needs the passphrase of your key",
  host_key: "shows a host key that is not known here yet",
};

/** What is asked, as a sentence without its end: `duo asks for a second factor`. */
export function promptTitle(prompt: Prompt): string {
  const again = prompt.attempt > 1 ? " again: the answer before was not accepted" : "";
  return `${oneLine(prompt.cluster, 64)} ${KINDS[prompt.kind] ?? "asks for a login"}${again}`;
}

/** What is typed for choice `i`: the server's own number where it gave numbers, else its place. */
export function choiceKey(prompt: Prompt, i: number): string {
  const numbered = prompt.choices.every((c) => /^\d{1,2}$/.test(c.value));
  return numbered ? (prompt.choices[i]?.value ?? "") : String(i + 1);
}

/** The server's words line by line, freed of control characters, with the choices numbered where its words do not. */
export function promptLines(prompt: Prompt): string[] {
  const lines = straight(prompt.text)
    .split("\n")
    .map((line) => line.trimEnd());
  // PAM glues everything in front of the field; what its label says again is not shown twice.
  const labels = new Set(prompt.fields.map((f) => straight(f.label).trim()));
  while (lines.length > 0 && (lines.at(-1) === "" || labels.has((lines.at(-1) ?? "").trim()))) lines.pop();
  while (lines[0] === "") lines.shift();
  const said = lines.join("\n");
  const choices = prompt.choices
    .map((c, i) => ({ key: choiceKey(prompt, i), label: oneLine(c.label, 120) }))
    .filter((c) => !said.includes(c.label));
  return [...lines, ...choices.map((c) => ` ${c.key}. ${c.label}`)];
}

/** Label of a field, on one line, ready for what is typed. */
export function fieldLabel(label: string): string {
  const text = oneLine(label, 120);
  return text === "" ? "Answer:" : /[:?>]$/.test(text) ? text : `${text}:`;
}

/** Time that a question still stands, such as `1 min 40 s`. */
export function timeLeft(prompt: Prompt, now: number): string {
  return duration(Math.max(0, (Date.parse(prompt.expiresAt) - now) / 1000));
}

/** Where a question of a cluster is answered. */
export function howToAnswer(cluster: string): string {
  return `\`yale login ${oneLine(cluster, 64)}\` in a terminal, or the dialog in JupyterLab`;
}

/** The login in one line; undefined where nobody is waited for and nothing is wrong. */
export function loginText(state: LoginState): string | undefined {
  const { connection, prompt } = state;
  const cluster = oneLine(state.cluster, 64);
  if (prompt !== undefined) return `${promptTitle(prompt)}: answer with ${howToAnswer(prompt.cluster)}`;
  if (connection === undefined || connection.state === "connected") return undefined;
  const said = connection.message === undefined ? "" : oneLine(connection.message, 400);
  if (connection.state === "login_needed") return `${cluster}: ${said || "login needed"} → ${howToAnswer(cluster)}`;
  if (connection.state === "connecting") return `${cluster}: ${said || "connecting"}`;
  return said === "" ? undefined : `${cluster}: ${said}`;
}

/** A card that shows what a cluster asks, how it is answered and what came of it. */
export function loginBundle(state: LoginState, now: number = Date.now()): Bundle {
  const { connection, prompt } = state;
  const cluster = oneLine(state.cluster, 64);
  const command = html`<code style="user-select:all">yale login ${cluster}</code>`;
  const how = html`<div style="margin-top:6px">Answer with ${command} in a terminal, or in the dialog of JupyterLab. A cell can't take the answer while it waits.</div>`;
  if (prompt !== undefined) {
    const lines = promptLines(prompt);
    const left = `${timeLeft(prompt, now)} left`;
    const words = lines.length === 0 ? undefined : html`<pre style="${PRE};margin-top:6px">${lines.join("\n")}</pre>`;
    const title = html`<div><b>${promptTitle(prompt)}.</b> <span style="${FAINT}">${left}</span></div>`;
    return bundle([title, words, how], "#b8720a", [
      `${promptTitle(prompt)}; ${left}.`,
      ...lines.map((line) => `  | ${line}`),
      `  → Answer with ${howToAnswer(prompt.cluster)}.`,
    ]);
  }
  if (connection?.state === "connected") {
    const text = `Logged in to ${cluster}.`;
    return bundle([html`<div>${text}</div>`], "#2e9555", [text]);
  }
  const text = loginText(state) ?? `Connecting to ${cluster} …`;
  if (connection?.state !== "login_needed") return bundle([html`<div>${text}</div>`], "#808080", [text]);
  const said = oneLine(connection.message ?? "login needed", 600);
  return bundle(
    [
      html`<div style="${ERROR}">${cluster}: ${said}</div>`,
      html`<div style="margin-top:6px">It is not asked again by itself. ${command} in a terminal asks again.</div>`,
    ],
    "#d0392b",
    [`${cluster}: ${said}`, `  → It is not asked again by itself; \`yale login ${cluster}\` asks again.`],
  );
}

function bundle(rows: Part[], colour: string, text: string[]): Bundle {
  const box = `border:${RULE};border-left:4px solid ${colour};border-radius:6px;padding:8px 14px;max-width:760px`;
  const body: Markup = html`<div style="${box}">${rows}</div>`;
  return { "text/html": frame(body).text, "text/plain": text.join("\n") };
}

/** A table of lines: state, since when, what there is to say. */
export function connectionsText(connections: readonly Connection[], now: number = Date.now()): string {
  if (connections.length === 0) return "No line is open, and none was.";
  const rows = connections.map((c) => {
    const age = secondsBetween(c.since, undefined, now);
    const since = age === undefined ? "" : `${localTime(c.since)} (${duration(age)})`;
    return [oneLine(c.cluster, 64), c.state.replaceAll("_", " "), since, oneLine(c.message ?? "", 300)];
  });
  return textTable([["CLUSTER", "STATE", "SINCE", "MESSAGE"], ...rows]);
}
