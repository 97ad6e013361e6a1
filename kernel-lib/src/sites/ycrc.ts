/** What the clusters of the Yale Center for Research Computing have in common. */
import { GIB, type Policy, type SiteGpu, type SiteStorage, TIB } from "./profile.js";

/**
 * 200 submissions an hour (Common Job Failures); no crowds of jobs under five minutes (Rules of Behavior), ten or more
 * for each element of an array (dSQ). The interval between questions to the scheduler is ours: the centre gives none.
 */
const policy: Readonly<Policy> = {
  pollSeconds: 15,
  submissionsPerHour: 200,
  minTaskMinutes: 5,
  taskMinutes: 10,
};

/** GPU types by the names that `--gpus` takes, with the memory that the partition tables give. */
const GPUS: readonly SiteGpu[] = [
  { type: "b200", gigabytes: 193 },
  { type: "h200", gigabytes: 141 },
  { type: "rtx_pro_6000_blackwell", gigabytes: 96 },
  { type: "h100", gigabytes: 80 },
  // 40 and 80 GB go by one name; the features a100-40g and a100-80g tell them apart.
  { type: "a100", gigabytes: 40 },
  { type: "l40s", gigabytes: 48 },
  { type: "a40", gigabytes: 48 },
  { type: "rtx_5000_ada", gigabytes: 32 },
  { type: "a5000", gigabytes: 24 },
  { type: "rtx3090", gigabytes: 24 },
  { type: "v100", gigabytes: 16 },
  { type: "rtx8000", gigabytes: 48 },
  { type: "rtx5000", gigabytes: 16 },
  { type: "rtx2080ti", gigabytes: 11 },
  { type: "rtx2080", gigabytes: 8 },
];

/** Those of the names given, in that order. Throws TypeError for a name that is not in the list above. */
export function gpus(...types: string[]): SiteGpu[] {
  return types.map((type) => {
    const found = GPUS.find((g) => g.type === type);
    if (found === undefined) throw new TypeError(`No GPU ${type} is described.`);
    return found;
  });
}

/** Home, project and scratch with the quotas of HPC Storage; scratch is purged. */
export function storage(roots: {
  home: string[];
  project: string[];
  scratch: string[];
  projectBytes: number;
  purgeDays: number;
  scratchName?: string;
  scratchBytes?: number;
}): SiteStorage[] {
  return [
    {
      name: "home",
      roots: ["/home/", ...roots.home],
      use: "scripts and notes",
      bytes: 125 * GIB,
      files: 500_000,
      quotaOf: "user",
    },
    {
      name: "project",
      roots: roots.project,
      use: "data of a group that stay",
      bytes: roots.projectBytes,
      files: 5_000_000,
      quotaOf: "group",
    },
    {
      name: roots.scratchName ?? "scratch",
      roots: roots.scratch,
      use: "data for as long as a job needs them",
      bytes: roots.scratchBytes ?? 10 * TIB,
      files: 15_000_000,
      quotaOf: "group",
      purgeDays: roots.purgeDays,
    },
  ];
}

/** True of all of them. */
export const notes: readonly string[] = [
  "Reached from the campus network or the VPN; a person approves every connection with Duo.",
  "GPU jobs that use less than 10 % of their GPUs, or not all of them, are cancelled.",
  "No computing on the login and transfer nodes: environments are built in a job.",
];

/** What is the same in each profile. */
export const common = {
  policy,
  quotaCommand: ["getquota"],
  condaModule: "miniconda",
  defaultSeconds: 3600,
  notes,
} as const;

/** Documents that hold for all of them. */
export const sources: readonly string[] = [
  "YCRC documentation: Common Job Failures",
  "YCRC documentation: HPC Storage",
  "YCRC documentation: Transfer Data",
  "YCRC documentation: Dead Simple Queue",
];
