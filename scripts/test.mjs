// `npm test`: sets up what the tests need, then format, lint, types, and every test, against the real parts. The last
// line is "N passed, N failed"; the exit code is 0 only if tests ran and nothing failed.
//   node scripts/test.mjs [vitest arguments]
//
// The tests against a real vLLM, which brings 6 GB, are a run of their own: `npm run test:vllm`.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { bedPackages, installMissing, TEST_PACKAGES } from "./lib/debian.mjs";
import { root } from "./lib/stamp.mjs";
import { attached, main, run, SetupError, step } from "./lib/steps.mjs";
import { REPORT, secondTries, summary } from "./lib/summary.mjs";
import { places, setUp, setUpVllm } from "./setup.mjs";

/** A test that hangs must not hang the machine that runs it: minutes for all of them. */
const LIMIT = 50;

const bin = (name) => join(root, "node_modules", ".bin", name);

await main(async () => {
  rmSync(REPORT, { force: true });
  await setUp("test");
  await step("programs of the system", async () => {
    const names = await installMissing([...TEST_PACKAGES, ...bedPackages()]);
    return names.length === 0 ? "all there" : `installed ${names.join(", ")}`;
  });
  // A fault of style or types is told, and the tests run all the same: both are wanted from one run.
  const checks = [
    ["format and lint", () => run(bin("biome"), ["check", "--error-on-warnings", "--colors=off", root], { cwd: root })],
    ["types", () => run(bin("tsc"), ["-b", "--pretty", "false", root], { cwd: root })],
  ];
  const faults = [];
  for (const [name, check] of checks)
    await step(name, check).catch((error) => {
      if (!(error instanceof SetupError)) throw error;
      faults.push(name);
      console.log(error.message);
    });

  const given = process.argv.slice(2);
  const projects = given.flatMap((word, i) =>
    word === "--project" ? [given[i + 1]] : word.startsWith("--project=") ? [word.slice("--project=".length)] : [],
  );
  const vllm = projects.includes("vllm");
  if (vllm) await step("vLLM for the CPU", setUpVllm);

  const args = [
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${REPORT}`,
    ...(vllm ? [] : ["--exclude=test/vllm/**"]),
    ...given,
  ];
  const env = { ...process.env, YALE_JOBS_BUILT: "1", YALE_TEST_PYTHON: places.python, YALE_TEST_VLLM: places.vllm };
  const code = await attached(bin("vitest"), args, { cwd: root, env, timeout: LIMIT * 60_000 });
  if (code !== 0) faults.push("tests");

  for (const test of secondTries()) console.log(`Passed at the second try: ${test}`);
  if (faults.length > 0) console.log(`\nNot in order: ${faults.join(", ")}.`);
  const result = summary(faults.length > 0 ? 1 : 0);
  console.log(`\n${result.line}`);
  return result.code;
});
