/** Ranges: the parts of a work, such as chapters, in the forms that versions 2.0, 2.1 and 3 and their users write them. */

import { idOf, languages, list, type Node, node, referenceOf, typeOf } from "./iiif-values.js";
import type { LanguageMap } from "./index.js";

/** A part of a work. */
export interface Range {
  label: LanguageMap;
  /** Ids of its canvases in its own order, those of the ranges within it included, each once. */
  readonly canvases: string[];
}

/** A range as it is written: its canvases and the ranges within it, in their order. */
interface Written {
  label: LanguageMap;
  parts: { range?: string; canvas?: string }[];
}

/**
 * The ranges of a manifest by id; one without an id gets one. Ranges within ranges may be written there, or be referred
 * to and written elsewhere. `known` are the ids of the manifest's canvases.
 */
export function readRanges(structures: unknown, known: ReadonlySet<string>): Map<string, Range> {
  const all = new Map<string, Written>();
  const names = new Map<Node, string>();
  const found = gather(structures, (range, n) => {
    const id = idOf(range) ?? `#range=${n}`;
    names.set(range, id);
    if (!all.has(id)) all.set(id, { label: languages(range.label), parts: [] });
  });
  for (const range of found) {
    const written = all.get(names.get(range) ?? "");
    const parts = partsOf(range, names, all, known);
    if (written === undefined || parts.length === 0) continue;
    // What only refers to a range may call it otherwise; its own label is where its parts are.
    const label = languages(range.label);
    if (written.parts.length === 0 && Object.keys(label).length > 0) written.label = label;
    written.parts.push(...parts);
  }
  const ranges = new Map<string, Range>();
  for (const [id, { label }] of all) {
    let canvases: string[] | undefined;
    ranges.set(id, {
      label,
      // Worked out when it is asked for: a book may have thousands of ranges, of which one is wanted.
      get canvases() {
        canvases ??= canvasesOf(id, all);
        return canvases;
      },
    });
  }
  return ranges;
}

/** Every range that is written anywhere in `structures`, outer ones first. */
function gather(structures: unknown, meet: (range: Node, n: number) => void): Node[] {
  const found: Node[] = [];
  const waiting = [...list(structures)].reverse();
  while (waiting.length > 0) {
    const value = node(waiting.pop());
    if (value === undefined) continue;
    const type = typeOf(value);
    if (type !== "Range" && type !== "") continue;
    const parts = [...list(value.items), ...list(value.members), ...list(value.ranges)];
    if (type === "" && parts.length === 0 && list(value.canvases).length === 0) continue;
    found.push(value);
    meet(value, found.length);
    for (const part of parts.reverse()) waiting.push(part);
  }
  return found;
}

function partsOf(
  range: Node,
  names: ReadonlyMap<Node, string>,
  all: ReadonlyMap<string, Written>,
  known: ReadonlySet<string>,
): Written["parts"] {
  const parts: Written["parts"] = [];
  for (const value of [...list(range.items), ...list(range.members), ...list(range.canvases), ...list(range.ranges)]) {
    const item = node(value);
    const type = typeOf(item);
    const id = (item === undefined ? undefined : names.get(item)) ?? referenceOf(value);
    const canvas = type === "SpecificResource" ? referenceOf(item?.source) : id;
    const isRange = type === "Range" || (type === "" && id !== undefined && !known.has(id));
    if (id !== undefined && isRange && all.has(id)) parts.push({ range: id });
    else if (canvas !== undefined && type !== "Range") parts.push({ canvas: wholeCanvas(canvas, known) });
  }
  return parts;
}

/** The canvas that a part of it belongs to. Ids of canvases may hold a `#` themselves. */
function wholeCanvas(id: string, known: ReadonlySet<string>): string {
  return known.has(id) ? id : id.replace(/#(?:xywh|t)=.*$/, "");
}

function canvasesOf(id: string, all: ReadonlyMap<string, Written>): string[] {
  const canvases = new Set<string>();
  const seen = new Set<string>();
  const waiting: Written["parts"] = [{ range: id }];
  for (let part = waiting.pop(); part !== undefined; part = waiting.pop()) {
    if (part.canvas !== undefined) canvases.add(part.canvas);
    // Ranges that hold each other would lead in circles; what was met has given its canvases.
    if (part.range === undefined || seen.has(part.range)) continue;
    seen.add(part.range);
    waiting.push(...(all.get(part.range)?.parts ?? []).toReversed());
  }
  return [...canvases];
}
