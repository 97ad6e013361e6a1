/**
 * A user's own `#SBATCH` lines: anything that SLURM knows may stand there, except what would break the job (its token,
 * folder, log, array, dependencies, environment) and what is asked for by an option already. sbatch lets the last line
 * win without a word, so those are refused. Pure.
 */
import { UsageError } from "../errors.js";

/** Options that are ours: long name, short name if it has one, and what to use instead. */
const OURS: readonly [string, string | undefined, string][] = [
  ["job-name", "J", "Use `name`."],
  ["comment", undefined, "The comment holds the token by which the job is found again."],
  ["output", "o", "The log is in the job folder; `yale jobs logs` shows it."],
  ["error", "e", "The log is in the job folder; `yale jobs logs` shows it."],
  ["input", "i", "A job has no input but its files."],
  ["open-mode", undefined, "The log is continued when a job is run again."],
  ["chdir", "D", "A job runs in its own folder."],
  ["array", "a", "Use `shards`."],
  ["dependency", "d", "Use `after`."],
  ["kill-on-invalid-dep", undefined, "A job whose dependency failed is always ended."],
  ["signal", undefined, "The warning before the time limit lets a job stop cleanly."],
  ["export", undefined, "Use `variables`."],
  ["export-file", undefined, "Use `variables`."],
  ["get-user-env", undefined, "Use `variables`, `modules` and `env`."],
  ["clusters", "M", "Each cluster has its own entry in config.yaml."],
  ["uid", undefined, "A job runs as you."],
  ["gid", undefined, "A job runs as you."],
  ["wait", "W", "`yale jobs wait` waits for a job."],
  ["parsable", undefined, "It is given when the job is submitted."],
  ["test-only", undefined, "`--dry-run` shows what would be sent."],
  ["wrap", undefined, "Give a script."],
  ["help", "h", "It would print help and submit nothing."],
  ["usage", undefined, "It would print help and submit nothing."],
  ["version", "V", "It would print the version and submit nothing."],
];

/** Options that have one of our own: long name, short name, and its name here. */
const FIELDS: readonly [string, string | undefined, string][] = [
  ["partition", "p", "partition"],
  ["gpus", "G", "gpus"],
  ["nodes", "N", "nodes"],
  ["cpus-per-task", "c", "cpus"],
  ["mem", undefined, "memory"],
  ["time", "t", "time"],
  ["account", "A", "account"],
  ["qos", "q", "qos"],
  ["constraint", "C", "constraint"],
  ["mail-user", undefined, "mail"],
  ["mail-type", undefined, "mail"],
];

/** Short options of sbatch that take no value, so that another may follow in the same word (`-HJname`). */
const FLAGS = "HIkOQsvWXhV";

/** What a user's lines ask for, by sbatch's long names. */
export interface Extras {
  lines: readonly string[];
  /** Long names as they are written. */
  options: ReadonlySet<string>;
}

/**
 * Checks the lines; `given` are the long names that the script has already. Throws UsageError for a line that is none, and
 * for an option that is ours or is given twice.
 */
export function checkExtras(lines: readonly string[], given: ReadonlySet<string>): Extras {
  const options = new Set<string>();
  for (const line of lines) {
    if (!/^#SBATCH +-[^\u0000-\u001f\u007f]*$/.test(line))
      throw new UsageError(`extra: got ${JSON.stringify(line)}.`, 'Each line is like "#SBATCH --exclusive".');
    for (const name of optionsOf(line)) {
      // getopt takes any beginning that names one option only, so `--comm` is `--comment`.
      const ours = OURS.find(([long, short]) => name === short || (name.length > 1 && long.startsWith(name)));
      if (ours !== undefined) throw new UsageError(`extra: ${JSON.stringify(line)} can't set "${ours[0]}".`, ours[2]);
      const field = FIELDS.find(([long, short]) => name === short || (name.length > 1 && abbreviates(name, long)));
      if (field !== undefined && given.has(field[0]))
        throw new UsageError(
          `extra: ${JSON.stringify(line)} asks for "${field[0]}" a second time.`,
          `Use \`${field[2]}\`, which is given already (or by the cluster's defaults), instead of the line.`,
        );
      options.add(field?.[0] ?? name);
    }
  }
  return { lines, options };
}

/** True for a beginning of `long` that is not an option of its own; `--mem` is, beside `--mem-per-cpu`. */
function abbreviates(name: string, long: string): boolean {
  return name === long || (long.startsWith(name) && name.length >= 3);
}

/** Option names in a line, long ones without dashes and short ones as their letter. */
function optionsOf(line: string): string[] {
  const names: string[] = [];
  // A `#` begins a comment, as sbatch reads it.
  const words = line.slice("#SBATCH".length).match(/"[^"]*"|'[^']*'|[^\s"'#]+|#.*/g) ?? [];
  for (const word of words) {
    if (word.startsWith("#")) break;
    const bare = word.replace(/^["']/, "");
    const long = /^--([A-Za-z][A-Za-z-]*)/.exec(bare)?.[1];
    if (long !== undefined) names.push(long.toLowerCase());
    else if (/^-[A-Za-z]/.test(bare))
      for (const letter of bare.slice(1)) {
        names.push(letter);
        if (!FLAGS.includes(letter)) break;
      }
  }
  return names;
}
