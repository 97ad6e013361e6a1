/**
 * An SSH server that does what it is asked, except for what a test lets it lie about: lists of names, archives, hashes,
 * bytes. For what a cluster that has fallen into wrong hands could do to those who download from it.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { type AuthContext, type Connection, Server, type ServerChannel, type SFTPWrapper, utils } from "ssh2";

/** What to lie about. Whatever is left out is answered truly, by this machine's own shell and files. */
export interface Lies {
  /** Answers a command, by its script, with these bytes on standard output, without end if it is a generator. */
  command?(script: string): Uint8Array | Iterable<Uint8Array> | undefined;
  /** Names that a folder seems to hold, each a file of one byte. */
  names?(folder: string): string[] | undefined;
  /** Bytes that a file seems to hold. */
  bytes?(path: string): Uint8Array | undefined;
  /** Size that a file seems to have, if not that of its bytes. */
  size?(path: string): number | undefined;
  /** Name of the server's program, by which clients go. */
  ident?: string;
  /** Told the length of each read that is asked for; answers with so many bytes at most. */
  give?(length: number): number;
  /** Ends the line when it is asked what this path is. */
  cut?(path: string): boolean;
}

/** Starts it on a free port of loopback; everybody may log in. */
export async function lyingServer(lies: Lies): Promise<{ port: number; close: () => Promise<void> }> {
  let key: string;
  // Now and then ssh2 makes one that it can't read itself.
  do key = utils.generateKeyPairSync("ed25519").private;
  while (utils.parseKey(key) instanceof Error);
  const connections = new Set<Connection>();
  const ident = lies.ident === undefined ? {} : { ident: lies.ident };
  const server = new Server({ hostKeys: [key], ...ident }, (client) => {
    connections.add(client);
    client.on("error", () => undefined);
    client.on("close", () => connections.delete(client));
    client.on("authentication", (context: AuthContext) => context.accept());
    client.on("session", (accept) => {
      const session = accept();
      session.on("exec", (acceptExec, _reject, { command }) => run(acceptExec(), command, lies));
      session.on("sftp", (acceptSftp) => serve(acceptSftp(), lies, () => client.end()));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const client of connections) client.end();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The script in a command line, which goes as octal digits where it is not plain text. */
function scriptOf(command: string): string {
  const digits = /'((?:\\[0-7]{3})+)'$/.exec(command)?.[1];
  if (digits === undefined) return command;
  return Buffer.from([...digits.matchAll(/\\([0-7]{3})/g)].map((m) => Number.parseInt(m[1] ?? "", 8))).toString();
}

function run(channel: ServerChannel, command: string, lies: Lies): void {
  const script = scriptOf(command);
  const lie = lies.command?.(script);
  channel.on("error", () => undefined);
  const end = (code: number) => {
    channel.exit(code);
    channel.end();
  };
  if (lie === undefined) {
    const child = spawn("/bin/sh", ["-c", command]);
    child.stdin.on("error", () => undefined);
    channel.pipe(child.stdin);
    child.stdout.pipe(channel, { end: false });
    child.stderr.pipe(channel.stderr, { end: false });
    child.on("close", (code) => end(code ?? 1));
    channel.on("close", () => child.kill("SIGKILL"));
    return;
  }
  channel.resume();
  // Both streams of every command begin with a mark of its own.
  const mark = /printf ([0-9a-f]{32})/.exec(script)?.[1] ?? "";
  channel.write(mark);
  channel.stderr.write(mark);
  if (lie instanceof Uint8Array) {
    channel.write(lie);
    end(0);
    return;
  }
  let open = true;
  channel.on("close", () => {
    open = false;
  });
  const pour = async () => {
    for (const piece of lie) {
      if (!open) return;
      if (!channel.write(piece)) await new Promise((resolve) => channel.once("drain", resolve).once("close", resolve));
    }
    end(0);
  };
  void pour();
}

const { OPEN_MODE, STATUS_CODE } = utils.sftp;
const FILE = 0o100644;
const FOLDER = 0o040755;

function serve(sftp: SFTPWrapper, lies: Lies, end: () => void): void {
  const open = new Map<number, { path: string; read: boolean }>();
  let next = 0;
  const handle = (path: string) => {
    const id = Buffer.alloc(4);
    open.set(next, { path, read: false });
    id.writeUInt32BE(next++);
    return id;
  };
  const content = (path: string) => lies.bytes?.(path) ?? readFileSync(path);
  const attributes = (path: string) => {
    const folder = lies.names?.(path) !== undefined;
    const size = folder ? 0 : (lies.size?.(path) ?? content(path).length);
    return { mode: folder ? FOLDER : FILE, uid: 0, gid: 0, size, atime: 1_000_000_000, mtime: 1_000_000_000 };
  };
  const answer = (id: number, work: () => void) => {
    try {
      work();
    } catch {
      sftp.status(id, STATUS_CODE.NO_SUCH_FILE);
    }
  };
  const stat = (id: number, path: string) =>
    lies.cut?.(path) === true ? end() : answer(id, () => sftp.attrs(id, attributes(path)));
  sftp.on("REALPATH", (id, path) => {
    const attrs = { mode: FOLDER, uid: 0, gid: 0, size: 0, atime: 0, mtime: 0 };
    sftp.name(id, [{ filename: path, longname: path, attrs }]);
  });
  sftp.on("STAT", stat).on("LSTAT", stat);
  sftp.on("FSTAT", (id, h) => stat(id, open.get(h.readUInt32BE())?.path ?? ""));
  // Nothing can be written to it; the second is what OpenSSH says of a name that is taken.
  sftp.on("MKDIR", (id) => sftp.status(id, STATUS_CODE.NO_SUCH_FILE));
  sftp.on("OPENDIR", (id, path) => sftp.handle(id, handle(path)));
  sftp.on("READDIR", (id, h) => {
    const entry = open.get(h.readUInt32BE());
    if (entry === undefined || entry.read) return sftp.status(id, STATUS_CODE.EOF);
    entry.read = true;
    const names = lies.names?.(entry.path) ?? [];
    const attrs = { mode: FILE, uid: 0, gid: 0, size: 1, atime: 1_000_000_000, mtime: 1_000_000_000 };
    sftp.name(
      id,
      names.map((filename) => ({ filename, longname: filename, attrs })),
    );
  });
  sftp.on("OPEN", (id, path, flags) =>
    (flags & OPEN_MODE.EXCL) !== 0
      ? sftp.status(id, STATUS_CODE.FAILURE)
      : answer(id, () => content(path) && sftp.handle(id, handle(path))),
  );
  sftp.on("READ", (id, h, offset, length) => {
    const most = lies.give?.(length) ?? length;
    const data = content(open.get(h.readUInt32BE())?.path ?? "").subarray(offset, offset + most);
    if (data.length === 0) sftp.status(id, STATUS_CODE.EOF);
    else sftp.data(id, Buffer.from(data));
  });
  sftp.on("CLOSE", (id) => sftp.status(id, STATUS_CODE.OK));
}
