/**
 * The bridge between OpenSSH's questions and whoever answers them here: ssh starts askpass.ts for each, which asks over a
 * unix socket in a folder that only this user can enter.
 */
import { writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { HostKeyError, LoginError } from "../errors.js";
import { distFile } from "../paths.js";
import { launcher } from "./shell.js";
import { choicesIn, roundQuestion } from "./ssh-prompts.js";
import type { Ask, Question } from "./transport.js";

/** What {@link Askpass} needs. */
export interface AskpassOptions {
  /** Private folder (0700) for the socket and the program. */
  folder: string;
  cluster: string;
  ask: Ask;
  /** What ssh has said since this was last called: its own words and the server's banner. */
  said(): string;
}

/** Answers ssh's questions for one login. */
export class Askpass {
  /** True once somebody has been asked. */
  asked = false;
  /** Resolves with the reason when a question was declined or not answered: then the login is given up. */
  readonly failed: Promise<Error>;
  readonly #options: AskpassOptions;
  readonly #server: Server;
  readonly #asked = new Map<string, number>();
  #fail: (error: Error) => void = () => undefined;

  constructor(options: AskpassOptions) {
    this.#options = options;
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
    this.#server = createServer((socket) => this.#serve(socket));
  }

  /** Starts listening, and gives the environment that makes ssh ask here. */
  async open(): Promise<NodeJS.ProcessEnv> {
    const { folder } = this.#options;
    const [socket, program] = [join(folder, "ask"), join(folder, "askpass")];
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(socket, resolve);
    });
    writeFileSync(program, launcher([process.execPath, distFile("askpass.cjs")]), { mode: 0o700 });
    return {
      SSH_ASKPASS: program,
      SSH_ASKPASS_REQUIRE: "force",
      // Before 8.4 there was no such word, and ssh asked its helper only where there was a display and no terminal.
      DISPLAY: process.env["DISPLAY"] ?? ":0",
      YALE_JOBS_ASKPASS: socket,
    };
  }

  close(): void {
    this.#server.close();
  }

  #serve(socket: Socket): void {
    const gone = new AbortController();
    let line = "";
    socket.setEncoding("utf8");
    socket.on("error", () => undefined);
    socket.on("close", () => gone.abort());
    socket.on("data", (text: string) => {
      line += text;
      if (!line.endsWith("\n")) return;
      const { text: words, hint } = JSON.parse(line) as { text: string; hint: string };
      line = "";
      void this.#answer(words, hint, gone.signal).then((answer) => {
        if (answer === undefined) socket.destroy();
        else socket.end(`${answer}\n`);
      });
    });
  }

  /** The answer for ssh; undefined gives the login up. Never rejects. */
  async #answer(words: string, hint: string, gone: AbortSignal): Promise<string | undefined> {
    const question = this.#question(words, hint);
    try {
      this.asked = true;
      const answers = await this.#options.ask(question, gone);
      // Words without a question stand until ssh takes them back (the key was touched).
      if (question.fields.length === 0 && answers !== null) return "";
      if (answers === null) {
        if (gone.aborted) return undefined;
        throw new LoginError(
          `The login to ${question.cluster} was cancelled.`,
          `\`yale login ${question.cluster}\` asks again.`,
        );
      }
      const answer = (answers[0] ?? "").replace(/[\r\n\u0000]/g, "");
      if (question.kind !== "host_key") return answer;
      if (/^(yes|y)$/i.test(answer.trim())) return "yes";
      throw new HostKeyError(
        `The host key of ${question.cluster} was not confirmed. Nothing was sent to it.`,
        `Ask the site for its fingerprint, then run \`yale login ${question.cluster}\`.`,
      );
    } catch (error) {
      this.#fail(error as Error);
      return undefined;
    }
  }

  #question(words: string, hint: string): Question {
    // Newer versions put the names of user and host in front of what the server says.
    const said = words.replace(/^\([^()\n]*@[^()\n]*\) /, "");
    const before = [this.#options.said()];
    // ssh does not tell whether the server wants to see what is typed; a choice from a menu is no secret.
    const echo = choicesIn(said).length > 0;
    const round = { name: "", instructions: "", prompts: [{ prompt: said, echo }] };
    const question = roundQuestion(this.#options.cluster, round, before, this.#asked);
    if (hint === "none") return { ...question, fields: [], choices: [] };
    if (/^Enter (passphrase|PIN) for /i.test(said)) return { ...question, kind: "passphrase" };
    if (!/\(yes\/no/.test(said) && hint !== "confirm") return question;
    const fields = [{ label: "Is it the right machine? (yes/no)", echo: true }];
    const choices = [
      { value: "yes", label: "Yes, and remember it" },
      { value: "no", label: "No" },
    ];
    return { ...question, kind: "host_key", fields, choices };
  }
}
