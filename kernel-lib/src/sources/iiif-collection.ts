/** Collections: lists of manifests and further collections, whole or page by page. */

import { idOf, languages, list, type Node, node, referenceOf, typeOf } from "./iiif-values.js";
import type { LanguageMap } from "./index.js";

/** A manifest or collection within a collection. */
export interface Member {
  id: string;
  kind: "manifest" | "collection";
  label: LanguageMap;
  /** The whole of it, where it need not be fetched. */
  inline?: unknown;
}

/** A collection: addresses of manifests and further collections. */
export interface Collection {
  type: "collection";
  version: 2 | 3;
  id: string;
  label: LanguageMap;
  members: Member[];
  /** Where it goes on: its first page, and the one after this (paging of version 2.1). */
  more: Member[];
  /** What is listed but is neither manifest nor collection, and why. */
  skipped: { key: string; reason: string }[];
}

const KINDS: ReadonlyMap<string, Member["kind"]> = new Map([
  ["Manifest", "manifest"],
  ["Collection", "collection"],
]);
/** Lists by which a collection is known even if it says no type. */
const LISTS = ["manifests", "members", "collections"] as const;

/** True for a collection, by its type or, where there is none, by its lists. */
export function isCollection(doc: Node): boolean {
  const type = typeOf(doc);
  if (type !== "") return type === "Collection" || type === "CollectionPage";
  return LISTS.some((name) => list(doc[name]).length > 0);
}

/** True if a member of a collection is there itself, and not only its id. */
function isWhole(item: Node): boolean {
  return ["items", "sequences", ...LISTS].some((name) => list(item[name]).length > 0);
}

/** Reads a collection that was found at `address`. */
export function readCollection(doc: Node, address: string, version: 2 | 3): Collection {
  const id = idOf(doc) ?? address;
  const members: Member[] = [];
  const skipped: Collection["skipped"] = [];
  let number = 0;
  /** `isSure`: the list itself says what is in it, whatever type that names. */
  const add = (values: unknown, fallback?: Member["kind"], isSure = false) => {
    for (const value of list(values)) {
      number += 1;
      const item = node(value) ?? {};
      const type = typeOf(item);
      const own = referenceOf(value);
      const key = own ?? `${id}#item=${number}`;
      const whole = isWhole(item);
      // What lies here whole need not say its type: it is read, and tells.
      const untyped = fallback ?? (whole ? "manifest" : undefined);
      const kind = KINDS.get(type) ?? (type === "" || isSure ? untyped : undefined);
      if (kind === undefined)
        skipped.push({
          key,
          reason: `It is listed ${type === "" ? "without a type" : `as ${type}`}, not as a manifest or collection.`,
        });
      else if (own === undefined && !whole) skipped.push({ key, reason: "It is listed without an address." });
      else members.push({ id: key, kind, label: languages(item.label), ...(whole ? { inline: item } : {}) });
    }
  };
  add(doc.items);
  add(doc.members, "manifest");
  add(doc.manifests, "manifest", true);
  add(doc.collections, "collection", true);
  return {
    type: "collection",
    version,
    id,
    label: languages(doc.label),
    members: once(members),
    more: [doc.first, doc.next].flatMap(pageOf),
    skipped,
  };
}

function pageOf(value: unknown): Member[] {
  const [first] = list(value);
  const id = referenceOf(first);
  const item = node(first);
  if (id === undefined) return [];
  return [{ id, kind: "collection", label: {}, ...(item !== undefined && isWhole(item) ? { inline: item } : {}) }];
}

/**
 * Without repetition: in version 2.1 `members` may list again what `manifests` and `collections` hold. Only addresses
 * are compared: members that are there themselves may bear one id (that of the page they were made from) and differ.
 */
function once(members: readonly Member[]): Member[] {
  const whole = new Map<string, Set<string>>();
  for (const { id, inline } of members)
    if (inline !== undefined) whole.set(id, (whole.get(id) ?? new Set()).add(JSON.stringify(inline)));
  const seen = new Set<string>();
  return members.filter(({ id, inline }) => {
    const texts = whole.get(id);
    if (inline !== undefined) return texts?.delete(JSON.stringify(inline)) === true;
    if (texts !== undefined || seen.has(id)) return false;
    seen.add(id);
    return true;
  });
}
