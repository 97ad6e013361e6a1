/**
 * The core: all verbs of {@link Core} on records, sources, lines and schedulers. The agent hosts one; a script with
 * `agent: false` hosts its own. The verbs are here; how a job is brought to its end stands in drive.ts.
 */
import { join, posix } from "node:path";
import { isMissing, readFile, type Sftp, type Transport } from "../cluster/transport.js";
import { JobNotFoundError, SchedulerError, TransferError, UsageError } from "../errors.js";
import { cacheDir, stateDir } from "../paths.js";
import {
  type AgentEvent,
  type ClusterInfo,
  type Connection,
  type Core,
  type Estimate,
  isEnd,
  type JobFilter,
  type JobRecord,
  type JobSpec,
  type LogChunk,
  newJobId,
  type Plan,
  type Prompt,
} from "../protocol.js";
import { scheduler } from "../schedulers/registry.js";
import { SubmissionBudget } from "./budget.js";
import { Driver, outputDir } from "./drive.js";
import { EventHub } from "./events.js";
import { JOB_ID } from "./job-file.js";
import { Lines, type LinesOptions } from "./lines.js";
import type { LiveJob } from "./live.js";
import { logFile, readLog } from "./logs.js";
import { checkedJob, clusterOf, planOf, resolveJob } from "./plan.js";
import { Prompts } from "./prompts.js";
import { JobRecords, newRecord } from "./records.js";
import { beginAttempt } from "./retry.js";

/** Names in an output folder that are not results: the link to the input and the runner's own books. */
const NOT_RESULTS = new Set(["dataset", "journal.jsonl"]);

/** Changes with which a job may go on in its folder, since its results do not depend on them. */
const SAME_RESULTS = new Set(["resources", "env", "modules", "retries"]);

/** A core that can be closed. */
export interface OpenCore extends Core {
  /** Stops watching and closes the lines. Jobs go on. */
  close(): Promise<void>;
  /** Jobs that this core drives now. */
  active(): number;
}

/** Opens a core in this process and takes up the jobs that nobody drives. `open` is how lines are opened, for tests. */
export async function openCore(options: Pick<LinesOptions, "open"> = {}): Promise<OpenCore> {
  const core = new JobService(options.open);
  core.adopt();
  return core;
}

class JobService implements OpenCore {
  readonly #records = new JobRecords(join(stateDir(), "jobs"));
  readonly #hub = new EventHub();
  readonly #prompts = new Prompts(
    (prompt) => this.#hub.emit({ type: "prompt", prompt }),
    (id, reason) => this.#hub.emit({ type: "prompt_gone", id, reason }),
  );
  readonly #lines: Lines;
  readonly #driver: Driver;

  constructor(open: LinesOptions["open"]) {
    this.#lines = new Lines({
      ask: (question, signal) => this.#prompts.ask(question, signal),
      onChange: (connection) => this.#hub.emit({ type: "connection", connection }),
      ...(open === undefined ? {} : { open }),
    });
    this.#driver = new Driver({
      records: this.#records,
      lines: this.#lines,
      budget: new SubmissionBudget(),
      emit: (event) => this.#hub.emit(event),
      fetch: async (transport, record, folder, signal) => {
        await fetchOutput(transport, record, folder, signal);
      },
      results: (transport, record, signal) => fetchResults(transport, record, signal),
    });
  }

  adopt(): void {
    this.#driver.adopt();
  }

  active(): number {
    return this.#driver.jobs.size;
  }

  async close(): Promise<void> {
    this.#prompts.close();
    this.#driver.close();
    await this.#lines.closeAll();
  }

  async submit(given: JobSpec, id: string = newJobId()): Promise<JobRecord> {
    if (!JOB_ID.test(id)) throw new UsageError(`${JSON.stringify(id)} is no job id.`);
    const known = this.#driver.jobs.find(id);
    if (known !== undefined) return structuredClone(known);
    // What can be refused is refused now, while the caller is there to read it.
    const job = await checkedJob(this.#named(given));
    const { spec } = job;
    this.#checkInput(spec);
    // Lines that no batch script can hold are refused now, too.
    planOf(job);
    // Asked again meanwhile, by a client that lost the first answer.
    const twin = this.#driver.jobs.find(id);
    if (twin !== undefined) return structuredClone(twin);
    return this.#begin(newRecord(id, spec));
  }

  /** The jobs that a specification names, by their whole ids: a name or a beginning may mean another one tomorrow. */
  #named(spec: JobSpec): JobSpec {
    const { after, dataFrom } = spec;
    return {
      ...spec,
      ...(after === undefined ? {} : { after: after.map((a) => ({ ...a, job: this.#record(a.job).id })) }),
      ...(dataFrom === undefined ? {} : { dataFrom: this.#record(dataFrom).id }),
    };
  }

  #checkInput(spec: JobSpec): void {
    if (spec.dataFrom === undefined) return;
    const from = this.#record(spec.dataFrom);
    if (from.spec.cluster !== spec.cluster || from.spec.config !== spec.config)
      throw new UsageError(
        `The output of job ${from.id} is on ${from.spec.cluster}, and this job is to run on ${spec.cluster}.`,
        `Run it there too, or give the folder that \`yale jobs results ${from.id} --folder\` prints as data.`,
      );
  }

  #begin(record: JobRecord): JobRecord {
    this.#records.save(record);
    this.#driver.drive(record, { asked: true });
    return structuredClone(record);
  }

  async plan(spec: JobSpec): Promise<Plan> {
    const job = await checkedJob(this.#named(spec));
    this.#checkInput(job.spec);
    return planOf(job);
  }

  async list(filter: JobFilter = {}): Promise<JobRecord[]> {
    return this.#records.list(filter).map((r) => structuredClone(this.#driver.jobs.get(r.id)?.record ?? r));
  }

  async get(id: string): Promise<JobRecord> {
    return structuredClone(this.#record(id));
  }

  async cancel(id: string): Promise<JobRecord> {
    const record = this.#record(id);
    if (!isEnd(record.state)) await this.#driver.cancel(this.#live(record));
    return structuredClone(record);
  }

  async hold(id: string): Promise<JobRecord> {
    return this.#inQueue(id, "hold");
  }

  async release(id: string): Promise<JobRecord> {
    return this.#inQueue(id, "release");
  }

  async #inQueue(id: string, verb: "hold" | "release"): Promise<JobRecord> {
    const record = this.#record(id);
    if (isEnd(record.state) || record.state === "running" || record.state === "completing")
      throw new UsageError(
        `Job ${record.id} is ${record.state}: there is nothing to ${verb}.`,
        "Only a job that has not started can be held and released.",
      );
    const live = this.#live(record);
    if (record.schedulerId !== undefined) {
      const { cluster, scheduler } = await resolveJob(record.spec);
      await scheduler[verb](await this.#lines.open(cluster), [record.schedulerId]);
    }
    if (verb === "hold") record.held = true;
    else delete record.held;
    live.changed(true);
    this.#driver.soon(record);
    return structuredClone(record);
  }

  async estimate(spec: JobSpec): Promise<Estimate> {
    const { estimateJob } = await import("./estimate.js");
    return estimateJob(await checkedJob(this.#named(spec)), {
      open: (cluster) => this.#lines.open(cluster, { interactive: false }),
      records: this.#records.list(),
    });
  }

  async cluster(name: string, config?: string): Promise<ClusterInfo> {
    const { cluster } = await clusterOf({ cluster: name, ...(config === undefined ? {} : { config }) });
    const { clusterInfo } = await import("./cluster-info.js");
    return clusterInfo(cluster, await this.#lines.open(cluster));
  }

  async sync(name: string, config?: string): Promise<{ found: number; added: number; skipped: string[] }> {
    const { cluster } = await clusterOf({ cluster: name, ...(config === undefined ? {} : { config }) });
    const transport = await this.#lines.open(cluster);
    const { findJobs } = await import("./sync.js");
    const { records, skipped, known } = await findJobs({
      cluster,
      config,
      scheduler: scheduler(cluster.scheduler),
      transport,
      known: (id) => this.#driver.jobs.find(id) !== undefined,
    });
    for (const record of records) {
      this.#records.save(record);
      this.#hub.emit({ type: "job", job: structuredClone(record) });
      if (!isEnd(record.state)) this.#driver.drive(record, { asked: false });
    }
    return { found: records.length + known, added: records.length, skipped };
  }

  async retry(id: string, changes: Partial<JobSpec> = {}): Promise<JobRecord> {
    const old = this.#record(id);
    if (!isEnd(old.state))
      throw new UsageError(
        `Job ${old.id} is still ${old.state}.`,
        `Wait for its end, or \`yale jobs cancel ${old.id}\` first.`,
      );
    const resources = { ...old.spec.resources, ...changes.resources };
    const options = { ...old.spec.options, ...changes.options };
    const spec = { ...old.spec, ...changes, resources, options };
    if (Object.keys(changes).some((key) => !SAME_RESULTS.has(key))) {
      const record = await this.submit(spec);
      const live = this.#live(record);
      live.record.retryOf = old.id;
      live.changed(true);
      return structuredClone(live.record);
    }
    const job = await (changes.resources === undefined ? resolveJob : checkedJob)(spec);
    const now = this.#record(id);
    if (now.attempt !== old.attempt || !isEnd(now.state))
      throw new UsageError(`Job ${old.id} was just run again.`, `\`yale jobs status ${old.id}\` tells how it goes.`);
    const record = { ...structuredClone(old), spec: job.spec };
    beginAttempt(record, old.state, { automatic: false });
    return this.#begin(record);
  }

  async remove(id: string, options: { files?: boolean } = {}): Promise<void> {
    const record = this.#record(id);
    if (!isEnd(record.state))
      throw new UsageError(`Job ${record.id} is still ${record.state}.`, `\`yale jobs cancel ${record.id}\` first.`);
    if (options.files && record.jobDir !== undefined) {
      const { transport } = await this.#lineOf(record);
      // The folder is ours by its name; a record that was tampered with does not delete anything else.
      const ours = posix.basename(record.jobDir) === record.id;
      const { code, stderr } = ours
        ? await transport.exec(["rm", "-rf", "--", record.jobDir])
        : { code: 0, stderr: "" };
      if (code !== 0)
        throw new TransferError(
          `The files of job ${record.id} could not all be removed: ${stderr.trim().slice(0, 300)}`,
          `Look at ${record.jobDir}, then try again; without --files only its record goes.`,
        );
    }
    this.#records.remove(record.id);
    this.#hub.emit({ type: "job_removed", id: record.id });
  }

  async logs(id: string, options: { offset?: number; task?: number } = {}): Promise<LogChunk> {
    const record = this.#record(id);
    const file = logFile(record, options.task);
    if (record.jobDir === undefined) return { text: "", next: 0, end: isEnd(record.state) };
    return readLog((await this.#lineOf(record)).sftp, file, record, options.offset);
  }

  async results(id: string): Promise<{ folder: string; complete: boolean }> {
    const record = this.#record(id);
    const complete = record.state === "completed";
    if (record.jobDir === undefined)
      throw new UsageError(
        `Job ${record.id} is ${record.state} and has no results yet.`,
        record.error?.fix ?? "Wait for its first pages.",
      );
    const { transport, sftp } = await this.#lineOf(record);
    await expectResults(sftp, outputDir(record), record);
    return { folder: await fetchResults(transport, record), complete };
  }

  async download(id: string, folder: string): Promise<{ files: number; bytes: number; folder: string }> {
    const record = this.#record(id);
    if (record.jobDir === undefined)
      throw new UsageError(`Job ${record.id} is ${record.state} and has no output yet.`, "Wait until it runs.");
    const { files, bytes } = await fetchOutput((await this.#lineOf(record)).transport, record, folder);
    return { files, bytes, folder };
  }

  async connections(): Promise<Connection[]> {
    return this.#lines.list();
  }

  async login(name: string, config?: string): Promise<Connection> {
    const { cluster } = await clusterOf({ cluster: name, ...(config === undefined ? {} : { config }) });
    await this.#lines.login(cluster);
    return this.#lines.list().find((c) => c.cluster === cluster.name) ?? { cluster: cluster.name, state: "connected" };
  }

  async logout(cluster: string): Promise<Connection> {
    return this.#lines.close(cluster);
  }

  async prompts(): Promise<Prompt[]> {
    return this.#prompts.list();
  }

  async answer(promptId: string, answers: string[] | null): Promise<void> {
    this.#prompts.answer(promptId, answers);
  }

  events(signal?: AbortSignal): AsyncIterable<AgentEvent> {
    return this.#hub.listen(signal);
  }

  // ---- records and files -------------------------------------------------------------------------------------------

  #record(id: string): JobRecord {
    const record = this.#records.get(id);
    return this.#driver.jobs.get(record.id)?.record ?? record;
  }

  /** The job as this core drives it. Throws SchedulerError if another process does. */
  #live(record: JobRecord): LiveJob {
    const live = this.#driver.jobs.get(record.id);
    if (live === undefined)
      throw new SchedulerError(`Job ${record.id} is driven by another process.`, "Do it there, or end that process.");
    return live;
  }

  async #lineOf(record: JobRecord): Promise<{ transport: Transport; sftp: Sftp }> {
    const transport = await this.#lines.open((await clusterOf(record.spec)).cluster);
    return { transport, sftp: await transport.sftp() };
  }
}

/** Folder with a job's results here: its own where it ran here, else a copy in the cache, brought up to date. */
async function fetchResults(transport: Transport, record: JobRecord, signal?: AbortSignal): Promise<string> {
  if (transport.kind === "local") return outputDir(record);
  const folder = join(cacheDir(), "results", record.id);
  await fetchOutput(transport, record, folder, signal);
  return folder;
}

async function fetchOutput(
  transport: Transport,
  record: JobRecord,
  to: string,
  signal?: AbortSignal,
): Promise<{ files: number; bytes: number }> {
  const { downloadTree } = await import("../cluster/transfer.js");
  const done = await downloadTree(transport, outputDir(record), to, {
    exclude: (path) => NOT_RESULTS.has(posix.basename(path)),
    ...(signal === undefined ? {} : { signal }),
  });
  if ((record.spec.shards ?? 1) > 1) {
    // A task may have gone on between the copy of its files and that of the list above them.
    const { composeShards } = await import("../dataset/index.js");
    await composeShards(to);
  }
  return done;
}

async function expectResults(sftp: Sftp, output: string, record: JobRecord): Promise<void> {
  try {
    await readFile(sftp, posix.join(output, "state.json"));
  } catch (error) {
    if (!isMissing(error)) throw error;
    if (record.spec.kind === "run")
      throw new JobNotFoundError(
        `Job ${record.id} wrote no dataset; its files are in ${output}.`,
        `\`yale jobs download ${record.id}\` brings them here.`,
      );
    throw new UsageError(
      `Job ${record.id} is ${record.state} and has no results yet.`,
      isEnd(record.state) ? `\`yale jobs logs ${record.id}\` says why.` : "The first appear after a few pages.",
    );
  }
}
