/** Jobs among JupyterLab's own running things: kernels, terminals, and what runs on the cluster. */
import type { IRunningSessions } from "@jupyterlab/running";
import type { IDisposable } from "@lumino/disposable";
import { type ISignal, Signal } from "@lumino/signaling";
import { jobsIcon } from "./icons";
import type { Change, JobStore } from "./store";
import { oneLine, type Words } from "./words";

/** What can be done there. */
export interface RunningActs {
  open(id: string): void;
  cancel(ids: readonly string[]): void;
}

/** The section of jobs that are not at an end. */
export class RunningJobs implements IRunningSessions.IManager, IDisposable {
  readonly name: string;
  readonly shutdownLabel: string;
  readonly shutdownAllLabel: string;
  readonly shutdownAllConfirmationText: string;
  readonly #store: JobStore;
  readonly #words: Words;
  readonly #acts: RunningActs;
  readonly #changed = new Signal<this, void>(this);
  #disposed = false;

  constructor(store: JobStore, words: Words, acts: RunningActs) {
    const t = words.trans;
    this.#store = store;
    this.#words = words;
    this.#acts = acts;
    this.name = t.__("Yale Jobs");
    this.shutdownLabel = t.__("Cancel Job");
    this.shutdownAllLabel = t.__("Cancel All");
    this.shutdownAllConfirmationText = t.__("Cancel all jobs that have not ended? Pages that are done stay.");
    store.changed.connect(this.#tell, this);
  }

  get runningChanged(): ISignal<this, void> {
    return this.#changed;
  }

  running(): IRunningSessions.IRunningItem[] {
    return this.#store.active.map((job) => ({
      open: () => this.#acts.open(job.id),
      shutdown: () => this.#acts.cancel([job.id]),
      icon: () => jobsIcon,
      label: () => oneLine(job.spec.name, 128),
      labelTitle: () => this.#words.work(job),
      detail: () => this.#words.state(job.state),
    }));
  }

  shutdownAll(): void {
    this.#acts.cancel(this.#store.active.map((job) => job.id));
  }

  refreshRunning(): void {
    // The store is always as new as the last event.
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }
  dispose(): void {
    this.#disposed = true;
    this.#store.changed.disconnect(this.#tell, this);
    Signal.clearData(this);
  }

  #states = "";
  /** Told only when a job comes, goes or changes its state: every page of a job would redraw JupyterLab's list. */
  #tell(_: JobStore, change: Change): void {
    if (change.kind === "connections" || change.kind === "prompts" || change.kind === "status") return;
    const states = this.#store.active.map((job) => `${job.id} ${job.state}`).join("\n");
    if (states === this.#states) return;
    this.#states = states;
    this.#changed.emit();
  }
}
