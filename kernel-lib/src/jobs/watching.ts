/** The watchers of all clusters, and what their jobs say while a line is not there. */
import type { Transport } from "../cluster/transport.js";
import type { JobRecord } from "../protocol.js";
import type { Observation } from "../schedulers/index.js";
import type { Lines } from "./lines.js";
import type { LiveJob, LiveJobs } from "./live.js";
import { isOfTheLine, lineWords } from "./over-line.js";
import type { ResolvedJob } from "./plan.js";
import { type WatchedCluster, Watcher } from "./watch.js";

/** One watcher for each cluster that has jobs. */
export class Watching {
  readonly #lines: Lines;
  readonly #jobs: LiveJobs;
  readonly #watchers = new Map<string, { watcher: Watcher; target: WatchedCluster }>();

  constructor(lines: Lines, jobs: LiveJobs) {
    this.#lines = lines;
    this.#jobs = jobs;
  }

  /** Watches a submitted job until the scheduler is done with it. Rejects with the reason for which driving it stopped. */
  until(job: ResolvedJob, live: LiveJob): Promise<Observation> {
    const ended = new Promise<Observation>((resolve, reject) => {
      live.ended = resolve;
      live.signal.addEventListener("abort", () => reject(live.signal.reason as Error), { once: true });
    });
    this.#watcher(job, keyOf(live.record)).add(live.record);
    return ended;
  }

  /** Looks at a job's cluster at once. */
  soon(record: JobRecord): void {
    this.#watchers.get(keyOf(record))?.watcher.soon();
  }

  /** Stops all. */
  close(): void {
    for (const { watcher } of this.#watchers.values()) watcher.close();
  }

  #watcher(job: ResolvedJob, key: string): Watcher {
    const known = this.#watchers.get(key);
    if (known !== undefined) {
      // config.yaml may have been changed since: the job was submitted where it leads now.
      known.target.cluster = job.cluster;
      known.target.scheduler = job.scheduler;
      return known.watcher;
    }
    const watched = () => [...this.#jobs].filter((live) => live.ended !== undefined && keyOf(live.record) === key);
    let had: Transport | undefined;
    let waiting = false;
    const gone = (error: unknown, wasThere: boolean) => {
      for (const live of watched()) live.waits(lineWords(target.cluster, error, wasThere));
      if (waiting) return;
      waiting = true;
      // The watcher's own pace may be slow by now: the line's return is the moment to look.
      this.#lines
        .whenOpen(target.cluster)
        .then(() => watcher.soon())
        .catch(() => undefined)
        .finally(() => {
          waiting = false;
        });
    };
    const open = async () => {
      try {
        const transport = await this.#lines.open(target.cluster, { interactive: watched().some((live) => live.asked) });
        for (const live of watched()) {
          live.asked = false;
          live.goesOn();
        }
        if (had !== transport) {
          had = transport;
          void transport.lost.then((reason) => {
            if (had === transport) gone(reason, true);
          });
        }
        return transport;
      } catch (error) {
        if (isOfTheLine(error)) gone(error, had !== undefined);
        throw error;
      }
    };
    const target: WatchedCluster = { cluster: job.cluster, scheduler: job.scheduler, open };
    const watcher = new Watcher(
      target,
      (record) => this.#jobs.get(record.id)?.changed(),
      async (record, observation) => {
        const live = this.#jobs.get(record.id);
        const ended = live?.ended;
        if (live !== undefined) live.ended = undefined;
        ended?.(observation);
      },
    );
    this.#watchers.set(key, { watcher, target });
    return watcher;
  }
}

/** Jobs of one watcher: one cluster of one config.yaml. */
function keyOf(record: JobRecord): string {
  return `${record.spec.cluster}\n${record.spec.config ?? ""}`;
}
