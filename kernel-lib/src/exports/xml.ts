/** XML from templates: whatever a template is given is escaped unless it is {@link Xml} itself. */

/** XML that is well formed. Made by {@link xml} only. */
export class Xml {
  readonly text: string;
  /** @internal */
  constructor(text: string) {
    this.text = text;
  }
}

/** What may stand in a template. `undefined` and empty lists are nothing. */
export type XmlPart = string | number | Xml | undefined | readonly XmlPart[];

/** Template of XML: xml`<a b="${value}">${text}</a>`. */
export function xml(strings: TemplateStringsArray, ...parts: XmlPart[]): Xml {
  let text = strings[0] ?? "";
  parts.forEach((part, i) => {
    text += render(part) + (strings[i + 1] ?? "");
  });
  return new Xml(text);
}

/** An attribute with a space before it, or nothing where there is no value. */
export function attribute(name: string, value: string | number | null | undefined): Xml {
  return new Xml(value === undefined || value === null ? "" : ` ${name}="${escapeXml(String(value))}"`);
}

function render(part: XmlPart): string {
  if (part === undefined) return "";
  if (part instanceof Xml) return part.text;
  if (typeof part === "string") return escapeXml(part);
  if (typeof part === "number") return String(part);
  return part.map(render).join("");
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text without the characters that XML 1.0 (section 2.2) has no place for. */
export function withoutControls(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "");
}

/** Text whose halves of surrogate pairs without the other half are replaced, as encoders do. */
export function wellFormed(text: string): string {
  return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
}

/** Text for an element or a quoted attribute. */
export function escapeXml(text: string): string {
  return wellFormed(withoutControls(text))
    .replace(/[&<>"]/g, (c) => ENTITIES[c] ?? c)
    .replace(/\r/g, "&#13;");
}
