/**
 * Job records on disk: one JSON file a job under the state folder, replaced by rename, so that a killed process leaves
 * the old record or the new one. Several cores (the agent, inline cores of scripts) may share the folder: each job is
 * driven by the one that holds its lock, and a lock whose holder is dead is free.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { JobNotFoundError } from "../errors.js";
import { dropLock, takeLock } from "../process.js";
import { isEnd, isJobRecord, type JobFilter, type JobRecord, type JobSpec } from "../protocol.js";

/** The record of a job of which nothing has happened yet. */
export function newRecord(id: string, spec: JobSpec): JobRecord {
  return {
    id,
    spec,
    state: "preparing",
    createdAt: new Date().toISOString(),
    faults: [],
    faultCount: 0,
    progress: { prepared: 0, done: 0, failed: 0 },
    logTail: [],
    attempt: 1,
    revision: 0,
  };
}

/** The records of one user on this machine. */
export class JobRecords {
  readonly #folder: string;
  readonly #cache = new Map<string, { stamp: string; record: JobRecord }>();

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  #path(id: string): string {
    return join(this.#folder, `${id}.json`);
  }

  /** Writes the record and counts its revision up. */
  save(record: JobRecord): void {
    record.revision += 1;
    const path = this.#path(record.id);
    const part = `${path}.${randomBytes(4).toString("hex")}.part`;
    writeFileSync(part, `${JSON.stringify(record)}\n`, { mode: 0o600 });
    renameSync(part, path);
  }

  /** All records, newest first. A file that can't be read is left out: it is somebody's half-copied backup, not ours. */
  list(filter: JobFilter = {}): JobRecord[] {
    const all: JobRecord[] = [];
    for (const file of readdirSync(this.#folder)) {
      if (!file.endsWith(".json")) continue;
      const record = this.#read(file.slice(0, -5));
      if (record !== undefined && matches(record, filter)) all.push(record);
    }
    all.sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : a.id < b.id ? 1 : -1));
    return filter.limit === undefined ? all : all.slice(0, filter.limit);
  }

  #read(id: string): JobRecord | undefined {
    const path = this.#path(id);
    try {
      const stat = statSync(path);
      const stamp = `${stat.ino}:${stat.mtimeMs}:${stat.size}`;
      const known = this.#cache.get(id);
      if (known?.stamp === stamp) return known.record;
      const record: unknown = JSON.parse(readFileSync(path, "utf8"));
      if (!isJobRecord(record)) return undefined;
      this.#cache.set(id, { stamp, record });
      return record;
    } catch {
      return undefined;
    }
  }

  /** By id, unique beginning of one, scheduler id, or name (the newest so named). Throws JobNotFoundError. */
  get(given: string): JobRecord {
    const exact = /^[a-z0-9]+$/.test(given) ? this.#read(given) : undefined;
    if (exact !== undefined) return exact;
    const all = this.list();
    const beginnings = given.length >= 3 ? all.filter((r) => r.id.startsWith(given)) : [];
    if (beginnings.length === 1 && beginnings[0] !== undefined) return beginnings[0];
    const other = all.find((r) => r.schedulerId === given) ?? all.find((r) => r.spec.name === given);
    if (other !== undefined) return other;
    if (beginnings.length > 1)
      throw new JobNotFoundError(
        `${JSON.stringify(given)} is the beginning of ${beginnings.length} job ids.`,
        `Write more of it: ${beginnings
          .slice(0, 5)
          .map((r) => r.id)
          .join(", ")}.`,
      );
    throw new JobNotFoundError(`There is no job ${JSON.stringify(given)}.`, "`yale jobs ls` lists the jobs.");
  }

  /** Forgets a job. */
  remove(id: string): void {
    rmSync(this.#path(id), { force: true });
    this.#cache.delete(id);
    this.unlock(id);
  }

  /** Takes the right to drive a job; false if a living process has it. */
  lock(id: string): boolean {
    return takeLock(join(this.#folder, `${id}.lock`));
  }

  /** Gives that right back, if this process has it. */
  unlock(id: string): void {
    dropLock(join(this.#folder, `${id}.lock`));
  }
}

function matches(record: JobRecord, filter: JobFilter): boolean {
  if (filter.state !== undefined && !filter.state.includes(record.state)) return false;
  if (filter.cluster !== undefined && record.spec.cluster !== filter.cluster) return false;
  if (filter.name !== undefined && !record.spec.name.includes(filter.name)) return false;
  return Object.entries(filter.label ?? {}).every(([k, v]) => record.spec.labels?.[k] === v);
}

/** Records that are not at an end. */
export function isActive(record: JobRecord): boolean {
  return !isEnd(record.state);
}
