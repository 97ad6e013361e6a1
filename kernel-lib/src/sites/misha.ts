/** Misha: the cluster of Yale's Wu Tsai Institute. */
import { DAY, type SiteProfile, TIB } from "./profile.js";
import { common, gpus, sources, storage } from "./ycrc.js";

/** Profile of Misha. */
export const misha: SiteProfile = {
  name: "misha",
  title: "Misha (Yale, Wu Tsai Institute)",
  hosts: ["misha.ycrc.yale.edu"],
  transferHost: "transfer-misha.ycrc.yale.edu",
  checked: "2026-08-20",
  sources: ["YCRC documentation: Misha, of 10 November 2025", ...sources],
  partitions: [
    { name: "day", use: "batch", maxSeconds: DAY, cpusPerUser: 512 },
    { name: "week", use: "batch", maxSeconds: 7 * DAY, cpusPerUser: 128 },
    { name: "devel", use: "devel", maxSeconds: DAY / 4, cpusPerUser: 10 },
    {
      name: "gpu",
      use: "batch",
      maxSeconds: 2 * DAY,
      gpus: ["h100", "h200", "l40s", "a40", "a100"],
      cpusPerUser: 192,
      gpusPerUser: 18,
    },
    { name: "gpu_devel", use: "devel", maxSeconds: DAY / 4, gpus: ["a40"], cpusPerUser: 4, gpusPerUser: 1 },
    { name: "bigmem", use: "special", maxSeconds: DAY, cpusPerUser: 64 },
  ],
  gpus: gpus("h100", "h200", "l40s", "a40", "a100"),
  ...common,
  storage: storage({
    home: ["/gpfs/radev/home/"],
    project: ["/gpfs/radev/project/", "/gpfs/radev/pi/"],
    scratch: ["/gpfs/radev/scratch/"],
    projectBytes: TIB,
    purgeDays: 60,
  }),
};
