/**
 * A list of any length of which only what is seen is in the page: rows of equal height, a selection of one or several,
 * and the keyboard of a list box. What a row shows is its owner's; a change of one item touches one row.
 */
import type { Message } from "@lumino/messaging";
import { type ISignal, Signal } from "@lumino/signaling";
import { Widget } from "@lumino/widgets";
import { h, setAttribute, uniqueId } from "./dom";

/** Rows that are kept ready above and below what is seen. */
const AHEAD = 6;

/** What a list is given. */
export interface ListOptions {
  /** Name for screen readers. */
  label: string;
  rowHeight: number;
  /** True: several rows can be selected. */
  multiple?: boolean;
  /** Makes the elements of an empty row, once for each row of the screen. */
  create: (row: HTMLElement) => void;
  /** Fills a row for an item, changing only what differs. */
  render: (row: HTMLElement, key: string, index: number) => void;
}

/** The list. Items are known by their keys. */
export class VirtualList extends Widget {
  readonly #options: ListOptions;
  readonly #space: HTMLElement;
  readonly #rows = new Map<number, HTMLElement>();
  readonly #spare: HTMLElement[] = [];
  #keys: readonly string[] = [];
  #index = new Map<string, number>();
  #selected = new Set<string>();
  #active: string | undefined;
  #anchor: string | undefined;
  #frame = 0;
  readonly #selectionChanged = new Signal<this, void>(this);
  readonly #opened = new Signal<this, string>(this);
  readonly #watch: ResizeObserver;

  constructor(options: ListOptions) {
    super();
    this.#options = options;
    this.addClass("jp-yj-list");
    this.#space = h("div", { class: "jp-yj-list-space", role: "presentation" });
    this.node.append(this.#space);
    setAttribute(this.node, "role", "listbox");
    setAttribute(this.node, "aria-label", options.label);
    if (options.multiple) setAttribute(this.node, "aria-multiselectable", "true");
    this.node.tabIndex = 0;
    this.node.addEventListener("scroll", () => this.#soon(), { passive: true });
    this.node.addEventListener("keydown", (event) => this.#key(event));
    this.node.addEventListener("mousedown", (event) => this.#press(event));
    this.node.addEventListener("dblclick", (event) => {
      const key = this.#keyAt(event.target);
      if (key !== undefined) this.#opened.emit(key);
    });
    this.#watch = new ResizeObserver(() => this.#soon());
    this.#watch.observe(this.node);
  }

  /** Told when another row, or other rows, are selected. */
  get selectionChanged(): ISignal<this, void> {
    return this.#selectionChanged;
  }
  /** Told when a row is opened, by Enter or a double click. */
  get opened(): ISignal<this, string> {
    return this.#opened;
  }
  /** Keys of the selected rows, in the list's order. */
  get selection(): string[] {
    return this.#keys.filter((key) => this.#selected.has(key));
  }
  /** The row of the keyboard. */
  get active(): string | undefined {
    return this.#active;
  }

  /** Replaces the items. Rows whose item stays where it is are only filled again. */
  setKeys(keys: readonly string[]): void {
    this.#keys = keys;
    this.#index = new Map(keys.map((key, i) => [key, i]));
    const before = this.#selected.size;
    for (const key of this.#selected) if (!this.#index.has(key)) this.#selected.delete(key);
    if (this.#active !== undefined && !this.#index.has(this.#active)) this.#active = undefined;
    this.#space.style.height = `${keys.length * this.#options.rowHeight}px`;
    this.#draw(true);
    if (before !== this.#selected.size) this.#selectionChanged.emit();
  }

  /** Fills the row of one item again, if it is seen. */
  refresh(key: string): void {
    const index = this.#index.get(key);
    const row = index === undefined ? undefined : this.#rows.get(index);
    if (row !== undefined && index !== undefined) this.#options.render(row, key, index);
  }

  /** Fills all rows that are seen again. */
  refreshAll(): void {
    for (const [index, row] of this.#rows) this.#options.render(row, this.#keys[index] ?? "", index);
  }

  /** Selects one row and brings it into sight. */
  select(key: string): void {
    this.#choose(key, new Set([key]), key);
  }

  protected override onAfterShow(_: Message): void {
    this.#draw(false);
  }
  protected override onAfterAttach(_: Message): void {
    this.#soon();
  }
  override dispose(): void {
    cancelAnimationFrame(this.#frame);
    this.#watch.disconnect();
    super.dispose();
  }

  #soon(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.isDisposed) this.#draw(false);
    });
  }

  #draw(all: boolean): void {
    const { rowHeight, create, render } = this.#options;
    const { scrollTop, clientHeight } = this.node;
    const from = Math.max(0, Math.floor(scrollTop / rowHeight) - AHEAD);
    const to = Math.min(this.#keys.length, Math.ceil((scrollTop + clientHeight) / rowHeight) + AHEAD);
    for (const [index, row] of this.#rows)
      if (index < from || index >= to) {
        this.#rows.delete(index);
        this.#spare.push(row);
      }
    for (let index = from; index < to; index++) {
      let row = this.#rows.get(index);
      if (row !== undefined && !all) continue;
      if (row === undefined) {
        row = this.#spare.pop();
        if (row === undefined) {
          row = h("div", { class: "jp-yj-row", role: "option", id: uniqueId("row") });
          row.style.height = `${rowHeight}px`;
          create(row);
        }
        row.style.transform = `translateY(${index * rowHeight}px)`;
        setAttribute(row, "aria-posinset", String(index + 1));
        this.#rows.set(index, row);
        if (row.parentNode === null) this.#space.append(row);
        row.hidden = false;
      }
      setAttribute(row, "aria-setsize", String(this.#keys.length));
      this.#mark(row, index);
      render(row, this.#keys[index] ?? "", index);
    }
    for (const row of this.#spare) row.hidden = true;
    this.#point();
  }

  #mark(row: HTMLElement, index: number): void {
    const key = this.#keys[index] ?? "";
    row.dataset["key"] = key;
    setAttribute(row, "aria-selected", String(this.#selected.has(key)));
    row.classList.toggle("jp-mod-active", key === this.#active);
  }

  /** Tells screen readers which row the keyboard is on. */
  #point(): void {
    const index = this.#active === undefined ? undefined : this.#index.get(this.#active);
    setAttribute(this.node, "aria-activedescendant", index === undefined ? undefined : this.#rows.get(index)?.id);
  }

  #choose(active: string, selected: Set<string>, anchor: string): void {
    this.#active = active;
    this.#selected = selected;
    this.#anchor = anchor;
    this.#reveal(active);
    for (const [index, row] of this.#rows) this.#mark(row, index);
    this.#point();
    this.#selectionChanged.emit();
  }

  #reveal(key: string): void {
    const index = this.#index.get(key);
    if (index === undefined) return;
    const { rowHeight } = this.#options;
    const top = index * rowHeight;
    if (top < this.node.scrollTop) this.node.scrollTop = top;
    else if (top + rowHeight > this.node.scrollTop + this.node.clientHeight)
      this.node.scrollTop = top + rowHeight - this.node.clientHeight;
    this.#draw(false);
  }

  #keyAt(target: EventTarget | null): string | undefined {
    return target instanceof Element ? (target.closest(".jp-yj-row") as HTMLElement | null)?.dataset["key"] : undefined;
  }

  #range(from: string | undefined, to: string): Set<string> {
    const a = (from === undefined ? undefined : this.#index.get(from)) ?? 0;
    const b = this.#index.get(to) ?? 0;
    return new Set(this.#keys.slice(Math.min(a, b), Math.max(a, b) + 1));
  }

  #press(event: MouseEvent): void {
    const key = this.#keyAt(event.target);
    if (key === undefined) return;
    // A context menu is about what is selected, and about its own row where that is not.
    if (event.button !== 0) {
      if (!this.#selected.has(key)) this.select(key);
      return;
    }
    if (this.#options.multiple && event.shiftKey) {
      event.preventDefault();
      this.node.focus();
      this.#choose(key, this.#range(this.#anchor ?? key, key), this.#anchor ?? key);
    } else if (this.#options.multiple && (event.ctrlKey || event.metaKey)) {
      const selected = new Set(this.#selected);
      if (!selected.delete(key)) selected.add(key);
      this.#choose(key, selected, key);
    } else this.select(key);
  }

  #key(event: KeyboardEvent): void {
    const { multiple, rowHeight } = this.#options;
    const last = this.#keys.length - 1;
    if (last < 0) return;
    const at = this.#active === undefined ? -1 : (this.#index.get(this.#active) ?? -1);
    const page = Math.max(1, Math.floor(this.node.clientHeight / rowHeight) - 1);
    const moves: Record<string, number> = {
      ArrowDown: Math.min(last, at + 1),
      ArrowUp: Math.max(0, at - 1),
      PageDown: Math.min(last, at + page),
      PageUp: Math.max(0, at - page),
      Home: 0,
      End: last,
    };
    const to = moves[event.key];
    const key = to === undefined ? this.#active : this.#keys[to];
    if (to !== undefined && key !== undefined) {
      if (multiple && event.shiftKey) this.#choose(key, this.#range(this.#anchor ?? key, key), this.#anchor ?? key);
      else this.select(key);
    } else if (event.key === "Enter" && this.#active !== undefined) this.#opened.emit(this.#active);
    else if (multiple && event.key === " " && this.#active !== undefined) {
      const selected = new Set(this.#selected);
      if (!selected.delete(this.#active)) selected.add(this.#active);
      this.#choose(this.#active, selected, this.#active);
    } else if (multiple && event.key === "a" && (event.ctrlKey || event.metaKey))
      this.#choose(this.#active ?? this.#keys[0] ?? "", new Set(this.#keys), this.#anchor ?? this.#keys[0] ?? "");
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
