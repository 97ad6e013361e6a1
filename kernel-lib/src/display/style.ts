/**
 * The look of our outputs. Styles are inline, since a notebook keeps nothing else, and use JupyterLab's theme variables
 * with fallbacks that read well on white and on black (nbconvert, VS Code). JupyterLab's sanitizer drops flex, grid and
 * variables from notebooks that are not trusted yet: the layout must hold without them.
 */
import type { JobState } from "../protocol.js";
import { html, type Markup } from "./html.js";

/** Line between parts, visible in light and dark. */
export const RULE = "1px solid rgba(128,128,128,0.35)";
/** Text that stands back. */
export const FAINT = "opacity:0.7";
/** Track of a progress bar. */
export const TRACK = "background:rgba(128,128,128,0.25);height:8px;border-radius:4px;overflow:hidden;max-width:640px";
/** Foreign text as it is: logs, recognised text. Long lines wrap, long texts scroll. */
export const PRE =
  "margin:0;padding:8px 10px;background:rgba(128,128,128,0.1);border-radius:4px;white-space:pre-wrap;overflow-wrap:anywhere;overflow:auto;max-height:420px;font-size:12px;line-height:1.45;color:inherit";
/** Text of an error. */
export const ERROR = "color:var(--jp-error-color1, #d0392b)";

/** Colours that keep a contrast of 3:1 or more with white and with JupyterLab's dark grey. */
const COLOURS: Partial<Record<JobState, string>> = {
  running: "#2f7fd6",
  completing: "#2f7fd6",
  completed: "#2e9555",
  failed: "#d0392b",
  timeout: "#d0392b",
  out_of_memory: "#d0392b",
  node_fail: "#d0392b",
  lost: "#d0392b",
  preempted: "#b8720a",
  unknown: "#b8720a",
};

/** Colour of a state; grey for those in which nothing is decided. */
export function stateColour(state: JobState): string {
  return COLOURS[state] ?? "#808080";
}

/** The box around an output. */
export function frame(body: Markup): Markup {
  return html`<div style="font-family:var(--jp-ui-font-family, sans-serif);font-size:13px;line-height:1.5;color:inherit;padding:2px 0">${body}</div>`;
}

/** A small label on the colour of a state. */
export function chip(text: string, colour: string): Markup {
  return html`<span style="background:${colour};color:#ffffff;border-radius:9px;padding:1px 9px;font-size:12px">${text}</span>`;
}
