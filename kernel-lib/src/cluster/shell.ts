/**
 * The only place that quotes or builds a shell command. Everything else hands argument lists around.
 */
import { UsageError } from "../errors.js";

/** A word as a POSIX shell reads it back unchanged: bare where that is safe, else in single quotes. */
export function quote(word: string): string {
  if (word.includes("\u0000")) throw new UsageError("A command can't hold a zero byte.", "Remove it.");
  if (/^[A-Za-z0-9_./:=@%+,-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** An argument list as one command line. */
export function command(argv: readonly string[]): string {
  return argv.map(quote).join(" ");
}
