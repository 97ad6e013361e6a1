/** Keys of SSH servers that a test plays itself, and their names in a known_hosts. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { utils } from "ssh2";

/** A new private key of a server, as text; its files are `folder/type` and `folder/type.pub`. */
export function makeHostKey(folder: string, type: "ed25519" | "ecdsa"): string {
  const path = join(folder, type);
  execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-f", path]);
  return readFileSync(path, "utf8");
}

/** Lets the known_hosts of a home know the server at a port of loopback by this key, and no other. */
export function knowHost(home: string, port: number, hostKey: string): void {
  const key = utils.parseKey(hostKey);
  if (key instanceof Error) throw key;
  const folder = join(home, ".ssh");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const line = `[127.0.0.1]:${port} ${key.type} ${key.getPublicSSH().toString("base64")}\n`;
  writeFileSync(join(folder, "known_hosts"), line);
}
