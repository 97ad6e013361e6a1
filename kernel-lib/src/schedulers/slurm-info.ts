/**
 * What a SLURM cluster has and allows, and what it would do with a script: `sinfo`, `scontrol`, `sacctmgr` and
 * `sbatch --test-only` in forms that 22.05 to 24.11 print alike, with columns and keys read by name. Text from them is
 * parsed by pure functions.
 */
import type { ExecOptions, ExecResult, Transport } from "../cluster/transport.js";
import { ConnectionError, SchedulerError } from "../errors.js";
import type { ClusterInfo } from "../protocol.js";
import type { Described, TestAnswer } from "./index.js";
import { slurmSeconds } from "./sbatch.js";

type Partition = ClusterInfo["partitions"][number];

/** Milliseconds that one command may take: a frozen slurmctld makes its clients wait for 10 s (22.05), a frozen slurmdbd for ever. */
const TIMEOUT = 20_000;

// Wide enough for any value, since sinfo cuts at the width; the bar ends each field. GresUsed exists in -O only.
const SINFO_FIELDS = ["PartitionName", "StateLong", "Nodes", "CPUsState", "Gres", "GresUsed"];
const SINFO = [
  // A user's own format or partition would win over what is asked for here.
  ...["env", "-u", "SINFO_FORMAT", "-u", "SINFO_PARTITION", "sinfo", "--noheader", "--exact"],
  `--Format=${SINFO_FIELDS.map((field) => `${field}:512|`).join(",")}`,
];

/** What the cluster has and allows this user. Throws SchedulerError in SLURM's words, and ConnectionError. */
export async function describeSlurm(transport: Transport): Promise<Described> {
  const options: ExecOptions = { shared: true, timeout: TIMEOUT };
  const said = async (argv: string[]) => told(argv, await transport.exec(argv, options));
  const config = keyValues(await said(["scontrol", "show", "config"]));
  const shown = await said(["scontrol", "show", "partition", "--oneliner"]);
  const nodes = await said(SINFO);
  const who = identity(await said(["id"]));
  // The accounting may be down while the cluster works: then it is not known what the accounts are.
  const asked = (argv: string[]) => said(argv).catch(() => "");
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

/** What it would do with a batch script. Nothing is submitted. Throws SchedulerError if it can't be asked. */
export async function testSlurm(transport: Transport, script: string): Promise<TestAnswer> {
  // sbatch prints local time without a zone; in UTC there is nothing to guess.
  const argv = ["env", "TZ=UTC", "SLURM_TIME_FORMAT=standard", "sbatch", "--test-only"];
  const result = await transport.exec(argv, { input: script, timeout: TIMEOUT });
  if (result.code === null)
    throw new ConnectionError("The line was lost before the scheduler had answered.", "Ask again.");
  return testAnswer(result);
}

function told(argv: readonly string[], result: ExecResult): string {
  if (result.code === 0) return result.stdout;
  const program = argv[0] === "env" ? "sinfo" : argv[0];
  if (result.code === null) throw new ConnectionError(`${program} gave no answer.`, "Try again.");
  throw new SchedulerError(
    `${program} said: ${result.stderr.trim() || `nothing, and ended with ${result.code}`}`,
    result.code === 127 ? "Is SLURM on this machine? config.yaml can name modules and a host." : "Try again later.",
  );
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
  if (/Unable to contact slurm controller|Socket timed out|Zero Bytes were transmitted|command not found/.test(words))
    throw new SchedulerError(`sbatch said: ${words}`, "Try again later.");
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
