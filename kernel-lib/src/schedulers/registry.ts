/** The schedulers there are. Contract tests loop over this list. */
import type { Scheduler } from "./index.js";
import { local } from "./local.js";
import { slurm } from "./slurm.js";

/** All schedulers. One line for one more. */
export const SCHEDULERS: readonly Scheduler[] = [local, slurm];

/** The scheduler of that kind. */
export function scheduler(kind: Scheduler["kind"]): Scheduler {
  const found = SCHEDULERS.find((s) => s.kind === kind);
  if (found === undefined) throw new TypeError(`There is no scheduler ${kind}.`);
  return found;
}
