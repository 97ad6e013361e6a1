import { describe, expect, it } from "vitest";
import { keyValues, partitions, table, testAnswer } from "../../kernel-lib/src/schedulers/slurm-info.js";

const PARTITION = (name: string, more: string) =>
  `PartitionName=${name} AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL Default=NO QoS=N/A DefaultTime=01:00:00 MaxTime=2-00:00:00 State=UP ${more}`;
const everybody = { groups: ["ab123", "pi_xy1"], accounts: ["pi_xy1"] };

describe("partitions of a SLURM cluster", () => {
  // sinfo 22.05.8 on the test bed, with one a100 and both h100 in use.
  const sinfo = `day*    |idle   |1   |0/8/0/8   |(null)   |gpu:0   |
gpu     |mixed  |1   |3/5/0/8   |gpu:a100:2,gpu:h100:2  |gpu:a100:1(IDX:1),gpu:h100:2(IDX:2-3)  |
`;

  it("count what is free by type", () => {
    const shown = `${PARTITION("day", "").replace("Default=NO", "Default=YES")}\n${PARTITION("gpu", "")}\n`;
    expect(partitions(shown, sinfo, everybody)).toEqual([
      {
        name: "day",
        default: true,
        up: true,
        maxSeconds: 172_800,
        defaultSeconds: 3600,
        nodes: { total: 1, idle: 1, mixed: 0, down: 0 },
        cpus: { total: 8, free: 8 },
        gpus: [],
      },
      {
        name: "gpu",
        default: false,
        up: true,
        maxSeconds: 172_800,
        defaultSeconds: 3600,
        nodes: { total: 1, idle: 0, mixed: 1, down: 0 },
        cpus: { total: 8, free: 5 },
        gpus: [
          { type: "a100", total: 2, free: 1 },
          { type: "h100", total: 2, free: 0 },
        ],
      },
    ]);
  });

  it("count a group of alike nodes by their number, and nothing of what is down, drained or silent as free", () => {
    const groups = `gpu |mixed |3 |60/84/0/144 |gpu:h200:8(S:0-1) |gpu:h200:5(IDX:0-2,5,7) |
gpu |mixed- |1 |8/40/0/48 |gpu:h200:8(S:0-1) |gpu:h200:1(IDX:0) |
gpu |idle~ |1 |0/48/0/48 |gpu:4(S:0) |gpu:0(IDX:N/A) |
gpu |down* |1 |0/0/48/48 |gpu:h200:8(S:0-1) |gpu:h200:0(IDX:N/A) |
gpu |idle* |1 |0/48/0/48 |gpu:h200:8(S:0-1) |gpu:h200:0(IDX:N/A) |
gpu |drained |2 |0/0/96/96 |gpu:h200:8(S:0-1) |gpu:h200:0(IDX:N/A) |
gpu |reserved |1 |0/48/0/48 |gpu:h200:8(S:0-1) |gpu:h200:0(IDX:N/A) |
gpu_devel |idle |9 |0/9/0/9 |gpu:h200:1 |gpu:h200:0(IDX:N/A) |
`;
    const [gpu] = partitions(PARTITION("gpu", ""), groups, everybody);
    expect(gpu?.nodes).toEqual({ total: 10, idle: 1, mixed: 4, down: 5 });
    expect(gpu?.cpus).toEqual({ total: 480, free: 84 + 40 + 48 });
    expect(gpu?.gpus).toEqual([
      { type: "h200", total: 72, free: 9 + 7 },
      { type: "gpu", total: 4, free: 4 },
    ]);
  });

  it("are those that the user may use", () => {
    const shown = [
      PARTITION("all", ""),
      PARTITION("mine", "").replace("AllowAccounts=ALL", "AllowAccounts=pi_q,pi_xy1"),
      PARTITION("theirs", "").replace("AllowAccounts=ALL", "AllowAccounts=pi_q"),
      PARTITION("group", "").replace("AllowGroups=ALL", "AllowGroups=staff"),
      PARTITION("denied", "").replace("AllowAccounts=ALL", "DenyAccounts=pi_xy1"),
      PARTITION("closed", "").replace("State=UP", "State=INACTIVE"),
    ].join("\n");
    const found = partitions(shown, "", everybody);
    expect(found.map((p) => p.name)).toEqual(["all", "mine", "closed"]);
    expect(found.map((p) => p.up)).toEqual([true, true, false]);
    // Where the accounting does not answer, nobody's accounts are known.
    expect(partitions(shown, "", { groups: [], accounts: [] })).toHaveLength(6);
  });

  it("carry the limits of their QoS, and the shorter of two time limits", () => {
    const qos = table(`Name|MaxWall|MaxTRESPU|MaxJobsPU|MaxSubmitPU
normal||||
gpu_limits|1-00:00:00|cpu=96,gres/gpu=16,mem=2T|12|30
`);
    const shown = PARTITION("gpu", "").replace("QoS=N/A", "QoS=gpu_limits");
    expect(partitions(shown, "", everybody, qos)[0]).toMatchObject({
      maxSeconds: 86_400,
      gpusPerUser: 16,
      runningPerUser: 12,
      submittedPerUser: 30,
    });
    const endless = PARTITION("x", "")
      .replace("MaxTime=2-00:00:00", "MaxTime=UNLIMITED")
      .replace("DefaultTime=01:00:00", "DefaultTime=NONE");
    expect(partitions(endless, "", everybody)[0]).not.toHaveProperty("maxSeconds");
    expect(partitions(endless, "", everybody)[0]).not.toHaveProperty("defaultSeconds");
  });

  it("survive text that is none", () => {
    expect(partitions("", "", everybody)).toEqual([]);
    expect(partitions("No partitions in the system\n", "slurm_load_partitions: error\n", everybody)).toEqual([]);
    expect(table("")).toEqual([]);
    expect(
      keyValues(
        "Configuration data as of 2026-11-25T01:00:00\nMaxArraySize            = 1001\nSLURM_VERSION = 24.05.3\n",
      ),
    ).toEqual({
      MaxArraySize: "1001",
      SLURM_VERSION: "24.05.3",
    });
  });
});

describe("sbatch --test-only", () => {
  const answer = (stderr: string, code = 0) => testAnswer({ code, stdout: "", stderr });

  it.each([
    ["sbatch: Job 1 to start at 2026-11-25T01:56:16 using 1 processors on nodes bed02 in partition gpu\n", "bed02"],
    [
      "sbatch: Job 77 to start at 2026-11-25T01:56:16 a using 8 processors on nodes r8[01-02] in partition gpu_h200\n",
      "r8[01-02]",
    ],
    ["sbatch: warning: x\nJob 1 to start at 2026-11-25T01:56:16 using 1 processors on a01 in partition day\n", "a01"],
  ])("says when and where: %j", (text, nodes) => {
    expect(answer(text)).toEqual({ start: "2026-11-25T01:56:16.000Z", nodes });
  });

  it("tells a time that is none from a start", () => {
    expect(answer("sbatch: Job 1 to start at N/A using 1 processors on nodes x in partition day\n")).toEqual({
      nodes: "x",
    });
    expect(answer("")).toEqual({});
  });

  it.each([
    [
      "allocation failure: Requested node configuration is not available\n",
      "Requested node configuration is not available",
    ],
    [
      "sbatch: error: invalid partition specified: nope\nallocation failure: Invalid partition name specified\n",
      "invalid partition specified: nope Invalid partition name specified",
    ],
    ["sbatch: error: Invalid --time specification\n", "Invalid --time specification"],
    ["", "sbatch ended with 1 and said nothing."],
  ])("gives a refusal in SLURM's words: %j", (text, refusal) => {
    expect(answer(text, 1)).toEqual({ refusal });
  });
});
