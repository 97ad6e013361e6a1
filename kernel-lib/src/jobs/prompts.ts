/**
 * Questions of a cluster to whoever is there: panel, terminal or notebook. The first answer wins; what nobody answers
 * is withdrawn and ends as an error. Answers pass through and are kept nowhere.
 */
import type { Question } from "../cluster/transport.js";
import { LoginError } from "../errors.js";
import { newJobId, type Prompt } from "../protocol.js";

/** Milliseconds that a question stands: as long as a person needs to find the telephone, less than sshd's LoginGraceTime. */
export const PROMPT_TIME = 110_000;

/** Open questions. */
export class Prompts {
  readonly #open = new Map<string, { prompt: Prompt; settle: (answers: string[] | null | Error) => void }>();
  readonly #onPrompt: (prompt: Prompt) => void;
  readonly #onGone: (id: string, reason: "answered" | "expired" | "withdrawn") => void;

  constructor(
    onPrompt: (prompt: Prompt) => void,
    onGone: (id: string, reason: "answered" | "expired" | "withdrawn") => void,
  ) {
    this.#onPrompt = onPrompt;
    this.#onGone = onGone;
  }

  /** Asks, and resolves with the answers, or null if the person declined. Throws LoginError if nobody answers. */
  ask(question: Question, signal?: AbortSignal): Promise<string[] | null> {
    const asked = Date.now();
    const expires = question.expiresAt === undefined ? asked + PROMPT_TIME : Date.parse(question.expiresAt);
    const prompt: Prompt = { ...question, id: newJobId(), expiresAt: new Date(expires).toISOString() };
    return new Promise((resolve, reject) => {
      const end = (reason: "answered" | "expired" | "withdrawn", result: string[] | null | Error) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", withdraw);
        if (!this.#open.delete(prompt.id)) return;
        this.#onGone(prompt.id, reason);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const withdraw = () => end("withdrawn", null);
      const timer = setTimeout(
        () =>
          end(
            "expired",
            new LoginError(
              `${prompt.cluster} asked for a login and nobody answered within ${Math.round((expires - asked) / 1000)} s.`,
              `Run \`yale login ${prompt.cluster}\` and answer there, or in the prompt of JupyterLab.`,
            ),
          ),
        Math.max(0, expires - asked),
      );
      timer.unref();
      signal?.addEventListener("abort", withdraw, { once: true });
      this.#open.set(prompt.id, { prompt, settle: (answers) => end("answered", answers) });
      this.#onPrompt(prompt);
    });
  }

  /** The questions that stand. */
  list(): Prompt[] {
    return [...this.#open.values()].map((p) => p.prompt);
  }

  /** Answers a question; null declines. Throws LoginError if it does not stand any more or the count is wrong. */
  answer(id: string, answers: string[] | null): void {
    const open = this.#open.get(id);
    if (open === undefined)
      throw new LoginError("That question does not stand any more.", "It was answered elsewhere, or its time ran out.");
    if (answers !== null && answers.length !== open.prompt.fields.length)
      throw new LoginError(
        `The question has ${open.prompt.fields.length} fields; ${answers.length} answers were given.`,
      );
    open.settle(answers);
  }

  /** Withdraws everything: the core closes. */
  close(): void {
    for (const { settle } of [...this.#open.values()]) settle(null);
  }
}
