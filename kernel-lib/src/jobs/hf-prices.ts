/** What the same hardware costs on Hugging Face Jobs, by its list of prices. Data, and the choice of a flavor. Pure. */

/** One kind of machine that can be rented there. */
export interface HfFlavor {
  /** As `hf jobs run --flavor` takes it; the hardware's title where the list of flavors that was read has no name for it. */
  flavor: string;
  cpus: number;
  gpus: number;
  /** Type as `--gpus` of SLURM takes it. */
  gpu?: string;
  /** GB of memory of one GPU. */
  gigabytes?: number;
  /** US dollars an hour, billed by the minute while it starts and runs. */
  dollars: number;
}

/** Prices as of {@link HF_PRICES.checked}. Taxes, storage and credits of a subscription are not in them. */
export const HF_PRICES: { checked: string; source: string; flavors: readonly HfFlavor[] } = {
  checked: "2026-11-25",
  source: "Hugging Face documentation: Hub, Jobs, Pricing and Billing",
  flavors: [
    { flavor: "cpu-basic", cpus: 2, gpus: 0, dollars: 0.01 },
    { flavor: "cpu-upgrade", cpus: 8, gpus: 0, dollars: 0.03 },
    { flavor: "cpu-xl", cpus: 16, gpus: 0, dollars: 1 },
    { flavor: "cpu-performance", cpus: 32, gpus: 0, dollars: 1.9 },
    { flavor: "t4-small", cpus: 4, gpus: 1, gpu: "t4", gigabytes: 16, dollars: 0.4 },
    { flavor: "t4-medium", cpus: 8, gpus: 1, gpu: "t4", gigabytes: 16, dollars: 0.6 },
    { flavor: "l4x1", cpus: 8, gpus: 1, gpu: "l4", gigabytes: 24, dollars: 0.8 },
    { flavor: "l4x4", cpus: 48, gpus: 4, gpu: "l4", gigabytes: 24, dollars: 3.8 },
    { flavor: "l40sx1", cpus: 8, gpus: 1, gpu: "l40s", gigabytes: 48, dollars: 1.8 },
    { flavor: "l40sx4", cpus: 48, gpus: 4, gpu: "l40s", gigabytes: 48, dollars: 8.3 },
    { flavor: "l40sx8", cpus: 192, gpus: 8, gpu: "l40s", gigabytes: 48, dollars: 23.5 },
    { flavor: "a10g-small", cpus: 4, gpus: 1, gpu: "a10g", gigabytes: 24, dollars: 1 },
    { flavor: "a10g-large", cpus: 12, gpus: 1, gpu: "a10g", gigabytes: 24, dollars: 1.5 },
    { flavor: "a10g-largex2", cpus: 24, gpus: 2, gpu: "a10g", gigabytes: 24, dollars: 3 },
    { flavor: "a10g-largex4", cpus: 48, gpus: 4, gpu: "a10g", gigabytes: 24, dollars: 5 },
    { flavor: "a100-large", cpus: 12, gpus: 1, gpu: "a100", gigabytes: 80, dollars: 2.5 },
    { flavor: "a100x4", cpus: 48, gpus: 4, gpu: "a100", gigabytes: 80, dollars: 10 },
    { flavor: "a100x8", cpus: 96, gpus: 8, gpu: "a100", gigabytes: 80, dollars: 20 },
    { flavor: "h200", cpus: 23, gpus: 1, gpu: "h200", gigabytes: 141, dollars: 5 },
    { flavor: "h200x2", cpus: 46, gpus: 2, gpu: "h200", gigabytes: 141, dollars: 10 },
    { flavor: "h200x4", cpus: 92, gpus: 4, gpu: "h200", gigabytes: 141, dollars: 20 },
    { flavor: "h200x8", cpus: 184, gpus: 8, gpu: "h200", gigabytes: 141, dollars: 40 },
    { flavor: "RTX PRO 6000", cpus: 23, gpus: 1, gpu: "rtx_pro_6000_blackwell", gigabytes: 96, dollars: 2.75 },
    { flavor: "2x RTX PRO 6000", cpus: 46, gpus: 2, gpu: "rtx_pro_6000_blackwell", gigabytes: 96, dollars: 5.5 },
    { flavor: "4x RTX PRO 6000", cpus: 92, gpus: 4, gpu: "rtx_pro_6000_blackwell", gigabytes: 96, dollars: 11 },
    { flavor: "8x RTX PRO 6000", cpus: 184, gpus: 8, gpu: "rtx_pro_6000_blackwell", gigabytes: 96, dollars: 22 },
  ],
};

/** What one task needs. */
export interface HfNeed {
  cpus: number;
  gpus: number;
  /** Type, and GB of memory of one, where they are known. */
  gpu?: string | undefined;
  gigabytes?: number | undefined;
}

/**
 * The cheapest flavor that has the GPU of that type, else one with as much memory (`same` is false then: nobody has
 * compared their speed); undefined where there is none.
 */
export function hfFlavor(need: HfNeed): { flavor: HfFlavor; same: boolean } | undefined {
  const cheapest = (fits: (f: HfFlavor) => boolean) =>
    HF_PRICES.flavors.filter(fits).sort((a, b) => a.dollars - b.dollars)[0];
  if (need.gpus === 0) {
    const flavor = cheapest((f) => f.gpus === 0 && f.cpus >= need.cpus);
    return flavor === undefined ? undefined : { flavor, same: true };
  }
  const same = cheapest((f) => f.gpu === need.gpu && f.gpus >= need.gpus);
  if (need.gpu !== undefined && same !== undefined) return { flavor: same, same: true };
  const { gigabytes } = need;
  if (gigabytes === undefined) return undefined;
  const other = cheapest((f) => f.gpus >= need.gpus && (f.gigabytes ?? 0) >= gigabytes);
  return other === undefined ? undefined : { flavor: other, same: false };
}

/** Dollars for so many tasks of so many seconds, each billed by the begun minute. */
export function hfCost(flavor: HfFlavor, tasks: number, seconds: number): { hours: number; dollars: number } {
  const hours = (tasks * Math.ceil(seconds / 60)) / 60;
  return { hours, dollars: Math.round(hours * flavor.dollars * 100) / 100 };
}
