/** Calls that must be refused for what their caller asked. */
import { expect } from "vitest";
import { UsageError } from "../../kernel-lib/src/errors.js";

/** The words of the UsageError that `call` throws; fails if it throws anything else, or nothing. */
export function refused(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as Error).message;
  }
  throw new Error("was not refused");
}
