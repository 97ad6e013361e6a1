/** A job as a card: in a notebook's output and at the head of its own view. Changes in place, so that focus stays. */
import { isEnd, type JobRecord } from "yale-jobs/protocol";
import type { Action } from "./actions";
import { allows } from "./actions";
import { button, fill, h, setAttribute, setText, show, uniqueId } from "./dom";
import { between, oneLine, plain, share, tone, type Words } from "./words";

/** Lines of the log and faults that a card shows. */
const LOG_LINES = 6;
const FAULTS = 5;

/** Does something with a job; each is one of the extension's commands. */
export type Act = (action: Action, id: string) => void;

/** The card. */
export class JobCard {
  readonly node: HTMLElement;
  readonly #words: Words;
  readonly #name = h("h3", { class: "jp-yj-card-name", id: uniqueId("card") });
  readonly #state = h("span", { class: "jp-yj-state" });
  readonly #id = h("code", { class: "jp-yj-faint" });
  readonly #work = h("div", { class: "jp-yj-faint" });
  readonly #place = h("div", { class: "jp-yj-faint" });
  readonly #fill = h("div", { class: "jp-yj-bar-fill" });
  readonly #bar = h("div", { class: "jp-yj-bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 });
  readonly #facts = h("div", { class: "jp-yj-card-facts" });
  readonly #trouble = h("div", { class: "jp-yj-trouble" });
  readonly #notes = h("ul", { class: "jp-yj-notes" });
  readonly #faults = h("details", { class: "jp-yj-faults" });
  readonly #log = h("pre", { class: "jp-yj-card-log", tabindex: 0 });
  readonly #results = h("div", { class: "jp-yj-faint" });
  readonly #remark = h("div", { class: "jp-yj-remark" });
  readonly #buttons = new Map<Action, HTMLButtonElement>();
  #job: JobRecord | undefined;

  constructor(words: Words, act: Act, options: { actions: readonly Action[]; log?: boolean }) {
    this.#words = words;
    const t = words.trans;
    const labels: Partial<Record<Action, string>> = {
      open: t.__("Details"),
      results: t.__("Results"),
      cancel: t.__("Cancel"),
      hold: t.__("Hold"),
      release: t.__("Release"),
      retry: t.__("Retry"),
      rerun: t.__("Run again with changes…"),
      download: t.__("Download…"),
      folder: t.__("Job folder"),
      "copy-cell": t.__("Copy as cell"),
      remove: t.__("Remove from list"),
    };
    for (const action of options.actions)
      this.#buttons.set(
        action,
        button(labels[action] ?? action, () => {
          if (this.#job !== undefined) act(action, this.#job.id);
        }),
      );
    this.#bar.append(this.#fill);
    setAttribute(this.#bar, "aria-label", t.__("Progress"));
    setAttribute(this.#log, "aria-label", t.__("End of the log"));
    if (options.log === false) this.#log.classList.add("jp-mod-off");
    this.node = h(
      "section",
      { class: "jp-yj-card", "aria-labelledby": this.#name.id },
      h("div", { class: "jp-yj-card-head" }, this.#name, this.#state, this.#id),
      this.#work,
      this.#place,
      this.#bar,
      this.#facts,
      this.#trouble,
      this.#notes,
      this.#faults,
      this.#log,
      this.#results,
      this.#remark,
      h("div", { class: "jp-yj-card-actions" }, [...this.#buttons.values()]),
    );
  }

  /** Shows a job. `remark` is said below it; `dead` leaves the actions out: there is nobody to do them. */
  update(job: JobRecord, options: { remark?: string; dead?: boolean; now?: number } = {}): void {
    this.#job = job;
    const words = this.#words;
    const t = words.trans;
    const now = options.now ?? Date.now();
    setText(this.#name, oneLine(job.spec.name, 128));
    setText(this.#state, words.state(job.state));
    setAttribute(this.#state, "data-tone", tone(job.state));
    setAttribute(this.node, "data-tone", tone(job.state));
    setText(this.#id, oneLine(job.id, 40));
    setText(this.#work, words.work(job));
    const running = between(job.startedAt, undefined, now);
    const since = [
      t.__("submitted %1", words.time(job.createdAt, now)),
      ...(job.state === "running" && running !== undefined ? [t.__("running for %1", words.duration(running))] : []),
    ];
    setText(this.#place, [...words.place(job), ...since].join(" · "));
    const part = share(job);
    show(this.#bar, tone(job.state) === "busy" || part !== undefined);
    this.#fill.style.transform = `scaleX(${(part ?? 0).toFixed(3)})`;
    setAttribute(this.#bar, "aria-valuenow", part === undefined ? undefined : String(Math.floor(part * 100)));
    setText(this.#facts, words.facts(job, now).join(" · "));
    this.#showTrouble(job);
    this.#showNotes(job);
    this.#showFaults(job);
    this.#showLog(job);
    setText(this.#results, job.resultsDir === undefined ? "" : t.__("Results in %1", oneLine(job.resultsDir, 400)));
    show(this.#results, job.resultsDir !== undefined);
    setText(this.#remark, options.remark ?? "");
    show(this.#remark, options.remark !== undefined);
    for (const [action, element] of this.#buttons) show(element, options.dead !== true && allows(job, action));
  }

  #showTrouble(job: JobRecord): void {
    // Why a job waits stands among the facts.
    const what = job.error?.what ?? (job.state === "queued" ? undefined : job.reason);
    const bad = job.error !== undefined || (isEnd(job.state) && job.state !== "completed");
    this.#trouble.classList.toggle("jp-mod-bad", bad);
    const fix = job.error?.fix ?? "";
    const text = what === undefined ? "" : `${oneLine(what, 1000)}${fix === "" ? "" : `\n→ ${oneLine(fix, 1000)}`}`;
    setText(this.#trouble, text);
    show(this.#trouble, text !== "");
  }

  #showNotes(job: JobRecord): void {
    const notes = [...(job.notes ?? []), ...(job.usage?.waste === undefined ? [] : [job.usage.waste])];
    show(this.#notes, notes.length > 0);
    if (this.#notes.childElementCount !== notes.length)
      fill(
        this.#notes,
        notes.map((note) => h("li", {}, oneLine(note, 500))),
      );
    else for (const [i, note] of notes.entries()) setText(this.#notes.children[i] as Element, oneLine(note, 500));
  }

  #showFaults(job: JobRecord): void {
    show(this.#faults, job.faultCount > 0);
    if (job.faultCount === 0 || this.#faults.dataset["count"] === `${job.faultCount}/${job.faults.length}`) return;
    this.#faults.dataset["count"] = `${job.faultCount}/${job.faults.length}`;
    const t = this.#words.trans;
    const shown = job.faults.slice(0, FAULTS);
    const more = job.faultCount - shown.length;
    fill(
      this.#faults,
      h("summary", {}, t._n("%1 page or file could not be had", "%1 pages or files could not be had", job.faultCount)),
      h(
        "ul",
        {},
        shown.map((f) => {
          const where = f.page === undefined ? oneLine(f.source || f.key, 120) : `${oneLine(f.source, 120)}, ${f.page}`;
          return h("li", {}, `${where}: ${oneLine(f.reason)}${f.fix === undefined ? "" : ` → ${oneLine(f.fix)}`}`);
        }),
        more > 0 && shown.length > 0 ? h("li", {}, t._n("and %1 more", "and %1 more", more)) : undefined,
      ),
    );
  }

  /** The end of the log: what a running job says, why something failed. A recognised book needs none. */
  #showLog(job: JobRecord): void {
    const needed = !(job.state === "completed" && job.spec.kind === "ocr");
    const lines = needed
      ? plain(job.logTail.join("\n"))
          .split("\n")
          .filter((l) => l.trim() !== "")
      : [];
    setText(this.#log, lines.slice(-LOG_LINES).join("\n"));
    show(this.#log, lines.length > 0 && !this.#log.classList.contains("jp-mod-off"));
  }
}
