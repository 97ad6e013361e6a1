/** McCleary: Yale's cluster for the life sciences, being cut down to the Center for Genome Analysis. */
import { DAY, type SiteProfile, TIB } from "./profile.js";
import { common, gpus, sources, storage } from "./ycrc.js";

/** Profile of McCleary. */
export const mccleary: SiteProfile = {
  name: "mccleary",
  title: "McCleary (Yale)",
  hosts: ["mccleary.ycrc.yale.edu"],
  transferHost: "transfer-mccleary.ycrc.yale.edu",
  checked: "2026-08-20",
  sources: [
    "YCRC documentation: McCleary, of 15 July 2026",
    "YCRC documentation: Grace and McCleary Decommission, of 2 July 2026",
    ...sources,
  ],
  windingDown:
    "McCleary is being cut down in 2026 and 2027 to the work of the Center for Genome Analysis. Bouchet follows it for everything else.",
  partitions: [
    { name: "day", use: "batch", maxSeconds: DAY, cpusPerUser: 256 },
    { name: "week", use: "batch", maxSeconds: 7 * DAY, cpusPerUser: 192 },
    { name: "devel", use: "devel", maxSeconds: DAY / 4, cpusPerUser: 4, submittedPerUser: 1 },
    { name: "long", use: "special", maxSeconds: 28 * DAY, cpusPerUser: 36 },
    { name: "gpu", use: "batch", maxSeconds: 2 * DAY, gpus: ["a5000", "a100", "rtx3090", "rtx5000"], gpusPerUser: 12 },
    {
      name: "gpu_devel",
      use: "devel",
      maxSeconds: DAY / 4,
      gpus: ["a5000", "rtx5000", "rtx3090", "a100"],
      cpusPerUser: 10,
      gpusPerUser: 2,
      submittedPerUser: 2,
    },
    { name: "bigmem", use: "special", maxSeconds: DAY, cpusPerUser: 32 },
    {
      name: "scavenge",
      use: "scavenge",
      maxSeconds: DAY,
      gpus: ["a5000", "a100", "l40s", "rtx3090", "v100", "rtx5000", "rtx8000", "rtx2080ti", "rtx2080"],
      cpusPerUser: 1000,
    },
    {
      name: "scavenge_gpu",
      use: "scavenge",
      maxSeconds: DAY,
      gpus: ["a5000", "a100", "l40s", "rtx3090", "v100", "rtx5000", "rtx8000", "rtx2080ti", "rtx2080"],
      gpusPerUser: 64,
    },
  ],
  gpus: gpus("a5000", "a100", "rtx3090", "rtx5000", "l40s", "v100", "rtx8000", "rtx2080ti", "rtx2080"),
  ...common,
  storage: storage({
    home: ["/vast/palmer/home.mccleary/"],
    project: ["/gpfs/gibbs/project/", "/gpfs/gibbs/pi/", "/vast/palmer/pi/"],
    scratch: ["/vast/palmer/scratch/"],
    projectBytes: TIB,
    purgeDays: 60,
  }),
};
