/** Tables as people keep them: CSV, TSV and Excel sheets, read into named columns. */
import { extname } from "node:path";
import { SourceError } from "../errors.js";
import { readText } from "./text-file.js";

/** A table: its column names, and each row that is not empty as texts by column. */
export interface Table {
  columns: string[];
  rows: Record<string, string>[];
  /** Of each row, its number as the sheet counts: from 1, with empty rows. */
  numbers: number[];
}

/** File name endings that {@link readTable} takes. */
export const TABLE_FILES: ReadonlySet<string> = new Set([".csv", ".tsv", ".xlsx"]);

/** What may stand between the cells of a row, the likeliest first. */
const DELIMITERS = [",", ";", "\t", "|"];
/** Rows by which the delimiter is found. */
const SAMPLE = 50;
/** Excel counts days from here, and keeps a time or a duration as one on this day. */
const EXCEL_BEGIN = Date.UTC(1899, 11, 30);
const DAY = 86_400_000;

/** Reads a table whose first row names the columns; of an Excel file the first sheet. Throws SourceError. */
export async function readTable(path: string): Promise<Table> {
  const kind = extname(path).toLowerCase();
  const cells = kind === ".xlsx" ? await excel(path) : await separated(path, kind === ".tsv");
  const filled = cells.map((row, i) => ({ row, number: i + 1 })).filter(({ row }) => row.some((cell) => cell !== ""));
  const [head, ...body] = filled;
  if (head === undefined) throw new SourceError(`${path} is empty.`, "The first row names the columns.");
  // Two columns of one name would hide one another.
  const columns = head.row.map((name, i) => {
    const plain = name === "" ? `column ${i + 1}` : name;
    return head.row.indexOf(name) === i ? plain : `${plain} (${i + 1})`;
  });
  return {
    columns,
    rows: body.map(({ row }) => Object.fromEntries(columns.map((name, i) => [name, row[i] ?? ""]))),
    numbers: body.map(({ number }) => number),
  };
}

async function separated(path: string, tabs: boolean): Promise<string[][]> {
  const { parse } = await import("csv-parse/sync");
  let text = await readText(path);
  // Excel's own way to say it, in a line that is no row.
  const said = /^sep=(.)(\r\n|\r|\n)/.exec(text);
  if (said !== null) text = text.slice(said[0].length);
  const read = (delimiter: string, to?: number) =>
    parse(text, {
      delimiter,
      relax_column_count: true,
      trim: true,
      ...(to === undefined ? {} : { to }),
    }) as string[][];
  try {
    const delimiter = said?.[1] ?? (tabs ? "\t" : likeliest(read));
    const rows = read(delimiter).map((row) => row.map(String));
    // The line that said so is one, too.
    return said === null ? rows : [[], ...rows];
  } catch (cause) {
    throw new SourceError(`${path} can't be read as a table: ${(cause as Error).message}.`, "Save it again as CSV.", {
      cause,
    });
  }
}

/** The delimiter with which most rows have as many cells as the first, and more than one. */
function likeliest(read: (delimiter: string, to: number) => string[][]): string {
  const fits = (delimiter: string) => {
    let rows: string[][];
    try {
      rows = read(delimiter, SAMPLE);
    } catch {
      return 0;
    }
    const cells = rows[0]?.length ?? 0;
    return cells < 2 ? 0 : rows.filter((row) => row.length === cells).length;
  };
  const counts = DELIMITERS.map(fits);
  return DELIMITERS[counts.indexOf(Math.max(...counts))] ?? ",";
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
  if (!(value instanceof Date)) return String(value).trim();
  // Excel keeps fractions of days, which come out a moment before the second.
  const since = Math.round((value.getTime() - EXCEL_BEGIN) / 1000) * 1000;
  // Nobody has a scan of 1899: this is a time, or a duration of up to a month.
  if (since >= 0 && since < 31 * DAY) {
    const [hours, minutes, seconds] = [since / 3_600_000, (since / 60_000) % 60, (since / 1000) % 60];
    return [hours, minutes, seconds].map((n) => String(Math.floor(n)).padStart(2, "0")).join(":");
  }
  const text = new Date(EXCEL_BEGIN + since).toISOString();
  return text.endsWith("T00:00:00.000Z") ? text.slice(0, 10) : text.slice(0, 19).replace("T", " ");
}
