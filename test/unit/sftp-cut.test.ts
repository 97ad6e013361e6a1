import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openSsh } from "../../kernel-lib/src/cluster/ssh.js";
import type { Transport } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { lyingServer } from "../support/lying-server.js";

/** Calls that look closer at a refusal, on a line that ends before they have seen anything. */
let home: string;
const before = process.env.HOME;
const open: (() => Promise<void>)[] = [];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "yale-test-"));
  process.env.HOME = home;
});
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
  process.env.HOME = before;
  rmSync(home, { recursive: true, force: true });
});

async function lineThatEndsAt(path: string): Promise<Transport> {
  const server = await lyingServer({ cut: (asked) => asked === path });
  open.push(server.close);
  const cluster = { name: "far", transport: "ssh", host: "127.0.0.1", port: server.port, user: "me" };
  const line = await openSsh(cluster as ClusterConfig, { ask: async () => ["yes"] });
  open.push(() => line.close());
  return line;
}

it("tells of the line when it ends while a folder's parent is looked for", async () => {
  const sftp = await (await lineThatEndsAt("/far/folder")).sftp();
  await expect(sftp.mkdir("/far/folder")).rejects.toMatchObject({ code: "connection" });
});

it("tells of the line when it ends while it is asked whether a file is there", async () => {
  const sftp = await (await lineThatEndsAt("/far/file")).sftp();
  await expect(sftp.open("/far/file", "wx")).rejects.toMatchObject({ code: "connection" });
});
