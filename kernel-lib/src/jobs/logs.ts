/** Reading a job's log in pieces, wherever it lies. */
import { posix } from "node:path";
import { isMissing, type Sftp } from "../cluster/transport.js";
import { UsageError } from "../errors.js";
import { isEnd, type JobRecord, type LogChunk } from "../protocol.js";
import { LOG_FILE, readFrom } from "./job-folder.js";

/** Path of the log of a job, or of one task of a job with shards, inside its folder. */
export function logFile(record: JobRecord, task?: number): string {
  const tasks = record.spec.shards ?? 1;
  if (task !== undefined && (!Number.isInteger(task) || task < 0 || task >= tasks))
    throw new UsageError(
      `Job ${record.id} has no task ${task}.`,
      tasks === 1 ? "It has no shards." : `Its tasks are 0 to ${tasks - 1}.`,
    );
  return tasks === 1 ? LOG_FILE : LOG_FILE.replace(/\.log$/, `-${task ?? 0}.log`);
}

/** The next piece from `offset` (negative: so many lines before the end) of the log at `path`. */
export async function readLog(sftp: Sftp, path: string, record: JobRecord, from = 0): Promise<LogChunk> {
  const end = isEnd(record.state);
  const file = posix.join(record.jobDir ?? "", path);
  const offset = from < 0 ? await lineStart(sftp, file, -from) : from;
  const bytes = await readFrom(sftp, file, offset);
  if (bytes === undefined) return { text: "", next: offset, end };
  // A character that is cut at the end is left for the next chunk, unless nothing will follow.
  const whole = end ? bytes.length : bytes.length - cutCharacter(bytes);
  return { text: new TextDecoder().decode(bytes.subarray(0, whole)), next: offset + whole, end };
}

/** Offset at which the last `lines` lines of a file begin. */
async function lineStart(sftp: Sftp, path: string, lines: number): Promise<number> {
  let size: number;
  try {
    ({ size } = await sftp.stat(path));
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
  const from = Math.max(0, size - lines * 400 - 4096);
  const bytes = await readFrom(sftp, path, from);
  if (bytes === undefined) return size;
  let left = lines + (bytes.at(-1) === 10 ? 1 : 0);
  for (let i = bytes.length - 1; i >= 0; i--) if (bytes[i] === 10 && --left === 0) return from + i + 1;
  return from;
}

/** How many bytes at the end begin a UTF-8 character that is not whole. */
function cutCharacter(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}
