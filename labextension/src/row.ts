/** One job in the panel's list. */
import type { JobRecord } from "yale-jobs/protocol";
import { h, setAttribute, setText, show } from "./dom";
import { oneLine, share, tone, type Words } from "./words";

/** Height of a row in pixels; the style sheet lays it out in this height. */
export const ROW_HEIGHT = 54;

interface Parts {
  name: HTMLElement;
  state: HTMLElement;
  facts: HTMLElement;
  bar: HTMLElement;
  fill: HTMLElement;
}

const made = new WeakMap<HTMLElement, Parts>();

/** Makes the elements of an empty row. */
export function createRow(row: HTMLElement): void {
  const fill = h("div", { class: "jp-yj-bar-fill" });
  const parts: Parts = {
    name: h("span", { class: "jp-yj-row-name" }),
    state: h("span", { class: "jp-yj-state" }),
    facts: h("div", { class: "jp-yj-row-facts" }),
    bar: h("div", { class: "jp-yj-bar", "aria-hidden": "true" }, fill),
    fill,
  };
  row.append(h("div", { class: "jp-yj-row-top" }, parts.name, parts.state), parts.facts, parts.bar);
  made.set(row, parts);
}

/** Shows a job in a row, changing only what differs. */
export function renderRow(row: HTMLElement, job: JobRecord | undefined, words: Words, now: number = Date.now()): void {
  const parts = made.get(row);
  if (parts === undefined || job === undefined) return;
  const { name, state, facts, bar, fill } = parts;
  setText(name, oneLine(job.spec.name, 128));
  setText(state, words.state(job.state));
  setAttribute(state, "data-tone", tone(job.state));
  // What may be cut off at the end of a narrow panel stands last.
  const wrong = tone(job.state) === "bad" && job.error !== undefined ? [oneLine(job.error.what, 200)] : [];
  const where = job.spec.cluster === "local" ? [] : [words.cluster(job.spec.cluster)];
  const text = [...wrong, ...words.facts(job, now), ...where, words.day(job.createdAt, now)].filter((f) => f !== "");
  setText(facts, text.join(" · "));
  setAttribute(facts, "title", text.join("\n"));
  const part = share(job);
  const busy = tone(job.state) === "busy";
  show(bar, busy);
  if (busy) fill.style.transform = `scaleX(${(part ?? 0).toFixed(3)})`;
}
