/** This machine as a cluster: commands by spawn, files by node:fs. The same contract as a line over SSH. */
import { spawn } from "node:child_process";
import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import { homedir } from "node:os";
import { pipeline } from "node:stream/promises";
import { ConnectionError, InterruptedError } from "../errors.js";
import type { ExecOptions, ExecResult, FileHandle, FileStat, Sftp, Transport } from "./transport.js";

/** Opens it: nothing can fail. */
export async function openLocal(): Promise<Transport> {
  return {
    kind: "local",
    exec,
    sftp: async () => sftp,
    lost: new Promise(() => undefined),
    asked: false,
    close: async () => undefined,
  };
}

function exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const [program = "", ...args] = argv;
  const timeout = options.timeout ?? 60_000;
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) return reject(new InterruptedError(`${program} was interrupted.`));
    const child = spawn(program, args, { cwd: options.cwd, stdio: ["pipe", "pipe", "pipe"] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let failure: Error | undefined;
    const stop = (error: Error) => {
      failure = error;
      child.kill("SIGKILL");
    };
    const timer = setTimeout(
      () => stop(new ConnectionError(`${program} did not end within ${timeout / 1000} s.`, "Try again.")),
      timeout,
    );
    const abort = () => stop(new InterruptedError(`${program} was interrupted.`));
    options.signal?.addEventListener("abort", abort, { once: true });
    child.stdout.on("data", (chunk: Buffer) => (options.onStdout ? options.onStdout(chunk) : out.push(chunk)));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    // A command that closes its input early is not an error of ours.
    child.stdin.on("error", () => undefined);
    if (options.input === undefined || typeof options.input === "string" || options.input instanceof Uint8Array)
      child.stdin.end(options.input);
    else pipeline(options.input, child.stdin).catch(() => undefined);
    child.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      // What a shell on the far side would say, so that every transport answers alike.
      if (error.code === "ENOENT") resolve({ code: 127, stdout: "", stderr: `${program}: command not found\n` });
      else reject(error);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", abort);
      if (failure !== undefined) return reject(failure);
      const text = (parts: Buffer[]) => Buffer.concat(parts).toString("utf8");
      resolve({ code, ...(signal === null ? {} : { signal }), stdout: text(out), stderr: text(err) });
    });
  });
}

function handle(file: fs.FileHandle): FileHandle {
  return {
    async read(length, position) {
      const buffer = Buffer.allocUnsafe(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(buffer, filled, length - filled, position + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return buffer.subarray(0, filled);
    },
    async write(data, position) {
      let done = 0;
      while (done < data.length)
        done += (await file.write(data, done, data.length - done, position + done)).bytesWritten;
    },
    sync: () => file.sync(),
    close: () => file.close(),
  };
}

const FLAGS = {
  r: constants.O_RDONLY,
  w: constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC,
  "r+": constants.O_RDWR | constants.O_CREAT,
  wx: constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
} as const;

async function stat(path: string, options?: { link?: boolean }): Promise<FileStat> {
  const s = await (options?.link ? fs.lstat(path) : fs.stat(path));
  const type = s.isFile() ? "file" : s.isDirectory() ? "directory" : s.isSymbolicLink() ? "symlink" : "other";
  return { size: s.size, mtime: s.mtimeMs, type, mode: s.mode & 0o7777 };
}

const sftp: Sftp = {
  open: async (path, flags) => handle(await fs.open(path, FLAGS[flags])),
  stat,
  async readdir(path) {
    const names = await fs.readdir(path);
    return Promise.all(names.map(async (name) => ({ name, stat: await stat(`${path}/${name}`, { link: true }) })));
  },
  async mkdir(path, mode) {
    await fs.mkdir(path, { recursive: true, ...(mode === undefined ? {} : { mode }) });
  },
  rename: (from, to) => fs.rename(from, to),
  unlink: (path) => fs.unlink(path),
  rmdir: (path) => fs.rmdir(path),
  symlink: (target, path) => fs.symlink(target, path),
  readlink: (path) => fs.readlink(path),
  // SFTP's "." is the home folder of the login.
  realpath: (path) => fs.realpath(path === "." ? homedir() : path),
  chmod: (path, mode) => fs.chmod(path, mode),
  async free(path) {
    const s = await fs.statfs(path);
    return { bytes: s.bavail * s.bsize, files: s.ffree };
  },
};
