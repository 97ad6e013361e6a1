import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encryptedPdf, pdfWithoutPages, sentence, textPdf } from "../support/material.js";
import { python, Sandbox } from "../support/sandbox.js";

let box: Sandbox;
beforeAll(() => {
  box = new Sandbox();
});
afterAll(() => box.close());

describe("yale jobs ocr", () => {
  it("recognises a PDF with no configuration and puts the results where they were asked for", async () => {
    const pdf = await textPdf(box.home, "two.pdf", 2);
    const ran = await box.yale("jobs", "ocr", pdf, "out", "--wait");
    expect(ran).toMatchObject({ code: 0 });
    expect(ran.stdout).toContain("completed: 2 pages");
    const read = await box.run(python(), [
      "-c",
      "import sys; from datasets import load_from_disk; d = load_from_disk('out'); print(d['page'][:], d['error'][:]); print(d['text'][0])",
    ]);
    expect(read.stdout).toContain("[1, 2] [None, None]");
    expect(read.stdout).toContain(sentence(10));
  });

  it("takes the good pages of a directory and reports each bad file once, with its reason and exit code 3", async () => {
    const folder = join(box.home, "mixed");
    mkdirSync(folder);
    const good = await textPdf(folder, "good.pdf", 2);
    const bytes = readFileSync(good);
    writeFileSync(join(folder, "truncated.pdf"), bytes.subarray(0, bytes.length / 2));
    writeFileSync(join(folder, "empty.pdf"), "");
    writeFileSync(join(folder, "text.pdf"), "Dear reader,\n");
    writeFileSync(join(folder, "encrypted.pdf"), await encryptedPdf(python(), good));
    writeFileSync(join(folder, "nopages.pdf"), pdfWithoutPages());
    const ran = await box.yale("jobs", "ocr", folder, "--wait", "--json");
    expect(ran.code).toBe(3);
    const record = JSON.parse(ran.stdout);
    expect(record.state).toBe("completed");
    expect(record.progress.done).toBe(2);
    const faults = Object.fromEntries(record.faults.map((f: { key: string; reason: string }) => [f.key, f.reason]));
    expect(record.faultCount).toBe(5);
    expect(faults).toEqual({
      "truncated.pdf": expect.stringMatching(/damaged|cut off/),
      "empty.pdf": expect.stringContaining("empty"),
      "text.pdf": expect.stringContaining("text file"),
      "encrypted.pdf": expect.stringContaining("password"),
      "nopages.pdf": expect.stringContaining("no pages"),
    });
    const again = await box.yale("jobs", "ocr", folder, "--wait");
    expect(again.code).toBe(3);
    expect(again.stdout).toContain("5 of the source could not be read");
  });

  it("fails in words when there is not one page", async () => {
    writeFileSync(join(box.home, "no.pdf"), "");
    const ran = await box.yale("jobs", "ocr", "no.pdf", "--wait");
    expect(ran.code).toBe(4);
    expect(ran.stderr).toContain("empty");
  });

  it("shows what would be sent, and sends nothing", async () => {
    const pdf = await textPdf(box.home, "plan.pdf", 1);
    const before = JSON.parse((await box.yale("jobs", "ls", "--json")).stdout).length;
    const ran = await box.yale("jobs", "ocr", pdf, "--dry-run", "--time", "01:00:00", "--json");
    const plan = JSON.parse(ran.stdout);
    expect(plan.script).toContain("#SBATCH --time=01:00:00");
    expect(plan.files.map((f: { path: string }) => f.path)).toContain("job.sh");
    expect(JSON.parse((await box.yale("jobs", "ls", "--json")).stdout).length).toBe(before);
  });

  it("asks for as many GPUs of a node as were asked for, and for none that a model can't use", async () => {
    const pdf = await textPdf(box.home, "gpus.pdf", 1);
    const config = join(box.home, "grace.yaml");
    writeFileSync(config, "clusters:\n  grace: { host: grace.ycrc.yale.edu, username: ab123, job_dir: /x }\n");
    const dry = (gpus: string) =>
      box.yale("jobs", "ocr", pdf, "--config", config, "--model", "dots-ocr", "--gpus", gpus, "--dry-run", "--json");
    const { script } = JSON.parse((await dry("a100:2")).stdout);
    expect(script).toContain("#SBATCH --gpus=a100:2");
    expect(script).toContain("#SBATCH --nodes=1");
    expect((await dry("v100:2")).stderr).toMatch(/v100 does not know[\s\S]*Ask for .*a100/);
    expect((await dry("a100:16")).stderr).toMatch(/at most the 8 GPUs of one node/);
  });
});

describe("yale refuses with exit code 2 and says what is allowed", () => {
  it.each([
    [["jobs", "ocr", "x.pdf", "--time", "60"], /HH:MM:SS/],
    [["jobs", "ocr", "x.pdf", "--gpus", "a100:"], /type:count/],
    [["jobs", "ocr", "x.pdf", "--cpus", "-1"], /whole number/],
    [["jobs", "ocr", "x.pdf", "--max-samples", "many"], /whole number/],
    [["jobs", "ocr", "x.pdf", "--memory", "32"], /32G/],
    [["jobs", "ocr", "x.pdf", "--batchsize", "2"], /--batch-size/],
    [["jobs", "ocr", "x.pdf", "--option", "nonsense=1", "--dry-run"], /nonsense|no kind/],
    [["jobs", "ocr", "x.pdf", "--model", "tessaract", "--dry-run", "--source-type", "pdf"], /tesseract/],
    [["jobs", "ocr", "x.pdf", "--source-type", "scan"], /pdf.*iiif/],
    [["jobs", "ls", "--state", "done"], /completed/],
    [["jobs", "ls", "--nonsense"], /unknown option/],
    [["jobs", "status", "no-such-job"], /no job/],
    [["jobs", "ocr", "x.pdf", "--config", "no.yaml"], /no\.yaml/],
    [["frobnicate"], /unknown command/],
  ])("%j", async (args, words) => {
    const ran = await box.yale(...args);
    expect(ran.code).toBe(2);
    expect(ran.stderr).toMatch(words);
    expect(ran.stdout).toBe("");
  });
});

describe("yale jobs run", () => {
  it("gives a Python script its pages as `dataset`, unchanged from the original's way", async () => {
    const pdf = await textPdf(box.home, "three.pdf", 3);
    writeFileSync(
      join(box.home, "count.py"),
      'import sys\nfrom datasets import load_from_disk\nd = load_from_disk("dataset")\nprint("pages:", len(d), d[0]["image"].size, sys.argv[1:])\nopen("sizes.txt", "w").write(str(len(d)))\n',
    );
    // The job's python3 is the one of the tests' environment.
    const { dirname } = await import("node:path");
    const path = `${dirname(python())}:${process.env.PATH}`;
    const other = new Sandbox({ PATH: path });
    try {
      const ran = await other.yale(
        "jobs",
        "run",
        join(box.home, "count.py"),
        "--data",
        pdf,
        "--wait",
        "-o",
        "got",
        "--",
        "a b",
        "$(id)",
        "-x",
      );
      expect(ran).toMatchObject({ code: 0 });
      const [record] = other.records();
      expect((await other.yale("jobs", "logs", record?.id ?? "")).stdout).toMatch(
        /pages: 3 \(\d+, \d+\) \['a b', '\$\(id\)', '-x'\]/,
      );
      expect(readFileSync(join(other.home, "got", "sizes.txt"), "utf8")).toBe("3");
    } finally {
      await other.close();
    }
  });

  it("ends with 4 and the script's own code when the script fails", async () => {
    writeFileSync(join(box.home, "fail.sh"), "echo 'it went wrong' >&2\nexit 7\n");
    const ran = await box.yale("jobs", "run", "fail.sh", "--wait");
    expect(ran.code).toBe(4);
    expect(ran.stderr).toContain("exit code 7");
    expect(ran.stderr).toContain("it went wrong");
  });

  it("cancels a job and its children, and says so with 5", async () => {
    writeFileSync(join(box.home, "long.sh"), "echo started\nsleep 300 &\nsleep 300\n");
    const id = (await box.yale("jobs", "run", "long.sh", "-q")).stdout.trim();
    const follow = box.start("jobs", "logs", "-f", id);
    // Listened for from the start: it may be gone before `wait` is.
    const ended = new Promise((resolve) => follow.once("close", resolve));
    await new Promise((started) => follow.stdout?.once("data", started));
    const waiting = box.yale("jobs", "wait", id);
    expect((await box.yale("jobs", "cancel", id)).code).toBe(0);
    expect((await waiting).code).toBe(5);
    await ended;
  });

  it("stops at its time limit and says so with 6", async () => {
    writeFileSync(join(box.home, "slow.sh"), "sleep 300\n");
    const ran = await box.yale("jobs", "run", "slow.sh", "--time", "00:00:02", "--wait");
    expect(ran.code).toBe(6);
    expect(ran.stderr).toContain("time limit");
  });

  it("stops waiting after --timeout with 124, and the job goes on", async () => {
    const id = (await box.yale("jobs", "run", "slow.sh", "-q")).stdout.trim();
    const ran = await box.yale("jobs", "wait", id, "--timeout", "1");
    expect(ran.code).toBe(124);
    expect(JSON.parse((await box.yale("jobs", "status", id, "--json")).stdout).state).not.toBe("cancelled");
    await box.yale("jobs", "cancel", id);
    await box.yale("jobs", "wait", id);
  });

  it("lets jobs wait for their turn and for each other", async () => {
    writeFileSync(join(box.home, "first.sh"), "sleep 1; date +%s%N\n");
    const first = (await box.yale("jobs", "run", "first.sh", "-q")).stdout.trim();
    const { until } = await import("../support/sandbox.js");
    await until("the first job's submission", () => box.records().find((r) => r.id === first)?.schedulerId);
    const second = (await box.yale("jobs", "run", "first.sh", "-q", "--after", first)).stdout.trim();
    expect((await box.yale("jobs", "wait", first, second)).code).toBe(0);
    const [a, b] = await Promise.all(
      [first, second].map(async (id) => (await box.yale("jobs", "logs", id)).stdout.trim()),
    );
    expect(BigInt(b ?? "0")).toBeGreaterThan(BigInt(a ?? "0"));
  });
});

describe("what comes from outside stays text", () => {
  it("in names, logs and recognised text on a terminal", async () => {
    writeFileSync(join(box.home, "evil.sh"), "printf '\\033]0;owned\\007\\033[2Jhello\\r\\n'\n");
    const id = (await box.yale("jobs", "run", "evil.sh", "--job-name", "<b>$(id) `id` 'x'", "-q")).stdout.trim();
    expect((await box.yale("jobs", "wait", id)).code).toBe(0);
    const log = await box.yale("jobs", "logs", id);
    expect(log.stdout).toContain("hello");
    expect(log.stdout).not.toContain("\u001b");
    expect((await box.yale("jobs", "ls")).stdout).toContain("<b>$(id) `id` 'x'");
  });
});

describe("help and completion", () => {
  it("has examples for every verb", async () => {
    const { everyCommand, program } = await import("../../kernel-lib/src/cli/main.js");
    for (const command of everyCommand(program()).filter((c) => c.commands.length === 0)) {
      let text = "";
      command.configureOutput({
        writeOut: (t) => {
          text += t;
        },
      });
      try {
        command.outputHelp();
      } finally {
        expect(text, command.name()).toContain("Examples:");
      }
    }
  });

  it("completes verbs and flags in bash", async () => {
    expect((await box.yale("completion", "bash")).stdout).toContain("complete");
    const verbs = await box.yale("complete", "--", "jobs", "");
    for (const verb of ["ocr", "run", "wait", "logs"]) expect(verbs.stdout).toContain(verb);
    expect((await box.yale("complete", "--", "jobs", "ocr", "--g")).stdout).toContain("--gpus");
    expect((await box.yale("completion", "tcsh")).code).toBe(2);
  });
});
