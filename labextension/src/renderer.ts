/**
 * Jobs in notebook outputs: the MIME type's renderer. What is saved in the notebook is shown at once; as soon as the
 * agent knows the job, the card lives.
 */
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { Widget } from "@lumino/widgets";
import { isJobRecord, JOB_MIME, type JobRecord } from "yale-jobs/protocol";
import { type Act, JobCard } from "./card";
import { AgentError } from "./client";
import { fill } from "./dom";
import type { Change, JobStore } from "./store";
import type { Words } from "./words";

/** Shows one job. */
class JobRenderer extends Widget implements IRenderMime.IRenderer {
  readonly #store: JobStore;
  readonly #words: Words;
  readonly #card: JobCard;
  #saved: JobRecord | undefined;
  /** True once the agent has said that it knows no such job. */
  #unknown = false;
  #asked: string | undefined;

  constructor(store: JobStore, words: Words, act: Act) {
    super();
    this.addClass("jp-yj-output");
    this.#store = store;
    this.#words = words;
    this.#card = new JobCard(words, act, {
      actions: ["open", "results", "cancel", "release", "retry", "rerun", "download"],
    });
    store.changed.connect(this.#changed, this);
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const data: unknown = model.data[JOB_MIME];
    if (!isJobRecord(data)) return this.#unreadable();
    this.#saved = { ...data, faults: data.faults ?? [], logTail: data.logTail ?? [] };
    if (this.#card.node.parentNode !== this.node) fill(this.node, this.#card.node);
    try {
      this.#show();
    } catch {
      return this.#unreadable();
    }
    this.#ask();
  }

  /** Somebody's notebook may say anything under this type. */
  #unreadable(): void {
    this.#saved = undefined;
    fill(this.node, this.#words.trans.__("This output should show a job of Yale Jobs and can't be read."));
  }

  override dispose(): void {
    this.#store.changed.disconnect(this.#changed, this);
    super.dispose();
  }

  #changed(_: JobStore, change: Change): void {
    const saved = this.#saved;
    if (saved === undefined) return;
    if (change.kind === "job" ? change.job.id === saved.id : change.kind === "removed" && change.id === saved.id) {
      this.#unknown = change.kind === "removed";
      this.#show();
    } else if (change.kind === "status" || change.kind === "all") {
      this.#asked = undefined;
      this.#show();
      this.#ask();
    }
  }

  /** The whole record, once for each time that the agent comes. */
  #ask(): void {
    const { id } = this.#saved as JobRecord;
    if (this.#store.status.kind !== "live" || this.#asked === id) return;
    this.#asked = id;
    this.#store.whole(id).then(
      () => {
        this.#unknown = false;
        if (!this.isDisposed) this.#show();
      },
      (error: unknown) => {
        this.#unknown = error instanceof AgentError && error.code === "job_not_found";
        if (!this.isDisposed) this.#show();
      },
    );
  }

  #show(): void {
    const saved = this.#saved;
    if (saved === undefined) return;
    const t = this.#words.trans;
    const { kind } = this.#store.status;
    // The kernel's word may be newer than the agent's list, and the agent's newer than what the notebook saved.
    const known = this.#store.get(saved.id);
    const job = known === undefined || known.revision < saved.revision ? saved : { ...saved, ...whole(known, saved) };
    if (this.#unknown)
      this.#card.update(saved, {
        dead: true,
        remark: t.__("As saved in the notebook: Yale Jobs on this machine does not know the job."),
      });
    else if (kind !== "live" && kind !== "loading")
      this.#card.update(job, {
        dead: true,
        remark: t.__("As last known: the agent of Yale Jobs does not answer."),
      });
    else this.#card.update(job, { dead: kind === "loading" });
  }
}

/** A list's record lacks faults and log, which the saved one has. */
function whole(known: JobRecord, saved: JobRecord): JobRecord {
  if (known.faults.length > 0 || known.logTail.length > 0) return known;
  return { ...known, faults: saved.faults, logTail: known.revision === saved.revision ? saved.logTail : [] };
}

/** The factory that JupyterLab asks for renderers of jobs. */
export function jobRendererFactory(store: JobStore, words: Words, act: Act): IRenderMime.IRendererFactory {
  return {
    // Everything foreign becomes text nodes, so that notebooks which are not trusted yet show it too.
    safe: true,
    mimeTypes: [JOB_MIME],
    // Before HTML (50), which is the same card without life.
    defaultRank: 10,
    createRenderer: () => new JobRenderer(store, words, act),
  };
}
