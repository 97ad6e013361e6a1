/**
 * What a notebook shows of jobs, results and sources: pure functions from records to MIME bundles, and the way of a
 * bundle into the cell's output. Everything from outside is escaped, in html.ts, and freed of control characters.
 */
export type { Bundle } from "./bundle.js";
export { clusterBundle, clustersText, clusterText, type ListedCluster } from "./cluster.js";
export { estimateBundle, estimateText } from "./estimate.js";
export { dataUrl, escapeHtml } from "./html.js";
export { jobBundle, jobsBundle, jobsText, jobText } from "./job.js";
export { INSPECT, type InspectRequest, inKernel, inspectHook, type LiveDisplay, showInKernel } from "./kernel.js";
export {
  contactSheetBundle,
  contactSheetText,
  resultsBundle,
  resultsText,
  type ShownPage,
  type ShownRow,
} from "./pages.js";
export { bar, facts, progressBundle, progressText, share } from "./progress.js";
export {
  choiceKey,
  connectionsText,
  fieldLabel,
  howToAnswer,
  type LoginState,
  loginBundle,
  loginText,
  promptLines,
  promptTitle,
  timeLeft,
} from "./prompt.js";
export { shown } from "./shown.js";
export {
  bytes,
  cells,
  clipped,
  count,
  duration,
  localTime,
  oneLine,
  pace,
  plain,
  stateWords,
  textTable,
} from "./words.js";
