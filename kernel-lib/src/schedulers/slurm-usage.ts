/** What a job used, from its accounts: figures, a sentence on what was wasted, and steps that failed unseen. Pure. */
import type { Usage } from "../protocol.js";
import type { Account } from "./slurm-sacct.js";
import { stateWord } from "./slurm-states.js";
import { cpuSeconds, gpusOf, sizeBytes, tresOf } from "./slurm-values.js";

/** Seconds below which nothing is said of waste: a job that failed at its start says nothing about what it needs. */
const SHORT = 120;
const GIB = 1024 ** 3;

/** Most memory that one of the steps held, as it was sampled; undefined where nothing was. */
export function maxMemory(account: Account): number | undefined {
  const sizes = account.steps.map((s) => sizeBytes(s.maxRss)).filter((s) => s !== undefined);
  return sizes.length === 0 ? undefined : Math.max(...sizes);
}

/** Memory that it was given on all nodes. */
export function memoryGiven(account: Account): number | undefined {
  const given = tresOf(account.allocTres).get("mem");
  return given === undefined ? undefined : sizeBytes(given);
}

/** Figures of one job or task that has ended; undefined for one that never ran. */
export function usageOf(account: Account): Usage | undefined {
  const tres = tresOf(account.allocTres);
  if (tres.size === 0) return undefined;
  const gpus = gpusOf(tres);
  const used = cpuSeconds(account.totalCpu);
  const memory = maxMemory(account);
  const asked = memoryGiven(account);
  const usage: Usage = {
    elapsedSeconds: account.elapsed,
    cpuAllocatedSeconds: account.cpuTime,
    ...(used === undefined ? {} : { cpuSeconds: used }),
    ...(memory === undefined ? {} : { maxMemoryBytes: memory }),
    ...(asked === undefined ? {} : { memoryAskedBytes: asked }),
    gpus,
    gpuSeconds: gpus * account.elapsed,
    ...(account.nodes === "" ? {} : { nodes: account.nodes }),
  };
  const waste = wasteOf(usage, {
    ...(account.limit === undefined ? {} : { limit: account.limit * 60 }),
    ...gpuUse(account),
  });
  return waste === undefined ? usage : { ...usage, waste };
}

/** How busy its GPUs were, in percent; sites that gather it (gpu_nvml) have it among the usage of the steps. */
function gpuUse(account: Account): { gpuBusy?: number } {
  const busy = account.steps
    .filter((s) => s.step !== "extern")
    .map((s) => Number(tresOf(s.usageTres).get("gres/gpuutil")))
    .filter((n) => Number.isFinite(n));
  return busy.length === 0 ? {} : { gpuBusy: Math.max(...busy) };
}

/** What was asked for and not used, as `seff` would tell it; undefined if nothing is worth saying. */
export function wasteOf(u: Usage, more: { limit?: number; gpuBusy?: number } = {}): string | undefined {
  const elapsed = u.elapsedSeconds ?? 0;
  if (elapsed < SHORT) return undefined;
  const parts: string[] = [];
  const cpus = (u.cpuAllocatedSeconds ?? 0) / elapsed;
  const busy = (u.cpuSeconds ?? Number.NaN) / elapsed;
  if (cpus >= 2 && busy / cpus < 0.5)
    parts.push(`of ${Math.round(cpus)} CPUs ${busy < 0.1 ? "almost none was" : `${round(busy)} were`} busy`);
  const { maxMemoryBytes: memory, memoryAskedBytes: asked } = u;
  if (memory !== undefined && asked !== undefined && asked >= 8 * GIB && memory < asked / 2)
    parts.push(`of ${round(asked / GIB)} GiB of memory ${round(memory / GIB)} were used`);
  if (more.gpuBusy !== undefined && (u.gpus ?? 0) > 0 && more.gpuBusy < 50)
    parts.push(`its ${u.gpus === 1 ? "GPU was" : "GPUs were"} busy for ${Math.round(more.gpuBusy)} % of the time`);
  if (more.limit !== undefined && more.limit >= 3600 && elapsed < more.limit / 4)
    parts.push(`of ${duration(more.limit)} it took ${duration(elapsed)}`);
  if (parts.length === 0) return undefined;
  const text = parts.length === 1 ? parts[0] : `${parts.slice(0, -1).join(", ")}, and ${parts.at(-1)}`;
  return `${(text ?? "").charAt(0).toUpperCase()}${(text ?? "").slice(1)}. Asking for less starts sooner.`;
}

function round(n: number): string {
  return n >= 10 ? String(Math.round(n)) : n.toFixed(1).replace(/\.0$/, "");
}

function duration(seconds: number): string {
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min`;
  return `${round(seconds / 3600)} h`;
}

/** True if one of its steps ended for want of memory, or it was killed while it held more than it was given. */
export function ranOutOfMemory(account: Account): boolean {
  if (account.steps.some((s) => stateWord(s.state) === "OUT_OF_MEMORY")) return true;
  const [memory, given] = [maxMemory(account), memoryGiven(account)];
  // Sites without cgroups look at the memory now and then and kill with 9 (JobAcctGatherParams=OverMemoryKill).
  return account.exit?.signal === 9 && memory !== undefined && given !== undefined && memory > given;
}

/** Steps that failed in a job that went on: what its own exit code does not tell. */
export function stepNotes(account: Account): string[] {
  const good = stateWord(account.state) === "COMPLETED";
  const notes: string[] = [];
  for (const s of account.steps) {
    if (s.step === "batch" || s.step === "extern") continue;
    const word = stateWord(s.state);
    const { exitCode = 0, signal = 0 } = s.exit ?? {};
    if (word === "COMPLETED" || word === "RUNNING" || (word === "CANCELLED" && !good)) continue;
    const how =
      word === "OUT_OF_MEMORY"
        ? "ran out of memory"
        : signal > 0
          ? `was ended by signal ${signal}`
          : exitCode > 0
            ? `ended with exit code ${exitCode}`
            : `ended as ${word}`;
    const called = s.name === "" ? "" : ` (${s.name.slice(0, 60)})`;
    notes.push(`Step ${s.step}${called} ${how}${good ? ", although the script returned 0" : ""}.`);
  }
  if (notes.length > 5) notes.splice(4, notes.length, `${notes.length - 4} more steps failed.`);
  return notes;
}
