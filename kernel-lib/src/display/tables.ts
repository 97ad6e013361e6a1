/** A heading, tables and lines, once as text and once as HTML: what `cluster info` and an estimate are made of. */
import type { Bundle } from "./bundle.js";
import { html, type Part } from "./html.js";
import { FAINT, frame, RULE } from "./style.js";
import { textTable } from "./words.js";

/** One part of a report. */
export type Block =
  | { heading: string }
  /** Rows of cells; the first row is the head where `head` is set. */
  | { rows: readonly (readonly string[])[]; head?: boolean }
  | { line: string; faint?: boolean }
  /** Remarks, each with a mark before it. */
  | { notes: readonly string[] };

/** The report as text. All cells and lines must be free of control characters already. */
export function reportText(blocks: readonly Block[]): string {
  return blocks
    .map((block, i) => {
      if ("heading" in block) return `${i === 0 ? "" : "\n"}${block.heading}`;
      if ("line" in block) return block.line;
      if ("notes" in block) return block.notes.map((note) => `· ${note}`).join("\n");
      const [first = [], ...rest] = block.rows;
      return textTable(block.head ? [first.map((cell) => cell.toUpperCase()), ...rest] : block.rows);
    })
    .filter((text) => text !== "")
    .join("\n");
}

/** The report as a notebook shows it. */
export function reportBundle(blocks: readonly Block[]): Bundle {
  const cell = "padding:3px 14px 3px 0;text-align:left;vertical-align:top";
  const parts = blocks.map((block, i): Part => {
    if ("heading" in block)
      return html`<div style="margin-top:${i === 0 ? "0" : "10px"}"><b style="font-size:14px">${block.heading}</b></div>`;
    if ("line" in block) return html`<div style="${block.faint ? FAINT : ""}">${block.line}</div>`;
    if ("notes" in block)
      return html`<ul style="margin:4px 0 0 18px;padding:0">${block.notes.map((note) => html`<li>${note}</li>`)}</ul>`;
    const [first = [], ...rest] = block.rows;
    const head = block.head
      ? html`<thead><tr>${first.map((text) => html`<th style="${cell};${FAINT}">${text}</th>`)}</tr></thead>`
      : undefined;
    const body = (block.head ? rest : block.rows).map(
      (row) => html`<tr style="border-top:${RULE}">${row.map((text) => html`<td style="${cell}">${text}</td>`)}</tr>`,
    );
    return html`<table style="border-collapse:collapse;font-size:13px;margin-top:4px">${head}<tbody>${body}</tbody></table>`;
  });
  return { "text/html": frame(html`${parts}`).text, "text/plain": reportText(blocks) };
}
