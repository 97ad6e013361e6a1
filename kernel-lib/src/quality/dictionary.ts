/**
 * Dictionaries: one of English that travels with the package, those of the system, and people's own. No other travels with it:
 * those of German, Italian and Latin are under the GPL, and the French one takes nspell 650 MB and eight seconds.
 */
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type NSpell from "nspell";
import { UsageError } from "../errors.js";
import { distFile } from "../paths.js";

/** Says of a word whether it is one. */
export type Dictionary = (word: string) => boolean;

/** Where systems keep Hunspell's dictionaries. */
const SYSTEM = ["/usr/share/hunspell", "/usr/share/myspell/dicts", "/opt/homebrew/share/hunspell"];

/** Languages by ISO 639-3, as they are told, and by the beginning of a dictionary's file name. */
const CODES: Readonly<Record<string, string>> = {
  ces: "cs",
  dan: "da",
  deu: "de",
  eng: "en",
  fra: "fr",
  heb: "he",
  hun: "hu",
  ita: "it",
  lat: "la",
  nld: "nl",
  pol: "pl",
  por: "pt",
  rus: "ru",
  spa: "es",
  swe: "sv",
  tur: "tr",
  ukr: "uk",
};

const loaded = new Map<string, Promise<Dictionary | undefined>>();

/** The dictionary of a language (ISO 639-3), or undefined where there is none on this machine. */
export function dictionaryOf(language: string): Promise<Dictionary | undefined> {
  let found = loaded.get(language);
  if (found === undefined) {
    found = find(language);
    loaded.set(language, found);
  }
  return found;
}

async function find(language: string): Promise<Dictionary | undefined> {
  const code = CODES[language];
  if (code === undefined) return undefined;
  for (const folder of SYSTEM) {
    let names: string[];
    try {
      names = readdirSync(folder).filter(
        (n) => n.endsWith(".dic") && (n === `${code}.dic` || n.startsWith(`${code}_`)),
      );
    } catch {
      continue;
    }
    // de_DE before de_AT, en_US before en_AU: the country that the language is called after, else the first.
    const name = names.find((n) => n === `${code}_${code === "en" ? "US" : code.toUpperCase()}.dic`) ?? names.sort()[0];
    if (name !== undefined) return hunspell(join(folder, name)).catch(() => undefined);
  }
  return language === "eng" ? hunspell(distFile("dictionary", "en.dic")) : undefined;
}

/** A dictionary from a file: Hunspell's `.dic` with its `.aff` beside, or a list with a word a line. Throws UsageError. */
export async function dictionaryFrom(path: string): Promise<Dictionary> {
  try {
    if (path.endsWith(".dic")) return await hunspell(path);
    const words = new Set((await readFile(path, "utf8")).split(/\r?\n/).map((w) => w.trim().toLowerCase()));
    return (word) => words.has(word.toLowerCase());
  } catch (cause) {
    throw new UsageError(
      `The dictionary ${path} can't be read: ${(cause as Error).message}`,
      "Give a list with a word a line, or a .dic file of Hunspell with its .aff file beside it.",
      { cause },
    );
  }
}

async function hunspell(path: string): Promise<Dictionary> {
  const { default: nspell } = (await import("nspell")) as { default: typeof NSpell };
  const [aff, dic] = await Promise.all([readFile(path.replace(/\.dic$/, ".aff")), readFile(path)]);
  const speller = nspell({ aff, dic });
  return (word) => speller.correct(word) || speller.correct(word.toLowerCase());
}
