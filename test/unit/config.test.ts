import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { command } from "../../kernel-lib/src/cluster/shell.js";
import { type ClusterConfig, type Config, loadConfig } from "../../kernel-lib/src/config/index.js";
import { ConfigError } from "../../kernel-lib/src/errors.js";

let folder = "";
let path = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "yale-config-"));
  path = join(folder, "config.yaml");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function read(text: string): Promise<Config> {
  writeFileSync(path, text);
  return loadConfig({ path });
}

async function clusterOf(keys: string): Promise<ClusterConfig> {
  const lines = keys.split("\n").map((line) => `    ${line.trim()}`);
  const found = (await read(`clusters:\n  one:\n${lines.join("\n")}\n`)).clusters.get("one");
  if (found === undefined) throw new Error("no cluster");
  return found;
}

async function refused(text: string): Promise<string> {
  try {
    await read(text);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error(`was not refused: ${text}`);
}

describe("config.yaml", () => {
  it("takes the seed's file as it is", async () => {
    const config = await read(`alias: grace
login: ab123@grace.ycrc.yale.edu
env: yale-ocr
job_dir: proj*/shared/test
result_dir: results
2fa: true
`);
    expect(config.default).toBe("grace");
    expect(config.clusters.get("grace")).toMatchObject({
      transport: "ssh",
      scheduler: "slurm",
      host: "grace",
      user: "ab123",
      env: "yale-ocr",
      jobDir: "proj*/shared/test",
      resultDir: join(folder, "results"),
      site: { name: "grace" },
    });
  });

  it("takes the seed's login and username without an alias", async () => {
    const config = await read("login: login.example.edu\nusername: ab123\njob_dir: ~/jobs\n");
    expect(config.clusters.get("cluster")).toMatchObject({
      host: "login.example.edu",
      user: "ab123",
      jobDir: "~/jobs",
    });
  });

  it("lays the file over the site, and the site over what holds everywhere", async () => {
    const bouchet = await clusterOf("host: Bouchet.ycrc.yale.edu\nuser: ab123");
    expect(bouchet.site?.name).toBe("bouchet");
    expect(bouchet.policy).toEqual({
      pollSeconds: 15,
      submissionsPerHour: 200,
      minTaskMinutes: 5,
      taskMinutes: 10,
    });
    expect(bouchet.quotaCommand).toEqual(["getquota"]);
    const own = await clusterOf(
      "host: bouchet\nsubmissions_per_hour: 20\nmax_array_running: 3\npurge_days: 7\nquota_command: [quota, -w]",
    );
    expect(own.policy).toMatchObject({ submissionsPerHour: 20, maxArrayRunning: 3, taskMinutes: 10 });
    expect(own).toMatchObject({ purgeDays: 7, quotaCommand: ["quota", "-w"], site: { name: "bouchet" } });
    const unknown = await clusterOf("host: login.example.edu");
    expect(unknown.site).toBeUndefined();
    expect(unknown.policy).toEqual({ pollSeconds: 15, submissionsPerHour: 200, minTaskMinutes: 5, taskMinutes: 10 });
    expect((await clusterOf("host: bouchet\nsite: none")).site).toBeUndefined();
    expect((await clusterOf("transport: local\nsite: misha")).site?.name).toBe("misha");
  });

  it("reads paths on this machine from the home or from the file's own folder", async () => {
    const c = await clusterOf("host: h\nidentity: ~/.ssh/id_ed25519\nresult_dir: out");
    expect(c).toMatchObject({ identity: join(homedir(), ".ssh/id_ed25519"), resultDir: join(folder, "out") });
  });

  it("takes YAML anchors", async () => {
    const config = await read("clusters:\n  a:\n    host: &h login.example.edu\n  b:\n    host: *h\n");
    expect(config.clusters.get("b")?.host).toBe("login.example.edu");
  });

  it.each([
    ["clusters:\n  a:\n    hots: x\n", /config\.yaml:3: there is no key "hots" \(did you mean "host"\?\)/],
    ["clusters:\n  a:\n    host: x\n    policy: 3\n", /:4: there is no key "policy"/],
    ["job_dirr: x\n", /:1: there is no key "job_dirr" \(did you mean "job_dir"\?\)/],
    ["alias: a\npassword: x\n", /:2: "password" must not stand in a file/],
    ["clusters:\n  a:\n    host: [1]\n", /:3: "host" must be a text/],
    ["clusters:\n  a:\n    host: x\n    port: 99999\n", /:4: port: got 99999/],
    ["clusters:\n  a:\n    host: x\n    time: 60\n", /:4: time: got 60/],
    ["clusters:\n  a:\n    host: x\n    memory: 32\n", /:4: memory: got 32/],
    ["clusters:\n  a:\n    host: x\n    gpus: 'a100:'\n", /:4: gpus: got "a100:"/],
    ["clusters:\n  a:\n    host: x\n    poll_seconds: -1\n", /:4: "poll_seconds" must be a number above 0/],
    ["clusters:\n  a:\n    host: x\n    site: bochet\n", /:4: site is "bochet" \(did you mean "bouchet"\?\)/],
    ["clusters:\n  a:\n    host: x\n    scheduler: pbs\n", /:4: scheduler is "pbs"[\s\S]*local, slurm/],
    ["clusters:\n  a:\n    transport: ssh\n", /the cluster a has no host/],
    ["clusters:\n  a: text\n", /:2: "a" must hold keys and values/],
    ["clusters:\n  'a b':\n    host: x\n", /:2: "a b" is no name/],
    ["default: b\nclusters:\n  a:\n    host: x\n", /:1: the default cluster "b" is not defined/],
    ["a: b: c\n", /config\.yaml:1: /],
    ["- a\n", /must be a list of keys and values/],
    ["clusters:\n  a:\n    host: hopper1.ycrc.yale.edu\n", /:3: Hopper has no login over SSH/],
  ])("says what is wrong with %j, with file and line", async (text, words) => {
    expect(await refused(text)).toMatch(words);
  });

  it.each(["-oProxyCommand=id", "a b", "a'b", "$(id)", "a;id", "`id`", "a\\nb", "../x", "a/b", "", "-l@x", "x@-oA"])(
    "refuses %j as a host",
    async (host) => {
      expect(await refused(`clusters:\n  a:\n    host: "${host}"\n`)).toMatch(/config\.yaml:3: /);
    },
  );
  it.each(["-l", "a b", "$(id)", "a'b", "a\\nb", "a/b"])("refuses %j as a user", async (user) => {
    expect(await refused(`clusters:\n  a:\n    host: x\n    user: "${user}"\n`)).toMatch(/config\.yaml:4: /);
  });
  it.each(["-J", "a,-b", "a b", "$(id)", "x,,y"])("refuses %j as a jump host", async (jump) => {
    expect(await refused(`clusters:\n  a:\n    host: x\n    proxy_jump: "${jump}"\n`)).toMatch(/config\.yaml:4: /);
  });
  it.each(["/a/../b", "../x", "~root/x", "/a\\nb", '/a\\"b', "/a\\\\b"])("refuses %j as a job_dir", async (dir) => {
    expect(await refused(`clusters:\n  a:\n    host: x\n    job_dir: "${dir}"\n`)).toMatch(/config\.yaml:4: /);
  });
  it.each(["-x", "a b", "$(id)", "a'b"])("refuses %j as a partition", async (partition) => {
    expect(await refused(`clusters:\n  a:\n    host: x\n    partition: "${partition}"\n`)).toMatch(/config\.yaml:4: /);
  });

  it("carries a path with spaces, quotes and $(…) unharmed", async () => {
    const odd = "/scratch/it's $(id) `id` -x/*";
    const c = await clusterOf(`host: x\njob_dir: "${odd}"\nmodules: ["it's $(id)"]\nenv: "my env's"`);
    expect(c).toMatchObject({ jobDir: odd, modules: ["it's $(id)"], env: "my env's" });
    expect(command(["cd", c.jobDir])).toBe("cd '/scratch/it'\\''s $(id) `id` -x/*'");
  });

  it("is only this machine without a file, or with an empty one", async () => {
    expect((await loadConfig({ search: false })).default).toBe("local");
    expect([...(await read("# nothing\n")).clusters.keys()]).toEqual(["local"]);
  });

  it("can describe this machine anew", async () => {
    const config = await read("clusters:\n  local:\n    job_dir: jobs\n");
    expect(config.clusters.get("local")).toMatchObject({
      transport: "local",
      scheduler: "local",
      jobDir: join(folder, "jobs"),
      policy: { pollSeconds: 1 },
    });
  });
});
