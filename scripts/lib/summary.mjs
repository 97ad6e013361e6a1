// What the tests came to, from vitest's JSON report.
//   node scripts/lib/summary.mjs CODE    prints "N passed, N failed" and exits; CODE is how the tests ended
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { made } from "./stamp.mjs";

/** Where `npm test` lets vitest write its report. */
export const REPORT = join(made, "test-report.json");

/**
 * Tests passed and failed, as a line and as an exit code. A file that failed before any of its tests could counts as
 * one failure; so does a run that ended with another `code` than 0 although all that is in the report passed: format,
 * lint or types are at fault, or it never got to the tests, or was cut off.
 */
export function summary(code, report = REPORT) {
  const { numPassedTests: passed, numFailedTests, testResults } = read(report);
  const broken = testResults.filter(
    (f) => f.status === "failed" && !f.assertionResults.some((t) => t.status === "failed"),
  );
  const failed = numFailedTests + broken.length;
  const counted = failed === 0 && (code !== 0 || passed === 0) ? 1 : failed;
  return { line: `${passed} passed, ${counted} failed`, code: counted === 0 ? 0 : 1 };
}

/** Names of the tests that passed only when they were tried again, with what went wrong before: each is to be looked into. */
export function secondTries(report = REPORT) {
  return read(report)
    .testResults.flatMap((f) => f.assertionResults)
    .filter((t) => t.status === "passed" && t.failureMessages.length > 0)
    .map((t) => `${t.fullName}: ${t.failureMessages[0].split("\n")[0]}`);
}

function read(report) {
  try {
    if (existsSync(report)) return JSON.parse(readFileSync(report, "utf8"));
  } catch {
    // Cut off in the middle: as if there were none.
  }
  return { numPassedTests: 0, numFailedTests: 0, testResults: [] };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const result = summary(Number(process.argv[2] ?? 0));
  console.log(result.line);
  process.exitCode = result.code;
}
