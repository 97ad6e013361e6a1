/** Hopper: Yale's cluster for regulated data. Described so that whoever names it is told why it can't be used. */
import { DAY, type SiteProfile, TIB } from "./profile.js";
import { common, gpus, sources, storage } from "./ycrc.js";

/** Profile of Hopper. */
export const hopper: SiteProfile = {
  name: "hopper",
  title: "Hopper (Yale, regulated data)",
  hosts: ["hopper.ycrc.yale.edu", "hopper1.ycrc.yale.edu"],
  checked: "2026-08-20",
  sources: ["YCRC documentation: Hopper, of 11 August 2026", ...sources],
  outOfScope:
    "Hopper has no login over SSH: it is used through a virtual desktop that lets no file in or out, and data pass only by transfers that its staff approve.",
  partitions: [{ name: "gpu", use: "batch", maxSeconds: 2 * DAY, gpus: ["a5000", "h200", "l40s", "a40", "h100"] }],
  gpus: gpus("a5000", "h200", "l40s", "a40", "h100"),
  policy: common.policy,
  storage: storage({
    home: [],
    project: ["/nfs/weston/work/", "/nfs/weston/pi/"],
    scratch: ["/nfs/weston/scratch/"],
    projectBytes: TIB,
    purgeDays: 60,
  }),
  notes: [],
};
