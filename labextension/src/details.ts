/** One job in full, in the main area: its card, what it was asked to do, its log, its batch script. */
import type { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import type { JobRecord, Usage } from "yale-jobs/protocol";
import { ACTIONS } from "./actions";
import { type Act, JobCard } from "./card";
import { button, fill, h, setAttribute, setText, uniqueId } from "./dom";
import { jobsIcon } from "./icons";
import { LogView } from "./log";
import type { Change, JobStore } from "./store";
import { oneLine, type Words } from "./words";

/** The view's parts, one seen at a time. */
type Part = "overview" | "log" | "script";

/** The view of one job. */
export class JobDetails extends Widget {
  readonly #store: JobStore;
  readonly #words: Words;
  readonly #card: JobCard;
  readonly #log: LogView;
  readonly #overview = h("div", { class: "jp-yj-overview" });
  readonly #script = h("div", { class: "jp-yj-script" });
  readonly #tabs = new Map<Part, HTMLButtonElement>();
  readonly #panes = new Map<Part, HTMLElement>();
  readonly #message = h("p", { class: "jp-yj-notice", role: "status" });
  #scriptOf: string | undefined;
  #overviewOf: string | undefined;
  #part: Part = "overview";
  /** Id of the job. */
  readonly jobId: string;

  constructor(store: JobStore, words: Words, act: Act, id: string) {
    super();
    this.#store = store;
    this.#words = words;
    this.jobId = id;
    const t = words.trans;
    this.addClass("jp-yj-details");
    this.title.icon = jobsIcon;
    this.title.label = id;
    this.title.closable = true;
    this.#card = new JobCard(words, act, {
      actions: ACTIONS.filter((a) => a !== "open" && a !== "copy-id"),
      log: false,
    });
    this.#log = new LogView(store.agent, words, id);
    const parts: [Part, string, HTMLElement][] = [
      ["overview", t.__("Overview"), this.#overview],
      ["log", t.__("Log"), this.#log.node],
      ["script", t.__("Batch script"), this.#script],
    ];
    const list = h("div", { class: "jp-yj-tabs", role: "tablist", "aria-label": t.__("Parts of the job") });
    for (const [part, label, content] of parts) {
      const tab = h(
        "button",
        { type: "button", role: "tab", id: uniqueId("tab"), onclick: () => this.open(part) },
        label,
      );
      const pane = h("div", { class: "jp-yj-pane", role: "tabpanel", id: uniqueId("pane"), "aria-labelledby": tab.id });
      setAttribute(tab, "aria-controls", pane.id);
      pane.append(content);
      tab.addEventListener("keydown", (event) => this.#key(event));
      this.#tabs.set(part, tab);
      this.#panes.set(part, pane);
      list.append(tab);
    }
    this.node.append(this.#message, this.#card.node, list, ...this.#panes.values());
    this.#card.node.hidden = true;
    this.open("overview");
    store.changed.connect(this.#changed, this);
    this.#ask();
  }

  /** Shows one of the parts. */
  open(part: Part): void {
    this.#part = part;
    for (const [name, tab] of this.#tabs) {
      setAttribute(tab, "aria-selected", String(name === part));
      tab.tabIndex = name === part ? 0 : -1;
      (this.#panes.get(name) as HTMLElement).hidden = name !== part;
    }
    const job = this.#store.get(this.jobId);
    if (job !== undefined) this.#showPart(job);
  }

  protected override onActivateRequest(_: Message): void {
    this.#tabs.get(this.#part)?.focus();
  }

  override dispose(): void {
    this.#store.changed.disconnect(this.#changed, this);
    this.#log.dispose();
    super.dispose();
  }

  #changed(_: JobStore, change: Change): void {
    if (change.kind === "job" && change.job.id === this.jobId) this.#show(change.job);
    else if (change.kind === "status" || change.kind === "all") this.#ask();
    else if (change.kind === "removed" && change.id === this.jobId)
      this.#say(this.#words.trans.__("The job was removed from the list."));
  }

  #ask(): void {
    const t = this.#words.trans;
    const { status } = this.#store;
    if (status.kind === "loading") this.#say(t.__("Reading the job…"));
    else if (status.kind !== "live") this.#say(`${oneLine(status.what, 500)} ${oneLine(status.fix, 500)}`);
    if (status.kind !== "live") return;
    this.#store.whole(this.jobId).then(
      (job) => {
        if (!this.isDisposed) this.#show(job);
      },
      (error: unknown) => {
        if (!this.isDisposed) this.#say(oneLine((error as Error).message, 500));
      },
    );
  }

  #say(text: string): void {
    setText(this.#message, text);
    this.#message.hidden = text === "";
  }

  #show(job: JobRecord): void {
    this.#say("");
    this.#card.node.hidden = false;
    this.title.label = oneLine(job.spec.name, 40);
    this.title.caption = `${oneLine(job.spec.name, 128)} (${job.id})`;
    this.#card.update(job);
    this.#showPart(job);
  }

  #showPart(job: JobRecord): void {
    if (this.#part === "overview") this.#showOverview(job);
    else if (this.#part === "log") this.#log.follow(job);
    else void this.#showScript(job);
  }

  #showOverview(job: JobRecord): void {
    // Written anew only if what it says changed: what a person has marked in it stays marked.
    const { progress: _, logTail: __, revision: ___, heardAt: ____, ...rest } = job;
    const said = JSON.stringify(rest);
    if (said === this.#overviewOf) return;
    this.#overviewOf = said;
    const t = this.#words.trans;
    const words = this.#words;
    const { spec } = job;
    const r = spec.resources;
    const text = (value: unknown) =>
      value === undefined || value === ""
        ? undefined
        : oneLine(typeof value === "string" ? value : JSON.stringify(value), 2000);
    fill(
      this.#overview,
      table(t.__("Times and places"), [
        [t.__("Id"), job.id],
        [
          t.__("State"),
          job.raw === undefined ? words.state(job.state) : `${words.state(job.state)} (${oneLine(job.raw, 100)})`,
        ],
        [t.__("Cluster"), words.cluster(spec.cluster)],
        [t.__("Scheduler's id"), text(job.schedulerId)],
        [t.__("Made"), words.time(job.createdAt)],
        [t.__("Submitted"), words.time(job.submittedAt)],
        [t.__("Expected to start"), job.state === "queued" ? words.time(job.expectedStart) : undefined],
        [t.__("Started"), words.time(job.startedAt)],
        [t.__("Ended"), words.time(job.endedAt)],
        [t.__("Exit code"), text(job.exitCode)],
        [t.__("Signal"), text(job.signal)],
        [t.__("Job folder"), text(job.jobDir)],
        [t.__("Results in"), text(job.resultsDir)],
        [t.__("Pushed to"), text(job.pushedTo)],
        [t.__("Repeats job"), text(job.retryOf)],
        [
          t.__("Attempts before"),
          job.earlier === undefined
            ? undefined
            : job.earlier
                .map((e) => `${e.attempt}: ${words.state(e.state)}, ${t._n("%1 page", "%1 pages", e.done)}`)
                .join("; "),
        ],
      ]),
      table(t.__("What was asked for"), [
        [
          t.__("Source"),
          spec.sources.length === 0
            ? text(spec.datasetPath)
            : spec.sources.map((s) => oneLine(s.location, 500)).join("\n"),
        ],
        [t.__("Runner"), text(spec.runner)],
        [t.__("Script"), text(spec.script?.name)],
        [t.__("Arguments"), text(spec.script?.args.join(" "))],
        ...Object.entries(spec.options).map(([name, value]): Row => [name, text(value)]),
        [t.__("At most pages"), text(spec.maxSamples)],
        ...Object.entries(r).map(([name, value]): Row => [name, text(value)]),
        [t.__("Environment"), text(spec.env)],
        [t.__("Modules"), text(spec.modules?.join(", "))],
        [t.__("Tasks"), text(spec.shards)],
        [t.__("After"), text(spec.after?.map((a) => a.job).join(", "))],
        ...Object.entries(spec.labels ?? {}).map(([name, value]): Row => [name, text(value)]),
      ]),
      job.usage === undefined ? undefined : table(t.__("What was used"), this.#usage(job.usage)),
      job.faults.length === 0
        ? undefined
        : table(
            t.__("Pages and files that could not be had"),
            job.faults.map(
              (f): Row => [
                oneLine(f.page === undefined ? f.source || f.key : `${f.source}, ${f.page}`, 200),
                `${oneLine(f.reason, 500)}${f.fix === undefined ? "" : ` → ${oneLine(f.fix, 500)}`}`,
              ],
            ),
          ),
    );
  }

  #usage(usage: Usage): Row[] {
    const t = this.#words.trans;
    const words = this.#words;
    const time = (seconds: number | undefined) => (seconds === undefined ? undefined : words.duration(seconds));
    const of = (used: string | undefined, asked: string | undefined) =>
      used === undefined ? undefined : asked === undefined ? used : t.__("%1 of %2", used, asked);
    const bytes = (n: number | undefined) => (n === undefined ? undefined : words.bytes(n));
    return [
      [t.__("Time"), time(usage.elapsedSeconds)],
      [t.__("CPU time"), of(time(usage.cpuSeconds), time(usage.cpuAllocatedSeconds))],
      [t.__("Memory"), of(bytes(usage.maxMemoryBytes), bytes(usage.memoryAskedBytes))],
      [
        t.__("GPU hours"),
        usage.gpuSeconds === undefined || usage.gpuSeconds === 0 ? undefined : words.number(usage.gpuSeconds / 3600, 2),
      ],
      [t.__("Nodes"), usage.nodes === undefined ? undefined : oneLine(usage.nodes)],
    ];
  }

  /** The batch script is made from the specification, so it is asked for once. */
  async #showScript(job: JobRecord): Promise<void> {
    if (this.#scriptOf === job.id) return;
    this.#scriptOf = job.id;
    const t = this.#words.trans;
    try {
      const plan = await this.#store.agent.call("plan", job.spec);
      if (this.isDisposed) return;
      const script = plan.script.replaceAll("<id>", job.id);
      fill(
        this.#script,
        h(
          "div",
          { class: "jp-yj-bar-of-tools" },
          button(t.__("Copy"), () => void navigator.clipboard.writeText(script)),
        ),
        h("pre", { class: "jp-yj-log", tabindex: 0, "aria-label": t.__("Batch script") }, script),
      );
    } catch (error) {
      this.#scriptOf = undefined;
      if (!this.isDisposed)
        fill(this.#script, h("p", { class: "jp-yj-notice" }, oneLine((error as Error).message, 1000)));
    }
  }

  #key(event: KeyboardEvent): void {
    const parts = [...this.#tabs.keys()];
    const at = parts.indexOf(this.#part);
    const moves: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: parts.length - 1 };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const part = parts[(to + parts.length) % parts.length] as Part;
    this.open(part);
    this.#tabs.get(part)?.focus();
  }
}

/** A line of a table; without a value it is left out. */
type Row = [name: string, value: string | undefined];

function table(caption: string, rows: readonly Row[]): HTMLElement | undefined {
  const shown = rows.filter((row): row is [string, string] => row[1] !== undefined && row[1] !== "");
  if (shown.length === 0) return undefined;
  return h(
    "table",
    { class: "jp-yj-table" },
    h("caption", {}, caption),
    h(
      "tbody",
      {},
      shown.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, oneLine(name, 100)), h("td", {}, value))),
    ),
  );
}
