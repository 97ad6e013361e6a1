/** Work that needs the line to a cluster, and goes on when the line comes back. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Transport } from "../cluster/transport.js";
import type { ClusterConfig } from "../config/index.js";
import { errorData } from "../errors.js";
import type { Lines } from "./lines.js";
import type { LiveJob } from "./live.js";
import type { ResolvedJob } from "./plan.js";

/** Milliseconds before another try where the far side does not answer though the line stands; doubled up to a minute. */
const PAUSE = 1000;
const LONGEST_PAUSE = 60_000;

/**
 * Does `work` with the line, and again, from what is there by then, as often as the line is lost. The record says what
 * it waits for meanwhile. What would happen again (a refusal, a full disk) is thrown. `signal` ends the wait; by default
 * the job's own.
 */
export async function overLine<T>(
  lines: Lines,
  job: ResolvedJob,
  live: LiveJob,
  work: (transport: Transport) => Promise<T>,
  signal: AbortSignal = live.signal,
): Promise<T> {
  let furthest = live.record.progress.uploadedBytes ?? 0;
  for (let failures = 0; ; ) {
    let transport: Transport | undefined;
    try {
      const { asked } = live;
      live.asked = false;
      transport = await lines.open(job.cluster, { interactive: asked, signal });
      live.goesOn();
      return await work(transport);
    } catch (error) {
      signal.throwIfAborted();
      if (!isOfTheLine(error)) throw error;
      live.waits(lineWords(job.cluster, error, transport !== undefined));
      const next = await lines.whenOpen(job.cluster, signal);
      const { uploadedBytes = 0 } = live.record.progress;
      // The line stands and the call failed all the same: something beyond it does not answer, unless it got further.
      failures = next === transport && uploadedBytes <= furthest ? failures + 1 : 0;
      furthest = Math.max(furthest, uploadedBytes);
      if (failures > 0) await pauseAfter(failures, signal);
    }
  }
}

/** Waits longer with each failure in a row, counted from 0. Rejects when `signal` aborts. */
export async function pauseAfter(failures: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.min(PAUSE * 2 ** failures, LONGEST_PAUSE), undefined, { signal });
}

/** True for what a line that comes back, or a person who logs in, mends. */
export function isOfTheLine(error: unknown): boolean {
  return ["connection", "login", "host_key"].includes(errorData(error).code);
}

/** Why a job stands still, in words; `wasThere` says that there was a line and it went. */
export function lineWords(cluster: ClusterConfig, error: unknown, wasThere: boolean): string {
  const { code, what } = errorData(error);
  const { name } = cluster;
  const said = what.replace(/\.$/, "");
  if (code === "login" || code === "host_key") return `Login needed (${said}); goes on after \`yale login ${name}\`.`;
  const at = new Date();
  const clock = `${String(at.getHours()).padStart(2, "0")}:${String(at.getMinutes()).padStart(2, "0")}`;
  return wasThere
    ? `The line to ${name} was lost at ${clock} (${said}); goes on when it is back.`
    : `${name} could not be reached at ${clock} (${said}); goes on when it can.`;
}
