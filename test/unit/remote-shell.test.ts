import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { RemoteShell, type ShellStreams } from "../../kernel-lib/src/cluster/remote-shell.js";
import { PLAIN_SHELL } from "../../kernel-lib/src/cluster/shell.js";
import type { ExecResult } from "../../kernel-lib/src/cluster/transport.js";
import { processStart } from "../../kernel-lib/src/process.js";
import { until } from "../support/sandbox.js";

const children: ChildProcess[] = [];
const alone: string[][] = [];

/** A shell as sshd starts one: a process group of its own, in which the login shell becomes `sh`. */
function shell(login: string[] = ["bash", "-c"], before = ""): RemoteShell {
  return new RemoteShell({
    open: async (): Promise<ShellStreams> => {
      const [program = "", ...args] = [...login, `${before}${PLAIN_SHELL}`];
      const child = spawn(program, args, {
        detached: true,
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, A: "start" },
      });
      children.push(child);
      return { stdin: child.stdin, stdout: child.stdout, stderr: child.stderr, close: () => child.stdin.destroy() };
    },
    alone: async (argv): Promise<ExecResult> => {
      alone.push([...argv]);
      return { code: 0, stdout: "alone", stderr: "" };
    },
  });
}

afterEach(() => {
  alone.length = 0;
  for (const child of children.splice(0))
    try {
      process.kill(-(child.pid ?? 0), "SIGKILL");
    } catch {
      // It has ended.
    }
});

describe("the long-lived shell", () => {
  it("gives code, output and error output of each command apart", async () => {
    const sh = shell();
    expect(await sh.run(["echo", "a b", "$HOME", "it's"])).toEqual({ code: 0, stdout: "a b $HOME it's\n", stderr: "" });
    expect(await sh.run(["sh", "-c", "printf out; printf err >&2; exit 3"])).toEqual({
      code: 3,
      stdout: "out",
      stderr: "err",
    });
    expect((await sh.run(["no-such-program"])).code).toBe(127);
    expect((await sh.run(["sh", "-c", "kill -9 $$"])).code).toBe(137);
    expect(children).toHaveLength(1);
  });

  it("starts over nothing: folder, environment and standard input stay with their command", async () => {
    const sh = shell();
    const pwd = (await sh.run(["pwd"])).stdout;
    expect((await sh.run(["pwd"], { cwd: "/" })).stdout).toBe("/\n");
    expect((await sh.run(["pwd"])).stdout).toBe(pwd);
    expect((await sh.run(["sh", "-c", "A=changed; export A; umask 0; ulimit -n 7; printenv A"])).stdout).toBe(
      "changed\n",
    );
    expect((await sh.run(["printenv", "A"])).stdout).toBe("start\n");
    // A command that reads would eat what comes for the next.
    expect((await sh.run(["cat"])).stdout).toBe("");
    expect((await sh.run(["sh", "-c", "exec 0<&1; exit 0"])).code).toBe(0);
    expect((await sh.run(["true"], { cwd: "/no such folder" })).code).not.toBe(0);
    expect(children).toHaveLength(1);
  });

  it("keeps what commands are made of from the shell", async () => {
    const sh = shell();
    for (const word of [
      "; exit 9",
      "$(exit 9)",
      "`exit 9`",
      "a\nexit 9\n",
      "'\"\\",
      "-n",
      "\u00e9 \u{1f4dc}",
      ")",
      "*",
      "~",
      "#",
    ])
      expect(await sh.run(["printf", "%s", word])).toEqual({ code: 0, stdout: word, stderr: "" });
    await expect(sh.run(["printf", "a\u0000b"])).rejects.toThrow("zero byte");
    expect((await sh.run(["echo", "on"])).stdout).toBe("on\n");
  });

  it("is not taken in by output that looks like its own marks, or by what is left behind", async () => {
    const sh = shell();
    const forged = `${"0".repeat(32)}E0\n`;
    expect((await sh.run(["printf", "%s", forged])).stdout).toBe(forged);
    // The mark is in no argument list and no environment: what a command can see of its parent tells it nothing.
    const seen = await sh.run([
      "sh",
      "-c",
      "tr '\\0' '\\n' </proc/$PPID/cmdline; tr '\\0' '\\n' </proc/$PPID/environ; printenv",
    ]);
    expect(seen.stdout).not.toMatch(/[0-9a-f]{32}E/);
    // A process that stays behind and writes between two commands.
    const done = join(mkdtempSync(join(tmpdir(), "yale-shell-")), "done");
    const script = `(sleep 0.2; echo late; : >${done}) & echo now`;
    expect((await sh.run(["sh", "-c", script])).stdout).toBe("now\n");
    await until("the late words", () => existsSync(done));
    rmSync(dirname(done), { recursive: true });
    expect((await sh.run(["echo", "next"])).stdout).toBe("next\n");
  });

  it("starts from login shells that print things", async () => {
    const sh = shell(["bash", "-c"], "echo 'Welcome to the cluster'; echo warning >&2; printf 'no line end'; ");
    expect(await sh.run(["echo", "mine"])).toEqual({ code: 0, stdout: "mine\n", stderr: "" });
  });

  it("passes 2 MiB unharmed and ends what floods", async () => {
    const sh = shell();
    const much = await sh.run(["head", "-c", "2097152", "/dev/zero"]);
    expect(much.stdout.length).toBe(2_097_152);
    await expect(sh.run(["yes"])).rejects.toMatchObject({
      code: "connection",
      what: expect.stringContaining("16 MiB"),
    });
    expect((await sh.run(["echo", "again"])).stdout).toBe("again\n");
    expect(children).toHaveLength(2);
  });

  it("ends a command at its deadline, and its shell, and goes on in a new one", async () => {
    const sh = shell();
    const pid = Number((await sh.run(["sh", "-c", "echo $PPID"])).stdout);
    await expect(sh.run(["sleep", "600"], { timeout: 300 })).rejects.toMatchObject({
      code: "connection",
      what: "sleep did not end within 0.3 s.",
    });
    expect((await sh.run(["echo", "on"])).stdout).toBe("on\n");
    await until("the old shell to be ended", () => processStart(pid) === undefined);
    expect(children).toHaveLength(2);
  });

  it("lets others pass a slow command by sessions of their own", async () => {
    const sh = shell();
    await sh.run(["true"]);
    const slow = sh.run(["sleep", "600"], { timeout: 2_500 });
    const behind = sh.run(["squeue"]);
    expect((await behind).stdout).toBe("alone");
    expect((await sh.run(["sacct"])).stdout).toBe("alone");
    await expect(slow).rejects.toThrow("did not end");
    expect(alone).toEqual([["squeue"], ["sacct"]]);
    expect((await sh.run(["echo", "on"])).stdout).toBe("on\n");
  });

  it("can be interrupted, while it runs and while it waits", async () => {
    const sh = shell();
    await sh.run(["true"]);
    const [running, waiting] = [new AbortController(), new AbortController()];
    const first = sh.run(["sleep", "600"], { signal: running.signal });
    const second = sh.run(["echo", "second"], { signal: waiting.signal });
    const third = sh.run(["echo", "third"]);
    waiting.abort();
    await expect(second).rejects.toMatchObject({ code: "interrupted" });
    running.abort();
    await expect(first).rejects.toMatchObject({ code: "interrupted" });
    expect((await third).stdout).toBe("third\n");
  });

  it("rejects all when it is closed, and when the shell dies", async () => {
    const sh = shell();
    await sh.run(["true"]);
    const dying = sh.run(["sh", "-c", "kill -9 $PPID"]);
    await expect(dying).rejects.toMatchObject({ code: "connection" });
    const [a, b] = [sh.run(["sleep", "600"]), sh.run(["true"])];
    sh.close(new Error("gone"));
    await expect(a).rejects.toThrow("gone");
    await expect(b).rejects.toThrow("gone");
    await expect(sh.run(["true"])).rejects.toThrow("gone");
  });
});
