/** The status bar's item: how the lines stand and how many jobs run; it opens what is needed next. */
import type { IDisposable } from "@lumino/disposable";
import { Widget } from "@lumino/widgets";
import { h, setAttribute, setText } from "./dom";
import { jobsIcon } from "./icons";
import type { Change, JobStore } from "./store";
import type { Words } from "./words";

/** What pressing the item may lead to. */
export interface StatusActs {
  answer(): void;
  login(cluster: string): void;
  openPanel(): void;
}

/** The item. */
export class StatusItem extends Widget implements IDisposable {
  readonly #store: JobStore;
  readonly #words: Words;
  readonly #acts: StatusActs;
  readonly #text = h("span", {});
  readonly #button: HTMLButtonElement;

  constructor(store: JobStore, words: Words, acts: StatusActs) {
    super();
    this.#store = store;
    this.#words = words;
    this.#acts = acts;
    this.addClass("jp-yj-status");
    this.#button = h(
      "button",
      { type: "button", class: "jp-yj-status-button", onclick: () => this.#press() },
      jobsIcon.element({ tag: "span", stylesheet: "statusBar" }),
      this.#text,
    );
    this.node.append(this.#button);
    store.changed.connect(this.#changed, this);
    this.#show();
  }

  override dispose(): void {
    this.#store.changed.disconnect(this.#changed, this);
    super.dispose();
  }

  #changed(_: JobStore, __: Change): void {
    this.#show();
  }

  #show(): void {
    const t = this.#words.trans;
    const { status, prompts, connections, running } = this.#store;
    const parts: string[] = [];
    let tone: string | undefined;
    let hint = t.__("Open the jobs panel");
    const [prompt] = prompts;
    const needed = connections.find((line) => line.state === "login_needed");
    if (status.kind === "absent" || status.kind === "error") {
      parts.push(t.__("Yale Jobs: no agent"));
      tone = "warn";
    } else if (prompt !== undefined) {
      parts.push(t.__("%1 asks", this.#words.cluster(prompt.cluster)));
      hint = t.__("Answer the login of %1", this.#words.cluster(prompt.cluster));
      tone = "warn";
    } else if (needed !== undefined) {
      parts.push(t.__("Log in to %1", this.#words.cluster(needed.cluster)));
      hint = t.__("The line to %1 needs a login", this.#words.cluster(needed.cluster));
      tone = "warn";
    } else {
      const up = connections.filter((line) => line.state === "connected").map((l) => this.#words.cluster(l.cluster));
      const opening = connections.find((line) => line.state === "connecting");
      if (opening !== undefined) parts.push(t.__("connecting to %1", this.#words.cluster(opening.cluster)));
      else if (up.length > 0) parts.push(t.__("%1 connected", up.join(", ")));
    }
    if (running > 0) parts.push(t._n("%1 job running", "%1 jobs running", running));
    setText(this.#text, parts.length === 0 ? t.__("Yale Jobs") : parts.join(" · "));
    setAttribute(this.#button, "data-tone", tone);
    setAttribute(this.#button, "title", hint);
  }

  #press(): void {
    const { status, prompts, connections } = this.#store;
    const needed = connections.find((line) => line.state === "login_needed");
    if (status.kind === "live" && prompts.length > 0) this.#acts.answer();
    else if (status.kind === "live" && needed !== undefined) this.#acts.login(needed.cluster);
    else this.#acts.openPanel();
  }
}
