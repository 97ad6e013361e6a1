/**
 * Runners: what runs on the cluster. Each carries a card at its head, a PEP 723 block with a `[tool.yale-jobs]` table,
 * which `yale models` lists and options are checked against. One runner, one folder (or file); no registry.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parse } from "smol-toml";
import { UsageError } from "./errors.js";
import { distFile } from "./paths.js";
import type { JobSpec, Json } from "./protocol.js";
import { nearest } from "./text.js";

/** An option that a runner takes. */
export interface RunnerOption {
  type: "string" | "integer" | "number" | "boolean";
  help: string;
  default?: Json;
  allowed?: readonly Json[];
  minimum?: number;
}

/** What a runner says of itself. */
export interface RunnerCard {
  /** Name to ask for it by, such as `tesseract`. */
  name: string;
  title: string;
  engine: string;
  /** Model id on the Hugging Face Hub, for engines that load one. */
  model?: string;
  licence: string;
  /** GPUs that it needs; 0 for CPU engines. */
  gpus: number;
  /** GPUs of one node that it uses if it gets them. */
  mostGpus: number;
  /** GiB of GPU memory that it needs. */
  gpuMemory?: number;
  /** Pages per second on the hardware it was measured on, in words. */
  speed?: string;
  /** The same as figures: pages per second of one GPU by its type, or of one CPU `core`. */
  pagesPerSecond?: Readonly<Record<string, number>>;
  /** What is known of its quality and size, and who says so. */
  evidence?: string;
  /** What it needs of the Python that runs it, as PEP 508 writes it. */
  dependencies?: readonly string[];
  /** Seconds before its first page: loading a model, starting a server. */
  startSeconds?: number;
  /** The command, relative to the job folder. */
  command: readonly string[];
  options: Readonly<Record<string, RunnerOption>>;
  /** Folder that is brought to the cluster. */
  folder: string;
}

let cards: readonly RunnerCard[] | undefined;

/** All cards, by name. */
export function readCards(): readonly RunnerCard[] {
  if (cards !== undefined) return cards;
  const home = distFile("runners");
  const names = existsSync(home) ? readdirSync(home).filter((n) => statSync(join(home, n)).isDirectory()) : [];
  cards = names.sort().map((name) => readCard(join(home, name)));
  return cards;
}

/** The card of a runner's folder: in its `main.cjs` or `main.py`. Throws TypeError for a card that is not whole. */
export function readCard(folder: string): RunnerCard {
  const file = ["main.cjs", "main.py"].map((n) => join(folder, n)).find((p) => existsSync(p));
  if (file === undefined) throw new TypeError(`${folder} holds no runner.`);
  const head = scriptHead(readFileSync(file, "utf8"));
  const table = yaleTable(head);
  if (table === undefined) throw new TypeError(`${file} has no card.`);
  const text = (key: string): string => {
    const value = table[key];
    if (typeof value !== "string") throw new TypeError(`The card of ${file} has no ${key}.`);
    return value;
  };
  const optional = <T>(key: string) => (table[key] === undefined ? {} : { [key]: table[key] as T });
  return {
    name: text("name"),
    title: text("title"),
    engine: text("engine"),
    licence: text("licence"),
    gpus: Number(table.gpus ?? 0),
    mostGpus: Number(table.mostGpus ?? table.gpus ?? 0),
    command: table.command as string[],
    options: (table.options ?? {}) as Record<string, RunnerOption>,
    folder,
    ...optional<string>("model"),
    ...optional<string>("speed"),
    ...optional<Record<string, number>>("pagesPerSecond"),
    ...optional<number>("startSeconds"),
    ...optional<number>("gpuMemory"),
    ...optional<string>("evidence"),
    ...(head?.dependencies === undefined ? {} : { dependencies: head.dependencies as string[] }),
  };
}

/** The head of a script, parsed: comment lines between `/// script` and `///` (PEP 723). */
function scriptHead(script: string): Record<string, unknown> | undefined {
  const lines = script.slice(0, 20_000).split(/\r?\n/);
  const start = lines.findIndex((l) => /^(#|\/\/) \/\/\/ script$/.test(l));
  if (start < 0) return undefined;
  const end = lines.findIndex((l, i) => i > start && /^(#|\/\/) \/\/\/$/.test(l));
  if (end < 0) return undefined;
  return parse(
    lines
      .slice(start + 1, end)
      .map((l) => l.replace(/^(#|\/\/) ?/, ""))
      .join("\n"),
  );
}

/** The `[tool.yale-jobs]` table of a script's head, if it has one. */
function yaleTable(head: Record<string, unknown> | undefined): Record<string, unknown> | undefined {
  const tool = head?.tool as Record<string, unknown> | undefined;
  return tool?.["yale-jobs"] as Record<string, unknown> | undefined;
}

/** The card with that name or model id. Throws UsageError that lists what there is. */
export function findCard(name: string): RunnerCard {
  const all = readCards();
  const found = all.find((c) => c.name === name || c.model === name);
  if (found !== undefined) return found;
  const names = all.flatMap((c) => (c.model === undefined ? [c.name] : [c.name, c.model]));
  const near = nearest(name, names);
  throw new UsageError(
    `There is no runner or model ${JSON.stringify(name)}${near === undefined ? "" : ` (did you mean "${near}"?)`}.`,
    `Known: ${names.join(", ")}. \`yale models\` explains them.`,
  );
}

/** Throws UsageError for an option that the runner does not take, or a value that it does not allow. */
export function checkRunnerOptions(card: RunnerCard, options: JobSpec["options"]): void {
  const names = Object.keys(card.options);
  for (const [name, value] of Object.entries(options)) {
    const option = card.options[name];
    if (option === undefined) {
      const near = nearest(name, names);
      throw new UsageError(
        `The runner ${card.name} has no option "${name}"${near === undefined ? "" : ` (did you mean "${near}"?)`}.`,
        `It has: ${names.join(", ")}.`,
      );
    }
    const { type, allowed, minimum } = option;
    const fits =
      type === "integer"
        ? Number.isInteger(value)
        : type === "number"
          ? typeof value === "number"
          : typeof value === type;
    const inside = minimum === undefined || (typeof value === "number" && value >= minimum);
    if (!fits || !inside || (allowed !== undefined && !allowed.includes(value)))
      throw new UsageError(
        `${name}: got ${JSON.stringify(value)}.`,
        `Allowed: ${allowed === undefined ? `${type === "integer" ? "a whole number" : `a ${type}`}${minimum === undefined ? "" : ` of ${minimum} or more`}` : allowed.map((a) => JSON.stringify(a)).join(", ")}.`,
      );
  }
}

/** The command of a script job; its working directory is the job's `output`. */
export function scriptCommand(script: NonNullable<JobSpec["script"]>): string[] {
  const program = script.interpreter === "python3" ? ["python3", "-u"] : [script.interpreter];
  return [...program, `../runner/${script.name}`, ...script.args];
}
