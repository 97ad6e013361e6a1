/** An sbatch that cuts the line, for tests of what a lost answer leads to. */
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Bed } from "./bed.js";

/**
 * Stands before SLURM's own sbatch in the PATH of the bed's user: the job is submitted, and then, once for each attempt,
 * the line is cut before the answer has left. Every third time what reads the answer on the far side dies, too, as if
 * the login node had gone down.
 */
const SBATCH = `#!/bin/bash
answer=$(/usr/bin/sbatch "$@"); code=$?
script=\${@: -1}
if [ $code = 0 ] && mkdir "$script.cut" 2>/dev/null; then
  p=$PPID
  chain=
  while [ "$p" -gt 1 ]; do
    read -r parent args < <(ps -o ppid=,args= -p "$p")
    # sshd calls itself by the name that it was started under.
    case $args in *@notty) break ;; esac
    chain="$p $chain"
    p=$parent
  done
  echo x >>~/cuts
  kill -KILL "$p"
  [ $(($(wc -l <~/cuts) % 3)) = 0 ] && { kill -KILL $chain $$; }
fi
printf '%s\\n' "$answer"
exit $code
`;

/** Puts it in its place; `cuts` is how often it has cut, `remove` takes it away. */
export function cutAfterSubmission(bed: Bed): { cuts: () => number; remove: () => void } {
  const remove = standBefore(bed, SBATCH);
  return { cuts: () => readFileSync(bed.home("cuts"), "utf8").length / 2, remove };
}

/** Puts another program in the place of sbatch for the bed's user; the result takes it away. */
export function standBefore(bed: Bed, script: string): () => void {
  const bin = bed.home("bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "sbatch"), script);
  chmodSync(join(bin, "sbatch"), 0o755);
  // bash reads it for the commands of a session, too, when sshd starts it.
  writeFileSync(bed.home(".bashrc"), `PATH=${bin}:$PATH\n`);
  return () => {
    for (const name of ["bin", ".bashrc", "cuts", "submitted"])
      rmSync(bed.home(name), { recursive: true, force: true });
  };
}
