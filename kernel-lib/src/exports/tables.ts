/** One row a page: JSON Lines, CSV and Excel, each with the metadata of the source beside the text. */
import type { Json } from "../protocol.js";
import { type ExportPage, oneLabel } from "./pages.js";
import { plainOf } from "./plain.js";
import { withoutControls } from "./xml.js";

/** JSON Lines: everything that is known, layout and provenance as they are. */
export function* jsonlOf(pages: readonly ExportPage[]): Generator<string> {
  for (const page of pages) yield `${JSON.stringify({ ...page.row, metadata: page.metadata })}\n`;
}

type Cell = string | number | null;

/** What a table tells of a page; further columns are the metadata that are one value. */
function cellsOf({ row, metadata }: ExportPage): Map<string, Cell> {
  const text = row.text === null ? null : plainOf(row);
  const cells = new Map<string, Cell>([
    ["source", row.source],
    ["page", row.page],
    ["label", oneLabel(row.label) ?? null],
    ["text", text],
    ["markdown", row.markdown === text ? null : row.markdown],
    ["confidence", row.confidence],
    ["error", row.error],
    ["seconds", row.seconds === null ? null : Math.round(row.seconds * 1000) / 1000],
    ["width", row.width],
    ["height", row.height],
    ["key", row.key],
  ]);
  for (const [name, value] of Object.entries(metadata)) {
    const cell = cellOf(value);
    if (cell !== undefined) cells.set(cells.has(name) ? `source_${name}` : name, cell);
  }
  return cells;
}

function cellOf(value: Json): Cell | undefined {
  if (typeof value === "boolean") return String(value);
  return typeof value === "string" || typeof value === "number" ? value : undefined;
}

/** The cells of each page, and the columns that any of them has. */
function tableOf(pages: readonly ExportPage[]): { columns: string[]; rows: Map<string, Cell>[] } {
  const rows = pages.map(cellsOf);
  return { columns: [...new Set(rows.flatMap((cells) => [...cells.keys()]))], rows };
}

/**
 * CSV by RFC 4180. Cells that a spreadsheet would take for a formula have an apostrophe before them, as OWASP's page on
 * CSV injection advises; the other formats have the text as it is.
 */
export async function* csvOf(pages: readonly ExportPage[]): AsyncGenerator<string> {
  const { stringify } = await import("csv-stringify/sync");
  const { columns, rows } = tableOf(pages);
  // Line breaks inside a cell are those of the text, and not the file's own.
  const written = { escape_formulas: true, record_delimiter: "\r\n", quoted_match: /[\r\n]/ };
  yield stringify([columns], written);
  for (const cells of rows) yield stringify([columns.map((c) => cells.get(c) ?? "")], written);
}

/** Characters that a cell of Excel holds at most. */
const CELL = 32_767;

/** An Excel file with one sheet. Text that is longer than a cell can be is cut, and says so. */
export async function xlsxOf(pages: readonly ExportPage[]): Promise<Uint8Array> {
  const { default: write } = await import("write-excel-file/node");
  const { columns, rows } = tableOf(pages);
  const cut = " … (cut: a cell of Excel holds no more)";
  const head = columns.map((value) => ({ value, fontWeight: "bold" as const }));
  const body = rows.map((cells) =>
    columns.map((name) => {
      const value = cells.get(name) ?? null;
      if (value === null) return null;
      if (typeof value === "number") return { value, type: Number };
      // Control characters make a file that Excel calls damaged.
      const text = withoutControls(value);
      return {
        value: text.length > CELL ? text.slice(0, CELL - cut.length) + cut : text,
        type: String,
        alignVertical: "top" as const,
      };
    }),
  );
  const sheet = { columns: columns.map((c) => ({ width: c === "text" ? 80 : 18 })), stickyRowsCount: 1 };
  return write([head, ...body], sheet).toBuffer();
}
