/** Reads what a running job appends to `progress.jsonl`: a fold over its lines, pure but for the clock in them. */
import type { Progress, RunnerEvent } from "../protocol.js";

/** Seconds over which the rate is taken where the runner does not say one itself. */
const WINDOW = 60;

/** Progress of a job from the runner's lines, fed in any pieces. */
export class ProgressReader {
  /** Bytes of the file that were read so far; where to go on. */
  offset = 0;
  #rest = "";
  #recent: number[] = [];
  readonly #decoder = new TextDecoder();

  /** Takes the next bytes in and returns `progress` as it then is, or undefined if they change nothing. */
  feed(bytes: Uint8Array, progress: Progress): Progress | undefined {
    this.offset += bytes.length;
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    let now = progress;
    for (const line of lines) {
      const event = parse(line);
      if (event !== undefined) now = this.#fold(now, event);
    }
    return now === progress ? undefined : now;
  }

  #fold(p: Progress, e: RunnerEvent): Progress {
    switch (e.type) {
      case "start":
        this.#recent = [];
        return { ...withoutPace(p), done: e.done, failed: 0, total: e.total };
      case "total":
        return { ...p, total: e.total };
      case "phase":
        return { ...p, message: e.message };
      case "page":
        return this.#page({ ...p, done: p.done + 1 }, e.time);
      case "error":
        return this.#page({ ...p, done: p.done + 1, failed: p.failed + 1 }, e.time);
      case "rate":
        return {
          ...p,
          done: e.done,
          failed: e.failed,
          total: e.total,
          rate: e.rate,
          ...(e.etaSeconds === undefined ? {} : { etaSeconds: e.etaSeconds }),
          ...(e.message === undefined ? {} : { message: e.message }),
        };
      case "end":
        return { ...withoutPace(p), done: e.done, failed: e.failed, total: e.total };
      default:
        return p;
    }
  }

  #page(p: Progress, time: string): Progress {
    const at = Date.parse(time) / 1000;
    if (Number.isNaN(at)) return p;
    this.#recent.push(at);
    while ((this.#recent[0] ?? at) < at - WINDOW) this.#recent.shift();
    const span = at - (this.#recent[0] ?? at);
    if (this.#recent.length < 2 || span < 0.5) return p;
    const rate = (this.#recent.length - 1) / span;
    return { ...p, rate, ...(p.total === undefined ? {} : { etaSeconds: Math.max(0, p.total - p.done) / rate }) };
  }
}

function withoutPace(p: Progress): Progress {
  const { rate: _rate, etaSeconds: _eta, message: _message, ...rest } = p;
  return rest;
}

/** A line that is torn, foreign or hostile is no event. */
function parse(line: string): RunnerEvent | undefined {
  if (!line.startsWith("{") || line.length > 100_000) return undefined;
  try {
    const e = JSON.parse(line) as Partial<Record<string, unknown>>;
    if (typeof e.type !== "string" || typeof e.time !== "string") return undefined;
    const numbers: Record<string, string[]> = {
      start: ["total", "done"],
      total: ["total"],
      rate: ["done", "failed", "total", "rate"],
      end: ["done", "failed", "total"],
    };
    if ((numbers[e.type] ?? []).some((k) => typeof e[k] !== "number" || !Number.isFinite(e[k]))) return undefined;
    if (e.type === "phase" && typeof e.message !== "string") return undefined;
    return e as RunnerEvent;
  } catch {
    return undefined;
  }
}
