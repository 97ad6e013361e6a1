// Counts tests from vitest's JSON reports.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The reports of a folder, one a project. A report that is no JSON was cut off: it counts as a failure. */
export function readReports(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => {
      try {
        return JSON.parse(readFileSync(join(folder, name), "utf8"));
      } catch {
        return { numPassedTests: 0, numFailedTests: 1, testResults: [] };
      }
    });
}

/** How many tests passed and failed. A file that failed before any of its tests could is one failure. */
export function tally(reports) {
  let passed = 0;
  let failed = 0;
  for (const report of reports) {
    passed += report.numPassedTests;
    failed += report.numFailedTests;
    for (const file of report.testResults)
      if (file.status === "failed" && !file.assertionResults.some((t) => t.status === "failed")) failed += 1;
  }
  return { passed, failed };
}
