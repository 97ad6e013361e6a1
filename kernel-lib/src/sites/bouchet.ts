/** Bouchet: Yale's general cluster since 2025, successor of Grace and McCleary. */
import { DAY, type SiteProfile, TIB } from "./profile.js";
import { common, gpus, notes, sources, storage } from "./ycrc.js";

/** Profile of Bouchet. */
export const bouchet: SiteProfile = {
  name: "bouchet",
  title: "Bouchet (Yale)",
  hosts: ["bouchet.ycrc.yale.edu"],
  transferHost: "transfer-bouchet.ycrc.yale.edu",
  checked: "2026-08-20",
  sources: [
    "YCRC documentation: Bouchet, of 19 August 2026",
    "YCRC documentation: Bouchet Getting Started, of 17 March 2026",
    ...sources,
  ],
  partitions: [
    { name: "day", use: "batch", maxSeconds: DAY, cpusPerUser: 1000 },
    { name: "week", use: "batch", maxSeconds: 7 * DAY, cpusPerUser: 96 },
    { name: "devel", use: "devel", maxSeconds: DAY / 4, cpusPerUser: 4, submittedPerUser: 2 },
    {
      name: "gpu",
      use: "batch",
      maxSeconds: 2 * DAY,
      gpus: ["rtx_5000_ada", "a40", "l40s"],
      gpusPerUser: 16,
      runningPerUser: 12,
    },
    {
      name: "gpu_rtx6000",
      use: "batch",
      maxSeconds: 2 * DAY,
      gpus: ["rtx_pro_6000_blackwell"],
      gpusPerUser: 16,
      runningPerUser: 16,
    },
    { name: "gpu_h100", use: "batch", maxSeconds: 2 * DAY, gpus: ["h100"], gpusPerUser: 16, runningPerUser: 12 },
    { name: "gpu_h200", use: "batch", maxSeconds: 2 * DAY, gpus: ["h200"], gpusPerUser: 16, runningPerUser: 6 },
    { name: "gpu_b200", use: "batch", maxSeconds: 2 * DAY, gpus: ["b200"], gpusPerUser: 16, runningPerUser: 6 },
    {
      name: "gpu_devel",
      use: "devel",
      maxSeconds: DAY / 4,
      gpus: ["b200", "rtx_pro_6000_blackwell", "h200", "rtx_5000_ada"],
      cpusPerUser: 12,
      gpusPerUser: 2,
      runningPerUser: 1,
      submittedPerUser: 1,
    },
    { name: "bigmem", use: "special", maxSeconds: DAY, cpusPerUser: 128 },
    { name: "mpi", use: "special", maxSeconds: 2 * DAY, runningPerUser: 10 },
    {
      name: "scavenge",
      use: "scavenge",
      maxSeconds: DAY,
      gpus: ["b200", "rtx_pro_6000_blackwell", "h200", "h100", "l40s", "a40", "rtx_5000_ada"],
    },
    {
      name: "scavenge_gpu",
      use: "scavenge",
      maxSeconds: DAY,
      gpus: ["b200", "rtx_pro_6000_blackwell", "h200", "h100", "l40s", "a40", "rtx_5000_ada"],
    },
  ],
  gpus: gpus("rtx_5000_ada", "a40", "l40s", "rtx_pro_6000_blackwell", "h100", "h200", "b200"),
  ...common,
  // The purge is 30 days on this cluster (its own page and HPC Storage); the Rules of Behavior still say 60.
  storage: storage({
    home: ["/nfs/roberts/home/"],
    project: ["/nfs/roberts/project/", "/nfs/roberts/pi/"],
    scratch: ["/nfs/roberts/scratch/"],
    projectBytes: 4 * TIB,
    purgeDays: 30,
  }),
  notes: [
    ...notes,
    "Groups of principal investigators are called pi_<netid>; ~/project_pi_… and ~/scratch_pi_… lead to their folders.",
  ],
};
