/**
 * What the page knows of the agent: jobs, lines to clusters, open questions. One for the page, fed by one WebSocket;
 * everything that is shown reads from here and is told what changed.
 */
import type { IDisposable } from "@lumino/disposable";
import { type ISignal, Signal } from "@lumino/signaling";
import { type AgentEvent, type Choices, type Connection, isEnd, type JobRecord, type Prompt } from "yale-jobs/protocol";
import { type Absent, type Agent, AgentError } from "./client";

/** Jobs of the first answer: enough for any screen, few enough to be there at once. */
const FIRST = 200;

/** How things stand with the agent. */
export type Status =
  | { kind: "loading" }
  | { kind: "live" }
  /** The server part answers, and there is no agent. */
  | { kind: "absent"; what: string; fix: string }
  /** Not even the server part answers, or it refuses. */
  | { kind: "error"; what: string; fix: string };

/** What changed. `ended` is set where a job that was watched has just come to its end. */
export type Change =
  | { kind: "status" | "all" | "connections" | "prompts" }
  | { kind: "job"; job: JobRecord; isNew: boolean; ended: boolean }
  | { kind: "removed"; id: string };

/** The page's copy of the agent's state. */
export class JobStore implements IDisposable {
  readonly agent: Agent;
  #status: Status = { kind: "loading" };
  #jobs: JobRecord[] = [];
  readonly #byId = new Map<string, JobRecord>();
  /** Jobs of which the whole record is known, and not only what a list shows. */
  readonly #whole = new Set<string>();
  #complete = false;
  readonly #connections = new Map<string, Connection>();
  readonly #prompts = new Map<string, Prompt>();
  #choices: Choices | undefined;
  readonly #listening: IDisposable;
  readonly #changed = new Signal<this, Change>(this);
  #load = 0;
  #disposed = false;

  constructor(agent: Agent) {
    this.agent = agent;
    this.#listening = agent.listen(
      (event) => this.#take(event),
      ({ message, fix }) => this.#set({ kind: "error", what: message, fix }),
    );
  }

  /** Told after every change, once for each. */
  get changed(): ISignal<this, Change> {
    return this.#changed;
  }
  get status(): Status {
    return this.#status;
  }
  /** Newest first. Only the list's part of those that {@link whole} was not asked for. */
  get jobs(): readonly JobRecord[] {
    return this.#jobs;
  }
  /** False while older jobs are still being read. */
  get complete(): boolean {
    return this.#complete;
  }
  /** Lines that were asked for, and clusters of the user's configuration, by name. */
  get connections(): readonly Connection[] {
    const known = new Map<string, Connection>();
    for (const { name, transport } of this.#choices?.clusters ?? [])
      if (transport !== "local") known.set(name, { cluster: name, state: "disconnected" });
    for (const line of this.#connections.values()) if (line.cluster !== "local") known.set(line.cluster, line);
    return [...known.values()].sort((a, b) => (a.cluster < b.cluster ? -1 : 1));
  }
  /** Open questions, oldest first. */
  get prompts(): readonly Prompt[] {
    return [...this.#prompts.values()];
  }
  /** The config.yaml of the user, by which clusters outside a notebook are named. */
  get config(): string | undefined {
    return this.#choices?.config;
  }
  /** The user's home folder on the server's machine, once it is known. */
  get home(): string | undefined {
    return this.#choices?.home;
  }
  /** Jobs that are running now. */
  get running(): number {
    let n = 0;
    for (const job of this.#jobs) if (job.state === "running" || job.state === "completing") n += 1;
    return n;
  }
  /** Jobs that are not at an end, newest first. */
  get active(): readonly JobRecord[] {
    return this.#jobs.filter((job) => !isEnd(job.state));
  }

  /** What is known of a job. */
  get(id: string): JobRecord | undefined {
    return this.#byId.get(id);
  }

  /** The whole record of a job, asked for if need be. Throws AgentError. */
  async whole(id: string): Promise<JobRecord> {
    const known = this.#byId.get(id);
    if (known !== undefined && this.#whole.has(id)) return known;
    const job = await this.agent.call("get", id);
    this.put(job);
    return this.#byId.get(job.id) ?? job;
  }

  /** Takes a record that a call gave back, as if an event had told it. */
  put(job: JobRecord): void {
    this.#take({ type: "job", job });
  }

  /** Wants the agent started. */
  start(): void {
    this.#set({ kind: "loading" });
    this.agent.start();
  }

  /** Reads again which clusters there are. */
  async readChoices(): Promise<void> {
    this.#choices = await this.agent.call("choices", "~");
    this.#emit({ kind: "connections" });
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#listening.dispose();
    Signal.clearData(this);
  }

  #emit(change: Change): void {
    if (!this.#disposed) this.#changed.emit(change);
  }

  #set(status: Status): void {
    this.#status = status;
    // Who can't be reached asks nothing any more; what was asked is read again afterwards.
    if (status.kind !== "live" && this.#prompts.size > 0) {
      this.#prompts.clear();
      this.#emit({ kind: "prompts" });
    }
    this.#emit({ kind: "status" });
  }

  #take(event: AgentEvent | Absent): void {
    switch (event.type) {
      case "absent":
        this.#load += 1;
        this.#set({ kind: "absent", what: event.error.what, fix: event.error.fix });
        break;
      case "listening":
        void this.#read();
        break;
      case "job":
        this.#job(event.job);
        break;
      case "job_removed":
        this.#whole.delete(event.id);
        if (!this.#byId.delete(event.id)) break;
        this.#jobs = this.#jobs.filter((job) => job.id !== event.id);
        this.#emit({ kind: "removed", id: event.id });
        break;
      case "prompt":
        this.#prompts.set(event.prompt.id, event.prompt);
        this.#emit({ kind: "prompts" });
        break;
      case "prompt_gone":
        if (this.#prompts.delete(event.id)) this.#emit({ kind: "prompts" });
        break;
      case "connection":
        this.#connections.set(event.connection.cluster, event.connection);
        this.#emit({ kind: "connections" });
        break;
    }
  }

  #job(job: JobRecord): void {
    const old = this.#byId.get(job.id);
    // A list that was on its way may be older than an event.
    if (old !== undefined && (old.revision > job.revision || (old === job && this.#whole.has(job.id)))) return;
    this.#byId.set(job.id, job);
    this.#whole.add(job.id);
    if (old === undefined) this.#jobs.splice(this.#place(job), 0, job);
    else this.#jobs[this.#jobs.indexOf(old)] = job;
    const ended = old !== undefined && !isEnd(old.state) && isEnd(job.state);
    this.#emit({ kind: "job", job, isNew: old === undefined, ended });
  }

  /** Where a job belongs in the list. */
  #place(job: JobRecord): number {
    const at = this.#jobs.findIndex((other) => before(job, other));
    return at < 0 ? this.#jobs.length : at;
  }

  /** Reads everything: the newest jobs first, so that something is seen at once. */
  async #read(): Promise<void> {
    this.#load += 1;
    const load = this.#load;
    const current = () => load === this.#load && !this.#disposed;
    try {
      const [first, connections, prompts] = await Promise.all([
        this.agent.call("jobs", 0, FIRST),
        this.agent.call("connections"),
        this.agent.call("prompts"),
      ]);
      if (!current()) return;
      for (const line of connections) this.#connections.set(line.cluster, line);
      this.#prompts.clear();
      for (const prompt of prompts) this.#prompts.set(prompt.id, prompt);
      this.#complete = first.jobs.length >= first.total;
      this.#merge(first.jobs, this.#complete);
      this.#set({ kind: "live" });
      this.#emit({ kind: "all" });
      this.#emit({ kind: "connections" });
      this.#emit({ kind: "prompts" });
      await this.readChoices();
      if (!this.#complete) {
        const rest = await this.agent.call("jobs", 0, first.total + FIRST);
        if (!current()) return;
        this.#complete = true;
        this.#merge(rest.jobs, true);
        this.#emit({ kind: "all" });
      }
    } catch (error) {
      if (!current()) return;
      const { message, fix } = error instanceof AgentError ? error : new AgentError("internal", String(error));
      this.#set({ kind: "error", what: message, fix });
    }
  }

  /** Takes a list. `all`: what is not in it is gone, unless it is newer than the list's newest. */
  #merge(list: readonly JobRecord[], all: boolean): void {
    const listed = new Set(list.map((job) => job.id));
    const newest = list[0];
    if (all)
      for (const job of this.#jobs)
        if (!listed.has(job.id) && newest !== undefined && !before(job, newest)) {
          this.#byId.delete(job.id);
          this.#whole.delete(job.id);
        }
    if (all && newest === undefined) this.#byId.clear();
    for (const job of list) {
      const old = this.#byId.get(job.id);
      if (old !== undefined && old.revision >= job.revision) continue;
      this.#byId.set(job.id, job);
      this.#whole.delete(job.id);
    }
    this.#jobs = [...this.#byId.values()].sort((a, b) => (before(a, b) ? -1 : 1));
  }
}

/** True if `a` stands above `b`: newest first, as the agent lists them. */
function before(a: JobRecord, b: JobRecord): boolean {
  return a.createdAt === b.createdAt ? a.id > b.id : a.createdAt > b.createdAt;
}
