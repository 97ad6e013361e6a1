/** The side panel: every job of the user, the lines to clusters, and what to do where there is nothing to show. */
import { addIcon, closeIcon } from "@jupyterlab/ui-components";
import type { Message } from "@lumino/messaging";
import { type ISignal, Signal } from "@lumino/signaling";
import { Panel, Widget } from "@lumino/widgets";
import { type Connection, isEnd, JOB_STATES, type JobRecord } from "yale-jobs/protocol";
import { button, fill, h, setAttribute, setText, show } from "./dom";
import { jobsIcon } from "./icons";
import { VirtualList } from "./list";
import { createRow, ROW_HEIGHT, renderRow } from "./row";
import type { Change, JobStore } from "./store";
import { oneLine, tone, type Words } from "./words";

/** Milliseconds after which times such as "last heard" are written anew; nothing is asked for them. */
const TICK = 30_000;

/** What the panel lets a person do; each is one of the extension's commands. */
export interface PanelActs {
  open(id: string): void;
  newJob(): void;
  login(cluster: string): void;
  logout(cluster: string): void;
  answer(): void;
}

/** What a person wants to see. */
interface Filter {
  text: string;
  state: string;
  cluster: string;
}

/** The panel. */
export class JobsPanel extends Panel {
  readonly #store: JobStore;
  readonly #words: Words;
  readonly #acts: PanelActs;
  readonly #list: VirtualList;
  readonly #text: HTMLInputElement;
  readonly #state: HTMLSelectElement;
  readonly #cluster: HTMLSelectElement;
  readonly #clear: HTMLButtonElement;
  readonly #count = h("span", { class: "jp-yj-count", role: "status" });
  readonly #lines = h("ul", { class: "jp-yj-lines" });
  readonly #clusters: HTMLElement;
  readonly #filters: HTMLElement;
  readonly #notice = h("div", { class: "jp-yj-notice", role: "status" });
  readonly #selectionChanged = new Signal<this, void>(this);
  /** Ids of the jobs that the filter lets through. */
  #shown = new Set<string>();
  /** What the notice says now: it is read out by screen readers, so only news are written. */
  #said = "";
  #timer: number | undefined;

  constructor(store: JobStore, words: Words, acts: PanelActs) {
    super();
    this.#store = store;
    this.#words = words;
    this.#acts = acts;
    const t = words.trans;
    this.id = "yale-jobs-panel";
    this.addClass("jp-yj-panel");
    this.title.icon = jobsIcon;
    setAttribute(this.node, "role", "region");
    setAttribute(this.node, "aria-label", t.__("Yale Jobs"));

    const refilter = () => this.#refilter();
    this.#text = h("input", {
      type: "search",
      class: "jp-yj-input",
      placeholder: t.__("Filter by name, id, source"),
      "aria-label": t.__("Filter jobs by name, id or source"),
      spellcheck: "false",
      input: refilter,
    });
    this.#state = select(t.__("State"), refilter);
    fill(
      this.#state,
      option("", t.__("All states")),
      option("active", t.__("Not ended")),
      option("ended", t.__("Ended")),
      option("bad", t.__("Went wrong")),
      h("hr"),
      JOB_STATES.map((state) => option(state, words.state(state))),
    );
    this.#cluster = select(t.__("Cluster"), refilter);
    fill(this.#cluster, option("", t.__("All clusters")));
    this.#clear = button(t.__("Show all jobs"), () => this.clearFilter(), { icon: closeIcon });
    this.#filters = h(
      "div",
      { class: "jp-yj-filters", role: "search" },
      this.#text,
      h("div", { class: "jp-yj-filters-row" }, this.#state, this.#cluster, this.#clear),
    );
    this.#clusters = h(
      "details",
      { class: "jp-yj-clusters", open: true },
      h("summary", { class: "jp-yj-heading" }, t.__("Clusters")),
      this.#lines,
    );
    const head = h(
      "div",
      { class: "jp-yj-head" },
      h("h2", { class: "jp-yj-title" }, t.__("Yale Jobs")),
      this.#count,
      button(t.__("New OCR job…"), () => acts.newJob(), { icon: addIcon }),
    );
    this.#list = new VirtualList({
      label: t.__("Jobs"),
      rowHeight: ROW_HEIGHT,
      multiple: true,
      create: createRow,
      render: (row, key) => renderRow(row, store.get(key), words),
    });
    this.#list.opened.connect((_, id) => acts.open(id));
    this.#list.selectionChanged.connect(() => {
      this.#showCount();
      this.#selectionChanged.emit();
    });
    const node = h("div", { class: "jp-yj-panel-top" }, head, this.#clusters, this.#filters, this.#notice);
    this.addWidget(new Widget({ node }));
    this.addWidget(this.#list);
    store.changed.connect(this.#changed, this);
    this.#refilter();
    this.#showLines();
    this.#showTitle();
  }

  /** Ids of the jobs that are selected, newest first. */
  get selection(): string[] {
    return this.#list.selection;
  }
  /** Told when other jobs are selected. */
  get selectionChanged(): ISignal<this, void> {
    return this.#selectionChanged;
  }

  /** Shows all jobs. */
  clearFilter(): void {
    this.#text.value = "";
    this.#state.value = "";
    this.#cluster.value = "";
    this.#refilter();
    this.#text.focus();
  }

  /** Puts the keyboard into the list. */
  protected override onActivateRequest(_: Message): void {
    this.#list.node.focus();
  }
  protected override onBeforeShow(_: Message): void {
    this.#list.refreshAll();
    this.#timer = window.setInterval(() => this.#list.refreshAll(), TICK);
  }
  protected override onAfterHide(_: Message): void {
    window.clearInterval(this.#timer);
  }
  override dispose(): void {
    window.clearInterval(this.#timer);
    this.#store.changed.disconnect(this.#changed, this);
    super.dispose();
  }

  #changed(_: JobStore, change: Change): void {
    if (change.kind === "job") this.#job(change.job, change.isNew);
    else if (change.kind === "connections") this.#showLines();
    else if (change.kind !== "prompts") {
      this.#showTitle();
      this.#showClusters();
      this.#refilter();
    }
  }

  /** One job changed: one row, unless it comes into the list or leaves it. */
  #job(job: JobRecord, isNew: boolean): void {
    this.#showTitle();
    if (isNew) this.#showClusters();
    const listed = this.#shown.has(job.id);
    if (!isNew && listed === matches(job, this.#filter)) {
      if (listed) this.#list.refresh(job.id);
    } else this.#refilter();
  }

  get #filter(): Filter {
    return { text: this.#text.value.trim().toLowerCase(), state: this.#state.value, cluster: this.#cluster.value };
  }

  #refilter(): void {
    const filter = this.#filter;
    const wanted = this.#store.jobs.filter((job) => matches(job, filter)).map((job) => job.id);
    this.#shown = new Set(wanted);
    this.#list.setKeys(wanted);
    this.#showCount();
    this.#showNotice();
    const all = filter.text === "" && filter.state === "" && filter.cluster === "";
    show(this.#clear, !all);
  }

  #showCount(): void {
    const t = this.#words.trans;
    const { length } = this.#store.jobs;
    const selected = this.#list.selection.length;
    const text =
      selected > 1
        ? t._n("%2 selected", "%2 selected", selected, this.#words.number(selected))
        : this.#shown.size === length
          ? length === 0
            ? ""
            : t._n("%2 job", "%2 jobs", length, this.#words.number(length))
          : t.__("%1 of %2 jobs", this.#words.number(this.#shown.size), this.#words.number(length));
    setText(this.#count, text);
  }

  /** The side bar's icon carries the number of running jobs. */
  #showTitle(): void {
    const t = this.#words.trans;
    const { running } = this.#store;
    const caption = running === 0 ? t.__("Yale Jobs") : t._n("Yale Jobs: %1 running", "Yale Jobs: %1 running", running);
    if (this.title.caption === caption) return;
    this.title.caption = caption;
    const { "yale-running": _, ...dataset } = this.title.dataset as { [name: string]: string };
    // Lumino writes it to the tab as `data-yale-running`, where the style sheet finds it.
    this.title.dataset = running === 0 ? dataset : { ...dataset, "yale-running": running > 99 ? "99+" : `${running}` };
  }

  #showClusters(): void {
    const names = [...new Set(this.#store.jobs.map((job) => job.spec.cluster))].sort();
    const chosen = this.#cluster.value;
    show(this.#cluster, names.length > 1 || chosen !== "");
    if (
      names.join("\n") ===
      [...this.#cluster.options]
        .slice(1)
        .map((o) => o.value)
        .join("\n")
    )
      return;
    fill(
      this.#cluster,
      option("", this.#words.trans.__("All clusters")),
      names.map((name) => option(name, this.#words.cluster(name))),
    );
    this.#cluster.value = chosen;
  }

  #showNotice(): void {
    const { status, jobs } = this.#store;
    const notice = this.#noticeOf();
    this.toggleClass("jp-mod-dead", status.kind === "absent" || status.kind === "error");
    show(this.#filters, jobs.length > 0);
    show(this.#list.node, this.#shown.size > 0);
    show(this.#notice, notice !== undefined);
    if (notice === undefined || notice.join("\n") === this.#said) return;
    this.#said = notice.join("\n");
    const [what, fix, label] = notice;
    const act = this.#noticeAct();
    fill(
      this.#notice,
      h("p", {}, what),
      fix === "" ? undefined : h("p", { class: "jp-yj-faint" }, fix),
      label === "" || act === undefined ? undefined : button(label, act),
    );
  }

  /** What to say where there is nothing to show: what is so, what to do, and the label of a button that does it. */
  #noticeOf(): [string, string, string] | undefined {
    const t = this.#words.trans;
    const { status, jobs } = this.#store;
    if (status.kind === "absent")
      return [
        t.__("The agent of Yale Jobs does not run: %1", oneLine(status.what, 1000)),
        status.fix === "" ? t.__("Jobs go on without it; what is shown may be old.") : oneLine(status.fix, 500),
        t.__("Start the agent"),
      ];
    if (status.kind === "error") return [oneLine(status.what, 500), oneLine(status.fix, 500), t.__("Reload the page")];
    if (jobs.length > 0 && this.#shown.size === 0)
      return [t.__("No job matches the filter."), "", t.__("Show all jobs")];
    if (jobs.length > 0) return undefined;
    if (status.kind === "loading") return [t.__("Reading your jobs…"), "", ""];
    return [
      t.__("No jobs yet."),
      t.__('Right-click a PDF or folder in the file browser, or write yale.ocr("scans.pdf").submit() in a notebook.'),
      t.__("New OCR job…"),
    ];
  }

  /** What the notice's button does. */
  #noticeAct(): (() => void) | undefined {
    const { status, jobs } = this.#store;
    if (status.kind === "absent") return () => this.#store.start();
    if (status.kind === "error") return () => window.location.reload();
    if (jobs.length > 0) return () => this.clearFilter();
    return () => this.#acts.newJob();
  }

  #showLines(): void {
    const lines = this.#store.connections;
    show(this.#clusters, lines.length > 0);
    // A button that has the keyboard keeps it: the line is only made anew where it changed.
    const rows = new Map([...this.#lines.children].map((row) => [(row as HTMLElement).dataset["line"] ?? "", row]));
    const wanted = lines.map((line) => rows.get(JSON.stringify(line)) ?? this.#line(line));
    if (wanted.some((row, i) => this.#lines.children[i] !== row) || wanted.length !== rows.size)
      this.#lines.replaceChildren(...wanted);
  }

  #line(line: Connection): HTMLElement {
    const t = this.#words.trans;
    const { cluster, state } = line;
    const since = this.#words.time(line.since);
    const words = state === "connected" && since !== "" ? t.__("connected since %1", since) : this.#words.line(state);
    // Of a question the dialog tells; of what went wrong the message tells more than the state's name.
    const message = state === "connected" || state === "prompting" ? "" : oneLine(line.message ?? "", 300);
    return h(
      "li",
      { class: "jp-yj-line", "data-line": JSON.stringify(line), "data-state": state },
      h("span", { class: "jp-yj-dot", "aria-hidden": "true" }),
      h(
        "div",
        { class: "jp-yj-line-words" },
        h("div", { class: "jp-yj-line-name" }, this.#words.cluster(cluster)),
        h("div", { class: "jp-yj-faint" }, message === "" ? words : message),
      ),
      state === "prompting"
        ? button(t.__("Answer…"), () => this.#acts.answer())
        : state === "connected" || state === "connecting"
          ? button(t.__("Log out"), () => this.#acts.logout(cluster))
          : button(t.__("Log in"), () => this.#acts.login(cluster)),
    );
  }
}

function matches(job: JobRecord, { text, state, cluster }: Filter): boolean {
  if (cluster !== "" && job.spec.cluster !== cluster) return false;
  if (state === "active" && isEnd(job.state)) return false;
  if (state === "ended" && !isEnd(job.state)) return false;
  if (state === "bad" && tone(job.state) !== "bad" && job.progress.failed === 0) return false;
  if (state !== "" && !["active", "ended", "bad"].includes(state) && job.state !== state) return false;
  if (text === "") return true;
  return [job.spec.name, job.id, job.schedulerId ?? "", ...job.spec.sources.map((s) => s.location)].some((words) =>
    words.toLowerCase().includes(text),
  );
}

function select(label: string, action: () => void): HTMLSelectElement {
  return h("select", { class: "jp-yj-input", "aria-label": label, title: label, change: action });
}

function option(value: string, label: string): HTMLOptionElement {
  return h("option", { value }, label);
}
