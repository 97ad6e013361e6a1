/**
 * The only place that quotes or builds a shell command. Everything else hands argument lists around.
 */
import { UsageError } from "../errors.js";

/** A word as a POSIX shell reads it back unchanged: bare where that is safe, else in single quotes. */
export function quote(word: string): string {
  if (word.includes("\u0000")) throw new UsageError("A command can't hold a zero byte.", "Remove it.");
  if (/^[A-Za-z0-9_./:=@%+,-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** An argument list as one command line. */
export function command(argv: readonly string[]): string {
  return argv.map(quote).join(" ");
}

/** Turns any login shell into a plain `sh` that reads its commands from standard input: for {@link framed}. */
export const PLAIN_SHELL = "exec /bin/sh";

/** Bytes of a command line that Linux hands on as one argument (MAX_ARG_STRLEN, 128 KiB), less what goes before it. */
const LONGEST = 127_000;

/**
 * An argument list as a line for sshd, which gives it to the user's login shell, whatever that is: bash, tcsh and fish
 * become `sh`, and that becomes the command. Their quotes differ (fish takes `\\` in single quotes as one, csh takes no
 * line end and treats `!`), so what is not plain text to all of them goes as octal digits. With `mark` (letters and
 * digits) both streams begin with it, after what start-up files print. Throws UsageError if too long.
 */
export function loginCommand(argv: readonly string[], cwd?: string, mark?: string): string {
  const begin = mark === undefined ? "" : `printf ${mark}; printf ${mark} >&2; `;
  const words = cwd === undefined ? argv : [cwd, ...argv];
  const head = `exec /bin/sh -c '${begin}${cwd === undefined ? 'exec "$@"' : 'cd "$0" && exec "$@"'}'`;
  const plain = words.every((word) => /^[^'\\!\u0000-\u001f\u007f]*$/.test(word));
  const quoted = words.map((word) => (/^[A-Za-z0-9_./][A-Za-z0-9_./:,+-]*$/.test(word) ? word : `'${word}'`)).join(" ");
  const script = begin + inFolder(argv, cwd);
  const line = plain ? `${head}${cwd === undefined ? " sh" : ""} ${quoted}` : octal(script);
  if (Buffer.byteLength(line) > LONGEST)
    throw new UsageError(`A command of ${Buffer.byteLength(line)} bytes is too long.`, "Put it in a file.");
  return line;
}

/**
 * An argument list as a line for sshd, as {@link loginCommand}, that tells on standard error how it goes, where ssh's own
 * exit code can't tell a lost line from a command's 255, nor a signal from a code: `<mark>P<pid>` before (the process
 * leads its group) and `<mark>E<code>` after, a signal being 128 and its number. Standard output begins with `<mark>O`.
 */
export function reportedCommand(argv: readonly string[], mark: string, cwd?: string): string {
  const [folder, words] = cwd === undefined ? ["", argv] : ['cd "$1" && shift && ', [cwd, ...argv]];
  // The parentheses keep `exit` and `exec` as an argument list's first word from ending the reporter.
  const script = `printf %s "$0O"; echo "$0P$$" >&2; (${folder}exec "$@"); echo "$0E$?" >&2`;
  return loginCommand(["/bin/sh", "-c", script, mark, ...words]);
}

/** {@link PLAIN_SHELL}, told of by `<mark>P<pid>` on standard error when it is about to begin. */
export function reportedShell(mark: string): string {
  return `exec /bin/sh -c 'echo ${mark}P$$ >&2; exec /bin/sh'`;
}

/** Program text of a file that starts the program with what it is given itself. */
export function launcher(argv: readonly string[]): string {
  return `#!/bin/sh\nexec ${command(argv)} "$@"\n`;
}

/**
 * Argument list that runs a program for as long as the pipe at descriptor 3 is open: when the process that holds the
 * other end dies, however it does, the program is told to end (SIGTERM). Ends with the program's code.
 */
export function guarded(argv: readonly string[]): string[] {
  const script =
    '"$@" 3<&- & line=$!; { read -r nothing <&3; kill "$line"; } & guard=$!; ' +
    'wait "$line"; code=$?; kill "$guard" 2>/dev/null; exit "$code"';
  return ["/bin/sh", "-c", script, "sh", ...argv];
}

/**
 * One command for a long-lived `sh` ({@link PLAIN_SHELL}): its output stands between `<mark>B` and `<mark>E` on both
 * streams, its exit code behind the second on standard output. A subshell keeps its folder and environment to itself.
 */
export function framed(argv: readonly string[], mark: string, cwd?: string): string {
  return (
    `printf ${mark}B; printf ${mark}B >&2; (${inFolder(argv, cwd)}) </dev/null; ` +
    `printf '${mark}E%d\\n' $?; printf '${mark}E\\n' >&2\n`
  );
}

/** Asks a long-lived `sh` for its pid and process group (0 if unknown), so that it can be ended from outside. */
export function shellIdentity(mark: string): string {
  return `read -r a b c d g r 2>/dev/null </proc/$$/stat; printf '${mark}P%s %s\\n' $$ "\${g:-0}"\n`;
}

/** Ends a {@link PLAIN_SHELL} and what it runs: the whole process group if it leads one, else it and its children. */
export function endShell(pid: number, group: number): string {
  const children = `$(ps -o pid= --ppid ${pid} 2>/dev/null)`;
  return pid === group ? `kill -9 -${pid} 2>/dev/null\n` : `kill -9 ${pid} ${children} 2>/dev/null\n`;
}

function inFolder(argv: readonly string[], cwd: string | undefined): string {
  return cwd === undefined ? `exec ${command(argv)}` : `cd ${quote(cwd)} && exec ${command(argv)}`;
}

function octal(script: string): string {
  const digits = [...Buffer.from(script)].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
  return `exec /bin/sh -c 'eval "$(printf "$0")"' '${digits}'`;
}
