// The first thing to run: sets everything up, then executes notebooks/simple_ocr.ipynb in its kernel, recognises a
// scanned PDF on this machine, and says how well that went against the true text.
//   npm run demo
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { characterErrorRate } from "./lib/error_rate.mjs";
import { made, root } from "./lib/stamp.mjs";
import { attached, main, SetupError } from "./lib/steps.mjs";
import { jupyterEnv, places, setUp } from "./setup.mjs";

/** The demo fails from this rate on: a good scan of English print is read better than that. */
const LIMIT = 0.02;

await main(async () => {
  await setUp("demo");

  // A copy is executed, so that the notebook in the repository stays as it is.
  const folder = join(made, "demo");
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(root, "notebooks"), folder, { recursive: true, filter: (path) => !/results$|checkpoints$/.test(path) });
  const notebook = join(folder, "simple_ocr.ipynb");

  console.log("Running notebooks/simple_ocr.ipynb:");
  const run = [join(root, "scripts", "lib", "run_notebook.py"), notebook];
  if ((await attached(places.python, run, { env: jupyterEnv() })) !== 0)
    throw new SetupError(`The notebook did not run to its end. What it did until then is in ${notebook}`);

  const results = onlyFolder(join(folder, "results"));
  const text = readFileSync(join(results, "declaration.txt"), "utf8");
  const truth = readFileSync(join(folder, "material", "declaration.txt"), "utf8");
  const rate = characterErrorRate(truth, text);

  console.log(`\n${text.split("\f").map(underHeading).join("\n\n")}\n`);
  console.log(`Character error rate against the true text: ${(rate * 100).toFixed(2)} % of ${truth.length} characters`);
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
