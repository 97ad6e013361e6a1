/**
 * The way to a machine that runs jobs: commands and files, whatever carries them (ssh2, OpenSSH, or this machine
 * itself). Paths are POSIX and absolute. Nothing here is interpreted by a shell: commands are argument lists.
 */
import type { Prompt } from "../protocol.js";

/** What a command said. `code` is null where it ended by a signal or the line was lost before its end was known. */
export interface ExecResult {
  code: number | null;
  signal?: string;
  stdout: string;
  stderr: string;
}

/** Options of {@link Transport.exec}. */
export interface ExecOptions {
  /** Written to the command's standard input, which is then closed; a stream is read as fast as the command takes it. */
  input?: string | Uint8Array | AsyncIterable<Uint8Array>;
  cwd?: string;
  /** Milliseconds; default 60,000. After it the command is ended and a ConnectionError thrown. */
  timeout?: number;
  signal?: AbortSignal;
  /**
   * Run it in the line's one long-lived shell instead of a session of its own: no start of the user's login shell (which
   * loads modules and conda, 0.3 s and more), one session however many commands. For short commands with little output;
   * they run one after another, without `input` and `onStdout`.
   */
  shared?: boolean;
  /** Called with each piece of standard output as it comes; then `stdout` in the result is empty. */
  onStdout?: (chunk: Uint8Array) => void;
}

/** Attributes of a remote file. */
export interface FileStat {
  size: number;
  /** Milliseconds since 1970. */
  mtime: number;
  type: "file" | "directory" | "symlink" | "other";
  mode: number;
}

/** An open remote file. All positions are explicit, so calls may overlap. */
export interface FileHandle {
  /** Reads at most `length` bytes at `position`; fewer only at the end of the file. */
  read(length: number, position: number): Promise<Uint8Array>;
  write(data: Uint8Array, position: number): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Files of the far side; the verbs of SFTP. A missing path throws an error with `code: "ENOENT"` (see {@link isMissing}). */
export interface Sftp {
  open(path: string, flags: "r" | "w" | "r+" | "wx"): Promise<FileHandle>;
  /** Follows links unless `link` is set. */
  stat(path: string, options?: { link?: boolean }): Promise<FileStat>;
  readdir(path: string): Promise<{ name: string; stat: FileStat }[]>;
  /** With its parents; an existing folder is fine. */
  mkdir(path: string, mode?: number): Promise<void>;
  /** Replaces what is at `to`, atomically (posix-rename). */
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  rmdir(path: string): Promise<void>;
  symlink(target: string, path: string): Promise<void>;
  readlink(path: string): Promise<string>;
  realpath(path: string): Promise<string>;
  chmod(path: string, mode: number): Promise<void>;
  /** Bytes and inodes free to this user at `path`; undefined where the far side can't tell. */
  free(path: string): Promise<{ bytes: number; files: number } | undefined>;
}

/** A way to one machine. */
export interface Transport {
  readonly kind: "ssh" | "openssh" | "local";
  /**
   * Runs a command and resolves with how it ended, whatever that is. Throws ConnectionError where the line is gone, its
   * end can't be known or its time ran out, and InterruptedError.
   */
  exec(argv: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /**
   * Files of the far side. Channels 0 (the default) to 3 have a window each, so that several carry more than one over a
   * long way (2 MiB a round trip each); where the far side allows fewer sessions, several numbers share one. Calls in
   * flight when the line goes throw ConnectionError; none hangs.
   */
  sftp(channel?: number): Promise<Sftp>;
  /** Resolves with the reason once the line is gone, by itself or by {@link close}. Never rejects; the local one stays. */
  readonly lost: Promise<Error>;
  /** True if a person had to answer something while it was opened: then it is not opened again without being wanted. */
  readonly asked: boolean;
  /** What the far side said while the line was opened ("Success. Logging you in..."), if anything: hostile until escaped. */
  readonly greeting?: string;
  close(): Promise<void>;
}

/** A question to whoever is there, before it has an id; `expiresAt` defaults to the longest time that a prompt stands. */
export type Question = Omit<Prompt, "id" | "expiresAt"> & { expiresAt?: string };

/** Asks a person; null if they declined. Throws LoginError if nobody answers in time. */
export type Ask = (question: Question, signal?: AbortSignal) => Promise<string[] | null>;

/** What opening a line is given. */
export interface LoginOptions {
  ask: Ask;
  /** False: open it only if nobody need be asked; throws LoginError otherwise. Default true. */
  interactive?: boolean;
  signal?: AbortSignal;
}

/** True if `error` says that a path does not exist. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === "ENOENT";
}

/** Whole content of a small remote file (at most 64 MiB). */
export async function readFile(sftp: Sftp, path: string): Promise<Uint8Array> {
  const handle = await sftp.open(path, "r");
  try {
    const { size } = await sftp.stat(path);
    return await handle.read(Math.min(size, 64 << 20), 0);
  } finally {
    await handle.close();
  }
}

/** Writes a small remote file so that nobody ever sees half of it: `.part`, sync, rename. */
export async function writeFile(sftp: Sftp, path: string, data: string | Uint8Array, mode?: number): Promise<void> {
  const part = `${path}.part`;
  const handle = await sftp.open(part, "w");
  try {
    await handle.write(typeof data === "string" ? new TextEncoder().encode(data) : data, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (mode !== undefined) await sftp.chmod(part, mode);
  await sftp.rename(part, path);
}
