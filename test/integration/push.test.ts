import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Job } from "../../kernel-lib/src/index.js";
import { Yale } from "../../kernel-lib/src/yale.js";
import { sentence, textPdf } from "../support/material.js";
import { CLI, python, Sandbox } from "../support/sandbox.js";
import { writableHub } from "../support/writable-hub.js";

const TOKEN = "hf_tokenthatissecret";
const REPO = "ab123/letters";

let box: Sandbox;
let hub: Awaited<ReturnType<typeof writableHub>>;
let job: Job;
const at = (...path: string[]) => join(box.home, "hub", ...path);

beforeAll(async () => {
  box = new Sandbox().enter();
  hub = await writableHub(at(), TOKEN);
  // As `hf auth login` leaves it; the agent finds it there as well.
  Object.assign(box.env, { HF_ENDPOINT: hub.url, HF_HOME: join(box.home, "hf") });
  await box.run("mkdir", ["-p", "hf"]);
  writeFileSync(join(box.home, "hf", "token"), `${TOKEN}\n`);
  const ran = await box.yale("jobs", "ocr", await textPdf(box.home, "letters.pdf", 3), "--wait", "--json");
  expect(ran.code).toBe(0);
  job = await new Yale().job(JSON.parse(ran.stdout).id);
}, 120_000);
beforeEach(() => {
  hub.pushed.failures = 0;
  delete hub.pushed.refuse;
  delete hub.pushed.refuseNew;
});
afterAll(async () => {
  await box.close();
  await hub.close();
});

/** What Python's datasets makes of the pushed files. */
async function pythonReads(repo: string): Promise<{ features: string; texts: string[]; size: number[] | null }> {
  const code = `
import glob, json, sys
from datasets import Dataset, concatenate_datasets
files = sorted(glob.glob(sys.argv[1] + "/data/*.parquet"))
d = Dataset.from_parquet(files, cache_dir=sys.argv[2])
first = d[0].get("image")
print(json.dumps({"features": str(sorted(d.features.items())), "texts": d["text"][:], "size": first and list(first.size)}))
`;
  const ran = await box.run(python(), ["-c", code, at(repo), join(box.home, "datasets-cache", repo)]);
  expect(ran.code, ran.stderr).toBe(0);
  return JSON.parse(ran.stdout);
}

describe("a push to the Hub", () => {
  it("brings a private dataset with images and a card, as Python's datasets reads it", async () => {
    const ran = await box.yale("jobs", "push", job.id, REPO, "--json");
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(ran.stdout)).toMatchObject({
      repo: REPO,
      url: `${hub.url}/datasets/${REPO}`,
      commit: "c0ffee",
      pages: 3,
      shards: 1,
      imagesMissing: 0,
    });
    expect(hub.pushed.made[REPO]).toBe("private");
    const read = await pythonReads(REPO);
    expect(read.features).toContain("Image(");
    expect(read.texts.map((t) => t.split("\n")[0])).toEqual([10, 20, 30].map(sentence));
    expect(read.size).toEqual([1167, 433]);
    const card = readFileSync(at(REPO, "README.md"), "utf8");
    expect(card).toMatch(/^---\nconfigs:\n {2}- config_name: default\n/);
    expect(card).toContain("path: data/train-*");
    expect(card).toContain("- `letters.pdf`");
    expect(card).toContain('"engine": "tesseract"');
  });

  it("sends nothing that is there again, and keeps what people wrote on the card", async () => {
    const readme = at(REPO, "README.md");
    writeFileSync(
      readme,
      readFileSync(readme, "utf8")
        .replace(/\n# Recog[\s\S]*/, "\nMy own words.\n")
        .replace("tags:", "license: cc0-1.0\ntags:"),
    );
    const sent = hub.pushed.sent.length;
    const pushed = await (await withHub(() => job.results())).pushToHub(REPO);
    expect(pushed.pages).toBe(3);
    expect(hub.pushed.sent.length).toBe(sent);
    const card = readFileSync(readme, "utf8");
    expect(card).toContain("My own words.");
    expect(card).toContain("license: cc0-1.0");
    expect(card.match(/configs:/g)).toHaveLength(1);
  });

  it("can be the text alone, and public", async () => {
    const ran = await box.yale("jobs", "push", job.id, "ab123/open", "--public", "--no-images");
    expect(ran).toMatchObject({ code: 0 });
    expect(ran.stdout).toContain(`3 pages are in ${hub.url}/datasets/ab123/open`);
    expect(hub.pushed.made["ab123/open"]).toBe("public");
    expect((await pythonReads("ab123/open")).size).toBeNull();
  });

  it("goes to a dataset that is there with a token that may make none, and says so where there is none", async () => {
    for (const status of [401, 402, 403]) {
      hub.pushed.refuseNew = status;
      const commits = hub.pushed.commits;
      const ran = await box.yale("jobs", "push", job.id, REPO);
      expect(ran, ran.stderr).toMatchObject({ code: 0 });
      expect(hub.pushed.commits).toBe(commits + 1);
    }
    const none = await box.yale("jobs", "push", job.id, "library/none");
    expect(none).toMatchObject({ code: 10 });
    expect(none.stderr).toContain("refused to let this token write library/none");
    // May see it, and may not write it: the commit is refused, and that is what is told.
    hub.pushed.refuse = 403;
    expect((await box.yale("jobs", "push", job.id, REPO)).stderr).toContain(`refused to let this token write ${REPO}`);
  });

  it("takes the place of the files that its split had, whoever named them, in the same commit", async () => {
    const others = ["train-00000-of-00002.parquet", "train-00001-of-00002-0123456789abcdef.parquet", "train-7.jsonl"];
    const kept = ["test-00000-of-00001.parquet", "training.parquet"];
    for (const name of [...others, ...kept]) writeFileSync(at(REPO, "data", name), "old");
    const commits = hub.pushed.commits;
    expect(await box.yale("jobs", "push", job.id, REPO)).toMatchObject({ code: 0 });
    expect(hub.pushed.commits).toBe(commits + 1);
    expect(readdirSync(at(REPO, "data")).sort()).toEqual([...kept, "train-00000.parquet"].sort());
    for (const name of kept) rmSync(at(REPO, "data", name));
  });

  it("that breaks is told in words, commits nothing, and goes on when it is asked for again", async () => {
    const commits = hub.pushed.commits;
    hub.pushed.refuse = 503;
    const broken = await box.yale("jobs", "push", job.id, "ab123/again");
    expect(broken).toMatchObject({ code: 11, stdout: "" });
    expect(broken.stderr).toContain("Push again: what arrived is not sent again.");
    expect(hub.pushed.commits).toBe(commits);
    delete hub.pushed.refuse;
    const sent = hub.pushed.sent.length;
    expect(await box.yale("jobs", "push", job.id, "ab123/again")).toMatchObject({ code: 0 });
    expect(hub.pushed.sent.length).toBe(sent);
  });

  it("is refused without a token, with a wrong one, and under no name, and shows no token", async () => {
    const as = (token: string, repo = REPO) =>
      box.run("env", [
        `HF_TOKEN=${token}`,
        "HF_HOME=/nonexistent",
        process.execPath,
        CLI,
        "jobs",
        "push",
        job.id,
        repo,
      ]);
    const none = await as("");
    expect(none).toMatchObject({ code: 10 });
    expect(none.stderr).toContain("There is no Hugging Face token here");
    const wrong = await as("hf_wrongwrong");
    expect(wrong).toMatchObject({ code: 10 });
    expect(wrong.stderr).toContain("refused to let this token write");
    expect(wrong.stderr).not.toContain("hf_wrong");
    for (const repo of ["letters", "../x", "a/b/c", "a/-x", "a/b.git"])
      expect(await as(TOKEN, repo), repo).toMatchObject({ code: 2 });
  });
});

describe("a job that is pushed when it is done", () => {
  it("says where to, and keeps no token anywhere", async () => {
    const ran = await box.yale("jobs", "ocr", "letters.pdf", "--push-to-hub", "ab123/by-itself", "--wait");
    expect(ran).toMatchObject({ code: 0 });
    expect(ran.stdout).toContain(`Pushed to ${hub.url}/datasets/ab123/by-itself`);
    expect(hub.pushed.made["ab123/by-itself"]).toBe("private");
    const all = readdirSync(box.home, { recursive: true, withFileTypes: true }).filter(
      (e) => e.isFile() && !e.parentPath.startsWith(join(box.home, "hf")),
    );
    expect(all.length).toBeGreaterThan(20);
    for (const e of all)
      expect(readFileSync(join(e.parentPath, e.name)).includes(TOKEN), join(e.parentPath, e.name)).toBe(false);
  });

  it("is done all the same if it can be neither put where it was wanted nor pushed, and says both", async () => {
    hub.pushed.refuse = 403;
    const wishes = ["--output-dir", "letters.pdf", "--push-to-hub", "ab123/not-mine"];
    const ran = await box.yale("jobs", "ocr", "letters.pdf", ...wishes, "--wait", "--json");
    const record = JSON.parse(ran.stdout);
    expect(record.state).toBe("completed");
    expect(record.reason).toMatch(/could not be put into .*letters\.pdf/);
    expect(record.reason).toContain("could not be pushed to ab123/not-mine");
    expect(record.reason).toContain(`yale jobs push ${record.id} ab123/not-mine`);
    expect(existsSync(at("ab123/not-mine", "README.md"))).toBe(false);
  });
});

/** This process asks that hub, with that token. */
async function withHub<T>(work: () => Promise<T>): Promise<T> {
  process.env.HF_ENDPOINT = hub.url;
  process.env.HF_HOME = join(box.home, "hf");
  return work();
}
