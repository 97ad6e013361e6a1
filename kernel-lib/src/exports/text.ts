/** Text and Markdown. */
import { type ExportPage, oneLabel } from "./pages.js";
import { plainOf } from "./plain.js";

/** Plain text, a form feed between two pages as pdftotext has it; a page in error is empty. */
export function* textOf(pages: readonly ExportPage[]): Generator<string> {
  for (const [i, page] of pages.entries()) {
    const text = plainOf(page.row).replace(/\f/g, "").trimEnd();
    yield `${i === 0 ? "" : "\f"}${text}${text === "" ? "" : "\n"}`;
  }
}

/** Markdown, each page after a comment that says which it is; a page in error says so there. */
export function* markdownOf(pages: readonly ExportPage[]): Generator<string> {
  for (const [i, page] of pages.entries()) {
    const label = oneLabel(page.row.label);
    const error = page.row.error === null ? "" : `, in error: ${page.row.error}`;
    const about = `page ${page.row.page}${label === undefined ? "" : ` (${label})`}${error}`;
    const body = (page.row.markdown ?? page.row.text ?? "").trim();
    yield `${i === 0 ? "" : "\n"}<!-- ${comment(about)} -->\n${body === "" ? "" : `\n${body}\n`}`;
  }
}

/** Text that can't end the comment it stands in (HTML, 13.1.6). */
function comment(text: string): string {
  return text.replace(/\s+/g, " ").replace(/-{2,}|[<>]/g, (m) => (m.startsWith("-") ? "–" : " "));
}
