/** One measurement: HOST PORT USER KEY prepare|upload|both SOURCE FAR. Prints seconds, pages and bytes as JSON. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSsh } from "../../kernel-lib/src/cluster/ssh.js";
import { uploadTree } from "../../kernel-lib/src/cluster/transfer.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { ShardsAhead, shardsAhead } from "../../kernel-lib/src/jobs/ahead.js";
import { prepare } from "../../kernel-lib/src/jobs/prepare.js";
import type { JobSpec } from "../../kernel-lib/src/protocol.js";

async function main(): Promise<void> {
  const [host = "", port = "", user = "", identity = "", what, source = "", far = ""] = process.argv.slice(2);
  // known_hosts, caches and all else that is the user's stay as they are.
  const home = mkdtempSync(join(tmpdir(), "yale-bench-"));
  process.env.HOME = home;
  const cluster = { name: "bench", transport: "ssh", host, port: Number(port), user, identity, jobDir: far };
  const line = await openSsh(cluster as ClusterConfig, { ask: async () => ["yes"] });
  const spec: JobSpec = {
    ...{ kind: "ocr", name: "bench", cluster: "bench", options: {}, resources: {} },
    sources: [{ kind: "pdf", location: source }],
  };
  const { signal } = new AbortController();
  const over = (work: (transport: typeof line) => Promise<void>) => work(line);
  const ahead = new ShardsAhead({ cluster: cluster as ClusterConfig, over, signal });
  const begin = performance.now();
  const { folder, hash, pages, bytes, shards } = await prepare(spec, {
    onShard: (shard) => (what === "both" ? ahead.add(shard) : undefined),
  });
  const prepared = (performance.now() - begin) / 1000;
  if (what !== "prepare") {
    await ahead.end();
    const have = await shardsAhead(await line.sftp(), far, shards);
    const sha256 = new Map(shards.map((s) => [s.file, s.sha256]));
    await uploadTree(line, folder, join(far, "datasets", hash), { have, sha256, journals: home });
  }
  const whole = (performance.now() - begin) / 1000;
  await line.close();
  rmSync(home, { recursive: true });
  const seconds = what === "upload" ? whole - prepared : whole;
  console.log(JSON.stringify({ seconds, pages, bytes, memory: process.resourceUsage().maxRSS * 1024 }));
}

// pdf.js in its workers keeps nothing that is needed.
void main().then(() => process.exit(0));
