/** Runs SLURM's commands on the far side: in a clean environment, each with a deadline of its own. */
import type { Transport } from "../cluster/transport.js";
import { SchedulerError } from "../errors.js";
import { isSilence, slurmWords } from "./slurm-refusals.js";

/**
 * Variables of SLURM's that the caller has change what its commands do and print (`SBATCH_TIMELIMIT` overrides the batch
 * script, `SQUEUE_STATES` hides jobs), and those of a job from which a job is submitted (JupyterLab on a compute node)
 * are passed on to it (sbatch always exports `SLURM_*`) and break its `srun`. So all are dropped but the one that says
 * where the configuration is. `timeout` ends a command whose daemon is frozen: without it the shared shell would wait.
 */
const CLEAN = `for name in $(env | sed -En 's/^((SLURM|SBATCH|SQUEUE|SACCT|SCANCEL|SCONTROL|SALLOC|SRUN|SINFO)_[A-Za-z0-9_]+)=.*/\\1/p'); do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done
exec env "$@"`;

/**
 * Times in UTC, in the standard form; lists of array tasks at any length (by default they are cut after 64 characters);
 * messages in English.
 */
const PRINTING = ["TZ=UTC", "LC_ALL=C", "SLURM_TIME_FORMAT=standard", "SLURM_BITSTR_LEN=0"];

/** Seconds for a question. slurmctld's clients give up after 10 s (MessageTimeout); slurmdbd's never. */
export const QUESTION = 13;
/** Seconds for a command that changes something. */
export const COMMAND = 30;
/** Seconds for sbatch, which tries again by itself while slurmctld is busy. */
export const SUBMISSION = 90;

/** What a command said. */
export interface Said {
  code: number | null;
  stdout: string;
  stderr: string;
}

/**
 * The argument list that {@link run} hands to the transport. `printing`: for what is read by us; `sbatch` would pass
 * these variables on to the job.
 */
export function cleanCommand(argv: readonly string[], seconds: number, printing: boolean): string[] {
  return ["sh", "-c", CLEAN, "slurm", ...(printing ? PRINTING : []), "timeout", "-k", "2", String(seconds), ...argv];
}

/** Runs one command; whatever it ends with is an answer. Throws ConnectionError if the line is gone. */
export async function run(
  transport: Transport,
  argv: readonly string[],
  seconds: number,
  printing = true,
): Promise<Said> {
  const options = { shared: true, timeout: (seconds + 5) * 1000 };
  const { code, stdout, stderr } = await transport.exec(cleanCommand(argv, seconds, printing), options);
  return { code, stdout, stderr };
}

/** True if `timeout` ended a command. */
export function ranOutOfTime(code: number | null): boolean {
  return code === 124 || code === 137;
}

/** Which daemon a command asks. */
export const DAEMON: Readonly<Record<string, string>> = { sacct: "slurmdbd (SLURM's accounting)", squeue: "slurmctld" };

/** Why a question has no answer, in words, or undefined if it has one. */
export function silence(program: string, said: Said, seconds: number): string | undefined {
  if (said.code === 0) return undefined;
  const daemon = DAEMON[program] ?? "slurmctld";
  if (ranOutOfTime(said.code)) return `${daemon} did not answer within ${seconds} s`;
  if (said.code === 127) return `${program} was not found on the cluster`;
  const words = slurmWords(said.stderr);
  if (isSilence(said.stderr)) return `${daemon} does not answer`;
  return `${program} failed: ${words || `it ended with ${said.code ?? "a signal"} and no word`}`;
}

/** Runs a question that must be answered. Throws SchedulerError, `later: "silent"`, if it is not. */
export async function ask(transport: Transport, argv: readonly string[]): Promise<string> {
  const said = await run(transport, argv, QUESTION);
  const why = silence(argv[0] ?? "", said, QUESTION);
  if (why === undefined) return said.stdout;
  throw new SchedulerError(`The scheduler can't tell: ${why}.`, "Try again later.", { later: "silent" });
}
