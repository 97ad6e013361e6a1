/**
 * What is known of a cluster before it is asked: limits, storage and house rules, as data with the day they were checked.
 * A profile only fills gaps. What `sinfo`, `scontrol` and `sacctmgr` say and what config.yaml says go before it.
 */

/** A day as a time in seconds. */
export const DAY: number = 24 * 3600;
/** Bytes of a GiB and of a TiB. */
export const GIB: number = 2 ** 30;
export const TIB: number = 2 ** 40;

/** How a site wants to be used. Every field can be set in config.yaml, in its spelling with `_`. */
export interface Policy {
  /** Shortest time between two questions to the scheduler, in seconds. */
  pollSeconds: number;
  /** Submissions of one person in any hour; absent where nobody counts. */
  submissionsPerHour?: number;
  /** Tasks shorter than so many minutes are not wanted. */
  minTaskMinutes: number;
  /** Minutes that a task should run at least when work is split. */
  taskMinutes: number;
  /** Tasks of one array that run at once, at most; absent: as many as the scheduler starts. */
  maxArrayRunning?: number;
}

/** A partition that everybody at the site may use. Those of single groups are found by asking the cluster. */
export interface SitePartition {
  readonly name: string;
  /** `batch` may be chosen by itself; `devel` (short, few jobs), `scavenge` (preempted at any time) and `special` never. */
  readonly use: "batch" | "devel" | "scavenge" | "special";
  /** Longest time limit. */
  readonly maxSeconds: number;
  /** GPU types as `--gpus` takes them; absent for a partition without GPUs. */
  readonly gpus?: readonly string[];
  readonly cpusPerUser?: number;
  readonly gpusPerUser?: number;
  readonly runningPerUser?: number;
  readonly submittedPerUser?: number;
}

/** A kind of GPU. */
export interface SiteGpu {
  /** As `--gpus` takes it. */
  readonly type: string;
  /** Memory of one, in GB as its maker counts them; of the smallest where the site has several under one name. */
  readonly gigabytes: number;
}

/** A place for files. */
export interface SiteStorage {
  readonly name: string;
  /** Where paths of this kind begin. */
  readonly roots: readonly string[];
  /** What it is meant for. */
  readonly use: string;
  readonly bytes?: number;
  readonly files?: number;
  /** Whose quota it is. */
  readonly quotaOf?: "user" | "group";
  /** Files are deleted when they are so many days old; absent: never. */
  readonly purgeDays?: number;
}

/** One cluster of a site. Contract tests loop over all. */
export interface SiteProfile {
  /** As `site:` in config.yaml takes it. */
  readonly name: string;
  readonly title: string;
  /** Login hosts by which a cluster of config.yaml is recognised. */
  readonly hosts: readonly string[];
  /** Host for bulk transfers. It asks for a second factor of its own, so nothing is sent there by itself. */
  readonly transferHost?: string;
  /** Day on which the sources were read, ISO 8601. */
  readonly checked: string;
  /** Documents that the figures are from. */
  readonly sources: readonly string[];
  /** Set where this tool must not or can't be used: why, in a sentence or two. */
  readonly outOfScope?: string;
  /** Set where the cluster is on its way out: a sentence for everyone who submits to it. */
  readonly windingDown?: string;
  /** The first of a kind is the one that jobs of that kind get if they name none. */
  readonly partitions: readonly SitePartition[];
  readonly gpus: readonly SiteGpu[];
  readonly policy: Readonly<Policy>;
  readonly storage: readonly SiteStorage[];
  /** Command that prints quotas, as an argument list. */
  readonly quotaCommand?: readonly string[];
  /** Module that brings conda. */
  readonly condaModule?: string;
  /** Time limit of a job that names none. */
  readonly defaultSeconds?: number;
  /** What else a person should know. */
  readonly notes: readonly string[];
}
