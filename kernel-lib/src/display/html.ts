/**
 * HTML for notebook outputs, and the only place where text becomes HTML. Whatever a template is given is escaped unless
 * it is {@link Markup} itself, so a forgotten escape is not possible.
 */

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

/** What a browser shows of pictures, by their first bytes; SVG is not among them, since it can hold script. */
export function pictureType(bytes: Uint8Array): "image/png" | "image/jpeg" | "image/gif" | "image/webp" | undefined {
  const is = (offset: number, ...signature: number[]) => signature.every((b, i) => bytes[offset + i] === b);
  if (is(0, 0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)) return "image/png";
  if (is(0, 0xff, 0xd8, 0xff)) return "image/jpeg";
  if (is(0, 0x47, 0x49, 0x46, 0x38)) return "image/gif";
  if (is(0, 0x52, 0x49, 0x46, 0x46) && is(8, 0x57, 0x45, 0x42, 0x50)) return "image/webp";
  return undefined;
}

/** A picture as a `data:` URL, its type told by its bytes; undefined if it is none that a browser shows. */
export function dataUrl(bytes: Uint8Array): string | undefined {
  const type = pictureType(bytes);
  return type === undefined ? undefined : `data:${type};base64,${Buffer.from(bytes).toString("base64")}`;
}
