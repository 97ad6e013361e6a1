/** Addresses on the web as they are written, and what in them is a secret: `https://user:password@host/`. */
import { DownloadError } from "./download-errors.js";

/**
 * An address that may be asked for, without the name and password that may stand in it ({@link secretOf} has them).
 * Spaces are encoded; `%` is left alone, since some servers want it twice encoded. Throws DownloadError.
 */
export function httpUrl(address: string): URL {
  let url: URL;
  try {
    url = parsed(address);
  } catch {
    throw new DownloadError(
      `${JSON.stringify(withoutSecret(address))} is no address.`,
      "An address begins with https:// or http://.",
    );
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new DownloadError(
      `${withoutSecret(address)}: only http and https are fetched.`,
      "Give a path for a local file.",
    );
  url.hash = "";
  url.username = "";
  url.password = "";
  return url;
}

/** The header that says who asks, where the address names somebody (RFC 7617). For its own host only. */
export function secretOf(address: string): { authorization?: string } {
  const { username, password } = parsed(address);
  if (username === "" && password === "") return {};
  const words = `${decoded(username)}:${decoded(password)}`;
  return { authorization: `Basic ${Buffer.from(words, "utf8").toString("base64")}` };
}

/** An address as it was written, but for the name and password in it: what may be shown and kept. */
export function withoutSecret(address: string): string {
  const shown = address.replace(/^(\s*[a-z][\w+.-]*:[/\\]{2})[^/\\?#]*@/i, "$1");
  // Where a password breaks the address, nobody can tell where it ends.
  return URL.canParse(shown.trim().replace(/ /g, "%20")) ? shown : shown.replace(/([/\\]{2}).*@/s, "$1");
}

function parsed(address: string): URL {
  return new URL(address.trim().replace(/ /g, "%20"));
}

/** A `%` of a password that was not encoded stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
