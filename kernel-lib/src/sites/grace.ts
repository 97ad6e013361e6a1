/** Grace: Yale's older general cluster, being shut down. */
import { DAY, type SiteProfile, TIB } from "./profile.js";
import { common, gpus, sources, storage } from "./ycrc.js";

/** Profile of Grace. */
export const grace: SiteProfile = {
  name: "grace",
  title: "Grace (Yale)",
  hosts: ["grace.ycrc.yale.edu"],
  transferHost: "transfer-grace.ycrc.yale.edu",
  checked: "2026-08-20",
  sources: [
    "YCRC documentation: Grace, of 15 July 2026",
    "YCRC documentation: Grace and McCleary Decommission, of 2 July 2026",
    ...sources,
  ],
  windingDown:
    "Grace is being shut down in 2026 and 2027: groups without nodes of their own lost access on 1 June 2026. Bouchet follows it.",
  partitions: [
    { name: "day", use: "batch", maxSeconds: DAY, cpusPerUser: 1500 },
    { name: "week", use: "batch", maxSeconds: 7 * DAY, cpusPerUser: 108 },
    { name: "devel", use: "devel", maxSeconds: DAY / 4, cpusPerUser: 4, submittedPerUser: 1 },
    { name: "gpu", use: "batch", maxSeconds: 2 * DAY, gpus: ["a100", "a5000", "v100"], gpusPerUser: 24 },
    {
      name: "gpu_devel",
      use: "devel",
      maxSeconds: DAY / 4,
      gpus: ["a100", "a5000", "v100", "rtx3090"],
      cpusPerUser: 10,
      gpusPerUser: 3,
      submittedPerUser: 2,
    },
    { name: "bigmem", use: "special", maxSeconds: DAY, cpusPerUser: 40 },
    { name: "mpi", use: "special", maxSeconds: DAY },
    {
      name: "scavenge",
      use: "scavenge",
      maxSeconds: DAY,
      gpus: ["a100", "a5000", "v100", "l40s", "rtx3090", "rtx2080ti"],
      cpusPerUser: 10_000,
    },
    {
      name: "scavenge_gpu",
      use: "scavenge",
      maxSeconds: DAY,
      gpus: ["a100", "a5000", "v100"],
      gpusPerUser: 30,
    },
  ],
  gpus: gpus("a100", "a5000", "v100", "rtx3090", "l40s", "rtx2080ti"),
  ...common,
  storage: storage({
    home: ["/vast/palmer/home.grace/"],
    project: ["/gpfs/gibbs/project/", "/gpfs/gibbs/pi/", "/vast/palmer/pi/"],
    scratch: ["/vast/palmer/scratch/"],
    projectBytes: TIB,
    purgeDays: 60,
  }),
};
