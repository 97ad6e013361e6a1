/**
 * Submission exactly once, over a line that may be cut at any moment. Three things work together: the record says that
 * a submission was begun before anything is sent; the job carries a token by which the scheduler can be asked for it;
 * and on the far side a small script lets the first call submit and gives every later one its answer.
 *
 * The script is what makes it sure. How late a submission may still begin after the line was cut has no good bound: what
 * lay in this machine's send buffer is sent again for some 100 s after the socket was closed (Linux's
 * `tcp_orphan_retries`), and a network that stood still keeps it as long as it likes. So "not in the queue" never means
 * "will not come". With the script a late one finds the lock that a newer one has taken, and does nothing.
 */
import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ExecResult, Transport } from "../cluster/transport.js";
import { SchedulerError } from "../errors.js";
import type { Scheduler } from "../schedulers/index.js";

/** Name of the script in the job folder. */
export const SUBMIT_FILE = "submit.sh";

/** Seconds between two questions for the answer of a submission that somebody else has begun. */
const ASK_AGAIN = 3;

/**
 * Seconds that a scheduler which answers again gets for what had reached it before: slurmctld reads requests whose sender
 * has given up (22.05), and takes the jobs in them.
 */
const WAKING = 5;

/**
 * The script: `sh submit.sh ATTEMPT first|again COMMAND…`. The folder `submit-ATTEMPT.1` is the lock: mkdir is atomic on
 * every shared file system, where flock is not. With `again`, when the scheduler has been asked and has no such job, a
 * lock that was left without an answer is passed over, and the next number is the lock. Exits 75 while a call may be at
 * work, 76 if it is gone and left no answer.
 */
export const SUBMIT_SCRIPT = `#!/bin/sh
# Submits the job of this folder once. Whoever makes the folder submit-ATTEMPT.1 first runs the command, and its answer
# stays there for everybody who asks again because the line was cut before the answer arrived.
of=\${0%/*}/submit-$1
which=$2
shift 2
n=1
while :; do
  own=$of.$n
  if [ -s "$own/answer" ]; then cat "$own/answer"; exit 0; fi
  [ -d "$own" ] || break
  # Of a call that has left no answer nothing is at work any more after five minutes: sbatch (22.05) makes 16 tries of
  # 10 s (MessageTimeout) with pauses of 1 to 15 s between them, and then gives up.
  [ -n "$(find "$own" -prune -mmin +5 2>/dev/null)" ] || break
  n=$((n + 1))
  [ "$which" = again ] || [ -d "$of.$n" ] || exit 76
done
if mkdir "$own" 2>/dev/null; then
  # The end of the session must end neither the command nor the writing down of its answer.
  trap '' HUP INT TERM PIPE
  "$@" >"$own/answer.part" 2>"$own/words" </dev/null
  code=$?
  cat "$own/words" >&2
  if [ "$code" -ne 0 ]; then
    # Refused: the next call may try again.
    cat "$own/answer.part"
    rm -f "$own/words" "$own/answer.part"
    rmdir "$own"
    exit "$code"
  fi
  [ -s "$own/answer.part" ] || exit 76
  mv "$own/answer.part" "$own/answer" && cat "$own/answer"
  exit
fi
if [ ! -d "$own" ]; then echo "yale-jobs: $own can't be made" >&2; exit 73; fi
for pause in 1 1 1 1 1; do
  if [ -s "$own/answer" ]; then cat "$own/answer"; exit 0; fi
  [ -d "$own" ] || exit 75
  sleep "$pause"
done
exit 75
`;

/** What {@link submitOnce} is given. */
export interface Submission {
  transport: Transport;
  scheduler: Scheduler;
  jobDir: string;
  attempt: number;
  /** See {@link submissionToken}. */
  token: string;
  /** When the job was made (ISO 8601): what is looked for is not older. */
  since: string;
  /** True if this attempt's submission was begun before: it is looked for first. */
  begun: boolean;
  /** True if the scheduler did not answer the last time: what reached it then may still be taken when it wakes up. */
  silent: boolean;
  signal: AbortSignal;
  /** Called with what is waited for. */
  onWait: (reason: string) => void;
}

/** The token by which a submission is found again: the same for every try of one attempt. */
export function submissionToken(id: string, attempt: number): string {
  return `yale-${id}-${attempt}`;
}

/**
 * Submits, and returns the scheduler's id; of a submission that was begun before, the id that it got. Throws
 * SchedulerError with the scheduler's words, and ConnectionError, after which the same call goes on.
 */
export async function submitOnce(s: Submission): Promise<string> {
  if (s.begun) {
    const found = await s.scheduler.find(s.transport, s.token, s.since);
    if (found !== undefined) return found;
    if (s.silent) {
      await sleep(WAKING * 1000, undefined, { signal: s.signal });
      const late = await s.scheduler.find(s.transport, s.token, s.since);
      if (late !== undefined) return late;
    }
  }
  for (let which: "first" | "again" = "first"; ; ) {
    try {
      return await s.scheduler.submit(once(s, which), posix.join(s.jobDir, "job.sh"), s.token);
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      await pause(s);
      const found = await s.scheduler.find(s.transport, s.token, s.since);
      if (found !== undefined) return found;
      which = error.gone ? "again" : "first";
    }
  }
}

/**
 * Makes sure that no submission of this attempt will happen any more. Returns the scheduler's id if one has happened.
 * Throws as {@link submitOnce} does.
 */
export async function withdrawSubmission(s: Submission): Promise<string | undefined> {
  for (let which: "first" | "again" = "first"; ; ) {
    const found = await s.scheduler.find(s.transport, s.token, s.since);
    // The local scheduler takes a job within this process: what is not there will not come.
    if (found !== undefined || s.scheduler.kind === "local") return found;
    // Whoever comes later is given this answer, and submits nothing.
    const answer = await s.transport.exec(scriptCall(s, which, ["echo", WITHDRAWN]), { signal: s.signal });
    if (answer.code === 0) {
      if (answer.stdout.trim() === WITHDRAWN) return undefined;
      return submitOnce({ ...s, begun: false });
    }
    if (answer.code !== 75 && answer.code !== 76)
      throw new SchedulerError(`The submission can't be withdrawn: ${answer.stderr.trim()}`, "Try again.");
    which = answer.code === 76 ? "again" : "first";
    await pause(s);
  }
}

/** What a withdrawn attempt has for an answer. */
const WITHDRAWN = "withdrawn";

async function pause(s: Submission): Promise<void> {
  s.onWait("Waits for the answer of a submission that was begun before the line was lost.");
  await sleep(ASK_AGAIN * 1000, undefined, { signal: s.signal });
}

function scriptCall(s: Submission, which: "first" | "again", argv: readonly string[]): string[] {
  return ["sh", posix.join(s.jobDir, SUBMIT_FILE), String(s.attempt), which, ...argv];
}

/** A submission is at work, or has left no answer. */
class Unanswered extends Error {
  readonly gone: boolean;
  constructor(gone: boolean) {
    super("A submission has left no answer yet.");
    this.gone = gone;
  }
}

/** The line, with the command that names job.sh run by the script. */
function once(s: Submission, which: "first" | "again"): Transport {
  const job = posix.join(s.jobDir, "job.sh");
  const { transport } = s;
  return {
    kind: transport.kind,
    lost: transport.lost,
    asked: transport.asked,
    sftp: (channel) => transport.sftp(channel),
    close: () => transport.close(),
    async exec(argv, options): Promise<ExecResult> {
      if (!argv.includes(job)) return transport.exec(argv, options);
      const answer = await transport.exec(scriptCall(s, which, argv), options);
      if (answer.code === 75 || answer.code === 76) throw new Unanswered(answer.code === 76);
      if (answer.code === 0 && answer.stdout.trim() === WITHDRAWN)
        throw new SchedulerError("This attempt was cancelled before it was submitted.", "Try it once more.");
      return answer;
    },
  };
}
