/**
 * The pages of a job's results: image beside text, the layout's boxes drawn over the image and lit together with their
 * text. Pages are read when they are looked at, and the next one ahead.
 */
import {
  caretLeftIcon,
  caretRightIcon,
  copyIcon,
  downloadIcon,
  imageIcon,
  searchIcon,
} from "@jupyterlab/ui-components";
import type { Message } from "@lumino/messaging";
import { Panel, Widget } from "@lumino/widgets";
import { isEnd, type PageList, type PageText } from "yale-jobs/protocol";
import type { Agent } from "./client";
import { button, fill, h, setAttribute, setText } from "./dom";
import { VirtualList } from "./list";
import { highlight } from "./log";
import type { Change, JobStore } from "./store";
import { oneLine, plain, type Words } from "./words";

/** Pixels of page images that are asked for: one screen, or closer. */
const WIDTHS = { fit: 1400, close: 3200 };
/** Steps of the zoom, as multiples of the pane's width. */
const ZOOMS = [1, 1.5, 2, 3, 4];
/** Pages that are kept once they were read. */
const KEPT = 12;
/** Rows of the list of pages, in pixels. */
const ROW_HEIGHT = 34;
const MARKS = "yale-jobs-page";

type PageRow = PageList["pages"][number];

/** A page as it is shown. */
interface Loaded {
  text: PageText;
  /** Address of the image in this page of the browser; undefined if the image is not to be had. */
  image: string | undefined;
}

/** The viewer. */
export class ResultsViewer extends Panel {
  readonly #store: JobStore;
  readonly #words: Words;
  readonly #agent: Agent;
  readonly #list: VirtualList;
  readonly #number: HTMLInputElement;
  readonly #total = h("span", { class: "jp-yj-faint" });
  readonly #find: HTMLInputElement;
  readonly #errors: HTMLInputElement;
  readonly #boxes: HTMLInputElement;
  readonly #status = h("span", { class: "jp-yj-faint", role: "status" });
  readonly #zoomWords = h("span", { class: "jp-yj-zoom" });
  readonly #imagePane = h("div", { class: "jp-yj-image-pane", tabindex: 0, role: "group" });
  readonly #sheet = h("div", { class: "jp-yj-sheet" });
  readonly #textPane = h("div", { class: "jp-yj-text-pane", tabindex: 0, role: "group", dir: "auto" });
  readonly #heading = h("h3", { class: "jp-yj-heading" });
  readonly #loaded = new Map<string, Promise<Loaded>>();
  #all: PageRow[] = [];
  #oneFile = true;
  #found: Set<string> | undefined;
  #pages: PageRow[] = [];
  #complete = true;
  #current: string | undefined;
  #zoom = 0;
  #parts: { box: HTMLElement | undefined; text: HTMLElement }[] = [];
  #searchTimer: number | undefined;
  #readTimer: number | undefined;
  /** Id of the job. */
  readonly jobId: string;

  constructor(store: JobStore, words: Words, id: string, acts: { download(id: string): void }) {
    super();
    this.#store = store;
    this.#words = words;
    this.#agent = store.agent;
    this.jobId = id;
    const t = words.trans;
    this.addClass("jp-yj-results");
    this.title.icon = imageIcon;
    this.title.closable = true;
    this.title.label = t.__("Results");
    setAttribute(this.#imagePane, "aria-label", t.__("Page image"));
    setAttribute(this.#textPane, "aria-label", t.__("Recognised text"));

    this.#number = h("input", {
      type: "number",
      class: "jp-yj-input jp-mod-short",
      min: 1,
      "aria-label": t.__("Page"),
      change: () => this.#go(Number(this.#number.value) - 1),
    });
    this.#find = h("input", {
      type: "search",
      class: "jp-yj-input",
      placeholder: t.__("Search all pages"),
      "aria-label": t.__("Search the text of all pages"),
      input: () => {
        window.clearTimeout(this.#searchTimer);
        this.#searchTimer = window.setTimeout(() => void this.#search(), 250);
      },
    });
    this.#errors = h("input", { type: "checkbox", change: () => this.#filter() });
    this.#boxes = h("input", { type: "checkbox", change: () => this.#showBoxes() });
    this.#boxes.checked = true;
    const tools = h(
      "div",
      { class: "jp-yj-bar-of-tools", role: "toolbar", "aria-label": t.__("Results") },
      button(t.__("Previous page (←)"), () => this.#step(-1), { icon: caretLeftIcon }),
      h("label", { class: "jp-yj-inline" }, this.#number, this.#total),
      button(t.__("Next page (→)"), () => this.#step(1), { icon: caretRightIcon }),
      h("span", { class: "jp-yj-gap" }),
      button("−", () => this.#setZoom(this.#zoom - 1), { class: "jp-yj-zoom-out" }),
      this.#zoomWords,
      button("+", () => this.#setZoom(this.#zoom + 1), { class: "jp-yj-zoom-in" }),
      h("label", { class: "jp-yj-inline" }, this.#boxes, t.__("Boxes")),
      h("label", { class: "jp-yj-inline" }, this.#errors, t.__("Errors only")),
      h("span", { class: "jp-yj-gap" }),
      this.#find,
      searchIcon.element({ tag: "span", elementPosition: "center" }),
      this.#status,
      h("span", { class: "jp-yj-gap" }),
      button(t.__("Copy the page's text"), () => void this.#copy(), { icon: copyIcon }),
      button(t.__("Download results…"), () => acts.download(id), { icon: downloadIcon }),
    );
    for (const [name, label] of [
      ["jp-yj-zoom-out", t.__("Smaller (-)")],
      ["jp-yj-zoom-in", t.__("Larger (+)")],
    ] as const) {
      const element = tools.querySelector(`.${name}`) as HTMLElement;
      setAttribute(element, "aria-label", label);
      element.title = label;
    }
    this.#list = new VirtualList({
      label: t.__("Pages"),
      rowHeight: ROW_HEIGHT,
      create: (row) => row.append(h("span", { class: "jp-yj-page-name" }), h("span", { class: "jp-yj-page-mark" })),
      render: (row, _key, index) => this.#renderRow(row, this.#pages[index]),
    });
    this.#list.addClass("jp-yj-pages");
    this.#list.selectionChanged.connect(() => {
      const [key] = this.#list.selection;
      if (key !== undefined && key !== this.#current) void this.#show(key);
    });
    this.#imagePane.append(this.#sheet);
    const textSide = h("div", { class: "jp-yj-text-side" }, this.#heading, this.#textPane);
    const body = new Panel();
    body.addClass("jp-yj-results-body");
    body.addWidget(this.#list);
    body.addWidget(new Widget({ node: h("div", { class: "jp-yj-page" }, this.#imagePane, textSide) }));
    this.addWidget(new Widget({ node: tools }));
    this.addWidget(body);
    this.node.addEventListener("keydown", (event) => this.#key(event));
    this.#sheet.addEventListener("mouseover", (event) => this.#lightFrom(event.target));
    this.#textPane.addEventListener("mouseover", (event) => this.#lightFrom(event.target));
    this.#textPane.addEventListener("focusin", (event) => this.#lightFrom(event.target));
    this.#sheet.addEventListener("mouseleave", () => this.#light(undefined));
    this.#textPane.addEventListener("mouseleave", () => this.#light(undefined));
    this.#sheet.addEventListener("click", (event) => {
      const i = partOf(event.target);
      this.#parts[i ?? -1]?.text.focus();
    });
    this.#setZoom(0);
    store.changed.connect(this.#changed, this);
    void this.#read();
  }

  protected override onActivateRequest(_: Message): void {
    this.#list.node.focus();
  }

  override dispose(): void {
    window.clearTimeout(this.#searchTimer);
    window.clearTimeout(this.#readTimer);
    this.#store.changed.disconnect(this.#changed, this);
    for (const page of this.#loaded.values()) void page.then(release, () => undefined);
    this.#loaded.clear();
    highlight(MARKS, []);
    super.dispose();
  }

  /** A running job gets pages; they are read again when it says so, at most every other second. */
  #changed(_: JobStore, change: Change): void {
    if (change.kind === "status" && this.#store.status.kind === "live" && this.#all.length === 0) void this.#read();
    if (change.kind !== "job" || change.job.id !== this.jobId || this.#complete) return;
    const soon = isEnd(change.job.state) ? 0 : 2000;
    if (soon === 0) window.clearTimeout(this.#readTimer);
    else if (this.#readTimer !== undefined) return;
    this.#readTimer = window.setTimeout(() => {
      this.#readTimer = undefined;
      void this.#read();
    }, soon);
  }

  async #read(): Promise<void> {
    const t = this.#words.trans;
    try {
      const [job, list] = await Promise.all([this.#store.whole(this.jobId), this.#agent.call("pages", this.jobId)]);
      if (this.isDisposed) return;
      this.title.label = t.__("Results: %1", oneLine(job.spec.name, 40));
      this.#all = list.pages;
      this.#oneFile = new Set(list.pages.map((p) => p.source)).size <= 1;
      this.#complete = list.complete || isEnd(job.state);
      const wrong = this.#all.filter((p) => p.error !== undefined).length;
      this.#say(
        [
          ...(wrong > 0 ? [t._n("%1 page in error", "%1 pages in error", wrong)] : []),
          ...(this.#complete ? [] : [t.__("the job still runs")]),
        ].join(" · "),
      );
      this.#filter();
    } catch (error) {
      if (this.isDisposed) return;
      this.#say("");
      fill(this.#sheet, h("p", { class: "jp-yj-notice" }, oneLine((error as Error).message, 1000)));
    }
  }

  async #search(): Promise<void> {
    const t = this.#words.trans;
    const wanted = this.#find.value.trim();
    try {
      const list = wanted === "" ? undefined : await this.#agent.call("pages", this.jobId, wanted);
      if (this.isDisposed || this.#find.value.trim() !== wanted) return;
      this.#found = list === undefined ? undefined : new Set(list.pages.map((p) => p.key));
      this.#say(this.#found === undefined ? "" : t._n("%1 page has it", "%1 pages have it", this.#found.size));
      this.#filter();
      this.#mark();
    } catch (error) {
      if (!this.isDisposed) this.#say(oneLine((error as Error).message, 200));
    }
  }

  #say(text: string): void {
    setText(this.#status, text);
  }

  #filter(): void {
    const found = this.#found;
    this.#pages = this.#all.filter(
      (p) => (!this.#errors.checked || p.error !== undefined) && (found === undefined || found.has(p.key)),
    );
    this.#list.setKeys(this.#pages.map((p) => p.key));
    setText(this.#total, this.#words.trans.__("of %1", this.#words.number(this.#pages.length)));
    this.#number.max = String(this.#pages.length);
    if (this.#pages.some((p) => p.key === this.#current)) this.#place();
    else this.#go(0);
  }

  #renderRow(row: HTMLElement, page: PageRow | undefined): void {
    const [name, mark] = row.children;
    if (page === undefined || name === undefined || mark === undefined) return;
    const t = this.#words.trans;
    // Where all pages are of one file, its name would only hide their numbers.
    const number = t.__("Page %1", this.#words.number(page.page));
    const file = oneLine(page.source.slice(page.source.lastIndexOf("/") + 1), 80);
    setText(name, this.#oneFile ? number : `${number} · ${file}`);
    setAttribute(name, "title", oneLine(page.source, 300));
    setText(mark, page.error === undefined ? t._n("%1 word", "%1 words", page.words) : t.__("error"));
    setAttribute(mark, "data-tone", page.error === undefined ? undefined : "bad");
  }

  get #at(): number {
    return this.#pages.findIndex((p) => p.key === this.#current);
  }

  #step(by: number): void {
    this.#go(this.#at + by);
  }

  #go(index: number): void {
    const page = this.#pages[Math.max(0, Math.min(this.#pages.length - 1, index))];
    if (page !== undefined) this.#list.select(page.key);
    else {
      this.#current = undefined;
      fill(this.#sheet, h("p", { class: "jp-yj-notice" }, this.#words.trans.__("There are no such pages.")));
      fill(this.#textPane);
      setText(this.#heading, "");
    }
  }

  #place(): void {
    this.#number.value = String(this.#at + 1);
  }

  /** Reads a page, or takes it from those that were read before. */
  #load(key: string): Promise<Loaded> {
    const known = this.#loaded.get(key);
    const page =
      known ??
      (async () => {
        const [text, image] = await Promise.all([
          this.#agent.call("page", this.jobId, key),
          this.#agent.image(this.jobId, key, this.#zoom > 1 ? WIDTHS.close : WIDTHS.fit),
        ]);
        return { text, image: image === undefined ? undefined : URL.createObjectURL(image) };
      })();
    this.#loaded.delete(key);
    this.#loaded.set(key, page);
    page.catch(() => this.#loaded.delete(key));
    for (const old of [...this.#loaded.keys()].slice(0, -KEPT)) {
      if (old === this.#current) continue;
      void this.#loaded.get(old)?.then(release, () => undefined);
      this.#loaded.delete(old);
    }
    return page;
  }

  async #show(key: string): Promise<void> {
    this.#current = key;
    this.#place();
    try {
      const page = await this.#load(key);
      if (this.isDisposed || this.#current !== key) return;
      this.#draw(page);
    } catch (error) {
      if (this.isDisposed || this.#current !== key) return;
      fill(this.#sheet);
      fill(this.#textPane, h("p", { class: "jp-yj-trouble jp-mod-bad" }, oneLine((error as Error).message, 1000)));
    }
    const next = this.#pages[this.#at + 1];
    if (next !== undefined && !this.#loaded.has(next.key)) void this.#load(next.key).catch(() => undefined);
  }

  #draw({ text, image }: Loaded): void {
    const t = this.#words.trans;
    const row = this.#pages[this.#at];
    const facts = [
      ...(text.confidence === undefined ? [] : [t.__("%1 % sure", this.#words.number(text.confidence))]),
      ...(text.seconds === undefined || text.seconds <= 0 ? [] : [t.__("%1 s", this.#words.number(text.seconds, 1))]),
    ];
    setText(
      this.#heading,
      [row === undefined ? "" : t.__("%1, page %2", oneLine(row.source, 200), row.page), ...facts].join(" · "),
    );
    const boxes = text.width > 0 && text.height > 0 ? text.boxes : [];
    const drawn = boxes.map(({ box: [left, top, right, bottom], category }, i) => {
      const element = h("div", { class: "jp-yj-box", "data-part": i, title: oneLine(category, 60) || undefined });
      element.style.left = `${(left / text.width) * 100}%`;
      element.style.top = `${(top / text.height) * 100}%`;
      element.style.width = `${((right - left) / text.width) * 100}%`;
      element.style.height = `${((bottom - top) / text.height) * 100}%`;
      return element;
    });
    const alt = row === undefined ? "" : t.__("Image of %1, page %2", oneLine(row.source, 200), row.page);
    fill(
      this.#sheet,
      image === undefined
        ? h("p", { class: "jp-yj-notice" }, t.__("The page image is not on this machine."))
        : h("img", { src: image, alt, draggable: "false" }),
      h("div", { class: "jp-yj-boxes", "aria-hidden": "true" }, image === undefined ? undefined : drawn),
    );
    this.#showBoxes();
    this.#imagePane.scrollTo(0, 0);
    this.#textPane.scrollTop = 0;
    this.#parts = [];
    if (text.error !== undefined) {
      fill(this.#textPane, h("p", { class: "jp-yj-trouble jp-mod-bad" }, oneLine(text.error, 2000)));
    } else if (boxes.some((b) => b.text.trim() !== "")) {
      const parts = boxes.map(({ text: words, category }, i) =>
        h(
          "p",
          { class: "jp-yj-part", tabindex: i === 0 ? 0 : -1, "data-part": i },
          plain(words).trim() === "" ? `[${oneLine(category, 60) || t.__("no text")}]` : plain(words),
        ),
      );
      this.#parts = parts.map((part, i) => ({ box: drawn[i], text: part }));
      fill(this.#textPane, parts);
    } else {
      const words = plain(text.text ?? text.markdown ?? "");
      fill(
        this.#textPane,
        h("pre", { class: "jp-yj-plain" }, words.trim() === "" ? t.__("Nothing was recognised on this page.") : words),
      );
    }
    this.#mark();
  }

  #showBoxes(): void {
    this.#sheet.classList.toggle("jp-mod-boxes", this.#boxes.checked);
  }

  /** Marks what is searched for in the page's text. */
  #mark(): void {
    const wanted = this.#find.value.trim().toLowerCase();
    const ranges: Range[] = [];
    if (wanted !== "") {
      const walker = document.createTreeWalker(this.#textPane, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
        const text = (node.textContent ?? "").toLowerCase();
        for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + 1)) {
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, at + wanted.length);
          ranges.push(range);
        }
      }
    }
    highlight(MARKS, ranges);
    ranges[0]?.startContainer.parentElement?.scrollIntoView({ block: "nearest" });
  }

  #lightFrom(target: EventTarget | null): void {
    const i = partOf(target);
    if (i === undefined) return;
    this.#light(i);
    const part = this.#parts[i];
    // The other side comes into sight; the side under the pointer stays where it is.
    if (this.#sheet.contains(target as Node)) part?.text.scrollIntoView({ block: "nearest" });
    else part?.box?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #light(index: number | undefined): void {
    for (const lit of this.node.querySelectorAll(".jp-mod-lit")) lit.classList.remove("jp-mod-lit");
    const part = index === undefined ? undefined : this.#parts[index];
    part?.box?.classList.add("jp-mod-lit");
    part?.text.classList.add("jp-mod-lit");
  }

  #setZoom(index: number): void {
    const before = this.#zoom;
    this.#zoom = Math.max(0, Math.min(ZOOMS.length - 1, index));
    const factor = ZOOMS[this.#zoom] ?? 1;
    this.#sheet.style.width = `${factor * 100}%`;
    setText(this.#zoomWords, `${Math.round(factor * 100)} %`);
    // Closer than the picture has pixels: a larger one is asked for.
    if (before <= 1 && this.#zoom > 1 && this.#current !== undefined) {
      const key = this.#current;
      void this.#agent.image(this.jobId, key, WIDTHS.close).then(
        (image) => {
          const shown = this.#sheet.querySelector("img");
          if (image === undefined || shown === null || this.#current !== key || this.isDisposed) return;
          const old = shown.src;
          shown.src = URL.createObjectURL(image);
          const loaded = this.#loaded.get(key);
          if (loaded !== undefined)
            this.#loaded.set(
              key,
              loaded.then((page) => ({ ...page, image: shown.src })),
            );
          URL.revokeObjectURL(old);
        },
        () => undefined,
      );
    }
  }

  async #copy(): Promise<void> {
    if (this.#current === undefined) return;
    const { text } = await this.#load(this.#current);
    await navigator.clipboard.writeText(text.text ?? text.markdown ?? "");
    this.#say(this.#words.trans.__("copied"));
  }

  #key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (target instanceof HTMLInputElement && target.type !== "checkbox") {
      if (event.key === "Escape" && target === this.#find) {
        this.#find.value = "";
        void this.#search();
        this.#list.node.focus();
        event.stopPropagation();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const part = partOf(target);
    const keys: Record<string, () => void> = {
      ArrowRight: () => this.#step(1),
      ArrowLeft: () => this.#step(-1),
      "+": () => this.#setZoom(this.#zoom + 1),
      "=": () => this.#setZoom(this.#zoom + 1),
      "-": () => this.#setZoom(this.#zoom - 1),
      "0": () => this.#setZoom(0),
      b: () => {
        this.#boxes.checked = !this.#boxes.checked;
        this.#showBoxes();
      },
      "/": () => this.#find.focus(),
      ...(part === undefined || target.closest(".jp-yj-text-pane") === null
        ? {}
        : { ArrowDown: () => this.#focusPart(part + 1), ArrowUp: () => this.#focusPart(part - 1) }),
    };
    const action = keys[event.key];
    if (action === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  #focusPart(index: number): void {
    const part = this.#parts[index];
    if (part === undefined) return;
    for (const { text } of this.#parts) text.tabIndex = -1;
    part.text.tabIndex = 0;
    part.text.focus();
  }
}

function partOf(target: EventTarget | null): number | undefined {
  const part = target instanceof Element ? target.closest("[data-part]") : null;
  return part === null ? undefined : Number((part as HTMLElement).dataset["part"]);
}

function release(page: Loaded): void {
  if (page.image !== undefined) URL.revokeObjectURL(page.image);
}
