/** What a server asks in the course of a login, as a question to a person. Pure functions. */
import type { Question } from "./transport.js";

/** One round of keyboard-interactive (RFC 4256). */
export interface ServerRound {
  name: string;
  instructions: string;
  prompts: readonly { prompt: string; echo?: boolean }[];
}

/**
 * The question that a round asks. `before` is what the server has said since the last one (banners, rounds without
 * prompts); `asked` counts how often each set of fields was asked for, and is counted up: a field that comes again means
 * that the answer before was refused.
 */
export function roundQuestion(
  cluster: string,
  round: ServerRound,
  before: readonly string[],
  asked: Map<string, number>,
): Question {
  const fields = round.prompts.map(({ prompt, echo }) => ({ label: lastLine(prompt), echo: echo === true }));
  const text = [...before, round.name, round.instructions, ...round.prompts.map((p) => p.prompt)]
    .map((part) => part.replace(/\r\n?/g, "\n").trimEnd())
    .filter((part) => part.trim() !== "")
    .join("\n");
  const id = JSON.stringify(fields);
  const attempt = (asked.get(id) ?? 0) + 1;
  asked.set(id, attempt);
  const password = fields.length === 1 && isPassword(fields[0]?.label ?? "");
  return {
    cluster,
    kind: password ? "password" : "second_factor",
    text,
    fields,
    choices: fields.length === 1 ? choicesIn(text) : [],
    attempt,
  };
}

/** The last line that says something: PAM glues its messages in front of the prompt itself. */
function lastLine(prompt: string): string {
  return prompt.replace(/\r\n?/g, "\n").trim().split("\n").at(-1)?.trim() ?? "";
}

/** A password that is always the same, not a passcode that is good once. */
function isPassword(label: string): boolean {
  return (
    /\b(password|passwort|kennwort|mot de passe|contraseña)\b/i.test(label) && !/one.?time|otp|token|code/i.test(label)
  );
}

/** A menu in the server's words: lines numbered from 1, as Duo has it (` 1. Duo Push to XXX-XXX-1234`). */
export function choicesIn(text: string): { value: string; label: string }[] {
  let found: { value: string; label: string }[] = [];
  for (const line of text.split("\n")) {
    const [, value, label] = /^\s*\[?(\d{1,2})[.)\]]\s+(\S.*?)\s*$/.exec(line) ?? [];
    if (value === undefined || label === undefined) continue;
    // A menu that is shown again stands below the words about the one before.
    if (value === "1") found = [];
    if (Number(value) === found.length + 1) found.push({ value, label });
  }
  return found;
}

/** What the server said, on one line and fit for an error: nothing that a terminal would obey. */
export function words(parts: readonly string[]): string {
  return parts
    .join(" ")
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, " ")
    .trim()
    .slice(0, 400);
}
