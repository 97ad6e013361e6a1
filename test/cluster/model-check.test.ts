import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ModelCheck } from "../../kernel-lib/src/jobs/model-check.js";
import { sharedBed } from "../support/bed.js";
import { Sandbox } from "../support/sandbox.js";

const bed = sharedBed();
let box: Sandbox;
let bin: string;

/** SLURM on this machine; on its nodes there are no GPUs, so that what tells of them is played. */
beforeAll(() => {
  box = new Sandbox({ SLURM_CONF: bed.info.slurmConf });
  bin = join(box.home, "bin");
  mkdirSync(bin);
  box.env.PATH = `${bin}:${process.env.PATH}`;
  box.configure(`default: here
clusters:
  here:
    transport: local
    scheduler: slurm
    job_dir: ${join(box.home, "jobs")}
    poll_seconds: 1
`);
});
beforeEach(() => bed.reset());
afterAll(() => box.close());

function program(name: string, text: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
  chmodSync(join(bin, name), 0o755);
}
const gpu = (name: string, megabytes: number) => program("nvidia-smi", `echo "${name}, ${megabytes}, 550.54.15"`);

async function check(...flags: string[]): Promise<{ code: number; found: ModelCheck[]; said: string }> {
  const ran = await box.yale("cluster", "check", "here", "--model", "dots-ocr", "--json", ...flags);
  return { code: ran.code, found: ran.stdout === "" ? [] : JSON.parse(ran.stdout), said: ran.stderr };
}

describe("yale cluster check --model", () => {
  it("says by a job of its own what Python, the GPU, the weights and the disk are like", async () => {
    gpu("NVIDIA A100-SXM4-80GB", 81_920);
    const { code, found, said } = await check();
    expect(said).toBe("");
    // There is no vLLM on these nodes: that is what one wants to know before the queue.
    expect(found[0]?.what).toMatch(/^Python 3\S* (\(\S+\) )?lacks vllm>=0\.11/);
    expect(code).toBe(found[0]?.state === "fault" ? 1 : 0);
    expect(found[1]).toMatchObject({ state: "ok", what: "NVIDIA A100-SXM4-80GB with 80 GiB, driver 550.54.15" });
    // Beside the jobs, on the storage that the cluster has for them, and not in the small home.
    expect(found[2]).toMatchObject({ state: "note" });
    expect(found[2]?.what).toContain(`are not in ${join(box.home, "jobs", "huggingface", "hub")}`);
    expect(found[3]).toMatchObject({ state: "ok", what: expect.stringMatching(/GiB free in/) });
    const [record] = box.records();
    expect(record?.spec).toMatchObject({
      name: "check dots-ocr",
      resources: { partition: "gpu_devel", time: "00:10:00" },
    });
  });

  it("finds weights that are there, a GPU that is too small, and none", async () => {
    gpu("NVIDIA RTX A2000", 12_282);
    const snapshot = join(
      box.home,
      "jobs",
      "huggingface",
      "hub",
      "models--rednote-hilab--dots.ocr",
      "snapshots",
      "abc",
    );
    mkdirSync(snapshot, { recursive: true });
    writeFileSync(join(snapshot, "config.json"), "{}");
    const small = await check();
    expect(small.code).toBe(1);
    expect(small.found[1]).toMatchObject({
      state: "fault",
      what: "NVIDIA RTX A2000 has 12 GiB, and the model needs about 24.",
    });
    expect(small.found[2]).toMatchObject({
      state: "ok",
      what: expect.stringContaining("The weights of rednote-hilab/dots.ocr are in"),
    });
    program("nvidia-smi", "echo 'NVIDIA-SMI has failed: <b>no driver</b>'; exit 9");
    const none = await check();
    expect(none.found[1]).toMatchObject({
      state: "fault",
      what: "No GPU answers here: NVIDIA-SMI has failed: <b>no driver</b>",
    });
    rmSync(join(box.home, "jobs", "huggingface"), { recursive: true });
    const offline = await check("--var", "HF_HUB_OFFLINE=1");
    expect(offline.found[2]).toMatchObject({ state: "fault", what: expect.stringContaining("HF_HUB_OFFLINE") });
    const wrong = await box.yale("cluster", "check", "here", "--model", "tesseract");
    expect(wrong).toMatchObject({ code: 2 });
    expect(wrong.stderr).toContain("tesseract needs no model");
  });

  it("fetches weights by a job without a GPU", async () => {
    program(
      "hf",
      'd="$HF_HOME/hub/models--$(echo "$2" | sed s,/,--,)/snapshots/1"; mkdir -p "$d"; echo {} >"$d/config.json"; echo "fetched $*"',
    );
    // A Python without huggingface_hub, whatever this machine's has.
    program("python3", 'exec /usr/bin/env -i HF_HOME="$HF_HOME" PATH="$PATH" /usr/bin/python3 -S "$@"');
    const ran = await box.yale("cluster", "download", "here", "--model", "dots-ocr", "--json");
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    const { id, spec } = JSON.parse(ran.stdout);
    expect(spec.resources.gpus).toBeUndefined();
    expect(await box.yale("jobs", "wait", id)).toMatchObject({ code: 0 });
    const log = (await box.yale("jobs", "logs", id)).stdout;
    expect(log).toContain("fetched download rednote-hilab/dots.ocr");
    expect(log).toContain("The weights of rednote-hilab/dots.ocr are in");
  });
});
