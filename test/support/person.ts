/** Somebody who answers a cluster's questions in tests, from a list, and remembers what was asked. */
import { expect } from "vitest";
import type { Question } from "../../kernel-lib/src/cluster/transport.js";

/** One answer: what is typed, null to decline, or something to find out or to do when it is asked. */
export type Answer = string | null | ((question: Question, signal?: AbortSignal) => unknown);

/** A person with answers ready. A question too many fails the test. */
export class Person {
  readonly asked: Question[] = [];
  readonly #answers: Answer[];

  constructor(...answers: Answer[]) {
    this.#answers = answers;
  }

  /** As {@link Ask}. */
  readonly ask = async (question: Question, signal?: AbortSignal): Promise<string[] | null> => {
    this.asked.push(question);
    const answer = this.#answers.shift();
    if (answer === undefined) throw new Error(`Nobody expected this question: ${JSON.stringify(question)}`);
    const given = typeof answer === "function" ? await answer(question, signal) : answer;
    if (given === null) return null;
    return Array.isArray(given) ? given.map(String) : [String(given)];
  };

  /** That everything was asked that an answer was ready for. */
  done(): void {
    expect(this.#answers).toHaveLength(0);
  }
}
