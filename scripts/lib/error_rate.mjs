// The measure of recognition: character error rate, edits needed to make the true text of what was read, by its length.

/**
 * Levenshtein distance by the length of `truth`, in code points after Unicode's canonical composition. Runs of white
 * space count as one space, since where a line ends is a matter of layout; everything else counts as it stands.
 */
export function characterErrorRate(truth, read) {
  const a = [...normal(truth)];
  const b = [...normal(read)];
  if (a.length === 0) return b.length === 0 ? 0 : 1;
  let row = Uint32Array.from({ length: b.length + 1 }, (_, j) => j);
  let next = new Uint32Array(b.length + 1);
  for (let i = 1; i <= a.length; i++) {
    next[0] = i;
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    [row, next] = [next, row];
  }
  return row[b.length] / a.length;
}

function normal(text) {
  return text.normalize("NFC").replace(/\s+/g, " ").trim();
}
