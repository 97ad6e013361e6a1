/** Why a job waits: SLURM's reasons (job_state_reason.c, 22.05 to 26.05) in sentences for people. Pure. */

/** A reason in words. */
export interface Waiting {
  text: string;
  /** Somebody holds it: it waits until it is released. */
  held?: boolean;
  /** It can never start, and nothing but cancelling it ends that. */
  never?: boolean;
}

/** Never starts as it is, but can be changed, or the site's limit can. */
const STUCK = "It will not start as it is: cancel it and ask for less";

const EXACT: Readonly<Record<string, Waiting>> = {
  None: { text: "Just submitted: the scheduler has not looked at it yet." },
  Priority: { text: "Others are before it in the queue." },
  Resources: { text: "Next in the queue: it waits for nodes to become free." },
  Dependency: { text: "Waits for another job to end." },
  DependencyNeverSatisfied: {
    text: "The job after which it was to start did not end well, so it can never start.",
    never: true,
  },
  BeginTime: { text: "Waits for the time at which it may begin; after a requeue that takes a minute or two." },
  JobHeldUser: { text: "Held: it waits until it is released.", held: true },
  JobHeldAdmin: { text: "Held by an administrator of the cluster: ask them why.", held: true },
  JobHoldMaxRequeue: {
    text: "Held after too many restarts. Look into its log, then release it or cancel it.",
    held: true,
  },
  JobLaunchFailure: {
    text: "It could not be started on its node, and is held. Release it to try again; tell the cluster's staff.",
    held: true,
  },
  ReservationDeleted: { text: "Its reservation was deleted, and it is held. Cancel it.", held: true },
  JobArrayTaskLimit: { text: "As many tasks of this job run as may at once; the next follow." },
  Reservation: { text: "Waits for its reservation to begin." },
  ReqNodeNotAvail: {
    text: "Nodes that it needs are not available: down, drained, or reserved for maintenance. A shorter time limit may let it start before a maintenance.",
  },
  Licenses: { text: "Waits for a licence." },
  Prolog: { text: "Its nodes are being made ready." },
  Cleaning: { text: "Its last run is still being cleaned up." },
  SchedDefer: { text: "The scheduler is busy and will look at it later." },
  PartitionDown: { text: "The partition takes jobs but starts none at the moment (maintenance)." },
  PartitionInactive: { text: "The partition is closed at the moment (maintenance)." },
  PartitionNodeLimit: { text: `It asks for more nodes than the partition has or allows. ${STUCK}.` },
  PartitionTimeLimit: {
    text: `It asks for more time than the partition allows. ${STUCK} (\`time\`), or choose another partition.`,
  },
  PartitionConfig: { text: `It asks for what the partition does not give. ${STUCK}, or choose another partition.` },
  BadConstraints: { text: `No node is as it asks for. ${STUCK} (\`constraint\`, \`gpus\`, \`memory\`, \`cpus\`).` },
  Constraints: { text: `No node is as it asks for. ${STUCK} (\`constraint\`).` },
  NodeDown: { text: "A node that it needs is down." },
  InvalidAccount: { text: "Its account is not valid any more. Cancel it and submit with another `account`." },
  InvalidQOS: { text: "Its QOS is not valid any more. Cancel it and submit with another `qos`." },
  AccountNotAllowed: { text: "The partition is not open to its account. Cancel it and choose another." },
  QOSNotAllowed: { text: "The partition is not open to its QOS. Cancel it and choose another." },
  ReservationInvalid: { text: "Its reservation does not exist. Cancel it." },
  DeadLine: { text: "It can't end before its deadline any more, so it will not start. Cancel it." },
  MaxMemPerLimit: { text: `It asks for more memory per node or CPU than is allowed. ${STUCK} (\`memory\`).` },
  QOSUsageThreshold: { text: "The account has used too much of its share; it waits until the usage has decayed." },
  SystemFailure: { text: "A fault of the cluster; tell its staff." },
  MaxPoweredUpNodes: { text: "Waits until fewer nodes are powered up." },
};

/** What a limit counts, by the word in the reason. */
const COUNTED: readonly [RegExp, string][] = [
  [/GRES/i, "GPUs"],
  [/Cpu/i, "CPUs"],
  [/Mem/i, "memory"],
  [/Node/i, "nodes"],
  [/Billing/i, "billing units"],
  [/License/i, "licences"],
  [/Energy/i, "energy"],
  [/BB/, "burst buffer"],
  [/Wall/i, "wall time"],
  [/Submit/i, "jobs in the queue"],
  [/Job/i, "jobs"],
];

/** A limit of an account, a QOS or a user, from the parts of its name: who is limited, and by what. */
function limit(code: string): string | undefined {
  if (!/^(QOS|Assoc|Association|Max)/.test(code)) return undefined;
  // "Job" in "PerJob" says who is limited, not by what.
  const bare = code.replace(/Per(Job|User|Account|Node).*$/, "").replace(/^(QOS|Association|Assoc)/, "");
  const what = COUNTED.find(([word]) => word.test(bare))?.[1] ?? "what it asks for";
  const whose = code.startsWith("QOS") ? "QOS" : "account";
  if (/PerJob|PerNode|^QOSMin|NotSatisfied|TimeLimit$|ResourceLimit$/.test(code))
    return /Min/.test(bare) && !/Minutes|Mins/.test(bare)
      ? `It asks for less ${what} than a job of its ${whose} must. It will not start as it is: cancel it and ask for more.`
      : `It asks for more ${what} than one job of its ${whose} may have. ${STUCK}.`;
  if (/Minutes|RunMin|GrpWall/.test(code))
    return `The ${whose}'s budget of ${what} over time is used up. It starts when the budget is renewed or running jobs end; ask the cluster's staff if that does not happen.`;
  if (/Grp|PerAccount/.test(code))
    return `Your group has as much in use (${what}) as its ${whose} allows. It starts when jobs of the group end.`;
  return `You have as much in use (${what}) as your ${whose} allows. It starts when jobs of yours end.`;
}

/** A reason for people, SLURM's own word in brackets. A reason that nobody knows stands as it is. */
export function waiting(reason: string): Waiting {
  // squeue adds details after a comma; some reasons are sentences of slurmctld's own.
  const code = /^[A-Za-z]+/.exec(reason)?.[0] ?? "";
  const known = EXACT[code] ?? EXACT[reason];
  const family = known === undefined ? limit(code) : undefined;
  if (known !== undefined && (reason === code || /^[,(]/.test(reason.slice(code.length))))
    return { ...known, text: code === "None" ? known.text : tagged(known.text, code) };
  if (family !== undefined) return { text: tagged(family, code) };
  const held = /\bheld\b/.test(reason);
  const text = held ? `Held: it waits until it is released (${reason}).` : `SLURM says: ${reason || "nothing"}.`;
  return { text, ...(held ? { held } : {}) };
}

function tagged(text: string, code: string): string {
  const end = text.indexOf(". ");
  return end < 0 ? `${text.replace(/\.$/, "")} (${code}).` : `${text.slice(0, end)} (${code})${text.slice(end)}`;
}
