/** A job's log: read when it is looked at, followed as the agent tells that it grew, searched and copied. */
import { copyIcon, searchIcon } from "@jupyterlab/ui-components";
import { isEnd, type JobRecord } from "yale-jobs/protocol";
import type { Agent } from "./client";
import { button, fill, h, setAttribute, setText } from "./dom";
import { plain, type Words } from "./words";

/** Lines that are read at first; the whole log is one button away. */
const FIRST_LINES = 500;
/** Characters that are kept in the page: older ones go, and can be read again. */
const KEPT = 4 << 20;

/** Shows the log of one job. */
export class LogView {
  readonly node = h("div", { class: "jp-yj-log-view" });
  readonly #agent: Agent;
  readonly #words: Words;
  readonly #id: string;
  readonly #text = h("pre", { class: "jp-yj-log", tabindex: 0 });
  readonly #status = h("span", { class: "jp-yj-faint", role: "status" });
  readonly #find: HTMLInputElement;
  readonly #follow: HTMLInputElement;
  readonly #task: HTMLInputElement;
  readonly #taskBox: HTMLElement;
  readonly #whole: HTMLButtonElement;
  #content = "";
  #next: number | undefined;
  #reading = false;
  #again = false;
  #matches: Range[] = [];
  #match = -1;
  #ended = false;
  #disposed = false;

  constructor(agent: Agent, words: Words, id: string) {
    this.#agent = agent;
    this.#words = words;
    this.#id = id;
    const t = words.trans;
    setAttribute(this.#text, "role", "log");
    setAttribute(this.#text, "aria-label", t.__("Log of the job"));
    this.#find = h("input", {
      type: "search",
      class: "jp-yj-input",
      placeholder: t.__("Search the log"),
      "aria-label": t.__("Search the log"),
      input: () => this.#search(),
      keydown: (event: KeyboardEvent) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        this.#step(event.shiftKey ? -1 : 1);
      },
    });
    this.#follow = h("input", { type: "checkbox" });
    this.#follow.checked = true;
    this.#follow.addEventListener("change", () => this.#scroll());
    this.#task = h("input", {
      type: "number",
      class: "jp-yj-input jp-mod-short",
      min: 0,
      value: 0,
      "aria-label": t.__("Task of the array"),
      change: () => this.#restart(-FIRST_LINES),
    });
    this.#taskBox = h("label", { class: "jp-yj-inline" }, t.__("Task"), this.#task);
    this.#taskBox.hidden = true;
    this.#whole = button(t.__("From the start"), () => this.#restart(0), { iconOnly: false });
    this.node.append(
      h(
        "div",
        { class: "jp-yj-bar-of-tools", role: "toolbar", "aria-label": t.__("Log") },
        this.#find,
        button(t.__("Next match"), () => this.#step(1), { icon: searchIcon }),
        this.#taskBox,
        h("label", { class: "jp-yj-inline" }, this.#follow, t.__("Follow")),
        this.#whole,
        button(t.__("Copy the log"), () => void navigator.clipboard.writeText(this.#content), { icon: copyIcon }),
        this.#status,
      ),
      this.#text,
    );
  }

  /** Told whenever the job changed: reads on if there may be more. */
  follow(job: JobRecord): void {
    this.#taskBox.hidden = (job.tasks?.total ?? 1) <= 1;
    this.#task.max = String((job.tasks?.total ?? 1) - 1);
    if (this.#ended && isEnd(job.state)) return;
    void this.#read();
  }

  #restart(offset: number): void {
    this.#next = offset;
    this.#content = "";
    this.#ended = false;
    fill(this.#text);
    void this.#read();
  }

  /** Reads what there is by now. Calls that come meanwhile make it read once more. */
  async #read(): Promise<void> {
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    try {
      do {
        this.#again = false;
        const task = this.#taskBox.hidden ? {} : { task: Number(this.#task.value) };
        const from: number = this.#next ?? -FIRST_LINES;
        const chunk = await this.#agent.call("logs", this.#id, { offset: from, ...task });
        if (this.#disposed) return;
        if (this.#next !== undefined && this.#next !== from) {
          this.#again = true;
          continue;
        }
        const grew = chunk.next !== from;
        this.#next = chunk.next;
        this.#ended = chunk.end && !grew;
        if (chunk.text !== "") this.#append(chunk.text);
        if (grew && from >= 0) this.#again = true;
        if (grew && from < 0 && chunk.end) this.#again = true;
      } while (this.#again);
      this.#say();
    } catch (error) {
      if (!this.#disposed) setText(this.#status, (error as Error).message);
    } finally {
      this.#reading = false;
    }
  }

  #append(text: string): void {
    this.#content += text;
    if (this.#content.length > KEPT) {
      this.#content = this.#content.slice(this.#content.indexOf("\n", this.#content.length - KEPT / 2) + 1);
      fill(this.#text, plain(this.#content));
    } else this.#text.append(plain(text));
    if (this.#find.value !== "") this.#search();
    this.#scroll();
  }

  #scroll(): void {
    if (this.#follow.checked) this.#text.scrollTop = this.#text.scrollHeight;
  }

  #say(): void {
    const t = this.#words.trans;
    if (this.#find.value !== "") return;
    setText(this.#status, this.#content === "" ? t.__("Nothing has been printed yet.") : "");
  }

  #search(): void {
    const t = this.#words.trans;
    const wanted = this.#find.value.toLowerCase();
    this.#matches = [];
    this.#match = -1;
    if (wanted !== "") {
      // Every chunk is a text node of its own; a match over their border is found by joining them first.
      this.#text.normalize();
      const node = this.#text.firstChild;
      const text = (node?.textContent ?? "").toLowerCase();
      for (let at = text.indexOf(wanted); at >= 0 && this.#matches.length < 10_000; at = text.indexOf(wanted, at + 1)) {
        const range = new Range();
        range.setStart(node as Node, at);
        range.setEnd(node as Node, at + wanted.length);
        this.#matches.push(range);
      }
      setText(this.#status, t._n("%1 match", "%1 matches", this.#matches.length));
      this.#step(1);
    } else {
      highlight("yale-jobs-log", []);
      highlight("yale-jobs-log-current", []);
      setText(this.#status, "");
    }
  }

  #step(by: number): void {
    const { length } = this.#matches;
    highlight("yale-jobs-log", this.#matches);
    if (length === 0) {
      highlight("yale-jobs-log-current", []);
      return;
    }
    this.#match = (this.#match + by + length) % length;
    const range = this.#matches[this.#match] as Range;
    highlight("yale-jobs-log-current", [range]);
    this.#follow.checked = false;
    const [here, box] = [range.getBoundingClientRect(), this.#text.getBoundingClientRect()];
    if (here.top < box.top || here.bottom > box.bottom) this.#text.scrollTop += here.top - box.top - box.height / 2;
    setText(this.#status, this.#words.trans.__("match %1 of %2", this.#match + 1, length));
  }

  /** Takes its marks off the page. */
  dispose(): void {
    this.#disposed = true;
    if (this.#matches.length > 0) {
      highlight("yale-jobs-log", []);
      highlight("yale-jobs-log-current", []);
    }
  }
}

/** Marks ranges of text without touching the page's elements (CSS custom highlights). */
export function highlight(name: string, ranges: readonly Range[]): void {
  if (ranges.length === 0) CSS.highlights.delete(name);
  else CSS.highlights.set(name, new Highlight(...ranges));
}
