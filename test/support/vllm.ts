/** The model's server that the vision runner starts in tests: see vllm.py. */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { python, ROOT } from "./sandbox.js";

/** Puts a program `vllm` into a new folder, which is to stand first on the runner's PATH. Throws if the folder is there. */
export function putVllm(folder: string): void {
  mkdirSync(folder);
  const program = join(folder, "vllm");
  writeFileSync(program, `#!/bin/sh\nexec "${python()}" -B "${join(ROOT, "test/support/vllm.py")}" "$@"\n`);
  chmodSync(program, 0o755);
}
