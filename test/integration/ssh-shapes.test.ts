import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type AuthContext, Client, type Connection, type KeyboardAuthContext, Server } from "ssh2";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openSsh } from "../../kernel-lib/src/cluster/ssh.js";
import { signalChannel, stillAlive, storePadding, watchLogin } from "../../kernel-lib/src/cluster/ssh2-private.js";
import type { Transport } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { knowHost, makeHostKey } from "../support/host-key.js";
import { Person } from "../support/person.js";
import { Sandbox } from "../support/sandbox.js";

/**
 * Logins that OpenSSH's own server never asks for in one piece: several fields in one round, rounds without any, pushes
 * sent before anything was asked, hostile words. ssh2's Server plays them.
 */
let box: Sandbox;
let server: Server | undefined;
let line: Transport | undefined;
let hostKeys: string[] = [];

beforeEach(() => {
  box = new Sandbox().enter();
  mkdirSync(join(box.home, ".ssh"), { mode: 0o700 });
  hostKeys = (["ed25519", "ecdsa"] as const).map((type) => makeHostKey(box.home, type));
});
afterEach(async () => {
  await line?.close();
  server?.close();
  server = line = undefined;
  await box.close();
});

/** A server that lets in whom `login` accepts, and whose sessions are those of this machine's `sh`. */
async function serve(login: (context: AuthContext, connection: Connection) => void): Promise<ClusterConfig> {
  server = new Server({ hostKeys, banner: "Welcome, and wait.\n" }, (connection) => {
    connection.on("error", () => undefined);
    connection.on("authentication", (context) => login(context, connection));
    connection.on("session", (accept) => {
      accept().on("exec", (acceptExec, _reject, { command }) => {
        const stream = acceptExec();
        // Enough of a shell for the first session.
        let script = "";
        stream.on("data", (chunk: Buffer) => {
          script += chunk.toString();
          if (!script.endsWith("\n")) return;
          const said = execFileSync("sh", ["-c", script], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
          const errors = /printf (\w+)B >&2/.exec(script)?.[1];
          if (errors !== undefined) stream.stderr.write(`${errors}B${errors}E\n`);
          script = "";
          stream.write(said);
        });
        expect(command).toBe("exec /bin/sh");
      });
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  knowHost(box.home, port, hostKeys[0] ?? "");
  return { name: "shapes", transport: "ssh", host: "127.0.0.1", port, user: "ada" } as ClusterConfig;
}

/** Accepts nothing but keyboard-interactive. */
function rounds(play: (context: KeyboardAuthContext) => void): (context: AuthContext) => void {
  return (context) =>
    context.method === "keyboard-interactive" ? play(context) : context.reject(["keyboard-interactive"]);
}

async function login(cluster: ClusterConfig, person: Person): Promise<Transport> {
  line = await openSsh(cluster, { ask: person.ask });
  person.done();
  return line;
}

describe("keyboard-interactive", () => {
  it("asks several fields of one round at once", async () => {
    const cluster = await serve(
      rounds((context) => {
        const fields = [
          { prompt: "Password: ", echo: false },
          { prompt: "Passcode: ", echo: true },
        ];
        context.prompt(fields, "Two steps", "Answer both.", (answers) =>
          answers.join() === "secret,123456" ? context.accept() : context.reject(["keyboard-interactive"]),
        );
      }),
    );
    const person = new Person(
      () => ["secret", "000000"],
      () => ["secret", "123456"],
    );
    await login(cluster, person);
    expect(person.asked[0]).toMatchObject({
      kind: "second_factor",
      attempt: 1,
      text: "Welcome, and wait.\nTwo steps\nAnswer both.\nPassword:\nPasscode:",
      fields: [
        { label: "Password:", echo: false },
        { label: "Passcode:", echo: true },
      ],
      choices: [],
    });
    expect(person.asked[1]?.attempt).toBe(2);
  });

  it("passes over rounds that ask nothing, and loses none of their words", async () => {
    const cluster = await serve(
      rounds((context) => {
        context.prompt([], "Duo", "Autopushing login request to phone...", () => {
          context.prompt([{ prompt: "Code: ", echo: false }], "", "", () => {
            context.prompt([], "", "Success. Logging you in...", () => context.accept());
          });
        });
      }),
    );
    const person = new Person("1");
    const open = await login(cluster, person);
    expect(person.asked[0]?.text).toBe("Welcome, and wait.\nDuo\nAutopushing login request to phone...\nCode:");
    expect(open.greeting).toContain("Success. Logging you in...");
  });

  it("asks before it lets a server push again that pushes without being asked", async () => {
    let pushes = 0;
    const cluster = await serve(
      rounds((context) => {
        pushes += 1;
        context.prompt([], "", "Pushed a login request to your device...", () => {
          if (pushes === 3) context.accept();
          else context.prompt([], "", "Login request denied.", () => context.reject(["keyboard-interactive"]));
        });
      }),
    );
    const person = new Person(
      () => {
        expect(pushes).toBe(1);
        return "yes";
      },
      () => {
        expect(pushes).toBe(2);
        return "yes";
      },
    );
    await login(cluster, person);
    expect(person.asked[0]).toMatchObject({ attempt: 2, choices: [{ value: "yes" }, { value: "no" }] });
    expect(person.asked[0]?.text).toContain("Login request denied.");
    await line?.close();

    pushes = 0;
    const refused = await openSsh(cluster, { ask: new Person("no").ask }).catch((error) => error);
    expect(refused).toMatchObject({ code: "login", what: expect.stringContaining("cancelled") });
    expect(pushes).toBe(1);
  });

  it("tells what the server said when it refuses for good, freed of what a terminal would obey", async () => {
    const cluster = await serve(
      rounds((context) => {
        context.prompt([{ prompt: "Code: ", echo: false }], "", "", () => {
          context.prompt([], "", "Your account is \u001b[2Jlocked.\r\nCall us.", () => context.reject([]));
        });
      }),
    );
    const error = await openSsh(cluster, { ask: new Person("123456").ask }).catch((e) => e);
    expect(error).toMatchObject({
      code: "login",
      what: expect.stringContaining("“Your account is [2Jlocked. Call us.”"),
    });
    expect(JSON.stringify(error)).not.toContain("123456");
  });

  it("says that a password must be changed first", async () => {
    const cluster = await serve((context) => {
      if (context.method !== "password") return context.reject(["password"]);
      context.requestChange("Your password has expired.", () => undefined);
    });
    const error = await openSsh(cluster, { ask: new Person("old").ask }).catch((e) => e);
    expect(error).toMatchObject({ code: "login", what: expect.stringContaining("wants a new password") });
    expect(error.what).toContain("Your password has expired.");
  });

  it("names the ways that it can't go", async () => {
    const cluster = await serve((context) => context.reject(["gssapi-with-mic", "hostbased"] as never));
    const error = await openSsh(cluster, { ask: new Person().ask }).catch((e) => e);
    expect(error).toMatchObject({ code: "login", fix: expect.stringContaining("transport: openssh") });
    expect(error.what).toContain("gssapi-with-mic or hostbased");
  });

  it("is told when the server ends the login", async () => {
    const cluster = await serve((context, connection) => {
      if (context.method === "none") return context.reject(["keyboard-interactive"]);
      connection.end();
    });
    const error = await openSsh(cluster, { ask: new Person().ask }).catch((e) => e);
    expect(error).toMatchObject({
      code: "login",
      what: expect.stringContaining("closed the line in the course of the login"),
    });
  });
});

it("asks a host for the kind of key that it is known by, so that another is not taken for a change", async () => {
  const cluster = await serve((context) => context.accept());
  knowHost(box.home, cluster.port ?? 0, hostKeys[1] ?? "");
  await login(cluster, new Person());
});

it("finds in ssh2 what it keeps to itself", () => {
  const client = new Client();
  client.on("error", () => undefined);
  const watch = { failure: () => undefined, round: () => undefined };
  expect(() => watchLogin(client, watch)).toThrow("lacks what Yale Jobs needs");
  expect(() => storePadding(client)).toThrow("lacks what Yale Jobs needs");
  client.connect({ host: "127.0.0.1", port: 1, username: "nobody" });
  watchLogin(client, watch);
  stillAlive(client);
  expect(() => signalChannel(client, {} as never, "KILL")).toThrow("lacks what Yale Jobs needs");
  client.destroy();
});

it("finds the ciphers of ssh2 whose padding it stores", async () => {
  const { port = 0 } = await serve((context) => context.accept());
  const client = new Client();
  client.connect({ host: "127.0.0.1", port, username: "ada", algorithms: { cipher: ["aes128-gcm@openssh.com"] } });
  await once(client, "ready");
  storePadding(client);
  const { _cipher: cipher } = (client as unknown as { _protocol: { _cipher: { allocPacket(n: number): Buffer } } })
    ._protocol;
  expect(Object.hasOwn(cipher, "allocPacket")).toBe(true);
  const [packet, other] = [cipher.allocPacket(10), cipher.allocPacket(10)];
  // RFC 4253, 6 and RFC 5647, 7.2: what is encrypted fills blocks of 16, with at least four random bytes at its end.
  expect([packet.readUInt32BE(0), packet[4]]).toEqual([16, 5]);
  for (const n of [0, 1, 11, 12, 13, 32_768]) {
    const size = cipher.allocPacket(n).readUInt32BE(0);
    expect(size % 16).toBe(0);
    expect(size - 1 - n).toBeGreaterThanOrEqual(4);
    expect(size - 1 - n).toBeLessThan(20);
  }
  expect(packet.subarray(15, 20).equals(other.subarray(15, 20))).toBe(false);
  client.end();
  await once(client, "close");
});
