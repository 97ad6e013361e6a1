/**
 * The clusters that are known by name. To add one: copy `generic.ts` to a file of its name, fill it in from the site's
 * own pages, and add one line here; the contract tests loop over the list.
 */
import { bouchet } from "./bouchet.js";
import { generic } from "./generic.js";
import { grace } from "./grace.js";
import { hopper } from "./hopper.js";
import { mccleary } from "./mccleary.js";
import { milgram } from "./milgram.js";
import { misha } from "./misha.js";
import type { SiteProfile, SiteStorage } from "./profile.js";

export type { Policy, SiteGpu, SitePartition, SiteProfile, SiteStorage } from "./profile.js";
export { generic };

/** All profiles. One line for one more. */
export const SITES: readonly SiteProfile[] = [bouchet, grace, mccleary, misha, milgram, hopper];

/** The profile of that name. */
export function siteNamed(name: string): SiteProfile | undefined {
  return SITES.find((s) => s.name === name);
}

/** The profile that knows a login host, by its whole name or, as people call it in ~/.ssh/config, by the site's. */
export function siteOfHost(host: string): SiteProfile | undefined {
  const wanted = host.toLowerCase();
  return SITES.find((s) => s.hosts.includes(wanted) || s.name === wanted);
}

/** The kind of storage that an absolute path lies in. */
export function storageOf(site: SiteProfile, path: string): SiteStorage | undefined {
  return site.storage.find((s) => s.roots.some((root) => `${path}/`.startsWith(root)));
}
