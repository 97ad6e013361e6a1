/**
 * The batch script: one text for every cluster and for this machine, readable by a person, every value checked and
 * quoted. A pure function; the golden tests hold its output.
 */
import { command, quote } from "../cluster/shell.js";
import { UsageError } from "../errors.js";
import { checkCount, checkGpus, checkMemory, checkTime, checkVariable, checkWord, timeSeconds } from "../options.js";
import type { JobSpec } from "../protocol.js";
import { AWAIT_CHILD } from "./await-child.js";
import type { ScriptPlan } from "./index.js";
import { checkExtras } from "./script-extra.js";

/** Times that a job puts itself back into the queue, at most; a run that added nothing ends it sooner. */
const MOST_AGAIN = 20;
/** Seconds before the time limit at which a job is told to stop, if the limit is long enough. */
const WARNING = 300;

/**
 * What a job has of the environment in which it was submitted, besides what SLURM adds. A whole environment
 * (`--export=ALL`, the default) would carry tokens of JupyterLab into the job, and the Python of the notebook.
 */
const EXPORTED = "HOME,USER,LOGNAME,SHELL,PATH,LANG";

/** The script as text. Throws UsageError for a value that can't stand in it. */
export function batchScript(plan: ScriptPlan): string {
  const { spec, jobDir } = plan;
  return `#!/bin/bash
${directives(plan).join("\n")}

# Job ${oneLine(plan.id)} of Yale Jobs. The whole specification is in job.json beside this file.
cd ${quote(jobDir)} || exit 66
# Else srun would pass on to its tasks no more than what --export names.
unset SLURM_EXPORT_ENV
${heading(plan)}
${exports(plan).join("\n")}
${[...environment(plan), ...plan.prologue].join("\n")}
# The work runs as a child, so that this shell can pass signals on while it waits.
${spec.kind === "run" ? "cd output || exit 66\n" : ""}${command(plan.command)} &
child=$!
${spec.kind === "ocr" ? `trap 'kill -USR1 "$child" 2>/dev/null' USR1` : "# A script that knows nothing of the warning would die of it.\ntrap : USR1"}
trap 'kill -TERM "$child" 2>/dev/null' TERM
${AWAIT_CHILD}
${spec.kind === "ocr" ? AGAIN : ""}
# For whoever finds this folder when the scheduler has forgotten the job.
echo "$code" > ${exitFile(plan)}
${
  spec.kind === "ocr"
    ? `# 3: done, with pages in error. To SLURM that would be a failure, and what comes after this job would never start.
[ "$code" -ne 3 ] || exit 0
`
    : ""
}exit "$code"
`;
}

/** The file with the exit code, already quoted. */
function exitFile(plan: ScriptPlan): string {
  return `${quote(`${plan.jobDir}/exit`)}${shards(plan.spec) === undefined ? "" : "-$SLURM_ARRAY_TASK_ID"}`;
}

/** What stands between two runs of one job in its log, and the end of an earlier one out of the way. */
function heading(plan: ScriptPlan): string {
  const log = shards(plan.spec) === undefined ? "log/job.log" : "log/job-$SLURM_ARRAY_TASK_ID.log";
  return `rm -f ${exitFile(plan)}
if [ -s ${log} ]; then
  printf '\\n==== Attempt %s, run %s, on %s at %s ====\\n' ${checkCount("attempt", plan.attempt)} "$((\${SLURM_RESTART_COUNT:-0} + 1))" "$(uname -n)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
fi
`;
}

/**
 * Back into the queue after exit code 75. The state is asked for because a job that was cancelled gets the same signal
 * as one that has to make room: `scontrol requeue` would bring the cancelled one back to life (22.05).
 */
const AGAIN = `
# 75: not finished, run me again. The same command skips what is done. A run that added no page is not repeated, and
# neither is a job that somebody has cancelled.
if [ "$code" -eq 75 ]; then
  id=\${SLURM_ARRAY_JOB_ID:+\${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  id=\${id:-$SLURM_JOB_ID}
  set -- $(cat "log/again-$id" 2>/dev/null)
  times=$((\${1:-0} + 1))
  pages=$(grep -c '"type": *"page"' "$YALE_JOBS_PROGRESS" 2>/dev/null)
  echo "$times \${pages:-0}" > "log/again-$id"
  if [ "$times" -le ${MOST_AGAIN} ] && [ "\${pages:-0}" -gt "\${2:-0}" ] && [ "$(squeue -h -j "$id" -o %T)" = RUNNING ]; then
    echo "Back into the queue: $pages pages are done."
    scontrol requeue "$id" && sleep 60
  fi
fi
`;

/** The `#SBATCH` lines. */
function directives(plan: ScriptPlan): string[] {
  const { spec, jobDir } = plan;
  const r = spec.resources;
  const given = new Map<string, string | undefined>();
  const set = (option: string, value: string | undefined) => {
    if (value !== undefined) given.set(option, value);
  };
  set("job-name", jobName(spec.name));
  // The token by which a submission is found again when its answer was lost.
  set("comment", plan.token);
  const log = shards(spec) === undefined ? "log/job.log" : "log/job-%a.log";
  // SLURM replaces %j and the like in the whole path, the folder of the job included.
  set("output", jobDir.includes("%") ? `${jobDir.replaceAll("%", "%%")}/${log}` : log);
  set("open-mode", "append");
  set("chdir", jobDir);
  set("export", EXPORTED);
  if (r.partition !== undefined) set("partition", checkWord("partition", r.partition));
  if (r.gpus !== undefined && r.gpus !== "0") set("gpus", checkGpus(r.gpus));
  if (r.nodes !== undefined) set("nodes", String(checkCount("nodes", r.nodes)));
  if (r.cpus !== undefined) set("cpus-per-task", String(checkCount("cpus", r.cpus)));
  if (r.memory !== undefined) set("mem", checkMemory(r.memory));
  if (r.time !== undefined) set("time", checkTime(r.time));
  for (const word of ["account", "qos", "constraint"] as const)
    if (r[word] !== undefined) set(word, checkWord(word, r[word]));
  set("mail-user", r.mail?.user);
  set("mail-type", r.mail?.type);
  const tasks = shards(spec);
  if (tasks !== undefined)
    set(
      "array",
      `${plan.onlyTasks === undefined ? `0-${tasks - 1}` : plan.onlyTasks.map((t) => checkCount("task", t, 0, tasks - 1)).join(",")}${plan.tasksAtOnce === undefined ? "" : `%${checkCount("tasksAtOnce", plan.tasksAtOnce)}`}`,
    );
  const after = dependency(plan);
  set("dependency", after);
  // Without it a job whose dependency failed would wait for ever.
  if (after !== undefined) set("kill-on-invalid-dep", "yes");
  const extras = checkExtras(r.extra ?? [], new Set(given.keys()));
  set("signal", `B:USR1@${warning(r.time)}`);
  const lines = [...given].map(([option, value]) => `#SBATCH --${option}=${directive(option, value ?? "")}`);
  return [...lines, ...(extras.options.has("no-requeue") ? [] : ["#SBATCH --requeue"]), ...extras.lines];
}

/** Number of array tasks, if it is an array. */
function shards(spec: JobSpec): number | undefined {
  return spec.shards !== undefined && spec.shards > 1 ? checkCount("shards", spec.shards) : undefined;
}

/** Seconds before the limit at which the batch shell is signalled; short jobs are not signalled as soon as they begin. */
function warning(time: string | undefined): number {
  const limit = time === undefined ? undefined : timeSeconds(time);
  if (limit === undefined) return WARNING;
  return Math.max(1, Math.floor(Math.min(WARNING, Math.max(limit / 4, Math.min(60, limit / 2)))));
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

/** Jobs that must have ended, in SLURM's form. */
function dependency(plan: ScriptPlan): string | undefined {
  const after = plan.spec.after ?? [];
  if (after.length === 0 || plan.afterIds === undefined) return undefined;
  return after
    .map((a, i) => {
      const id = plan.afterIds?.[i] ?? "";
      // A plan that is only shown has `<job>` where the id will stand.
      if (!/^(\d+|<[^<>]*>)$/.test(id)) throw new UsageError(`after: ${JSON.stringify(id)} is no id of the scheduler.`);
      return `${a.condition}:${id}`;
    })
    .join(",");
}

/** What the job finds in its environment. */
function exports(plan: ScriptPlan): string[] {
  const { spec, jobDir } = plan;
  const fixed: Record<string, string> = {
    YALE_JOBS_ID: plan.id,
    YALE_JOBS_INPUT: `${jobDir}/input`,
    YALE_JOBS_OUTPUT: `${jobDir}/output`,
    YALE_JOBS_OPTIONS: `${jobDir}/options.json`,
    YALE_JOBS_PROGRESS: `${jobDir}/progress.jsonl`,
  };
  const lines = Object.entries(fixed).map(([name, value]) => `export ${name}=${quote(value)}`);
  if (spec.startEarly === true) lines.push("# Pages may still come while it runs.", "export YALE_JOBS_EARLY=1");
  if (plan.asked !== undefined && plan.asked > 0)
    lines.push(
      "# A person asked for this attempt: pages in error are tried again, once for each time.",
      `export YALE_JOBS_ASKED=${checkCount("asked", plan.asked)}`,
    );
  const tasks = shards(spec);
  if (tasks !== undefined)
    lines.push(
      "# One of several tasks: its share of the pages, and files of its own.",
      `export YALE_JOBS_SHARD=$SLURM_ARRAY_TASK_ID YALE_JOBS_SHARDS=${tasks}`,
      `export YALE_JOBS_OUTPUT=${quote(`${jobDir}/output`)}/shard-$YALE_JOBS_SHARD`,
      `export YALE_JOBS_PROGRESS=${quote(`${jobDir}/progress-`)}$YALE_JOBS_SHARD.jsonl`,
      'mkdir -p "$YALE_JOBS_OUTPUT" || exit 66',
    );
  for (const [name, value] of Object.entries(spec.variables ?? {})) {
    checkVariable(name, value);
    if (name.startsWith("YALE_JOBS_"))
      throw new UsageError(`variables: ${name} is set by Yale Jobs itself.`, "Choose a name without YALE_JOBS_.");
    lines.push(`export ${name}=${quote(value)}`);
  }
  return [...lines, "export PYTHONUNBUFFERED=1"];
}

/** Modules and conda: their scripts use unset variables and failing commands, so no `set -eu` around them. */
function environment(plan: ScriptPlan): string[] {
  const { modules = [], env = "", kind } = plan.spec;
  const give = (what: string) => `{ echo ${quote(`yale-jobs: ${oneLine(what)}`)} >&2; exit 127; }`;
  if (modules.length === 0 && env === "" && kind === "ocr") return [];
  const lines = [
    "",
    "# Modules and conda are shell functions that a batch shell has to load first; what was found before stays first.",
    "path=$PATH",
    "[ ! -r /etc/profile ] || source /etc/profile >/dev/null 2>&1",
    '[ "$PATH" = "$path" ] || PATH=$path:$PATH',
  ];
  for (const module of modules)
    lines.push(`module load ${quote(module)} || ${give(`the module ${module} can't be loaded`)}`);
  if (env !== "")
    lines.push(
      "command -v conda >/dev/null 2>&1 || module load miniconda >/dev/null 2>&1",
      `command -v conda >/dev/null 2>&1 || ${give("conda was not found; give the module that brings it with modules")}`,
      'source "$(conda info --base)/etc/profile.d/conda.sh"',
      `conda activate ${quote(env)} || ${give(`the conda environment ${env} can't be activated`)}`,
    );
  return [...lines, ""];
}

function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f]/g, "?");
}
