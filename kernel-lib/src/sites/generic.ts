/**
 * A cluster that nobody has described: careful rules, no figures. Also the file to copy for a new profile: fill in what
 * the site's own pages say, name them in `sources`, date it, and add one line to `SITES`.
 */
import type { SiteProfile } from "./profile.js";

/** What holds where nothing else is known. */
export const generic: SiteProfile = {
  name: "none",
  title: "A SLURM cluster",
  hosts: [],
  checked: "2026-11-24",
  sources: [],
  partitions: [],
  gpus: [],
  // No site that publishes a figure asks for more patience than these.
  policy: { pollSeconds: 15, submissionsPerHour: 200, minTaskMinutes: 5, taskMinutes: 10 },
  storage: [],
  notes: [],
};
