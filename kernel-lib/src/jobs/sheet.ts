/**
 * Many jobs from a table, one a row: a column `source` or `script`, and beside it any option of a job by its name. All
 * rows are checked before any is submitted, so that a mistake in the last row does not leave half of them running.
 */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { readTable } from "../sources/table.js";
import { nearest } from "../text.js";
import { JOB_KEYS, OCR_KEYS, type OcrOptions, RUN_KEYS, type RunOptions } from "./spec.js";

/** What one row asks for. */
export interface SheetRow {
  /** As the sheet counts: the first row below the heads is 2. */
  row: number;
  source?: string;
  script?: string;
  options: OcrOptions & RunOptions;
}

/** Options whose cells are numbers, and those whose cells are lists, separated by spaces or commas. */
const NUMBERS = ["cpus", "nodes", "maxSamples", "shards", "retries", "dpi", "batchSize", "maxModelLen", "maxTokens"];
const LISTS = ["modules", "after", "args"];
/** Options whose cells are lists of files: in their names there are spaces. */
const FILES = ["data"];
/** Options whose cells say yes or no. */
const SWITCHES = ["startEarly"];
/** Options that no cell can hold. */
const UNFIT = ["extra", "mail", "variables", "labels", "options"];
const LABEL = /^label[:.]\s*(.+)$/i;

/** Option of a column's head in any spelling: `Max samples`, `max-samples` and `maxSamples` are one. */
function optionOf(column: string, allowed: readonly string[]): string | undefined {
  const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, "");
  return allowed.find((name) => plain(name) === plain(column));
}

/**
 * Reads a CSV, TSV or Excel file. Sources and scripts are looked for beside the sheet first. A column `label:NAME` is a
 * label of the job. Throws UsageError for a column that is no option, and for a row without source and script.
 */
export async function readSheet(path: string): Promise<SheetRow[]> {
  const { columns, rows, numbers } = await readTable(resolve(path));
  const allowed = ["source", "script", ...new Set([...JOB_KEYS, ...OCR_KEYS, ...RUN_KEYS])].filter(
    (name) => !UNFIT.includes(name),
  );
  const heads = columns.map((column) => {
    const label = LABEL.exec(column)?.[1];
    const option = label === undefined ? optionOf(column, allowed) : undefined;
    if (label === undefined && option === undefined) {
      const near = nearest(column, allowed);
      throw new UsageError(
        `${path}: the column ${JSON.stringify(column)} is no option of a job${near === undefined ? "" : ` (did you mean "${near}"?)`}.`,
        `Write it as "label:${column}" to keep it as a label. Options: ${allowed.join(", ")}.`,
      );
    }
    return { column, option, label };
  });
  for (const [i, { column, option }] of heads.entries()) {
    const first = heads.findIndex((head) => head.option === option);
    if (option !== undefined && first < i)
      throw new UsageError(
        `${path}: the columns ${JSON.stringify(heads[first]?.column)} and ${JSON.stringify(column)} are one option (${option}).`,
        "Keep one of the two.",
      );
  }
  const folder = dirname(resolve(path));
  const beside = (value: string) => (existsSync(resolve(folder, value)) ? resolve(folder, value) : value);
  return rows.map((cells, i) => {
    const row = numbers[i] ?? 0;
    const options: Record<string, unknown> = {};
    const labels: Record<string, string> = {};
    let source: string | undefined;
    let script: string | undefined;
    for (const { column, option, label } of heads) {
      const value = cells[column] ?? "";
      if (value === "") continue;
      if (label !== undefined) labels[label] = value;
      else if (option === "source") source = beside(value);
      else if (option === "script") script = beside(value);
      else if (option !== undefined && FILES.includes(option)) options[option] = files(value, beside);
      else if (option === "output") options.output = resolve(folder, value);
      else if (option !== undefined) options[option] = cell(option, value);
    }
    if (Object.keys(labels).length > 0) options.labels = labels;
    if ((source === undefined) === (script === undefined) && options.datasetPath === undefined)
      throw new UsageError(
        `${path}, row ${row}: it has ${source === undefined ? "neither a source nor a script" : "a source and a script"}.`,
        "Fill in one of the two columns; pages for a script stand in the column data.",
      );
    return {
      row,
      options,
      ...(source === undefined ? {} : { source }),
      ...(script === undefined ? {} : { script }),
    };
  });
}

/** One file whose name has a comma, or several between commas or line ends. */
function files(value: string, beside: (value: string) => string): string[] {
  if (beside(value) !== value) return [beside(value)];
  return value
    .split(/[,\n\r]+/)
    .map((name) => name.trim())
    .filter((name) => name !== "")
    .map(beside);
}

/** A number stays text where it is none, so that the refusal shows what was written. */
function cell(option: string, value: string): unknown {
  if (NUMBERS.includes(option)) return /^\d+$/.test(value) ? Number(value) : value;
  if (SWITCHES.includes(option)) {
    if (/^(true|yes|1)$/i.test(value)) return true;
    return /^(false|no|0)$/i.test(value) ? false : value;
  }
  if (LISTS.includes(option)) return value.split(/[\s,]+/).filter((word) => word !== "");
  return value;
}
