/**
 * From the text of a config.yaml to sections of known keys, each value with the place where it stands, so that every
 * complaint names file and line. What the keys mean is told in `index.ts`.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLMap,
} from "yaml";
import { ConfigError, UsageError } from "../errors.js";
import { nearest } from "../text.js";

/** Never in a file that gets copied and committed. */
const SECRETS = /^(password|passcode|passphrase|token|secret|otp|totp|hf_token)$/i;

/** A mapping of the file, with its keys checked. */
export class Section {
  readonly #file: ConfigFile;
  readonly #map: YAMLMap;
  readonly #keys = new Map<string, Node>();
  readonly #nodes = new Map<string, Node | null>();

  /** @internal Made by {@link ConfigFile}. */
  constructor(file: ConfigFile, map: YAMLMap, allowed: readonly string[] | undefined) {
    this.#file = file;
    this.#map = map;
    for (const item of map.items as Pair<Node, Node | null>[]) {
      const name = isScalar(item.key) ? String(item.key.value) : "";
      // A cluster may be called so: what holds keys of its own is no secret.
      if (SECRETS.test(name) && !isMap(item.value))
        file.refuse(
          item.key,
          `"${name}" must not stand in a file.`,
          "Remove it; what is secret is asked for when it is needed.",
        );
      if (allowed !== undefined && !allowed.includes(name)) {
        const near = nearest(name, allowed);
        file.refuse(
          item.key,
          `there is no key ${JSON.stringify(name)}${near === undefined ? "" : ` (did you mean "${near}"?)`}.`,
          `Known: ${allowed.join(", ")}.`,
        );
      }
      this.#keys.set(name, item.key);
      this.#nodes.set(name, isAlias(item.value) ? (item.value.resolve(file.document) ?? null) : item.value);
    }
  }

  /** Its keys, in the order of the file. */
  keys(): string[] {
    return [...this.#nodes.keys()];
  }

  /** True if the key stands there, even with no value. */
  has(key: string): boolean {
    return this.#nodes.has(key);
  }

  /** The first of these keys that has a value. */
  given(...keys: string[]): string | undefined {
    return keys.find((key) => this.#value(key) !== undefined);
  }

  #value(key: string): unknown {
    const node = this.#nodes.get(key);
    if (node === undefined || node === null) return undefined;
    const value: unknown = isScalar(node) ? node.value : node.toJS(this.#file.document);
    return value ?? undefined;
  }

  /** Throws ConfigError about a key, with its line. */
  refuse(key: string, what: string, fix = ""): never {
    return this.#file.refuse(this.#keys.get(key) ?? this.#map, what, fix);
  }

  /** A text on one line, or a number as its text. */
  text(key: string): string | undefined {
    const value = this.#value(key);
    if (value === undefined) return undefined;
    if (typeof value !== "string" && typeof value !== "number")
      return this.refuse(key, `"${key}" must be a text.`, "Put it in quotes.");
    const text = String(value);
    if (text === "" || /[\u0000-\u001f\u007f]/.test(text))
      return this.refuse(
        key,
        `${key} is ${JSON.stringify(text)}.`,
        "Give a text on one line, without control characters.",
      );
    return text;
  }

  /** A text of the given form; `form` says it in words. */
  word(key: string, pattern: RegExp, form: string): string | undefined {
    const text = this.text(key);
    if (text !== undefined && !pattern.test(text))
      this.refuse(key, `${key} is ${JSON.stringify(text)}.`, `Allowed: ${form}.`);
    return text;
  }

  /** A number above 0. */
  count(key: string): number | undefined {
    const value = this.#value(key);
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !(value > 0) || !Number.isFinite(value))
      return this.refuse(key, `"${key}" must be a number above 0, not ${JSON.stringify(value)}.`);
    return value;
  }

  /** One of `allowed`. */
  choice<T extends string>(key: string, allowed: readonly T[]): T | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const near = nearest(text, allowed);
    if (!(allowed as readonly string[]).includes(text))
      this.refuse(
        key,
        `${key} is ${JSON.stringify(text)}${near === undefined ? "" : ` (did you mean "${near}"?)`}.`,
        `Allowed: ${allowed.join(", ")}.`,
      );
    return text as T;
  }

  /** A list of texts; a single one is a list of itself. */
  list(key: string, example: string): string[] | undefined {
    const value = this.#value(key);
    if (value === undefined) return undefined;
    const list: unknown[] = Array.isArray(value) ? value : [value];
    if (!list.every((v) => typeof v === "string" && v !== "" && !/[\u0000-\u001f\u007f]/.test(v)))
      return this.refuse(key, `"${key}" must be a list of names.`, `Write ${example}.`);
    return list as string[];
  }

  /** A value that an option's own check takes; its complaint is told with file and line. */
  checked<T>(key: string, check: (value: unknown) => T): T | undefined {
    const value = this.#value(key);
    if (value === undefined) return undefined;
    try {
      return check(value);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      return this.refuse(key, error.what, error.fix);
    }
  }

  /** The mapping under a key. */
  section(key: string, allowed?: readonly string[]): Section | undefined {
    const node = this.#nodes.get(key);
    if (node === undefined) return undefined;
    if (!isMap(node)) return this.refuse(key, `"${key}" must hold keys and values.`, "Indent them under it.");
    return new Section(this.#file, node, allowed);
  }
}

/** A config.yaml that was read. */
export class ConfigFile {
  readonly path: string;
  readonly document: Document.Parsed;
  readonly #lines = new LineCounter();

  /** Throws ConfigError if the text is no YAML. */
  constructor(path: string, text: string) {
    this.path = path;
    this.document = parseDocument(text, { lineCounter: this.#lines });
    const [broken] = this.document.errors;
    if (broken !== undefined)
      throw new ConfigError(
        `${path}:${this.#lines.linePos(broken.pos[0]).line}: ${broken.message.split("\n")[0]}`,
        "Mend the YAML.",
      );
  }

  /** The whole file as one section; undefined if it is empty. */
  root(allowed: readonly string[]): Section | undefined {
    const { contents } = this.document;
    if (contents === null || (isScalar(contents) && contents.value === null)) return undefined;
    if (!isMap(contents))
      throw new ConfigError(`${this.path}: it must be a list of keys and values.`, "docs/clusters.md describes them.");
    return new Section(this, contents, allowed);
  }

  /** Throws ConfigError about a node, with its line. */
  refuse(node: Node | null | undefined, what: string, fix = ""): never {
    const line = this.#lines.linePos(node?.range?.[0] ?? 0).line;
    throw new ConfigError(`${this.path}:${Math.max(1, line)}: ${what}`, fix);
  }
}
