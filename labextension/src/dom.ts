/** DOM without markup: whatever is given as text becomes a text node, so foreign words can never become HTML. */
import type { LabIcon } from "@jupyterlab/ui-components";

/** Something to put into an element: text, a node, nothing, or a list of these. */
export type Child = string | number | Node | undefined | false | readonly Child[];

/** Attributes of an element; functions are event listeners (`onclick`), `undefined` and `false` leave it out. */
export interface Attributes {
  class?: string;
  [name: string]: string | number | boolean | undefined | ((event: never) => void);
}

/** Makes an element. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(parent: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child as readonly Child[]);
    else parent.append(child instanceof Node ? child : String(child));
  }
}

/** Replaces what is in an element. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}

/** Sets an element's text if it differs: what is the same is not painted again, and a selection in it stays. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or removes an attribute if it differs. */
export function setAttribute(element: Element, name: string, value: string | undefined): void {
  if (value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Shows or hides an element. */
export function show(element: HTMLElement, visible: boolean): void {
  if (element.hidden === visible) element.hidden = !visible;
}

/** A button with a label, or with an icon whose label is its name for screen readers and its tooltip. */
export function button(
  label: string,
  action: () => void,
  options: { icon?: LabIcon; class?: string; pressed?: boolean; iconOnly?: boolean } = {},
): HTMLButtonElement {
  const { icon, pressed, iconOnly = icon !== undefined } = options;
  const element = h(
    "button",
    {
      type: "button",
      class: `jp-yj-button ${iconOnly ? "jp-mod-icon" : ""} ${options.class ?? ""}`.trim(),
      "aria-pressed": pressed === undefined ? undefined : String(pressed),
      ...(iconOnly ? { title: label, "aria-label": label } : {}),
      onclick: action,
    },
    icon?.element({ tag: "span", elementPosition: "center" }),
    iconOnly ? undefined : label,
  );
  return element;
}

let count = 0;
/** An id that no other element of the page has. */
export function uniqueId(name: string): string {
  count += 1;
  return `jp-yj-${name}-${count}`;
}
