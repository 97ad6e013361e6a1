/** What a job will take, as text and as a notebook shows it. Pure. */
import type { Estimate } from "../protocol.js";
import type { Bundle } from "./bundle.js";
import { type Block, reportBundle, reportText } from "./tables.js";
import { duration, localTime, oneLine, pace } from "./words.js";

/** An estimate on a terminal. */
export function estimateText(estimate: Estimate): string {
  return reportText(blocks(estimate));
}

/** The same in a notebook. */
export function estimateBundle(estimate: Estimate): Bundle {
  return reportBundle(blocks(estimate));
}

function blocks(e: Estimate): Block[] {
  const rows: string[][] = [["Pages", e.pages === undefined ? "not known" : e.pages.toLocaleString("en-US")]];
  rows.push([
    "Speed",
    e.pagesPerSecond === undefined
      ? "not known"
      : `${pace(e.pagesPerSecond)} a task, by ${oneLine(e.basis ?? "", 200)}`,
  ]);
  if (e.seconds !== undefined) rows.push(["Running", `about ${duration(e.seconds)}`]);
  if (e.gpuHours !== undefined && e.gpuHours > 0) rows.push(["GPU hours", hours(e.gpuHours)]);
  if (e.expectedStart !== undefined) rows.push(["Start", localTime(e.expectedStart)]);
  if (e.refusal !== undefined) rows.push(["Start", `never: the scheduler says: ${oneLine(e.refusal, 400)}`]);
  const hf = e.huggingFace;
  if (hf !== undefined)
    rows.push([
      "Hugging Face",
      `${hf.dollars < 0.01 ? "under $0.01" : `$${hf.dollars.toFixed(2)}`} for ${hours(hf.hours)} h on ${oneLine(hf.flavor, 40)}, by the list of ${oneLine(hf.checked, 20)}`,
    ]);
  return [
    { heading: "Estimate" },
    { rows },
    ...(e.reliability === undefined ? [] : [{ line: oneLine(e.reliability, 600), faint: true }]),
    ...(e.notes.length === 0 ? [] : [{ notes: e.notes.map((note) => oneLine(note, 600)) }]),
  ];
}

function hours(n: number): string {
  return n < 0.095 ? n.toFixed(2) : n < 9.95 ? n.toFixed(1) : Math.round(n).toLocaleString("en-US");
}
