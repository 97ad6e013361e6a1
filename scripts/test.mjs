// The whole test: set-up, build, format and lint, types, and every project of vitest.config.ts, one after another.
//   npm test                      everything
//   npm test -- unit integration  only these projects
// The last line is "N passed, N failed"; the exit code is 0 only if something ran and nothing failed.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { installMissing, TEST_PACKAGES } from "./lib/debian.mjs";
import { made, root } from "./lib/stamp.mjs";
import { attached, main, SetupError, step } from "./lib/steps.mjs";
import { readReports, tally } from "./lib/summary.mjs";
import { jupyterEnv, places, setUp } from "./setup.mjs";

/** In the order in which a fault is cheapest to find. */
const PROJECTS = ["unit", "contract", "integration", "package"];

/** Minutes that one project may take; a hanging test must not hang the machine that runs it. */
const LIMIT = 30;

export const REPORTS = join(made, "test");

await main(async () => {
  const projects = process.argv.slice(2);
  const unknown = projects.find((p) => !PROJECTS.includes(p));
  if (unknown !== undefined) throw new SetupError(`There is no project "${unknown}", only ${PROJECTS.join(", ")}.`);
  rmSync(REPORTS, { recursive: true, force: true });
  mkdirSync(REPORTS, { recursive: true });

  await setUp("test");
  await step("programs of the system", async () => {
    const installed = await installMissing(TEST_PACKAGES);
    return installed.length === 0 ? "all there" : `installed ${installed.join(", ")}`;
  });

  const env = { ...jupyterEnv(), YALE_TEST_PYTHON: places.python, YALE_JOBS_BUILT: "1" };
  // Colours would make the log of a test machine hard to read.
  const options = { cwd: root, env, timeout: LIMIT * 60_000 };
  const tool = (name, ...args) => attached(join(root, "node_modules", ".bin", name), args, options);

  const checks = { "biome check": () => tool("biome", "check", "."), types: () => tool("tsc", "-b") };
  const failed = [];
  for (const [name, check] of Object.entries(checks)) {
    console.log(`\n── ${name} ──`);
    if ((await check()) !== 0) failed.push(name);
  }
  for (const name of projects.length === 0 ? PROJECTS : projects) {
    console.log(`\n── ${name} ──`);
    const report = `--outputFile.json=${join(REPORTS, `${name}.json`)}`;
    const code = await tool("vitest", "run", "--project", name, "--reporter=default", "--reporter=json", report);
    if (code !== 0) failed.push(name);
  }

  const result = tally(readReports(REPORTS));
  if (failed.length > 0) console.log(`\nFailed: ${failed.join(", ")}`);
  // A check that failed, or a project that ended before it could count, must not look like a success.
  console.log(`\n${result.passed} passed, ${result.failed === 0 && failed.length > 0 ? failed.length : result.failed} failed`);
  return failed.length === 0 && result.failed === 0 && result.passed > 0 ? 0 : 1;
});
