/**
 * The first session of a line, which tells whether one may work there at all. Some sites let the key in and ask for the
 * second factor inside each session (`ForceCommand login_duo`): opening one is what sends the push there.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { LoginError } from "../errors.js";
import { stateDir } from "../paths.js";
import type { RemoteShell } from "./remote-shell.js";
import { words } from "./ssh-prompts.js";
import type { LoginOptions } from "./transport.js";

/** Milliseconds for the first session: behind `login_duo` it stands until a push is answered. */
export const FIRST_SESSION_TIME = 90_000;

/** How a session of a shell ended, as far as it was seen; `code` is undefined while it has not. */
export interface ShellEnd {
  code: number | null | undefined;
  said: string;
}

/** What {@link firstSession} needs to know of a line. */
export interface NewLine {
  name: string;
  /** What it leads to, the same each time. */
  target: string;
  shell: RemoteShell;
  /** How the session of the shell ended; without a code if the line itself is gone. */
  ended(): ShellEnd | Promise<ShellEnd>;
}

/**
 * Targets that ask inside every session, by their own words (`forced`) or as far as can be told (`refused`): nothing is
 * opened there without a person. A file for each, since the next agent is not to learn it by a push that nobody asked for.
 */
const pushInside = {
  has(target: string): boolean {
    return existsSync(fileOf(target));
  },
  note(target: string, how: "forced" | "refused"): void {
    const file = fileOf(target);
    quietly(() => {
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      writeFileSync(file, how, { mode: 0o600 });
    });
  },
  /** A session without a command of the site's own. Where none was ever seen, one that was approved looks the same. */
  plain(target: string): void {
    const file = fileOf(target);
    quietly(() => {
      if (readFileSync(file, "utf8") === "forced") rmSync(file);
    });
  },
};

function fileOf(target: string): string {
  return join(stateDir(), "asks-inside", createHash("sha256").update(target).digest("hex").slice(0, 32));
}

/** A full disk keeps nobody from working on a line that is open. */
function quietly(work: () => void): void {
  try {
    work();
  } catch {
    // It is learned again.
  }
}

/** Throws LoginError where nobody may be asked, and opening would send a push. */
export function checkSilent(name: string, target: string, login: LoginOptions): void {
  if (login.interactive === false && pushInside.has(target))
    throw new LoginError(
      `${name} asks for the second factor inside each session, so opening it would send a push.`,
      `Run \`yale login ${name}\`.`,
    );
}

/**
 * Runs the first session. True where the site runs a command of its own around it, as login_duo does, so that a person
 * has approved it. Throws LoginError where it was refused, or no session works for another reason.
 */
export async function firstSession(line: NewLine, signal: AbortSignal | undefined): Promise<boolean> {
  const probe = ["sh", "-c", 'test -z "$SSH_ORIGINAL_COMMAND" || printf forced'];
  try {
    const { stdout } = await line.shell.run(probe, { timeout: FIRST_SESSION_TIME, ...(signal && { signal }) });
    const forced = stdout === "forced";
    if (forced) pushInside.note(line.target, "forced");
    else pushInside.plain(line.target);
    return forced;
  } catch (error) {
    const { code, said } = await line.ended();
    // Without a code it was ended from here: its time was up.
    if (code === undefined || code === null || signal?.aborted) throw error;
    if (code === 1 && said === "") {
      pushInside.note(line.target, "refused");
      throw new LoginError(
        `${line.name} let the key in and then refused the session without a word. That is what a second factor inside the session (login_duo) looks like when its push is refused or nobody answers it.`,
        `Run \`yale login ${line.name}\` and approve the push on your telephone. Nothing is tried again by itself.`,
      );
    }
    throw new LoginError(
      `${line.name} let the login in but runs no commands (code ${code}). It said: “${words([said])}”`,
      "Check that the account is active and has a login shell; nodes for file transfer run no commands.",
    );
  }
}
