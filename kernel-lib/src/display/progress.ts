/** How far a job is, in words, as a bar of characters, and as a bar in HTML. */
import { isEnd, type JobRecord } from "../protocol.js";
import type { Bundle } from "./bundle.js";
import { html, joined, type Markup } from "./html.js";
import { frame, stateColour, TRACK } from "./style.js";
import { bytes, count, duration, oneLine, pace, secondsBetween, stateWords } from "./words.js";

/** What is being counted now: pages prepared, bytes uploaded, or pages done. */
export interface Stage {
  done: number;
  /** Absent where nobody can tell yet. */
  total?: number;
  /** Such as `34 of 60 pages done`. */
  words: string;
}

/** The stage that a job's state is in. */
export function stage(record: JobRecord): Stage {
  const p = record.progress;
  if (record.state === "preparing") return staged("pages prepared", p.prepared, p.preparedTotal);
  if (record.state === "uploading" && p.uploadedBytes !== undefined) {
    const total = p.uploadTotalBytes;
    const words = `${bytes(p.uploadedBytes)}${total === undefined ? "" : ` of ${bytes(total)}`} uploaded`;
    return { done: p.uploadedBytes, ...(total === undefined ? {} : { total }), words };
  }
  return staged("pages done", p.done, p.total ?? record.dataset?.pages);
}

function staged(what: string, done: number, total: number | undefined): Stage {
  const n = done.toLocaleString("en-US");
  if (total === undefined) return { done, words: `${n} ${what}` };
  return { done, total, words: `${n} of ${total.toLocaleString("en-US")} ${what}` };
}

/** Share that is done, 0 to 1; undefined where the total is not known. */
export function share(record: JobRecord): number | undefined {
  if (record.state === "completed") return 1;
  const { done, total } = stage(record);
  return total === undefined || total <= 0 ? undefined : Math.min(1, done / total);
}

/** True where the pages of a job are counted: a script of the user's own may never report any. */
function countsPages(record: JobRecord): boolean {
  const p = record.progress;
  return record.spec.kind === "ocr" || p.done > 0 || p.total !== undefined || record.state === "preparing";
}

/** The facts of the moment, each a few words: pages, faults, pace, time left, what the runner says. */
export function facts(record: JobRecord, now: number = Date.now()): string[] {
  const p = record.progress;
  const parts: string[] = [];
  const { words, done, total } = stage(record);
  if (countsPages(record) || record.state === "uploading") parts.push(words);
  if (p.failed > 0) parts.push(`${count(p.failed, "page")} in error`);
  if (record.state === "running") {
    if (p.rate !== undefined && p.rate > 0) parts.push(pace(p.rate));
    if (p.etaSeconds !== undefined && (total === undefined || done < total))
      parts.push(`${duration(p.etaSeconds)} left`);
    if (p.message !== undefined && p.message !== "") parts.push(oneLine(p.message, 100));
  }
  if (isEnd(record.state)) {
    const took = secondsBetween(record.startedAt, record.endedAt, now);
    if (took !== undefined) parts.push(`took ${duration(took)}`);
  }
  return parts;
}

/** Eighths of a cell, so that a bar of characters moves smoothly. */
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** A bar of exactly `width` cells. `ratio` undefined: an empty track. */
export function bar(ratio: number | undefined, width: number): string {
  const eighths = Math.round((ratio ?? 0) * width * 8);
  const full = Math.floor(eighths / 8);
  const filled = "█".repeat(full) + (EIGHTHS[eighths % 8] ?? "");
  return filled + "░".repeat(width - full - (eighths % 8 > 0 ? 1 : 0));
}

/**
 * One line: state, bar, facts. `width` is that of the terminal in cells; the bar takes what the words leave, between 10
 * and 40, and none where there is nothing to measure.
 */
export function progressText(record: JobRecord, width = 100, now: number = Date.now()): string {
  const state = stateWords(record.state).padEnd(9);
  const words = facts(record, now).join(" · ");
  const ratio = share(record);
  const room = Math.min(40, width - state.length - words.length - 10);
  const middle =
    ratio === undefined || room < 10 ? "" : `${bar(ratio, room)} ${`${Math.floor(ratio * 100)}`.padStart(3)} %  `;
  return oneLine(`${state} ${middle}${words}`, Math.max(20, width));
}

/** The bar as HTML; a job whose end can't be told shows an empty track. */
export function barHtml(record: JobRecord): Markup {
  const percent = (share(record) ?? 0) * 100;
  const fill = `background:${stateColour(record.state)};width:${percent.toFixed(1)}%;height:8px;border-radius:4px`;
  return html`<div style="${TRACK}"><div style="${fill}"></div></div>`;
}

/** What `await job.wait()` shows: one bar and one line, and one more where its cluster waits for a login. */
export function progressBundle(record: JobRecord, now: number = Date.now(), waits?: string): Bundle {
  const words = [stateWords(record.state), ...facts(record, now)];
  const hint = waits === undefined ? undefined : html`<div style="color:#b8720a">${waits}</div>`;
  const body = html`${barHtml(record)}<div style="margin-top:4px">${joined(words, " · ")}</div>${hint}`;
  const text = progressText(record, 100, now);
  return { "text/html": frame(body).text, "text/plain": waits === undefined ? text : `${text}\n  ${waits}` };
}
