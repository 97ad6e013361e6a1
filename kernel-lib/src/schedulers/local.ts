/**
 * The scheduler of this machine: a small SLURM. It takes the very batch script that a cluster would get, reads its
 * `#SBATCH` lines, and runs it as a process group of its own: a queue, a time limit, cancel, requeue, an exit status.
 * Jobs outlive the agent and the daemon that watches them.
 */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { cpus } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import type { Transport } from "../cluster/transport.js";
import { SchedulerError } from "../errors.js";
import { distFile } from "../paths.js";
import { holderOf, lives } from "../process.js";
import { isEnd } from "../protocol.js";
import type { Observation, Scheduler } from "./index.js";
import {
  bootId,
  isHeld,
  jobFolder,
  jobIds,
  type LocalJob,
  newJobFolder,
  queueDir,
  readJson,
  readText,
  request,
  statusOf,
  unitsOf,
  withdraw,
  writeWhole,
} from "./local-queue.js";
import { directives, slurmSeconds } from "./sbatch.js";
import { batchScript } from "./script.js";

/** The scheduler `local`. */
export const local: Scheduler = {
  kind: "local",
  script: batchScript,
  submitCommand: (path) => ["yale-local-sbatch", path],

  async submit(_transport: Transport, path: string): Promise<string> {
    const text = readText(path);
    if (text === undefined) throw new SchedulerError(`The batch script ${path} can't be read.`);
    const d = directives(text);
    const chdir = d.get("chdir") ?? dirname(path);
    const time = d.get("time");
    const limit = time === undefined ? undefined : slurmSeconds(time);
    if (time !== undefined && limit === undefined)
      throw new SchedulerError(`Invalid --time specification ${JSON.stringify(time)}.`, 'Write "HH:MM:SS".');
    const warn = /^(?:B:)?(USR1|USR2|TERM|INT)(?:@(\d+))?$/.exec(d.get("signal") ?? "");
    const after = (d.get("dependency") ?? "")
      .split(",")
      .filter((part) => part !== "")
      .map((part) => {
        const m = /^(afterok|afterany):(\d+)$/.exec(part);
        if (m === null)
          throw new SchedulerError(
            `The dependency ${JSON.stringify(part)} is not known here.`,
            "Use afterok or afterany.",
          );
        return { id: m[2] ?? "", condition: m[1] as "afterok" | "afterany" };
      });
    const perTask = Number(d.get("cpus-per-task"));
    const array = /^0-(\d{1,6})(?:%\d+)?$/.exec(d.get("array") ?? "0-0");
    if (array === null)
      throw new SchedulerError(`The array ${JSON.stringify(d.get("array"))} is not known here.`, "Use `shards`.");
    const tasks = d.has("array") ? Number(array[1]) + 1 : undefined;
    const { id, folder } = newJobFolder();
    const job: LocalJob = {
      id,
      script: resolve(path),
      chdir,
      name: d.get("job-name") ?? basename(path),
      comment: d.get("comment") ?? "",
      output: d.get("output") ?? (tasks === undefined ? "slurm-%j.out" : "slurm-%A_%a.out"),
      append: d.get("open-mode") === "append",
      ...(tasks === undefined ? {} : { tasks }),
      ...(Number.isInteger(perTask) && perTask > 0 ? { cpus: perTask } : {}),
      ...(limit === undefined ? {} : { limit }),
      ...(warn === null ? {} : { warn: { signal: `SIG${warn[1]}` as NodeJS.Signals, seconds: Number(warn[2] ?? 60) } }),
      after,
      submittedAt: new Date().toISOString(),
      boot: bootId(),
    };
    if (tasks !== undefined)
      for (const unit of unitsOf(job)) mkdirSync(jobFolder(unit), { recursive: true, mode: 0o700 });
    writeWhole(join(folder, "job.json"), `${JSON.stringify(job)}\n`);
    ensureDaemon();
    return id;
  },

  async find(_transport, token) {
    // From the newest back: what is looked for was submitted a moment ago.
    for (const id of jobIds().reverse())
      if (readJson<LocalJob>(join(queueDir(), "jobs", id, "job.json"))?.comment === token) return id;
    return undefined;
  },

  async query(_transport, asked) {
    const jobs = new Map<string, Observation>();
    let waiting = false;
    for (const { id } of asked) {
      const status = statusOf(id);
      if (status === undefined) continue;
      const held = status.state === "queued" && isHeld(id);
      jobs.set(id, {
        ...status,
        raw: status.state.toUpperCase(),
        held,
        ...(held ? { reason: "Held: it waits until it is released (JobHeldUser)." } : {}),
      });
      if (!isEnd(status.state)) waiting = true;
    }
    if (waiting) ensureDaemon();
    return { jobs, silent: [] };
  },

  async cancel(_transport, ids) {
    for (const id of ids) {
      const status = statusOf(id);
      if (status !== undefined && !isEnd(status.state)) request(id, "cancel");
    }
    ensureDaemon();
  },

  async hold(_transport, ids) {
    for (const id of ids) {
      const status = statusOf(id);
      if (status?.state !== "queued")
        throw new SchedulerError(`Job ${id} does not wait in the queue.`, "Only a queued job can be held.");
      request(id, "hold");
    }
  },

  async release(_transport, ids) {
    for (const id of ids) if (statusOf(id) !== undefined) withdraw(id, "hold");
    ensureDaemon();
  },

  async test(_transport, script) {
    const time = directives(script).get("time");
    if (time !== undefined && slurmSeconds(time) === undefined)
      return { refusal: `Invalid --time specification ${JSON.stringify(time)}.` };
    const waiting = jobIds().some((id) => !isEnd(statusOf(id)?.state ?? "completed"));
    // Nobody knows when the jobs before it end.
    return waiting ? {} : { start: new Date().toISOString() };
  },

  async describe() {
    const total = cpus().length;
    const running = jobIds().some((id) => statusOf(id)?.state === "running");
    return {
      partitions: [
        {
          name: "local",
          default: true,
          up: true,
          nodes: { total: 1, idle: running ? 0 : 1, mixed: running ? 1 : 0, down: 0 },
          cpus: { total, free: running ? 0 : total },
          gpus: [],
        },
      ],
      accounts: [],
      qos: [],
    };
  },
};

/** Makes sure that the daemon runs; it ends by itself when nothing is left to do. */
function ensureDaemon(): void {
  const lock = join(queueDir(), "daemon");
  const holder = holderOf(lock);
  if (holder !== undefined && lives(holder)) return;
  mkdirSync(queueDir(), { recursive: true });
  const log = openSync(join(queueDir(), "daemon.log"), "a", 0o600);
  const child = spawn(process.execPath, [distFile("local-scheduler.cjs")], {
    detached: true,
    stdio: ["ignore", log, log],
    env: process.env,
  });
  closeSync(log);
  child.on("error", () => undefined);
  child.unref();
}
