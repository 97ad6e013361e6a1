/**
 * The batch script: one text for every cluster and for this machine, readable by a person, every value quoted.
 * A pure function; the golden tests hold its output.
 */
import { command, quote } from "../cluster/shell.js";
import { UsageError } from "../errors.js";
import type { ScriptPlan } from "./index.js";

/** Requeues of one job after exit code 75, at most; a run that added nothing ends it sooner. */
const MAX_RESTARTS = 20;

/** The script as text. Throws UsageError for a value that can't stand on an `#SBATCH` line. */
export function batchScript(plan: ScriptPlan): string {
  const { spec } = plan;
  const r = spec.resources;
  const line = (option: string, value: string | number | undefined) =>
    value === undefined ? [] : [`#SBATCH --${option}=${directive(option, String(value))}`];
  const directives = [
    ...line("job-name", jobName(spec.name)),
    // The token by which a submission is found again when its answer was lost.
    ...line("comment", plan.token),
    ...line("output", "log/job.log"),
    ...line("open-mode", "append"),
    ...line("chdir", plan.jobDir),
    ...line("partition", r.partition),
    ...(r.gpus === undefined || r.gpus === "0" ? [] : line("gpus", r.gpus)),
    ...line("nodes", r.nodes),
    ...line("cpus-per-task", r.cpus),
    ...line("mem", r.memory),
    ...line("time", r.time),
    ...line("account", r.account),
    ...line("qos", r.qos),
    ...line("constraint", r.constraint),
    ...line("mail-user", r.mail?.user),
    ...line("mail-type", r.mail?.type),
    ...(spec.shards !== undefined && spec.shards > 1 ? line("array", `0-${spec.shards - 1}`) : []),
    ...dependency(plan),
    // A warning five minutes before the limit, to the script only: it passes it on and waits for a clean stop.
    "#SBATCH --signal=B:USR1@300",
    "#SBATCH --requeue",
    ...(r.extra ?? []),
  ];
  const variables: Record<string, string> = {
    YALE_JOBS_ID: plan.id,
    YALE_JOBS_INPUT: `${plan.jobDir}/input`,
    YALE_JOBS_OUTPUT: `${plan.jobDir}/output`,
    YALE_JOBS_OPTIONS: `${plan.jobDir}/options.json`,
    YALE_JOBS_PROGRESS: `${plan.jobDir}/progress.jsonl`,
    ...spec.variables,
  };
  return `#!/bin/bash
${directives.join("\n")}

# Job ${plan.id} of Yale Jobs. The whole specification is in job.json beside this file.
cd ${quote(plan.jobDir)} || exit 66

${Object.entries(variables)
  .map(([name, value]) => `export ${name}=${quote(value)}`)
  .join("\n")}
export PYTHONUNBUFFERED=1
${environment(plan).join("\n")}

# The work runs as a child, so that this shell can pass signals on while it waits.
${spec.kind === "run" ? "cd output || exit 66\n" : ""}${command(plan.command)} &
child=$!
${spec.kind === "ocr" ? `trap 'kill -USR1 "$child" 2>/dev/null' USR1` : "# A script that knows nothing of the warning would die of it.\ntrap : USR1"}
trap 'kill -TERM "$child" 2>/dev/null' TERM
code=0
while :; do
  wait "$child"; code=$?
  # wait returns early when a signal was trapped; the child may still be closing its files.
  kill -0 "$child" 2>/dev/null || break
done
${
  spec.kind === "ocr"
    ? `
# 75: not finished, run me again. The same command skips what is done. A run that added no page is not repeated.
if [ "$code" -eq 75 ] && [ "\${SLURM_RESTART_COUNT:-0}" -lt ${MAX_RESTARTS} ]; then
  pages=$(grep -c '"type":"page"' ${quote(`${plan.jobDir}/progress.jsonl`)} 2>/dev/null)
  before=$(cat ${quote(`${plan.jobDir}/log/pages`)} 2>/dev/null || echo 0)
  echo "\${pages:-0}" > ${quote(`${plan.jobDir}/log/pages`)}
  if [ "\${pages:-0}" -gt "$before" ]; then scontrol requeue "$SLURM_JOB_ID" && sleep 60; fi
fi
`
    : ""
}exit "$code"
`;
}

/** A value that stands on an `#SBATCH` line: SLURM splits it at spaces unless quoted, and nothing may end the line. */
function directive(option: string, value: string): string {
  if (/[\u0000-\u001f\u007f"\\]/.test(value))
    throw new UsageError(
      `${option}: ${JSON.stringify(value)} can't stand in a batch script.`,
      "Leave out quotes, backslashes and line breaks.",
    );
  return /^[A-Za-z0-9_./:=@%+,()[\]*|&-]+$/.test(value) ? value : `"${value}"`;
}

/** The scheduler's job name: what can't stand there is replaced, since names are for people to read. */
function jobName(name: string): string {
  return name.replace(/[\u0000-\u001f\u007f"\\%]/g, "_").slice(0, 64);
}

function dependency(plan: ScriptPlan): string[] {
  const after = plan.spec.after ?? [];
  if (after.length === 0 || plan.afterIds === undefined) return [];
  const list = after.map((a, i) => `${a.condition}:${plan.afterIds?.[i] ?? ""}`).join(",");
  // Without the second line a job whose dependency failed would wait for ever.
  return [`#SBATCH --dependency=${directive("dependency", list)}`, "#SBATCH --kill-on-invalid-dep=yes"];
}

/** Modules and conda: their scripts use unset variables and failing commands, so no `set -eu` around them. */
function environment(plan: ScriptPlan): string[] {
  const { modules = [], env } = plan.spec;
  const lines: string[] = [];
  const give = (what: string) => `{ echo ${quote(`yale-jobs: ${what}`)} >&2; exit 127; }`;
  if (modules.length > 0 || (env ?? "") !== "")
    lines.push(
      "",
      "# Modules and conda are shell functions that a batch shell has to load first.",
      "source /etc/profile >/dev/null 2>&1",
    );
  for (const module of modules)
    lines.push(`module load ${quote(module)} || ${give(`the module ${module} can't be loaded`)}`);
  if (env !== undefined && env !== "")
    lines.push(
      "command -v conda >/dev/null 2>&1 || module load miniconda >/dev/null 2>&1",
      `command -v conda >/dev/null 2>&1 || ${give("conda was not found; give the module that brings it with modules")}`,
      'source "$(conda info --base)/etc/profile.d/conda.sh"',
      `conda activate ${quote(env)} || ${give(`the conda environment ${env} can't be activated`)}`,
    );
  lines.push(...plan.prologue);
  return lines;
}
