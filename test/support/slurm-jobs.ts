/** Real jobs on the toy cluster or this machine, watched as the service watches them, without the service. */
import { posix } from "node:path";
import { openTransport } from "../../kernel-lib/src/cluster/registry.js";
import { type Transport, writeFile } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { endOf, type Outcome } from "../../kernel-lib/src/jobs/outcome.js";
import { newRecord } from "../../kernel-lib/src/jobs/records.js";
import { Watcher } from "../../kernel-lib/src/jobs/watch.js";
import { type JobRecord, type JobSpec, newJobId, type Resources } from "../../kernel-lib/src/protocol.js";
import type { Observation, Scheduler } from "../../kernel-lib/src/schedulers/index.js";
import { slurm } from "../../kernel-lib/src/schedulers/slurm.js";
import type { Bed } from "./bed.js";
import { Sandbox } from "./sandbox.js";

/** What of a job a test chooses. */
export interface Wish {
  name?: string;
  /** The text that bash runs; for kind `ocr` it stands for the runner. */
  text: string;
  kind?: "ocr" | "run";
  resources?: Resources;
  shards?: number;
  after?: { job: TestJob; condition: "afterok" | "afterany" }[];
  /** Makes the folder so that the job can't start. */
  noLogFolder?: boolean;
}

/** One submitted job. */
export interface TestJob {
  record: JobRecord;
  schedulerId: string;
  /** States that its record went through. */
  states: string[];
  /** SLURM's words. */
  words: string[];
  /** Its reasons on the way. */
  reasons: string[];
  /** Its end, as the record says it, and what people are told. */
  end: Promise<{ observation: Observation; outcome: Outcome }>;
}

/** A line to the bed over SSH, a scheduler, and a watcher. */
export class JobBench {
  readonly bed: Bed;
  readonly box: Sandbox;
  readonly scheduler: Scheduler;
  readonly cluster: ClusterConfig;
  readonly line: Transport;
  /** Argument lists of everything that was run on the cluster. */
  readonly commands: (readonly string[])[] = [];
  /** Looks of the watcher so far. */
  looks = 0;
  readonly watcher: Watcher;
  readonly #jobs = new Map<string, { job: TestJob; ended: (o: Observation) => void }>();

  private constructor(bed: Bed, box: Sandbox, cluster: ClusterConfig, line: Transport, scheduler: Scheduler) {
    this.bed = bed;
    this.box = box;
    this.cluster = cluster;
    this.scheduler = scheduler;
    this.line = {
      kind: line.kind,
      lost: line.lost,
      asked: line.asked,
      sftp: (channel) => line.sftp(channel),
      close: () => line.close(),
      exec: (argv, options) => {
        this.commands.push(argv);
        return line.exec(argv, options);
      },
    };
    this.watcher = new Watcher(
      {
        cluster,
        scheduler,
        open: async () => {
          this.looks += 1;
          return this.line;
        },
      },
      (record) => this.#note(record),
      async (record, observation) => {
        this.#note(record);
        this.#jobs.get(record.id)?.ended(observation);
      },
    );
  }

  /** For the scheduler `slurm` over SSH, for `local` on this machine. */
  static async open(bed: Bed, scheduler: Scheduler = slurm): Promise<JobBench> {
    const box = new Sandbox().enter();
    bed.writeSshFolder(box.home);
    const { kind } = scheduler;
    const policy = { pollSeconds: 1, minTaskMinutes: 0, taskMinutes: 0 };
    const cluster = await bed.cluster("key", {
      policy,
      scheduler: kind,
      ...(kind === "local" && { transport: "local" }),
    });
    const line = await openTransport(cluster, { ask: async () => null });
    return new JobBench(bed, box, cluster, line, scheduler);
  }

  /** Path of a job's folder, or in it. */
  path(...parts: string[]): string {
    return this.scheduler.kind === "local" ? posix.join(this.box.home, ...parts) : this.bed.home(...parts);
  }

  async close(): Promise<void> {
    this.watcher.close();
    await this.line.close();
    await this.box.close();
  }

  #note(record: JobRecord): void {
    const known = this.#jobs.get(record.id)?.job;
    if (known === undefined) return;
    if (known.states.at(-1) !== record.state) known.states.push(record.state);
    if (record.raw !== undefined && known.words.at(-1) !== record.raw) known.words.push(record.raw);
    if (record.reason !== undefined && known.reasons.at(-1) !== record.reason) known.reasons.push(record.reason);
  }

  /** Programs that the watcher and the scheduler have run since the last call, without what runs them. */
  takeCommands(): string[] {
    return this.commands
      .splice(0)
      .map((argv) => argv.find((word) => /^(squeue|sacct|sbatch|scancel|scontrol|sinfo)$/.test(word)) ?? argv[0] ?? "");
  }

  /** A specification with what a test does not care about filled in. */
  spec(wish: Wish): JobSpec {
    const { kind = "run" } = wish;
    return {
      kind,
      name: wish.name ?? "test job",
      cluster: "key",
      sources: [],
      options: {},
      resources: wish.resources ?? {},
      ...(kind === "run"
        ? { script: { name: "work.sh", text: wish.text, interpreter: "bash" as const, args: [] } }
        : {}),
      ...(wish.shards === undefined ? {} : { shards: wish.shards }),
      ...(wish.after === undefined
        ? {}
        : { after: wish.after.map((a) => ({ job: a.job.record.id, condition: a.condition })) }),
    };
  }

  /** Submits a job in a folder of its own and begins to watch it. */
  async submit(wish: Wish): Promise<TestJob> {
    const id = newJobId();
    const spec = this.spec(wish);
    const jobDir = this.path("yale", id);
    const sftp = await this.line.sftp();
    for (const folder of ["output", "runner", ...(wish.noLogFolder ? [] : ["log"])])
      await sftp.mkdir(posix.join(jobDir, folder));
    await writeFile(sftp, posix.join(jobDir, "runner", "work.sh"), wish.text, 0o700);
    const script = this.scheduler.script({
      id,
      token: `yale-${id}-1`,
      spec,
      jobDir,
      command: ["bash", spec.kind === "run" ? "../runner/work.sh" : "runner/work.sh"],
      prologue: [],
      attempt: 1,
      ...(wish.after === undefined ? {} : { afterIds: wish.after.map((a) => a.job.schedulerId) }),
    });
    await writeFile(sftp, posix.join(jobDir, "job.sh"), script, 0o700);
    const schedulerId = await this.scheduler.submit(this.line, posix.join(jobDir, "job.sh"), `yale-${id}-1`);
    return this.watch(spec, schedulerId, { id, jobDir });
  }

  /** Watches a job that the scheduler has. */
  watch(spec: JobSpec, schedulerId: string, more: Partial<JobRecord> = {}): TestJob {
    const record: JobRecord = {
      ...newRecord(newJobId(), spec),
      state: "queued",
      submittedAt: new Date().toISOString(),
      schedulerId,
      ...more,
    };
    let ended: (o: Observation) => void = () => undefined;
    const end = new Promise<Observation>((resolve) => {
      ended = resolve;
    }).then((observation) => ({ observation, outcome: endOf(record, observation) }));
    const job: TestJob = { record, schedulerId, states: [], words: [], reasons: [], end };
    this.#jobs.set(record.id, { job, ended });
    this.watcher.add(record);
    return job;
  }

  /** Resolves when the record of a job is as `check` wants it. */
  async when(job: TestJob, check: (record: JobRecord) => boolean, timeout = 60_000): Promise<void> {
    const until = Date.now() + timeout;
    while (!check(job.record)) {
      if (Date.now() > until)
        throw new Error(`Job ${job.schedulerId} is ${job.record.state} (${job.record.raw}): ${job.record.reason}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  /** The log of a job. */
  async log(job: TestJob, file = "log/job.log"): Promise<string> {
    const { stdout } = await this.line.exec(["cat", posix.join(job.record.jobDir ?? "", file)]);
    return stdout;
  }
}
