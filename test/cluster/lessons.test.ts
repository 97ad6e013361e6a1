import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sharedBed } from "../support/bed.js";
import { copyNotebooks, NOTEBOOKS } from "../support/lessons.js";
import { python, ROOT, Sandbox } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
let work: string;

/** A cluster with a key and nothing to answer, as the default of everything. */
beforeAll(async () => {
  await bed.reset();
  box = new Sandbox({
    JUPYTER_PATH: join(ROOT, ".yale", "venv", "share", "jupyter"),
    YALE_LESSON_CLUSTER: "key",
  });
  bed.writeSshFolder(box.home);
  box.configure(`default: key
clusters:
  key:
    host: 127.0.0.1
    port: ${bed.ports.key}
    user: ${bed.user}
    identity: ${bed.key()}
    scheduler: slurm
    poll_seconds: 1
    model: tesseract
`);
  work = join(box.home, "notebooks");
  copyNotebooks(work);
});
afterAll(() => box.close());

it.each(NOTEBOOKS)("the lesson %s runs unchanged where a cluster is the default", async (name) => {
  const file = join(work, name);
  const ran = await box.run(python(), [join(ROOT, "scripts", "lib", "run_notebook.py"), file], { timeout: 115_000 });
  expect(ran.code, ran.stdout + ran.stderr).toBe(0);
  expect(box.records().length).toBeGreaterThan(0);
  for (const job of box.records()) expect(job).toMatchObject({ state: "completed", spec: { cluster: "key" } });
});
