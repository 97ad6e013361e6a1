/** One line to a cluster as {@link Lines} keeps it, and what its errors mean. */
import type { Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { errorData, LoginError } from "../errors.js";
import type { Connection } from "../protocol.js";

/** A try to open a line, and who waits for it. */
export interface Opening {
  transport: Promise<Transport>;
  /** Whether it may ask a person. */
  asks: boolean;
  abort: AbortController;
  /** How many wait for it. */
  callers: number;
}

/** One line: what is known of it, and what may be done about it without a person. */
export class Line {
  /** As it was last asked for. */
  cluster: ClusterConfig;
  /** The names it goes by: two files may name one cluster differently. */
  readonly names = new Set<string>();
  state: Connection["state"] = "disconnected";
  since: string | undefined;
  message: string | undefined;
  transport: Transport | undefined;
  opening: Opening | undefined;
  /** Why nothing in the background tries until a person acts; `asked`: a question went wrong. */
  refused: { error: Error; at: number; asked: boolean } | undefined;
  /** A person opened it, so if it is lost one question in the background is theirs, too. */
  mayAsk = false;
  /** The next try in the background is one without a question. */
  silent = true;
  /** It was lost, needs nobody, and comes back by itself. */
  keep = false;
  waiters = 0;
  failures = 0;
  lastError: Error | undefined;
  nextTry = 0;
  timer: NodeJS.Timeout | undefined;
  readonly listeners = new Set<() => void>();

  constructor(cluster: ClusterConfig) {
    this.cluster = cluster;
  }

  connections(): Connection[] {
    const { state, since, message } = this;
    return [...this.names].map((cluster) => ({
      cluster,
      state,
      ...(since === undefined ? {} : { since }),
      ...(message === undefined ? {} : { message }),
    }));
  }

  /** The next change of its state, or the end of `signal`; who does not wait for it to the end lets go of it. */
  change(signal?: AbortSignal): { happened: Promise<void>; letGo: () => void } {
    let letGo = () => {};
    const happened = new Promise<void>((resolve) => {
      letGo = () => {
        this.listeners.delete(letGo);
        signal?.removeEventListener("abort", letGo);
        resolve();
      };
      this.listeners.add(letGo);
      signal?.addEventListener("abort", letGo);
    });
    return { happened, letGo };
  }
}

/** Waits for an opening; the last to leave gives it up. */
export async function joined(opening: Opening, signal?: AbortSignal): Promise<Transport> {
  opening.callers += 1;
  if (signal === undefined) return opening.transport.finally(() => (opening.callers -= 1));
  let leave: () => void = () => undefined;
  const left = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason);
    signal.addEventListener("abort", leave);
  });
  try {
    return await Promise.race([opening.transport, left]);
  } finally {
    signal.removeEventListener("abort", leave);
    opening.callers -= 1;
    if (signal.aborted && opening.callers === 0) opening.abort.abort(signal.reason);
  }
}

/** True for what only a person mends: a factor, a password, a host key. */
export function isLogin(error: unknown): boolean {
  return ["login", "host_key"].includes(errorData(error).code);
}

/** True for what time may mend. */
export function isConnection(error: unknown): boolean {
  return errorData(error).code === "connection";
}

/** What happened, to be followed by more. */
export function sentence(error: Error): string {
  return errorData(error).what.replace(/\.$/, "");
}

/** What others are told of a question that went wrong, whatever went wrong about it. */
export function refusalOf(error: Error, cluster: ClusterConfig): Error {
  if (isLogin(error)) return error;
  const { what } = errorData(error);
  return new LoginError(
    `The login to ${cluster.name} did not succeed: ${what}`,
    `Run \`yale login ${cluster.name}\`.`,
    {
      cause: error,
    },
  );
}
