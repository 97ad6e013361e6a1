/** What the verbs print, and how: a bar on a terminal, plain lines elsewhere, nothing from outside unescaped. */
import type { JobRecord } from "../protocol.js";

/**
 * Control characters (but tab and line feed) as visible symbols: a log or a file name can't move the cursor, set the
 * title or hide what stands there.
 */
export function escapeTerminal(text: string): string {
  return text
    .replace(/\r\n/g, "\n")
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) =>
      c === "\u007f" ? "␡" : String.fromCharCode(0x2400 + c.charCodeAt(0)),
    )
    .replace(
      /[\u0080-\u009f\u202a-\u202e\u2066-\u2069]/g,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
}

/** Prints lines to standard output. */
export function print(text: string): void {
  process.stdout.write(`${escapeTerminal(text)}\n`);
}

/** Prints to standard error: remarks that are no part of the answer. */
export function remark(text: string): void {
  process.stderr.write(`${escapeTerminal(text)}\n`);
}

/** Prints a value as JSON. JSON escapes control characters by itself. */
export function printJson(value: unknown, indent = 2): void {
  process.stdout.write(`${JSON.stringify(value, null, indent)}\n`);
}

/** Something that was looked at, and what to do about it, as lines: ✓ is well, ! works, ✗ does not. */
export function findingText(found: { state: "ok" | "note" | "fault"; what: string; fix: string }, indent = ""): string {
  const mark = { ok: "✓", note: "!", fault: "✗" }[found.state];
  return `${indent}${mark} ${found.what}${found.fix === "" ? "" : `\n${indent}    → ${found.fix}`}`;
}

let questions = 0;

/** Keeps progress off the terminal while a question stands there, until the returned function is called. */
export function takeTerminal(): () => void {
  if (questions === 0 && process.stderr.isTTY === true) process.stderr.write("\r\u001b[2K");
  questions += 1;
  let taken = true;
  return () => {
    if (taken) questions -= 1;
    taken = false;
  };
}

/** A line on standard error that counts the seconds somebody is waited for; elsewhere than on a terminal, said once. */
export class WaitingLine {
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #release: () => void;

  constructor(text: string) {
    this.#release = takeTerminal();
    if (process.stderr.isTTY !== true) {
      remark(`${text} …`);
      return;
    }
    const began = Date.now();
    const show = () => {
      const line = `${text} … ${Math.round((Date.now() - began) / 1000)} s`;
      process.stderr.write(`\r\u001b[2K${escapeTerminal(line).slice(0, (process.stderr.columns || 100) - 1)}`);
    };
    show();
    this.#timer = setInterval(show, 1000);
  }

  /** Takes the line away. */
  end(): void {
    clearInterval(this.#timer);
    if (this.#timer !== undefined) process.stderr.write("\r\u001b[2K");
    this.#release();
  }
}

/** Seconds between two lines of progress where there is no terminal. */
const PLAIN_INTERVAL = 10;

/** Progress of one job on standard error. */
export class ProgressLine {
  readonly #text: (record: JobRecord, width: number) => string;
  readonly #terminal: boolean = process.stderr.isTTY === true;
  #last = "";
  #lastTime = 0;
  #lastState = "";

  constructor(text: (record: JobRecord, width: number) => string) {
    this.#text = text;
  }

  /** Shows how far it is. */
  show(record: JobRecord): void {
    const line = escapeTerminal(this.#text(record, (process.stderr.columns || 100) - 1)).replace(/\n/g, " ");
    if (questions > 0) this.#last = "";
    if (questions > 0 || line === this.#last) return;
    if (this.#terminal) process.stderr.write(`\r\u001b[2K${line}`);
    else {
      const due = record.state !== this.#lastState || Date.now() - this.#lastTime >= PLAIN_INTERVAL * 1000;
      if (!due) return;
      process.stderr.write(`${line}\n`);
      this.#lastTime = Date.now();
    }
    this.#last = line;
    this.#lastState = record.state;
  }

  /** Ends the line. */
  end(): void {
    if (this.#terminal && this.#last !== "") process.stderr.write("\n");
  }
}
