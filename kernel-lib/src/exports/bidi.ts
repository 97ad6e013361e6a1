/** Which way text runs, by the Unicode Bidirectional Algorithm (UAX #9). */
import bidiFactory, { type Bidi, type BidiCharTypeName } from "bidi-js";

/** The direction in which a line is read; the words of the other direction in it run against it. */
export type Direction = "ltr" | "rtl";

let shared: Bidi | undefined;

/** Its table of characters is made when text that needs it comes. */
function bidi(): Bidi {
  shared ??= bidiFactory();
  return shared;
}

/** What the algorithm can't leave as it stands: letters of Semitic and African scripts, and marks that set a direction. */
const TURNING =
  /[\u0590-\u08ff\u200f\u202b\u202e\u2067\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** The direction of text by its first letter that has one; left to right where none has. */
export function directionOf(text: string): Direction {
  if (!TURNING.test(text)) return "ltr";
  const line = standingIn([...text]);
  return bidi().getEmbeddingLevels(line, "auto").paragraphs[0]?.level === 1 ? "rtl" : "ltr";
}

/**
 * Where each character (Unicode code point) of one line stands when it is written: 0 is the leftmost. `base` is the
 * direction of the paragraph that the line belongs to.
 */
export function visualPlaces(line: string, base: Direction): number[] {
  const characters = [...line];
  if (base === "ltr" && !TURNING.test(line)) return characters.map((_, i) => i);
  const text = standingIn(characters);
  const places = new Array<number>(characters.length);
  for (const [place, index] of bidi().getReorderedIndices(text, bidi().getEmbeddingLevels(text, base)).entries())
    places[index] = place;
  return places;
}

/** A character of one UTF-16 unit for each class of those that have two. */
const STAND_INS: Partial<Record<BidiCharTypeName, string>> = {
  R: "\u05d0",
  AL: "\u0627",
  AN: "\u0660",
  EN: "1",
  NSM: "\u0300",
  ON: "!",
  BN: "\u00ad",
};

/** The library looks at UTF-16 units: each character beyond them becomes one of its class. A line is one paragraph. */
function standingIn(characters: readonly string[]): string {
  return characters
    .map((character) => {
      const type = bidi().getBidiCharTypeName(character);
      if (type === "B") return " ";
      return character.length === 1 ? character : (STAND_INS[type] ?? "a");
    })
    .join("");
}
