/**
 * The conversation of one login: which method is tried when, what is asked of a person, and what a refusal means. The
 * order is OpenSSH's: keys, then keyboard-interactive, then a password. Nothing is tried twice without a person who says
 * so, since a refused push that is sent again by itself locks accounts.
 */
import type { AnyAuthMethod, AuthHandlerMiddleware, Client } from "ssh2";
import { InterruptedError, isYaleError, LoginError } from "../errors.js";
import type { SshHost } from "./ssh-config.js";
import { findKeys, type KeyOffer } from "./ssh-keys.js";
import { roundQuestion, type ServerRound, words } from "./ssh-prompts.js";
import { watchLogin } from "./ssh2-private.js";
import type { LoginOptions, Question } from "./transport.js";

/**
 * Milliseconds from the beginning of a connection within which a login must be done: sshd's LoginGraceTime is 120 s
 * unless a site has changed it, less a little for the last answer to arrive.
 */
const GRACE = 115_000;
/** Milliseconds that a question stands at most, and at least. */
const STANDS = { most: 110_000, least: 10_000 };
/** How often a person may answer one method anew; most servers end it earlier (MaxAuthTries). */
const TRIES = 5;

/** What {@link Authentication} needs. */
export interface AuthenticationOptions extends LoginOptions {
  /** Name of the cluster, for questions and errors. */
  cluster: string;
  host: SshHost;
  /** The key that config.yaml names. */
  chosen: string | undefined;
  /** When the connection was made. */
  started: number;
  /** Aborted when it has ended. */
  over: AbortSignal;
}

/** One login on one connection. */
export class Authentication {
  /** What the server has said beside its questions, in order: hostile until escaped. */
  readonly said: string[] = [];
  /** Whether a person had to answer. */
  asked = false;
  /** Why it was given up, if by us. */
  failure: Error | undefined;

  readonly #options: AuthenticationOptions;
  readonly #count = new Map<string, number>();
  /** The server's last list of what can go on; `serial` grows with each. */
  #heard: { left: readonly string[]; partial: boolean; serial: number } = { left: [], partial: false, serial: 0 };
  #seen = 0;
  #client: Client | undefined;
  #current = "none";
  /** Said since the last question. */
  #since: string[] = [];
  #offers: KeyOffer[] | undefined;
  #offered: string[] = [];
  readonly #unusable: string[] = [];
  /** A method was accepted that a second must follow. */
  #passed = false;
  #refused = { rounds: 0, password: 0 };
  /** Rounds of the current keyboard-interactive that a person answered. */
  #answered = 0;
  /** A password on its way: ssh2 holds on to what it is given, so it is wiped when the server has answered. */
  #password: Buffer | undefined;
  /** What a person would have to give, were one there. */
  #needed: string | undefined;
  /** When the server's turn began; undefined while a person is asked. */
  #waiting: number | undefined = Date.now();

  constructor(options: AuthenticationOptions) {
    this.#options = options;
  }

  /** Listens to a client whose `connect` was called. */
  attach(client: Client): void {
    this.#client = client;
    watchLogin(client, {
      failure: (left, partial) => {
        this.#heard = { left, partial, serial: this.#heard.serial + 1 };
        this.#waiting = Date.now();
      },
      round: (name, instructions, prompts) => {
        if (prompts === 0) this.#hear(name, instructions);
      },
    });
    // A key that could not sign; ssh2 goes on with the next.
    client.on("error", (error: Error & { level?: string }) => {
      if (error.level === "agent") this.#unusable.push(words([error.message]).replace(/\.$/, ""));
    });
    client.on("banner", (message) => this.#hear(message));
    client.on("change password", (message) => {
      this.#hear(message);
      this.#giveUp(
        new LoginError(
          `${this.#where} wants a new password before it lets ${this.#options.host.user} in${this.#quoted()}.`,
          `Log in once with \`ssh ${this.#options.host.alias}\` and choose one.`,
        ),
      );
    });
  }

  /** What ssh2 asks for the next method. It passes lists that may be old; those of {@link attach} are not. */
  readonly handler: AuthHandlerMiddleware = (_left, _partial, next) => {
    this.#next().then(
      (method) => next(method),
      (error: Error) => {
        this.failure ??= error;
        // False ends the login; the types of ssh2 do not have it.
        (next as (method: unknown) => void)(false);
      },
    );
  };

  /** The error of a login that has ended: ours if we gave up, else by what ssh2 or the server said last. */
  explain(error: Error | undefined): Error {
    if (this.failure !== undefined) return this.failure;
    const { host, cluster } = this.#options;
    const message = error?.message ?? "";
    if (/too many authentication failures/i.test(message))
      return new LoginError(
        `${this.#where} ended the login after too many failures${this.#quoted()}.`,
        this.#offered.length > 2
          ? `${this.#offered.length} keys were offered: name the right one as \`identity:\` in config.yaml, or set IdentitiesOnly in ~/.ssh/config.`
          : `Wait a minute, then run \`yale login ${cluster}\`. Repeats may lock the account.`,
      );
    if (error !== undefined && (error as { level?: string }).level === "client-authentication") return this.#refusal();
    const seconds = Math.round((Date.now() - this.#options.started) / 1000);
    const why = message === "" || /ECONNRESET|EPIPE/.test(message) ? "" : `: ${words([message])}`;
    return new LoginError(
      `${this.#where} closed the line in the course of the login, after ${seconds} s${why}${this.#quoted()}.`,
      seconds > 50
        ? `The time for a login is limited there: run \`yale login ${cluster}\` and answer sooner.`
        : `Try \`ssh ${host.alias}\`; if that works, run \`yale login ${cluster}\` again.`,
    );
  }

  /** Wipes what was answered; to be called when the login is done. */
  forget(): void {
    this.#password?.fill(0);
    this.#password = undefined;
  }

  /** Milliseconds that the server has owed a word; 0 while a person is asked. */
  get silence(): number {
    return this.#waiting === undefined ? 0 : Date.now() - this.#waiting;
  }

  get #where(): string {
    return this.#options.host.alias;
  }

  #hear(...parts: string[]): void {
    const said = parts.filter((part) => part.trim() !== "");
    this.said.push(...said);
    this.#since.push(...said);
  }

  /** What the server has said since the last answer, for an error. */
  #quoted(): string {
    const text = words(this.#since);
    return text === "" ? "" : `. It said: “${text}”`;
  }

  #giveUp(error: Error): void {
    this.failure ??= error;
    this.#client?.end();
  }

  async #next(): Promise<AnyAuthMethod> {
    const { user: username } = this.#options.host;
    const { left, partial, serial } = this.#heard;
    if (serial === 0) return this.#start({ type: "none", username });
    // Without news from the server the method before was not even tried: a key that could not be used.
    if (serial !== this.#seen) {
      this.#seen = serial;
      this.forget();
      if (partial) this.#stage();
      else this.#failed();
    }
    if (left.includes("publickey")) {
      const offer = (await this.#keys()).shift();
      if (offer !== undefined) {
        this.#offered.push(offer.label);
        return this.#start({ type: "agent", username, agent: offer.agent });
      }
    }
    const rounds = left.includes("keyboard-interactive") && this.#refused.rounds < TRIES;
    const password = left.includes("password") && this.#refused.password < TRIES;
    if (this.#options.interactive === false && (rounds || password))
      this.#needed ??= "a person to answer its questions";
    if (this.#needed !== undefined) throw this.#needsPerson(this.#needed);
    const silent = this.#refused.rounds > 0 && this.#answered === 0;
    if (rounds && !(silent && password && this.#refused.password === 0)) {
      // The server pushes without being asked: before it does so again, somebody must want it.
      if (silent) await this.#again();
      this.#answered = 0;
      return this.#start({ type: "keyboard-interactive", username, prompt: this.#prompt });
    }
    if (password) {
      const label = `Password of ${username} on ${this.#where}:`;
      const attempt = this.#refused.password + 1;
      const [answer = ""] = await this.#ask(
        { kind: "password", fields: [{ label, echo: false }], choices: [], attempt },
        this.#since,
      );
      this.#password = Buffer.from(answer);
      // ssh2 takes bytes too, which its types do not have.
      return this.#start({ type: "password", username, password: this.#password as unknown as string });
    }
    throw this.#refusal();
  }

  #start<M extends AnyAuthMethod>(method: M): M {
    this.#current = method.type;
    return method;
  }

  /** One method was accepted and others must follow: what was refused before counts for nothing. */
  #stage(): void {
    this.#passed = true;
    this.#refused = { rounds: 0, password: 0 };
    this.#answered = 0;
  }

  #failed(): void {
    if (this.#current === "keyboard-interactive") this.#refused.rounds += 1;
    if (this.#current === "password") this.#refused.password += 1;
  }

  async #keys(): Promise<KeyOffer[]> {
    if (this.#offers !== undefined) return this.#offers;
    const { host, chosen } = this.#options;
    const { offers, unusable } = await findKeys(host, chosen, async (path, attempt) => {
      if (this.#options.interactive === false) {
        this.#needed = `the passphrase of ${path}`;
        return null;
      }
      const before = attempt > 1 ? ["The passphrase was wrong."] : [];
      const field = { label: `Passphrase of ${path}:`, echo: false };
      const answers = await this.#ask({ kind: "passphrase", fields: [field], choices: [], attempt }, before);
      return answers[0] ?? "";
    }).catch((error: Error) => {
      throw isYaleError(error) ? error : new LoginError(`The keys of ${host.user} can't be read: ${error.message}.`);
    });
    this.#offers = offers;
    this.#unusable.push(...unusable);
    return offers;
  }

  readonly #prompt = (
    name: string,
    instructions: string,
    _language: string,
    prompts: ServerRound["prompts"],
    finish: (answers: string[]) => void,
  ): void => {
    const question = roundQuestion(this.#options.cluster, { name, instructions, prompts }, this.#since, this.#count);
    this.#answered += 1;
    this.#ask(question, []).then(finish, (error: Error) => this.#giveUp(error));
  };

  /** Asks whether a push that the server sends by itself shall be sent once more. Throws LoginError if not. */
  async #again(): Promise<void> {
    const [answer = ""] = await this.#ask(
      {
        kind: "second_factor",
        fields: [{ label: "Try again? (yes/no)", echo: true }],
        choices: [
          { value: "yes", label: "Try again" },
          { value: "no", label: "Give up" },
        ],
        attempt: this.#refused.rounds + 1,
      },
      [...this.#since, `${this.#where} refused the login, without a question. To try again may send a new push.`],
    );
    if (!/^y(es)?$/i.test(answer.trim())) throw this.#cancelled();
  }

  async #ask(
    question: Omit<Question, "cluster" | "text"> & { text?: string },
    before: readonly string[],
  ): Promise<string[]> {
    const { ask, cluster, started, over } = this.#options;
    this.asked = true;
    const now = Date.now();
    const stands = Math.max(STANDS.least, Math.min(STANDS.most, started + GRACE - now));
    const text = question.text ?? before.map((part) => part.trim()).join("\n");
    this.#since = [];
    const expiresAt = new Date(now + stands).toISOString();
    this.#waiting = undefined;
    const answers = await ask({ ...question, cluster, text, expiresAt }, over).finally(() => {
      this.#waiting = Date.now();
    });
    // Withdrawn because the line is gone; the reason is told by whoever sees it go.
    if (over.aborted) throw new InterruptedError("The question was withdrawn.");
    if (answers === null) throw this.#cancelled();
    return answers;
  }

  #cancelled(): LoginError {
    const { cluster } = this.#options;
    return new LoginError(`The login to ${cluster} was cancelled.`, `\`yale login ${cluster}\` asks again.`);
  }

  #needsPerson(what: string): LoginError {
    const { cluster } = this.#options;
    return new LoginError(`${cluster} needs ${what}.`, `Run \`yale login ${cluster}\`.`);
  }

  /** Everything that could be tried was refused. */
  #refusal(): LoginError {
    const { cluster, host } = this.#options;
    const again = `Run \`yale login ${cluster}\` to try again; nothing is tried by itself, since repeats lock accounts.`;
    if (this.#refused.rounds + this.#refused.password > 0) {
      const what = this.#passed ? "second factor" : "login";
      return new LoginError(`${this.#where} refused the ${what} of ${host.user}${this.#quoted()}.`, again);
    }
    const { left } = this.#heard;
    const tried = this.#offered.length > 0 ? `offered were ${this.#offered.join(", ")}` : "none was found to offer";
    const unusable = this.#unusable.length > 0 ? `; not usable: ${this.#unusable.join(", ")}` : "";
    const certificates = host.certificates.length > 0 || this.#offered.length > 0 ? CERTIFICATES : "";
    if (!this.#passed && left.includes("publickey"))
      return new LoginError(
        `${this.#where} accepted no key of ${host.user} (${tried}${unusable})${this.#quoted()}.`,
        `Check the user name, and that the public key is registered at the site; \`identity:\` in config.yaml names a key.${certificates}`,
      );
    return new LoginError(
      `${this.#where} wants a login by ${left.join(" or ") || "nothing that it names"}, which can't be done here (${tried}${unusable}).`,
      "Write `transport: openssh` for it in config.yaml, if `ssh` can log in.",
    );
  }
}

const CERTIFICATES = " A login by certificate, FIDO key or Kerberos needs `transport: openssh`.";
