/**
 * The keys that a login may try, from ssh-agent and from files, in OpenSSH's order. A file's key is unlocked only when
 * the server has said that it would accept it.
 */
import * as fs from "node:fs/promises";
import { BaseAgent, createAgent, type ParsedKey, type SignCallback, type SigningRequestOptions, utils } from "ssh2";
import { fingerprint } from "./known-hosts.js";
import type { SshHost } from "./ssh-config.js";

/** Asks for the passphrase of a key file; null if the person declined. */
export type AskPassphrase = (path: string, attempt: number) => Promise<string | null>;

/** A key to offer: an agent of ssh2 that holds one key, so that the server's answer to each is heard. */
export interface KeyOffer {
  /** In errors: path, or comment of the agent's key. */
  label: string;
  agent: BaseAgent<ParsedKey>;
}

/** What was found, and what can't be used and why, in words. */
export interface KeyOffers {
  offers: KeyOffer[];
  unusable: string[];
}

/** Milliseconds for an agent to list its keys; a hung one must not hold the login up. */
const LIST_TIME = 3_000;
/** As often as `ssh` asks for a passphrase. */
const TRIES = 3;

/**
 * Looks for the keys of a host. `chosen` is the key that config.yaml names: it goes first, because servers count every
 * key that is offered (MaxAuthTries 6) and an agent may hold many.
 */
export async function findKeys(host: SshHost, chosen: string | undefined, ask: AskPassphrase): Promise<KeyOffers> {
  const unusable: string[] = [];
  const files: FileKey[] = [];
  for (const path of host.identities) {
    const found = await readKeyFile(path);
    if (found === undefined) continue;
    if (typeof found === "string") unusable.push(`${path} (${found})`);
    else files.push(found);
  }
  const agent = host.agent === undefined ? undefined : createAgent(host.agent);
  const held = agent === undefined ? [] : await identities(agent);
  const offers: KeyOffer[] = [];
  const fromAgent = (key: ParsedKey) => {
    const file = files.find((f) => f.shown !== undefined && same(f.shown, key));
    const label = file?.path ?? `${key.comment || fingerprint(key.getPublicSSH())} of ssh-agent`;
    if (agent !== undefined) offers.push({ label, agent: new OneKey(key, signer(agent, key)) });
  };
  const isHeld = (file: FileKey) => held.find((key) => file.shown !== undefined && same(file.shown, key));
  const fromFile = (file: FileKey) => {
    const key = isHeld(file);
    if (key !== undefined) fromAgent(key);
    // A path of a public key stands for one that only an agent can use.
    else if (file.secret === undefined) unusable.push(`${file.path} (a public key; no agent holds the private one)`);
    else offers.push({ label: file.path, agent: new OneKey(file.shown, new Unlocker(file, ask)) });
  };
  const [first, rest] = [files.filter((f) => f.path === chosen), files.filter((f) => f.path !== chosen)];
  for (const file of first) fromFile(file);
  for (const file of rest) if (isHeld(file) !== undefined) fromFile(file);
  if (!host.identitiesOnly) for (const key of held) if (!files.some((f) => isHeld(f) === key)) fromAgent(key);
  for (const file of rest) if (isHeld(file) === undefined) fromFile(file);
  return { offers, unusable };
}

/** A key file. `shown` is its public half, where that can be had without a passphrase. */
interface FileKey {
  path: string;
  shown: ParsedKey | undefined;
  /** The file as it is; undefined if it holds no private key. */
  secret: Buffer | undefined;
}

/** Undefined if there is no such file; the reason, if it can't be used. */
async function readKeyFile(path: string): Promise<FileKey | string | undefined> {
  const text = await fs.readFile(path).catch((error: NodeJS.ErrnoException) => error);
  if (text instanceof Error) return text.code === "ENOENT" || text.code === "ENOTDIR" ? undefined : `${text.code}`;
  const parsed = utils.parseKey(text);
  if (!(parsed instanceof Error)) return { path, shown: parsed, secret: parsed.isPrivateKey() ? text : undefined };
  const half = publicHalf(text);
  if (half?.startsWith("sk-")) return "a FIDO key, which needs `transport: openssh`";
  if (!/passphrase/i.test(parsed.message)) return `not a key that ssh2 can read: ${parsed.message}`;
  const beside = await fs.readFile(`${path}.pub`).catch(() => undefined);
  const shown = [beside, half]
    .map((key) => (key === undefined ? undefined : utils.parseKey(key)))
    .find((key): key is ParsedKey => key !== undefined && !(key instanceof Error));
  return { path, shown, secret: text };
}

/** The public half of OpenSSH's own format, which stands in it unencrypted (PROTOCOL.key of OpenSSH). */
function publicHalf(file: Buffer): string | undefined {
  const body = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]+?)-----END/.exec(file.toString("latin1"))?.[1];
  if (body === undefined) return undefined;
  const data = Buffer.from(body, "base64");
  let at = "openssh-key-v1\0".length;
  const field = () => {
    const start = at + 4;
    at = start + data.readUInt32BE(at);
    return data.subarray(start, at);
  };
  try {
    field(); // cipher
    field(); // key derivation
    field(); // its options
    at += 4; // number of keys, always 1
    const key = field();
    return `${key.subarray(4, 4 + key.readUInt32BE(0)).toString("latin1")} ${key.toString("base64")}`;
  } catch {
    return undefined;
  }
}

function same(a: ParsedKey, b: ParsedKey): boolean {
  return a.getPublicSSH().equals(b.getPublicSSH());
}

/** Keys that an agent holds; none if it does not answer. ssh2 leaves certificates out. */
function identities(agent: BaseAgent): Promise<ParsedKey[]> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve([]), LIST_TIME);
    agent.getIdentities((error, keys) => {
      clearTimeout(timer);
      const parsed = (keys ?? []).map((key) => utils.parseKey(key as ParsedKey));
      resolve(error ? [] : parsed.filter((key): key is ParsedKey => !(key instanceof Error)));
    });
  });
}

/** Who can sign with one key. */
interface Signer {
  /** The key, for one whose public half is hidden too. */
  reveal(): Promise<ParsedKey>;
  sign(data: Buffer, options: SigningRequestOptions): Promise<Buffer>;
}

function signer(agent: BaseAgent, key: ParsedKey): Signer {
  return {
    reveal: async () => key,
    sign: (data, options) =>
      new Promise((resolve, reject) => {
        agent.sign(key, data, options, (error, signature) => {
          if (error || signature === undefined) reject(error ?? new Error("The agent gave no signature."));
          else resolve(signature);
        });
      }),
  };
}

/** Signs with a key file, whose passphrase is asked for when it is needed; nothing of it is kept. */
class Unlocker implements Signer {
  readonly #file: FileKey;
  readonly #ask: AskPassphrase;
  #open: ParsedKey | undefined;

  constructor(file: FileKey, ask: AskPassphrase) {
    this.#file = file;
    this.#ask = ask;
  }

  async reveal(): Promise<ParsedKey> {
    const secret = this.#file.secret ?? Buffer.alloc(0);
    const plain = utils.parseKey(secret);
    if (!(plain instanceof Error)) return plain;
    for (let attempt = 1; attempt <= TRIES; attempt++) {
      const passphrase = await this.#ask(this.#file.path, attempt);
      if (passphrase === null) throw new Error(`The passphrase of ${this.#file.path} was not given.`);
      const key = utils.parseKey(secret, passphrase);
      if (!(key instanceof Error)) return key;
      if (!/passphrase|decrypt|malformed/i.test(key.message)) throw new Error(`${this.#file.path}: ${key.message}.`);
    }
    throw new Error(`The passphrase of ${this.#file.path} was wrong ${TRIES} times.`);
  }

  async sign(data: Buffer, options: SigningRequestOptions): Promise<Buffer> {
    this.#open ??= await this.reveal();
    const signature: Buffer | Error = this.#open.sign(data, options.hash);
    this.#open = undefined;
    if (signature instanceof Error) throw signature;
    return signature;
  }
}

/** An agent with one key, as ssh2 takes it. */
class OneKey extends BaseAgent<ParsedKey> {
  readonly #shown: ParsedKey | undefined;
  readonly #signer: Signer;

  constructor(shown: ParsedKey | undefined, signer: Signer) {
    super();
    this.#shown = shown;
    this.#signer = signer;
  }

  override getIdentities(done: (error: Error | undefined, keys?: ParsedKey[]) => void): void {
    (this.#shown === undefined ? this.#signer.reveal() : Promise.resolve(this.#shown)).then(
      (key) => done(undefined, [key]),
      (error: Error) => done(error),
    );
  }

  override sign(
    _key: ParsedKey,
    data: Buffer,
    optionsOrDone: SigningRequestOptions | SignCallback,
    done?: SignCallback,
  ): void {
    const call = typeof optionsOrDone === "function" ? optionsOrDone : done;
    const options = typeof optionsOrDone === "function" ? {} : optionsOrDone;
    this.#signer.sign(data, options).then(
      (signature) => call?.(undefined, signature),
      (error: Error) => call?.(error),
    );
  }
}
