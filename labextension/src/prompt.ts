/**
 * Questions of a cluster, as dialogs in whichever tab is open: the server's own words, choices as buttons, masked fields,
 * the time that is left. What is typed goes to the agent and is kept nowhere.
 */
import { Dialog } from "@jupyterlab/apputils";
import type { IDisposable } from "@lumino/disposable";
import type { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import type { Prompt } from "yale-jobs/protocol";
import { button, h, setText, uniqueId } from "./dom";
import type { Change, JobStore } from "./store";
import { oneLine, straight, type Words } from "./words";

/** What is asked, and fields and buttons to answer. */
class PromptBody extends Widget implements Dialog.IBodyWidget<string[]> {
  readonly #fields: HTMLInputElement[];
  readonly #left = h("span", { class: "jp-yj-timer" });
  readonly #timer: number;

  constructor(prompt: Prompt, words: Words, send: () => void) {
    super();
    const t = words.trans;
    this.addClass("jp-yj-prompt");
    const text = straight(prompt.text).trim();
    this.#fields = prompt.fields.map(({ echo }) =>
      h("input", {
        // Masked where the server says so; no browser or password manager is to keep a code that is good for once.
        type: echo ? "text" : "password",
        class: "jp-yj-input jp-mod-styled",
        id: uniqueId("field"),
        autocomplete: prompt.kind === "second_factor" ? "one-time-code" : "off",
        autocapitalize: "off",
        spellcheck: "false",
        required: true,
        "data-1p-ignore": true,
        "data-lpignore": "true",
      }),
    );
    const choices = prompt.choices.map(({ value, label }) =>
      button(
        oneLine(label, 80),
        () => {
          // A choice is an answer that need not be typed.
          for (const field of this.#fields) field.value = value;
          this.#check();
          send();
        },
        { class: "jp-yj-choice" },
      ),
    );
    this.node.append(
      prompt.attempt > 1
        ? h("p", { class: "jp-yj-trouble jp-mod-bad", role: "alert" }, t.__("That was not accepted. Try again."))
        : "",
      text === "" ? "" : h("pre", { class: "jp-yj-prompt-text", tabindex: 0 }, text),
      choices.length === 0 ? "" : h("div", { class: "jp-yj-choices" }, choices),
      ...prompt.fields.map(({ label }, i) => {
        const field = this.#fields[i] as HTMLInputElement;
        const words = oneLine(label, 200) || t.__("Answer");
        return h("div", { class: "jp-yj-field" }, h("label", { for: field.id }, words), field);
      }),
      h("p", { class: "jp-yj-faint" }, this.#left),
    );
    const until = Date.parse(prompt.expiresAt);
    const tick = () => {
      const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      setText(
        this.#left,
        t.__("Time left: %1", `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`),
      );
    };
    tick();
    this.#timer = window.setInterval(tick, 1000);
  }

  /** What was typed, asked for by the dialog just before it disposes of this. */
  getValue(): string[] {
    return this.#fields.map((field) => field.value);
  }

  protected override onAfterAttach(_: Message): void {
    // The dialog begins to listen after its parts are attached.
    queueMicrotask(() => this.#check());
  }

  override dispose(): void {
    window.clearInterval(this.#timer);
    for (const field of this.#fields) field.value = "";
    super.dispose();
  }

  /** The dialog looks at its fields whenever one changes, and lets nothing empty be sent. */
  #check(): void {
    for (const field of this.#fields) field.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** The dialogs of all questions, one at a time. */
export class PromptDialogs implements IDisposable {
  readonly #store: JobStore;
  readonly #words: Words;
  readonly #onError: (error: Error) => void;
  #open: { prompt: Prompt; dialog: Dialog<string[]> } | undefined;
  /** Questions that were put aside in this tab; the status bar opens them again. */
  readonly #aside = new Set<string>();
  #automatic = true;
  #disposed = false;

  constructor(store: JobStore, words: Words, onError: (error: Error) => void) {
    this.#store = store;
    this.#words = words;
    this.#onError = onError;
    store.changed.connect(this.#changed, this);
  }

  /** False: questions wait until somebody asks for them in the status bar. */
  set automatic(value: boolean) {
    this.#automatic = value;
    this.#next();
  }

  /** Shows questions that were put aside. */
  showAll(): void {
    this.#aside.clear();
    this.#next(true);
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }
  dispose(): void {
    this.#disposed = true;
    this.#store.changed.disconnect(this.#changed, this);
    this.#open?.dialog.reject();
  }

  #changed(_: JobStore, change: Change): void {
    if (change.kind !== "prompts") return;
    const standing = new Set(this.#store.prompts.map((p) => p.id));
    for (const id of this.#aside) if (!standing.has(id)) this.#aside.delete(id);
    // Answered in another tab or a terminal, or its time ran out.
    if (this.#open !== undefined && !standing.has(this.#open.prompt.id)) this.#open.dialog.reject();
    else this.#next();
  }

  #next(wanted = this.#automatic): void {
    if (this.#open !== undefined || this.#disposed || !wanted) return;
    const prompt = this.#store.prompts.find((p) => !this.#aside.has(p.id));
    if (prompt !== undefined) void this.#ask(prompt);
  }

  async #ask(prompt: Prompt): Promise<void> {
    const t = this.#words.trans;
    const cluster = this.#words.cluster(prompt.cluster);
    const titles: Record<Prompt["kind"], string> = {
      second_factor: t.__("Log in to %1", cluster),
      password: t.__("Log in to %1", cluster),
      passphrase: t.__("Passphrase for %1", cluster),
      host_key: t.__("Unknown host key of %1", cluster),
    };
    const body = new PromptBody(prompt, this.#words, () => dialog.resolve(1));
    const decline = Dialog.cancelButton({
      label: t.__("Decline"),
      caption: t.__("Refuse the login everywhere"),
      className: "jp-yj-decline",
    });
    const send = Dialog.okButton({ label: t.__("Send"), className: prompt.fields.length === 0 ? "jp-yj-hidden" : "" });
    const dialog = new Dialog<string[]>({
      title: titles[prompt.kind],
      body,
      buttons: [decline, send],
      defaultButton: prompt.fields.length === 0 || prompt.kind === "host_key" ? 0 : 1,
      hasClose: true,
      // A host key is looked at before it is accepted: the keyboard does not begin on a choice.
      focusNodeSelector: prompt.kind === "host_key" ? "" : ".jp-yj-choice, .jp-yj-input",
    });
    dialog.addClass("jp-yj-dialog");
    this.#open = { prompt, dialog };
    try {
      const { button, value } = await dialog.launch();
      const declined = button.className === decline.className;
      // Closed without a word: put aside here, and it still stands. Gone because it was answered elsewhere: the same.
      if (!button.accept && !declined) this.#aside.add(prompt.id);
      else await this.#store.agent.call("answer", prompt.id, button.accept ? value : null);
    } catch (error) {
      if (error instanceof Error) this.#onError(error);
    } finally {
      this.#open = undefined;
      this.#next();
    }
  }
}
