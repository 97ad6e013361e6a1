/** What `sbatch`, `scancel` and `scontrol` say when they fail, as errors for people. Pure. */
import { SchedulerError } from "../errors.js";

/** SLURM's words without the name of the program, as one line. */
export function slurmWords(stderr: string): string {
  return stderr
    .split("\n")
    .map((line) => line.replace(/^(sbatch|squeue|sacct|scancel|scontrol|srun|sinfo)?:? ?(error|fatal): /, "").trim())
    .filter((line) => line !== "" && !/^Try "\w+ --help"/.test(line))
    .map((line) => line.replace(/^Batch job submission failed: /, ""))
    .filter((line, i, all) => all.indexOf(line) === i)
    .join(" · ")
    .slice(0, 600);
}

/** The words of a client whose daemon did not answer it. */
const SILENT =
  /Unable to contact slurm controller|Socket timed out|Connection refused|Connection timed out|No route to host|Zero Bytes were transmitted|Problem talking to the database|slurm_persist_conn_open|backup controller in standby|Slurm (temporarily unable|job queue full)|Transport endpoint/i;

/** True if a command failed because slurmctld or slurmdbd did not answer it. */
export function isSilence(stderr: string): boolean {
  return SILENT.test(stderr);
}

/** A number of jobs or submissions is reached: later the same submission is taken. */
const LIMIT = /jobs per hour limit|MaxSubmit|SubmitJobsLimit|Grp(Submit|Jobs)|too many jobs/i;
/** A limit of the job itself, which no waiting changes. */
const TOO_MUCH = /(Max|Min)\w*(PerJob|PerNode|NotSatisfied|WallDuration)|Max(Cpu|GRES|Mem|Node|Wall)/i;

/** SLURM's refusals (slurm_errno.c), and what to do about each. */
const REMEDIES: readonly [RegExp, string][] = [
  [/invalid partition/i, "`yale cluster info` lists the partitions; choose one with `partition`."],
  [/partition not available|Requested partition configuration/i, "Choose another `partition`, or wait: it is closed."],
  [
    /invalid account/i,
    "`yale cluster info` lists your accounts; choose one with `account` that may use the partition.",
  ],
  [/invalid qos/i, "`yale cluster info` lists the QOS; choose one with `qos`, or leave it out."],
  [
    /\bgres\b/i,
    "Write `gpus` as type:count with a type that the partition has (`yale cluster info`), such as `a100:1`.",
  ],
  [
    /node configuration is not available|can not be satisfied|nodes not in this partition/i,
    "No node of the partition has so much: ask for fewer or other `gpus`, `cpus` or less `memory`, or choose another `partition` (`yale cluster info`).",
  ],
  [/time limit is invalid/i, "Ask for less `time`, or choose a partition that allows more (`yale cluster info`)."],
  [/array specification/i, "Split it over fewer `shards`: the site limits the tasks of an array."],
  [/dependency/i, "The job after which it was to start is not known to SLURM any more; leave `after` out."],
  [/feature|constraint/i, "Check `constraint`; `yale cluster info` tells what nodes have."],
  [/reservation/i, "Check the reservation in `extra`."],
  [/unrecognized option|invalid option/i, "Check the lines of `extra`."],
  [/usage threshold/i, "The account has used too much of its share: choose another `account`, or wait."],
  [/access.*denied|permission denied/i, "Your user may not do this here; ask the cluster's staff."],
  [/memory specification/i, "Ask for less `memory`."],
];

/** Why a submission was refused. `code` is the exit code of `sbatch`. */
export function refusal(stderr: string, code: number | null): SchedulerError {
  const words = slurmWords(stderr);
  const what = `SLURM refused the job: ${words || `sbatch ended with ${code ?? "a signal"} and no word`}`;
  if (code === 127)
    return new SchedulerError(
      "sbatch was not found on the cluster.",
      "Check that this is a login node of a SLURM cluster; if SLURM comes by a module there, load it in ~/.bash_profile.",
    );
  if (isSilence(stderr))
    return new SchedulerError(
      `slurmctld did not answer: ${words}.`,
      "The cluster's scheduler is down or busy; try again later.",
      {
        later: "silent",
      },
    );
  if (LIMIT.test(stderr))
    return new SchedulerError(`${what}.`, "The job waits until the site takes more from you.", { later: "limit" });
  if (/violates accounting\/QOS policy/.test(stderr)) {
    if (TOO_MUCH.test(words)) return new SchedulerError(`${what}.`, "Ask for less, or choose another `qos`.");
    // Without a name of the limit it may be one that passes or one that does not.
    return new SchedulerError(
      `${what}.`,
      "If you have many jobs in the queue, wait for some to end; else ask for less time, fewer GPUs or fewer CPUs.",
      { later: "limit" },
    );
  }
  const remedy = REMEDIES.find(([pattern]) => pattern.test(stderr));
  return new SchedulerError(`${what}.`, remedy?.[1] ?? "`--dry-run` shows the batch script as it was sent.");
}
