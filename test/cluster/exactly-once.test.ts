import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Job } from "../../kernel-lib/src/jobs/job.js";
import { newJobId } from "../../kernel-lib/src/protocol.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { sharedBed } from "../support/bed.js";
import { Sandbox } from "../support/sandbox.js";

const JOBS = 50;
/** Login nodes, and so lines, that are cut side by side. */
const NODES = ["key", "few", "drop"];
/** Names of this run's jobs: a bed that is kept remembers those of others. */
const RUN = `once-${newJobId()}-`;
const bed = sharedBed();
let box: Sandbox;
let yale: Yale;

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
    case $args in sshd:*) break ;; esac
    chain="$p $chain"
    p=$parent
  done
  # cut.count numbers the cuts; appending is atomic.
  echo x >>~/cuts
  kill -KILL "$p"
  [ $(($(wc -l <~/cuts) % 3)) = 0 ] && { kill -KILL $chain $$; }
fi
printf '%s\\n' "$answer"
exit $code
`;

beforeAll(async () => {
  await bed.reset();
  box = new Sandbox().enter();
  bed.writeSshFolder(box.home);
  bed.dropAfter(undefined);
  const bin = bed.home("bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "sbatch"), SBATCH);
  chmodSync(join(bin, "sbatch"), 0o755);
  // bash reads it for the commands of a session, too, when sshd starts it.
  writeFileSync(bed.home(".bashrc"), `PATH=${bin}:$PATH\n`);
  yale = new Yale({ agent: false, config: bed.configPath });
});
afterAll(async () => {
  await yale.close();
  for (const name of ["bin", ".bashrc", "cuts"]) rmSync(bed.home(name), { recursive: true, force: true });
  await box.close();
});

/** Every job of this run that SLURM has got, by name: ended ones stay in its sight for five minutes. */
async function inQueue(): Promise<string[]> {
  const out = await bed.root("squeue", "--states=all", "--noheader", "--format=%j", "--user", bed.user);
  return out.split("\n").filter((name) => name.startsWith(RUN));
}

/** The same by the accounts, with every run of each. */
async function inAccounts(): Promise<string[]> {
  const out = await bed.root("sacct", "-X", "-D", "-n", "-P", "-u", bed.user, "-S", "now-1hour", "-o", "JobName%100");
  return out.split("\n").filter((name) => name.startsWith(RUN));
}

describe("the line is cut between sbatch and its answer", () => {
  it(`${JOBS} times: ${JOBS} jobs in SLURM, and each ends well`, async () => {
    const jobs: Job[] = [];
    for (let n = 0; n < JOBS; n++) {
      const job = await yale
        .run("#!/bin/bash\necho $YALE_JOBS_ID\n")
        .on(NODES[n % NODES.length] ?? "")
        .name(`${RUN}${n}`)
        .time("00:05:00")
        .submit();
      jobs.push(job);
    }
    await Promise.all(jobs.map((job) => job.wait({ bar: false })));
    expect(readFileSync(bed.home("cuts"), "utf8").length / 2).toBe(JOBS);
    const names = await inQueue();
    expect(new Set(names).size).toBe(JOBS);
    expect(names.length).toBe(JOBS);
    // slurmdbd hears of them a little later.
    await expect.poll(async () => (await inAccounts()).length, { timeout: 30_000 }).toBe(JOBS);
    expect(new Set(jobs.map((j) => j.record.schedulerId)).size).toBe(JOBS);
  });
});
