/**
 * known_hosts as OpenSSH keeps it (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): which keys a host is known by, and adding one.
 * Certificates of hosts are beyond ssh2; a line with `@cert-authority` can only be told of.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import * as fs from "node:fs/promises";
import { dirname } from "node:path";
import { HostKeyError } from "../errors.js";
import { matches } from "./ssh-config-file.js";

/** A line of known_hosts that is about one host. */
export interface KnownHost {
  file: string;
  /** Counts from 1. */
  line: number;
  marker: "revoked" | "cert-authority" | undefined;
  /** As in the key itself: `ssh-ed25519`, `ssh-rsa` … */
  type: string;
  key: Buffer;
  /** It stands under the host's name without its port. */
  bare: boolean;
}

/** What known_hosts says of a key. `others` are other keys that the host is known by. */
export type HostKeyVerdict =
  | { status: "known" | "changed" | "revoked" | "authority"; entry: KnownHost }
  | { status: "unknown"; others: KnownHost[] };

/** The name that a host stands under: `host`, `[host]:port`, or its HostKeyAlias. */
export function hostKeyName(host: string, port: number, alias?: string): string {
  return alias ?? (port === 22 ? host : `[${host}]:${port}`);
}

/** Type of a host key, from its own bytes. */
export function keyType(key: Buffer): string {
  return key.subarray(4, 4 + key.readUInt32BE(0)).toString("latin1");
}

/** The fingerprint that sites publish: `SHA256:…`. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/**
 * Reads all lines about a host. Missing files hold none; what can't be read as a line is passed over, as `ssh` does. Throws
 * HostKeyError for a file that can't be read.
 */
export async function readKnownHosts(
  files: readonly string[],
  host: string,
  port: number,
  alias?: string,
): Promise<KnownHost[]> {
  const name = hostKeyName(host, port, alias);
  const found: KnownHost[] = [];
  for (const file of files) {
    const text = await fs.readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return "";
      throw new HostKeyError(
        `${file} can't be read (${error.code}), so no host key can be checked.`,
        "Check its permissions.",
      );
    });
    for (const [i, line] of text.split(/\r?\n/).entries()) {
      const words = line.trim().split(/[ \t]+/);
      if (words[0] === undefined || words[0] === "" || words[0].startsWith("#")) continue;
      const mark = words[0].startsWith("@") ? words.shift() : undefined;
      const [names = "", type = "", encoded = ""] = words;
      const key = Buffer.from(encoded, "base64");
      if (key.length < 8 || key.readUInt32BE(0) + 4 > key.length || keyType(key) !== type) continue;
      const marker = mark === "@revoked" ? "revoked" : mark === "@cert-authority" ? "cert-authority" : undefined;
      if (mark !== undefined && marker === undefined) continue;
      const whole = standsFor(names, name);
      // OpenSSH accepts a key on another port that it knows the host by on port 22.
      const bare = !whole && name !== host && alias === undefined && standsFor(names, host);
      if (whole || bare) found.push({ file, line: i + 1, marker, type, key, bare });
    }
  }
  return found;
}

/** What the lines about a host say of the key that it has shown. */
export function judge(entries: readonly KnownHost[], key: Buffer): HostKeyVerdict {
  const same = entries.filter((entry) => entry.key.equals(key));
  const revoked = same.find((entry) => entry.marker === "revoked");
  if (revoked !== undefined) return { status: "revoked", entry: revoked };
  const known = same.find((entry) => entry.marker === undefined);
  if (known !== undefined) return { status: "known", entry: known };
  const own = entries.filter((entry) => entry.marker === undefined && !entry.bare);
  const changed = own.find((entry) => entry.type === keyType(key));
  if (changed !== undefined) return { status: "changed", entry: changed };
  const authority = entries.find((entry) => entry.marker === "cert-authority");
  if (authority !== undefined && own.length === 0) return { status: "authority", entry: authority };
  return { status: "unknown", others: own };
}

/**
 * Algorithms by which a host is to be asked for a key of a kind that it is known by, best first: without, it may show
 * another of its keys, which would look unknown.
 */
export function knownAlgorithms(entries: readonly KnownHost[], supported: readonly string[]): string[] {
  const types = entries.filter((e) => e.marker === undefined).map((e) => e.type);
  const wanted = types.flatMap((type) => (type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] : [type]));
  const known = supported.filter((algorithm) => wanted.includes(algorithm));
  return [...known, ...supported.filter((algorithm) => !known.includes(algorithm))];
}

/** Adds a host to a known_hosts file, which is made (0600) if it is missing; `hash` hides the name. */
export async function addKnownHost(file: string, name: string, key: Buffer, hash: boolean): Promise<void> {
  await fs.mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const handle = await fs.open(file, "a+", 0o600);
  try {
    const { size } = await handle.stat();
    const end = Buffer.alloc(1);
    if (size > 0) await handle.read(end, 0, 1, size - 1);
    const gap = size > 0 && end[0] !== 10 ? "\n" : "";
    // One write, so that two that add at once give two lines.
    await handle.write(`${gap}${hash ? hashed(name) : name} ${keyType(key)} ${key.toString("base64")}\n`);
  } finally {
    await handle.close();
  }
}

function standsFor(names: string, name: string): boolean {
  if (!names.startsWith("|1|")) return matches(names.toLowerCase().split(","), name.toLowerCase());
  const [, , salt = "", mac = ""] = names.split("|");
  const wanted = Buffer.from(mac, "base64");
  const made = hmac(Buffer.from(salt, "base64"), name);
  return wanted.length === made.length && timingSafeEqual(wanted, made);
}

function hmac(salt: Buffer, name: string): Buffer {
  return createHmac("sha1", salt).update(name.toLowerCase()).digest();
}

function hashed(name: string): string {
  const salt = randomBytes(20);
  return `|1|${salt.toString("base64")}|${hmac(salt, name).toString("base64")}`;
}
