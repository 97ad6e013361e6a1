/**
 * What a SLURM cluster has and allows, and what it would do with a script: `sinfo`, `scontrol`, `sacctmgr` and
 * `sbatch --test-only` in forms that 22.05 to 24.11 print alike, with columns and keys read by name. Text from them is
 * parsed by pure functions.
 */
import type { ExecResult, Transport } from "../cluster/transport.js";
import { ConnectionError, SchedulerError } from "../errors.js";
import type { ClusterInfo } from "../protocol.js";
import type { Described, TestAnswer } from "./index.js";
import { slurmSeconds } from "./sbatch.js";
import { isSilence } from "./slurm-refusals.js";
import { ask, cleanCommand, QUESTION, ranOutOfTime, silence } from "./slurm-run.js";

type Partition = ClusterInfo["partitions"][number];

// Wide enough for any value, since sinfo cuts at the width; the bar ends each field. GresUsed exists in -O only.
const SINFO_FIELDS = ["PartitionName", "StateLong", "Nodes", "CPUsState", "Gres", "GresUsed"];
const SINFO = ["sinfo", "--noheader", "--exact", `--Format=${SINFO_FIELDS.map((field) => `${field}:512|`).join(",")}`];

/** What the cluster has and allows this user. Throws SchedulerError if it can't be asked, and ConnectionError. */
export async function describeSlurm(transport: Transport): Promise<Described> {
  const config = keyValues(await ask(transport, ["scontrol", "show", "config"]));
  const shown = await ask(transport, ["scontrol", "show", "partition", "--oneliner"]);
  const nodes = await ask(transport, SINFO);
  const who = identity(await ask(transport, ["id"]));
  // The accounting may be down while the cluster works: then it is not known what the accounts are.
  const asked = (argv: string[]) => ask(transport, argv).catch(() => "");
  const where = [`user=${who.user}`, ...(config.ClusterName === undefined ? [] : [`cluster=${config.ClusterName}`])];
  const assoc = table(await asked(["sacctmgr", "-P", "show", "assoc", ...where, "format=Account,Partition,QOS"]));
  const limits = table(
    await asked(["sacctmgr", "-P", "show", "qos", "format=Name,MaxWall,MaxTRESPU,MaxJobsPU,MaxSubmitPU"]),
  );
  const accounts = unique(assoc.map((row) => row.Account ?? ""));
  const most = Number(config.MaxArraySize);
  return {
    ...(config.SLURM_VERSION === undefined ? {} : { version: config.SLURM_VERSION }),
    partitions: partitions(shown, nodes, { groups: who.groups, accounts }, limits),
    accounts,
    qos: unique(assoc.flatMap((row) => (row.QOS ?? "").split(","))),
    // An index counts from 0 and must be smaller than MaxArraySize.
    ...(most > 0 ? { maxArraySize: most } : {}),
  };
}

/** What it would do with a batch script. Nothing is submitted. Throws SchedulerError if it can't be asked, and ConnectionError. */
export async function testSlurm(transport: Transport, script: string): Promise<TestAnswer> {
  // sbatch prints local time without a zone; in UTC, in which all questions are asked, there is nothing to guess.
  const argv = cleanCommand(["sbatch", "--test-only"], QUESTION, true);
  const result = await transport.exec(argv, { input: script, timeout: (QUESTION + 5) * 1000 });
  if (result.code === null)
    throw new ConnectionError("The line was lost before the scheduler had answered.", "Ask again.");
  const down = ranOutOfTime(result.code) || result.code === 127 || isSilence(result.stderr);
  const why = down ? silence("sbatch", result, QUESTION) : undefined;
  if (why !== undefined)
    throw new SchedulerError(`The scheduler can't tell: ${why}.`, "Try again later.", { later: "silent" });
  return testAnswer(result);
}

/** The answer in `sbatch --test-only`'s words: "Job 7 to start at … using 1 processors on nodes a01 in partition gpu". */
export function testAnswer(result: Pick<ExecResult, "code" | "stdout" | "stderr">): TestAnswer {
  const text = `${result.stderr}\n${result.stdout}`;
  const starts = /to start at (\S+)(?:\s+a)?\s+using .*? on (?:nodes? )?(\S+)/.exec(text);
  if (result.code === 0 && starts !== null) {
    const time = Date.parse(`${starts[1]}Z`);
    return { ...(Number.isNaN(time) ? {} : { start: new Date(time).toISOString() }), nodes: starts[2] ?? "" };
  }
  const lines = text
    .split("\n")
    .map((line) => line.replace(/^(?:sbatch: )?(?:error: |fatal: )*/, "").trim())
    .filter((line) => line !== "" && !/^sbatch: (?:info|debug\d*|warning)/.test(line));
  if (result.code === 0) return {};
  const words = lines.map((line) => line.replace(/^allocation failure: /, "")).join(" ");
  return { refusal: words === "" ? `sbatch ended with ${result.code} and said nothing.` : words };
}

/** The `Key = value` lines of `scontrol show config`. */
export function keyValues(text: string): Record<string, string> {
  return Object.fromEntries([...text.matchAll(/^(\S+)\s+= (.*)$/gm)].map((m) => [m[1] ?? "", (m[2] ?? "").trim()]));
}

/** Rows of a table with bars and a header, by the header's names. */
export function table(text: string): Record<string, string>[] {
  const [header, ...rows] = text.split("\n").filter((line) => line.includes("|"));
  const names = header?.split("|") ?? [];
  return rows.map((row) => Object.fromEntries(row.split("|").map((value, i) => [names[i] ?? "", value.trim()])));
}

function identity(text: string): { user: string; groups: string[] } {
  const groups = /groups=(\S.*)/.exec(text)?.[1] ?? "";
  return {
    user: /uid=\d+\(([^)]*)\)/.exec(text)?.[1] ?? "",
    groups: [...groups.matchAll(/\d+\(([^)]*)\)/g)].map((m) => m[1] ?? ""),
  };
}

/** One line of `scontrol show partition -o` by its keys. No value that is read here holds a space. */
function fields(line: string): Record<string, string> {
  return Object.fromEntries([...line.matchAll(/(\S+?)=(\S*)/g)].map((m) => [m[1] ?? "", m[2] ?? ""]));
}

/**
 * The partitions that this user may use: `scontrol show partition --oneliner` for their limits, `sinfo` for what is free,
 * `sacctmgr show qos` for what their QoS allows one person.
 */
export function partitions(
  shown: string,
  sinfo: string,
  who: { groups: readonly string[]; accounts: readonly string[] },
  limits: readonly Record<string, string>[] = [],
): Partition[] {
  const found: Partition[] = [];
  for (const line of shown.split("\n")) {
    const p = fields(line);
    if (p.PartitionName === undefined || !admits(p, who)) continue;
    const qos = limits.find((q) => q.Name === p.QoS);
    const wall = [p.MaxTime, qos?.MaxWall].map((t) => slurmSeconds(t ?? "")).filter((t) => t !== undefined);
    const standard = slurmSeconds(p.DefaultTime ?? "");
    found.push({
      name: p.PartitionName,
      default: p.Default === "YES",
      up: p.State === "UP",
      ...(wall.length === 0 ? {} : { maxSeconds: Math.min(...wall) }),
      ...(standard === undefined ? {} : { defaultSeconds: standard }),
      ...numbers({
        gpusPerUser: /gres\/gpu=(\d+)/.exec(qos?.MaxTRESPU ?? "")?.[1],
        runningPerUser: qos?.MaxJobsPU,
        submittedPerUser: qos?.MaxSubmitPU,
      }),
      ...content(p.PartitionName, sinfo),
    });
  }
  return found;
}

/** Partitions of other groups are no use to anybody: sbatch would refuse them. */
function admits(p: Record<string, string>, who: { groups: readonly string[]; accounts: readonly string[] }): boolean {
  const among = (list: string | undefined, mine: readonly string[]) =>
    list === undefined ||
    list === "ALL" ||
    list === "N/A" ||
    mine.length === 0 ||
    list.split(",").some((x) => mine.includes(x));
  const denied = p.DenyAccounts?.split(",") ?? [];
  return (
    among(p.AllowGroups, who.groups) &&
    among(p.AllowAccounts, who.accounts) &&
    (who.accounts.length === 0 || who.accounts.some((a) => !denied.includes(a)))
  );
}

/** Nodes, CPUs and GPUs of one partition. sinfo prints a line for each group of nodes that are alike in all its fields. */
function content(partition: string, sinfo: string): Pick<Partition, "nodes" | "cpus" | "gpus"> {
  const nodes = { total: 0, idle: 0, mixed: 0, down: 0 };
  const cpus = { total: 0, free: 0 };
  const gpus = new Map<string, { type: string; total: number; free: number }>();
  for (const line of sinfo.split("\n")) {
    const [name, state = "", count = "", cpuStates = "", gres = "", used = ""] = line.split("|").map((f) => f.trim());
    if (name !== partition && name !== `${partition}*`) continue;
    const n = Number(count);
    // `idle*` does not answer, `mixed-` is planned for a job, `idle~` sleeps and can be woken (man sinfo, NODE STATE CODES).
    const word = state.replace(/[*~#!%$@^+-]+$/, "");
    const works =
      /^(?:idle|mixed|mix|allocated|alloc|completing|comp|planned|plnd)$/.test(word) && !state.includes("*");
    nodes.total += n;
    if (!works) nodes.down += n;
    else if (word === "idle") nodes.idle += n;
    else if (/^mix/.test(word)) nodes.mixed += n;
    const [, idle = 0, , total = 0] = cpuStates.split("/").map(Number);
    cpus.total += total;
    if (works) cpus.free += idle;
    const busy = gresCounts(used);
    for (const [type, each] of gresCounts(gres)) {
      const entry = gpus.get(type) ?? { type, total: 0, free: 0 };
      gpus.set(type, entry);
      entry.total += each * n;
      if (works) entry.free += Math.max(0, each - (busy.get(type) ?? 0)) * n;
    }
  }
  return { nodes, cpus, gpus: [...gpus.values()] };
}

/** GPUs by type of a Gres or GresUsed field: `gpu:a100:2(S:0-1),gpu:h100:0(IDX:N/A)`; `gpu` where no type is given. */
function gresCounts(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const m of text.matchAll(/(?:^|,)gpu(?::([^:,()]+))?:(\d+)(?:\([^)]*\))?/g)) {
    const type = m[1] === undefined || m[1] === "(null)" ? "gpu" : m[1];
    counts.set(type, (counts.get(type) ?? 0) + Number(m[2]));
  }
  return counts;
}

function numbers<K extends string>(values: Record<K, string | undefined>): { [key in K]?: number } {
  const known = Object.entries<string | undefined>(values).filter(([, v]) => v !== undefined && /^\d+$/.test(v));
  return Object.fromEntries(known.map(([k, v]) => [k, Number(v)])) as { [key in K]?: number };
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values.filter((v) => v !== ""))];
}
