/** Reads a batch script as sbatch does. Pure. */

/** The `#SBATCH --option=value` lines before the first command, by option; the last one of a name counts. */
export function directives(script: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of script.split("\n")) {
    const m = /^#SBATCH\s+--([a-z-]+)(?:=|\s+)?("[^"]*"|\S*)/.exec(line);
    if (m !== null) found.set(m[1] ?? "", (m[2] ?? "").replace(/^"(.*)"$/, "$1"));
    // sbatch stops at the first line that is neither empty nor a comment (man sbatch, 22.05).
    else if (line.trim() !== "" && !line.startsWith("#")) break;
  }
  return found;
}

/**
 * Seconds of a `--time` value in SLURM's forms: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]];
 * undefined if it is none of them.
 */
export function slurmSeconds(value: string): number | undefined {
  const m = /^(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$/.exec(value);
  if (m === null) return undefined;
  const [days, a, b, c] = [m[1], m[2], m[3], m[4]].map((x) => (x === undefined ? undefined : Number(x)));
  if (days !== undefined) return ((days * 24 + (a ?? 0)) * 60 + (b ?? 0)) * 60 + (c ?? 0);
  if (c !== undefined) return ((a ?? 0) * 60 + (b ?? 0)) * 60 + c;
  return (a ?? 0) * 60 + (b ?? 0);
}
