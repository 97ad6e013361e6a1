/** The notebooks of the repository, and copies of them to run. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./sandbox.js";

/** File names of all notebooks. */
export const NOTEBOOKS: string[] = readdirSync(join(ROOT, "notebooks")).filter((name) => name.endsWith(".ipynb"));

/** Copies the notebooks and their material to `folder`. */
export const { copyNotebooks } = (await import("../../scripts/lib/copy_notebooks.mjs" as string)) as {
  copyNotebooks: (folder: string) => void;
};
