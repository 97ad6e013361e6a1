/** How good results are: figures by page, comparison with other texts, and reports for people. */
export { type Comparison, compareRows, type PageComparison, type ReferencePage, readReference } from "./compare.js";
export { type PageQuality, type QualityOptions, qualityOf } from "./page.js";
export { comparisonReport, qualityReport } from "./report.js";
