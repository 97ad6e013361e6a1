/**
 * The forms of a job's options, checked at the call: in the builder, the CLI, the functions and config.yaml alike. Every
 * refusal says what was got and what is allowed.
 */
import { UsageError } from "./errors.js";
import { nearest } from "./text.js";

function refuse(option: string, got: unknown, allowed: string): never {
  throw new UsageError(`${option}: got ${JSON.stringify(got) ?? String(got)}.`, `Allowed: ${allowed}.`);
}

/** A whole number of at least `min`. */
export function checkCount(option: string, value: unknown, min = 1, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max)
    refuse(
      option,
      value,
      `a whole number ${max === Number.MAX_SAFE_INTEGER ? `of ${min} or more` : `from ${min} to ${max}`}`,
    );
  return value;
}

/** `type:count`, `type` or `count`, as SLURM's `--gpus` takes it; the count becomes explicit. `"0"` means none. */
export function checkGpus(value: unknown): string {
  const form = 'such as "a100:1" (type:count), "h200" (one of that type), 2 or "2" (any type); at most 64';
  if (typeof value !== "string" && typeof value !== "number") refuse("gpus", value, form);
  const match = /^(?:([a-z][a-z0-9_.-]*)(?::(\d{1,2}))?|(\d{1,2}))$/i.exec(String(value));
  if (!match) refuse("gpus", value, form);
  const count = Number(match[2] ?? match[3] ?? "1");
  if (count > 64 || (match[1] !== undefined && count < 1)) refuse("gpus", value, form);
  return match[1] === undefined ? String(count) : `${match[1]}:${count}`;
}

/** SLURM's memory form with a unit: `512M`, `32G`, `1T`. A bare number is refused: megabytes to SLURM, bytes to others. */
export function checkMemory(value: unknown): string {
  if (typeof value !== "string" || !/^[1-9]\d{0,6}[KMGT]B?$/i.test(value))
    refuse("memory", value, 'a whole number with its unit, such as "512M", "32G" or "1T"');
  return value.toUpperCase().replace(/B$/, "");
}

/** Seconds of a time in SLURM's forms with colons or days; undefined if it is none of them. */
export function timeSeconds(value: string): number | undefined {
  const match = /^(?:(\d{1,3})-)?(\d{1,3}):([0-5]\d)(?::([0-5]\d))?$|^(\d{1,3})-(\d{1,2})$/.exec(value);
  if (!match) return undefined;
  const [, days, a, b, c, onlyDays, onlyHours] = match;
  if (onlyDays !== undefined) return (Number(onlyDays) * 24 + Number(onlyHours)) * 3600;
  // `a:b` is minutes:seconds to SLURM, but hours:minutes after a day.
  const [hours, minutes, seconds] =
    c !== undefined
      ? [Number(a), Number(b), Number(c)]
      : days !== undefined
        ? [Number(a), Number(b), 0]
        : [0, Number(a), Number(b)];
  return ((Number(days ?? 0) * 24 + hours) * 60 + minutes) * 60 + seconds;
}

/** `HH:MM:SS`, `D-HH:MM:SS` or `D-HH`. A bare number is refused: minutes to SLURM, seconds to others. */
export function checkTime(value: unknown): string {
  const form = '"HH:MM:SS" or "D-HH:MM:SS", such as "02:00:00" for two hours or "1-00:00:00" for a day';
  const seconds = typeof value === "string" ? timeSeconds(value) : undefined;
  if (typeof value !== "string" || seconds === undefined || seconds < 1) refuse("time", value, form);
  // Two parts without a day mean minutes to SLURM and hours to most people: refused rather than guessed.
  if (/^\d+:\d+$/.test(value)) refuse("time", value, form);
  return value;
}

/** A word of the scheduler's (partition, account, qos, constraint): letters, digits and `_ . - + & | , [ ] * : ( )`. */
export function checkWord(option: string, value: unknown): string {
  if (typeof value !== "string" || !/^[A-Za-z0-9_][A-Za-z0-9_.+&|,[\]*:()-]{0,127}$/.test(value))
    refuse(option, value, "letters, digits and _ . - + (no spaces, quotes or leading dash)");
  return value;
}

/** A name for people: any text on one line, at most 128 characters. */
export function checkName(value: unknown): string {
  if (typeof value !== "string" || value.trim() === "" || value.length > 128 || /[\u0000-\u001f\u007f]/.test(value))
    refuse("name", value, "a text of 1 to 128 characters on one line");
  return value;
}

/** Names by which programs look for secrets, such as HF_TOKEN, AWS_SECRET_ACCESS_KEY and PGPASSWORD. */
const SECRET = /(?:token|secret|password|passphrase|passwd|api_?key|access_?key)$/i;

/**
 * Value of an environment variable. One whose name is that of a secret is refused: values stand in job.sh, in job.json
 * and in the records.
 */
export function checkVariable(name: string, value: unknown): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name)) refuse("variables", name, "a name of letters, digits and _");
  if (typeof value !== "string" || /\u0000/.test(value))
    refuse(`variables.${name}`, value, "a text without zero bytes");
  if (SECRET.test(name))
    throw new UsageError(
      `variables: ${name} is the name of a secret, and variables are written into job.sh.`,
      "Keep it in a file on the cluster that only you can read (`hf auth login` there does so for Hugging Face), and let the script read it.",
    );
  return value;
}

/** One of `allowed`. */
export function checkChoice<const T extends string>(option: string, value: unknown, allowed: readonly T[]): T {
  if (!(allowed as readonly unknown[]).includes(value)) refuse(option, value, allowed.map((a) => `"${a}"`).join(", "));
  return value as T;
}

/** Refuses keys that nobody knows, and names the nearest that is known. */
export function checkKeys(what: string, value: object, allowed: readonly string[]): void {
  for (const key of Object.keys(value)) {
    if (allowed.includes(key)) continue;
    const near = nearest(key, allowed);
    throw new UsageError(
      `${what}: there is no option "${key}"${near === undefined ? "" : ` (did you mean "${near}"?)`}.`,
      `Allowed: ${allowed.join(", ")}.`,
    );
  }
}

/** Name of a dataset, by the rules of huggingface_hub (validate_repo_id). */
const PART = /^(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]{0,94}$/;

/** Checks the name of a dataset on the Hugging Face Hub, `owner/name`. Throws UsageError. */
export function checkRepo(repo: string): string {
  const [owner = "", name = "", ...more] = repo.split("/");
  if (more.length > 0 || !PART.test(owner) || !PART.test(name) || /\.(git|ipynb)$|[.-]$/.test(name))
    throw new UsageError(
      `${JSON.stringify(repo)} is no name of a dataset.`,
      "Give owner/name of letters, digits and - _ . such as ab123/letters.",
    );
  return repo;
}
