/**
 * An array job, followed task by task. Tasks that run or wait are in the queue; of those that ended the accounts are asked
 * once each, so that a thousand tasks cost no thousand rows at every look. Ends that are known are kept here.
 */
import { isEnd, type JobState, type TaskCounts, type Usage } from "../protocol.js";
import type { Asked, Observation } from "./index.js";
import {
  endFromQueue,
  fromAccounts,
  fromQueue,
  isHalf,
  isSureEnd,
  type Over,
  PATIENCE,
  waitedEnough,
} from "./slurm-end.js";
import type { Account } from "./slurm-sacct.js";
import type { QueueRow } from "./slurm-squeue.js";
import { stateOf } from "./slurm-states.js";

/** Up to so many tasks are asked about by name, more by asking for the whole array. */
const BY_NAME = 400;
/** Tasks that are named among the notes of the whole. */
const NAMED = 5;

/** True if the question or the queue says that it has tasks. */
export function isArray(job: Asked, rows: readonly QueueRow[]): boolean {
  const { tasks = 1 } = job;
  return typeof tasks !== "number" || tasks > 1 || rows.some((row) => row.tasks !== undefined);
}

/** What is known of one array. */
export class ArrayMemory {
  #id = "";
  /** Every task that there is, as far as is known. */
  readonly #tasks = new Set<number>();
  #whole = false;
  #active = new Map<number, QueueRow>();
  /** Over, by what the queue said last, and not yet in the accounts. */
  #over = new Map<number, Over>();
  readonly #ends = new Map<number, Observation>();
  /** Of tasks whose end the accounts know by half, and nobody else does. */
  readonly #halves = new Map<number, Account>();
  #unknownSince: number | undefined;

  /** Takes in what the queue says; undefined if it is silent, and then nothing changes. */
  see(job: Asked, rows: readonly QueueRow[] | undefined): void {
    this.#id = job.id;
    if (job.tasks !== undefined && !this.#whole) {
      const { tasks } = job;
      for (const t of typeof tasks === "number" ? Array(tasks).keys() : tasks) this.#tasks.add(t);
      this.#whole = true;
    }
    if (rows === undefined) return;
    const before = this.#over;
    this.#active = new Map();
    this.#over = new Map();
    for (const row of rows)
      for (const task of row.tasks ?? []) {
        this.#tasks.add(task);
        if (!isEnd(stateOf(row.state))) {
          this.#active.set(task, row);
          // It ran, and runs again.
          this.#ends.delete(task);
        } else if (!this.#ends.has(task)) this.#over.set(task, { row, since: before.get(task)?.since ?? Date.now() });
      }
    // The queue forgets what is over after a while (MinJobAge); until its accounts have come, we do not.
    for (const [task, known] of before)
      if (!this.#active.has(task) && !this.#ends.has(task) && !this.#over.has(task)) this.#over.set(task, known);
  }

  /** Ids to ask the accounts about. `queue`: whether the queue has answered. */
  missing(queue: boolean): string[] {
    if (!queue || (!this.#whole && this.#ends.size === 0)) return [this.#id];
    const unknown = this.#unknown();
    if (unknown.length + this.#over.size > BY_NAME) return [this.#id];
    const tasks = [...this.#over.keys(), ...unknown];
    // Tasks that were cancelled together before they started are one row, under the number of the array.
    const all = unknown.length > 0 && this.#active.size === 0 ? [this.#id] : [];
    return all.length > 0 ? all : tasks.map((t) => `${this.#id}_${t}`);
  }

  #unknown(): number[] {
    return [...this.#tasks].filter((t) => !this.#active.has(t) && !this.#ends.has(t) && !this.#over.has(t));
  }

  /** Takes in what the accounts say. */
  settle(accounts: readonly Account[], part: { queue: boolean; accounts: boolean; down: boolean }): void {
    if (part.accounts) this.#whole = true;
    for (const account of accounts) {
      const tasks = account.tasks ?? this.#unknown();
      for (const task of tasks) {
        this.#tasks.add(task);
        if (isHalf(account)) this.#halves.set(task, account);
        if (this.#ends.has(task) || !isSureEnd(account, part.queue)) continue;
        if (part.queue && this.#active.has(task)) continue;
        const over = this.#over.get(task);
        if (over !== undefined && stateOf(over.row.state) !== stateOf(account.state)) continue;
        this.#ends.set(task, fromAccounts(account, over?.row));
        this.#active.delete(task);
        this.#over.delete(task);
      }
    }
    for (const [task, over] of this.#over)
      if (waitedEnough(over, part.down)) {
        this.#ends.set(task, endFromQueue(over.row));
        this.#over.delete(task);
      }
    this.#settleUnknown(part);
  }

  /** Single tasks that were cancelled before they started leave no trace anywhere (22.05). */
  #settleUnknown(part: { queue: boolean; accounts: boolean }): void {
    const unknown = this.#unknown();
    const alone = part.queue && part.accounts && this.#active.size === 0 && this.#over.size === 0;
    if (!alone || unknown.length === 0 || this.#ends.size === 0) {
      this.#unknownSince = undefined;
      return;
    }
    this.#unknownSince ??= Date.now();
    if (Date.now() - this.#unknownSince < PATIENCE) return;
    for (const task of unknown) {
      const half = this.#halves.get(task);
      this.#ends.set(
        task,
        half === undefined
          ? { state: "cancelled", raw: "CANCELLED", reason: "Cancelled before it started." }
          : fromAccounts(half),
      );
    }
  }

  /** The whole, or undefined if nothing is known of it. */
  observation(): Observation | undefined {
    const waits = this.#tasks.size - this.#ends.size;
    if (this.#tasks.size === 0 || (this.#active.size === 0 && this.#over.size === 0 && this.#ends.size === 0))
      return undefined;
    const tasks = this.#counts();
    if (waits === 0) return { ...wholeEnd(this.#ends), tasks };
    const rows = [...new Set(this.#active.values())].map(fromQueue);
    const now =
      rows.find((o) => o.state === "running") ??
      rows.find((o) => o.state === "completing") ??
      rows.find((o) => o.held !== true) ??
      rows[0];
    if (now === undefined) return { state: "completing", raw: "COMPLETING", tasks };
    const started = [...rows, ...this.#ends.values()].map((o) => o.startedAt).filter((t) => t !== undefined);
    const first = started.sort()[0];
    return {
      ...now,
      // One that can never start would not stop the others.
      ...(rows.every((o) => o.never === true) ? {} : { never: false }),
      ...(rows.every((o) => o.held === true) ? {} : { held: false }),
      restarts: Math.max(...rows.map((o) => o.restarts ?? 0)),
      ...(first === undefined ? {} : { startedAt: first }),
      tasks,
    };
  }

  #counts(): TaskCounts {
    const counts: TaskCounts = { total: this.#tasks.size, queued: 0, running: 0, completed: 0, failed: 0 };
    for (const row of this.#active.values()) {
      const state = stateOf(row.state);
      if (state === "running" || state === "completing") counts.running += 1;
      else counts.queued += 1;
    }
    for (const o of this.#ends.values()) counts[o.state === "completed" ? "completed" : "failed"] += 1;
    return counts;
  }
}

/** Ends from the mildest to the one that says most about the whole. */
const GRAVITY: readonly JobState[] = [
  ...(["completed", "cancelled", "preempted", "node_fail", "timeout", "failed", "out_of_memory"] as const),
];

function gravity(o: Observation): number {
  // 3 is a runner's "done, with pages in error": milder than any other failure.
  return o.state === "failed" && o.exitCode === 3 ? 0.5 : GRAVITY.indexOf(o.state);
}

/** One end for all tasks: that of the gravest, with the others among the notes. */
function wholeEnd(ends: ReadonlyMap<number, Observation>): Observation {
  const all = [...ends].sort(([a], [b]) => a - b);
  const [, worst] = all.reduce((w, next) => (gravity(next[1]) > gravity(w[1]) ? next : w));
  const bad = all.filter(([, o]) => o.state !== "completed");
  const notes = bad.length === 0 ? [] : [`${bad.length} of ${all.length} tasks did not complete.`];
  for (const [task, o] of bad.slice(0, NAMED)) {
    const code = o.exitCode !== undefined && o.exitCode > 0 ? ` with exit code ${o.exitCode}` : "";
    notes.push(`Task ${task}: ${o.reason ?? `ended as ${o.raw}${code}.`}`);
  }
  for (const [task, o] of all)
    for (const note of o.notes ?? []) if (notes.length < 2 * NAMED) notes.push(`Task ${task}: ${note}`);
  const { notes: _notes, usage: _usage, ...end } = worst;
  const started = all.map(([, o]) => o.startedAt).filter((t) => t !== undefined);
  const ended = all.map(([, o]) => o.endedAt).filter((t) => t !== undefined);
  const usage = sumUsage(all.map(([, o]) => o.usage).filter((u) => u !== undefined));
  return {
    ...end,
    ...(started.length === 0 ? {} : { startedAt: started.sort()[0] ?? "" }),
    ...(ended.length === 0 ? {} : { endedAt: ended.sort().at(-1) ?? "" }),
    ...(usage === undefined ? {} : { usage }),
    ...(notes.length === 0 ? {} : { notes }),
  };
}

/** Figures of all tasks: times added up, memory of the task that held most. */
function sumUsage(all: readonly Usage[]): Usage | undefined {
  if (all.length === 0) return undefined;
  const sum = (key: "elapsedSeconds" | "cpuSeconds" | "cpuAllocatedSeconds" | "gpuSeconds") =>
    all.reduce((total, u) => total + (u[key] ?? 0), 0);
  const most = (key: "maxMemoryBytes" | "memoryAskedBytes" | "gpus") => Math.max(...all.map((u) => u[key] ?? 0));
  const nodes = [...new Set(all.map((u) => u.nodes ?? "").filter((n) => n !== ""))];
  const waste = all.find((u) => u.waste !== undefined)?.waste;
  return {
    elapsedSeconds: sum("elapsedSeconds"),
    cpuSeconds: sum("cpuSeconds"),
    cpuAllocatedSeconds: sum("cpuAllocatedSeconds"),
    maxMemoryBytes: most("maxMemoryBytes"),
    memoryAskedBytes: most("memoryAskedBytes"),
    gpus: most("gpus"),
    gpuSeconds: sum("gpuSeconds"),
    ...(nodes.length === 0 ? {} : { nodes: nodes.slice(0, 8).join(",") }),
    ...(waste === undefined ? {} : { waste }),
  };
}
