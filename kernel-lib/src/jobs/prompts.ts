/**
 * Questions of a cluster to whoever is there: panel, terminal or notebook. The first answer wins; what nobody answers
 * is withdrawn and ends as an error. Answers pass through and are kept nowhere.
 */
import type { Question } from "../cluster/transport.js";
import { isYaleError, LoginError, UsageError } from "../errors.js";
import { newJobId, type Prompt } from "../protocol.js";

/**
 * Milliseconds that a question stands: as long as a person needs to find the telephone, less than the two minutes that
 * sshd gives to a login (LoginGraceTime). `YALE_JOBS_PROMPT_SECONDS` in the agent's environment is for sites with less.
 */
export const PROMPT_TIME: number = (Number(process.env.YALE_JOBS_PROMPT_SECONDS) || 110) * 1000;

/** Open questions. */
export class Prompts {
  readonly #open = new Map<
    string,
    { prompt: Prompt; answered: (answers: string[] | null) => void; withdraw: () => void }
  >();
  readonly #onPrompt: (prompt: Prompt) => void;
  readonly #onGone: (id: string, reason: "answered" | "expired" | "withdrawn") => void;

  constructor(
    onPrompt: (prompt: Prompt) => void,
    onGone: (id: string, reason: "answered" | "expired" | "withdrawn") => void,
  ) {
    this.#onPrompt = onPrompt;
    this.#onGone = onGone;
  }

  /**
   * Asks, and resolves with the answers, or null if the person declined. Throws LoginError if nobody answers in time, and
   * when `signal` withdraws the question (its reason, if that is an error of ours): the line is gone, or nobody wants it.
   */
  async ask(question: Question, signal?: AbortSignal): Promise<string[] | null> {
    signal?.throwIfAborted();
    const asked = Date.now();
    const expires = Math.min(asked + PROMPT_TIME, Date.parse(question.expiresAt ?? "") || Number.POSITIVE_INFINITY);
    const prompt: Prompt = { ...question, id: newJobId(), expiresAt: new Date(expires).toISOString() };
    const { cluster } = prompt;
    return new Promise((resolve, reject) => {
      const end = (reason: "answered" | "expired" | "withdrawn", result: string[] | null | Error) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", withdraw);
        if (!this.#open.delete(prompt.id)) return;
        this.#onGone(prompt.id, reason);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const withdraw = () => {
        const reason: unknown = signal?.reason;
        end("withdrawn", isYaleError(reason) ? reason : new LoginError(`The question of ${cluster} was withdrawn.`));
      };
      const timer = setTimeout(
        () =>
          end(
            "expired",
            new LoginError(
              `${cluster} asked for a login and nobody answered within ${Math.round((expires - asked) / 1000)} s.`,
              `Run \`yale login ${cluster}\` and answer there, or in the prompt of JupyterLab.`,
            ),
          ),
        Math.max(0, expires - asked),
      );
      timer.unref();
      signal?.addEventListener("abort", withdraw, { once: true });
      this.#open.set(prompt.id, { prompt, answered: (answers) => end("answered", answers), withdraw });
      this.#onPrompt(prompt);
    });
  }

  /** The questions that stand. */
  list(): Prompt[] {
    return [...this.#open.values()].map((p) => p.prompt);
  }

  /**
   * Answers a question: one text for each field, or null to decline. Throws LoginError if it does not stand any more, and
   * UsageError if the fields are others; then it still stands.
   */
  answer(id: string, answers: string[] | null): void {
    const open = this.#open.get(id);
    if (open === undefined)
      throw new LoginError("That question does not stand any more.", "It was answered elsewhere, or its time ran out.");
    const { fields, cluster } = open.prompt;
    // From a socket: whatever somebody sent. What it was is not repeated, not even in an error.
    if (answers !== null && !(Array.isArray(answers) && answers.every((a) => typeof a === "string")))
      throw new UsageError("An answer must be a list of texts, one for each field, or null to decline.");
    if (answers !== null && answers.length !== fields.length)
      throw new UsageError(
        `${cluster} asks for ${fields.length === 1 ? "one field" : `${fields.length} fields`}; ${answers.length} answers were given.`,
        `Give one for each of: ${fields.map((f) => f.label).join(", ")}.`,
      );
    open.answered(answers);
  }

  /** Withdraws everything: the core closes. */
  close(): void {
    for (const { withdraw } of [...this.#open.values()]) withdraw();
  }
}
