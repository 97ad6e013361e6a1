/** Values of IIIF documents as they come: one object where a list belongs, ids and types by either name, labels in any form. */
import type { LanguageMap } from "./index.js";

/** A JSON object. */
export type Node = { readonly [key: string]: unknown };

/** The size of something in pixels, or in units of a canvas, as far as it is told. */
export interface Size {
  width?: number;
  height?: number;
}

/** One object where a list belongs is a list of one; nothing is an empty one. */
export function list(value: unknown): readonly unknown[] {
  return value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
}

/** The value if it is a JSON object. */
export function node(value: unknown): Node | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Node) : undefined;
}

/** The JSON objects of a list. */
export function nodes(value: unknown): Node[] {
  return list(value).map(node).filter(defined);
}

/** For `filter`: what is there. */
export function defined<T>(value: T | undefined): value is T {
  return value !== undefined;
}

/** `id` of version 3 or `@id` of version 2. */
export function idOf(value: Node): string | undefined {
  const id = value.id ?? value["@id"];
  return typeof id === "string" && id !== "" ? id : undefined;
}

/** The id of what is referred to, by its id alone or as an object. */
export function referenceOf(value: unknown): string | undefined {
  return typeof value === "string" ? value || undefined : idOf(node(value) ?? {});
}

/** The type as version 3 writes it: `sc:Manifest`, `manifest`, `oa:Choice` and `dctypes:Image` are dialects. */
export function typeOf(value: Node | undefined): string {
  const type = list(value?.type ?? value?.["@type"])[0];
  if (typeof type !== "string") return "";
  const name = type.replace(/^.*[:/#]/, "");
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** `width` and `height`, numbers or texts of numbers, where they are more than nothing. */
export function sizeOf(value: Node): Size {
  const [width, height] = [Number(value.width), Number(value.height)];
  return {
    ...(Number.isFinite(width) && width > 0 ? { width } : {}),
    ...(Number.isFinite(height) && height > 0 ? { height } : {}),
  };
}

/** Pairs of label and value, as `metadata` has them. */
export function pairs(value: unknown): { label: LanguageMap; value: LanguageMap }[] {
  return nodes(value).map((p) => ({ label: languages(p.label), value: languages(p.value) }));
}

/** Any form of a label (text, number, `@value` with `@language`, lists of them, language map) as a language map. */
export function languages(value: unknown): LanguageMap {
  // A language may be called `constructor` or `__proto__` by who wants to see us stumble.
  const map = new Map<string, string[]>();
  const add = (language: string, text: unknown) => {
    if (typeof text !== "string" && typeof text !== "number") return;
    const texts = map.get(language) ?? [];
    texts.push(String(text));
    map.set(language, texts);
  };
  for (const item of list(value)) {
    const n = node(item);
    if (n === undefined) add("none", item);
    else if (n["@value"] !== undefined)
      for (const text of list(n["@value"])) add(typeof n["@language"] === "string" ? n["@language"] : "none", text);
    else
      for (const [language, texts] of Object.entries(n))
        if (language !== "@language")
          for (const text of list(texts)) add(language === "@none" ? "none" : language, text);
  }
  return Object.fromEntries(map);
}

/**
 * The texts of a language map in one language: the first that is wished for and there (`de` answers the wish for
 * `de-CH`, and `de-CH` that for `de`), else English, else any. A language with empty texts only counts as missing.
 */
export function preferred(map: LanguageMap | undefined, wishes: readonly string[] = []): string | undefined {
  if (map === undefined) return undefined;
  const filled = Object.keys(map).filter((name) => map[name]?.some((text) => text.trim() !== ""));
  const names = filled.length > 0 ? filled : Object.keys(map);
  // Lookup of RFC 4647, 3.4: the tag gets shorter from its end until something answers it.
  for (const wish of [...wishes, "en", "none"])
    for (let tag = wish.toLowerCase(); tag !== ""; tag = tag.slice(0, Math.max(0, tag.lastIndexOf("-")))) {
      const name =
        names.find((n) => n.toLowerCase() === tag) ?? names.find((n) => n.toLowerCase().startsWith(`${tag}-`));
      if (name !== undefined) return map[name]?.join("; ");
    }
  return names[0] === undefined ? undefined : map[names[0]]?.join("; ");
}
