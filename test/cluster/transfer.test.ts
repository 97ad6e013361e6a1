import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openTransport } from "../../kernel-lib/src/cluster/registry.js";
import { downloadTree, uploadTree } from "../../kernel-lib/src/cluster/transfer.js";
import type { Transport } from "../../kernel-lib/src/cluster/transport.js";
import { ConnectionError, InterruptedError, QuotaError, TransferError } from "../../kernel-lib/src/errors.js";
import { sharedBed, type Variant } from "../support/bed.js";
import { type Events, type Watched, watched } from "../support/cutting.js";
import { Sandbox } from "../support/sandbox.js";

const MIB = 1 << 20;
const bed = sharedBed();
const box = new Sandbox();
const lines: Transport[] = [];
/** Folder of this user on the far side, which is this machine: as root a test sees what is there. */
let far: string;
let near: string;
let round = 0;

beforeAll(() => {
  box.enter();
  bed.writeSshFolder(box.home);
});
beforeEach(async () => {
  await bed.reset();
  far = bed.home(`transfer-${round++}`);
  near = join(box.home, `near-${round}`);
  fs.mkdirSync(near);
  execFileSync("install", ["-d", "-o", bed.user, far]);
});
afterEach(async () => {
  await Promise.all(lines.splice(0).map((line) => line.close()));
  fs.rmSync(far, { recursive: true, force: true });
  fs.rmSync(near, { recursive: true, force: true });
});
afterAll(() => box.close());

/** A line, and the pid of the process that serves it. */
async function open(variant: Variant = "key"): Promise<{ line: Transport; kill: () => void }> {
  const ask = () => Promise.reject(new Error("Nothing is to be asked."));
  const line = await openTransport(await bed.cluster(variant), { ask });
  lines.push(line);
  const { stdout } = await line.exec(["sh", "-c", "echo $PPID"]);
  const pid = Number(stdout);
  expect(pid).toBeGreaterThan(1);
  return { line, kill: () => process.kill(pid, "SIGKILL") };
}

async function watch(events: (kill: () => void) => Events = () => ({})): Promise<Watched> {
  const { line, kill } = await open();
  return watched(line, events(kill));
}

function bigFile(path: string, bytes: number): void {
  fs.writeFileSync(path, randomBytes(bytes));
}

function smallFiles(folder: string, count: number, bytes: number): void {
  for (let i = 0; i < count; i++) {
    const sub = join(folder, `part ${i % 7}`);
    fs.mkdirSync(sub, { recursive: true });
    fs.writeFileSync(join(sub, `page-${i}.bin`), randomBytes(bytes));
  }
}

/** Every file of a tree with its hash and whether it can be executed, every folder, every link. */
function content(root: string): Record<string, string> {
  if (fs.statSync(root).isFile()) return { "": createHash("sha256").update(fs.readFileSync(root)).digest("hex") };
  const found: Record<string, string> = {};
  for (const e of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(e.parentPath, e.name);
    const name = path.slice(root.length + 1);
    if (e.isDirectory()) found[name] = "folder";
    else if (e.isSymbolicLink()) found[name] = `-> ${fs.readlinkSync(path)}`;
    else
      found[name] =
        createHash("sha256").update(fs.readFileSync(path)).digest("hex") + (fs.statSync(path).mode & 0o100 ? "*" : "");
  }
  return found;
}

/** What is left beside the target: unfinished things, of ours or others. */
const leftovers = (folder: string) => fs.readdirSync(folder).filter((n) => n.endsWith(".part"));
const bytesOf = (root: string) =>
  Number(
    execFileSync("sh", ["-c", 'find "$1" -type f -printf "%s\\n" | awk "{ s += \\$1 } END { print s }"', "sh", root]),
  );

/** In flight in all lanes, and what a journal may lag behind. */
const FLIGHT = 11 * MIB;
const PACK = 25 * MIB;
const BLOCK = 32 * MIB;
/** What commands say, and headers of archives. */
const WORDS = 64 << 10;

describe("a cut line", () => {
  const places = [0.05, 0.5, 0.95];

  it.each(places)("at %f of one big file's upload costs what was in flight", async (place) => {
    const size = 80 * MIB;
    bigFile(join(near, "big"), size);
    const first = await watch((kill) => ({ at: { bytes: size * place, run: kill } }));
    await expect(uploadTree(first, join(near, "big"), join(far, "big"))).rejects.toBeInstanceOf(ConnectionError);
    expect(fs.existsSync(join(far, "big"))).toBe(false);

    const second = await watch();
    const seen: number[] = [];
    const result = await uploadTree(second, join(near, "big"), join(far, "big"), {
      onProgress: (p) => seen.push(p.bytes),
    });
    expect(content(join(far, "big"))).toEqual(content(join(near, "big")));
    expect(result.verified).toBe("far");
    expect(first.moved + second.moved).toBeLessThan(size + FLIGHT);
    expect(Math.abs(result.sent - second.moved)).toBeLessThan(WORDS);
    expect(seen.at(-1)).toBe(size);
    expect(leftovers(far)).toEqual([]);
    expect(fs.readdirSync(join(box.home, "cache", "yale-jobs", "transfers"))).toEqual([]);
  });

  it.each(places)("at %f of a tree's upload costs a pack in each stream", async (place) => {
    smallFiles(join(near, "tree"), 900, 100 << 10);
    bigFile(join(near, "tree", "big"), 40 * MIB);
    const size = bytesOf(join(near, "tree"));
    const first = await watch((kill) => ({ at: { bytes: size * place, run: kill } }));
    await expect(uploadTree(first, join(near, "tree"), join(far, "tree"))).rejects.toBeInstanceOf(ConnectionError);
    const second = await watch();
    await uploadTree(second, join(near, "tree"), join(far, "tree"));
    expect(content(join(far, "tree"))).toEqual(content(join(near, "tree")));
    expect(first.moved + second.moved).toBeLessThan(size + FLIGHT + 3 * PACK);
    // What the first call brought is not sent again.
    if (place > 0.9) expect(second.moved).toBeLessThan(size * (1 - place) + FLIGHT + 3 * PACK);
    expect(leftovers(far)).toEqual([]);
  });

  it.each(places)("at %f of one big file's download costs what was in flight", async (place) => {
    const size = 80 * MIB;
    bigFile(join(far, "big"), size);
    const first = await watch((kill) => ({ at: { bytes: size * place, run: kill } }));
    await expect(downloadTree(first, join(far, "big"), join(near, "big"))).rejects.toBeInstanceOf(ConnectionError);
    expect(fs.existsSync(join(near, "big"))).toBe(false);
    const second = await watch();
    const seen: number[] = [];
    await downloadTree(second, join(far, "big"), join(near, "big"), { onProgress: (p) => seen.push(p.bytes) });
    expect(content(join(near, "big"))).toEqual(content(join(far, "big")));
    expect(first.moved + second.moved).toBeLessThan(size + FLIGHT);
    expect(seen.at(-1)).toBe(size);
    expect(leftovers(near)).toEqual([]);
  });

  it.each(places)("at %f of a tree's download costs a pack in each stream", async (place) => {
    smallFiles(join(far, "tree"), 900, 100 << 10);
    bigFile(join(far, "tree", "big"), 40 * MIB);
    const size = bytesOf(join(far, "tree"));
    const first = await watch((kill) => ({ at: { bytes: size * place, run: kill } }));
    await expect(downloadTree(first, join(far, "tree"), join(near, "tree"))).rejects.toBeInstanceOf(ConnectionError);
    const second = await watch();
    await downloadTree(second, join(far, "tree"), join(near, "tree"));
    expect(content(join(near, "tree"))).toEqual(content(join(far, "tree")));
    expect(first.moved + second.moved).toBeLessThan(size + FLIGHT + 3 * PACK + MIB);
    expect(leftovers(join(near, "tree"))).toEqual([]);
  });

  it.each([
    ["before", false],
    ["after", true],
  ])("right %s the rename that ends an upload is seen through", async (_, late) => {
    for (const name of ["tree", "big"]) {
      if (name === "tree") smallFiles(join(near, name), 30, 2000);
      else bigFile(join(near, name), 5 * MIB);
      const first = await watch((kill) => ({
        rename: {
          late,
          run: () => {
            kill();
            // The answer of a rename that was done is lost with the line.
            if (late) throw new ConnectionError("The line was lost.");
          },
        },
      }));
      await expect(uploadTree(first, join(near, name), join(far, name))).rejects.toBeInstanceOf(ConnectionError);
      expect(fs.existsSync(join(far, name))).toBe(late);
      const second = await watch();
      const result = await uploadTree(second, join(near, name), join(far, name));
      expect(content(join(far, name))).toEqual(content(join(near, name)));
      expect(result.sent).toBe(0);
      expect(leftovers(far)).toEqual([]);
    }
  });

  it("between the last file of a pack and its end leaves nothing undone", async () => {
    smallFiles(join(near, "tree"), 30, 2000);
    const [page = ""] = fs.readdirSync(join(near, "tree", "part 0"));
    fs.chmodSync(join(near, "tree", "part 0", page), 0o755);
    const first = await watch((kill) => ({ rename: { late: false, run: kill } }));
    await expect(uploadTree(first, join(near, "tree"), join(far, "tree"))).rejects.toBeInstanceOf(ConnectionError);
    // As if the cut had come a moment before: a mode is not set, the list of names lies there, nothing was noted.
    const part = leftovers(far)[0] ?? "";
    const token = part.split(".").at(-2) ?? "";
    fs.chmodSync(join(far, part, "part 0", page), 0o600);
    fs.writeFileSync(join(far, part, `.${token}.0`), "./part 0/page-0.bin");
    execFileSync("chown", ["-R", bed.user, join(far, part)]);
    const journals = join(box.home, "cache", "yale-jobs", "transfers");
    const journal = join(journals, fs.readdirSync(journals).find((name) => name.endsWith(".jsonl")) ?? "");
    const lines = fs.readFileSync(journal, "utf8").split("\n");
    fs.writeFileSync(journal, lines.filter((line) => !line.includes('"hash"')).join("\n"));
    const result = await uploadTree(await watch(), join(near, "tree"), join(far, "tree"));
    expect(result.sent).toBe(0);
    expect(content(join(far, "tree"))).toEqual(content(join(near, "tree")));
  });

  it.each(["up", "down"])("again and again, in the middle of a pack, lets all small files through %s", async (way) => {
    const [from, to] = way === "up" ? [near, far] : [far, near];
    smallFiles(join(from, "tree"), 600, 100 << 10);
    const size = bytesOf(join(from, "tree"));
    let calls = 0;
    let moved = 0;
    for (let done = false; !done && calls < 20; calls++) {
      const line = await watch((kill) => ({ at: { bytes: 10 * MIB, run: kill } }));
      const move = way === "up" ? uploadTree : downloadTree;
      done = await move(line, join(from, "tree"), join(to, "tree")).then(
        () => true,
        (error: unknown) => {
          expect(error).toBeInstanceOf(ConnectionError);
          return false;
        },
      );
      moved += line.moved;
      await line.close();
    }
    expect(content(join(to, "tree"))).toEqual(content(join(from, "tree")));
    expect(calls).toBeGreaterThan(5);
    expect(calls).toBeLessThan(20);
    // What had come whole did not come again.
    expect(moved).toBeLessThan(2 * size);
    expect(leftovers(to)).toEqual([]);
  });

  it("by a server that counts bytes is gone on from until all is there", async () => {
    bigFile(join(near, "big"), 60 * MIB);
    bed.dropAfter(25 * MIB);
    let calls = 0;
    for (; calls < 10; calls++) {
      const { line } = await open("drop");
      const done = await uploadTree(line, join(near, "big"), join(far, "big")).then(
        () => true,
        (error: unknown) => {
          expect(error).toBeInstanceOf(ConnectionError);
          return false;
        },
      );
      if (done) break;
    }
    expect(calls).toBeGreaterThan(0);
    expect(calls).toBeLessThan(10);
    expect(content(join(far, "big"))).toEqual(content(join(near, "big")));
  });
});

describe("wrong bytes", () => {
  it("in what a cut upload left are found and only their block is sent again", async () => {
    const size = 128 * MIB;
    bigFile(join(near, "big"), size);
    const first = await watch((kill) => ({ at: { bytes: size * 0.8, run: kill } }));
    await expect(uploadTree(first, join(near, "big"), join(far, "big"))).rejects.toBeInstanceOf(ConnectionError);
    flip(join(far, leftovers(far)[0] ?? ""), 40 * MIB);
    const second = await watch();
    await uploadTree(second, join(near, "big"), join(far, "big"));
    expect(content(join(far, "big"))).toEqual(content(join(near, "big")));
    expect(second.moved).toBeLessThan(size * 0.2 + FLIGHT + BLOCK);
    expect(second.moved).toBeGreaterThan(BLOCK);
  });

  it("in what a cut upload left are found where the hash of the whole is known, and a hash that is not this file's", async () => {
    const size = 80 * MIB;
    bigFile(join(near, "big"), size);
    const sha256 = new Map([["", content(join(near, "big"))[""] ?? ""]]);
    const first = await watch((kill) => ({ at: { bytes: size * 0.8, run: kill } }));
    const cut = uploadTree(first, join(near, "big"), join(far, "big"), { sha256 });
    await expect(cut).rejects.toBeInstanceOf(ConnectionError);
    flip(join(far, leftovers(far)[0] ?? ""), 40 * MIB);
    const second = await watch();
    const seen: number[] = [];
    const onProgress = (p: { bytes: number }) => seen.push(p.bytes);
    await uploadTree(second, join(near, "big"), join(far, "big"), { sha256, onProgress });
    expect(content(join(far, "big"))).toEqual(content(join(near, "big")));
    expect(second.moved).toBeLessThan(size * 0.2 + FLIGHT + BLOCK);
    expect(seen.at(-1)).toBe(size);

    const other = new Map([["", "0".repeat(64)]]);
    const third = uploadTree(await watch(), join(near, "big"), join(far, "other"), { sha256: other });
    await expect(third).rejects.toThrow(/holds other bytes than when it was made/);
    expect(fs.existsSync(join(far, "other"))).toBe(false);
  });

  it("in a small file of a cut upload are found, also where the whole pack was verified before", async () => {
    smallFiles(join(near, "tree"), 900, 100 << 10);
    const size = bytesOf(join(near, "tree"));
    const first = await watch((kill) => ({ at: { bytes: size * 0.95, run: kill } }));
    await expect(uploadTree(first, join(near, "tree"), join(far, "tree"))).rejects.toBeInstanceOf(ConnectionError);
    const part = join(far, leftovers(far)[0] ?? "");
    for (const e of fs.readdirSync(part, { recursive: true, withFileTypes: true }))
      if (e.name === "page-0.bin" || e.name === "page-500.bin") flip(join(e.parentPath, e.name), 10);
    const second = await watch();
    await uploadTree(second, join(near, "tree"), join(far, "tree"));
    expect(content(join(far, "tree"))).toEqual(content(join(near, "tree")));
  });

  it("in what a cut download left are found and only their block comes again", async () => {
    const size = 128 * MIB;
    bigFile(join(far, "big"), size);
    const first = await watch((kill) => ({ at: { bytes: size * 0.8, run: kill } }));
    await expect(downloadTree(first, join(far, "big"), join(near, "big"))).rejects.toBeInstanceOf(ConnectionError);
    const parts = join(near, ".part");
    const name = fs.readdirSync(parts).find((n) => n.length === 32) ?? "";
    expect(fs.statSync(join(parts, name)).size).toBeGreaterThan(64 * MIB);
    flip(join(parts, name), 40 * MIB);
    const second = await watch();
    await downloadTree(second, join(far, "big"), join(near, "big"));
    expect(content(join(near, "big"))).toEqual(content(join(far, "big")));
    expect(second.moved).toBeLessThan(size * 0.2 + FLIGHT + BLOCK + MIB);
    expect(second.moved).toBeGreaterThan(BLOCK);
  });

  function flip(path: string, at: number): void {
    const fd = fs.openSync(path, "r+");
    const byte = Buffer.alloc(1);
    fs.readSync(fd, byte, 0, 1, at);
    fs.writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
    fs.closeSync(fd);
  }
});

describe("a source that changes", () => {
  it("after a cut upload is sent from its beginning, and what was begun is cleared away", async () => {
    const tree = join(near, "tree");
    smallFiles(tree, 300, 100 << 10);
    bigFile(join(tree, "big"), 40 * MIB);
    const first = await watch((kill) => ({ at: { bytes: 50 * MIB, run: kill } }));
    await expect(uploadTree(first, tree, join(far, "tree"))).rejects.toBeInstanceOf(ConnectionError);
    bigFile(join(tree, "big"), 41 * MIB);
    const second = await watch();
    await uploadTree(second, tree, join(far, "tree"));
    expect(second.moved).toBeGreaterThan(bytesOf(tree));
    expect(content(join(far, "tree"))).toEqual(content(tree));
    expect(leftovers(far)).toEqual([]);
  });

  it("while it is sent is an error that says so, and no half of it gets the name", async () => {
    bigFile(join(near, "big"), 40 * MIB);
    const line = await watch(() => ({
      at: { bytes: 10 * MIB, run: () => fs.appendFileSync(join(near, "big"), "x") },
    }));
    const upload = uploadTree(line, join(near, "big"), join(far, "big"));
    await expect(upload).rejects.toThrow(/changed while it was read/);
    await expect(upload).rejects.toBeInstanceOf(TransferError);
    expect(fs.existsSync(join(far, "big"))).toBe(false);
  });

  it("on the far side between two downloads is fetched anew", async () => {
    bigFile(join(far, "big"), 60 * MIB);
    const first = await watch((kill) => ({ at: { bytes: 30 * MIB, run: kill } }));
    await expect(downloadTree(first, join(far, "big"), join(near, "big"))).rejects.toBeInstanceOf(ConnectionError);
    bigFile(join(far, "big"), 61 * MIB);
    await downloadTree(await watch(), join(far, "big"), join(near, "big"));
    expect(content(join(near, "big"))).toEqual(content(join(far, "big")));
    expect(leftovers(near)).toEqual([]);
  });
});

describe("a full disk", () => {
  const mounts: string[] = [];
  afterEach(() => {
    for (const folder of mounts.splice(0)) execFileSync("umount", [folder]);
  });
  function disk(folder: string, megabytes: number, more = ""): string {
    fs.mkdirSync(folder);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=777,${more}`, "tmpfs", folder]);
    mounts.push(folder);
    return folder;
  }

  it("there is told before anything is sent, with what is needed and what is free", async () => {
    const full = disk(join(far, "disk"), 20);
    bigFile(join(near, "big"), 30 * MIB);
    const line = await watch();
    const upload = uploadTree(line, join(near, "big"), join(full, "big"));
    await expect(upload).rejects.toThrow(/30\.0 MiB are to be sent and 20\.0 MiB are free at .*disk/);
    await expect(upload).rejects.toBeInstanceOf(QuotaError);
    expect(line.moved).toBeLessThan(WORDS);
    expect(fs.readdirSync(full)).toEqual([]);
  });

  it("by the number of files is told, too", async () => {
    const full = disk(join(far, "disk"), 20, "nr_inodes=20");
    smallFiles(join(near, "tree"), 20, 1000);
    const line = await watch();
    const upload = uploadTree(line, join(near, "tree"), join(full, "tree"));
    await expect(upload).rejects.toThrow(/27 files are to be made and 19 are allowed/);
    await expect(upload).rejects.toBeInstanceOf(QuotaError);
    expect(line.moved).toBeLessThan(WORDS);
  });

  it.each(["big", "tree"])("there in the middle of %s stops it, and it goes on when there is room", async (name) => {
    const full = disk(join(far, "disk"), 120);
    if (name === "big") bigFile(join(near, name), 70 * MIB);
    else smallFiles(join(near, name), 700, 100 << 10);
    const size = bytesOf(join(near, name));
    const filler = join(full, "filler");
    const line = await watch(() => ({
      at: { bytes: 40 * MIB, run: () => fs.writeFileSync(filler, Buffer.alloc(65 * MIB)) },
    }));
    const upload = uploadTree(line, join(near, name), join(full, name));
    await expect(upload).rejects.toThrow(
      /No space is left at .*disk; [\d.]+ MiB were still to be sent, and \d+ bytes are free/,
    );
    await expect(upload).rejects.toBeInstanceOf(QuotaError);
    const before = line.moved;
    fs.rmSync(filler);
    await uploadTree(line, join(near, name), join(full, name));
    expect(content(join(full, name))).toEqual(content(join(near, name)));
    expect(line.moved).toBeLessThan(size + FLIGHT + (name === "big" ? 0 : 3 * PACK));
    expect(before).toBeGreaterThan(30 * MIB);
  });

  it("here is told before, and in the middle stops a download that goes on when there is room", async () => {
    const full = disk(join(near, "disk"), 120);
    bigFile(join(far, "big"), 70 * MIB);
    const filler = join(full, "filler");
    fs.writeFileSync(filler, Buffer.alloc(60 * MIB));
    const line = await watch();
    await expect(downloadTree(line, join(far, "big"), join(full, "big"))).rejects.toThrow(
      /70\.0 MiB are to come and 60/,
    );
    expect(line.moved).toBeLessThan(MIB);
    fs.rmSync(filler);
    const other = await watch(() => ({
      at: { bytes: 40 * MIB, run: () => fs.writeFileSync(filler, Buffer.alloc(65 * MIB)) },
    }));
    const download = downloadTree(other, join(far, "big"), join(full, "big"));
    await expect(download).rejects.toThrow(/The disk of this machine is full/);
    await expect(download).rejects.toBeInstanceOf(QuotaError);
    fs.rmSync(filler);
    await downloadTree(other, join(far, "big"), join(full, "big"));
    expect(content(join(full, "big"))).toEqual(content(join(far, "big")));
    expect(other.moved).toBeLessThan(70 * MIB + FLIGHT);
  });
});

/** Names that mean something to shells, tools, archives or terminals, and the longest that there are. */
const NAMES = [
  "plain",
  " begins and ends with spaces ",
  'it\'s "quoted"',
  "$(touch harm)",
  "`touch harm`",
  "; touch harm; #",
  "| touch harm",
  "line\nend",
  "tab\tand\rreturn",
  "-rf",
  "--help",
  "--checkpoint-action=exec=touch harm",
  "back\\slash\\n",
  "*",
  "?[a-z]{1,2}",
  "~root",
  "=cmd",
  "%s%n",
  "!history",
  "Übermaß é é 漢字 🙂",
  "…".repeat(85),
  "x".repeat(255),
  "\u001b[31mred",
  ".hidden",
  "...",
  "name.json",
];

describe("names", () => {
  /** Each name as a small file, an empty file, a file that travels alone, and a folder with files in it. */
  function tree(root: string): void {
    for (const [i, name] of NAMES.entries()) {
      const folder = join(root, `${i % 3}`, name);
      fs.mkdirSync(join(folder, "empty"), { recursive: true });
      fs.writeFileSync(join(folder, name), `content of ${i}`, { mode: i % 2 ? 0o755 : 0o644 });
      fs.writeFileSync(join(folder, "nothing"), "");
      if (i % 6 === 1) fs.writeFileSync(join(folder, `l${name.slice(0, 40)}`), randomBytes(5 * MIB));
    }
  }

  it.each([
    ["with tar", true],
    ["by the file protocol alone", false],
  ])("of every kind arrive unharmed, there and back, %s", async (_, commands) => {
    tree(join(near, "tree"));
    const { line } = await open();
    const way = commands ? line : onlyFiles(line);
    const to = join(far, "a $(touch harm) 'folder'\n-rf", "tree");
    const up = await uploadTree(way, join(near, "tree"), to);
    expect(content(to)).toEqual(content(join(near, "tree")));
    expect(up.verified).toBe(commands ? "far" : "here");
    const down = await downloadTree(way, to, join(near, "back"));
    expect(content(join(near, "back"))).toEqual(content(join(near, "tree")));
    expect(down.verified).toBe(commands ? "far" : "here");
    for (const folder of [far, near, bed.home(), box.home])
      expect(fs.readdirSync(folder, { recursive: true }).filter((n) => /(^|\/)harm$/.test(String(n)))).toEqual([]);
  });

  it("of links stay links inside the tree, and one that leads out is refused before anything is sent", async () => {
    const root = join(near, "tree");
    fs.mkdirSync(join(root, "a", "b"), { recursive: true });
    fs.writeFileSync(join(root, "a", "file"), "here");
    fs.symlinkSync("../file", join(root, "a", "b", "up"));
    fs.symlinkSync(join(root, "a"), join(root, "absolute"));
    const line = await watch();
    await uploadTree(line, root, join(far, "tree"));
    expect(fs.readlinkSync(join(far, "tree", "a", "b", "up"))).toBe("../file");
    expect(fs.readlinkSync(join(far, "tree", "absolute"))).toBe("a");
    expect(fs.readFileSync(join(far, "tree", "a", "b", "up"), "utf8")).toBe("here");

    for (const target of ["/etc/passwd", "../..", "missing"]) {
      fs.symlinkSync(target, join(root, "wrong"));
      const upload = uploadTree(line, root, join(far, "other"));
      await expect(upload).rejects.toThrow(/is a link that leads (out of the folder|nowhere)/);
      await expect(upload).rejects.toBeInstanceOf(TransferError);
      fs.unlinkSync(join(root, "wrong"));
    }
    expect(fs.readdirSync(far)).toEqual(["tree"]);
  });

  it("that lead through a link here are refused, and what is behind it stays", async () => {
    fs.mkdirSync(join(far, "tree", "sub"), { recursive: true });
    fs.writeFileSync(join(far, "tree", "sub", "file"), "theirs");
    fs.mkdirSync(join(near, "elsewhere"));
    fs.mkdirSync(join(near, "to"));
    fs.symlinkSync(join(near, "elsewhere"), join(near, "to", "sub"));
    const { line } = await open();
    await expect(downloadTree(line, join(far, "tree"), join(near, "to"))).rejects.toThrow(/is not a folder/);
    expect(fs.readdirSync(join(near, "elsewhere"))).toEqual([]);
  });

  it("of links and unfinished files of the far side are left there", async () => {
    fs.mkdirSync(join(far, "tree", "half.part"), { recursive: true });
    fs.writeFileSync(join(far, "tree", "half.part", "file"), "half");
    fs.writeFileSync(join(far, "tree", "shard.arrow.part"), "half");
    fs.writeFileSync(join(far, "tree", "whole"), "whole");
    fs.symlinkSync("/etc/passwd", join(far, "tree", "link"));
    execFileSync("mkfifo", [join(far, "tree", "pipe")]);
    const { line } = await open();
    for (const [way, to] of [
      [line, "a"],
      [onlyFiles(line), "b"],
    ] as const) {
      await downloadTree(way, join(far, "tree"), join(near, to));
      expect(fs.readdirSync(join(near, to))).toEqual(["whole"]);
    }
  });
});

/** As a site that allows no commands over SSH answers them (`ForceCommand internal-sftp`). */
function onlyFiles(line: Transport): Transport {
  return {
    kind: line.kind,
    asked: line.asked,
    lost: line.lost,
    close: () => line.close(),
    sftp: (n) => line.sftp(n),
    exec: async () => ({ code: 1, stdout: "This service allows sftp connections only.\n", stderr: "" }),
  };
}

describe("two at once", () => {
  it("over one line send the same content once, and both are told how far it is", async () => {
    smallFiles(join(near, "tree"), 400, 100 << 10);
    const size = bytesOf(join(near, "tree"));
    const line = await watch();
    const seen = [0, 0];
    const results = await Promise.all(
      [0, 1].map((i) =>
        uploadTree(line, join(near, "tree"), join(far, "tree"), {
          onProgress: (p) => {
            seen[i] = p.bytes;
          },
        }),
      ),
    );
    expect(results.map((r) => r.skipped).sort()).toEqual([0, 400]);
    expect(seen).toEqual([size, size]);
    expect(line.moved).toBeLessThan(size + 2 * MIB);
    expect(content(join(far, "tree"))).toEqual(content(join(near, "tree")));
  });

  it("from two machines don't disturb each other, and leave nothing beside the result", async () => {
    smallFiles(join(near, "tree"), 300, 100 << 10);
    bigFile(join(near, "tree", "big"), 40 * MIB);
    const both = await Promise.all([watch(), watch()]);
    await Promise.all(
      both.map((line, i) =>
        uploadTree(line, join(near, "tree"), join(far, "tree"), { journals: join(near, `machine-${i}`) }),
      ),
    );
    expect(content(join(far, "tree"))).toEqual(content(join(near, "tree")));
    // One whose part was cleared away under it may still be writing its last file.
    expect(leftovers(far)).toEqual([]);
  });

  it("download to one folder, and leave nothing beside the result", async () => {
    smallFiles(join(far, "tree"), 300, 100 << 10);
    const both = await Promise.all([watch(), watch()]);
    await Promise.all(both.map((line) => downloadTree(line, join(far, "tree"), join(near, "tree"))));
    expect(content(join(near, "tree"))).toEqual(content(join(far, "tree")));
    expect(leftovers(join(near, "tree"))).toEqual([]);
  });
});

describe("an upload", () => {
  it("of a tree that is there sends nothing, and of a file that is there only if it differs", async () => {
    smallFiles(join(near, "tree"), 10, 100);
    bigFile(join(near, "big"), MIB);
    const line = await watch();
    await uploadTree(line, join(near, "tree"), join(far, "deep", "er", "tree"));
    const before = line.moved;
    expect(await uploadTree(line, join(near, "tree"), join(far, "deep", "er", "tree"))).toEqual({
      files: 0,
      bytes: 1000,
      skipped: 10,
      sent: 0,
      verified: "none",
    });
    await uploadTree(line, join(near, "big"), join(far, "big"));
    expect((await uploadTree(line, join(near, "big"), join(far, "big"))).sent).toBe(0);
    expect(line.moved - before - MIB).toBeLessThan(WORDS);
    bigFile(join(near, "big"), MIB);
    expect((await uploadTree(line, join(near, "big"), join(far, "big"))).sent).toBe(MIB);
    expect(content(join(far, "big"))).toEqual(content(join(near, "big")));
  });

  it("keeps modes, and times of what is packed", async () => {
    const tree = join(near, "tree");
    fs.mkdirSync(tree);
    fs.writeFileSync(join(tree, "script"), "#!/bin/sh\n", { mode: 0o755 });
    fs.writeFileSync(join(tree, "secret"), "x", { mode: 0o600 });
    fs.writeFileSync(join(tree, "read-only"), "x", { mode: 0o444 });
    bigFile(join(tree, "big"), 5 * MIB);
    fs.chmodSync(join(tree, "big"), 0o750);
    fs.utimesSync(join(tree, "script"), 1_000_000_000, 1_000_000_000);
    const { line } = await open();
    await uploadTree(line, tree, join(far, "tree"));
    const mode = (name: string) => fs.statSync(join(far, "tree", name)).mode & 0o7777;
    expect(["script", "secret", "read-only", "big"].map(mode)).toEqual([0o755, 0o600, 0o444, 0o750]);
    expect(fs.statSync(join(far, "tree", "script")).mtimeMs).toBe(1e12);
    expect(fs.statSync(join(far, "tree")).mode & 0o777).toBe(0o700);
    await downloadTree(line, join(far, "tree"), join(near, "back"));
    expect(fs.statSync(join(near, "back", "script")).mode & 0o777).toBe(0o755);
    expect(fs.statSync(join(near, "back", "script")).mtimeMs).toBe(1e12);
  });

  it("is interrupted at once, and goes on", async () => {
    bigFile(join(near, "big"), 80 * MIB);
    const stop = new AbortController();
    const line = await watch(() => ({ at: { bytes: 30 * MIB, run: () => stop.abort() } }));
    const upload = uploadTree(line, join(near, "big"), join(far, "big"), { signal: stop.signal });
    await expect(upload).rejects.toBeInstanceOf(InterruptedError);
    await uploadTree(line, join(near, "big"), join(far, "big"));
    expect(line.moved).toBeLessThan(80 * MIB + FLIGHT);
    expect(content(join(far, "big"))).toEqual(content(join(near, "big")));
    await expect(
      uploadTree(line, join(near, "big"), join(far, "other"), { signal: AbortSignal.abort() }),
    ).rejects.toBeInstanceOf(InterruptedError);
  });

  it("moves into place what is there already, sends what is not, and after a cut compares both", async () => {
    fs.mkdirSync(join(near, "tree"));
    for (const name of ["there", "wrong", "missing"]) bigFile(join(near, "tree", name), 20 * MIB);
    for (const name of ["there", "wrong"]) {
      fs.copyFileSync(join(near, "tree", name), join(far, name));
      execFileSync("chown", [bed.user, join(far, name)]);
    }
    const wrong = fs.openSync(join(far, "wrong"), "r+");
    fs.writeSync(wrong, "other bytes", 5 * MIB);
    fs.closeSync(wrong);
    const have = new Map(["there", "wrong", "missing"].map((name) => [name, join(far, name)]));
    const first = await watch((kill) => ({ at: { bytes: 10 * MIB, run: kill } }));
    const tree = join(near, "tree");
    await expect(uploadTree(first, tree, join(far, "tree"), { have })).rejects.toBeInstanceOf(ConnectionError);
    const second = await watch();
    await uploadTree(second, tree, join(far, "tree"), { have });
    expect(content(join(far, "tree"))).toEqual(content(tree));
    expect(first.moved + second.moved).toBeLessThan(40 * MIB + FLIGHT);
    expect(fs.readdirSync(far)).toEqual(["tree"]);
  });

  it("works where only two sessions are allowed and new keys are exchanged every 16 MiB", async () => {
    smallFiles(join(near, "tree"), 300, 100 << 10);
    bigFile(join(near, "tree", "big"), 40 * MIB);
    const { line } = await open("few");
    await uploadTree(line, join(near, "tree"), join(far, "tree"));
    expect(content(join(far, "tree"))).toEqual(content(join(near, "tree")));
    await downloadTree(line, join(far, "tree"), join(near, "back"));
    expect(content(join(near, "back"))).toEqual(content(join(near, "tree")));
  });

  it.each([
    ["openssl", /^python .*$/m],
    ["sha256sum", /^(python .*|openssl)$/gm],
    ["no tool", /^(python .*|openssl|sha256sum)$/gm],
  ])("is compared with %s, too", async (_, lacking) => {
    const { line } = await open();
    const poor = watched(line, {});
    const exec = poor.exec.bind(poor);
    poor.exec = async (...call) => {
      const result = await exec(...call);
      return { ...result, stdout: result.stdout.replace(lacking, "") };
    };
    bigFile(join(near, "big"), 40 * MIB);
    const result = await uploadTree(poor, join(near, "big"), join(far, "big"));
    expect(result.verified).toBe(lacking.source.includes("sha256sum") ? "here" : "far");
    await downloadTree(poor, join(far, "big"), join(near, "back"));
    expect(content(join(near, "back"))).toEqual(content(join(near, "big")));
    // A file that is there is compared as a whole.
    expect(await uploadTree(poor, join(near, "big"), join(far, "big"))).toMatchObject({ sent: 0 });
  });

  it("to a folder that may not be written says so", async () => {
    bigFile(join(near, "big"), 1000);
    const { line } = await open();
    await expect(uploadTree(line, join(near, "big"), "/root/big")).rejects.toThrow(/EACCES|[Pp]ermission denied/);
  });
});

describe("a download", () => {
  it("takes what is new, goes on with what has grown, and touches nothing that differs", async () => {
    const tree = join(far, "tree");
    fs.mkdirSync(tree);
    bigFile(join(tree, "shard-0"), 5 * MIB);
    fs.writeFileSync(join(tree, "state.json"), "1");
    fs.writeFileSync(join(tree, "log"), "first line\n");
    const line = await watch();
    const to = join(near, "to");
    expect(await downloadTree(line, tree, to)).toMatchObject({ files: 3, skipped: 0 });
    const before = line.moved;
    expect(await downloadTree(line, tree, to)).toMatchObject({ files: 0, skipped: 3, verified: "none" });
    bigFile(join(tree, "shard-1"), 6 * MIB);
    fs.writeFileSync(join(tree, "state.json"), "2");
    fs.appendFileSync(join(tree, "log"), "second line\n");
    const inode = fs.statSync(join(to, "shard-0")).ino;
    expect(await downloadTree(line, tree, to)).toMatchObject({ files: 3, skipped: 1 });
    expect(content(to)).toEqual(content(tree));
    expect(fs.statSync(join(to, "shard-0")).ino).toBe(inode);
    expect(line.moved - before).toBeLessThan(6 * MIB + WORDS);

    fs.writeFileSync(join(to, "log"), "mine");
    bigFile(join(tree, "shard-2"), 1000);
    const refused = downloadTree(line, tree, to);
    await expect(refused).rejects.toThrow(/log exists and is not what the job wrote/);
    expect(fs.readFileSync(join(to, "log"), "utf8")).toBe("mine");
    expect(fs.existsSync(join(to, "shard-2"))).toBe(false);
  });

  it("leaves out what its caller excludes", async () => {
    smallFiles(join(far, "tree"), 14, 10);
    const { line } = await open();
    await downloadTree(line, join(far, "tree"), join(near, "to"), { exclude: (path) => path.startsWith("part 3") });
    expect(fs.readdirSync(join(near, "to")).sort()).toEqual([0, 1, 2, 4, 5, 6].map((i) => `part ${i}`));
  });
});
