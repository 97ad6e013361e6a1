/** Reads what quota commands print: Yale's `getquota`, `quota`, and Lustre's `lfs quota`. Pure, and tolerant. */
import type { ClusterInfo } from "../protocol.js";

type Storage = ClusterInfo["storage"][number];

/** One entry for each line that holds a quota; text that is none gives none. */
export function parseQuota(text: string): Storage[] {
  const found = getquota(text);
  return found.length > 0 ? found : quotaTable(text);
}

/**
 * Yale's summary: `palmer:scratch GRP 0 10240 903 15,000,000 No 60 days`, with GiB (YCRC, HPC Storage). The parts above
 * it, of single users, have no limits and another form.
 */
function getquota(text: string): Storage[] {
  const line = /^(\S+)\s+(?:USR|GRP|FILESET|PROJECT)\s+([\d.,]+)\s+([\d.,]+)\s+([\d,]+)\s+([\d,]+)(.*)$/;
  return text.split("\n").flatMap((row) => {
    const m = line.exec(row.trim());
    if (m === null) return [];
    const days = Number(/(\d+) days?/.exec(m[6] ?? "")?.[1] ?? 0);
    return [
      entry(m[1] ?? "", {
        bytesUsed: plain(m[2]) * 2 ** 30,
        bytesLimit: plain(m[3]) * 2 ** 30,
        filesUsed: plain(m[4]),
        filesLimit: plain(m[5]),
        purgeDays: days,
      }),
    ];
  });
}

/**
 * `quota` and `lfs quota`: after a headline with `Filesystem … files …`, a line of used, soft and hard limit, grace, and
 * the same of files. The grace is empty, `-` or words; a long name stands on a line of its own; `*` marks what is over.
 */
function quotaTable(text: string): Storage[] {
  const rows: Storage[] = [];
  let inTable = false;
  let name: string | undefined;
  for (const line of text.split("\n")) {
    if (/^\s*Filesystem\s.*\bfiles\b/i.test(line)) {
      inTable = true;
      name = undefined;
      continue;
    }
    if (!inTable) continue;
    const words = line.trim().split(/\s+/);
    const [first = ""] = words;
    const figures = words.filter((w) => /^\[?\d+(?:\.\d+)?[KMGTP]?\*?\]?$/i.test(w));
    if (figures.length < 6) {
      name = words.length === 1 && first.includes("/") ? first : undefined;
      continue;
    }
    const path = /^\[?\d/.test(first) ? name : first;
    if (path === undefined) continue;
    const [used, soft, hard, files, softFiles, hardFiles] = figures.slice(-6);
    rows.push(
      entry(path, {
        bytesUsed: sized(used, 1024),
        bytesLimit: sized(hard, 1024) || sized(soft, 1024),
        filesUsed: sized(files, 1),
        filesLimit: sized(hardFiles, 1) || sized(softFiles, 1),
      }),
    );
    name = undefined;
  }
  return rows;
}

/** A limit of 0 is none. */
function entry(path: string, figures: Partial<Omit<Storage, "path" | "staged">>): Storage {
  const limits = ["bytesLimit", "filesLimit", "purgeDays"];
  const known = Object.entries(figures).filter(([k, v]) => Number.isFinite(v) && (v > 0 || !limits.includes(k)));
  return { path, ...Object.fromEntries(known) };
}

function plain(text: string | undefined): number {
  return Number((text ?? "").replaceAll(",", ""));
}

/** A figure with or without a unit; without one it counts in `unit`. */
function sized(text: string | undefined, unit: number): number {
  const m = /^\[?(\d+(?:\.\d+)?)([KMGTP]?)/i.exec(text ?? "");
  if (m === null) return Number.NaN;
  const power = " KMGTP".indexOf((m[2] ?? "").toUpperCase());
  // Files are counted in thousands by `quota -s`, space in 1,024.
  return Number(m[1]) * (power > 0 ? (unit === 1 ? 1000 : 1024) ** power : unit);
}
