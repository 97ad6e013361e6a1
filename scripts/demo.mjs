// The first thing to run: sets everything up, then executes notebooks/simple_ocr.ipynb in its kernel, recognises a
// scanned PDF on this machine, and says how well that went against the true text.
//   npm run demo
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { copyNotebooks } from "./lib/copy_notebooks.mjs";
import { made, root } from "./lib/stamp.mjs";
import { attached, main, run, SetupError } from "./lib/steps.mjs";
import { jupyterEnv, places, setUp } from "./setup.mjs";

/** The demo fails from this rate on: a good scan of English print is read better than that. */
const LIMIT = 0.02;

await main(async () => {
  await setUp("demo");

  const folder = join(made, "demo");
  rmSync(folder, { recursive: true, force: true });
  copyNotebooks(folder);
  const notebook = join(folder, "simple_ocr.ipynb");

  console.log("Running notebooks/simple_ocr.ipynb:");
  const runner = [join(root, "scripts", "lib", "run_notebook.py"), notebook];
  if ((await attached(places.python, runner, { env: jupyterEnv() })) !== 0)
    throw new SetupError(`The notebook did not run to its end. What it did until then is in ${notebook}`);

  const results = onlyFolder(join(folder, "results"));
  const text = readFileSync(join(results, "declaration.txt"), "utf8");
  const truth = join(folder, "material", "declaration.txt");
  const cli = join(root, "kernel-lib", "dist", "cli.cjs");
  const compare = [cli, "jobs", "compare", basename(results), truth, "--json"];
  const { characterErrorRate: rate } = JSON.parse(await run(process.execPath, compare, { env: jupyterEnv() }));
  const { length } = readFileSync(truth, "utf8");

  console.log(`\n${text.split("\f").map(underHeading).join("\n\n")}\n`);
  console.log(`Character error rate against the true text: ${(rate * 100).toFixed(2)} % of ${length} characters`);
  console.log(`Results (text, and rows for Python's datasets): ${results}`);
  console.log(`Executed notebook: ${notebook}`);
  console.log("\n`npm start` opens the notebook in JupyterLab.");
  if (rate >= LIMIT) throw new SetupError(`The error rate should be below ${LIMIT * 100} %.`);
});

/** The notebook puts its results into a folder with the job's name. */
function onlyFolder(parent) {
  const [name] = existsSync(parent) ? readdirSync(parent) : [];
  if (name === undefined) throw new SetupError(`The notebook ran, but left nothing in ${parent}`);
  return join(parent, name);
}

function underHeading(text, i) {
  return `──── page ${i + 1} ────\n${text.trim()}`;
}
