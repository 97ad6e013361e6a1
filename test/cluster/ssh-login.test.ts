import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openSsh } from "../../kernel-lib/src/cluster/ssh.js";
import type { Transport } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { sharedBed, type Variant } from "../support/bed.js";
import { Person } from "../support/person.js";
import { Sandbox } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
const lines: Transport[] = [];
const agents: number[] = [];
const before = process.env.SSH_AUTH_SOCK;

beforeEach(async () => {
  await bed.reset();
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
  delete process.env.SSH_AUTH_SOCK;
});
afterEach(async () => {
  await Promise.all(lines.splice(0).map((line) => line.close()));
  for (const pid of agents.splice(0)) process.kill(pid);
  if (before === undefined) delete process.env.SSH_AUTH_SOCK;
  else process.env.SSH_AUTH_SOCK = before;
  await box.close();
});

interface Way {
  changes?: Partial<ClusterConfig>;
  interactive?: boolean;
  signal?: AbortSignal;
}

async function open(variant: Variant, person: Person = new Person(), way: Way = {}): Promise<Transport> {
  const { changes, ...options } = way;
  const line = await openSsh(await bed.cluster(variant, changes), { ask: person.ask, ...options });
  lines.push(line);
  person.done();
  return line;
}

const config = () => join(box.home, ".ssh", "config");
const known = () => join(box.home, ".ssh", "known_hosts");
/** A cluster by its `Host` in ~/.ssh/config, without a key of its own. */
const byAlias = (variant: Variant): Partial<ClusterConfig> => {
  const none = { identity: undefined, user: undefined, port: undefined } as unknown as Partial<ClusterConfig>;
  return { ...none, host: `${bed.name}-${variant}` };
};

/** Starts an ssh-agent that holds keys of the bed. */
function agent(...names: string[]): void {
  const socket = join(box.home, "agent");
  const said = execFileSync("ssh-agent", ["-a", socket, "-s"], { encoding: "utf8" });
  agents.push(Number(/SSH_AGENT_PID=(\d+)/.exec(said)?.[1]));
  process.env.SSH_AUTH_SOCK = socket;
  for (const name of names)
    execFileSync("ssh-add", ["-q", bed.key(name)], { env: { ...process.env, SSH_AUTH_SOCK: socket } });
}

async function failure(
  opening: Promise<unknown>,
): Promise<{ code: string; what: string; fix: string; message: string }> {
  return await opening.then(
    () => Promise.reject(new Error("It was opened.")),
    (error) => error,
  );
}

describe("keys", () => {
  it.each(["id_ed25519", "id_ecdsa", "id_rsa"])("logs in with %s and asks nobody", async (name) => {
    const line = await open("key", undefined, { changes: { identity: bed.key(name) }, interactive: false });
    expect((await line.exec(["id", "-un"])).stdout).toBe(`${bed.user}\n`);
    expect(line.asked).toBe(false);
  });

  it("asks for a passphrase, again with the words, only when the key is wanted, and keeps nothing of it", async () => {
    const person = new Person("wrong", "also wrong", bed.passphrase);
    const changes = { identity: bed.key("id_passphrase") };
    const line = await open("key", person, { changes });
    expect(line.asked).toBe(true);
    expect(person.asked.map((q) => [q.kind, q.attempt, q.text])).toEqual([
      ["passphrase", 1, ""],
      ["passphrase", 2, "The passphrase was wrong."],
      ["passphrase", 3, "The passphrase was wrong."],
    ]);
    expect(person.asked[0]?.fields).toEqual([{ label: `Passphrase of ${bed.key("id_passphrase")}:`, echo: false }]);

    const other = join(box.home, ".ssh", "config");
    appendFileSync(other, `Host twokeys\n  HostName 127.0.0.1\n  Port ${bed.ports.key}\n  User ${bed.user}\n`);
    appendFileSync(other, `  IdentityFile ${bed.key()}\n  IdentityFile ${bed.key("id_passphrase")}\n`);
    await open("key", undefined, { changes: { ...byAlias("key"), host: "twokeys" } });
  });

  it("gives a key up after three wrong passphrases, and the login if the person declines", async () => {
    const changes = { identity: bed.key("id_passphrase") };
    const wrong = new Person("a", "b", "c");
    const first = await failure(open("key", wrong, { changes }));
    expect(first).toMatchObject({ code: "login", what: expect.stringContaining("accepted no key") });
    expect(first.what).toContain("wrong 3 times");
    const declined = await failure(open("key", new Person(null), { changes }));
    expect(declined).toMatchObject({ code: "login", what: expect.stringContaining("cancelled") });
    const nobody = await failure(open("key", undefined, { changes, interactive: false }));
    expect(nobody).toMatchObject({ code: "login", what: expect.stringContaining("needs the passphrase") });
  });

  it("says which keys were refused, and what else could be wrong", async () => {
    const error = await failure(open("key", undefined, { changes: { identity: bed.key("id_stranger") } }));
    expect(error).toMatchObject({ code: "login", what: expect.stringContaining("accepted no key") });
    expect(error.what).toContain(bed.key("id_stranger"));
    expect(error.fix).toContain("transport: openssh");
  });

  it("takes the keys of an agent, also where a second factor follows", async () => {
    agent("id_stranger", "id_ecdsa", "id_ed25519");
    writeFileSync(config(), "");
    const changes = { ...byAlias("key"), host: "127.0.0.1", port: bed.ports.key, user: bed.user };
    const line = await open("key", undefined, { changes });
    expect(line.asked).toBe(false);
    const person = new Person("1");
    await open("duo", person, { changes: { ...changes, port: bed.ports.duo } });
    const totp = new Person(() => bed.totp());
    await open("totp", totp, { changes: { ...changes, port: bed.ports.totp } });
  });

  it("lets an agent unlock the configured key, and offers no other with IdentitiesOnly", async () => {
    agent();
    // ssh-add asks by a terminal or a helper.
    const helper = join(box.home, "askpass");
    writeFileSync(helper, `#!/bin/sh\necho '${bed.passphrase}'\n`);
    chmodSync(helper, 0o755);
    const env = { ...process.env, SSH_ASKPASS: helper, SSH_ASKPASS_REQUIRE: "force" };
    execFileSync("ssh-add", ["-q", bed.key("id_passphrase")], { env });
    await open("key", undefined, { changes: { identity: bed.key("id_passphrase") }, interactive: false });

    execFileSync("ssh-add", ["-q", bed.key()], { env });
    const text = readFileSync(config(), "utf8").replaceAll(bed.key(), bed.key("id_stranger"));
    writeFileSync(config(), text);
    const error = await failure(open("key", undefined, { changes: byAlias("key") }));
    expect(error.what).toContain("id_stranger");
    expect(error.what).not.toContain("id_ed25519");
  });

  it("goes on without an agent that does not answer", async () => {
    const server = createServer();
    process.env.SSH_AUTH_SOCK = join(box.home, "dead");
    await open("key");
    process.env.SSH_AUTH_SOCK = join(box.home, "hung");
    await new Promise<void>((resolve) => server.listen(join(box.home, "hung"), resolve));
    await open("key");
    server.close();
  });

  it("refuses what only OpenSSH can do, and says so", async () => {
    const authority = await failure(open("cert"));
    expect(authority).toMatchObject({ code: "host_key", fix: expect.stringContaining("transport: openssh") });
    const key = readFileSync(join(bed.state, "sshd", "host_ed25519.pub"), "utf8")
      .split(" ")
      .slice(0, 2)
      .join(" ");
    writeFileSync(known(), `[127.0.0.1]:${bed.ports.cert} ${key}\n`);
    const refused = await failure(open("cert", undefined, { changes: { identity: bed.key("id_certified") } }));
    expect(refused).toMatchObject({ code: "login", fix: expect.stringContaining("transport: openssh") });
  });
});

describe("second factors", () => {
  it("asks Duo's menu in the server's words and sends the push that was chosen", async () => {
    const person = new Person("1");
    const start = Date.now();
    const line = await open("duo", person);
    const [question] = person.asked;
    expect(question).toMatchObject({
      cluster: "duo",
      kind: "second_factor",
      fields: [{ label: "Passcode or option (1-1):", echo: true }],
      choices: [{ value: "1", label: "Duo Push to XXX-XXX-1234" }],
      attempt: 1,
    });
    expect(question?.text).toContain(`Duo two-factor login for ${bed.user}\n\nEnter a passcode`);
    expect(question?.text).toContain("toy cluster for tests");
    const stands = Date.parse(question?.expiresAt ?? "") - start;
    expect(stands).toBeGreaterThan(60_000);
    // sshd ends a login after 120 s.
    expect(stands).toBeLessThan(120_000);
    expect(line.asked).toBe(true);
    expect(line.greeting).toContain("toy cluster for tests");
    expect(line.greeting).toContain("Success. Logging you in...");
  });

  it("waits for a push", async () => {
    bed.push({ delay: 3 });
    await open("duo", new Person("1"));
  });

  it("asks again in the same connection after a wrong passcode", async () => {
    const connections = bed.connections("duo");
    const person = new Person("000000", () => bed.passcode());
    await open("duo", person);
    expect(person.asked.map((q) => q.attempt)).toEqual([1, 2]);
    expect(person.asked[1]?.text).toContain("Incorrect passcode. Please try again.");
    expect(bed.connections("duo")).toBe(connections + 1);
  });

  it.each(["deny", "timeout"] as const)("never repeats a push by itself (%s)", async (how) => {
    bed.push(how);
    const connections = bed.connections("duo");
    const person = new Person("1", null);
    const error = await failure(open("duo", person));
    expect(error).toMatchObject({ code: "login", what: expect.stringContaining("cancelled") });
    expect(person.asked).toHaveLength(2);
    expect(person.asked[1]).toMatchObject({ attempt: 2 });
    expect(person.asked[1]?.text).toContain(how === "deny" ? "Login request denied." : "Login timed out.");
    expect(bed.connections("duo")).toBe(connections + 1);
  });

  it("takes a push that is approved at the second try", async () => {
    bed.push("deny");
    const again = () => {
      bed.push("approve");
      return "1";
    };
    await open("duo", new Person("1", again));
  });

  it("reads longer menus, and ends when the server has had enough", async () => {
    const person = new Person("3", () => bed.passcode());
    await open("menu", person);
    expect(person.asked[0]?.choices.map((c) => c.value)).toEqual(["1", "2", "3"]);
    expect(person.asked[1]?.text).toContain("New SMS passcodes sent.");

    const stubborn = new Person("0", "0", "0", "0", "0", "0");
    const error = await failure(open("menu", stubborn));
    expect(error).toMatchObject({
      code: "login",
      what: expect.stringMatching(/too many failures|refused the second factor/),
    });
    expect(stubborn.asked.map((q) => q.attempt)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("asks for a time-based code, and again in the same connection", async () => {
    const connections = bed.connections("totp");
    const person = new Person("000000", () => bed.totp());
    await open("totp", person);
    expect(person.asked.map((q) => [q.kind, q.attempt, q.fields[0]?.echo])).toEqual([
      ["second_factor", 1, false],
      ["second_factor", 2, false],
    ]);
    expect(bed.connections("totp")).toBe(connections + 1);
  });

  it("asks password and code in rounds of their own", async () => {
    const person = new Person(
      "wrong",
      () => bed.password(),
      () => bed.totp(),
    );
    await open("password", person);
    expect(person.asked.map((q) => [q.kind, q.attempt])).toEqual([
      ["password", 1],
      ["password", 2],
      ["second_factor", 1],
    ]);
  });

  it("asks for the password of SSH's own method, which may send a push, anew for each try", async () => {
    const person = new Person("wrong", () => bed.password());
    await open("method", person);
    expect(person.asked.map((q) => [q.kind, q.attempt])).toEqual([
      ["password", 1],
      ["password", 2],
    ]);
    bed.push("deny");
    const again = new Person(
      () => bed.password(),
      () => {
        bed.push("approve");
        return bed.password();
      },
    );
    await open("method", again);
    bed.push("deny");
    const enough = new Person(() => bed.password(), null);
    expect(await failure(open("method", enough))).toMatchObject({
      code: "login",
      what: expect.stringContaining("cancelled"),
    });
  });

  it("finds the second factor inside the session, and opens no such line without a person", async () => {
    bed.push("deny");
    const refused = await failure(open("command"));
    expect(refused).toMatchObject({ code: "login", what: expect.stringContaining("login_duo") });
    const connections = bed.connections("command");
    const silent = await failure(open("command", undefined, { interactive: false }));
    expect(silent).toMatchObject({ code: "login", what: expect.stringContaining("would send a push") });
    expect(bed.connections("command")).toBe(connections);
    bed.push("approve");
    const line = await open("command");
    expect(line.asked).toBe(true);
    expect((await line.exec(["id", "-un"])).stdout).toBe(`${bed.user}\n`);
  });

  it("starts nothing that could send a push when nobody is to be asked", async () => {
    const rounds = () => bed.log("sshd-duo").split("keyboard-interactive").length;
    const [connections, started] = [bed.connections("duo"), rounds()];
    const error = await failure(open("duo", undefined, { interactive: false }));
    expect(error).toMatchObject({ code: "login", fix: expect.stringContaining("yale login duo") });
    expect(bed.connections("duo")).toBe(connections + 1);
    expect(rounds()).toBe(started);
    for (const variant of ["password", "method"] as const)
      expect(await failure(open(variant, undefined, { interactive: false }))).toMatchObject({ code: "login" });
  });

  it("withdraws its question when it is interrupted, and when the line goes", async () => {
    const abort = new AbortController();
    const withdrawn = (_: unknown, signal?: AbortSignal) =>
      new Promise<null>((resolve) => signal?.addEventListener("abort", () => resolve(null)));
    const stopped = new Person((question, signal) => {
      queueMicrotask(() => abort.abort());
      return withdrawn(question, signal);
    });
    expect(await failure(open("duo", stopped, { signal: abort.signal }))).toMatchObject({ code: "interrupted" });
    const cut = new Person((question, signal) => {
      void bed.cut("duo");
      return withdrawn(question, signal);
    });
    const error = await failure(open("duo", cut));
    expect(error).toMatchObject({
      code: "login",
      what: expect.stringContaining("closed the line in the course of the login"),
    });
  });

  it("lets no answer into its errors", async () => {
    const secrets = ["hunter2-password", "987654", "a-passphrase"];
    const errors = [
      await failure(open("password", new Person(secrets[0] ?? "", null))),
      await failure(open("method", new Person(secrets[0] ?? "", null))),
      await failure(open("totp", new Person(secrets[1] ?? "", null))),
      await failure(open("duo", new Person(secrets[1] ?? "", null))),
      await failure(
        open("key", new Person(...Array.from({ length: 3 }, () => secrets[2] ?? "")), {
          changes: { identity: bed.key("id_passphrase") },
        }),
      ),
    ];
    const told = errors.map((e) => `${JSON.stringify(e)} ${e.message} ${(e as unknown as Error).stack}`).join();
    for (const secret of secrets) expect(told).not.toContain(secret);
  });
});

describe("host keys", () => {
  it("refuses a changed key, with the line and what to do", async () => {
    const error = await failure(open("changed"));
    expect(error).toMatchObject({ code: "host_key", what: expect.stringContaining("has changed") });
    expect(error.what).toMatch(/known_hosts:\d+ has SHA256:/);
    expect(error.fix).toContain(`ssh-keygen -R '[127.0.0.1]:${bed.ports.changed}'`);
  });

  it("shows the fingerprint of an unknown host, and remembers it when it is confirmed", async () => {
    rmSync(known());
    const no = await failure(open("key", new Person("no")));
    expect(no).toMatchObject({ code: "host_key", what: expect.stringContaining("not confirmed") });
    expect(await failure(open("key", new Person(null)))).toMatchObject({ code: "host_key" });
    expect(await failure(open("key", undefined, { interactive: false }))).toMatchObject({ code: "login" });
    const person = new Person("yes");
    const line = await open("key", person);
    const print = execFileSync("ssh-keygen", ["-l", "-f", join(bed.state, "sshd", "host_ed25519.pub")], {
      encoding: "utf8",
    });
    expect(person.asked[0]).toMatchObject({
      kind: "host_key",
      text: expect.stringContaining(print.split(" ")[1] ?? "?"),
    });
    expect(person.asked[0]?.text).toContain("ssh-ed25519");
    // It will not be asked again, so the line may come back by itself.
    expect(line.asked).toBe(false);
    expect(statSync(known()).mode & 0o777).toBe(0o600);
    await open("key", undefined, { interactive: false });
  });

  it("hides the name where HashKnownHosts says so, and takes the fingerprint for an answer", async () => {
    rmSync(known());
    writeFileSync(config(), "HashKnownHosts yes\n");
    const fingerprint = (q: { text: string }) => /SHA256:\S+/.exec(q.text)?.[0];
    await open("key", new Person(fingerprint));
    expect(readFileSync(known(), "utf8")).toMatch(/^\|1\|/);
    await open("key");
  });

  it("asks nobody with StrictHostKeyChecking yes", async () => {
    rmSync(known());
    writeFileSync(config(), "StrictHostKeyChecking yes\n");
    expect(await failure(open("key"))).toMatchObject({
      code: "host_key",
      what: expect.stringContaining("StrictHostKeyChecking"),
    });
  });

  it("refuses a revoked key", async () => {
    const key = readFileSync(join(bed.state, "sshd", "host_ed25519.pub"), "utf8")
      .split(" ")
      .slice(0, 2)
      .join(" ");
    appendFileSync(known(), `@revoked * ${key}\n`);
    expect(await failure(open("key"))).toMatchObject({ code: "host_key", what: expect.stringContaining("revoked") });
  });
});

describe("jump hosts", () => {
  it("goes over one, over two, and asks for each", async () => {
    appendFileSync(
      config(),
      `Host ${bed.name}-two\n  HostName 127.0.0.1\n  Port ${bed.ports.key}\n  User ${bed.user}\n`,
    );
    appendFileSync(config(), `  IdentityFile ${bed.key()}\n  ProxyJump ${bed.name}-few,${bed.name}-totp\n`);
    const line = await open("key", undefined, { changes: { proxyJump: `${bed.user}@127.0.0.1:${bed.ports.few}` } });
    expect((await line.exec(["printenv", "SSH_CONNECTION"])).stdout).toMatch(
      new RegExp(` 127.0.0.1 ${bed.ports.key}\n$`),
    );
    const person = new Person(() => bed.totp());
    const two = await open("key", person, { changes: { ...byAlias("key"), host: `${bed.name}-two` } });
    expect(two.asked).toBe(true);
    const duo = new Person("1");
    await open("duo", duo, { changes: { proxyJump: `${bed.name}-key` } });
  });

  it("checks their host keys, and is lost with them", async () => {
    const changed = await failure(open("key", undefined, { changes: { proxyJump: `${bed.name}-changed` } }));
    expect(changed).toMatchObject({ code: "host_key", what: expect.stringContaining(String(bed.ports.changed)) });
    const line = await open("key", undefined, { changes: { proxyJump: `${bed.name}-few` } });
    const pending = failure(line.exec(["sleep", "600"], { timeout: 100_000 }));
    await bed.cut("few");
    expect(await pending).toMatchObject({ code: "connection" });
    expect(await line.lost).toMatchObject({ code: "connection" });
  });

  it("says that a jump host can't go on", async () => {
    const error = await failure(open("key", undefined, { changes: { port: 1, proxyJump: `${bed.name}-key` } }));
    expect(error).toMatchObject({ code: "connection", what: expect.stringContaining("jump host can't reach") });
  });
});

describe("lines that can't be made", () => {
  it("tells a host that does not exist from one that refuses", async () => {
    const nowhere = await failure(open("key", undefined, { changes: { host: "no-such-host.invalid" } }));
    expect(nowhere).toMatchObject({
      code: "connection",
      what: expect.stringContaining("no host no-such-host.invalid"),
    });
    const refused = await failure(open("key", undefined, { changes: { port: 1 } }));
    expect(refused).toMatchObject({ code: "connection", what: expect.stringContaining("refused the connection") });
  });

  it("waits no longer than ConnectTimeout for an answer, but for a person", async () => {
    writeFileSync(config(), "ConnectTimeout 1\n");
    // An address that belongs to nobody (RFC 5737); what comes of it is the network's business, but it comes soon.
    const start = Date.now();
    const nobody = await failure(open("key", undefined, { changes: { host: "198.51.100.1" } }));
    expect(nobody).toMatchObject({ code: "connection" });
    expect(Date.now() - start).toBeLessThan(10_000);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const silent = await failure(open("key", undefined, { changes: { port } }));
    expect(silent).toMatchObject({ code: "connection", what: expect.stringContaining("nothing came for 1 s") });
    server.close();
    rmSync(known());
    await open("key", new Person(() => new Promise((resolve) => setTimeout(() => resolve("yes"), 2_500))));
  });

  it("knows a server that has too many logins, and one that is none", async () => {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const busy = await failure(open("key", undefined, { changes: { port } }));
    expect(busy).toMatchObject({ code: "connection", fix: expect.stringContaining("MaxStartups") });
    server.removeAllListeners("connection");
    server.on("connection", (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    expect(await failure(open("key", undefined, { changes: { port } }))).toMatchObject({ code: "connection" });
    server.close();
  });

  it("names a locked account's session as what it is", async () => {
    // A login shell that says why it lets nobody in, as /usr/sbin/nologin and sites' own do.
    const shell = join(bed.state, "sshd", "closed");
    writeFileSync(shell, "#!/bin/sh\necho 'This account is closed; write to research.computing.'\nexit 1\n");
    chmodSync(shell, 0o755);
    execFileSync("usermod", ["-s", shell, bed.otherUser]);
    try {
      const error = await failure(open("key", undefined, { changes: { user: bed.otherUser } }));
      expect(error).toMatchObject({ code: "login", what: expect.stringContaining("This account is closed") });
    } finally {
      execFileSync("usermod", ["-s", "/bin/bash", bed.otherUser]);
    }
  });
});
