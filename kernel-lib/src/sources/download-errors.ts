/** How downloads fail: for good or for now, in words, and what an answer or its absence means for the next try. */
import { SourceError } from "../errors.js";

/** A download that failed for good. */
export class DownloadError extends SourceError {
  /** HTTP status, where there was an answer. */
  readonly status: number | undefined;

  constructor(what: string, fix: string, status?: number, options?: ErrorOptions) {
    super(what, fix, options);
    this.status = status;
  }
}

/** What came where JSON was expected: an image, a page for people, nothing at all. */
export class NoJsonError extends DownloadError {
  /** Its first bytes. */
  readonly first: Uint8Array;

  constructor(url: string, first: Uint8Array, status: number) {
    const text = new TextDecoder().decode(first.subarray(0, 200));
    const what = /^\s*<(!doctype|html)/i.test(text) ? "an HTML page" : "no JSON";
    super(
      `${url} is ${what}${first.length === 0 ? " (it is empty)" : ""}.`,
      "Open it in a browser: it may want a login, or the address of the manifest is another one.",
      status,
    );
    this.first = first;
  }
}

/** A failure that may be none at the next try. */
export class Passing extends Error {
  readonly reason: DownloadError;
  /** Seconds to rest, or nothing, of a server that wants to be asked less. */
  readonly tooMuch: boolean;
  readonly seconds: number | undefined;
  /** Why no connection was had at all. */
  readonly unreachable: string | undefined;

  constructor(
    reason: DownloadError,
    more: { tooMuch?: boolean; seconds?: number | undefined; unreachable?: string } = {},
  ) {
    super(reason.message);
    this.reason = reason;
    this.tooMuch = more.tooMuch ?? false;
    this.seconds = more.seconds;
    this.unreachable = more.unreachable;
  }
}

/** Codes of failures before there was a connection. */
export const OUT_OF_REACH = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** What an answer that is neither 200 nor 206 means: Passing, where it may be another at the next try. */
export function refusal(url: string, response: Response): Error {
  const { status } = response;
  const said = `${url} was answered with ${status}${response.statusText === "" ? "" : ` ${response.statusText}`}`;
  // 509 is what some image servers say for "too much" (seen at university libraries).
  if (status === 429 || status === 503 || status === 509)
    return new Passing(
      new DownloadError(
        `${said}: the server wants to be asked less.`,
        "Try again later, with the option delay.",
        status,
      ),
      { tooMuch: true, seconds: retryAfter(response.headers.get("retry-after")) },
    );
  if (status === 408 || status === 425 || status >= 500)
    return new Passing(new DownloadError(`${said}.`, "The server is at fault; try again later.", status));
  const fixes: Record<number, string> = {
    401: "It wants a login. For Hugging Face set HF_TOKEN.",
    403: "It is not open to everybody, or the server has had enough of being asked.",
    404: "It is not there (any more): check the address.",
    410: "It was taken away for good.",
  };
  return new DownloadError(`${said}.`, fixes[status] ?? "Check the address.", status);
}

/** Seconds of a `Retry-After` header: a number, which some servers break into decimals, or a date (RFC 9110, 10.2.3). */
export function retryAfter(value: string | null, now: number = Date.now()): number | undefined {
  if (value === null) return undefined;
  if (/^\s*\d+(\.\d*)?\s*$/.test(value)) return Number(value);
  // Date.parse makes a year or a month of any number.
  if (!/[a-z]/i.test(value)) return undefined;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - now) / 1000);
}

/** A host that is not asked any more, as it only ever says that too much is asked of it. */
export function worn(host: string, { reason, seconds = 0 }: Passing): DownloadError {
  const rest = seconds < 120 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
  return new DownloadError(
    `${host} goes on refusing because too much is asked of it (${reason.status}${seconds > 0 ? `; it wants to rest for ${rest}` : ""}).`,
    "Try again later, with the option delay; what came is not fetched again.",
    reason.status,
  );
}

/** What Node says of a request that got no answer. */
export function causeOf(error: unknown): { code?: string; message?: string; hostname?: string } {
  return (error as { cause?: ReturnType<typeof causeOf> }).cause ?? {};
}

/** The same in words. */
export function networkWords(error: unknown): string {
  const cause = causeOf(error);
  const words: Record<string, string> = {
    ENOTFOUND: "there is no such host",
    EAI_AGAIN: "the name of the host can't be looked up just now",
    ECONNREFUSED: "nobody answers there",
    ECONNRESET: "the line was cut",
    UND_ERR_SOCKET: "the answer was cut off",
    UND_ERR_CONNECT_TIMEOUT: "nobody answers there",
    CERT_HAS_EXPIRED: "its certificate has expired",
  };
  return words[cause.code ?? ""] ?? cause.message ?? (error as Error).message;
}
