/** The verbs that look at clusters: cluster info, cluster ls. */
import { yaleOf } from "./core.js";
import type { Flags } from "./flags.js";
import { print, printJson } from "./terminal.js";

/** `yale cluster info [name]`: opens the line if need be. */
export async function info(name: string | undefined, flags: Flags): Promise<void> {
  const found = await yaleOf(flags).cluster(name);
  if (flags.json === true) return printJson(found);
  print((await import("../display/index.js")).clusterText(found));
}

/** `yale cluster ls`: reads config.yaml and opens no line. */
export async function ls(flags: Flags): Promise<void> {
  const yale = yaleOf(flags);
  const { loadConfig } = await import("../config/index.js");
  const path = await yale.configPath();
  const config = await loadConfig(path === undefined ? { search: false } : { path });
  const states = new Map((await yale.connections()).map((c) => [c.cluster, c.state]));
  const clusters = [...config.clusters.values()].map((c) => ({
    name: c.name,
    default: c.name === config.default,
    transport: c.transport,
    scheduler: c.scheduler,
    ...(c.host === undefined ? {} : { where: c.user === undefined ? c.host : `${c.user}@${c.host}` }),
    ...(c.site === undefined ? {} : { site: c.site.title }),
    state: states.get(c.name) ?? ("disconnected" as const),
  }));
  if (flags.json === true) return printJson(clusters);
  print((await import("../display/index.js")).clustersText(clusters));
  if (path === undefined) print("There is no config.yaml: docs/clusters.md says how to describe a cluster.");
}
