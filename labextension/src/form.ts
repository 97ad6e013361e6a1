/**
 * A job without code: a form whose fields are the builder's options by their own names. The agent makes the
 * specification from them by the builder's own rules, so that the form, the cell it writes and the builder can't differ.
 */
import type { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import { type Choices, type Estimate, type JobRecord, type JobSpec, type Json, newJobId } from "yale-jobs/protocol";
import { AgentError } from "./client";
import { button, fill, h, setAttribute, setText, show, uniqueId } from "./dom";
import { jobsIcon } from "./icons";
import type { Change, JobStore } from "./store";
import { oneLine, type Words } from "./words";

/** Milliseconds of rest in typing after which the form is looked at. */
const PAUSE = 350;

/** What a form begins with. */
export interface FormStart {
  /** Folder on the server's machine by which relative paths and config.yaml are found; `~/` is the home. */
  folder: string;
  sources?: readonly string[];
  options?: { readonly [name: string]: Json };
  /** The job that is run again with changes. */
  from?: JobRecord;
}

/** What becomes of a form. */
export interface FormActs {
  /** The job was handed in. */
  submitted(job: JobRecord): void;
  /** Writes the specification as a notebook cell. */
  insert(spec: JobSpec): void;
}

type Field = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** The form. */
export class JobForm extends Widget {
  readonly #store: JobStore;
  readonly #words: Words;
  readonly #acts: FormActs;
  readonly #start: FormStart;
  readonly #fields = new Map<string, Field>();
  readonly #message = h("div", { class: "jp-yj-trouble jp-mod-bad", role: "alert" });
  readonly #estimate = h("div", { class: "jp-yj-estimate", role: "status" });
  readonly #script = h("details", { class: "jp-yj-plan" });
  readonly #scriptText = h("pre", { class: "jp-yj-log", tabindex: 0 });
  readonly #submit: HTMLButtonElement;
  readonly #insert: HTMLButtonElement;
  #spec: JobSpec | undefined;
  #timer: number | undefined;
  #round = 0;

  constructor(store: JobStore, words: Words, acts: FormActs, start: FormStart) {
    super();
    this.#store = store;
    this.#words = words;
    this.#acts = acts;
    this.#start = start;
    const t = words.trans;
    this.addClass("jp-yj-form");
    this.title.icon = jobsIcon;
    this.title.closable = true;
    const { from } = start;
    this.title.label = from === undefined ? t.__("New OCR job") : t.__("Again: %1", oneLine(from.spec.name, 30));
    const run = from?.spec.kind === "run";
    this.#submit = button(from === undefined ? t.__("Submit") : t.__("Submit again"), () => void this.#send(), {
      class: "jp-mod-accept",
    });
    this.#insert = button(t.__("Insert as notebook cell"), () => {
      if (this.#spec !== undefined) acts.insert(this.#spec);
    });
    this.#script.append(h("summary", {}, t.__("What would be sent")), this.#scriptText);
    this.#script.addEventListener("toggle", () => void this.#plan());
    const heading = h(
      "h2",
      { class: "jp-yj-title" },
      from === undefined ? t.__("OCR with Yale Jobs") : this.title.label,
    );
    this.node.append(
      h(
        "form",
        {
          submit: (event: SubmitEvent) => event.preventDefault(),
          input: () => this.#soon(),
          "aria-label": heading.textContent ?? "",
        },
        heading,
        run ? this.#field("script", t.__("Script"), h("textarea", { rows: 10, spellcheck: "false" })) : undefined,
        this.#field(
          "sources",
          run ? t.__("Pages for the script") : t.__("Source"),
          h("textarea", { rows: 2, spellcheck: "false", placeholder: "scans.pdf" }),
          t.__("PDF files, folders of images, IIIF manifests or datasets: a path, pattern or address on each line."),
        ),
        this.#field("name", t.__("Name"), h("input", { type: "text" }), t.__("Default: made of the source's name.")),
        h(
          "div",
          { class: "jp-yj-columns" },
          this.#field("cluster", t.__("Cluster"), h("select")),
          run ? undefined : this.#field("model", t.__("Model"), h("select")),
          this.#field("gpus", t.__("GPUs"), h("input", { type: "text", placeholder: "a100:1" })),
          this.#field("time", t.__("Time limit"), h("input", { type: "text", placeholder: "02:00:00" })),
          this.#field("maxSamples", t.__("At most pages"), h("input", { type: "number", min: 1 })),
        ),
        h(
          "details",
          { class: "jp-yj-more" },
          h("summary", {}, t.__("More")),
          h(
            "div",
            { class: "jp-yj-columns" },
            this.#field("cpus", t.__("CPUs"), h("input", { type: "number", min: 1 })),
            this.#field("memory", t.__("Memory"), h("input", { type: "text", placeholder: "32G" })),
            this.#field("partition", t.__("Partition"), h("input", { type: "text" })),
            this.#field("account", t.__("Account"), h("input", { type: "text" })),
            this.#field("shards", t.__("Split into tasks"), h("input", { type: "number", min: 1 })),
            this.#field(
              "dpi",
              t.__("Resolution of PDF pages"),
              h("input", { type: "number", min: 36, placeholder: "200" }),
            ),
            run ? undefined : this.#field("lang", t.__("Language"), h("input", { type: "text", placeholder: "eng" })),
          ),
          this.#field(
            "output",
            t.__("Folder for the results"),
            h("input", { type: "text", spellcheck: "false" }),
            t.__("Filled when the job is done; otherwise they stay with the job until they are asked for."),
          ),
        ),
        this.#message,
        this.#estimate,
        this.#script,
        h("div", { class: "jp-yj-form-actions" }, this.#submit, this.#insert),
      ),
    );
    this.#set("sources", (start.sources ?? []).join("\n"));
    for (const [name, value] of Object.entries({
      ...start.options,
      ...(from === undefined ? {} : optionsOf(from.spec)),
    }))
      this.#set(name, String(value));
    if (from !== undefined) {
      this.#set("sources", from.spec.sources.map((s) => s.location).join("\n"));
      this.#set("script", from.spec.script?.text ?? "");
    }
    show(this.#message, false);
    show(this.#estimate, false);
    this.#enable(false);
    store.changed.connect(this.#changed, this);
    void this.#fillChoices();
  }

  /** What to begin with when the layout is restored. */
  get state(): { folder: string; sources: string[] } {
    return { folder: this.#start.folder, sources: this.#sources };
  }

  protected override onActivateRequest(_: Message): void {
    const first = this.#fields.get("sources") as Field;
    if (first.value === "") first.focus();
    else this.#fields.get("gpus")?.focus();
  }

  override dispose(): void {
    window.clearTimeout(this.#timer);
    this.#store.changed.disconnect(this.#changed, this);
    super.dispose();
  }

  #changed(_: JobStore, change: Change): void {
    if (change.kind === "status" && this.#store.status.kind === "live") void this.#fillChoices();
  }

  #field(name: string, label: string, field: Field, help?: string): HTMLElement {
    field.id = uniqueId("field");
    field.classList.add("jp-yj-input");
    field.dataset["name"] = name;
    this.#fields.set(name, field);
    const more = help === undefined ? undefined : h("div", { class: "jp-yj-faint", id: uniqueId("help") }, help);
    if (more !== undefined) setAttribute(field, "aria-describedby", more.id);
    return h("div", { class: "jp-yj-field" }, h("label", { for: field.id }, label), field, more);
  }

  #set(name: string, value: string): void {
    const field = this.#fields.get(name);
    if (field instanceof HTMLSelectElement && ![...field.options].some((o) => o.value === value))
      field.append(h("option", { value }, value));
    if (field !== undefined) field.value = value;
  }

  async #fillChoices(): Promise<void> {
    if (this.#store.status.kind !== "live") return;
    const t = this.#words.trans;
    try {
      const choices = await this.#store.agent.call("choices", this.#start.folder);
      if (this.isDisposed) return;
      this.#offer(
        "cluster",
        t.__("default (%1)", this.#words.cluster(choices.default)),
        clusterOptions(choices, this.#words),
      );
      this.#offer(
        "model",
        t.__("the cluster's own"),
        choices.runners.map((r) => [r.name, r.speed === undefined ? r.title : `${r.title} (${r.speed})`]),
      );
      await this.#look();
    } catch (error) {
      this.#refuse(error);
    }
  }

  #offer(name: string, none: string, options: readonly (readonly [string, string])[]): void {
    const field = this.#fields.get(name);
    if (field === undefined) return;
    const chosen = field.value;
    fill(
      field,
      h("option", { value: "" }, none),
      options.map(([value, label]) => h("option", { value }, oneLine(label, 100))),
    );
    this.#set(name, chosen);
  }

  get #sources(): string[] {
    const { value } = this.#fields.get("sources") as Field;
    return value
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "");
  }

  /** The fields that were filled in, by the builder's names. */
  get #options(): { [name: string]: Json } {
    const options: { [name: string]: Json } = {};
    for (const [name, field] of this.#fields) {
      const value = field.value.trim();
      if (name === "sources" || name === "script" || value === "") continue;
      options[name] = field instanceof HTMLInputElement && field.type === "number" ? Number(value) : value;
    }
    return options;
  }

  #soon(): void {
    // What was asked before this key does not count any more: its answer would let the old fields be submitted.
    this.#round += 1;
    this.#enable(false);
    window.clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#look(), PAUSE);
  }

  #enable(on: boolean): void {
    this.#submit.disabled = !on;
    this.#insert.disabled = !on;
  }

  /** Makes the specification, and says what it will take. */
  async #look(): Promise<void> {
    this.#round += 1;
    const round = this.#round;
    const current = () => round === this.#round && !this.isDisposed;
    const { from, folder } = this.#start;
    const sources = this.#sources;
    if (sources.length === 0 && from?.spec.kind !== "run" && from?.spec.datasetPath === undefined) {
      this.#spec = undefined;
      show(this.#message, false);
      show(this.#estimate, false);
      this.#enable(false);
      return;
    }
    try {
      const made = await this.#store.agent.call("form", {
        kind: from?.spec.kind ?? "ocr",
        sources,
        folder,
        options: this.#options,
        ...(this.#fields.has("script") ? { script: (this.#fields.get("script") as Field).value } : {}),
      });
      if (!current()) return;
      this.#spec = from === undefined ? made : merged(from.spec, made);
      show(this.#message, false);
      this.#enable(true);
      void this.#plan();
      const estimate = await this.#store.agent.call("estimate", this.#spec);
      if (current()) this.#showEstimate(estimate);
    } catch (error) {
      if (current()) this.#refuse(error);
    }
  }

  #refuse(error: unknown): void {
    const { message, fix } = error instanceof AgentError ? error : new AgentError("internal", String(error));
    setText(this.#message, `${oneLine(message, 1000)}${fix === "" ? "" : `\n→ ${oneLine(fix, 1000)}`}`);
    show(this.#message, true);
    show(this.#estimate, false);
    // What can't be estimated can be submitted all the same; what has no specification can't.
    if (error instanceof AgentError && ["usage", "config", "source"].includes(error.code)) {
      this.#spec = undefined;
      this.#enable(false);
    }
  }

  #showEstimate(e: Estimate): void {
    const t = this.#words.trans;
    const words = this.#words;
    const facts = [
      ...(e.pages === undefined ? [] : [t._n("%1 page", "%1 pages", e.pages)]),
      ...(e.seconds === undefined ? [] : [t.__("about %1", words.duration(e.seconds))]),
      ...(e.gpuHours === undefined || e.gpuHours === 0 ? [] : [t.__("%1 GPU hours", words.number(e.gpuHours, 2))]),
      ...(e.expectedStart === undefined ? [] : [t.__("would start %1", words.time(e.expectedStart))]),
    ];
    const price = e.huggingFace;
    const lines = [
      ...(e.refusal === undefined ? [] : [t.__("The scheduler would refuse it: %1", oneLine(e.refusal, 500))]),
      ...(e.basis === undefined ? [] : [oneLine(e.basis, 300)]),
      ...(price === undefined
        ? []
        : [
            t.__(
              "On Hugging Face Jobs (%1): about %2 hours, $%3 (prices of %4)",
              oneLine(price.flavor, 40),
              words.number(price.hours, 2),
              words.number(price.dollars, 2),
              oneLine(price.checked, 40),
            ),
          ]),
      ...e.notes.map((note) => oneLine(note, 500)),
    ];
    fill(
      this.#estimate,
      facts.length === 0 ? undefined : h("div", { class: "jp-yj-estimate-facts" }, facts.join(" · ")),
      lines.map((line, i) =>
        h("div", { class: i === 0 && e.refusal !== undefined ? "jp-yj-trouble jp-mod-bad" : "jp-yj-faint" }, line),
      ),
    );
    show(this.#estimate, facts.length + lines.length > 0);
  }

  async #plan(): Promise<void> {
    const spec = this.#spec;
    if (!this.#script.open || spec === undefined) return;
    try {
      const plan = await this.#store.agent.call("plan", spec);
      if (this.isDisposed || spec !== this.#spec) return;
      setText(this.#scriptText, [...plan.warnings.map((w) => `# ${oneLine(w, 500)}`), plan.script].join("\n"));
    } catch (error) {
      if (!this.isDisposed) setText(this.#scriptText, oneLine((error as Error).message, 1000));
    }
  }

  async #send(): Promise<void> {
    const spec = this.#spec;
    if (spec === undefined) return;
    this.#enable(false);
    const { agent } = this.#store;
    const { from } = this.#start;
    try {
      const changes = from === undefined ? undefined : changed(from.spec, spec);
      const job =
        from === undefined || changes === undefined
          ? await agent.call("submit", spec, newJobId())
          : await agent.call("retry", from.id, changes);
      this.#store.put(job);
      this.#acts.submitted(job);
    } catch (error) {
      this.#refuse(error);
      this.#enable(this.#spec !== undefined);
    }
  }
}

function clusterOptions(choices: Choices, words: Words): [string, string][] {
  return choices.clusters.map(({ name }) => [name, words.cluster(name)]);
}

/** The form's fields for a specification. */
function optionsOf(spec: JobSpec): { [name: string]: Json } {
  const { gpus, cpus, memory, time, partition, account } = spec.resources;
  const dpi = spec.sources[0]?.options?.["dpi"];
  const given = {
    ...{ name: spec.name, cluster: spec.cluster, gpus, cpus, memory, time, partition, account },
    ...{ model: spec.runner, maxSamples: spec.maxSamples, shards: spec.shards, output: spec.output, dpi },
    lang: spec.options["lang"],
  };
  return Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)) as { [name: string]: Json };
}

/** The old specification with what the form knows of laid over it: what has no field stays as it was. */
function merged(old: JobSpec, made: JobSpec): JobSpec {
  const { gpus: _, cpus: __, memory: ___, time: ____, partition: _____, account: ______, ...others } = old.resources;
  const { runner: _r, maxSamples: _m, shards: _s, output: _o, options, script, ...rest } = old;
  const { lang: _l, ...kept } = options;
  const same =
    JSON.stringify(old.sources.map((s) => s.location)) === JSON.stringify(made.sources.map((s) => s.location));
  const dpi = made.sources[0]?.options?.["dpi"];
  return {
    ...rest,
    ...made,
    ...(old.config === undefined ? {} : { config: old.config }),
    // Kinds and options of sources that stay are known already.
    sources: same
      ? old.sources.map((s) => (dpi === undefined ? s : { ...s, options: { ...s.options, dpi } }))
      : made.sources,
    resources: { ...others, ...made.resources },
    options: { ...kept, ...made.options },
    ...(made.script === undefined
      ? {}
      : { script: { ...made.script, name: script?.name ?? made.script.name, args: script?.args ?? [] } }),
  };
}

/** What differs, for a retry; undefined where something was taken away, which a retry can't say. */
function changed(old: JobSpec, made: JobSpec): Partial<JobSpec> | undefined {
  if (Object.keys(old).some((key) => !(key in made))) return undefined;
  const entries = Object.entries(made).filter(
    ([key, value]) => JSON.stringify(value) !== JSON.stringify(old[key as keyof JobSpec]),
  );
  // Nothing differs: a new job all the same, which a retry without changes would not be.
  return Object.fromEntries(entries.length > 0 ? entries : [["name", made.name]]) as Partial<JobSpec>;
}
