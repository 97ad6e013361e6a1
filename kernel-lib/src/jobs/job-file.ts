/**
 * `job.json`: what a job folder says of its job, so that it can be run again, and found again from another machine. What
 * is read back may have been written by anybody who can write there: nothing of it is believed before it is checked.
 */
import { type EarlierAttempt, JOB_STATES, type JobRecord, type JobSpec, type Json } from "../protocol.js";
import { submissionToken } from "./submit.js";

/** Its name in the job folder. */
export const JOB_FILE = "job.json";

/** What it holds. */
export interface JobFileContent {
  id: string;
  attempt: number;
  /** See {@link submissionToken}. */
  token: string;
  createdAt: string;
  /** Once the scheduler has answered. */
  schedulerId?: string;
  submittedAt?: string;
  dataset?: { hash: string; pages: number; bytes: number };
  earlier?: EarlierAttempt[];
  onlyTasks?: number[];
  retryOf?: string;
  spec: JobSpec;
}

/** The text of job.json for a record. */
export function jobFileText(record: JobRecord): string {
  const { id, attempt, createdAt, schedulerId, submittedAt, dataset, earlier, onlyTasks, retryOf, spec } = record;
  const content: JobFileContent = {
    id,
    attempt,
    token: submissionToken(id, attempt),
    createdAt,
    ...(schedulerId === undefined ? {} : { schedulerId }),
    ...(submittedAt === undefined ? {} : { submittedAt }),
    ...(dataset === undefined ? {} : { dataset }),
    ...(earlier === undefined ? {} : { earlier }),
    ...(onlyTasks === undefined ? {} : { onlyTasks }),
    ...(retryOf === undefined ? {} : { retryOf }),
    spec,
  };
  return `${JSON.stringify(content, null, 2)}\n`;
}

/** Ids of jobs, which are names of folders too. */
export const JOB_ID: RegExp = /^[0-9a-z]{4,32}$/;

/** Reads job.json of the folder `id`. Throws TypeError, with words, for one that is broken or not ours. */
export function parseJobFile(text: string, id: string): JobFileContent {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new TypeError("its job.json is no JSON");
  }
  const o = object(value, "job.json");
  if (o.id !== id || !JOB_ID.test(id)) throw new TypeError("its job.json is of another job");
  const attempt = count(o.attempt ?? 1, "attempt");
  const dataset = o.dataset === undefined ? undefined : object(o.dataset, "dataset");
  if (dataset !== undefined && !/^[0-9a-f]{8,64}$/.test(String(dataset.hash)))
    throw new TypeError("its dataset has no hash");
  return {
    id,
    attempt,
    token: submissionToken(id, attempt),
    createdAt: time(o.createdAt, "createdAt"),
    ...(o.schedulerId === undefined ? {} : { schedulerId: word(o.schedulerId, "schedulerId", /^\d{1,20}$/) }),
    ...(o.submittedAt === undefined ? {} : { submittedAt: time(o.submittedAt, "submittedAt") }),
    ...(dataset === undefined
      ? {}
      : {
          dataset: {
            hash: String(dataset.hash),
            pages: count(dataset.pages, "pages"),
            bytes: count(dataset.bytes, "bytes"),
          },
        }),
    ...(o.earlier === undefined ? {} : { earlier: list(o.earlier, "earlier").slice(0, 100).map(earlierAttempt) }),
    ...(o.onlyTasks === undefined
      ? {}
      : {
          onlyTasks: list(o.onlyTasks, "onlyTasks")
            .slice(0, 1000)
            .map((t) => count(t, "onlyTasks")),
        }),
    ...(o.retryOf === undefined ? {} : { retryOf: word(o.retryOf, "retryOf", JOB_ID) }),
    spec: specOf(object(o.spec, "spec")),
  };
}

function earlierAttempt(value: unknown): EarlierAttempt {
  const o = object(value, "earlier");
  const state = JOB_STATES.find((s) => s === o.state);
  if (state === undefined) throw new TypeError("its earlier attempts are broken");
  return {
    attempt: count(o.attempt, "attempt"),
    ...(o.schedulerId === undefined ? {} : { schedulerId: word(o.schedulerId, "schedulerId", /^\d{1,20}$/) }),
    state,
    done: count(o.done, "done"),
    ...(o.failed === undefined ? {} : { failed: count(o.failed, "failed") }),
    automatic: o.automatic === true,
  };
}

/** Key by key, so that nothing that nobody knows comes along. Local folders of the other machine mean nothing here. */
function specOf(o: Record<string, unknown>): JobSpec {
  const kind = o.kind === "ocr" || o.kind === "run" ? o.kind : fail("kind");
  const spec: JobSpec = {
    kind,
    name: line(o.name, "name"),
    cluster: "",
    sources: list(o.sources, "sources").map((value) => {
      const s = object(value, "source");
      const known = ["auto", "pdf", "iiif", "web", "directory", "hf", "dataset"] as const;
      return {
        kind: known.find((k) => k === s.kind) ?? fail("source"),
        location: text(s.location, "location"),
        ...(s.options === undefined ? {} : { options: object(s.options, "options") as { [key: string]: Json } }),
      };
    }),
    options: object(o.options, "options") as { [key: string]: Json },
    resources: resourcesOf(object(o.resources, "resources")),
  };
  if (o.datasetPath !== undefined) spec.datasetPath = line(o.datasetPath, "datasetPath");
  if (o.dataFrom !== undefined) spec.dataFrom = word(o.dataFrom, "dataFrom", JOB_ID);
  if (o.maxSamples !== undefined) spec.maxSamples = count(o.maxSamples, "maxSamples");
  if (o.runner !== undefined) spec.runner = word(o.runner, "runner", /^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/);
  if (o.script !== undefined) {
    const s = object(o.script, "script");
    spec.script = {
      name: word(s.name, "script", /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/),
      text: text(s.text, "script", 4 << 20),
      interpreter: (["python3", "bash", "node"] as const).find((i) => i === s.interpreter) ?? fail("interpreter"),
      args: list(s.args, "args").map((a) => text(a, "args")),
    };
  }
  if (kind === "run" && spec.script === undefined) fail("script");
  if (o.env !== undefined) spec.env = line(o.env, "env");
  if (o.modules !== undefined) spec.modules = list(o.modules, "modules").map((m) => line(m, "modules"));
  if (o.variables !== undefined) spec.variables = strings(o.variables, "variables", /^[A-Za-z_][A-Za-z0-9_]{0,127}$/);
  if (o.labels !== undefined) spec.labels = strings(o.labels, "labels");
  if (o.shards !== undefined) spec.shards = Math.min(count(o.shards, "shards"), 1000);
  if (o.startEarly === true && kind === "ocr") spec.startEarly = true;
  if (o.retries !== undefined) spec.retries = count(o.retries, "retries");
  if (o.after !== undefined)
    spec.after = list(o.after, "after").map((value) => {
      const a = object(value, "after");
      return {
        job: word(a.job, "after", JOB_ID),
        condition: a.condition === "afterany" ? ("afterany" as const) : ("afterok" as const),
      };
    });
  return spec;
}

function resourcesOf(o: Record<string, unknown>): JobSpec["resources"] {
  const r: JobSpec["resources"] = {};
  for (const key of ["gpus", "memory", "time", "partition", "account", "qos", "constraint"] as const)
    if (o[key] !== undefined) r[key] = word(o[key], key, /^[A-Za-z0-9_][A-Za-z0-9_.+&|,[\]*:()-]{0,127}$/);
  for (const key of ["cpus", "nodes"] as const) if (o[key] !== undefined) r[key] = count(o[key], key);
  if (o.extra !== undefined)
    r.extra = list(o.extra, "extra").map((e) => word(e, "extra", /^#SBATCH -[^\n\r\u0000]{1,1000}$/));
  if (o.mail !== undefined) {
    const m = object(o.mail, "mail");
    const address = /^[A-Za-z0-9._%+-]+(@[A-Za-z0-9.-]+)?$/;
    r.mail = { user: word(m.user, "mail", address), type: word(m.type, "mail", /^[A-Z0-9_,]{1,100}$/) };
  }
  return r;
}

function fail(what: string): never {
  throw new TypeError(`its job.json has no usable ${what}`);
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) fail(what);
  return value as Record<string, unknown>;
}

function list(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > 100_000) fail(what);
  return value;
}

function text(value: unknown, what: string, most = 65_536): string {
  if (typeof value !== "string" || value.length > most || value.includes("\u0000")) fail(what);
  return value;
}

/** A text on one line: control characters would move a terminal's cursor before anybody escapes them. */
function line(value: unknown, what: string): string {
  const found = text(value, what, 4096);
  if (/[\u0000-\u001f\u007f]/.test(found)) fail(what);
  return found;
}

function word(value: unknown, what: string, form: RegExp): string {
  if (typeof value !== "string" || !form.test(value)) fail(what);
  return value;
}

function count(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) fail(what);
  return value;
}

function time(value: unknown, what: string): string {
  if (typeof value !== "string" || value.length > 40 || Number.isNaN(Date.parse(value))) fail(what);
  return new Date(value).toISOString();
}

function strings(value: unknown, what: string, names?: RegExp): { [name: string]: string } {
  return Object.fromEntries(
    Object.entries(object(value, what)).map(([k, v]) => {
      if (names !== undefined && !names.test(k)) fail(what);
      return [k, text(v, what)];
    }),
  );
}
