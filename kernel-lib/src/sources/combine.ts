/** Several sources one after another, cut at a number of pages. */
import type { PageOrFault, Source } from "./index.js";
import { isFault } from "./index.js";

/** One stream of all pages; faults do not count towards `maxSamples`. */
export function combineSources(sources: readonly Source[], maxSamples?: number): Source {
  return {
    kind: sources.length === 1 ? (sources[0]?.kind ?? "none") : "several",
    async count() {
      const counts = await Promise.all(sources.map((s) => s.count?.()));
      let sum = 0;
      for (const n of counts) {
        if (n === undefined) return undefined;
        sum += n;
      }
      return maxSamples === undefined ? sum : Math.min(sum, maxSamples);
    },
    async *pages(options): AsyncGenerator<PageOrFault> {
      let pages = 0;
      for (const source of sources)
        for await (const item of source.pages(options)) {
          yield item;
          if (!isFault(item) && ++pages === maxSamples) return;
        }
    },
  };
}
