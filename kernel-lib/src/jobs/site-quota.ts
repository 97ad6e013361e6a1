/** The quotas that a site's own command tells, and whether a dataset fits into them before it is sent. */
import { posix } from "node:path";
import type { Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { bytes, count } from "../display/index.js";
import { QuotaError } from "../errors.js";
import type { ClusterInfo } from "../protocol.js";
import { storageOf } from "../sites/index.js";
import { knownCluster } from "./known.js";
import { parseQuota } from "./quota.js";

type Storage = ClusterInfo["storage"][number];

/** Milliseconds that a quota command may take: it asks a file server that may be busy. */
const TIMEOUT = 20_000;
/** Milliseconds for which an answer is not asked for again: centres ask not to be polled (YCRC, `getquota`). */
const FRESH = 3_600_000;

/** What the site's command says; nothing where there is none, or it fails. */
export async function siteQuotas(cluster: ClusterConfig, transport: Transport): Promise<Storage[]> {
  const { quotaCommand, site } = cluster;
  if (quotaCommand === undefined || quotaCommand.length === 0) return [];
  const said = await transport.exec(quotaCommand, { shared: true, timeout: TIMEOUT }).catch(() => undefined);
  // quota ends with 1 where somebody is over; its table stands there all the same.
  return parseQuota(said?.stdout ?? "").map((row) => {
    const days = site?.storage.find((s) => s.name === nameOf(row))?.purgeDays;
    return row.purgeDays === undefined && days !== undefined ? { ...row, purgeDays: days } : row;
  });
}

/** `palmer:scratch` is called scratch. */
function nameOf(row: Storage): string {
  return row.path.slice(row.path.lastIndexOf(":") + 1);
}

/** The quota that counts for an absolute path, as far as names tell. */
export function quotaOf(cluster: ClusterConfig, rows: readonly Storage[], path: string): Storage | undefined {
  const kind = cluster.site === undefined ? undefined : storageOf(cluster.site, path)?.name;
  const inside = (root: string) =>
    root.startsWith("/") && `${path}/`.startsWith(root.endsWith("/") ? root : `${root}/`);
  return rows.find((row) => inside(row.path)) ?? rows.find((row) => kind !== undefined && nameOf(row) === kind);
}

/**
 * Throws QuotaError if so many bytes and files do not fit into what is left of the quota of `folder`. Says nothing where
 * the site has no command for quotas: then only what the file system says of its free space is known.
 */
export async function checkQuota(
  cluster: ClusterConfig,
  transport: Transport,
  folder: string,
  need: { bytes: number; files: number },
): Promise<void> {
  const known = knownCluster(cluster);
  const fresh = known !== undefined && Date.now() - Date.parse(known.askedAt) < FRESH;
  const remembered = known?.storage.filter((s) => s.bytesUsed !== undefined) ?? [];
  if (fresh && (remembered.length === 0 || shortage(quotaOf(cluster, remembered, folder), need) === undefined)) return;
  // Nobody is refused by what was true a while ago: they may have made room since, as the refusal told them to.
  const quota = quotaOf(cluster, await siteQuotas(cluster, transport), folder);
  const short = shortage(quota, need);
  if (quota === undefined || short === undefined) return;
  throw new QuotaError(
    `The quota of ${quota.path} on ${cluster.name} has ${short}.`,
    `Make room there (\`${cluster.quotaCommand?.map((w) => posix.basename(w)).join(" ") ?? "quota"}\` shows what is used), or give job_dir another place.`,
  );
}

/** What a quota lacks, in words; undefined if it has enough, or is not known. */
function shortage(quota: Storage | undefined, need: { bytes: number; files: number }): string | undefined {
  if (quota === undefined) return undefined;
  const left = (limit: number | undefined, used: number | undefined) =>
    limit === undefined || used === undefined ? Number.POSITIVE_INFINITY : Math.max(0, limit - used);
  const space = left(quota.bytesLimit, quota.bytesUsed);
  const files = left(quota.filesLimit, quota.filesUsed);
  if (need.bytes > space) return `${bytes(space)} left, and the pages take ${bytes(need.bytes)}`;
  if (need.files > files)
    return `room for ${count(files, "more file")}, and the pages take ${count(need.files, "file")}`;
  return undefined;
}
