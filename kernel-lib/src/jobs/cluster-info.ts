/**
 * What a cluster has and allows: the scheduler's answer, completed by the site's profile, its storage with quotas and
 * purges, and the submissions of the last hour. The answer is kept, so that a job can be held against it later.
 */
import { posix } from "node:path";
import { isMissing, type Sftp, type Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import type { ClusterInfo } from "../protocol.js";
import { scheduler } from "../schedulers/registry.js";
import { type SiteProfile, storageOf } from "../sites/index.js";
import { SubmissionBudget } from "./budget.js";
import { jobRoot } from "./job-root.js";
import { rememberCluster } from "./known.js";
import { siteQuotas } from "./site-quota.js";

type Storage = ClusterInfo["storage"][number];

/** Asks a cluster what it has. Throws SchedulerError and ConnectionError. */
export async function clusterInfo(cluster: ClusterConfig, transport: Transport): Promise<ClusterInfo> {
  const { site } = cluster;
  const found = await scheduler(cluster.scheduler).describe(transport);
  const { lastHour, limit } = await new SubmissionBudget().used(cluster);
  const places = await storage(cluster, transport);
  const info: ClusterInfo = {
    cluster: cluster.name,
    scheduler: cluster.scheduler,
    askedAt: new Date().toISOString(),
    ...found,
    partitions: found.partitions.map((p) => ({ ...profileOf(cluster, p.name), ...p })),
    storage: places,
    submissions: { lastHour, ...(limit === undefined ? {} : { limit }) },
    ...(site === undefined
      ? {}
      : {
          site: {
            name: site.name,
            title: site.title,
            checked: site.checked,
            notes: siteNotes(site, places[0]?.path ?? ""),
          },
        }),
  };
  rememberCluster(cluster, info);
  return info;
}

function siteNotes(site: SiteProfile, jobs: string): string[] {
  const kind = storageOf(site, jobs);
  return [
    ...(site.windingDown === undefined ? [] : [site.windingDown]),
    ...(kind === undefined ? [] : [`job_dir lies in ${kind.name}, which is meant for ${kind.use}.`]),
    ...(site.transferHost === undefined
      ? []
      : [
          `${site.transferHost} is for bulk transfers by hand. It asks for a second factor of its own: nothing is sent there by itself.`,
        ]),
    ...site.notes,
  ];
}

/** What the site's profile says of a partition; what the cluster itself says goes before it. */
function profileOf(cluster: ClusterConfig, name: string): Partial<ClusterInfo["partitions"][number]> {
  const p = cluster.site?.partitions.find((d) => d.name === name);
  if (p === undefined) return {};
  const { maxSeconds, gpusPerUser, runningPerUser, submittedPerUser } = p;
  return Object.fromEntries(
    Object.entries({ maxSeconds, gpusPerUser, runningPerUser, submittedPerUser }).filter(([, v]) => v !== undefined),
  );
}

async function storage(cluster: ClusterConfig, transport: Transport): Promise<Storage[]> {
  const sftp = await transport.sftp();
  const path = await folderOf(cluster, transport, sftp);
  const kind = cluster.site === undefined ? undefined : storageOf(cluster.site, path);
  const purgeDays = cluster.purgeDays ?? kind?.purgeDays;
  const free = await sftp.free(await existing(sftp, path)).catch(() => undefined);
  const staged = await stagedIn(sftp, path, purgeDays);
  const jobs: Storage = {
    path,
    ...(free === undefined ? {} : { bytesFree: free.bytes, filesFree: free.files }),
    ...(kind?.bytes === undefined ? {} : { bytesLimit: kind.bytes }),
    ...(kind?.files === undefined ? {} : { filesLimit: kind.files }),
    ...(purgeDays === undefined ? {} : { purgeDays }),
    ...(staged === undefined ? {} : { staged }),
  };
  return [jobs, ...(await siteQuotas(cluster, transport))];
}

/** The folder of jobs as an absolute path. It need not exist yet, and is not made. */
async function folderOf(cluster: ClusterConfig, transport: Transport, sftp: Sftp): Promise<string> {
  const given = cluster.jobDir;
  // Wildcards are resolved as a submission does; where they fit nothing, they are shown as they are.
  if (/[*?[]/.test(given)) return jobRoot(transport, sftp, given).catch(() => given);
  if (posix.isAbsolute(given)) return posix.normalize(given).replace(/(.)\/$/, "$1");
  return posix.join(await sftp.realpath("."), given.replace(/^~\//, "")).replace(/(.)\/$/, "$1");
}

async function existing(sftp: Sftp, path: string): Promise<string> {
  let folder = path;
  while (folder !== "/" && folder !== ".") {
    try {
      await sftp.stat(folder);
      return folder;
    } catch (error) {
      if (!isMissing(error)) throw error;
      folder = posix.dirname(folder);
    }
  }
  return folder;
}

/** Datasets that lie there, and when the site may delete the first: files count as old from their last change. */
async function stagedIn(sftp: Sftp, root: string, purgeDays: number | undefined): Promise<Storage["staged"]> {
  const entries = await sftp.readdir(posix.join(root, "datasets")).catch(() => []);
  const times = entries.filter((e) => e.stat.type === "directory" && !e.name.startsWith(".")).map((e) => e.stat.mtime);
  if (times.length === 0) return undefined;
  const expires =
    purgeDays === undefined ? undefined : new Date(Math.min(...times) + purgeDays * 24 * 3_600_000).toISOString();
  return { datasets: times.length, ...(expires === undefined ? {} : { expires: expires.slice(0, 10) }) };
}
