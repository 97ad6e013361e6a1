import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { loadConfig } from "../../kernel-lib/src/config/index.js";
import type { Diagnosis } from "../../kernel-lib/src/doctor/index.js";
import { knowHost, makeHostKey } from "../support/host-key.js";
import { CLI, Sandbox } from "../support/sandbox.js";
import { Terminal } from "../support/terminal.js";

let box: Sandbox;
beforeAll(() => {
  box = new Sandbox({ HF_TOKEN: "hf_secretsecret", SSH_AUTH_SOCK: "" }).enter();
});
afterEach(() => Terminal.closeAll());
afterAll(() => box.close());

const own = () => join(box.home, "config", "yale-jobs", "config.yaml");

describe("yale init", () => {
  it("asks a person a few questions and writes what it was told, with what each line says", async () => {
    const terminal = Terminal.yale(box, "init", "--no-login");
    await terminal.until("Which cluster?");
    await terminal.until("1. Bouchet (Yale)");
    expect(terminal.shown).not.toContain("Hopper");
    await terminal.until("Number, or the host");
    terminal.type("99\r");
    await terminal.until("Number, or the host");
    terminal.type("1\r");
    await terminal.until("Your user name there (NetID)");
    terminal.type("ab123\r");
    await terminal.until("Folder for jobs and datasets there [~/scratch_pi_*/yale-jobs]");
    terminal.type("\r");
    await terminal.until("SLURM account");
    terminal.type("pi_xy1\r");
    await terminal.until('yale.ocr("scans.pdf").on("bouchet")');
    expect(await terminal.ended).toBe(0);
    const config = await loadConfig({ path: own() });
    expect(config.default).toBe("bouchet");
    expect(config.clusters.get("bouchet")).toMatchObject({
      host: "bouchet.ycrc.yale.edu",
      user: "ab123",
      jobDir: "~/scratch_pi_*/yale-jobs",
      defaults: { account: "pi_xy1" },
      site: { name: "bouchet" },
    });
    const text = readFileSync(own(), "utf8");
    for (const key of ["host", "user", "job_dir", "account"]) expect(text).toMatch(new RegExp(`${key}: .+ # .+`));
    expect(text).toContain("scratch is purged");
    expect(statSync(own()).mode & 0o077).toBe(0);
  });

  it("overwrites nothing unless it is forced to, and needs no terminal where all is said", async () => {
    const before = readFileSync(own(), "utf8");
    const refused = await box.yale("init", "--cluster", "grace");
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain("is there already");
    expect(readFileSync(own(), "utf8")).toBe(before);
    const made = await box.yale("init", "--host", "me@login.hpc.example.edu", "--config", "other.yaml", "--json");
    expect(JSON.parse(made.stdout)).toMatchObject({ name: "example", host: "me@login.hpc.example.edu" });
    expect((await loadConfig({ path: join(box.home, "other.yaml") })).clusters.get("example")).toMatchObject({
      host: "login.hpc.example.edu",
      user: "me",
    });
    const silent = await box.yale("init", "--config", "none.yaml");
    expect(silent).toMatchObject({ code: 2 });
    expect(silent.stderr).toContain("Give --cluster (bouchet");
  });

  it.each([
    ["--host", "-oProxyCommand=touch x"],
    ["--host", "login.example.edu; touch x"],
    ["--user", "a\nb: c"],
    ["--job-dir", "~/../x"],
    ["--account", 'a"b: c'],
    ["--cluster", "hopper"],
  ])("refuses %s %j in words, and leaves no file", async (flag, value) => {
    const whole = { "--host": "login.example.edu", "--config": "bad.yaml", [flag]: value };
    const ran = await box.yale("init", ...Object.entries(whole).map(([k, v]) => `${k}=${v}`));
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toMatch(/^yale: .+\n {2}→ .+/);
    for (const name of ["bad.yaml", "bad.yaml.part", "x"]) expect(existsSync(join(box.home, name))).toBe(false);
  });
});

describe("yale doctor", () => {
  const doctor = async (...args: string[]) => {
    const ran = await box.yale("doctor", "--json", ...args);
    return { ...ran, found: JSON.parse(ran.stdout) as Diagnosis[] };
  };

  it("says what is there, and shows no secret", async () => {
    const { code, found, stdout } = await doctor();
    expect(code).toBe(0);
    const states = (about: string) => found.filter((d) => d.about === about).map((d) => d.state);
    expect(states("this machine")).not.toContain("fault");
    expect(found.map((d) => d.what)).toContain("A Hugging Face token is there, for https://huggingface.co.");
    expect(stdout).not.toContain("hf_secret");
    expect(found.find((d) => d.about === "config.yaml")).toMatchObject({ state: "ok" });
    expect(found.some((d) => d.about === "bouchet" && d.what.includes("host key is not known"))).toBe(true);
    for (const d of found) expect(d.fix === "").toBe(d.state === "ok");
    const text = (await box.yale("doctor")).stdout;
    expect(text).toMatch(/^this machine\n {2}✓ Node /);
    expect(text).toContain("Nothing keeps jobs from running.");
  });

  it("goes on after what is broken, and ends with 1", async () => {
    const keys = join(box.home, "keys");
    mkdirSync(keys);
    knowHost(box.home, 2222, makeHostKey(keys, "ed25519"));
    chmodSync(join(keys, "ed25519"), 0o644);
    const config = join(box.home, "two.yaml");
    writeFileSync(
      config,
      "clusters:\n  open:\n    host: 127.0.0.1\n    port: 2222\n    identity: keys/ed25519\n  gone:\n    host: 127.0.0.1\n    identity: keys/none\n",
    );
    const { code, found } = await doctor("--config", config);
    expect(code).toBe(1);
    const of = (about: string) => found.filter((d) => d.about === about);
    expect(of("open").some((d) => d.state === "ok" && d.what.includes("host key is known"))).toBe(true);
    expect(of("open").some((d) => d.state === "fault" && d.fix.startsWith("chmod 600"))).toBe(true);
    expect(of("gone")).toMatchObject([{ state: "fault", what: expect.stringContaining("does not exist") }]);
    writeFileSync(config, "clusters: [\n");
    const broken = await doctor("--config", config);
    expect(broken.code).toBe(1);
    expect(broken.found.at(-1)).toMatchObject({ about: "config.yaml", state: "fault" });
    expect(broken.found.length).toBeGreaterThan(6);
  });

  it("says when a folder can't be written", async () => {
    // A file where the folder should be: that stops root as well.
    writeFileSync(join(box.home, "file"), "");
    const ran = await box.run("env", [
      `XDG_CACHE_HOME=${join(box.home, "file")}`,
      process.execPath,
      CLI,
      "doctor",
      "--json",
    ]);
    const found = JSON.parse(ran.stdout) as Diagnosis[];
    expect(found.filter((d) => d.state === "fault")).toMatchObject([
      { what: expect.stringContaining("can't be written") },
    ]);
    expect(ran.code).toBe(1);
  });
});
