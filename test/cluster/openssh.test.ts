import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openOpenSsh } from "../../kernel-lib/src/cluster/openssh.js";
import { Askpass } from "../../kernel-lib/src/cluster/openssh-ask.js";
import { guarded } from "../../kernel-lib/src/cluster/shell.js";
import type { LoginOptions, Question, Transport } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { ConnectionError, HostKeyError, InterruptedError, LoginError } from "../../kernel-lib/src/errors.js";
import { sharedBed, type Variant } from "../support/bed.js";
import { Sandbox, until } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
let questions: Question[] = [];
const open: Transport[] = [];

beforeEach(async () => {
  await bed.reset();
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
  questions = [];
});
afterEach(async () => {
  for (const transport of open.splice(0)) await transport.close();
  // Nothing of a login stays behind.
  expect(leftovers()).toEqual([]);
  await box.close();
});

function leftovers(): string[] {
  try {
    return readdirSync(join(box.home, "run", "yale-jobs"));
  } catch {
    return [];
  }
}

/** Opens a line; each question takes the next answer, and one too many is an error. */
async function login(
  variant: Variant,
  answers: (string | null | (() => string))[] = [],
  changes: Partial<ClusterConfig> = {},
  options: Partial<LoginOptions> = {},
): Promise<Transport> {
  const ask = async (question: Question) => {
    questions.push(question);
    const answer = answers.shift();
    if (answer === undefined) throw new LoginError(`Not expected: ${question.text}`);
    return answer === null ? null : [typeof answer === "string" ? answer : answer()];
  };
  const cluster = await bed.cluster(variant, { transport: "openssh", ...changes });
  const transport = await openOpenSsh(cluster, { ask, ...options });
  open.push(transport);
  return transport;
}

async function works(transport: Transport): Promise<void> {
  expect((await transport.exec(["id", "-un"])).stdout).toBe(`${bed.user}\n`);
}

describe("a login through OpenSSH", () => {
  it("needs nobody where a key is enough, and one authentication however much is done", async () => {
    const before = bed.authentications("key");
    const line = await login("key");
    await Promise.all(Array.from({ length: 20 }, () => works(line)));
    await (await line.sftp()).stat("/");
    expect([line.asked, questions.length]).toEqual([false, 0]);
    expect(bed.authentications("key")).toBe(before + 1);
  });

  it("asks for Duo with the server's words and choices", async () => {
    bed.push({ delay: 1 });
    const line = await login("duo", ["1"]);
    await works(line);
    expect(line.asked).toBe(true);
    expect(questions).toMatchObject([
      {
        cluster: "duo",
        kind: "second_factor",
        text: expect.stringMatching(/^\*\*\* .* a toy cluster for tests\. \*\*\*\nDuo two-factor login for /),
        fields: [{ label: "Passcode or option (1-1):", echo: true }],
        choices: [{ value: "1", label: "Duo Push to XXX-XXX-1234" }],
        attempt: 1,
      },
    ]);
  });

  it("asks again after a wrong passcode, with the server's words, on the same connection", async () => {
    const before = bed.connections("menu");
    await works(await login("menu", ["000000", () => bed.passcode()]));
    expect(questions.map((q) => q.attempt)).toEqual([1, 2]);
    expect(questions[1]?.text).toContain("Incorrect passcode. Please try again.");
    expect(questions[1]?.choices.map((c) => c.value)).toEqual(["1", "2", "3"]);
    expect(bed.connections("menu")).toBe(before + 1);
  });

  it("asks for password and code, in one round each", async () => {
    await works(await login("totp", ["000000", () => bed.totp()]));
    expect(questions.map((q) => [q.kind, q.attempt])).toEqual([
      ["second_factor", 1],
      ["second_factor", 2],
    ]);
    questions = [];
    await works(await login("password", [bed.password(), () => bed.totp()]));
    expect(questions.map((q) => [q.kind, q.fields[0]?.echo])).toEqual([
      ["password", false],
      ["second_factor", false],
    ]);
  });

  it("asks for the password of SSH's own method", async () => {
    await works(await login("method", ["wrong", bed.password()]));
    expect(questions.map((q) => [q.kind, q.attempt])).toEqual([
      ["password", 1],
      ["password", 2],
    ]);
  });

  it("takes a certificate, and believes a host by its authority", async () => {
    const line = await login("cert");
    await works(line);
    expect(bed.log("sshd-cert")).toContain("ED25519-CERT");
  });

  it("asks for the passphrase of a key", async () => {
    await works(await login("key", ["wrong", bed.passphrase], { identity: bed.key("id_passphrase") }));
    expect(questions.map((q) => [q.kind, q.fields[0]?.echo])).toEqual([
      ["passphrase", false],
      ["passphrase", false],
    ]);
    expect(questions[0]?.text).toContain("id_passphrase");
  });

  it("goes by a name of ~/.ssh/config", async () => {
    const cluster: ClusterConfig = { ...(await bed.cluster("key")), name: "mine", host: `${bed.name}-key` };
    const { port: _port, user: _user, identity: _identity, ...rest } = cluster;
    const line = await openOpenSsh(rest, { ask: () => Promise.reject(new Error("Nobody is to be asked.")) });
    open.push(line);
    await works(line);
  });
});

describe("other ways in through OpenSSH", () => {
  it("go over a jump host, which asks too", async () => {
    const before = bed.authentications("totp");
    await works(await login("duo", [() => bed.totp(), "1"], { proxyJump: `${bed.name}-totp` }));
    expect(questions.map((q) => q.fields[0]?.label)).toEqual([
      `One-time password (OATH) for \`${bed.user}':`,
      "Passcode or option (1-1):",
    ]);
    expect(bed.authentications("totp")).toBe(before + 1);
  });

  it("find the second factor inside the session, and open no such line without a person", async () => {
    const line = await login("command");
    await works(line);
    expect([line.asked, questions.length]).toEqual([true, 0]);
    const before = bed.connections("command");
    await expect(login("command", [], {}, { interactive: false })).rejects.toThrow(/inside each session/);
    expect(bed.connections("command")).toBe(before);
    bed.push("deny");
    await expect(login("command")).rejects.toThrow(/refused the session without a word/);
  });

  it("show what the server says at the end", async () => {
    expect((await login("duo", ["1"])).greeting).toContain("Success. Logging you in...");
  });

  // No security key is at hand here; this is what ssh does with one: it starts its helper, and ends it at the touch.
  it("tell of a key that wants to be touched, and take that back", async () => {
    const folder = join(box.home, "ask");
    mkdirSync(folder, { mode: 0o700 });
    let told: (signal: AbortSignal | undefined) => void = () => undefined;
    const asked = new Promise<AbortSignal | undefined>((resolve) => {
      told = resolve;
    });
    const ask: LoginOptions["ask"] = (question, signal) => {
      questions.push(question);
      told(signal);
      return new Promise((resolve) => signal?.addEventListener("abort", () => resolve(null)));
    };
    const askpass = new Askpass({ folder, cluster: "fido", ask, said: () => "" });
    const env = await askpass.open();
    const words = "Confirm user presence for key ED25519-SK SHA256:abc";
    const helper = spawn(env.SSH_ASKPASS ?? "", [words], {
      env: { ...process.env, ...env, SSH_ASKPASS_PROMPT: "none" },
    });
    const ended = once(helper, "close");
    const signal = await asked;
    expect(questions).toMatchObject([{ kind: "second_factor", text: words, fields: [], choices: [] }]);
    expect(signal?.aborted).toBe(false);
    helper.kill();
    await until("the end of the question", () => signal?.aborted === true);
    let failed = false;
    void askpass.failed.then(() => {
      failed = true;
    });
    await ended;
    expect(failed).toBe(false);
    askpass.close();
  });
});

describe("what a login through OpenSSH refuses", () => {
  it("a push that is denied, a wrong password, a question that is declined", async () => {
    bed.push("deny");
    await expect(login("duo", ["1", "1", "1"])).rejects.toThrow(/duo|Not expected/);
    const before = bed.connections("duo");
    await expect(login("duo", [null])).rejects.toThrow(LoginError);
    expect(bed.connections("duo")).toBe(before + 1);
    await expect(login("key", [], { identity: bed.key("id_stranger") })).rejects.toThrow(
      /refused the login: .*Permission denied \(publickey\)/,
    );
  });

  it("to ask, if it must not", async () => {
    await expect(login("duo", [], {}, { interactive: false })).rejects.toThrow(LoginError);
    expect(questions).toEqual([]);
    await works(await login("key", [], {}, { interactive: false }));
  });

  it("a host key that has changed", async () => {
    const before = bed.authentications("changed");
    const error = await login("changed").catch((e: unknown) => e);
    expect(error).toBeInstanceOf(HostKeyError);
    expect(String(error)).toMatch(/is not the one that is known: it shows SHA256:.*ssh-keygen -R/s);
    expect(bed.authentications("changed")).toBe(before);
  });

  it("a host key that is revoked", async () => {
    const key = readFileSync(join(bed.state, "sshd", "host_ed25519.pub"), "utf8");
    writeFileSync(join(box.home, ".ssh", "known_hosts"), `@revoked * ${key}`);
    const error = await login("key").catch((e: unknown) => e);
    expect(error).toBeInstanceOf(HostKeyError);
    expect(String(error)).toContain("is revoked");
  });

  it("an unknown host, unless its fingerprint is confirmed; then it is known", async () => {
    const known = join(box.home, ".ssh", "known_hosts");
    const shown = execFileSync("ssh-keygen", ["-lf", join(bed.state, "sshd", "host_ed25519.pub")], {
      encoding: "utf8",
    });
    const fingerprint = /SHA256:\S+/.exec(shown)?.[0] ?? "?";
    writeFileSync(known, "");
    await expect(login("key", ["no"])).rejects.toThrow(HostKeyError);
    expect(questions).toMatchObject([
      { kind: "host_key", text: expect.stringContaining(fingerprint), choices: [{ value: "yes" }, { value: "no" }] },
    ]);
    expect(readFileSync(known, "utf8")).toBe("");
    await expect(login("key", [], {}, { interactive: false })).rejects.toThrow(LoginError);
    await works(await login("key", ["yes"]));
    expect(readFileSync(known, "utf8")).toContain(`[127.0.0.1]:${bed.ports.key} `);
    await works(await login("key"));
  });

  it("where there is nobody", async () => {
    await expect(login("key", [], { port: 1 })).rejects.toThrow(ConnectionError);
    await expect(login("key", [], { host: "no-such-host.invalid" })).rejects.toThrow(ConnectionError);
  });

  it("to go on when it is interrupted, while it asks and while a push waits", async () => {
    for (const answer of [() => new Promise<string[]>(() => undefined), async () => ["1"]]) {
      bed.push({ delay: 60 });
      const abort = new AbortController();
      const asked = new Promise<void>((resolve) => {
        const ask = async () => {
          resolve();
          return answer();
        };
        void bed
          .cluster("duo", { transport: "openssh" })
          .then((cluster) => openOpenSsh(cluster, { ask, signal: abort.signal }))
          .catch((error: unknown) => errors.push(error));
      });
      const errors: unknown[] = [];
      await asked;
      abort.abort();
      await until("the end of the login", () => errors.length === 1);
      expect(errors[0]).toBeInstanceOf(InterruptedError);
    }
  });
});

describe("a master connection of OpenSSH", () => {
  it("leaves no secret in arguments, environments, files or logs", async () => {
    const code = bed.passcode();
    const seen = new Set<string>();
    const looking = setInterval(() => {
      for (const text of processes()) if (text.includes(code)) seen.add(text);
    }, 5);
    const line = await login("duo", [code]);
    await works(line);
    await line.sftp();
    clearInterval(looking);
    for (const text of [...processes(), ...files(box.home)]) if (text.includes(code)) seen.add(text);
    expect([...seen]).toEqual([]);
    expect(files(box.home).length).toBeGreaterThan(0);
  });

  it("keeps its sockets where nobody else can go", async () => {
    await login("key");
    const [folder = ""] = leftovers();
    expect(statSync(join(box.home, "run", "yale-jobs", folder)).mode & 0o777).toBe(0o700);
    expect(statSync(join(box.home, "run", "yale-jobs", folder, "master")).isSocket()).toBe(true);
  });

  it("that was cut is not opened again by what would use it", async () => {
    const line = await login("key");
    await line.exec(["true"], { shared: true });
    const before = bed.connections("key");
    await bed.cut("key");
    for (let i = 0; i < 3; i++) {
      await expect(line.exec(["true"])).rejects.toThrow(ConnectionError);
      await expect(line.exec(["true"], { shared: true })).rejects.toThrow(ConnectionError);
      await expect(line.sftp()).rejects.toThrow(ConnectionError);
    }
    expect(await line.lost).toBeInstanceOf(ConnectionError);
    expect(bed.connections("key")).toBe(before);
  });

  it("ends with the process that opened it", async () => {
    const [program = "", ...args] = guarded(["sh", "-c", "echo $$; exec sleep 300"]);
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "ignore", "pipe"] });
    const [pid] = (await once(child.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
    // What the kernel does when a process dies, however it does.
    (child.stdio[3] as { destroy(): void }).destroy();
    await once(child, "close");
    await until(
      "the end",
      () => !processes("stat").some((s) => s.startsWith(`${Number(pid)} `) && !s.includes(") Z ")),
    );
    const failing = guarded(["sh", "-c", "exit 7"]);
    const second = spawn(failing[0] ?? "", failing.slice(1), { stdio: ["ignore", "ignore", "inherit", "pipe"] });
    expect(await once(second, "close")).toEqual([7, null]);
  });
});

describe("the user's own connection", () => {
  let master: ChildProcess;
  let control: string;
  beforeEach(async () => {
    control = join(box.home, "m");
    const config = join(box.home, ".ssh", "config");
    writeFileSync(config, `ControlPath ${control}\n${readFileSync(config, "utf8")}`);
    master = spawn("ssh", ["-F", config, "-M", "-N", `${bed.name}-key`], { stdio: "ignore" });
    await until("the user's own connection", () => statSync(control, { throwIfNoEntry: false }) !== undefined);
  });
  afterEach(() => master.kill());

  it("is used, and never closed", async () => {
    const before = bed.connections("key");
    const line = await login("key");
    await works(line);
    expect((await line.exec(["echo", "shared"], { shared: true })).stdout).toBe("shared\n");
    expect(await (await line.sftp()).realpath("/")).toBe("/");
    expect(line.asked).toBe(false);
    await line.close();
    await expect(line.exec(["true"])).rejects.toThrow(ConnectionError);
    expect(bed.connections("key")).toBe(before);
    execFileSync("ssh", ["-S", control, "-O", "check", "x"], { stdio: "ignore" });
    expect(master.exitCode).toBeNull();
  });

  it("that has fallen silent is found out within 30 s, though it knows no keepalive", async () => {
    const line = await login("key");
    await bed.stall("key");
    const began = Date.now();
    try {
      await expect(line.exec(["true"])).rejects.toThrow(ConnectionError);
      expect(await line.lost).toBeInstanceOf(ConnectionError);
    } finally {
      await bed.resume("key");
    }
    expect(Date.now() - began).toBeLessThan(30_000);
  });

  it("tells when it is lost", async () => {
    const line = await login("key");
    const flying = line.exec(["sleep", "300"]);
    flying.catch(() => undefined);
    await works(line);
    await bed.cut("key");
    await expect(flying).rejects.toThrow(ConnectionError);
    expect(await line.lost).toBeInstanceOf(ConnectionError);
  });
});

/** What each process of this machine shows of itself. */
function processes(...names: string[]): string[] {
  const wanted = names.length > 0 ? names : ["cmdline", "environ"];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .flatMap((pid) =>
      wanted.map((name) => {
        try {
          return readFileSync(`/proc/${pid}/${name}`, "latin1");
        } catch {
          return "";
        }
      }),
    );
}

/** Content of every file below a folder. */
function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) => readFileSync(join(e.parentPath, e.name), "latin1"));
}
