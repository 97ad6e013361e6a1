/** Tables as people keep them: CSV, TSV and Excel sheets, read into named columns. */
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { SourceError } from "../errors.js";

/** A table: its column names, and each row as texts by column. */
export interface Table {
  columns: string[];
  rows: Record<string, string>[];
}

/** File name endings that {@link readTable} takes. */
export const TABLE_FILES: ReadonlySet<string> = new Set([".csv", ".tsv", ".xlsx"]);

/** Reads a table whose first row names the columns; of an Excel file the first sheet. Throws SourceError. */
export async function readTable(path: string): Promise<Table> {
  const kind = extname(path).toLowerCase();
  const cells = kind === ".xlsx" ? await excel(path) : await separated(path, kind === ".tsv");
  const [head, ...body] = cells.filter((row) => row.some((cell) => cell !== ""));
  if (head === undefined) throw new SourceError(`${path} is empty.`, "The first row names the columns.");
  // Two columns of one name would hide one another.
  const columns = head.map((name, i) => {
    const plain = name === "" ? `column ${i + 1}` : name;
    return head.indexOf(name) === i ? plain : `${plain} (${i + 1})`;
  });
  return { columns, rows: body.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i] ?? ""]))) };
}

async function separated(path: string, tabs: boolean): Promise<string[][]> {
  const { parse } = await import("csv-parse/sync");
  const text = (await readFile(path, "utf8")).replace(/^\ufeff/, "");
  // Excel writes semicolons where the comma is the decimal sign.
  const first = text.slice(0, text.search(/[\r\n]|$/));
  const delimiter = tabs ? "\t" : first.includes(",") || !first.includes(";") ? "," : ";";
  try {
    return (parse(text, { delimiter, relax_column_count: true, skip_empty_lines: true, trim: true }) as string[][]).map(
      (row) => row.map(String),
    );
  } catch (cause) {
    throw new SourceError(`${path} can't be read as a table: ${(cause as Error).message}.`, "Save it again as CSV.", {
      cause,
    });
  }
}

async function excel(path: string): Promise<string[][]> {
  const { readSheet } = await import("read-excel-file/node");
  try {
    const rows = (await readSheet(path)) as readonly (readonly unknown[])[];
    return rows.map((row) => row.map(cellText));
  } catch (cause) {
    throw new SourceError(`${path} can't be read as an Excel file.`, "Save it again as .xlsx, or as CSV.", { cause });
  }
}

function cellText(value: unknown): string {
  if (value === null || value === undefined) return "";
  return value instanceof Date ? value.toISOString().slice(0, 10) : String(value).trim();
}
