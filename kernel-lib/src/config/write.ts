/** A config.yaml for somebody who has none: one cluster, every line with what it says. */
import { siteNamed, siteOfHost } from "../sites/index.js";

/** What a new config.yaml is told. */
export interface NewCluster {
  /** Name in the file, by which jobs name it. */
  name: string;
  /** Host, or alias of ~/.ssh/config; undefined on the cluster itself (Open OnDemand). */
  host?: string;
  user?: string;
  /** Name of a site's profile. */
  site?: string;
  jobDir?: string;
  account?: string;
}

/** The text of the file. Values are quoted by the YAML library; comments are ours. Throws what the reader throws, later. */
export async function newConfig(cluster: NewCluster): Promise<string> {
  const { Document, YAMLMap } = await import("yaml");
  const site = siteNamed(cluster.site ?? "") ?? siteOfHost(cluster.host ?? "");
  const document = new Document(new YAMLMap());
  document.commentBefore =
    " Yale Jobs: which clusters there are. All keys: docs/clusters.md. Secrets don't belong here and are refused:\n what is secret is asked for when it is needed.";
  const own = document.createNode({}) as InstanceType<typeof YAMLMap>;
  const add = (key: string, value: unknown, comment: string) => {
    if (value === undefined) return;
    const pair = document.createPair(key, value);
    (pair.value as { comment?: string }).comment = ` ${comment}`;
    own.add(pair);
  };
  if (cluster.host === undefined) {
    add("transport", "local", "this machine is a login or compute node of the cluster");
    add("scheduler", "slurm", "");
  }
  add("host", cluster.host, "or an alias of ~/.ssh/config");
  add("user", cluster.user, "the name that you log in with there");
  add("site", cluster.site, `${site?.title ?? ""}: its partitions, GPUs and limits are known`);
  add(
    "job_dir",
    cluster.jobDir,
    site?.storage.some((s) => s.purgeDays !== undefined) === true
      ? "jobs and datasets lie here; scratch is purged by the site, results are copied to you"
      : "jobs and datasets lie here; much room, not your home",
  );
  add("account", cluster.account, "SLURM account that jobs are counted to");
  document.set("default", cluster.name);
  const clusters = document.createNode({}) as InstanceType<typeof YAMLMap>;
  clusters.set(cluster.name, own);
  document.set("clusters", clusters);
  return String(document);
}
