import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { TRANSPORTS } from "../../kernel-lib/src/cluster/registry.js";
import { isMissing, readFile, type Sftp, type Transport, writeFile } from "../../kernel-lib/src/cluster/transport.js";
import { ConnectionError, InterruptedError } from "../../kernel-lib/src/errors.js";
import { sharedBed, type Variant } from "../support/bed.js";
import { Sandbox, until } from "../support/sandbox.js";

/** What would hurt a shell, and must arrive as it is. */
const NASTY = [
  "plain",
  "",
  "two words",
  "'single'",
  '"double"',
  "$(touch hurt)",
  "`touch hurt`",
  "$HOME $PATH",
  "line\nbreak\r\n",
  "-n",
  "--help",
  "a;b|c&d>e<f",
  "!history!",
  "*?[a]~",
  "back\\slash\\n",
  "tab\there",
  "#comment",
  "=",
  "ümläut 日本 😀",
  "%s %d",
  "../../..",
];

const bed = sharedBed();
let box: Sandbox;
beforeAll(async () => {
  await bed.reset();
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
});
afterAll(() => box.close());

const nobody = { ask: () => Promise.reject(new Error("Nobody is to be asked.")) };

describe.each(Object.keys(TRANSPORTS) as Transport["kind"][])("the transport %s", (kind) => {
  const open = async (variant: Variant = "key") =>
    TRANSPORTS[kind](await bed.cluster(variant, { transport: kind }), nobody);
  let line: Transport;
  let folder: string;
  beforeAll(async () => {
    line = await open();
    const sftp = await line.sftp();
    folder = `${await sftp.realpath(".")}/contract ${kind}'s ${randomBytes(4).toString("hex")}`;
    if (kind === "local") mkdirSync(folder, { recursive: true });
    else await sftp.mkdir(folder);
  });
  afterAll(async () => {
    await line.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const path = (name: string) => `${folder}/${name}`;

  describe("runs commands", () => {
    it("and tells code, output and signal", async () => {
      const script = "echo out; echo err >&2; exit 3";
      expect(await line.exec(["sh", "-c", script])).toEqual({ code: 3, stdout: "out\n", stderr: "err\n" });
      expect(await line.exec(["true"])).toEqual({ code: 0, stdout: "", stderr: "" });
      expect(await line.exec(["sh", "-c", "exit 255"])).toMatchObject({ code: 255 });
      expect(await line.exec(["sh", "-c", "echo before; kill -9 $$"])).toMatchObject({
        code: null,
        signal: "SIGKILL",
        stdout: "before\n",
      });
      expect((await line.exec(["no-such-program", "x"])).code).toBe(127);
      expect(line.kind).toBe(kind);
      expect(line.asked).toBe(false);
    });

    it.skipIf(kind === "local")("and leaves out what start-up files print", async () => {
      writeFileSync(bed.home(".bashrc"), "echo welcome\necho warning >&2\n");
      try {
        for (const options of [{}, { shared: true }, { cwd: "/" }])
          expect(await line.exec(["echo", "mine"], options)).toEqual({ code: 0, stdout: "mine\n", stderr: "" });
        const parts: Uint8Array[] = [];
        await line.exec(["printf", "a\\nb"], { onStdout: (part) => parts.push(part) });
        expect(Buffer.concat(parts).toString()).toBe("a\nb");
      } finally {
        writeFileSync(bed.home(".bashrc"), "");
      }
    });

    it("and loses nothing of quick ones, many at once", async () => {
      const said = await Promise.all(Array.from({ length: 100 }, (_, i) => line.exec(["echo", String(i)])));
      expect(said).toEqual(said.map((_, i) => ({ code: 0, stdout: `${i}\n`, stderr: "" })));
    });

    it("with standard input from a text, bytes and a stream", async () => {
      expect((await line.exec(["cat"], { input: "täxt\n" })).stdout).toBe("täxt\n");
      expect((await line.exec(["wc", "-c"], { input: new Uint8Array([0, 1, 255]) })).stdout.trim()).toBe("3");
      const parts = Array.from({ length: 40 }, () => randomBytes(64 << 10));
      const sum = createHash("sha256").update(Buffer.concat(parts)).digest("hex");
      async function* stream() {
        yield* parts;
      }
      expect((await line.exec(["sha256sum"], { input: stream() })).stdout).toContain(sum);
      expect((await line.exec(["cat"])).stdout).toBe("");
      // It closes its input long before all is there.
      expect((await line.exec(["head", "-c", "4"], { input: "x".repeat(4 << 20) })).stdout).toBe("xxxx");
    });

    it("with big output, at once and as it comes", async () => {
      const big = ["head", "-c", "8388608", "/dev/zero"];
      expect((await line.exec(big)).stdout.length).toBe(8 << 20);
      let bytes = 0;
      const result = await line.exec(big, {
        onStdout: (chunk) => {
          bytes += chunk.length;
        },
      });
      expect([result.stdout, bytes]).toEqual(["", 8 << 20]);
      let first: number | undefined;
      await line.exec(["sh", "-c", "echo one; sleep 1; echo two"], {
        onStdout: () => {
          first ??= performance.now();
        },
      });
      expect(performance.now() - (first ?? 0)).toBeGreaterThan(800);
    });

    it.each([false, true])("with arguments that would hurt a shell (shared: %s)", async (shared) => {
      const { stdout } = await line.exec(["printf", "%s\\0", ...NASTY], { shared });
      expect(stdout.split("\0").slice(0, -1)).toEqual(NASTY);
      const here = await line.exec(["pwd"], { cwd: folder, shared });
      expect(here).toMatchObject({ code: 0, stdout: `${folder}\n` });
      expect((await line.exec(["ls", "-a"], { cwd: folder, shared })).stdout).toBe(".\n..\n");
      expect((await line.exec(["true"], { cwd: path("nowhere"), shared })).code).not.toBe(0);
    });

    it("and ends what takes too long or is not wanted any more", async () => {
      const lasting = (name: string) => ["sh", "-c", 'echo $$ >"$0"; exec sleep 300', path(name)];
      await expect(line.exec(lasting("late"), { timeout: 1_500 })).rejects.toThrow(ConnectionError);
      const sftp = await line.sftp();
      const abort = new AbortController();
      const aborted = line.exec(lasting("aborted"), { signal: abort.signal });
      const outcome = expect(aborted).rejects.toThrow(InterruptedError);
      await until("the command", () => written(sftp, path("aborted")));
      abort.abort();
      await outcome;
      await expect(line.exec(["true"], { signal: abort.signal })).rejects.toThrow(InterruptedError);
      for (const name of ["late", "aborted"]) {
        const pid = Buffer.from(await readFile(sftp, path(name)))
          .toString()
          .trim();
        // Gone, or dead and not yet buried by its parent.
        const state = ["sh", "-c", "cut -d' ' -f3 /proc/$0/stat 2>/dev/null || echo gone", pid];
        const ended = async () => /^(gone|Z)/.test((await line.exec(state)).stdout);
        await until(`the end of ${name}`, ended);
        await sftp.unlink(path(name));
      }
    });
  });

  describe("shares a shell", () => {
    const shared = { shared: true };

    it("that keeps nothing of one command for the next", async () => {
      expect(await line.exec(["sh", "-c", "echo out; echo err >&2; exit 3"], shared)).toEqual({
        code: 3,
        stdout: "out\n",
        stderr: "err\n",
      });
      const at = (await line.exec(["pwd"], shared)).stdout;
      await line.exec(["cd", folder], shared).catch(() => undefined);
      await line.exec(["export", "LEAK=1"], shared).catch(() => undefined);
      expect((await line.exec(["sh", "-c", "pwd; echo $LEAK"], shared)).stdout).toBe(`${at}\n`);
      expect((await line.exec(["cat"], shared)).stdout).toBe("");
      expect((await line.exec(["no-such-program"], shared)).code).toBe(127);
      const many = await Promise.all(Array.from({ length: 50 }, (_, i) => line.exec(["echo", String(i)], shared)));
      expect(many.map((m) => m.stdout.trim())).toEqual(many.map((_, i) => String(i)));
    });

    it("that survives a command which hangs", async () => {
      await expect(line.exec(["sleep", "300"], { ...shared, timeout: 300 })).rejects.toThrow(ConnectionError);
      expect((await line.exec(["echo", "after"], shared)).stdout).toBe("after\n");
    });

    // On this machine itself the shell of a command is the test's own process.
    it.skipIf(kind === "local")("that survives a command which kills it", async () => {
      await expect(line.exec(["sh", "-c", "kill -9 $PPID"], shared)).rejects.toThrow(ConnectionError);
      expect((await line.exec(["echo", "after"], shared)).stdout).toBe("after\n");
    });
  });

  describe("has files", () => {
    let sftp: Sftp;
    beforeEach(async () => {
      sftp = await line.sftp();
    });
    const text = async (name: string) => Buffer.from(await readFile(sftp, path(name))).toString();

    it("that are written and read at any position", async () => {
      const data = randomBytes(3_000_001);
      const handle = await sftp.open(path("data"), "w");
      // Overlapping calls, the later part first.
      await Promise.all([
        handle.write(data.subarray(1_000_000), 1_000_000),
        handle.write(data.subarray(0, 1_000_000), 0),
      ]);
      await handle.sync();
      await handle.close();
      const reader = await sftp.open(path("data"), "r");
      expect(Buffer.compare(await reader.read(data.length + 100, 0), data)).toBe(0);
      expect(Buffer.compare(await reader.read(5, 2_999_990), data.subarray(2_999_990, 2_999_995))).toBe(0);
      expect((await reader.read(10, data.length)).length).toBe(0);
      await reader.close();
      const patch = await sftp.open(path("data"), "r+");
      await patch.write(Buffer.from("patched"), 10);
      await patch.close();
      const { size, type } = await sftp.stat(path("data"));
      expect([size, type]).toEqual([data.length, "file"]);
      const made = await sftp.open(path("made by r+"), "r+");
      await made.write(Buffer.from("x"), 0);
      await made.close();
      expect(await text("made by r+")).toBe("x");
      const truncated = await sftp.open(path("data"), "w");
      await truncated.close();
      expect((await sftp.stat(path("data"))).size).toBe(0);
    });

    it("that are missing, there already, or folders, and says which", async () => {
      const missing = [
        sftp.stat(path("none")),
        sftp.open(path("none"), "r"),
        sftp.readdir(path("none")),
        sftp.unlink(path("none")),
        sftp.rename(path("none"), path("other")),
        sftp.readlink(path("none")),
        sftp.realpath(path("none/none")),
        sftp.chmod(path("none"), 0o600),
      ];
      for (const outcome of await Promise.allSettled(missing))
        expect([outcome.status, outcome.status === "rejected" && isMissing(outcome.reason)]).toEqual([
          "rejected",
          true,
        ]);
      await writeFile(sftp, path("there"), "1");
      await expect(sftp.open(path("there"), "wx")).rejects.toMatchObject({ code: "EEXIST" });
      await (await sftp.open(path("new"), "wx")).close();
      await expect(sftp.mkdir(path("there"))).rejects.toMatchObject({ code: "EEXIST" });
      if (kind !== "local") await expect(sftp.mkdir("/proc/x")).rejects.toThrow();
    });

    it("in folders that are made with their parents", async () => {
      await sftp.mkdir(path("a/b/c"), 0o700);
      await sftp.mkdir(path("a/b/c"), 0o700);
      await Promise.all(Array.from({ length: 8 }, () => sftp.mkdir(path("p/q/r"))));
      expect(await sftp.stat(path("a/b"))).toMatchObject({ type: "directory", mode: 0o700 });
      await writeFile(sftp, path("a/file"), "1");
      await sftp.symlink("file", path("a/link"));
      const list = (await sftp.readdir(path("a"))).filter((e) => e.name !== "." && e.name !== "..");
      expect(list.map((e) => [e.name, e.stat.type]).sort()).toEqual([
        ["b", "directory"],
        ["file", "file"],
        ["link", "symlink"],
      ]);
      await expect(sftp.rmdir(path("a"))).rejects.toThrow();
      await sftp.rmdir(path("a/b/c"));
      await expect(sftp.stat(path("a/b/c"))).rejects.toMatchObject({ code: "ENOENT" });
    });

    it("that replace each other in one step", async () => {
      await writeFile(sftp, path("old"), "old");
      await writeFile(sftp, path("fresh"), "fresh", 0o640);
      await sftp.rename(path("fresh"), path("old"));
      expect(await text("old")).toBe("fresh");
      expect((await sftp.stat(path("old"))).mode).toBe(0o640);
      await expect(sftp.stat(path("fresh"))).rejects.toMatchObject({ code: "ENOENT" });
      await sftp.chmod(path("old"), 0o400);
      expect((await sftp.stat(path("old"))).mode).toBe(0o400);
      expect(Math.abs((await sftp.stat(path("old"))).mtime - Date.now())).toBeLessThan(60_000);
    });

    it("that are links, real paths and free space", async () => {
      await writeFile(sftp, path("target"), "t");
      await sftp.symlink(path("target"), path("to target"));
      expect(await sftp.readlink(path("to target"))).toBe(path("target"));
      expect((await sftp.stat(path("to target"))).type).toBe("file");
      expect((await sftp.stat(path("to target"), { link: true })).type).toBe("symlink");
      expect(await sftp.realpath(path("a/../to target"))).toBe(path("target"));
      const free = await sftp.free(folder);
      expect(free?.bytes).toBeGreaterThan(1 << 20);
      expect(free?.files).toBeGreaterThan(0);
    });

    it("whose names would hurt a shell", async () => {
      const names = NASTY.filter((name) => name !== "" && !name.includes("/"));
      await sftp.mkdir(path("names"));
      for (const name of names) await writeFile(sftp, path(`names/${name}`), name);
      const found = (await sftp.readdir(path("names"))).map((e) => e.name).filter((n) => n !== "." && n !== "..");
      expect(found.sort()).toEqual([...names].sort());
      for (const name of names) {
        expect(await text(`names/${name}`)).toBe(name);
        expect((await line.exec(["cat", path(`names/${name}`)], { shared: true })).stdout).toBe(name);
      }
      await expect(sftp.stat(path("zero\0byte"))).rejects.toThrow();
    });

    it("over several channels at once, beside many commands", async () => {
      const data = randomBytes(1 << 20);
      const over = async (n: number) => {
        const channel = await line.sftp(n);
        await writeFile(channel, path(`over ${n}`), data);
        return Buffer.compare(await readFile(channel, path(`over ${n}`)), data);
      };
      const commands = Array.from({ length: 20 }, (_, i) => line.exec(["sh", "-c", `sleep 0.1; exit ${i}`]));
      expect(await Promise.all([0, 1, 2, 3].map(over))).toEqual([0, 0, 0, 0]);
      expect((await Promise.all(commands)).map((c) => c.code)).toEqual(commands.map((_, i) => i));
    });
  });

  describe.skipIf(kind === "local")("when the line ends", () => {
    let own: Transport;
    beforeEach(async () => {
      own = await open();
    });
    afterEach(() => own.close());

    /** Calls of every sort that can't end by themselves. */
    async function inFlight(): Promise<Promise<unknown>[]> {
      const sftp = await own.sftp();
      const handle = await sftp.open("/dev/zero", "r");
      const fifo = `${path("fifo")} ${randomBytes(4).toString("hex")}`;
      await own.exec(["mkfifo", fifo]);
      let flows: () => void = () => undefined;
      const flowing = new Promise<void>((resolve) => {
        flows = resolve;
      });
      const calls: Promise<unknown>[] = [
        own.exec(["sleep", "300"]),
        own.exec(["sh", "-c", "echo flows; cat"], { input: endless(), onStdout: () => flows() }),
        own.exec(["sleep", "300"], { shared: true }),
        // Nobody writes into it, so its opening is never answered, and nothing after it on that channel.
        (await own.sftp(1)).open(fifo, "r"),
        (await own.sftp(1)).stat("/"),
        forEver(async (i) => handle.read(1 << 20, i)),
        forEver(async () => own.exec(["true"])),
      ];
      for (const call of calls) call.catch(() => undefined);
      await flowing;
      return calls;
    }

    async function allLost(calls: Promise<unknown>[]): Promise<void> {
      for (const outcome of await Promise.allSettled(calls)) {
        expect(outcome.status).toBe("rejected");
        if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(ConnectionError);
      }
      expect(await own.lost).toBeInstanceOf(Error);
      const later = [own.exec(["true"]), own.exec(["true"], { shared: true }), own.sftp(), own.sftp(3)];
      for (const outcome of await Promise.allSettled(later)) expect(outcome.status).toBe("rejected");
    }

    it("by a cut, every call in flight hears of it and none hangs", async () => {
      const calls = await inFlight();
      const before = bed.connections("key");
      await bed.cut("key");
      await allLost(calls);
      // Nothing has connected again by itself.
      expect(bed.connections("key")).toBe(before);
    });

    it("by silence, it is found out within 30 s", async () => {
      const calls = await inFlight();
      await bed.stall("key");
      const began = Date.now();
      try {
        await allLost(calls);
      } finally {
        await bed.resume("key");
      }
      expect(Date.now() - began).toBeLessThan(30_000);
    });

    it("by being closed", async () => {
      const calls = await inFlight();
      await own.close();
      await allLost(calls);
      await own.close();
    });

    it("leaves nothing running here", async () => {
      await own.exec(["true"]);
      await own.sftp();
      await own.close();
      const children = await import("node:child_process").then((c) =>
        c.execFileSync("ps", ["-o", "comm=", "--ppid", String(process.pid)], { encoding: "utf8" }),
      );
      // The line that the other tests share may have some.
      expect(children.split("\n").filter((c) => c.trim() === "ssh").length).toBeLessThan(6);
    });
  });

  it.skipIf(kind === "local")("does everything over two sessions, if there are no more", async () => {
    const few = await open("few");
    try {
      const shared = Array.from({ length: 4 }, (_, i) => few.exec(["echo", `shared ${i}`], { shared: true }));
      const alone = Array.from({ length: 6 }, (_, i) => few.exec(["echo", `alone ${i}`]));
      for (const call of [...shared, ...alone]) call.catch(() => undefined);
      const real = Promise.all([0, 1, 2, 3].map(async (n) => (await few.sftp(n)).realpath("/")));
      expect(await real).toEqual(["/", "/", "/", "/"]);
      expect((await Promise.all(shared)).map((r) => r.stdout)).toEqual([0, 1, 2, 3].map((i) => `shared ${i}\n`));
      expect((await Promise.all(alone)).map((r) => r.stdout)).toEqual([0, 1, 2, 3, 4, 5].map((i) => `alone ${i}\n`));
      expect((await few.exec(["echo", "later"], { shared: true })).stdout).toBe("later\n");
    } finally {
      await few.close();
    }
  });
});

async function* endless(): AsyncGenerator<Uint8Array> {
  const piece = new Uint8Array(64 << 10);
  for (;;) {
    yield piece;
    await new Promise((go) => setTimeout(go, 20));
  }
}

async function forEver(work: (i: number) => Promise<unknown>): Promise<never> {
  for (let i = 0; ; i++) await work(i);
}

/** True once a small file has content. */
function written(sftp: Sftp, path: string): Promise<boolean> {
  return sftp.stat(path).then(
    (s) => s.size > 0,
    () => false,
  );
}
