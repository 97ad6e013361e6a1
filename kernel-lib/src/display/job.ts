/** A job as a card and as a line, and a list of jobs as a table. Pure functions of the record. */
import { isEnd, JOB_MIME, type JobRecord } from "../protocol.js";
import type { Bundle } from "./bundle.js";
import { html, joined, type Markup, type Part } from "./html.js";
import { barHtml, facts } from "./progress.js";
import { chip, ERROR, FAINT, frame, PRE, RULE, stateColour } from "./style.js";
import { count, duration, localTime, oneLine, plain, secondsBetween, stateWords, textTable } from "./words.js";

/** Lines of the log, and faults, that a card shows; all of them are one command away. */
const LOG_LINES = 6;
const FAULTS = 5;

/** Seconds after which a running job's silence is said: several times the interval at which schedulers are asked. */
const STALE = 120;

/** One line: `Job 7k3m9d0x2q (letters): running, 34 of 60 pages done, 1.2 pages/s, 22 s left`. */
export function jobText(record: JobRecord, now: number = Date.now()): string {
  const reason = trouble(record)?.what;
  const parts = [stateWords(record.state), ...facts(record, now), ...(reason === undefined ? [] : [reason])];
  return `Job ${oneLine(record.id, 40)} (${oneLine(record.spec.name)}): ${parts.map((p) => oneLine(p, 400)).join(", ")}`;
}

/**
 * What a cell that ends in a job shows: the record for our renderer, a card, and text. `waits` says what its cluster's
 * login waits for, where it does.
 */
export function jobBundle(record: JobRecord, now: number = Date.now(), waits?: string): Bundle {
  return { [JOB_MIME]: record, "text/html": card(record, now, waits).text, "text/plain": cardText(record, now, waits) };
}

/** What it is that keeps a job from its end, or ended it. */
function trouble(record: JobRecord): { what: string; fix: string } | undefined {
  if (record.error !== undefined) return record.error;
  return record.reason === undefined || record.reason === "" ? undefined : { what: record.reason, fix: "" };
}

/** Where it runs and what it asked for. */
function place(record: JobRecord): string[] {
  const { spec, schedulerId } = record;
  const r = spec.resources;
  return [
    oneLine(spec.cluster === "local" ? "this machine" : spec.cluster, 60),
    ...(schedulerId === undefined || spec.cluster === "local" ? [] : [`job ${oneLine(schedulerId, 40)}`]),
    ...(r.partition === undefined ? [] : [`partition ${oneLine(r.partition, 40)}`]),
    ...(r.gpus === undefined || r.gpus === "0" ? [] : [`GPU ${oneLine(r.gpus, 40)}`]),
    ...(r.cpus === undefined ? [] : [count(r.cpus, "CPU")]),
    ...(r.memory === undefined ? [] : [oneLine(r.memory, 20)]),
    ...(r.time === undefined ? [] : [`at most ${oneLine(r.time, 20)}`]),
  ];
}

/** What it works on. */
function work(record: JobRecord): string {
  const { spec } = record;
  const [first, ...more] = spec.sources;
  const what = spec.kind === "run" ? oneLine(spec.script?.name ?? "script") : oneLine(spec.runner ?? "OCR", 60);
  const from = first?.location ?? spec.datasetPath;
  if (from === undefined) return what;
  return `${what} on ${oneLine(from, 160)}${more.length === 0 ? "" : ` and ${count(more.length, "more source", "more sources")}`}`;
}

/** Since when, how long, and how old the news are. */
function times(record: JobRecord, now: number): string[] {
  const parts: string[] = [];
  const began = localTime(record.createdAt);
  if (began !== "") parts.push(`submitted ${began}`);
  if (!isEnd(record.state)) {
    const running = secondsBetween(record.startedAt, undefined, now);
    if (running !== undefined && record.state === "running") parts.push(`running for ${duration(running)}`);
    const silent = secondsBetween(record.heardAt, undefined, now);
    if (silent !== undefined && silent > STALE) parts.push(`last heard of ${duration(silent)} ago`);
  }
  if (record.attempt > 1) parts.push(`attempt ${record.attempt}`);
  return parts;
}

/** The end of the log: what a running job says, what a script printed, why something failed. A recognised book needs none. */
function logLines(record: JobRecord): string[] {
  if (record.state === "completed" && record.spec.kind === "ocr") return [];
  return record.logTail
    .flatMap((line) => plain(line).split("\n"))
    .map((line) => line.trimEnd())
    .filter((line) => line !== "")
    .slice(-LOG_LINES);
}

function faultWords(record: JobRecord): string[] {
  const shown = record.faults.slice(0, FAULTS).map((f) => {
    const where = `${oneLine(f.source || f.key, 80)}${f.page === undefined ? "" : `, page ${f.page}`}`;
    return `${where}: ${oneLine(f.reason, 300)}${f.fix === undefined || f.fix === "" ? "" : ` → ${oneLine(f.fix, 300)}`}`;
  });
  const more = record.faultCount - shown.length;
  return more > 0 && shown.length > 0 ? [...shown, `and ${more.toLocaleString("en-US")} more`] : shown;
}

/** What can be done with it now, as code to type. */
function next(record: JobRecord): string | undefined {
  if (record.state === "completed")
    return record.spec.kind === "ocr" ? "await job.results()" : "await job.download(folder)";
  return undefined;
}

function card(record: JobRecord, now: number, waits?: string): Markup {
  const error = trouble(record);
  const faults = faultWords(record);
  const log = logLines(record);
  const todo = next(record);
  const small = `font-size:12px;${FAINT}`;
  const rows: Part[] = [
    html`<div><b style="font-size:14px">${oneLine(record.spec.name)}</b> &nbsp;${chip(stateWords(record.state), stateColour(record.state))} &nbsp;<code style="${FAINT}">${oneLine(record.id, 40)}</code></div>`,
    html`<div style="${small}">${work(record)}</div>`,
    html`<div style="${small};margin-bottom:6px">${joined([...place(record), ...times(record, now)], " · ")}</div>`,
    barHtml(record),
    html`<div style="margin-top:4px">${joined(facts(record, now), " · ")}</div>`,
  ];
  if (waits !== undefined) rows.push(html`<div style="margin-top:6px;color:#b8720a">${waits}</div>`);
  if (error !== undefined) {
    const fix = error.fix === "" ? undefined : html`<br>→ ${oneLine(error.fix, 600)}`;
    // A reason to wait, such as SLURM's "Priority", is no error.
    const look = record.error !== undefined || isEnd(record.state) ? ERROR : FAINT;
    rows.push(
      html`<div style="margin-top:6px;${record.state === "completed" ? "" : look}">${oneLine(error.what, 1000)}${fix}</div>`,
    );
  }
  if (record.faultCount > 0)
    rows.push(
      html`<div style="margin-top:6px"><span style="${ERROR}">${count(record.faultCount, "page or file", "pages or files")} could not be had:</span><ul style="margin:2px 0 0 18px;padding:0">${faults.map((f) => html`<li>${f}</li>`)}</ul></div>`,
    );
  if (log.length > 0) rows.push(html`<pre style="${PRE};margin-top:8px;max-height:140px">${log.join("\n")}</pre>`);
  if (record.pushedTo !== undefined)
    rows.push(html`<div style="margin-top:6px">Pushed to <code>${oneLine(record.pushedTo, 400)}</code></div>`);
  if (record.resultsDir !== undefined)
    rows.push(html`<div style="margin-top:6px">Results in <code>${oneLine(record.resultsDir, 400)}</code></div>`);
  if (todo !== undefined) rows.push(html`<div style="margin-top:6px;${small}">next: <code>${todo}</code></div>`);
  const box = `border:${RULE};border-left:4px solid ${stateColour(record.state)};border-radius:6px;padding:10px 14px;max-width:760px`;
  return frame(html`<div style="${box}">${rows}</div>`);
}

function cardText(record: JobRecord, now: number, waits?: string): string {
  const faults = faultWords(record);
  const error = trouble(record);
  const lines = [
    jobText(record, now),
    `  ${work(record)}`,
    `  ${[...place(record), ...times(record, now)].join(" · ")}`,
    ...(error === undefined || error.fix === "" ? [] : [`  → ${oneLine(error.fix, 600)}`]),
    ...(waits === undefined ? [] : [`  ${waits}`]),
    ...(record.faultCount > 0
      ? [`  ${count(record.faultCount, "page or file", "pages or files")} could not be had:`]
      : []),
    ...faults.map((f) => `    ${f}`),
    ...logLines(record).map((l) => `  | ${l}`),
    ...(record.pushedTo === undefined ? [] : [`  Pushed to ${oneLine(record.pushedTo, 400)}`]),
    ...(record.resultsDir === undefined ? [] : [`  Results in ${oneLine(record.resultsDir, 400)}`]),
  ];
  return lines.join("\n");
}

const HEADINGS = ["id", "name", "state", "progress", "cluster", "submitted"] as const;

function row(record: JobRecord, now: number): string[] {
  return [
    oneLine(record.id, 40),
    oneLine(record.spec.name, 40),
    stateWords(record.state),
    facts(record, now).join(" · "),
    oneLine(record.spec.cluster, 40),
    localTime(record.createdAt),
  ];
}

/** A table of jobs for a terminal. */
export function jobsText(records: readonly JobRecord[], now: number = Date.now()): string {
  if (records.length === 0) return "No jobs.";
  return textTable([HEADINGS.map((h) => h.toUpperCase()), ...records.map((r) => row(r, now))]);
}

/** A table of jobs for a notebook. */
export function jobsBundle(records: readonly JobRecord[], now: number = Date.now()): Bundle {
  const text = jobsText(records, now);
  if (records.length === 0)
    return { "text/html": frame(html`<div style="${FAINT}">${text}</div>`).text, "text/plain": text };
  const cell = "padding:3px 14px 3px 0;text-align:left;vertical-align:top";
  const body = records.map((r) => {
    const columns = row(r, now).map((text, i) => {
      if (i === 0) return html`<td style="${cell}"><code>${text}</code></td>`;
      if (i === 2) return html`<td style="${cell}">${chip(text, stateColour(r.state))}</td>`;
      return html`<td style="${cell}">${text}</td>`;
    });
    return html`<tr style="border-top:${RULE}">${columns}</tr>`;
  });
  const head = HEADINGS.map((h) => html`<th style="${cell};${FAINT}">${h}</th>`);
  const table = html`<table style="border-collapse:collapse;font-size:13px"><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`;
  return { "text/html": frame(table).text, "text/plain": text };
}
