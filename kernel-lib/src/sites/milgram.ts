/** Milgram: Yale's cluster for sensitive data that no regulation covers. */
import { DAY, type SiteProfile, TIB } from "./profile.js";
import { common, gpus, notes, sources, storage } from "./ycrc.js";

/** Profile of Milgram. */
export const milgram: SiteProfile = {
  name: "milgram",
  title: "Milgram (Yale, sensitive data)",
  hosts: ["milgram.ycrc.yale.edu"],
  transferHost: "transfer-milgram.ycrc.yale.edu",
  checked: "2026-08-20",
  sources: ["YCRC documentation: Milgram, of 10 September 2025", ...sources],
  partitions: [
    { name: "day", use: "batch", maxSeconds: DAY, cpusPerUser: 216 },
    { name: "week", use: "batch", maxSeconds: 7 * DAY, cpusPerUser: 72 },
    { name: "devel", use: "devel", maxSeconds: DAY / 4, cpusPerUser: 4, runningPerUser: 1, submittedPerUser: 1 },
    { name: "gpu", use: "batch", maxSeconds: 2 * DAY, gpus: ["h100", "a40"], gpusPerUser: 8 },
    { name: "scavenge", use: "scavenge", maxSeconds: DAY, gpus: ["h100", "a40", "rtx2080ti"] },
  ],
  gpus: gpus("h100", "a40", "rtx2080ti"),
  ...common,
  storage: storage({
    home: ["/gpfs/milgram/home/"],
    project: ["/gpfs/milgram/project/", "/gpfs/milgram/pi/"],
    scratch: ["/gpfs/milgram/scratch60/"],
    scratchName: "scratch60",
    scratchBytes: 20 * TIB,
    projectBytes: TIB,
    purgeDays: 60,
  }),
  notes: [
    ...notes,
    "Only from the VPN, by a connection younger than 24 hours, and only for sensitive data after the HIPAA training.",
    "Pages and results pass through this machine: it must be one that may hold such data.",
  ],
};
