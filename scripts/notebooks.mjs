// Executes every notebook of notebooks/ in its kernel and keeps what came of it in the repository, so that it can be read
// on the web. What differs from run to run or names this machine is taken out; test/integration/notebooks.test.ts executes
// them again and compares what must be the same.
//   node scripts/setup.mjs test && node scripts/notebooks.mjs [NAME ...]
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { copyNotebooks } from "./lib/copy_notebooks.mjs";
import { kept } from "./lib/notebook_outputs.mjs";
import { root } from "./lib/stamp.mjs";
import { attached, main, SetupError } from "./lib/steps.mjs";
import { jupyterEnv, places } from "./setup.mjs";

await main(async () => {
  const folder = join(root, "notebooks");
  const wanted = process.argv.slice(2).map((name) => name.replace(/(\.ipynb)?$/, ".ipynb"));
  const all = readdirSync(folder).filter((name) => name.endsWith(".ipynb"));
  // A home of its own: no config.yaml, no jobs and no name of whoever runs this.
  const home = mkdtempSync(join(tmpdir(), "yale-notebooks-"));
  const work = join(home, "notebooks");
  copyNotebooks(work);
  const env = { ...jupyterEnv(), HOME: home, XDG_RUNTIME_DIR: join(home, "run") };
  for (const name of ["STATE", "CACHE", "DATA", "CONFIG"]) env[`XDG_${name}_HOME`] = join(home, name.toLowerCase());
  delete env.YALE_JOBS_CONFIG;
  try {
    for (const name of all.filter((n) => wanted.length === 0 || wanted.includes(n))) {
      console.log(`${name}:`);
      const file = join(work, name);
      if ((await attached(places.python, [join(root, "scripts", "lib", "run_notebook.py"), file], { env })) !== 0)
        throw new SetupError(`${name} did not run to its end.`);
      const notebook = kept(JSON.parse(readFileSync(file, "utf8")), work);
      writeFileSync(join(folder, name), `${JSON.stringify(notebook, null, 1)}\n`);
    }
  } finally {
    await attached(process.execPath, [join(root, "kernel-lib", "dist", "cli.cjs"), "agent", "stop"], { env });
    rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
});
