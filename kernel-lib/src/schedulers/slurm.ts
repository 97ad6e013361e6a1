/**
 * SLURM, by its commands, on whatever machine the transport leads to: 20.11 and later, tried with 22.05 and read up to
 * 26.05. Parsers are files of their own beside this one (`slurm-*.ts`); this one knows which commands to run.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Transport } from "../cluster/transport.js";
import { SchedulerError } from "../errors.js";
import type { Scheduler } from "./index.js";
import { batchScript } from "./script.js";
import { describeSlurm, testSlurm } from "./slurm-info.js";
import { querySlurm } from "./slurm-query.js";
import { isSilence, refusal, slurmWords } from "./slurm-refusals.js";
import { ask, COMMAND, QUESTION, ranOutOfTime, run, SUBMISSION, silence } from "./slurm-run.js";
import { jobSubmittedWith, submitLineArguments } from "./slurm-sacct.js";
import { COMMENT_ARGUMENTS, jobWithComment } from "./slurm-squeue.js";

/** How far back a lost submission is looked for, if nobody says. */
const MONTH = 30 * 24;
/**
 * Milliseconds after which a job that was not found is looked for once more: a submission that reached slurmctld a moment
 * before the question may become visible a moment after it.
 */
const AGAIN = 1_000;
/** Ids in one `scancel` or `scontrol`. */
const AT_ONCE = 500;

/** The scheduler `slurm`. */
export const slurm: Scheduler = {
  kind: "slurm",
  script: batchScript,
  submitCommand: (path) => ["sbatch", "--parsable", path],

  async submit(transport, path, token) {
    // Accounts keep the comment only where the site wants it (AccountingStoreFlags=job_comment), but since 21.08 always
    // the command line; so the token stands there too.
    const argv = ["sbatch", "--parsable", ...(token === undefined ? [] : [`--comment=${token}`]), path];
    const { code, stdout, stderr } = await run(transport, argv, SUBMISSION, false);
    if (ranOutOfTime(code))
      throw new SchedulerError(
        `slurmctld did not answer within ${SUBMISSION} s.`,
        "The cluster's scheduler is down or busy; try again later.",
        { later: "silent" },
      );
    if (code !== 0) throw refusal(stderr, code);
    // `23`, or `23;mccleary` where the site has several clusters; a site's own greeting may stand before it.
    const id = /^(\d+)(?:;\S+)?$/.exec(stdout.trim().split("\n").at(-1) ?? "")?.[1];
    if (id === undefined)
      throw new SchedulerError(`sbatch answered ${JSON.stringify(stdout.slice(0, 200))}.`, "That is no job id.", {
        later: "silent",
      });
    return id;
  },

  async find(transport, token, since) {
    const hours = since === undefined ? MONTH : Math.max(0, Date.now() - Date.parse(since)) / 3_600_000 + 1;
    for (let last = false; ; last = true) {
      const queued = jobWithComment(await ask(transport, ["squeue", ...COMMENT_ARGUMENTS]), token);
      if (queued !== undefined) return queued;
      const kept = await findInAccounts(transport, token, Number.isFinite(hours) ? hours : MONTH);
      if (kept !== undefined || last) return kept;
      await sleep(AGAIN);
    }
  },

  query: querySlurm,

  async cancel(transport, ids) {
    // Unknown jobs and those that have ended are no errors to scancel.
    await each(transport, ids, (some) => ["scancel", ...some]);
  },

  async hold(transport, ids) {
    await each(transport, ids, (some) => ["scontrol", "hold", some.join(",")]);
  },

  async release(transport, ids) {
    await each(transport, ids, (some) => ["scontrol", "release", some.join(",")]);
  },

  test: testSlurm,
  describe: describeSlurm,
};

async function findInAccounts(transport: Transport, token: string, hours: number): Promise<string | undefined> {
  const said = await run(transport, ["sacct", ...submitLineArguments(hours)], QUESTION);
  // Before 21.08 there are no command lines, and a site without accounts has only the queue: it knows the job as long as
  // it waits and runs, and some minutes more.
  if (/Invalid field requested|accounting storage is disabled/i.test(said.stderr)) return undefined;
  const why = silence("sacct", said, QUESTION);
  if (why === undefined) return jobSubmittedWith(said.stdout, token);
  throw new SchedulerError(`It can't be known if the job was submitted: ${why}.`, "Try again later.", {
    later: "silent",
  });
}

async function each(
  transport: Transport,
  ids: readonly string[],
  argv: (some: readonly string[]) => string[],
): Promise<void> {
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    const command = argv(ids.slice(from, from + AT_ONCE));
    const { code, stderr } = await run(transport, command, COMMAND);
    if (code === 0) continue;
    const name = command[0] === "scancel" ? "scancel" : command.slice(0, 2).join(" ");
    if (ranOutOfTime(code) || isSilence(stderr))
      throw new SchedulerError(`${name}: slurmctld does not answer.`, "Nothing has changed; try again later.", {
        later: "silent",
      });
    throw new SchedulerError(`${name}: ${slurmWords(stderr) || `it ended with ${code ?? "a signal"}`}.`);
  }
}
