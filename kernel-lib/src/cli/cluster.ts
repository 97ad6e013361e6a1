/** The verbs that look at clusters: cluster info, check, download, ls. */
import { yaleOf } from "./core.js";
import { type Flags, runFlags } from "./flags.js";
import { findingText, print, printJson } from "./terminal.js";

/** `yale cluster info [name]`: opens the line if need be. */
export async function info(name: string | undefined, flags: Flags): Promise<void> {
  const found = await yaleOf(flags).cluster(name);
  if (flags.json === true) return printJson(found);
  print((await import("../display/index.js")).clusterText(found));
}

/** `yale cluster check [name] --model M`. Ends with 1 where a fault was found. */
export async function check(name: string | undefined, flags: Flags): Promise<void> {
  const options = { ...runFlags(flags), ...(name === undefined ? {} : { cluster: name }) };
  const found = await yaleOf(flags).checkModel(String(flags.model), options);
  const faults = found.filter((f) => f.state === "fault").length;
  process.exitCode = faults === 0 && found.length > 0 ? 0 : 1;
  if (flags.json === true) return printJson(found);
  for (const finding of found) print(findingText(finding));
  print(
    found.length === 0
      ? "The job said nothing: see `yale jobs logs`."
      : faults === 0
        ? "It would run."
        : "It would fail.",
  );
}

/** `yale cluster download [name] --model M`. */
export async function download(name: string | undefined, flags: Flags): Promise<void> {
  const options = { ...runFlags(flags), ...(name === undefined ? {} : { cluster: name }) };
  const job = await (await yaleOf(flags).downloadModel(String(flags.model), options)).submit();
  if (flags.json === true) return printJson(job);
  print(`Job ${job.id} fetches the weights; \`yale jobs logs ${job.id} -f\` shows how far it is.`);
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
