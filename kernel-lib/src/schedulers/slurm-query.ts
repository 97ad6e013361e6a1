/**
 * What becomes of many jobs, by at most one `squeue` and one `sacct`. The queue is asked first and decides who still waits
 * or runs; the accounts are asked only for those that left it, and for all where the queue is silent. So a slurmdbd that is
 * frozen or stopped holds up no more than the ends of jobs, for two looks or 20 s, and costs their figures; a stopped
 * slurmctld costs only news.
 */
import type { Transport } from "../cluster/transport.js";
import { isEnd } from "../protocol.js";
import type { Answers, Asked, Observation } from "./index.js";
import { ArrayMemory, isArray } from "./slurm-array.js";
import { endFromQueue, fromAccounts, fromQueue, isHalf, isSureEnd, type Over, waitedEnough } from "./slurm-end.js";
import { QUESTION, run, silence } from "./slurm-run.js";
import { type Account, parseSacct, sacctArguments } from "./slurm-sacct.js";
import { parseSqueue, type QueueRow, squeueArguments } from "./slurm-squeue.js";
import { stateOf } from "./slurm-states.js";

/** Answers that fail to come, one after the other, until nothing is waited for any more: one may be lost on a busy node. */
const MISSED = 2;
/** Milliseconds after which a command was not refused but hung, and longest pause before it is tried again. */
const HUNG = 4_000;
const LONGEST_PAUSE = 120_000;
/** Most ids in one question to the accounts; the others have their turn at the next. */
const MOST = 2_000;

/** What was said of one line's scheduler until now. Bounded: what is not asked about any more is dropped. */
class Memory {
  readonly queue = new Part();
  readonly accounts = new Part();
  /** Number of the user on the cluster, once the queue has told it. */
  uid: string | undefined;
  readonly over = new Map<string, Over>();
  /** Since when the accounts know half of an end, of jobs whose end the queue never told. */
  readonly halves = new Map<string, number>();
  readonly arrays = new Map<string, ArrayMemory>();
  #turn = 0;

  /** At most {@link MOST} of these ids, and others than the last time where there are more. */
  some(ids: readonly string[]): string[] {
    if (ids.length <= MOST) return [...ids];
    const from = this.#turn % ids.length;
    this.#turn = from + MOST;
    return [...ids.slice(from), ...ids.slice(0, from)].slice(0, MOST);
  }

  array(id: string): ArrayMemory {
    const known = this.arrays.get(id) ?? new ArrayMemory();
    this.arrays.set(id, known);
    return known;
  }

  keep(ids: ReadonlySet<string>): void {
    for (const map of [this.over, this.halves, this.arrays])
      for (const id of map.keys()) if (!ids.has(id)) map.delete(id);
  }
}

/** One daemon behind its command: asked less often while it hangs. */
class Part {
  #hung = 0;
  #again = 0;
  #why = "";
  #missed = 0;

  /** It does not answer, and did not the time before. */
  get down(): boolean {
    return this.#missed >= MISSED;
  }

  /** The answer, or why there is none. */
  async ask(transport: Transport, argv: readonly string[]): Promise<{ text: string } | { why: string }> {
    const from = Date.now();
    if (from < this.#again) return { why: this.#why };
    const said = await run(transport, argv, QUESTION);
    // One id that slurmctld has forgotten is an answer; of several it leaves out those that it has forgotten.
    if (said.code !== 0 && /Invalid job id specified/.test(said.stderr)) return { text: "" };
    const why = silence(argv[0] ?? "", said, QUESTION);
    this.#missed = why === undefined ? 0 : this.#missed + 1;
    if (why === undefined) {
      this.#hung = 0;
      return { text: said.stdout };
    }
    if (Date.now() - from >= HUNG) {
      this.#again = Date.now() + Math.min(QUESTION * 1000 * 2 ** this.#hung, LONGEST_PAUSE);
      this.#hung += 1;
      this.#why = why;
    }
    return { why };
  }
}

const memories = new WeakMap<Transport, Memory>();

/** See {@link Scheduler.query}. */
export async function querySlurm(
  transport: Transport,
  asked: readonly Asked[],
  early?: (answers: Answers) => void,
): Promise<Answers> {
  const jobs = new Map<string, Observation>();
  if (asked.length === 0) return { jobs, silent: [] };
  const memory = memories.get(transport) ?? new Memory();
  memories.set(transport, memory);
  const ids = new Set(asked.map((a) => a.id));
  memory.keep(ids);

  const silent: string[] = [];
  const queue = await memory.queue.ask(transport, ["squeue", ...squeueArguments([...ids])]);
  const queued = "text" in queue ? parseSqueue(queue.text) : undefined;
  memory.uid = queued?.[0]?.uid ?? memory.uid;
  const rows = queued === undefined ? undefined : group(queued, ids);
  if ("why" in queue) silent.push(queue.why);

  // Who left the queue is looked up in the accounts.
  const left: Asked[] = [];
  const wanted: string[] = [];
  for (const job of asked) {
    const own = rows?.get(job.id) ?? [];
    if (isArray(job, own) || memory.arrays.has(job.id)) {
      const array = memory.array(job.id);
      array.see(job, rows === undefined ? undefined : own);
      const missing = array.missing(rows !== undefined);
      const now = array.observation();
      if (now !== undefined && !isEnd(now.state)) jobs.set(job.id, now);
      if (missing.length > 0 || now === undefined || isEnd(now.state)) left.push(job);
      wanted.push(...missing);
      continue;
    }
    const row = own[0];
    if (row !== undefined && !isEnd(stateOf(row.state))) {
      memory.over.delete(job.id);
      jobs.set(job.id, fromQueue(row));
    } else {
      if (row !== undefined) memory.over.set(job.id, { row, since: memory.over.get(job.id)?.since ?? Date.now() });
      left.push(job);
      wanted.push(job.id);
    }
  }
  if (left.length === 0) return { jobs, silent };
  if (jobs.size > 0) early?.({ jobs: new Map(jobs), silent: [...silent] });

  const now = memory.some(wanted);
  const accounts =
    now.length === 0 ? { text: "" } : await memory.accounts.ask(transport, ["sacct", ...sacctArguments(now)]);
  const told = "text" in accounts ? parseSacct(accounts.text).map((a) => ownedBy(memory.uid, a)) : undefined;
  const found = told === undefined ? undefined : group(told, ids);
  if ("why" in accounts) silent.push(accounts.why);
  const looked = new Set(now);
  const part = { queue: rows !== undefined, accounts: found !== undefined, down: memory.accounts.down };
  for (const job of left) {
    const own = rows?.get(job.id) ?? [];
    const kept = found?.get(job.id) ?? [];
    const array = memory.arrays.get(job.id);
    let now: Observation | undefined;
    if (array !== undefined || kept.some((a) => a.tasks !== undefined)) {
      const tasks = array ?? memory.array(job.id);
      if (array === undefined) tasks.see(job, rows === undefined ? undefined : own);
      tasks.settle(kept, part);
      now = tasks.observation();
    } else if (looked.has(job.id)) {
      const [account] = kept;
      if (account === undefined || !isHalf(account)) memory.halves.delete(job.id);
      else if (!memory.halves.has(job.id)) memory.halves.set(job.id, Date.now());
      now = settle(own[0], account, { ...part, over: memory.over.get(job.id), half: memory.halves.get(job.id) });
    }
    if (now !== undefined) jobs.set(job.id, now);
  }
  return { jobs, silent };
}

/** A job that is not active in the queue. Undefined if nothing sure can be said: then the last state stands. */
function settle(
  row: QueueRow | undefined,
  account: Account | undefined,
  part: { queue: boolean; down: boolean; over: Over | undefined; half: number | undefined },
): Observation | undefined {
  if (row !== undefined) {
    // The accounts may still be at an earlier moment, or at an earlier run.
    const agreed = account !== undefined && isSureEnd(account, true) && stateOf(account.state) === stateOf(row.state);
    return agreed ? { ...fromAccounts(account, row), restarts: row.restarts } : endWithoutAccounts(row, part);
  }
  if (account !== undefined && isSureEnd(account, part.queue)) return fromAccounts(account);
  // A queue that is silent may have it again by now.
  if (part.queue && part.over !== undefined) return endWithoutAccounts(part.over.row, part);
  if (account === undefined) return undefined;
  if (part.queue && part.half !== undefined && waitedEnough({ since: part.half }, part.down))
    return fromAccounts(account);
  // A queue that answers and does not have it knows better than accounts that call it running.
  if (part.queue || isEnd(stateOf(account.state))) return undefined;
  // slurmctld tells the accounts of a start a moment late: while it is silent, a job that they call waiting may run.
  return stateOf(account.state) === "queued" ? undefined : fromAccounts(account);
}

/** An end that only the queue knows: its figures are waited for, but not for ever. */
function endWithoutAccounts(row: QueueRow, { down, over }: { down: boolean; over: Over | undefined }): Observation {
  if (over === undefined || waitedEnough(over, down)) return withoutFigures(endFromQueue(row));
  return { state: "completing", raw: row.state, restarts: row.restarts };
}

/** The accounts say 0 for the owner of a job that never started (22.05). */
function ownedBy(uid: string | undefined, account: Account): Account {
  return account.uid === "0" && uid !== undefined ? { ...account, uid } : account;
}

function withoutFigures(o: Observation): Observation {
  return {
    ...o,
    notes: [...(o.notes ?? []), "SLURM's accounting did not tell what it used, so there are no figures."],
  };
}

function group<T extends { job: string }>(rows: readonly T[], ids: ReadonlySet<string>): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    if (!ids.has(row.job)) continue;
    const own = groups.get(row.job);
    if (own === undefined) groups.set(row.job, [row]);
    else own.push(row);
  }
  return groups;
}
