/** The last answer of each cluster to what it has and allows, kept so that a new job can be held against it at once. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ClusterConfig } from "../config/index.js";
import { stateDir } from "../paths.js";
import type { ClusterInfo } from "../protocol.js";

/** Milliseconds for which an answer is believed. */
const BELIEVED = 7 * 24 * 3_600_000;

interface Known {
  /** To which login the answer belongs: a cluster of config.yaml may be pointed elsewhere under its old name. */
  of: string;
  info: ClusterInfo;
}

const keyOf = (c: ClusterConfig) => [c.scheduler, c.transport, c.host, c.port, c.user].join("\n");
const folder = () => join(stateDir(), "clusters");
const pathOf = (c: ClusterConfig) => join(folder(), `${encodeURIComponent(c.name)}.json`);

/** Keeps an answer. */
export function rememberCluster(cluster: ClusterConfig, info: ClusterInfo): void {
  mkdirSync(folder(), { recursive: true, mode: 0o700 });
  const path = pathOf(cluster);
  const part = `${path}.${randomBytes(4).toString("hex")}.part`;
  writeFileSync(part, JSON.stringify({ of: keyOf(cluster), info } satisfies Known), { mode: 0o600 });
  renameSync(part, path);
}

/** What a cluster said when it was last asked, if that is less than a week ago. */
export function knownCluster(cluster: ClusterConfig): ClusterInfo | undefined {
  try {
    const { of, info } = JSON.parse(readFileSync(pathOf(cluster), "utf8")) as Known;
    const fresh = Date.now() - Date.parse(info.askedAt) < BELIEVED;
    return of === keyOf(cluster) && fresh && Array.isArray(info.partitions) ? info : undefined;
  } catch {
    return undefined;
  }
}
