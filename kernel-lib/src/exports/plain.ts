/**
 * What is written on a page, without the marks in which a model says how it looks: Markdown (CommonMark 0.31 and GitHub's
 * tables) and HTML.
 *
 * It is no parser of Markdown: recognised text is full of what one would take for lists, code and references. Only marks
 * that add nothing to what is written are taken away; what is left reads as the page does.
 */
import type { ResultRow } from "../dataset/index.js";

/** The text of a row, plain also where its runner gave Markdown for text; empty for a page in error. */
export function plainOf({ text, markdown, layout }: Pick<ResultRow, "text" | "markdown" | "layout">): string {
  if (text === null) return "";
  // A runner that tells both apart has done it already. Engines that measure lines read letters, and write no Markdown.
  return text === markdown && !measured(layout) ? plainText(text) : text;
}

function measured(layout: ResultRow["layout"]): boolean {
  return Array.isArray(layout) && layout.some((cell) => typeof cell === "object" && cell !== null && "lines" in cell);
}

/** Text of a region: formulas without the marks around them, all else as {@link plainText} has it. */
export function regionText(category: string, text: string): string {
  if (category !== "Formula") return plainText(text);
  return text
    .trim()
    .replace(/^\\\[|\\\]$|^\$+|\$+$/g, "")
    .trim();
}

/** Stands for what is done, so that no later step looks at it: a code point that Unicode keeps out of text. */
const HELD = "\ufdd0";

/** Text without marks of Markdown and HTML; cells of tables are parted by tabs. What is looked for has a longest length, so
 * that a model that was stuck on half a mark costs no minutes. */
export function plainText(markdown: string): string {
  const held: string[] = [];
  const hold = (text: string) => `${HELD}${held.push(text) - 1}${HELD}`;
  const text = withoutFences(markdown.replaceAll(HELD, "").replace(/\r\n?/g, "\n"), hold)
    .replace(/<table\b[\s\S]*?(?:<\/table\s*>|$)/gi, (table) => hold(tableText(table)))
    .replace(/<!--[\s\S]{0,2000}?-->/g, "")
    // What a model says of a picture is not written on the page.
    .replace(/<img\b[^<>]*>(?:[^<\n]*<\/img>)?/gi, "")
    .replace(/!\[[^\]\n]{0,1000}\]\([^()\s]*(?:\s+"[^"\n]*")?\)/g, "")
    .replace(/(?<!`)(`{1,3})(?!`)([^`\n]+)\1(?!`)/g, (_, __, code: string) => hold(code))
    .replace(/\$\$([\s\S]+?)\$\$|\\\[([\s\S]{1,2000}?)\\\]/g, (_, a?: string, b?: string) =>
      hold((a ?? b ?? "").trim()),
    )
    // Pandoc's rule for formulas in a line, by which $5 and $6 are none.
    .replace(/\\\([^\n]{1,500}?\\\)|\$(?=\S)[^$\n]+?(?<=\S)\$(?!\d)/g, hold)
    .replace(/\\([*_`#~>|$&+.-])/g, (_, mark: string) => hold(mark));
  return segments(text)
    .map(inline)
    .join("\n")
    .replace(new RegExp(`${HELD}(\\d+)${HELD}`, "g"), (_, index: string) => held[Number(index)] ?? "")
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

/** Code between fences is held as it is; what only says that it is Markdown or HTML loses its fence. */
function withoutFences(text: string, hold: (text: string) => string): string {
  const out: string[] = [];
  let fence: { mark: string; verbatim: boolean } | undefined;
  for (const line of text.split("\n")) {
    const [, mark = "", info = ""] = /^ {0,3}(`{3,}|~{3,})\s*([^`]*?)\s*$/.exec(line) ?? [];
    if (fence === undefined && mark !== "") fence = { mark, verbatim: !/^(markdown|md|html|text)?$/i.test(info) };
    else if (fence !== undefined && mark.startsWith(fence.mark) && info === "") fence = undefined;
    else out.push(fence?.verbatim === true && line !== "" ? hold(line) : line);
  }
  return out.join("\n");
}

/** Lines that belong together, within which stress may go over line ends; marks at the beginning of lines are gone. */
function segments(text: string): string[] {
  const lines = text.split("\n");
  const out: string[] = [];
  let open = false;
  const alone = (line: string) => {
    out.push(line);
    open = false;
  };
  let table = false;
  for (const [i, given] of lines.entries()) {
    const line = given.replace(/^ {0,3}>[ \t]?/, "");
    const next = lines[i + 1] ?? "";
    table = table ? line.includes("|") : isDelimiters(next) && cells(line).length === cells(next).length;
    if (table) {
      if (!isDelimiters(line)) alone(cells(line).join("\t"));
      continue;
    }
    const [, heading] = /^ {0,3}#{1,6}(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/.exec(line) ?? [];
    // Rules and underlines of headings, as they are drawn with dashes; a row of underscores may be a blank to fill in.
    if (/^ {0,3}(?:-{3,}|={3,})[ \t]*$/.test(line)) open = false;
    else if (heading !== undefined || line.trim() === "") alone(heading ?? "");
    else if (open) out.push(`${out.pop()}\n${line}`);
    else {
      out.push(line);
      open = true;
    }
  }
  return out;
}

/** The row below the head of one of GitHub's tables. */
function isDelimiters(line: string): boolean {
  return line.includes("|") && cells(line).every((cell) => /^:?-+:?$/.test(cell));
}

function cells(line: string): string[] {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split("|")
    .map((cell) => cell.trim());
}

/** Tags that models write; others may be what is written. */
const TAGS =
  /<\/?(?:a|b|blockquote|center|div|em|figcaption|figure|font|footer|h[1-6]|header|i|li|mark|ol|p|page_number|s|section|signature|small|span|strong|sub|sup|table|tbody|td|th|thead|tr|u|ul|watermark)(?:\s[^<>]*)?\/?>/gi;

function inline(text: string): string {
  return withoutStress(
    text
      .replace(/<br\s*\/?>\n?/gi, "\n")
      .replace(TAGS, "")
      .replace(/<(https?:\/\/[^\s<>]+)>/g, "$1")
      .replace(/\[([^\]\n]{1,500})\]\((?:https?:|mailto:|#|\.{0,2}\/)[^()\s]*(?:\s+"[^"\n]*")?\)/g, "$1"),
  ).replace(ENTITY, (whole, name: string) => entity(name) ?? whole);
}

/** A row of stars, underscores or tildes. */
interface Run {
  mark: string;
  /** Where it stands, and how long it was. */
  at: number;
  length: number;
  /** What of it is no mark. */
  left: number;
  opens: boolean;
  closes: boolean;
}

/** Text without marks of stress, by CommonMark's rules for delimiter runs (0.31, section 6.2). */
function withoutStress(text: string): string {
  // Longer ones are blanks to fill in and rules, whatever CommonMark makes of them.
  const runs = [...text.matchAll(/(?<![*])\*{1,3}(?![*])|(?<!_)_{1,3}(?!_)|(?<!~)~~(?!~)/g)].map((m): Run => {
    const before = [...text.slice(Math.max(0, m.index - 2), m.index)].at(-1) ?? " ";
    const after = String.fromCodePoint(text.codePointAt(m.index + m[0].length) ?? 0x20);
    const left = flanking(after, before);
    const right = flanking(before, after);
    const inWords = m[0].startsWith("_");
    return {
      mark: m[0].charAt(0),
      at: m.index,
      length: m[0].length,
      left: m[0].length,
      opens: left && (!inWords || !right || PUNCTUATION.test(before)),
      closes: right && (!inWords || !left || PUNCTUATION.test(after)),
    };
  });
  pair(runs);
  let out = "";
  let from = 0;
  for (const run of runs) {
    out += text.slice(from, run.at) + run.mark.repeat(run.left);
    from = run.at + run.length;
  }
  return out + text.slice(from);
}

const PUNCTUATION = /[\p{P}\p{S}]/u;

/** True where a run belongs to what stands on its one side, seen from the other. */
function flanking(inner: string, outer: string): boolean {
  return !/\s/.test(inner) && (!PUNCTUATION.test(inner) || /\s/.test(outer) || PUNCTUATION.test(outer));
}

/** Takes from the runs what marks stress. */
function pair(runs: readonly Run[]): void {
  const openers: Run[] = [];
  // Below these no opener was found for a closer of the kind, and none will be.
  const bottoms = new Map<string, Run | undefined>();
  for (const run of runs) {
    while (run.closes && run.left > 0) {
      const kind = `${run.mark}${run.opens}${run.length % 3}`;
      const bottom = bottoms.get(kind);
      let i = openers.length - 1;
      while (i >= 0 && openers[i] !== bottom && !matches(openers[i], run)) i -= 1;
      const opener = openers[i];
      if (opener === undefined || opener === bottom) {
        bottoms.set(kind, openers.at(-1));
        break;
      }
      const taken = Math.min(opener.left, run.left, 2);
      opener.left -= taken;
      run.left -= taken;
      openers.length = opener.left === 0 ? i : i + 1;
    }
    if (run.opens && run.left > 0) openers.push(run);
  }
}

function matches(opener: Run | undefined, closer: Run): boolean {
  if (opener?.mark !== closer.mark) return false;
  const both = opener.closes || closer.opens;
  return !both || (opener.length + closer.length) % 3 !== 0 || (opener.length % 3 === 0 && closer.length % 3 === 0);
}

/** An HTML table as text: a line for each row, tabs between the cells. */
function tableText(table: string): string {
  return table
    .split(/<tr\b[^>]*>/i)
    .slice(1)
    .map((row) =>
      row
        .split(/<t[dh]\b[^>]*>/i)
        .slice(1)
        .map((cell) =>
          cell
            .replace(/<[^>]*>/g, " ")
            .replace(ENTITY, (whole, name: string) => entity(name) ?? whole)
            .replace(/\s+/g, " ")
            .trim(),
        )
        .join("\t"),
    )
    .join("\n")
    .trim();
}

const ENTITY = /&(#\d{1,7}|#x[\da-f]{1,6}|[a-z]{2,5});/gi;
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " " };

function entity(name: string): string | undefined {
  if (!name.startsWith("#")) return ENTITIES[name.toLowerCase()];
  const code = /^#x/i.test(name) ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
  return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : undefined;
}
