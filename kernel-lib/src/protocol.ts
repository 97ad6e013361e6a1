/**
 * What crosses a process border: agent, notebook kernel, CLI, JupyterLab panel, job folder. Imports nothing, so that
 * the browser extension can take it as it is. All values are JSON; times are ISO 8601 UTC, sizes bytes.
 */

/** Version of this protocol. The first thing client and agent exchange; they must be equal. */
export const PROTOCOL_VERSION = 2;

/** Header in which each side names the protocol it speaks. */
export const PROTOCOL_HEADER = "x-yale-protocol";

/** MIME type of a job in a notebook output: its data is a {@link JobRecord}. */
export const JOB_MIME = "application/vnd.yale.job+json";

/** The second of the last id, and what its last four digits stand for. */
let second = 0;
let last = 0;

/**
 * A new job id: ten letters and digits that sort by time of creation, short enough to read out, and never given twice
 * by one process. Any unique beginning names the job.
 */
export function newJobId(now: number = Date.now()): string {
  const digits = "0123456789abcdefghjkmnpqrstvwxyz";
  // Seconds since 2020 fill six digits until 2054. Four random ones tell processes apart; of one process, which may
  // submit a thousand jobs in a second, each counts on from the one before. It starts low to have room for that.
  const time = Math.floor(now / 1000) - 1_577_836_800;
  last = time === second ? last + 1 + Math.floor(Math.random() * 32) : Math.floor((Math.random() * 32 ** 4) / 2);
  second = time;
  let id = "";
  for (let n = time * 32 ** 4 + last; id.length < 10; n = Math.floor(n / 32)) id = digits[n % 32] + id;
  return id;
}

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The kinds of source that can be named in a specification. */
export type SourceKind = "pdf" | "iiif" | "web" | "directory" | "hf" | "dataset";

/** A source as data: where it is and how to read it. What the options of a kind are stands in `sources/<kind>.ts`. */
export interface SourceSpec {
  /** `auto` is found out by content when the job is planned or submitted; a record never holds it. */
  kind: SourceKind | "auto";
  /** Path, glob, URL or dataset id; relative paths are made absolute before they leave the caller's process. */
  location: string;
  options?: { [key: string]: Json };
}

/** What to ask of the scheduler, in SLURM's words. Absent means the site's default. */
export interface Resources {
  /** `type:count` or `count`, such as `a100:1`. */
  gpus?: string;
  /** CPUs per task. */
  cpus?: number;
  /** SLURM's form, such as `32G`. */
  memory?: string;
  /** SLURM's form with colons or a day, such as `02:00:00` or `1-00:00:00`; never a bare number. */
  time?: string;
  partition?: string;
  nodes?: number;
  account?: string;
  qos?: string;
  constraint?: string;
  /** Lines added as they are after the generated `#SBATCH` lines, each beginning with `#SBATCH `. */
  extra?: string[];
  mail?: { user: string; type: string };
}

/** A whole job as data: enough to run it again. Made by the builder, stored in the record and in `job.json`. */
export interface JobSpec {
  kind: "ocr" | "run";
  name: string;
  /** `local`, or a cluster of config.yaml; `""` for the configuration's default, never in a record. */
  cluster: string;
  /** Absolute path of the config.yaml that `cluster` refers to; absent where there is none. */
  config?: string;
  sources: SourceSpec[];
  /** A dataset folder that already lies on the cluster; then `sources` is empty. */
  datasetPath?: string;
  /** Id of a job on the same cluster whose output is the input of this one; nothing is brought here and back. */
  dataFrom?: string;
  /** Stop after so many pages of all sources together. */
  maxSamples?: number;
  /** Name of the runner's card, for kind `ocr`. */
  runner?: string;
  /** Options of the runner, checked against its card. */
  options: { [key: string]: Json };
  /** For kind `run`: the user's script, its text unchanged. */
  script?: { name: string; text: string; interpreter: "python3" | "bash" | "node"; args: string[] };
  /** Conda environment, or `""` for none. */
  env?: string;
  /** `module load` these first. */
  modules?: string[];
  /** Environment variables for the job; never secrets, since job.sh holds them. */
  variables?: { [name: string]: string };
  resources: Resources;
  /** Split the pages over so many array tasks; absent is 1. */
  shards?: number;
  /** It is submitted when the first pages are on the cluster; the others come while it waits and runs. For kind `ocr`. */
  startEarly?: boolean;
  /** Ids of jobs that must have ended before this one starts. */
  after?: { job: string; condition: "afterok" | "afterany" }[];
  /** How often it is run again by itself after a failure that may pass; absent is 3, 0 is never. */
  retries?: number;
  labels?: { [name: string]: string };
  /** Local folder that results are put into when the job is done. */
  output?: string;
  /** Dataset on the Hugging Face Hub, `owner/name`, that results are pushed to when the job is done. */
  pushToHub?: string;
}

/** States of a job. The last eight are ends. */
export const JOB_STATES = [
  "preparing",
  "uploading",
  "queued",
  "running",
  "completing",
  "unknown",
  "completed",
  "failed",
  "cancelled",
  "timeout",
  "out_of_memory",
  "node_fail",
  "preempted",
  "lost",
] as const;
/** One of {@link JOB_STATES}. `unknown`: the scheduler said a word nobody knows; never an end. */
export type JobState = (typeof JOB_STATES)[number];

const ENDS: ReadonlySet<string> = new Set(JOB_STATES.slice(6));
/** True if a job in this state never changes again by itself. */
export function isEnd(state: JobState): boolean {
  return ENDS.has(state);
}

/** How far a job is: one stream that notebook bar, CLI bar and panel row all read. */
export interface Progress {
  /** Pages prepared so far, and how many there will be where the source can tell. */
  prepared: number;
  preparedTotal?: number;
  /** Bytes uploaded of bytes to upload; absent before the upload starts. */
  uploadedBytes?: number;
  uploadTotalBytes?: number;
  /** Pages recognised or otherwise done by the runner, and those of them that ended in an error. */
  done: number;
  failed: number;
  /** Pages in the dataset, once known. */
  total?: number;
  /** Pages per second of the runner, over the last minute. */
  rate?: number;
  /** Seconds left, by the rate. */
  etaSeconds?: number;
  /** What the runner says of itself: "starting server", GPU use and the like. */
  message?: string;
}

/** A page that could not be had or recognised; the run went on. */
export interface Fault {
  /** Key of the page, or of the file if it has no pages. */
  key: string;
  source: string;
  page?: number;
  /** Why, in a sentence. */
  reason: string;
  /** What to do. */
  fix?: string;
}

/** Figures of a whole job, known after its end where the scheduler keeps accounts. */
export interface Usage {
  /** Wall time of the last run. */
  elapsedSeconds?: number;
  /** CPU time used, and that it had to itself (CPUs × wall time). */
  cpuSeconds?: number;
  cpuAllocatedSeconds?: number;
  maxMemoryBytes?: number;
  memoryAskedBytes?: number;
  gpus?: number;
  /** GPUs × wall time. */
  gpuSeconds?: number;
  /** Node or nodes, in the scheduler's form. */
  nodes?: string;
  /** What was asked for and not used, in a sentence as `seff` would say it; absent if nothing is worth saying. */
  waste?: string;
}

/** The tasks of an array job, counted. */
export interface TaskCounts {
  total: number;
  queued: number;
  running: number;
  completed: number;
  failed: number;
}

/** How an attempt before the present one ended. */
export interface EarlierAttempt {
  attempt: number;
  schedulerId?: string;
  state: JobState;
  /** Pages that were done at its end. */
  done: number;
  /** Those of them that ended in an error. */
  failed?: number;
  /** True if the next attempt began by itself. */
  automatic: boolean;
}

/** All that is known of a job. Written by the agent only; everyone else reads. */
export interface JobRecord {
  id: string;
  spec: JobSpec;
  state: JobState;
  /** The scheduler's own word, such as `CANCELLED by 1001`. */
  raw?: string;
  /** Why it waits or why it ended, in a sentence. */
  reason?: string;
  createdAt: string;
  submittedAt?: string;
  startedAt?: string;
  endedAt?: string;
  /** When the scheduler was last heard; older than a few intervals means that it can't be reached. */
  heardAt?: string;
  schedulerId?: string;
  /** When the scheduler expects to start it; its own guess, ISO 8601. */
  expectedStart?: string;
  /** True while it is held in the queue. */
  held?: boolean;
  /** For a job with shards. */
  tasks?: TaskCounts;
  /** Of a job with shards, the tasks that this attempt runs, if the others are done. */
  onlyTasks?: number[];
  usage?: Usage;
  /** Things worth knowing that are no errors: a step that failed in a script that went on, a requeue, pages set aside. */
  notes?: string[];
  /** Set just before the scheduler is asked to take the job: after a crash it is looked up before it is sent again. */
  submitting?: boolean;
  /** Somebody cancelled it, and the scheduler is told as soon as it can be reached. */
  cancelling?: boolean;
  exitCode?: number;
  signal?: number;
  /** Absolute path of the job folder, on the cluster or here. */
  jobDir?: string;
  dataset?: { hash: string; pages: number; bytes: number };
  /** True while pages still come to a job that was submitted on the first of them. */
  coming?: boolean;
  /** Pages that the source could not give, at most the first 1,000. */
  faults: Fault[];
  /** How many there were in all. */
  faultCount: number;
  progress: Progress;
  /** The last few lines of the job's log, as they came: hostile until escaped. */
  logTail: string[];
  /** What ended it or stands in its way. */
  error?: { code: string; what: string; fix: string };
  /** Local folder that the results were put into. */
  resultsDir?: string;
  /** Page of the dataset on the Hugging Face Hub that the results were pushed to. */
  pushedTo?: string;
  /** Id of the job that this one repeats with changes. */
  retryOf?: string;
  /** Counts from 1; grows with every retry. */
  attempt: number;
  /** The attempts before this one, oldest first. */
  earlier?: EarlierAttempt[];
  /** Counts up with each change; events of one job arrive in this order. */
  revision: number;
}

/** Exactly what would be sent, and nothing sent: the answer of `plan()` and `--dry-run`. */
export interface Plan {
  spec: JobSpec;
  scheduler: string;
  /** Job folder, with `<id>` where the id will stand. */
  jobDir: string;
  /** The batch script. */
  script: string;
  /** Files of the job folder: path inside it and where each comes from. */
  files: { path: string; from: string }[];
  /** What is called to submit, as an argument list. */
  submit: string[];
  /** Things worth knowing before it is sent; never reasons to refuse, which throw. */
  warnings: string[];
}

/** A part of a job's log: bytes [offset, next) decoded as UTF-8. */
export interface LogChunk {
  text: string;
  next: number;
  /** True if the job has ended and nothing follows. */
  end: boolean;
}

/**
 * One line of `progress.jsonl`, appended by the runner (or by a user's script, if it likes): the only channel from a
 * running job to the watcher. `n` counts from 1 within an attempt; an unknown `type` is ignored.
 */
export type RunnerEvent = { n: number; time: string } & (
  | { type: "start"; total: number; done: number; attempt: number }
  | { type: "total"; total: number }
  | { type: "phase"; message: string }
  | { type: "page"; key: string; seconds: number }
  | { type: "error"; key: string; reason: string }
  | { type: "rate"; done: number; failed: number; total: number; rate: number; etaSeconds?: number; message?: string }
  | { type: "signal"; name: string }
  | { type: "end"; done: number; failed: number; total: number; exit: number }
);

/** A question of a cluster to a person: second factor, password, passphrase or unknown host key. */
export interface Prompt {
  id: string;
  cluster: string;
  kind: "second_factor" | "password" | "passphrase" | "host_key";
  /** The server's own words, as they came: hostile until escaped. */
  text: string;
  /** Each field to fill in; `echo` false means that what is typed must be masked. */
  fields: { label: string; echo: boolean }[];
  /** Choices that can be answered by one press, such as Duo's `1` for push. */
  choices: { value: string; label: string }[];
  /** ISO time after which the prompt is withdrawn. */
  expiresAt: string;
  /** Counts from 1; above 1 the answer before was refused. */
  attempt: number;
}

/** State of the line to one cluster. */
export interface Connection {
  cluster: string;
  state: "disconnected" | "connecting" | "prompting" | "connected" | "login_needed";
  since?: string;
  /** In words, where there is something to say. */
  message?: string;
}

/** What the agent tells everyone who listens. `id` grows by one with every event. */
export type AgentEvent =
  /** The first event, and again after every reconnection: from here on nothing is missed, so state is read now. */
  | { type: "listening" }
  | { type: "job"; job: JobRecord }
  | { type: "job_removed"; id: string }
  | { type: "prompt"; prompt: Prompt }
  | { type: "prompt_gone"; id: string; reason: "answered" | "expired" | "withdrawn" }
  | { type: "connection"; connection: Connection };

/** Filter of a list of jobs; an unknown key is an error. */
export interface JobFilter {
  state?: JobState[];
  cluster?: string;
  name?: string;
  label?: { [name: string]: string };
  /** Newest first; default all. */
  limit?: number;
}

/** What a job will take, before it is submitted. Every figure is absent where nothing is known. */
export interface Estimate {
  pages?: number;
  /** Of the runner on the hardware asked for, and where that figure comes from. */
  pagesPerSecond?: number;
  basis?: string;
  /** Of running, start of the model included, all shards side by side. */
  seconds?: number;
  gpuHours?: number;
  /** What `sbatch --test-only` says: when it would start, or why it never would. */
  expectedStart?: string;
  /** How far that time can be trusted, in words. */
  reliability?: string;
  refusal?: string;
  /** The same work on Hugging Face Jobs at its list price. */
  huggingFace?: { flavor: string; hours: number; dollars: number; checked: string };
  /** Advice: too short a limit, shards that would be too small, GPUs that would idle. */
  notes: string[];
}

/** What a cluster has and allows, asked of it a moment ago. */
export interface ClusterInfo {
  cluster: string;
  scheduler: string;
  version?: string;
  askedAt: string;
  partitions: {
    name: string;
    default: boolean;
    up: boolean;
    /** Longest time limit, and the one of jobs that name none. */
    maxSeconds?: number;
    defaultSeconds?: number;
    /** What one person may have there at once, where the cluster or the site's profile says so. */
    gpusPerUser?: number;
    runningPerUser?: number;
    submittedPerUser?: number;
    nodes: { total: number; idle: number; mixed: number; down: number };
    cpus: { total: number; free: number };
    gpus: { type: string; total: number; free: number }[];
  }[];
  accounts: string[];
  qos: string[];
  /** Tasks that one array may have. */
  maxArraySize?: number;
  /** Space for jobs and what else the site counts; absent figures are not known. */
  storage: {
    path: string;
    bytesFree?: number;
    bytesUsed?: number;
    bytesLimit?: number;
    filesFree?: number;
    filesUsed?: number;
    filesLimit?: number;
    /** Files are deleted there when they are so many days old. */
    purgeDays?: number;
    /** Datasets that lie staged there, and the day (ISO 8601) on which the first may be deleted. */
    staged?: { datasets: number; expires?: string };
  }[];
  /** Submissions within the last hour through any door of Yale Jobs, and how many the site allows. */
  submissions: { lastHour: number; limit?: number };
  /** The profile that its rules come from, and the day they were checked. */
  site?: { name: string; title: string; checked: string; notes: string[] };
}

/** What the agent says of itself at `GET /hello`. */
export interface Hello {
  protocol: number;
  version: string;
  pid: number;
  startedAt: string;
}

/**
 * The verbs of the core. The agent serves them over its socket; the client has the same methods; the inline core
 * (`agent: false`) is the same object in the caller's process.
 */
export interface Core {
  /** `id` (see {@link newJobId}) makes the call safe to repeat after a lost answer: a known id is not submitted again. */
  submit(spec: JobSpec, id?: string): Promise<JobRecord>;
  plan(spec: JobSpec): Promise<Plan>;
  list(filter?: JobFilter): Promise<JobRecord[]>;
  /** By id, unique beginning of an id, scheduler id, or name (the newest of that name). Throws JobNotFoundError. */
  get(id: string): Promise<JobRecord>;
  cancel(id: string): Promise<JobRecord>;
  /** Keeps a job that has not started from starting, and lets it go again. */
  hold(id: string): Promise<JobRecord>;
  release(id: string): Promise<JobRecord>;
  /**
   * One more attempt of the same job in the same folder, which resumes: pages that are done stay; so also with changes
   * of what it asks for (`resources`, `env`, `modules`, `retries`). With others: a new job with them laid over the
   * specification, and `retryOf` set. `resources` and `options` are laid over those of the job. Only for ended jobs.
   */
  retry(id: string, changes?: Partial<JobSpec>): Promise<JobRecord>;
  /** Forgets an ended job here; its folder stays unless `files`. */
  remove(id: string, options?: { files?: boolean }): Promise<void>;
  /**
   * `offset` counts bytes from the start; negative: so many lines from the end. `task` picks one task of a job with
   * shards, counted from 0; its absence means the first.
   */
  logs(id: string, options?: { offset?: number; task?: number }): Promise<LogChunk>;
  /** Brings results here (only what is new) and says in which local HF dataset folder they lie. */
  results(id: string): Promise<{ folder: string; complete: boolean }>;
  /** Copies everything in the job's output to a local folder; nothing that exists there is overwritten by other bytes. */
  download(id: string, folder: string): Promise<{ files: number; bytes: number; folder: string }>;
  /** What a job would take. Sends nothing to the queue, but asks the cluster where the line is open or needs nobody. */
  estimate(spec: JobSpec): Promise<Estimate>;
  /** What a cluster has and allows. `config` is as in {@link JobSpec.config}. */
  cluster(cluster: string, config?: string): Promise<ClusterInfo>;
  /** Rebuilds records from the job folders on a cluster: what was submitted from another machine is found again. */
  sync(cluster: string, config?: string): Promise<{ found: number; added: number; skipped: string[] }>;
  connections(): Promise<Connection[]>;
  /** Opens the line, which may ask a person. `config` is as in {@link JobSpec.config}. */
  login(cluster: string, config?: string): Promise<Connection>;
  logout(cluster: string): Promise<Connection>;
  prompts(): Promise<Prompt[]>;
  answer(promptId: string, answers: string[] | null): Promise<void>;
  /** Events from now on, `listening` first, until `signal` aborts or the iteration is left; then it ends, without error. */
  events(signal?: AbortSignal): AsyncIterable<AgentEvent>;
}

/** True if `value` has the form of a {@link JobRecord}; enough of a guard for reading a saved notebook or a socket. */
export function isJobRecord(value: unknown): value is JobRecord {
  const r = value as Partial<JobRecord> | null;
  return (
    typeof r === "object" &&
    r !== null &&
    typeof r.id === "string" &&
    typeof r.spec === "object" &&
    r.spec !== null &&
    (JOB_STATES as readonly string[]).includes(r.state ?? "") &&
    typeof r.progress === "object" &&
    r.progress !== null
  );
}

/** What the JupyterLab panel asks of the agent beyond the verbs of {@link Core}; served beside them. */
export interface PanelCalls {
  /**
   * Jobs newest first, from `offset`, and how many there are in all. What only a single job's view needs is left out of
   * the records: script text, variables, faults, log lines.
   */
  jobs(offset: number, limit: number): Promise<{ total: number; jobs: JobRecord[] }>;
  /** What a form can offer; `folder` is where a `config.yaml` is looked for, as in a notebook that lies there. */
  choices(folder?: string): Promise<Choices>;
  /** The specification that the same options give in a notebook in `folder`. Throws UsageError as the builder does. */
  form(request: FormRequest): Promise<JobSpec>;
  /** The pages of a job's results in order, without their text. With `search`, only those whose text has it. */
  pages(id: string, search?: string): Promise<PageList>;
  /** One page's text and layout. */
  page(id: string, key: string): Promise<PageText>;
}

/** Clusters and runners to choose from. */
export interface Choices {
  /** The user's home folder on the agent's machine, for which `~` stands. */
  home: string;
  /** The config.yaml that was found, if any. */
  config?: string;
  /** The cluster of jobs that name none. */
  default: string;
  clusters: { name: string; transport: string; scheduler: string }[];
  runners: { name: string; title: string; gpus: number; speed?: string }[];
}

/** A form's fields: names and values of the builder's options. */
export interface FormRequest {
  kind: "ocr" | "run";
  /** Paths, globs or URLs; relative ones, and `~/`, from `folder`. */
  sources: string[];
  /** For kind `run`: the script's text. */
  script?: string;
  folder?: string;
  /** By the builder's names, such as `{ gpus: "a100:1", maxSamples: 10 }`. */
  options: { [name: string]: Json };
}

/** A job's pages. */
export interface PageList {
  /** Local folder of the results. */
  folder: string;
  /** False while the job runs: more pages come. */
  complete: boolean;
  pages: { key: string; source: string; page: number; words: number; confidence?: number; error?: string }[];
}

/** What was recognised on a page: hostile until escaped, like everything in it. */
export interface PageText {
  key: string;
  text: string | null;
  markdown: string | null;
  /** Boxes in pixels of an image of `width` by `height`: left, top, right, bottom. */
  boxes: { box: [number, number, number, number]; category: string; text: string }[];
  width: number;
  height: number;
  error?: string;
  confidence?: number;
  seconds?: number;
  /** Model, revision, versions. */
  inference: Json;
}
