import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openSsh } from "../../kernel-lib/src/cluster/ssh.js";
import { readFile, type Transport, writeFile } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { processStart } from "../../kernel-lib/src/process.js";
import { sharedBed, type Variant } from "../support/bed.js";
import { Person } from "../support/person.js";
import { Sandbox, until } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
const lines: Transport[] = [];

beforeEach(async () => {
  await bed.reset();
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
});
afterEach(async () => {
  await Promise.all(lines.splice(0).map((line) => line.close()));
  await box.close();
});

async function open(variant: Variant, changes: Partial<ClusterConfig> = {}): Promise<Transport> {
  const line = await openSsh(await bed.cluster(variant, changes), { ask: new Person().ask });
  lines.push(line);
  return line;
}

/** Sessions that sshd has opened for commands and files since the bed came up. */
const sessions = (variant: Variant) => bed.log(`sshd-${variant}`).split("Starting session:").length - 1;

async function* chunks(count: number, size: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield Buffer.alloc(size, i);
}

describe("commands", () => {
  it("gives code, signal, output and error output", async () => {
    const line = await open("key");
    expect(await line.exec(["sh", "-c", "printf out; printf err >&2; exit 7"])).toEqual({
      code: 7,
      stdout: "out",
      stderr: "err",
    });
    expect(await line.exec(["sh", "-c", "kill -TERM $$"])).toEqual({
      code: null,
      signal: "SIGTERM",
      stdout: "",
      stderr: "",
    });
    expect((await line.exec(["no-such-program"])).code).toBe(127);
    expect((await line.exec(["pwd"], { cwd: "/tmp" })).stdout).toBe("/tmp\n");
    expect((await line.exec(["true"], { cwd: "/no such" })).code).not.toBe(0);
    // Nothing to read is the end of the input, not a wait.
    expect(await line.exec(["cat"])).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it("takes nothing that words are made of for a command", async () => {
    const line = await open("key");
    const words = [
      "",
      " ",
      "a b",
      "'",
      '"',
      "\\",
      "\\\\",
      "$(id)",
      "`id`",
      "$HOME",
      "!!",
      "~",
      "*",
      "a\nb\n",
      "-n",
      "--",
      "é 📜",
      "=ls",
      "%self",
      "{a,b}",
      "#",
      ";",
      "&",
      "|",
      "<",
      ">",
      "\t",
      "\r",
      "^a^b",
    ];
    const print = ["python3", "-c", "import sys; sys.stdout.write('\\0'.join(sys.argv[1:]))"];
    expect((await line.exec([...print, ...words])).stdout.split("\u0000")).toEqual(words);
    expect((await line.exec([...print, ...words], { shared: true })).stdout.split("\u0000")).toEqual(words);
    const folder = bed.home("a 'folder' $(id)\n");
    await (await line.sftp()).mkdir(folder);
    for (const shared of [true, false])
      expect((await line.exec(["pwd"], { cwd: folder, shared })).stdout).toBe(`${folder}\n`);
    await expect(line.exec(["echo", "a\u0000b"])).rejects.toMatchObject({ code: "usage" });
    await expect(line.exec(["echo", "x".repeat(200_000)])).rejects.toMatchObject({ code: "usage" });
  });

  it("streams in and out, no faster than the command reads", async () => {
    const line = await open("key");
    const sum = createHash("sha256");
    for await (const chunk of chunks(64, 1 << 20)) sum.update(chunk);
    const hashed = await line.exec(["sha256sum"], { input: chunks(64, 1 << 20) });
    expect(hashed.stdout.slice(0, 64)).toBe(sum.digest("hex"));

    let taken = 0;
    async function* counted(): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunks(64, 1 << 20)) {
        taken += 1;
        yield chunk;
      }
    }
    // Two windows of 2 MiB, here and there, and what the pipe holds; the rest stays where it is.
    expect((await line.exec(["sh", "-c", "sleep 1; head -c 1 >/dev/null"], { input: counted() })).code).toBe(0);
    expect(taken).toBeLessThan(10);

    let bytes = 0;
    const out = await line.exec(["head", "-c", "100000000", "/dev/zero"], {
      onStdout: (chunk) => (bytes += chunk.length),
    });
    expect([bytes, out.stdout, out.code]).toEqual([100_000_000, "", 0]);
    expect((await line.exec(["cat"], { input: "text\n" })).stdout).toBe("text\n");
    expect((await line.exec(["wc", "-c"], { input: new Uint8Array(5_000_000) })).stdout.trim()).toBe("5000000");
  });

  it("passes on what goes wrong with the input, and ends the command", async () => {
    const line = await open("key");
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("a");
      throw new Error("the disk is gone");
    }
    await expect(line.exec(["cat"], { input: broken() })).rejects.toThrow("the disk is gone");
    expect((await line.exec(["echo", "on"])).stdout).toBe("on\n");
  });

  it.each([false, true])(
    "ends a command on the far side at its deadline and when it is interrupted (shared: %s)",
    async (shared) => {
      const line = await open("key");
      const pidfile = bed.home(`pid-${shared}`);
      const pid = () => Number(existsSync(pidfile) && readFileSync(pidfile, "utf8").trim());
      const hang = ["sh", "-c", `echo $$ >${pidfile}; trap '' HUP TERM; sleep 600`];
      await expect(line.exec(hang, { timeout: 1_500, shared })).rejects.toMatchObject({
        code: "connection",
        what: "sh did not end within 1.5 s.",
      });
      const first = await until("the command to have begun", pid);
      await line.exec(["true"], { shared });
      await until("it to be ended", () => processStart(first) === undefined);

      const abort = new AbortController();
      const interrupted = line.exec(hang, { signal: abort.signal, shared });
      interrupted.catch(() => undefined);
      const second = await until("it to begin again", () => pid() !== first && pid());
      abort.abort();
      await expect(interrupted).rejects.toMatchObject({ code: "interrupted" });
      await line.exec(["true"], { shared });
      await until("it to be ended", () => processStart(second) === undefined);
      const before = AbortSignal.abort();
      await expect(line.exec(["true"], { signal: before, shared })).rejects.toMatchObject({ code: "interrupted" });
    },
  );

  it("bounds what it keeps", async () => {
    const line = await open("key");
    await expect(line.exec(["yes"])).rejects.toMatchObject({
      code: "connection",
      what: expect.stringContaining("64 MiB"),
    });
    await expect(line.exec(["yes"], { shared: true })).rejects.toMatchObject({
      what: expect.stringContaining("16 MiB"),
    });
    expect((await line.exec(["echo", "on"], { shared: true })).stdout).toBe("on\n");
  });

  it("runs short ones in one session, and forty at once in eight", async () => {
    const line = await open("key");
    const before = sessions("key");
    for (let i = 0; i < 20; i++) expect((await line.exec(["echo", String(i)], { shared: true })).stdout).toBe(`${i}\n`);
    expect(sessions("key")).toBe(before);
    const many = await Promise.all(
      Array.from({ length: 40 }, (_, i) => line.exec(["sh", "-c", `sleep 0.1; echo ${i}`])),
    );
    expect(many.map((r) => r.stdout)).toEqual(many.map((_, i) => `${i}\n`));
  });

  it("says where start-up files spoil the channel for files, and what they say in place of a command", async () => {
    const rc = bed.home(".bashrc");
    writeFileSync(rc, "echo 'Welcome to the cluster'\necho 'module loaded' >&2\n");
    try {
      const line = await open("key");
      // Bash reads .bashrc for a subsystem, too, and its words come where SFTP's first packet should.
      await expect(line.sftp()).rejects.toMatchObject({ code: "connection", fix: expect.stringContaining(".bashrc") });
      writeFileSync(rc, "echo 'You are over quota.'\nexit 9\n");
      expect(await line.exec(["echo", "mine"])).toEqual({ code: 9, stdout: "You are over quota.\n", stderr: "" });
    } finally {
      writeFileSync(rc, "");
    }
  });
});

describe("files", () => {
  it("speaks the whole contract", async () => {
    const line = await open("key");
    const sftp = await line.sftp();
    const home = await sftp.realpath(".");
    expect(home).toBe(bed.home());
    const at = (name: string) => `${home}/files-${process.pid}/${name}`;
    await sftp.mkdir(at("a/b/c"), 0o700);
    await sftp.mkdir(at("a/b/c"));
    await Promise.all([1, 2, 3].map(() => sftp.mkdir(at("at/once"))));
    expect((await sftp.stat(at("a/b"))).mode).toBe(0o700);

    const data = randomBytes(5_000_001);
    await writeFile(sftp, at("data"), data, 0o640);
    expect(Buffer.compare(Buffer.from(await readFile(sftp, at("data"))), data)).toBe(0);
    expect(await sftp.stat(at("data"))).toMatchObject({ size: 5_000_001, type: "file", mode: 0o640 });
    expect(Math.abs((await sftp.stat(at("data"))).mtime - Date.now())).toBeLessThan(60_000);
    const handle = await sftp.open(at("data"), "r+");
    // Fewer only at the end, wherever the pieces are cut.
    for (const [length, position] of [
      [1 << 20, 4_900_000],
      [261_120, 0],
      [261_121, 1],
      [522_240, 4_477_761],
      [10, 9_000_000],
      [0, 0],
    ] as const)
      expect(
        Buffer.compare(Buffer.from(await handle.read(length, position)), data.subarray(position, position + length)),
      ).toBe(0);
    await handle.write(Buffer.from("tail"), 5_000_001);
    await handle.sync();
    await handle.close();
    expect((await sftp.stat(at("data"))).size).toBe(5_000_005);
    truncateSync(at("data"), 0);
    expect((await readFile(sftp, at("data"))).length).toBe(0);

    await sftp.symlink("data", at("link"));
    expect(await sftp.readlink(at("link"))).toBe("data");
    expect([(await sftp.stat(at("link"), { link: true })).type, (await sftp.stat(at("link"))).type]).toEqual([
      "symlink",
      "file",
    ]);
    expect((await sftp.readdir(at(""))).map((e) => [e.name, e.stat.type]).sort()).toEqual([
      ["a", "directory"],
      ["at", "directory"],
      ["data", "file"],
      ["link", "symlink"],
    ]);
    await writeFile(sftp, at("other"), "other");
    await sftp.rename(at("other"), at("data"));
    expect(readFileSync(at("data"), "utf8")).toBe("other");
    await sftp.chmod(at("data"), 0o600);
    expect(statSync(at("data")).mode & 0o777).toBe(0o600);
    expect((await sftp.free(home))?.bytes).toBeGreaterThan(1 << 20);
    await sftp.unlink(at("link"));
    await sftp.rmdir(at("a/b/c"));
  });

  it("gives the codes that local files give", async () => {
    const sftp = await (await open("key")).sftp();
    const home = await sftp.realpath(".");
    const missing = [
      () => sftp.stat(`${home}/none`),
      () => sftp.open(`${home}/none`, "r"),
      () => sftp.readdir(`${home}/none`),
      () => sftp.unlink(`${home}/none`),
      () => sftp.rename(`${home}/none`, `${home}/other`),
    ];
    for (const call of missing)
      await expect(call()).rejects.toMatchObject({ code: "ENOENT", message: expect.stringContaining(`${home}/none`) });
    const forbidden = [
      () => sftp.readdir("/root"),
      () => sftp.open("/etc/shadow", "r"),
      () => sftp.mkdir("/usr/yale"),
      () => sftp.open("/usr/yale", "w"),
    ];
    for (const call of forbidden) await expect(call()).rejects.toMatchObject({ code: "EACCES" });
    await (await sftp.open(`${home}/once`, "w")).close();
    await expect(sftp.open(`${home}/once`, "wx")).rejects.toMatchObject({ code: "EEXIST" });
    await expect(sftp.mkdir(`${home}/once`)).rejects.toMatchObject({ code: "EEXIST" });
    await expect(sftp.stat("/a\u0000b")).rejects.toMatchObject({ code: "usage" });
    await sftp.mkdir(`${home}/full/one`);
    await expect(sftp.rmdir(`${home}/full`)).rejects.toMatchObject({ code: "EIO" });
    const full = await sftp.open("/dev/full", "r+");
    await expect(full.write(Buffer.from("x"), 0)).rejects.toMatchObject({ code: expect.stringMatching(/ENOSPC|EIO/) });
  });

  it("keeps names as they are", async () => {
    const sftp = await (await open("key")).sftp();
    const folder = `${await sftp.realpath(".")}/names-${process.pid}`;
    await sftp.mkdir(folder);
    const names = ["$(touch x)", "a b", "'", '"', "-rf", "é📜", "new\nline", "a;b", "*", "\\", "~"];
    for (const name of names) await writeFile(sftp, `${folder}/${name}`, name);
    expect((await sftp.readdir(folder)).map((e) => e.name).sort()).toEqual([...names].sort());
  });

  it("has a channel again after one has ended", async () => {
    const line = await open("key");
    const sftp = await line.sftp();
    const home = await sftp.realpath(".");
    const handle = await sftp.open(`${home}/ended`, "w");
    const servers = execFileSync("ps", ["-u", bed.user, "-o", "pid=,comm="], { encoding: "utf8" });
    for (const [, pid] of servers.matchAll(/(\d+) sftp-server/g)) process.kill(Number(pid), "SIGKILL");
    await expect(handle.write(randomBytes(3_000_000), 0)).rejects.toMatchObject({ code: "connection" });
    expect((await sftp.stat(home)).type).toBe("directory");
    expect((await line.exec(["true"], { shared: true })).code).toBe(0);
  });
});

describe("a site with few sessions", () => {
  it("shares two among commands, the shell and four channels for files", async () => {
    const line = await open("few");
    const channels = await Promise.all([0, 1, 2, 3].map((n) => line.sftp(n)));
    const home = await channels[0]?.realpath(".");
    const work = Array.from({ length: 8 }, async (_, i) => {
      const sftp = channels[i % 4];
      await writeFile(sftp as never, `${home}/few-${i}`, randomBytes(300_000));
      const own = await line.exec(["wc", "-c"], { input: chunks(3, 100_000) });
      const shared = await line.exec(["echo", String(i)], { shared: true });
      return [own.stdout.trim(), shared.stdout, (await sftp?.stat(`${home}/few-${i}`))?.size];
    });
    expect(await Promise.all(work)).toEqual(work.map((_, i) => ["300000", `${i}\n`, 300_000]));
  });

  it("gives up neither a file that is open nor a command that runs", async () => {
    const line = await open("few");
    const sftp = await line.sftp();
    const handle = await sftp.open(bed.home("kept"), "w");
    const slow = line.exec(["sh", "-c", "sleep 0.5; echo done"], { shared: true });
    const own = line.exec(["echo", "own"]);
    await handle.write(Buffer.from("kept"), 0);
    expect((await slow).stdout).toBe("done\n");
    expect((await own).stdout).toBe("own\n");
    await handle.close();
    expect(readFileSync(bed.home("kept"), "utf8")).toBe("kept");
  });
});

describe("a line that goes", () => {
  it("settles every call in flight, and says that it is gone", async () => {
    const line = await open("key");
    const sftp = await line.sftp();
    const home = await sftp.realpath(".");
    const handle = await sftp.open(`${home}/gone`, "r+");
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield Buffer.alloc(1 << 16);
    }
    const calls = [
      line.exec(["sleep", "600"], { timeout: 600_000 }),
      line.exec(["sleep", "600"], { timeout: 600_000, shared: true }),
      line.exec(["sh", "-c", "cat >/dev/null; sleep 600"], { timeout: 600_000, input: endless() }),
      ...Array.from({ length: 8 }, () => line.exec(["sleep", "600"], { timeout: 600_000 })),
      handle.write(Buffer.alloc(64 << 20), 0),
      handle.read(1 << 20, 0),
      ...Array.from({ length: 50 }, (_, i) => sftp.readdir(i % 2 === 0 ? "/usr/lib" : "/usr/bin")),
      line.sftp(1),
      line.sftp(2),
    ];
    const settled = Promise.allSettled(calls);
    await bed.cut("key");
    for (const result of await settled)
      if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "connection" });
    expect(await line.lost).toMatchObject({ code: "connection", what: expect.stringContaining("lost") });
    for (const after of [
      line.exec(["true"]),
      line.exec(["true"], { shared: true }),
      sftp.stat(home),
      line.sftp(),
      handle.write(Buffer.alloc(1), 0),
    ])
      await expect(after).rejects.toMatchObject({ code: "connection" });
    await line.close();
  });

  it("is found within 30 seconds when it only falls silent", async () => {
    const line = await open("key");
    const pending = line.exec(["sleep", "600"], { timeout: 600_000 });
    const start = Date.now();
    await bed.stall("key");
    await expect(pending).rejects.toMatchObject({ code: "connection" });
    expect(await line.lost).toMatchObject({ what: expect.stringContaining("nothing came from it for 20 s") });
    expect(Date.now() - start).toBeLessThan(30_000);
    await bed.resume("key");
  });

  it("is not taken for lost while an upload keeps it busy", async () => {
    const line = await open("drop");
    bed.dropAfter(undefined);
    const sftp = await line.sftp();
    const handle = await sftp.open(bed.home("busy"), "w");
    await handle.write(Buffer.alloc(32 << 20), 0);
    await handle.close();
    bed.dropAfter(3 << 20);
    const other = await (await open("drop")).sftp();
    const broken = await other.open(bed.home("broken"), "w");
    await expect(broken.write(Buffer.alloc(8 << 20), 0)).rejects.toMatchObject({ code: "connection" });
    expect((await line.exec(["true"])).code).toBe(0);
  });

  it("ends with what was asked of it when it is closed", async () => {
    const line = await open("key");
    const pending = line.exec(["sleep", "600"], { timeout: 600_000 });
    const settled = expect(pending).rejects.toMatchObject({
      code: "connection",
      what: expect.stringContaining("was closed"),
    });
    await line.close();
    await settled;
    expect(await line.lost).toMatchObject({ what: expect.stringContaining("was closed") });
  });
});

describe("login shells that are no sh", () => {
  const shells = ["/bin/dash", "/bin/tcsh", "/usr/bin/fish", "/bin/zsh"].filter((path) => existsSync(path));

  it.each(shells)("works under %s", async (shell) => {
    execFileSync("usermod", ["-s", shell, bed.otherUser]);
    try {
      mkdirSync(join(bed.state, "home", bed.otherUser), { recursive: true });
      const line = await open("key", { user: bed.otherUser });
      const words = ["", "a b", "'", "\\", "\\\\", "$(id)", "!!", "~", "*", "a\nb\n", "é 📜", "=ls", "{a,b}"];
      const print = ["python3", "-c", "import sys; sys.stdout.write('\\0'.join(sys.argv[1:]))", ...words];
      for (const shared of [false, true]) {
        expect((await line.exec(print, { shared })).stdout.split("\u0000")).toEqual(words);
        expect((await line.exec(["sh", "-c", "exit 3"], { shared, cwd: "/tmp" })).code).toBe(3);
        expect((await line.exec(["no-such-program"], { shared })).code).toBe(127);
      }
    } finally {
      execFileSync("usermod", ["-s", "/bin/bash", bed.otherUser]);
    }
  });
});

it("leaves no answer behind in any file of the sandbox", async () => {
  const code = bed.passcode();
  const line = await openSsh(await bed.cluster("duo"), { ask: new Person(code).ask });
  lines.push(line);
  await line.exec(["true"], { shared: true });
  expect(() => execFileSync("grep", ["-r", code, box.home])).toThrow();
});
