import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseDump, sshArguments, sshRoute } from "../../kernel-lib/src/cluster/ssh-config.js";
import { readSshConfig } from "../../kernel-lib/src/cluster/ssh-config-file.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { Sandbox } from "../support/sandbox.js";

let box: Sandbox;
const kept = { PATH: process.env.PATH, SSH_AUTH_SOCK: process.env.SSH_AUTH_SOCK };
beforeEach(() => {
  box = new Sandbox().enter();
  mkdirSync(join(box.home, ".ssh", "config.d"), { recursive: true, mode: 0o700 });
  process.env.SSH_AUTH_SOCK = "/tmp/agent";
});
afterEach(async () => {
  for (const [name, value] of Object.entries(kept))
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  await box.close();
});

function config(text: string, name = "config"): void {
  writeFileSync(join(box.home, ".ssh", name), text, { mode: 0o600 });
}

/** With OpenSSH's client, and without any. */
const READERS = ["ssh -G", "our own reading"] as const;
function use(reader: (typeof READERS)[number]): void {
  if (reader === "our own reading") process.env.PATH = box.home;
}

function cluster(changes: Partial<ClusterConfig>): ClusterConfig {
  return {
    name: "c",
    transport: "ssh",
    scheduler: "slurm",
    jobDir: "~/jobs",
    defaults: {},
    ...changes,
  } as ClusterConfig;
}

describe.each(READERS)("the way to a host by %s", (reader) => {
  beforeEach(() => use(reader));

  it("without any configuration", async () => {
    const [host, ...more] = await sshRoute(cluster({ host: "Login.Example.EDU" }));
    expect(more).toEqual([]);
    expect(host).toMatchObject({
      host: "login.example.edu",
      port: 22,
      user: userInfo().username,
      identitiesOnly: false,
      agent: "/tmp/agent",
      knownHosts: [join(box.home, ".ssh", "known_hosts"), join(box.home, ".ssh", "known_hosts2")],
      strict: false,
    });
    expect(host?.identities).toContain(join(box.home, ".ssh", "id_ed25519"));
  });

  it("of a Host with Include, wildcards, tokens and the first value that counts", async () => {
    config(`
Include config.d/*.conf
Host grace
  HostName %h.example.edu
  User = netid
  Port 2222
  IdentityFile "~/.ssh/my keys/%n-%r"
  IdentityFile ~/.ssh/second
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile ~/.ssh/known_%k /tmp/more
  HashKnownHosts yes
Host *
  User nobody
  HostKeyAlias yale
  StrictHostKeyChecking yes
  ConnectTimeout 7
  AddressFamily inet
`);
    config("Host other\n  User wrong\nHost gr?ce !grave\n  GlobalKnownHostsFile none\n", "config.d/a.conf");
    const [host] = await sshRoute(cluster({ host: "grace" }));
    expect(host).toMatchObject({
      alias: "grace",
      host: "grace.example.edu",
      user: "netid",
      port: 2222,
      identities: [join(box.home, ".ssh/my keys/grace-netid"), join(box.home, ".ssh/second")],
      identitiesOnly: true,
      agent: undefined,
      hostKeyAlias: "yale",
      knownHosts: [join(box.home, ".ssh/known_yale"), "/tmp/more"],
      globalKnownHosts: [],
      hashKnownHosts: true,
      strict: true,
      connectTimeout: 7000,
      family: 4,
    });
  });

  it("of a Match by user, and an agent by a variable", async () => {
    process.env.MY_AGENT = "/tmp/mine";
    config(`
Match originalhost grace user ada
  Port 2201
Match user ben host grace
  Port 2202
Match !host grace
  Port 2203
Match all
  IdentityAgent $MY_AGENT
`);
    const port = async (host: string, user: string) => (await sshRoute(cluster({ host, user })))[0]?.port;
    expect([await port("grace", "ada"), await port("grace", "ben"), await port("misha", "ben")]).toEqual([
      2201, 2202, 2203,
    ]);
    expect((await sshRoute(cluster({ host: "grace" })))[0]?.agent).toBe("/tmp/mine");
    delete process.env.MY_AGENT;
  });

  it("with what config.yaml says above all", async () => {
    const identity = join(box.home, "key");
    writeFileSync(identity, "");
    config("Host grace\n  User netid\n  Port 2222\n  IdentityFile ~/.ssh/first\n  ProxyJump gate\n");
    const way = await sshRoute(cluster({ host: "grace", user: "ada", port: 2200, identity, proxyJump: "none" }));
    expect(way).toHaveLength(1);
    expect(way[0]).toMatchObject({ user: "ada", port: 2200, identities: [identity, join(box.home, ".ssh/first")] });
    await expect(sshRoute(cluster({ host: "grace", identity: join(box.home, "gone") }))).rejects.toThrow(
      "does not exist",
    );
  });

  it("over several jumps, each by its own configuration", async () => {
    config(`
Host grace
  ProxyJump ben@gate:2201,inner
Host gate
  HostName gate.example.edu
  ProxyJump outer
Host inner
  User innie
  ProxyJump never
Host outer
  Port 2203
`);
    const way = await sshRoute(cluster({ host: "grace", user: "ada" }));
    expect(way.map((h) => [h.user, h.host, h.port])).toEqual([
      [userInfo().username, "outer", 2203],
      ["ben", "gate.example.edu", 2201],
      ["innie", "inner", 22],
      ["ada", "grace", 22],
    ]);
    const six = await sshRoute(cluster({ host: "x", proxyJump: "me@[fe80::1]:99" }));
    expect(six[0]).toMatchObject({ user: "me", host: "fe80::1", port: 99 });
  });

  it("never runs in circles, and never takes a name for an option", async () => {
    config("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n");
    await expect(sshRoute(cluster({ host: "a" }))).rejects.toMatchObject({
      code: "config",
      what: expect.stringContaining("jump"),
    });
    for (const host of ["-oProxyCommand=touch x", "a b", "a;b", "$(x)", ""])
      await expect(sshRoute(cluster({ host }))).rejects.toMatchObject({ code: "config" });
    await expect(sshRoute(cluster({ host: "x", user: "-l" }))).rejects.toMatchObject({ code: "config" });
    await expect(sshRoute(cluster({ host: "x", proxyJump: "-oX" }))).rejects.toMatchObject({ code: "config" });
  });

  it("points to OpenSSH for what only it can do", async () => {
    config("Host a\n  ProxyCommand nc %h %p\nHost b\n  RevokedHostKeys /etc/ssh/revoked\n");
    for (const host of ["a", "b"])
      await expect(sshRoute(cluster({ host }))).rejects.toMatchObject({
        fix: expect.stringContaining("transport: openssh"),
      });
  });
});

it("reads as OpenSSH does, option by option", () => {
  config(`
# comment
Host *.edu !bad.edu
	User	tabbed
  Port=2022
Include "config.d/with space.conf"
Host grace.edu "quoted.edu"
  CertificateFile ~/.ssh/a-cert.pub
  CertificateFile ~/.ssh/b-cert.pub
  IdentityFile none
Match host *.edu,!bad.edu
  HostKeyAlias edu
Host bad.edu
  Port 1
`);
  config("Host quoted.edu\n  ProxyJump a,b\nMatch all\n  ConnectTimeout 3\n", "config.d/with space.conf");
  for (const host of ["grace.edu", "bad.edu", "quoted.edu", "GRACE.EDU", "x"]) {
    const dump = parseDump(
      execFileSync("ssh", [...sshArguments(), "-G", "--", host], { encoding: "utf8", stdio: "pipe" }),
    );
    const own = readSshConfig({ host });
    for (const [name, values] of own) {
      // What it leaves out: defaults, and what the system's configuration says, which -F turns off.
      if (["sendenv", "gssapiauthentication", "hashknownhosts"].includes(name) || values[0]?.startsWith("~/.ssh/id_"))
        continue;
      expect([host, name, values]).toEqual([host, name, dump.get(name)]);
    }
  }
});
