// `npm test`: sets up what the tests need, then lint, types, and every test, against the real parts. The last line is
// "N passed, N failed"; the exit code is not 0 if anything failed, or if no test ran.
//   node scripts/test.mjs [vitest arguments]
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { installMissing, TEST_PACKAGES } from "./lib/debian.mjs";
import { made, root } from "./lib/stamp.mjs";
import { attached, main, run, step } from "./lib/steps.mjs";
import { places, setUp } from "./setup.mjs";

const bin = (name) => join(root, "node_modules", ".bin", name);

await main(async () => {
  await setUp("test");
  await step("programs of the system", async () => {
    const names = await installMissing(TEST_PACKAGES);
    return names.length === 0 ? "up to date" : `installed ${names.join(", ")}`;
  });
  await step("lint and format", () => run(bin("biome"), ["check", "--error-on-warnings", root], { cwd: root }));
  await step("types", () => run(bin("tsc"), ["-b", root], { cwd: root }));

  mkdirSync(made, { recursive: true });
  const report = join(made, "test-report.json");
  rmSync(report, { force: true });
  const args = [
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...process.argv.slice(2),
  ];
  const env = { ...process.env, YALE_JOBS_BUILT: "1", YALE_TEST_PYTHON: places.python };
  const code = await attached(bin("vitest"), args, { cwd: root, env });

  const { numPassedTests: passed, numFailedTests: failed, success } = JSON.parse(readFileSync(report, "utf8"));
  console.log(`\n${passed} passed, ${failed} failed`);
  return code === 0 && success && passed > 0 && failed === 0 ? 0 : 1;
});
