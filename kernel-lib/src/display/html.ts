/**
 * HTML for notebook outputs, and the only place where text becomes HTML. Whatever a template is given is escaped unless
 * it is {@link Markup} itself, so a forgotten escape is not possible.
 */
import { sniff } from "../images.js";

/** HTML that is safe to show. Made by {@link html} and {@link joined} only. */
export class Markup {
  readonly text: string;
  /** @internal */
  constructor(text: string) {
    this.text = text;
  }
  toString(): string {
    return this.text;
  }
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
  "`": "&#96;",
};

/** Text as HTML shows it, in an element or in a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"'`]/g, (c) => ENTITIES[c] ?? c);
}

/** What may stand in a template: text and numbers are escaped, Markup stays, lists are joined, `undefined` is nothing. */
export type Part = string | number | Markup | undefined | readonly Part[];

/** Template of HTML: html`<b>${name}</b>`. Every value in it is escaped unless it is {@link Markup}. */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Markup {
  let text = strings[0] ?? "";
  parts.forEach((part, i) => {
    text += render(part) + (strings[i + 1] ?? "");
  });
  return new Markup(text);
}

/** Values one after another, with `between` between them. */
export function joined(parts: readonly Part[], between: Part = ""): Markup {
  return new Markup(parts.map(render).join(render(between)));
}

function render(part: Part): string {
  if (part === undefined) return "";
  if (part instanceof Markup) return part.text;
  if (typeof part === "string") return escapeHtml(part);
  if (typeof part === "number") return String(part);
  return part.map(render).join("");
}

/** Pictures that every browser shows; SVG is not among them, since it can hold script. */
const SHOWN: ReadonlySet<string> = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

/** A picture as a `data:` URL, its type told by its bytes; undefined if it is none that every browser shows. */
export function dataUrl(bytes: Uint8Array): string | undefined {
  const type = sniff(bytes)?.mime;
  if (type === undefined || !SHOWN.has(type)) return undefined;
  return `data:${type};base64,${Buffer.from(bytes).toString("base64")}`;
}
