/** What a cluster has and allows, and the clusters there are. Pure functions of what the core tells. */
import type { ClusterInfo, Connection } from "../protocol.js";
import type { Bundle } from "./bundle.js";
import { type Block, reportBundle, reportText } from "./tables.js";
import { bytes, count, duration, localTime, oneLine, textTable } from "./words.js";

/** `yale cluster info` on a terminal. */
export function clusterText(info: ClusterInfo): string {
  return reportText(blocks(info));
}

/** The same in a notebook. */
export function clusterBundle(info: ClusterInfo): Bundle {
  return reportBundle(blocks(info));
}

function blocks(info: ClusterInfo): Block[] {
  const software = info.scheduler === "local" ? "this machine" : `SLURM ${oneLine(info.version ?? "", 40)}`.trim();
  const made: Block[] = [
    { heading: oneLine(info.cluster, 64) },
    { line: [software, `asked ${localTime(info.askedAt)}`].join(", "), faint: true },
  ];
  if (info.site !== undefined)
    made.push({
      line: `${oneLine(info.site.title)}; what it does not say itself is from the site's pages of ${oneLine(info.site.checked, 20)}`,
      faint: true,
    });
  made.push({ heading: "Partitions" }, { head: true, rows: partitionRows(info) });
  if (info.accounts.length > 0 || info.qos.length > 0)
    made.push({
      rows: [
        ["Accounts", list(info.accounts)],
        ["QoS", list(info.qos)],
      ].filter(([, names]) => names !== ""),
    });
  if (info.storage.length > 0) made.push({ heading: "Storage" }, { head: true, rows: storageRows(info.storage) });
  const { lastHour, limit } = info.submissions;
  made.push(
    { heading: "Submissions" },
    {
      line: `${lastHour}${limit === undefined ? "" : ` of ${limit}`} in the last hour${limit === undefined ? ", without a limit" : ""}`,
    },
  );
  const notes = info.site?.notes.map((note) => oneLine(note, 400)) ?? [];
  if (notes.length > 0) made.push({ heading: "Notes" }, { notes });
  return made;
}

function list(names: readonly string[]): string {
  return names.map((name) => oneLine(name, 64)).join(", ");
}

function partitionRows(info: ClusterInfo): string[][] {
  const rows = info.partitions.map((p) => [
    `${oneLine(p.name, 64)}${p.default ? "*" : ""}`,
    p.up ? "up" : "down",
    p.maxSeconds === undefined ? "none" : duration(p.maxSeconds),
    p.defaultSeconds === undefined ? "" : duration(p.defaultSeconds),
    `${p.nodes.idle} idle of ${p.nodes.total}${p.nodes.down > 0 ? `, ${p.nodes.down} down` : ""}`,
    `${p.cpus.free} of ${p.cpus.total}`,
    p.gpus.map((g) => `${oneLine(g.type, 40)} ${g.free} of ${g.total}`).join(", "),
    person(p),
  ]);
  return [["partition", "state", "limit", "default", "nodes", "CPUs free", "GPUs free", "a person"], ...rows];
}

/** What one person may have there at once. */
function person(p: ClusterInfo["partitions"][number]): string {
  return [
    ...(p.gpusPerUser === undefined ? [] : [count(p.gpusPerUser, "GPU")]),
    ...(p.runningPerUser === undefined ? [] : [`${p.runningPerUser} running`]),
    ...(p.submittedPerUser === undefined ? [] : [`${p.submittedPerUser} submitted`]),
  ].join(", ");
}

function storageRows(storage: ClusterInfo["storage"]): string[][] {
  const rows = storage.map((s) => [
    oneLine(s.path, 120),
    amount(s.bytesUsed, s.bytesLimit, s.bytesFree, bytes),
    amount(s.filesUsed, s.filesLimit, s.filesFree, (n) => n.toLocaleString("en-US")),
    s.purgeDays === undefined ? "" : `after ${s.purgeDays} days`,
    s.staged === undefined
      ? ""
      : `${count(s.staged.datasets, "dataset")}${s.staged.expires === undefined ? "" : `, the first expires on ${oneLine(s.staged.expires, 20)}`}`,
  ]);
  return [["path", "space", "files", "deleted", "staged"], ...rows];
}

/** `3.4 GiB of 125.0 GiB`, or what is free where only that is known. */
function amount(
  used: number | undefined,
  limit: number | undefined,
  free: number | undefined,
  words: (n: number) => string,
): string {
  if (used !== undefined) return limit === undefined ? words(used) : `${words(used)} of ${words(limit)}`;
  const parts = [
    ...(free === undefined ? [] : [`${words(free)} free`]),
    ...(limit === undefined ? [] : [`quota ${words(limit)}`]),
  ];
  return parts.join(", ");
}

/** A cluster of config.yaml, as `yale cluster ls` lists it. */
export interface ListedCluster {
  name: string;
  /** Jobs go there that name none. */
  default: boolean;
  transport: string;
  scheduler: string;
  /** Host with user, or nothing for this machine. */
  where?: string;
  /** Title of its site. */
  site?: string;
  state: Connection["state"];
}

/** A table of them. */
export function clustersText(clusters: readonly ListedCluster[]): string {
  const rows = clusters.map((c) => [
    `${oneLine(c.name, 64)}${c.default ? "*" : ""}`,
    oneLine(c.scheduler, 20),
    `${oneLine(c.transport, 20)}${c.where === undefined ? "" : ` ${oneLine(c.where, 100)}`}`,
    oneLine(c.site ?? "", 60),
    // This machine needs no line.
    c.transport === "local" ? "" : c.state.replaceAll("_", " "),
  ]);
  return textTable([["CLUSTER", "SCHEDULER", "REACHED BY", "SITE", "LINE"], ...rows]);
}
