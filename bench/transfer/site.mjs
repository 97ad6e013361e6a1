// What the benchmark runs on, made by itself and removed again: files, an sshd, and a long way to it.
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createConnection } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** Folder for everything, in memory if there is room; `close` ends what was started and removes it. */
export class Site {
  constructor(bytes) {
    const shm = existsSync("/dev/shm") && statfsSync("/dev/shm");
    this.inMemory = shm && shm.bavail * shm.bsize > 4 * bytes;
    this.folder = mkdtempSync(join(this.inMemory ? "/dev/shm" : tmpdir(), "yale-bench-"));
    this.children = [];
  }

  path(...parts) {
    return join(this.folder, ...parts);
  }

  /** One big file and many small ones, of random bytes. */
  makeFiles({ big, count, small }) {
    mkdirSync(this.path("from", "small"), { recursive: true });
    const file = openSync(this.path("from", "big"), "w");
    for (let left = big; left > 0; left -= 1 << 20) writeSync(file, randomBytes(Math.min(left, 1 << 20)));
    for (let i = 0; i < count; i++)
      writeFileSync(this.path("from", "small", `page-${String(i).padStart(5, "0")}.bin`), randomBytes(small));
  }

  makeKeys() {
    for (const name of ["host", "user"])
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", this.path(name)]);
    this.user = userInfo().username;
    this.key = this.path("user");
  }

  /** Starts an sshd that listens at `host`; `enter` is put before its command. */
  async sshd(name, host, port, enter = []) {
    const config = this.path(`${name}.conf`);
    // SHLVL: bash takes itself for a login over the network, and reads start-up files that differ from machine to
    // machine, only if it is the first shell.
    writeFileSync(
      config,
      `ListenAddress ${host}\nPort ${port}\nHostKey ${this.path("host")}\nAuthorizedKeysFile ${this.path("user.pub")}
PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\nUseDNS no
SetEnv SHLVL=1\nSubsystem sftp ${sftpServer()}\n`,
    );
    if (userInfo().uid === 0) mkdirSync("/run/sshd", { recursive: true });
    const sshd = execFileSync("sh", ["-c", "PATH=$PATH:/usr/sbin; command -v sshd"], { encoding: "utf8" }).trim();
    this.start([...enter, sshd, "-D", "-e", "-f", config]);
    if (enter.length > 0) return;
    for (let tries = 0; ; tries++) {
      const socket = createConnection(port, host);
      const [event] = await Promise.race([
        once(socket, "connect").then(() => ["connect"]),
        once(socket, "error").then(() => ["error"]),
      ]).catch(() => ["error"]);
      socket.destroy();
      if (event === "connect") return;
      if (tries === 100) throw new Error("sshd does not answer.");
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  /** A long way: gives the commands that put a program at its near and its far end. */
  async delay(milliseconds, megabits) {
    const program = this.path("delayline");
    execFileSync("cc", ["-O2", "-o", program, join(here, "delayline.c")]);
    const child = this.start([program, String(milliseconds), String(megabits)], ["pipe", "pipe", "inherit"]);
    const [line] = await once(child.stdout, "data");
    const [near, far] = String(line).trim().split(" ");
    return { near: ["nsenter", "-t", near, "-n"], far: ["nsenter", "-t", far, "-n"] };
  }

  start([program, ...args], stdio = ["ignore", "ignore", "ignore"]) {
    const child = spawn(program, args, { stdio });
    this.children.push(child);
    return child;
  }

  async close() {
    for (const child of this.children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "exit");
      child.stdin?.end();
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function sftpServer() {
  const found = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server"];
  return found.find((path) => existsSync(path)) ?? "internal-sftp";
}

/** What this machine is, for the table. */
export function machine() {
  const cpu = /model name\s*: (.*)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "unknown processor";
  const cores = execFileSync("nproc", { encoding: "utf8" }).trim();
  const ssh = execFileSync("sh", ["-c", "ssh -V 2>&1"], { encoding: "utf8" }).trim().split(",")[0];
  return `${cores} cores (${cpu}), Linux, Node ${process.versions.node}, ${ssh}`;
}
