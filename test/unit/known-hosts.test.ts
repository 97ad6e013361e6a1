import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  addKnownHost,
  fingerprint,
  hostKeyName,
  judge,
  keyType,
  knownAlgorithms,
  readKnownHosts,
} from "../../kernel-lib/src/cluster/known-hosts.js";

let folder = "";
const keys: Record<string, Buffer> = {};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "yale-known-"));
  for (const [name, type] of [
    ["a", "ed25519"],
    ["b", "ed25519"],
    ["ec", "ecdsa"],
    ["rsa", "rsa"],
  ] as const) {
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-f", join(folder, name)]);
    keys[name] = Buffer.from(readFileSync(join(folder, `${name}.pub`), "utf8").split(" ")[1] ?? "", "base64");
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const key = (name: string) => keys[name] ?? Buffer.alloc(0);
const line = (names: string, name: string, mark = "") =>
  `${mark}${names} ${keyType(key(name))} ${key(name).toString("base64")} comment\n`;

async function status(text: string, host: string, port: number, shown: string, alias?: string): Promise<string> {
  const file = join(folder, "known");
  writeFileSync(file, text);
  return judge(await readKnownHosts([file], host, port, alias), key(shown)).status;
}

/** The same lines as OpenSSH's own tool hides them. */
function hide(text: string): string {
  const file = join(folder, "hidden");
  writeFileSync(file, text);
  execFileSync("ssh-keygen", ["-q", "-H", "-f", file], { stdio: "ignore" });
  return readFileSync(file, "utf8");
}

describe("known_hosts", () => {
  it.each([
    ["a name", () => line("login.x", "a"), "login.x", 22, "a", "known"],
    ["another key of that kind", () => line("login.x", "b"), "login.x", 22, "a", "changed"],
    ["one of two keys of a kind", () => line("login.x", "b") + line("login.x", "a"), "login.x", 22, "a", "known"],
    ["nothing", () => line("other.x", "a"), "login.x", 22, "a", "unknown"],
    ["names and addresses", () => line("login.x,10.0.0.1,login", "a"), "10.0.0.1", 22, "a", "known"],
    ["capitals", () => line("Login.X", "a"), "login.x", 22, "a", "known"],
    ["a port", () => line("[login.x]:2222", "a"), "login.x", 2222, "a", "known"],
    ["a port with another key", () => line("[login.x]:2222", "b"), "login.x", 2222, "a", "changed"],
    ["another port", () => line("[login.x]:2222", "a"), "login.x", 22, "a", "unknown"],
    ["the same key without the port", () => line("login.x", "a"), "login.x", 2222, "a", "known"],
    ["another key without the port", () => line("login.x", "b"), "login.x", 2222, "a", "unknown"],
    ["a wildcard", () => line("*.x", "a"), "login.x", 22, "a", "known"],
    ["a question mark", () => line("login?.x", "a"), "login1.x", 22, "a", "known"],
    ["a negation", () => line("*.x,!login.x", "a"), "login.x", 22, "a", "unknown"],
    ["a dot that is no wildcard", () => line("login.x", "a"), "loginax", 22, "a", "unknown"],
    ["a revoked key", () => line("login.x", "a") + line("*", "a", "@revoked "), "login.x", 22, "a", "revoked"],
    ["another revoked key", () => line("login.x", "a") + line("*", "b", "@revoked "), "login.x", 22, "a", "known"],
    ["an authority", () => line("*.x", "b", "@cert-authority "), "login.x", 22, "a", "authority"],
    [
      "an authority beside a key",
      () => line("*.x", "b", "@cert-authority ") + line("login.x", "a"),
      "login.x",
      22,
      "a",
      "known",
    ],
    ["an authority's own key", () => line("*.x", "a", "@cert-authority "), "login.x", 22, "a", "authority"],
    ["a hidden name", () => hide(line("login.x", "a")), "login.x", 22, "a", "known"],
    ["a hidden name, another key", () => hide(line("login.x", "b")), "login.x", 22, "a", "changed"],
    ["a hidden name, another host", () => hide(line("login.x", "a")), "login.y", 22, "a", "unknown"],
    ["a hidden port", () => hide(line("[login.x]:2222", "a")), "login.x", 2222, "a", "known"],
    ["another kind", () => line("login.x", "rsa"), "login.x", 22, "a", "unknown"],
    ["rsa", () => line("login.x", "rsa"), "login.x", 22, "rsa", "known"],
    ["an unknown mark", () => line("login.x", "a", "@other "), "login.x", 22, "a", "unknown"],
    [
      "lines that are none",
      () => `# login.x\n\n|1|x\nlogin.x ssh-ed25519 AAAA\n${line("login.x", "a")}`,
      "login.x",
      22,
      "a",
      "known",
    ],
    [
      "a kind that the key does not have",
      () => line("login.x", "a").replace("ssh-ed25519", "ssh-rsa"),
      "login.x",
      22,
      "a",
      "unknown",
    ],
  ] as const)("with %s", async (_what, text, host, port, shown, expected) => {
    expect(await status(text(), host, port, shown)).toBe(expected);
  });

  it("goes by HostKeyAlias, without a port", async () => {
    expect(await status(line("cluster", "a"), "10.0.0.1", 2222, "a", "cluster")).toBe("known");
    expect(await status(line("[10.0.0.1]:2222", "a"), "10.0.0.1", 2222, "a", "cluster")).toBe("unknown");
  });

  it("says what else a host is known by, and asks for that kind first", async () => {
    const file = join(folder, "known");
    writeFileSync(file, line("login.x", "rsa"));
    const entries = await readKnownHosts([file, join(folder, "missing")], "login.x", 22);
    expect(judge(entries, key("a"))).toMatchObject({ status: "unknown", others: [{ file, line: 1, type: "ssh-rsa" }] });
    expect(knownAlgorithms(entries, ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"])).toEqual([
      "rsa-sha2-512",
      "rsa-sha2-256",
      "ssh-ed25519",
    ]);
  });

  it("gives the fingerprint that ssh-keygen gives", () => {
    const said = execFileSync("ssh-keygen", ["-l", "-f", join(folder, "a.pub")], { encoding: "utf8" });
    expect(said).toContain(` ${fingerprint(key("a"))} `);
  });

  it.each([false, true])("adds a host that ssh-keygen then finds (hidden: %s)", async (hash) => {
    const file = join(folder, `new-${hash}`, "known_hosts");
    await addKnownHost(file, hostKeyName("login.x", 2222), key("a"), hash);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    // A last line without an end is not spoilt.
    writeFileSync(file, readFileSync(file, "utf8").trimEnd());
    await addKnownHost(file, "login.y", key("b"), hash);
    expect(readFileSync(file, "utf8").includes("login")).toBe(!hash);
    for (const name of ["[login.x]:2222", "login.y"])
      expect(execFileSync("ssh-keygen", ["-F", name, "-f", file], { encoding: "utf8" })).toContain("found: line");
    expect(judge(await readKnownHosts([file], "login.x", 2222), key("a")).status).toBe("known");
    expect(judge(await readKnownHosts([file], "login.y", 22), key("b")).status).toBe("known");
  });

  it("adds side by side without losing one", async () => {
    const file = join(folder, "many");
    mkdirSync(folder, { recursive: true });
    await Promise.all(Array.from({ length: 20 }, (_, i) => addKnownHost(file, `host${i}`, key("a"), false)));
    expect(readFileSync(file, "utf8").trim().split("\n")).toHaveLength(20);
  });
});
