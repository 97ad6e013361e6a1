import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openSsh } from "../../kernel-lib/src/cluster/ssh.js";
import { sftpLimits } from "../../kernel-lib/src/cluster/ssh2-private.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { lyingServer } from "../support/lying-server.js";

const CHUNK = 254 << 10;
const bytes = randomBytes(5 * CHUNK + 100_000);
let home: string;
const before = process.env.HOME;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "yale-test-"));
  process.env.HOME = home;
});
afterEach(() => {
  process.env.HOME = before;
  rmSync(home, { recursive: true, force: true });
});

/** Reads a file of a server in chunks; gives the lengths that it was asked for. */
async function readAll(server: { ident: string; most: number; first?: number }): Promise<number[]> {
  const asked: number[] = [];
  const give = (length: number) => {
    asked.push(length);
    return Math.min(length, asked.length === 1 ? (server.first ?? server.most) : server.most);
  };
  const far = await lyingServer({ ident: server.ident, give, bytes: () => bytes });
  const cluster = { name: "old", transport: "ssh", host: "127.0.0.1", port: far.port, user: "me" } as ClusterConfig;
  const line = await openSsh(cluster, { ask: async () => ["yes"] });
  try {
    const handle = await (await line.sftp()).open("/file", "r");
    for (let at = 0; at < bytes.length; at += CHUNK)
      expect(bytes.subarray(at, at + CHUNK).equals(await handle.read(CHUNK, at))).toBe(true);
    await handle.close();
  } finally {
    await line.close();
    await far.close();
  }
  return asked;
}

describe("a chunk of a file", () => {
  it("is one request where the server gives it whole", async () => {
    const asked = await readAll({ ident: "OpenSSH_9.2", most: Number.POSITIVE_INFINITY });
    expect(asked.filter((length) => length === CHUNK)).toHaveLength(6);
    // The last was short: whether the file ends there is asked once.
    expect(asked).toHaveLength(7);
  });

  it("is asked for in pieces at once of an OpenSSH before 8.5, which gives 64 KiB and tells no limits", async () => {
    const asked = await readAll({ ident: "OpenSSH_8.0", most: 64 << 10 });
    // The first chunk shows it, one answer after the other; of the others no piece is asked for twice.
    const perChunk = Math.ceil(CHUNK / (64 << 10));
    expect(Math.max(...asked.slice(perChunk))).toBe(64 << 10);
    expect(asked.length).toBeLessThanOrEqual(6 * perChunk + 1);
  });

  it("is one request still where a file had grown between two answers", async () => {
    const asked = await readAll({ ident: "OpenSSH_9.2", most: Number.POSITIVE_INFINITY, first: 40 });
    expect(asked.slice(0, 3)).toEqual([CHUNK, CHUNK - 40, CHUNK]);
    expect(asked).toHaveLength(8);
  });

  it("is never longer than what ssh2 takes, whatever a server tells", () => {
    expect(sftpLimits({ _maxReadLen: 4 << 20, _maxWriteLen: 1000 } as never)).toEqual({ read: 255 << 10, write: 1000 });
  });

  it("is asked for in pieces at once of a server that takes no more than the protocol's least", async () => {
    const asked = await readAll({ ident: "Other_1.0", most: Number.POSITIVE_INFINITY });
    expect(Math.max(...asked)).toBeLessThanOrEqual(34_000);
  });
});
