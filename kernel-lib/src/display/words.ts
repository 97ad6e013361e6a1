/** Numbers, times and foreign text in the form that people read. */
import type { JobState } from "../protocol.js";

// What a terminal would obey, in seven- and eight-bit forms: ECMA-48 control sequences (CSI), strings up to their end
// (OSC, DCS, …; without an end only the beginning goes, so that no text is lost), and two-byte escapes.
const ESCAPES =
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])[^\u0007\u001b\u0080-\u009f]*(?:\u0007|\u001b\\|\u009c)|\u001b[ -/]*[0-~]?/g;

/**
 * Text from outside for a terminal or a notebook: escape sequences and control characters are taken out, tabs and line
 * ends stay. A lone carriage return overwrites the line, as progress bars in logs mean it.
 */
export function plain(text: string): string {
  return text
    .replace(ESCAPES, "")
    .split("\n")
    .map(overwritten)
    .join("\n")
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}

function overwritten(line: string): string {
  const text = line.replace(/\r+$/, "");
  return text.slice(text.lastIndexOf("\r") + 1);
}

/** As {@link plain}, without the marks that turn the direction of what follows, which would let a name pose as another. */
export function straight(text: string): string {
  return plain(text).replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");
}

/** One line of text from outside: as {@link straight}, with white space as single spaces. At most `limit` characters. */
export function oneLine(text: string, limit = 200): string {
  const line = straight(text).replace(/\s+/g, " ").trim();
  return clipped(line, limit);
}

/** At most `limit` characters, the last of them an ellipsis where something is left out; no character is cut in two. */
export function clipped(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const end = limit - 1;
  return `${text.slice(0, (text.codePointAt(end - 1) ?? 0) > 0xffff ? end - 1 : end)}…`;
}

/** `1 page`, `2 pages`, `1,200 pages`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en-US")} ${n === 1 ? one : many}`;
}

/** `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const two = (large: number, largeUnit: string, small: number, smallUnit: string) =>
    small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  const minutes = Math.round(s / 60);
  if (minutes < 24 * 60) return two(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  return two(Math.floor(hours / 24), "d", hours % 24, "h");
}

/** `512 B`, `3.4 MiB`. */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = n;
  let i = 0;
  while (value >= 1024 && i < units.length - 1) {
    value /= 1024;
    i += 1;
  }
  return `${i === 0 ? value : value.toFixed(1)} ${units[i]}`;
}

/** `1.2 pages/s`, `15 pages/min`, `40 pages/h`: the unit in which the number is easy to read. */
export function pace(perSecond: number): string {
  if (perSecond >= 0.95) return `${perSecond.toFixed(1)} pages/s`;
  if (perSecond * 60 >= 0.95) return `${(perSecond * 60).toFixed(perSecond * 60 < 9.95 ? 1 : 0)} pages/min`;
  return `${(perSecond * 3600).toFixed(0)} pages/h`;
}

/** Local date and time of an ISO time, to the minute; what is no time stays out. */
export function localTime(iso: string | undefined): string {
  const at = iso === undefined ? Number.NaN : Date.parse(iso);
  if (Number.isNaN(at)) return "";
  const d = new Date(at);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}`;
}

/** Seconds between two ISO times, the second defaulting to `now` (milliseconds); undefined if one is no time. */
export function secondsBetween(from: string | undefined, to: string | undefined, now: number): number | undefined {
  const start = from === undefined ? Number.NaN : Date.parse(from);
  const end = to === undefined ? now : Date.parse(to);
  return Number.isNaN(start) || Number.isNaN(end) ? undefined : Math.max(0, (end - start) / 1000);
}

/** A state in words: `out of memory`. */
export function stateWords(state: JobState): string {
  return state === "node_fail" ? "node failed" : state.replaceAll("_", " ");
}

/** Width of a text in the cells of a terminal, near enough for tables: East Asian wide characters take two. */
export function cells(text: string): number {
  let width = 0;
  for (const c of text) {
    if (/\p{M}/u.test(c)) continue;
    width +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u.test(
        c,
      )
        ? 2
        : 1;
  }
  return width;
}

/** Columns of text, left aligned, two spaces between them. */
export function textTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cells(cell));
    });
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell + " ".repeat((widths[i] ?? 0) - cells(cell)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
