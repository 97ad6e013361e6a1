/**
 * Every error that Yale Jobs throws on purpose: what happened, why, and what to do next.
 *
 * One class per thing a caller can act on. The remedy is part of `message` (tslab prints only `stack`), and also
 * stands alone in `fix`. Use {@link isYaleError} rather than `instanceof`: errors cross the agent's socket and come
 * back as new objects, and a notebook may hold another copy of the library.
 */

/** Stable, documented codes. `exit` codes of the CLI are derived from them ({@link exitCodeOf}). */
export type ErrorCode =
  | "usage"
  | "config"
  | "source"
  | "dataset"
  | "job_not_found"
  | "job_failed"
  | "cancelled"
  | "timeout"
  | "out_of_memory"
  | "node_lost"
  | "login"
  | "host_key"
  | "connection"
  | "transfer"
  | "scheduler"
  | "quota"
  | "agent"
  | "protocol"
  | "wait_timeout"
  | "interrupted"
  | "internal";

/** Plain form of an error that can be written to a record or sent over the agent's socket. */
export interface ErrorData {
  code: ErrorCode;
  /** What happened and why, in a sentence or two. Never holds a secret. */
  what: string;
  /** What to do next, in the imperative. Empty only where nothing can be done. */
  fix: string;
}

/** Base of all our errors. Throw one of the subclasses. */
export class YaleError extends Error {
  /** Stable, for code to decide by. */
  readonly code: ErrorCode;
  /** What happened and why. */
  readonly what: string;
  /** What to do next; empty only where nothing can be done. */
  readonly fix: string;

  constructor(code: ErrorCode, what: string, fix = "", options?: ErrorOptions) {
    super(fix === "" ? what : `${what}\n  → ${fix}`, options);
    this.code = code;
    this.what = what;
    this.fix = fix;
    this.name = new.target.name;
  }

  /** The form that is stored and sent: {@link ErrorData}. */
  toJSON(): ErrorData {
    return { code: this.code, what: this.what, fix: this.fix };
  }
}

/** An option, argument or verb that is not allowed: says what was got and what is allowed. Nothing was sent. Exit 2. */
export class UsageError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("usage", what, fix, options);
  }
}

/** config.yaml cannot be read or holds a wrong key or value; names the file and line. Exit 2. */
export class ConfigError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("config", what, fix, options);
  }
}

/** A source as a whole cannot be opened (missing, not what it says it is). A single bad page is a fault row instead. */
export class SourceError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("source", what, fix, options);
  }
}

/** A dataset folder is damaged, incomplete or not of the format that `load_from_disk` reads. */
export class DatasetError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("dataset", what, fix, options);
  }
}

/** No job (or more than one) answers to the given id or name. Exit 2. */
export class JobNotFoundError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("job_not_found", what, fix, options);
  }
}

/**
 * A job ended in a way its caller asked to be told of by an exception; `code` says which: how it ended (exit 4 to 8), or
 * what kept it from running, such as `quota` or `scheduler` (exit 10 to 13).
 */
export class JobFailedError extends YaleError {
  constructor(
    code:
      | ("job_failed" | "cancelled" | "timeout" | "out_of_memory" | "node_lost")
      | ("login" | "host_key" | "connection" | "transfer" | "scheduler" | "quota"),
    what: string,
    fix = "",
  ) {
    super(code, what, fix);
  }
}

/** The second factor or password is needed, was refused, or nobody answered the prompt. Never repeated by itself. Exit 10. */
export class LoginError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("login", what, fix, options);
  }
}

/** The host key is unknown and nobody confirmed it, or differs from known_hosts, or is revoked. Exit 10. */
export class HostKeyError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("host_key", what, fix, options);
  }
}

/** The line to the cluster cannot be made or was lost. What was done stands; the same call can be made again. Exit 11. */
export class ConnectionError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("connection", what, fix, options);
  }
}

/** Bytes did not arrive as sent, or the far side refused a file. Resumes at the last byte surely there. Exit 11. */
export class TransferError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("transfer", what, fix, options);
  }
}

/** The scheduler refused: its own words are in `what`. Exit 12. */
export class SchedulerError extends YaleError {
  /**
   * Set where the same call may succeed later. `limit`: a limit on submissions or jobs was reached, and nothing was
   * taken. `silent`: the scheduler did not answer; whether it took a job must be looked up before the job is sent again.
   */
  readonly later?: "limit" | "silent";

  constructor(what: string, fix = "", options?: ErrorOptions & { later?: "limit" | "silent" }) {
    super("scheduler", what, fix, options);
    if (options?.later !== undefined) this.later = options.later;
  }
}

/** Not enough space or too many files, here or on the cluster. Exit 13. */
export class QuotaError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("quota", what, fix, options);
  }
}

/** The agent cannot be started, reached or trusted. Exit 1. */
export class AgentError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("agent", what, fix, options);
  }
}

/** Client and agent speak different protocol versions; says which side to update. Exit 1. */
export class ProtocolError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("protocol", what, fix, options);
  }
}

/** `wait({ timeout })` ran out; the job goes on. Exit 124, as coreutils' `timeout`. */
export class WaitTimeoutError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("wait_timeout", what, fix, options);
  }
}

/** The caller's AbortSignal or Ctrl-C ended a call; a submitted job keeps running. Exit 130. */
export class InterruptedError extends YaleError {
  constructor(what: string, fix = "", options?: ErrorOptions) {
    super("interrupted", what, fix, options);
  }
}

/** True for any error of ours, also one made by another copy of the library or revived from the socket. */
export function isYaleError(error: unknown): error is YaleError {
  return error instanceof Error && "code" in error && "what" in error && "fix" in error;
}

/** What helps against errors of the machine, by the operating system's names: no fault of ours, to be reported to nobody. */
const MACHINE: Readonly<Record<string, string>> = {
  EACCES:
    "That place is not yours to write to: change its permissions, or set XDG_STATE_HOME, XDG_CACHE_HOME and XDG_DATA_HOME to folders of yours.",
  EROFS: "That place can only be read: set XDG_STATE_HOME, XDG_CACHE_HOME and XDG_DATA_HOME to folders of yours.",
  ENOSPC: "The disk is full: make room, then try again.",
  EDQUOT: "Your quota is used up: make room, then try again.",
};

/** {@link ErrorData} of anything thrown; what is not ours becomes `internal` with its message. */
export function errorData(error: unknown): ErrorData {
  if (isYaleError(error)) return { code: error.code, what: error.what, fix: error.fix };
  const what = error instanceof Error ? error.message : String(error);
  const found = error instanceof Error && "code" in error ? MACHINE[String(error.code)] : undefined;
  if (found !== undefined) return { code: "internal", what, fix: found };
  return {
    code: "internal",
    what,
    fix: "This is a fault of Yale Jobs. `yale agent log` shows more; please report it.",
  };
}

const CLASSES = {
  usage: UsageError,
  config: ConfigError,
  source: SourceError,
  dataset: DatasetError,
  job_not_found: JobNotFoundError,
  login: LoginError,
  host_key: HostKeyError,
  connection: ConnectionError,
  transfer: TransferError,
  scheduler: SchedulerError,
  quota: QuotaError,
  agent: AgentError,
  protocol: ProtocolError,
  wait_timeout: WaitTimeoutError,
  interrupted: InterruptedError,
} as const;

/** Makes the error again that {@link errorData} took apart, with its class. */
export function reviveError(data: ErrorData): YaleError {
  switch (data.code) {
    case "job_failed":
    case "cancelled":
    case "timeout":
    case "out_of_memory":
    case "node_lost":
      return new JobFailedError(data.code, data.what, data.fix);
    case "internal":
      return new YaleError("internal", data.what, data.fix);
    default:
      return new CLASSES[data.code](data.what, data.fix);
  }
}

/** Exit codes of `yale`, the same for every verb. 0 is success; 3 is "done, with pages in error". */
export const EXIT: Readonly<Record<ErrorCode, number>> = {
  usage: 2,
  config: 2,
  source: 2,
  dataset: 1,
  job_not_found: 2,
  job_failed: 4,
  cancelled: 5,
  timeout: 6,
  out_of_memory: 7,
  node_lost: 8,
  login: 10,
  host_key: 10,
  connection: 11,
  transfer: 11,
  scheduler: 12,
  quota: 13,
  agent: 1,
  protocol: 1,
  wait_timeout: 124,
  interrupted: 130,
  internal: 1,
};

/** The exit code that the CLI ends with after `error`. */
export function exitCodeOf(error: unknown): number {
  return EXIT[errorData(error).code];
}
