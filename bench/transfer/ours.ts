/** One measurement of Yale Jobs: HOST PORT USER KEY up|down FROM TO. Prints seconds and bytes as JSON. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSsh } from "../../kernel-lib/src/cluster/ssh.js";
import { downloadTree, uploadTree } from "../../kernel-lib/src/cluster/transfer.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";

async function main(): Promise<void> {
  const [host = "", port = "", user = "", identity = "", way, source = "", target = ""] = process.argv.slice(2);
  // known_hosts and all else that is the user's stays as it is.
  const home = mkdtempSync(join(tmpdir(), "yale-bench-"));
  process.env["HOME"] = home;
  const cluster = { name: "bench", transport: "ssh", host, port: Number(port), user, identity } as ClusterConfig;
  const line = await openSsh(cluster, { ask: async () => ["yes"] });
  const cpu = process.cpuUsage();
  const begin = performance.now();
  const { bytes, verified } =
    way === "up"
      ? await uploadTree(line, source, target, { journals: home })
      : await downloadTree(line, source, target);
  const seconds = (performance.now() - begin) / 1000;
  const used = process.cpuUsage(cpu);
  await line.close();
  rmSync(home, { recursive: true });
  const memory = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ seconds, bytes, all: true, cpu: (used.user + used.system) / 1e6, memory, verified }));
}

void main();
