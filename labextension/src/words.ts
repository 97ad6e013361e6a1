/** Jobs in words, translatable. Numbers and dates are written as the page's language writes them. */
import type { TranslationBundle } from "@jupyterlab/translation";
import { type Connection, isEnd, type JobRecord, type JobState } from "yale-jobs/protocol";

/** Seconds after which a running job's silence is said. */
const STALE = 120;

// Escape sequences of terminals in seven- and eight-bit forms, and then whatever else is no text.
const ESCAPES =
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])[^\u0007\u001b\u0080-\u009f]*(?:\u0007|\u001b\\|\u009c)|\u001b[ -/]*[0-~]?/g;

/** Foreign text without control characters; a lone carriage return overwrites its line, as progress bars mean it. */
export function plain(text: string): string {
  return text
    .replace(ESCAPES, "")
    .replace(/\r+\n/g, "\n")
    .replace(/[^\n]*\r(?!\n)/g, "")
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}

/** As {@link plain}, without the marks that turn the direction of what follows. */
export function straight(text: string): string {
  return plain(text).replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");
}

/** As {@link straight}, on one line. */
export function oneLine(text: string, limit = 300): string {
  const line = straight(text).replace(/\s+/g, " ").trim();
  return line.length <= limit ? line : `${[...line].slice(0, limit - 1).join("")}…`;
}

/** What the panel says. */
export class Words {
  readonly trans: TranslationBundle;
  readonly #locale: string;

  constructor(trans: TranslationBundle, locale: string) {
    this.trans = trans;
    // The language of the page where it is one that numbers can be written in.
    this.#locale = Intl.NumberFormat.supportedLocalesOf([locale.replace("_", "-")])[0] ?? "en";
  }

  /** `1,234`. */
  number(n: number, digits = 0): string {
    return n.toLocaleString(this.#locale, { maximumFractionDigits: digits });
  }

  /** A state in words. */
  state(state: JobState): string {
    const t = this.trans;
    const words: Record<JobState, string> = {
      preparing: t.__("preparing"),
      uploading: t.__("uploading"),
      queued: t.__("queued"),
      running: t.__("running"),
      completing: t.__("completing"),
      unknown: t.__("unknown"),
      completed: t.__("completed"),
      failed: t.__("failed"),
      cancelled: t.__("cancelled"),
      timeout: t.__("time limit"),
      out_of_memory: t.__("out of memory"),
      node_fail: t.__("node failed"),
      preempted: t.__("preempted"),
      lost: t.__("lost"),
    };
    return words[state];
  }

  /** State of a line in words. */
  line(state: Connection["state"]): string {
    const t = this.trans;
    const words: Record<Connection["state"], string> = {
      disconnected: t.__("not connected"),
      connecting: t.__("connecting"),
      prompting: t.__("waits for your answer"),
      connected: t.__("connected"),
      login_needed: t.__("login needed"),
    };
    return words[state];
  }

  /** `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
  duration(seconds: number): string {
    const s = Math.max(0, Math.round(seconds));
    const n = (value: number) => this.number(value);
    if (s < 60) return this.trans.__("%1 s", n(s));
    const minutes = Math.round(s / 60);
    if (s < 600)
      return s % 60 === 0
        ? this.trans.__("%1 min", n(s / 60))
        : this.trans.__("%1 min %2 s", n(Math.floor(s / 60)), n(s % 60));
    if (minutes < 60) return this.trans.__("%1 min", n(minutes));
    if (minutes < 1440) return this.trans.__("%1 h %2 min", n(Math.floor(minutes / 60)), n(minutes % 60));
    const hours = Math.round(minutes / 60);
    return this.trans.__("%1 d %2 h", n(Math.floor(hours / 24)), n(hours % 24));
  }

  /** `512 B`, `3.4 MiB`. */
  bytes(n: number): string {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    const i = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
    return `${this.number(n / 1024 ** i, i === 0 ? 0 : 1)} ${units[i]}`;
  }

  /** Local date and time to the minute, without the date if it is today's; `""` for what is no time. */
  time(iso: string | undefined, now: number = Date.now()): string {
    const at = iso === undefined ? Number.NaN : Date.parse(iso);
    if (Number.isNaN(at)) return "";
    const date = new Date(at);
    const clock = date.toLocaleTimeString(this.#locale, { hour: "2-digit", minute: "2-digit" });
    const day = this.day(iso, now);
    return day === clock ? clock : `${day}, ${clock}`;
  }

  /** The same where there is little room: the time of today, the day of any other day. */
  day(iso: string | undefined, now: number = Date.now()): string {
    const at = iso === undefined ? Number.NaN : Date.parse(iso);
    if (Number.isNaN(at)) return "";
    const date = new Date(at);
    if (date.toDateString() === new Date(now).toDateString())
      return date.toLocaleTimeString(this.#locale, { hour: "2-digit", minute: "2-digit" });
    const year: { year?: "numeric" } = date.getFullYear() === new Date(now).getFullYear() ? {} : { year: "numeric" };
    return date.toLocaleDateString(this.#locale, { day: "numeric", month: "short", ...year });
  }

  /** Speed in the unit in which the number is easy to read. */
  pace(perSecond: number): string {
    const t = this.trans;
    if (perSecond >= 0.95) return t.__("%1 pages/s", this.number(perSecond, 1));
    if (perSecond * 60 >= 0.95) return t.__("%1 pages/min", this.number(perSecond * 60, perSecond * 60 < 9.95 ? 1 : 0));
    return t.__("%1 pages/h", this.number(perSecond * 3600));
  }

  /** The cluster's name for people. */
  cluster(name: string): string {
    return name === "local" ? this.trans.__("this machine") : oneLine(name, 60);
  }

  /** What a job works on. */
  work(record: JobRecord): string {
    const { spec } = record;
    const what = spec.kind === "run" ? (spec.script?.name ?? this.trans.__("script")) : (spec.runner ?? "OCR");
    const from = spec.sources[0]?.location ?? spec.datasetPath;
    if (from === undefined) return oneLine(what);
    const more = spec.sources.length - 1;
    const on = this.trans.__("%1 on %2", oneLine(what, 60), oneLine(from, 200));
    return more > 0 ? this.trans._n("%2 and %1 more source", "%2 and %1 more sources", more, on) : on;
  }

  /** Where it runs and what it asked for. */
  place(record: JobRecord): string[] {
    const t = this.trans;
    const { spec, schedulerId } = record;
    const r = spec.resources;
    return [
      this.cluster(spec.cluster),
      ...(schedulerId === undefined || spec.cluster === "local" ? [] : [t.__("job %1", oneLine(schedulerId, 40))]),
      ...(r.partition === undefined ? [] : [t.__("partition %1", oneLine(r.partition, 40))]),
      ...(r.gpus === undefined || r.gpus === "0" ? [] : [t.__("GPU %1", oneLine(r.gpus, 40))]),
      ...(r.cpus === undefined ? [] : [t._n("%1 CPU", "%1 CPUs", r.cpus)]),
      ...(r.memory === undefined ? [] : [oneLine(r.memory, 20)]),
      ...(r.time === undefined ? [] : [t.__("at most %1", oneLine(r.time, 20))]),
    ];
  }

  /** The facts of the moment, each a few words: pages, faults, pace, time left, why it waits, how old the news are. */
  facts(record: JobRecord, now: number = Date.now()): string[] {
    const t = this.trans;
    const p = record.progress;
    const parts: string[] = [];
    const { done, total } = counted(record);
    const pages = this.number(done);
    const counts = record.spec.kind === "ocr" || done > 0 || total !== undefined;
    if (record.state === "uploading" && p.uploadedBytes !== undefined)
      parts.push(
        p.uploadTotalBytes === undefined
          ? t.__("%1 uploaded", this.bytes(p.uploadedBytes))
          : t.__("%1 of %2 uploaded", this.bytes(p.uploadedBytes), this.bytes(p.uploadTotalBytes)),
      );
    else if (record.state === "preparing")
      parts.push(
        total === undefined
          ? t._n("%1 page prepared", "%1 pages prepared", done)
          : t.__("%1 of %2 pages prepared", pages, this.number(total)),
      );
    else if (counts && (record.state !== "queued" || done > 0))
      parts.push(
        total === undefined ? t._n("%1 page", "%1 pages", done) : t.__("%1 of %2 pages", pages, this.number(total)),
      );
    if (p.failed > 0) parts.push(t._n("%1 in error", "%1 in error", p.failed));
    if (record.tasks !== undefined && record.tasks.total > 1) parts.push(this.tasks(record.tasks));
    if (record.state === "running") {
      if (p.rate !== undefined && p.rate > 0) parts.push(this.pace(p.rate));
      if (p.etaSeconds !== undefined && (total === undefined || done < total))
        parts.push(t.__("%1 left", this.duration(p.etaSeconds)));
      if (p.message !== undefined && p.message !== "") parts.push(oneLine(p.message, 100));
    }
    if (record.held === true) parts.push(t.__("held"));
    if (record.state === "queued") {
      if (record.reason !== undefined && record.reason !== "") parts.push(oneLine(record.reason, 200));
      const start = this.time(record.expectedStart, now);
      if (start !== "") parts.push(t.__("expected to start %1", start));
    }
    if (isEnd(record.state)) {
      const took = between(record.startedAt, record.endedAt, now);
      if (took !== undefined) parts.push(t.__("took %1", this.duration(took)));
    } else {
      const silent = between(record.heardAt, undefined, now);
      if (silent !== undefined && silent > STALE) parts.push(t.__("last heard of %1 ago", this.duration(silent)));
    }
    if (record.attempt > 1) parts.push(t.__("attempt %1", this.number(record.attempt)));
    return parts;
  }

  /** The tasks of an array job, counted. */
  tasks(tasks: NonNullable<JobRecord["tasks"]>): string {
    const ended = tasks.completed + tasks.failed;
    return this.trans.__("%1 of %2 tasks ended", this.number(ended), this.number(tasks.total));
  }
}

/** What is being counted now: pages prepared, or pages done. */
function counted(record: JobRecord): { done: number; total: number | undefined } {
  const p = record.progress;
  if (record.state === "preparing") return { done: p.prepared, total: p.preparedTotal };
  return { done: p.done, total: p.total ?? record.dataset?.pages };
}

/** Share of the present stage that is done, 0 to 1; undefined where its end is not known. */
export function share(record: JobRecord): number | undefined {
  const p = record.progress;
  if (record.state === "completed") return 1;
  if (record.state === "uploading" && p.uploadedBytes !== undefined)
    return p.uploadTotalBytes === undefined || p.uploadTotalBytes <= 0
      ? undefined
      : Math.min(1, p.uploadedBytes / p.uploadTotalBytes);
  const { done, total } = counted(record);
  return total === undefined || total <= 0 ? undefined : Math.min(1, done / total);
}

/** What a state means at a glance, for its colour. */
export function tone(state: JobState): "busy" | "good" | "bad" | "warn" | "calm" {
  switch (state) {
    case "running":
    case "completing":
    case "uploading":
    case "preparing":
      return "busy";
    case "completed":
      return "good";
    case "failed":
    case "timeout":
    case "out_of_memory":
    case "node_fail":
    case "lost":
      return "bad";
    case "preempted":
    case "unknown":
      return "warn";
    default:
      return "calm";
  }
}

/** Seconds between two ISO times, the second defaulting to `now`; undefined if one is no time. */
export function between(from: string | undefined, to: string | undefined, now: number): number | undefined {
  const start = from === undefined ? Number.NaN : Date.parse(from);
  const end = to === undefined ? now : Date.parse(to);
  return Number.isNaN(start) || Number.isNaN(end) ? undefined : Math.max(0, (end - start) / 1000);
}
