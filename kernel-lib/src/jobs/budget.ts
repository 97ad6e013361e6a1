/**
 * The submission budget: a site lets one person submit so many jobs an hour, and all doors (the agent, scripts with a
 * core of their own) share that number, also across restarts and crashes. A turn is taken just before `sbatch`; where
 * none is left the job waits and says until when.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ClusterConfig } from "../config/index.js";
import { count, localTime } from "../display/index.js";
import { stateDir } from "../paths.js";
import { dropLock, takeLock } from "../process.js";

const HOUR = 3_600_000;
/** Milliseconds after the scheduler's own refusal; doubled with each further one within the hour. */
const BACKOFF = { first: 5 * 60_000, most: 40 * 60_000 };

/** What is kept of one cluster and user. Times are milliseconds since 1970. */
interface Book {
  /** Submissions of the last hour, oldest first. */
  taken: number[];
  /** The scheduler's last refusal, and how many came close together. */
  refused?: { at: number; times: number };
}

/** What {@link SubmissionBudget.turn} is given. */
export interface TurnOptions {
  signal?: AbortSignal;
  /** Called when there is no turn left: until when (ISO 8601), and why in a sentence for the job's record. */
  onWait?: (until: string, reason: string) => void;
}

/** The budget of one user on this machine, for every cluster. */
export class SubmissionBudget {
  readonly #folder: string;

  /** @param folder where the books are kept, one file for each cluster and user; default the one that all doors share. */
  constructor(folder: string = join(stateDir(), "submissions")) {
    this.#folder = folder;
  }

  /**
   * Resolves when this submission may be sent, and counts it. A turn that is not used (a crash, a lost line) stays
   * counted: the scheduler may have counted it, too. Rejects with the signal's reason.
   */
  async turn(cluster: ClusterConfig, options: TurnOptions = {}): Promise<void> {
    for (;;) {
      options.signal?.throwIfAborted();
      const until = await this.#change(cluster, (book, now) => {
        const free = freeAt(book, cluster, now);
        if (free <= now) book.taken.push(now);
        return free <= now ? undefined : free;
      });
      if (until === undefined) return;
      const iso = new Date(until).toISOString();
      options.onWait?.(iso, await this.#reason(cluster, iso));
      // A little apart, so that many that wait for the same moment do not all ask at once.
      await pause(until - Date.now() + Math.random() * 500, options.signal);
    }
  }

  async #reason(cluster: ClusterConfig, until: string): Promise<string> {
    const { submissionsPerHour: limit } = cluster.policy;
    const { refused } = await this.used(cluster);
    const why = refused
      ? `${cluster.name} takes no more submissions of yours for now`
      : `${cluster.name} takes ${count(limit ?? 0, "submission")} an hour from one person`;
    return `Waits its turn: ${why}. Goes on at ${localTime(until)}.`;
  }

  /**
   * The scheduler itself said that it takes no more (`later: "limit"` of its SchedulerError): somebody also submits by hand, or counts
   * otherwise. The next {@link turn} waits: 5 minutes, then 10, 20, 40.
   */
  async refused(cluster: ClusterConfig): Promise<void> {
    await this.#change(cluster, (book, now) => {
      const close = book.refused !== undefined && now - book.refused.at < HOUR;
      book.refused = { at: now, times: close ? (book.refused?.times ?? 0) + 1 : 1 };
      // What was refused was not submitted.
      book.taken.pop();
    });
  }

  /** Submissions of the last hour through any door, the site's limit, and whether the scheduler refuses at present. */
  async used(cluster: ClusterConfig): Promise<{ lastHour: number; limit?: number; refused: boolean }> {
    const now = Date.now();
    const book = current(this.#read(this.#path(cluster)), now);
    const { submissionsPerHour: limit } = cluster.policy;
    return {
      lastHour: book.taken.length,
      ...(limit === undefined ? {} : { limit }),
      refused: backoff(book) > now,
    };
  }

  /** Two clusters of config.yaml that lead to the same host and user share a book. */
  #path(cluster: ClusterConfig): string {
    const host = [cluster.host?.toLowerCase(), cluster.port].filter((part) => part !== undefined).join(":");
    const where = cluster.site?.name ?? (host === "" ? `here-${cluster.name}` : host);
    return join(this.#folder, `${encodeURIComponent(`${where}-${cluster.user ?? ""}`)}.json`);
  }

  #read(path: string): Book {
    try {
      const book = JSON.parse(readFileSync(path, "utf8")) as Partial<Book>;
      const taken = Array.isArray(book.taken) ? book.taken.filter((t) => typeof t === "number") : [];
      const { refused } = book;
      const told = typeof refused?.at === "number" && typeof refused.times === "number";
      return { taken, ...(told && refused !== undefined ? { refused } : {}) };
    } catch {
      return { taken: [] };
    }
  }

  /** Changes a book under its lock, which is held for the time of one read and one write only. */
  async #change<T>(cluster: ClusterConfig, change: (book: Book, now: number) => T): Promise<T> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const path = this.#path(cluster);
    const lock = `${path}.lock`;
    while (!takeLock(lock)) await pause(5 + Math.random() * 20);
    try {
      const now = Date.now();
      const book = current(this.#read(path), now);
      const result = change(book, now);
      const part = `${path}.${randomBytes(4).toString("hex")}.part`;
      writeFileSync(part, JSON.stringify(book), { mode: 0o600 });
      renameSync(part, path);
      return result;
    } finally {
      dropLock(lock);
    }
  }
}

/** Resolves after so many milliseconds, or as soon as the signal aborts. */
function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    if (signal?.aborted) done();
    else signal?.addEventListener("abort", done, { once: true });
  });
}

/** Without what is older than an hour, or lies in the future because the clock was set back. */
function current(book: Book, now: number): Book {
  const taken = book.taken.filter((t) => t > now - HOUR && t <= now + 1000).sort((a, b) => a - b);
  const { refused } = book;
  return { taken, ...(refused !== undefined && refused.at <= now + 1000 ? { refused } : {}) };
}

/** When the scheduler may be asked again after its refusals; 0 if it has not refused. */
function backoff(book: Book): number {
  const { refused } = book;
  if (refused === undefined) return 0;
  return refused.at + Math.min(BACKOFF.first * 2 ** (refused.times - 1), BACKOFF.most);
}

/** When the next submission may go: now, or later. */
function freeAt(book: Book, cluster: ClusterConfig, now: number): number {
  const limit = cluster.policy.submissionsPerHour;
  const room = limit === undefined || book.taken.length < limit ? now : (book.taken.at(-limit) ?? now) + HOUR;
  return Math.max(now, room, backoff(book));
}
