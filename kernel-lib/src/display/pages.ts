/** Page images beside what was recognised on them, and pages alone as a contact sheet. */
import type { Bundle } from "./bundle.js";
import { html, joined, type Markup } from "./html.js";
import { ERROR, FAINT, frame, PRE, RULE } from "./style.js";
import { type Thumbnail, thumbnails } from "./thumbnails.js";
import { clipped, count, oneLine, plain } from "./words.js";

/** What is shown of a row of results; see `ResultRow` of the dataset room. */
export interface ShownRow {
  readonly key: string;
  readonly source: string;
  readonly page: number;
  readonly text: string | null;
  readonly markdown?: string | null;
  /** Why there is no text, in words. */
  readonly error: string | null;
  /** Of the recogniser in itself; percent. */
  readonly confidence?: number | null;
  readonly seconds?: number | null;
}

/** What is shown of a page; see `Page` of the sources room. */
export interface ShownPage {
  readonly key: string;
  readonly source: string;
  readonly page: number;
  readonly image: Uint8Array;
  readonly label?: { readonly [language: string]: readonly string[] };
}

/** Pixels of the page pictures: wide enough to see the layout, narrow enough for a dozen in a notebook. */
const RESULT_WIDTH = 420;
const SHEET_WIDTH = 180;

/** Characters of one page's text that a display holds; the whole is in the row. */
const TEXT_LIMIT = 20_000;

/** Recognised text for people; an error in words where there is none. */
function content(row: ShownRow): { text: string } | { error: string } {
  if (row.error !== null) return { error: oneLine(row.error, 1000) };
  const text = plain(row.text ?? row.markdown ?? "").trim();
  if (text === "") return { error: "Nothing was recognised on this page." };
  if (text.length <= TEXT_LIMIT) return { text };
  return {
    text: `${clipped(text, TEXT_LIMIT)}\n[${(text.length - TEXT_LIMIT).toLocaleString("en-US")} more characters in the row]`,
  };
}

function heading(row: ShownRow): string {
  return `${oneLine(row.source, 120)} · page ${row.page}`;
}

function remarks(row: ShownRow): string[] {
  const words = (row.text ?? row.markdown ?? "").match(/\S+/g)?.length ?? 0;
  return [
    ...(row.error === null ? [count(words, "word")] : []),
    ...(typeof row.confidence === "number" && row.error === null ? [`${Math.round(row.confidence)} % sure`] : []),
    ...(typeof row.seconds === "number" && row.seconds > 0 ? [`${row.seconds.toFixed(1)} s`] : []),
  ];
}

function picture(thumb: Thumbnail | undefined, alt: string, width: number): Markup {
  if (thumb === undefined || "missing" in thumb)
    return html`<div style="${FAINT};font-size:12px">${thumb?.missing ?? ""}</div>`;
  return html`<img src="${thumb.url}" alt="${alt}" style="width:${width}px;max-width:100%;border:${RULE};background:#ffffff">`;
}

function summary(rows: readonly ShownRow[], about: { total: number; complete: boolean }): string[] {
  const errors = rows.filter((r) => r.error !== null).length;
  return [
    rows.length === about.total
      ? count(about.total, "page")
      : `${count(rows.length, "page")} of ${about.total.toLocaleString("en-US")}; \`await results.show(from, to)\` shows others`,
    ...(errors > 0 ? [`${count(errors, "page")} in error`] : []),
    ...(about.complete ? [] : ["the job still runs: these are the pages done by now"]),
  ];
}

/**
 * Page image beside its text, page by page. `total` counts all rows, of which `shown` may be a part; `complete` is
 * false while the job runs. An image that is `undefined` is said to be missing.
 */
export async function resultsBundle(
  shown: readonly { readonly row: ShownRow; readonly image?: { readonly bytes: Uint8Array } | undefined }[],
  about: { total: number; complete: boolean },
): Promise<Bundle> {
  const pictures = await thumbnails(
    shown.map((s) => s.image?.bytes),
    RESULT_WIDTH,
  );
  const rows = shown.map((s) => s.row);
  const blocks = shown.map(({ row }, i) => {
    const got = content(row);
    const right =
      "text" in got
        ? html`<pre dir="auto" style="${PRE};max-height:520px">${got.text}</pre>`
        : html`<div style="${ERROR}">${got.error}</div>`;
    return html`<tr style="background:transparent;border-top:${RULE}"><td style="vertical-align:top;text-align:left;padding:10px 14px 10px 0;width:300px">${picture(pictures[i], heading(row), 300)}</td><td style="vertical-align:top;text-align:left;padding:10px 0"><div style="margin-bottom:4px"><b>${heading(row)}</b> <span style="${FAINT}">${remarks(row).map((r) => ` · ${r}`)}</span></div>${right}</td></tr>`;
  });
  const body = html`<div>${joined(summary(rows, about), " · ")}</div><table style="border-collapse:collapse;width:100%;margin-top:6px;font-size:13px"><tbody>${blocks}</tbody></table>`;
  return { "text/html": frame(body).text, "text/plain": `${summary(rows, about).join(" · ")}\n\n${resultsText(rows)}` };
}

/** The text of pages for a terminal, each under a line that names it. */
export function resultsText(rows: readonly ShownRow[]): string {
  if (rows.length === 0) return "No pages.";
  return rows
    .map((row) => {
      const got = content(row);
      return `── ${[heading(row), ...remarks(row)].join(" · ")} ──\n${"text" in got ? got.text : `[${got.error}]`}`;
    })
    .join("\n\n");
}

function label(page: ShownPage): string {
  const first = Object.values(page.label ?? {})[0]?.[0];
  return first === undefined ? `page ${page.page}` : oneLine(first, 60);
}

/** Pages as small pictures. `total` is of the whole source where it is known; `faults` could not be had. */
export async function contactSheetBundle(
  pages: readonly ShownPage[],
  about: { faults?: number; total?: number } = {},
): Promise<Bundle> {
  const pictures = await thumbnails(
    pages.map((p) => p.image),
    SHEET_WIDTH,
  );
  const figures = pages.map((page, i) => {
    const alt = `${oneLine(page.source, 120)}, ${label(page)}`;
    return html`<div title="${alt}" style="display:inline-block;vertical-align:top;width:${SHEET_WIDTH}px;margin:0 12px 14px 0">${picture(pictures[i], alt, SHEET_WIDTH)}<div style="font-size:12px">${label(page)}</div><div style="font-size:11px;${FAINT};overflow:hidden;white-space:nowrap">${oneLine(page.source, 40)}</div></div>`;
  });
  const faults = about.faults ?? 0;
  const line = joined(
    [
      about.total === undefined || about.total === pages.length
        ? count(pages.length, "page")
        : `the first ${pages.length} of ${count(about.total, "page")}`,
      ...(faults > 0
        ? [html`<span style="${ERROR}">${count(faults, "page or file", "pages or files")} could not be had</span>`]
        : []),
    ],
    " · ",
  );
  const text = `${contactSheetText(pages)}${faults > 0 ? `\n${count(faults, "page or file", "pages or files")} could not be had.` : ""}`;
  return {
    "text/html": frame(html`<div style="margin-bottom:8px">${line}</div><div>${figures}</div>`).text,
    "text/plain": text,
  };
}

/** The pages of a contact sheet for a terminal, one a line. */
export function contactSheetText(pages: readonly ShownPage[]): string {
  if (pages.length === 0) return "No pages.";
  return pages
    .map((p) => `${oneLine(p.source, 120)} · page ${p.page}${p.label === undefined ? "" : ` · ${label(p)}`}`)
    .join("\n");
}
