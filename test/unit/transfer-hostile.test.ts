import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packTar, type TarHeader } from "modern-tar";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openSsh } from "../../kernel-lib/src/cluster/ssh.js";
import { downloadTree } from "../../kernel-lib/src/cluster/transfer.js";
import type { Transport } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { QuotaError, TransferError } from "../../kernel-lib/src/errors.js";
import { type Lies, lyingServer } from "../support/lying-server.js";

let home: string;
let to: string;
const before = process.env.HOME;
const open: (() => Promise<void>)[] = [];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "yale-test-"));
  process.env.HOME = home;
  to = join(home, "deep", "er", "to");
  mkdirSync(join(home, "deep", "er"), { recursive: true });
});
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
  process.env.HOME = before;
  rmSync(home, { recursive: true, force: true });
});

async function lineTo(lies: Lies): Promise<Transport> {
  const server = await lyingServer(lies);
  open.push(server.close);
  const cluster = { name: "liar", transport: "ssh", host: "127.0.0.1", port: server.port, user: "me" };
  const line = await openSsh(cluster as ClusterConfig, { ask: async () => ["yes"] });
  open.push(() => line.close());
  return line;
}

/** Everything below the home folder, but what logging in left. */
const written = () =>
  readdirSync(home, { recursive: true })
    .map(String)
    .filter((path) => !path.startsWith(".ssh"))
    .sort();
/** Nothing but the folder asked for, and the one where unfinished files grow. */
const NOTHING = ["deep", "deep/er"];
const MOST = [...NOTHING, "deep/er/to", "deep/er/to/.part"];

const listing = (...files: [kind: string, size: number, path: string][]) =>
  Buffer.from(files.map(([kind, size, path]) => `${kind} ${size} 1000000000.0 644 ${path}\0`).join(""));

const EVIL = ["../evil", "..", "a/../../evil", "a/..", "/etc/evil", "a//evil", "./evil", "", "..\u0000", "a/./evil"];

describe("names from a list that lies", () => {
  it.each(EVIL.filter((name) => !name.includes("\0")))("refuses %j, and writes nothing", async (name) => {
    const line = await lineTo({
      names: (path) => (path === "/far" ? [] : undefined),
      command: (script) => (script.includes("exec find") ? listing(["f", 1, "fine"], ["f", 1, name]) : undefined),
    });
    const download = downloadTree(line, "/far", to);
    await expect(download).rejects.toThrow(/leads out of the folder/);
    await expect(download).rejects.toBeInstanceOf(TransferError);
    expect(written()).toEqual(NOTHING);
  });

  it.each(["../evil", "a/b", "/etc/evil", "a/../../evil"])("refuses %j of a folder read by SFTP", async (name) => {
    const line = await lineTo({
      names: (path) => (path === "/far" ? ["fine", name] : undefined),
      // No tool is there.
      command: (script) => (script.includes("openssl dgst") ? Buffer.from("") : undefined),
    });
    await expect(downloadTree(line, "/far", to)).rejects.toThrow(/leads out of the folder/);
    expect(written()).toEqual(NOTHING);
  });

  it("refuses a list that is none, or a name that is not UTF-8", async () => {
    for (const [text, words] of [
      [Buffer.from("nonsense\0"), /could not be read/],
      [Buffer.from("x".repeat(1 << 17)), /could not be read/],
      [Buffer.concat([Buffer.from("f 1 1.0 644 "), Buffer.from([0xff, 0xfe, 0])]), /not UTF-8/],
      [Buffer.from("f 1 1.0 644 half"), /could not be listed/],
    ] as const) {
      const line = await lineTo({
        names: (path) => (path === "/far" ? [] : undefined),
        command: (script) => (script.includes("exec find") ? text : undefined),
      });
      await expect(downloadTree(line, "/far", to)).rejects.toThrow(words);
    }
    expect(written()).toEqual(NOTHING);
  });

  it("refuses sizes that no disk holds before it takes any of it", async () => {
    const line = await lineTo({
      names: (path) => (path === "/far" ? [] : undefined),
      command: (script) => (script.includes("exec find") ? listing(["f", 2 ** 52, "huge"]) : undefined),
    });
    await expect(downloadTree(line, "/far", to)).rejects.toBeInstanceOf(QuotaError);
  });
});

describe("an archive that lies", () => {
  const entry = (name: string, more: Partial<TarHeader> = {}, data = "evil") => ({
    header: { name, size: more.type === undefined ? data.length : 0, mode: 0o644, ...more },
    body: more.type === undefined ? data : "",
  });

  /** A far folder with the files a and b, of four bytes each, whose archive is this. */
  const lies = (archive: Uint8Array | Iterable<Uint8Array>): Lies => ({
    names: (path) => (path === "/far" ? ["a", "b"] : undefined),
    bytes: (path) => (/^\/far\/[ab]$/.test(path) ? Buffer.from("true") : undefined),
    command: (script) => {
      if (script.includes("exec find")) return listing(["f", 4, "a"], ["f", 4, "b"]);
      if (script.includes("exec tar")) return archive;
      const hash = createHash("sha256").update("true").digest("hex");
      if (script.includes("hashlib.sha256()")) return Buffer.from(`${hash}  -\n`);
      if (script.includes("exec xargs")) return Buffer.from(`${hash} *./a\n${hash} *./b\n`);
      return undefined;
    },
  });

  it.each([
    ["a name above the folder", entry("../evil")],
    ["an absolute name", entry("/tmp/yale-evil")],
    ["a name not asked for", entry("./c")],
    ["a name through one asked for", entry("./a/../../evil")],
    ["a symbolic link", entry("./a", { type: "symlink", linkname: "/etc/passwd" })],
    ["a hard link", entry("./a", { type: "link", linkname: "/etc/passwd" })],
    ["a device", entry("./a", { type: "character-device" })],
    ["a pipe", entry("./a", { type: "fifo" })],
    ["a folder", entry("./a", { type: "directory" })],
  ])("by %s is refused, and writes nothing outside", async (_, evil) => {
    const line = await lineTo(lies(await packTar([evil, entry("./a", {}, "true"), entry("./b", {}, "true")])));
    const download = downloadTree(line, "/far", to);
    await expect(download).rejects.toThrow(/packed .* which it was not asked for/);
    await expect(download).rejects.toBeInstanceOf(TransferError);
    expect(written()).toEqual(MOST);
  });

  it("by a link and then a file through it is refused at the link", async () => {
    const archive = await packTar([
      entry("./a", { type: "symlink", linkname: home }),
      entry("./a/evil"),
      entry("./b", {}, "true"),
    ]);
    await expect(downloadTree(await lineTo(lies(archive)), "/far", to)).rejects.toBeInstanceOf(TransferError);
    expect(existsSync(join(home, "evil"))).toBe(false);
  });

  it("by the same name twice is refused", async () => {
    const archive = await packTar([entry("./a", {}, "true"), entry("./a", {}, "evil"), entry("./b", {}, "true")]);
    await expect(downloadTree(await lineTo(lies(archive)), "/far", to)).rejects.toBeInstanceOf(TransferError);
  });

  it("without end is cut off", async () => {
    function* endless() {
      for (;;) yield Buffer.alloc(1 << 16, 1);
    }
    function* bombs() {
      // A header that tells of eight gigabytes for a file of four bytes.
      const head = Buffer.alloc(512);
      head.write("./a");
      head.write("0000644\0", 100);
      head.write("77777777777\0", 124);
      head.write("00000000000\0", 136);
      head.write("        0", 148);
      head.write("ustar\u000000", 257);
      head.write(
        `${head
          .reduce((sum, byte) => sum + byte, 0)
          .toString(8)
          .padStart(6, "0")}\0 `,
        148,
      );
      yield head;
      yield* endless();
    }
    const download = downloadTree(await lineTo(lies(bombs())), "/far", to);
    await expect(download).rejects.toThrow(/sends more than the files/);
    await expect(download).rejects.toBeInstanceOf(TransferError);
    expect(written()).toEqual(MOST);
    // What is no archive at all is done without.
    await downloadTree(await lineTo(lies(endless())), "/far", to);
    expect(readFileSync(join(to, "a"), "utf8")).toBe("true");
  });

  it("by other bytes, or by less, is made good from the files themselves", async () => {
    const whole = await packTar([entry("./a", {}, "evil"), entry("./b", {}, "true")]);
    const half = (await packTar([entry("./a", {}, "true"), entry("./b", {}, "true")])).subarray(0, 1100);
    for (const [i, archive] of [whole, half].entries()) {
      const folder = `${to}-${i}`;
      await downloadTree(await lineTo(lies(archive)), "/far", folder);
      expect(readFileSync(join(folder, "a"), "utf8")).toBe("true");
      expect(readFileSync(join(folder, "b"), "utf8")).toBe("true");
      expect(readdirSync(folder).sort()).toEqual(["a", "b"]);
    }
  });
});

describe("bytes that lie", () => {
  const big = 5 << 20;
  const lies = (data: Uint8Array, hash: string): Lies => ({
    names: (path) => (path === "/far" ? ["big"] : undefined),
    bytes: (path) => (path === "/far/big" ? data : undefined),
    size: (path) => (path === "/far/big" ? big : undefined),
    command: (script) => {
      if (script.includes("exec find")) return listing(["f", big, "big"]);
      if (script.includes("exec xargs")) return Buffer.from(`${hash}  -\n`);
      return undefined;
    },
  });

  it("against their own hash are never given the name", async () => {
    const line = await lineTo(lies(Buffer.alloc(big, 1), "0".repeat(64)));
    await expect(downloadTree(line, "/far", to)).rejects.toThrow(/changed while it was read/);
    expect(readdirSync(to)).toEqual([".part"]);
  });

  it("by ending too soon are told", async () => {
    const line = await lineTo(lies(Buffer.alloc(big - 1, 1), "0".repeat(64)));
    await expect(downloadTree(line, "/far", to)).rejects.toThrow(/changed while it was read/);
  });

  it("don't come through a link that is here already, and leave what is behind it", async () => {
    mkdirSync(to);
    writeFileSync(join(home, "precious"), "mine");
    const { symlinkSync } = await import("node:fs");
    symlinkSync(join(home, "precious"), join(to, "big"));
    const data = Buffer.alloc(big, 1);
    const line = await lineTo(lies(data, createHash("sha256").update(data).digest("hex")));
    await expect(downloadTree(line, "/far", to)).rejects.toThrow(/exists and is not what the job wrote/);
    expect(readFileSync(join(home, "precious"), "utf8")).toBe("mine");
    expect(lstatSync(join(to, "big")).isSymbolicLink()).toBe(true);
  });
});
