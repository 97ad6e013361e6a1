/** Words that people misspell. Imports nothing of ours. */
import { distance as editDistance } from "fastest-levenshtein";

/** The word of `words` that is at most two edits from `word`, ignoring case, dashes and underscores. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const plain = (s: string) => s.toLowerCase().replace(/[-_]/g, "");
  let best: string | undefined;
  let least = 3;
  for (const candidate of words) {
    const distance = editDistance(plain(word), plain(candidate));
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}
