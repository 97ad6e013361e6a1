import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { sharedBed, type Variant } from "../support/bed.js";
import { type Ran, until } from "../support/sandbox.js";

const bed = sharedBed();
const folder = mkdtempSync(join(tmpdir(), "yale-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => bed.reset());

/** Logs in with OpenSSH itself; each question is answered with the next of `answers`, by a file that ssh's helper reads. */
async function login(variant: Variant, answers: string[], command = "id -un"): Promise<Ran & { questions: string }> {
  const helper = join(folder, "askpass");
  writeFileSync(
    helper,
    `#!/bin/bash\nprintf '%s\\n' "$1" >>${folder}/questions\nhead -n 1 ${folder}/answers\nsed -i 1d ${folder}/answers\n`,
    { mode: 0o755 },
  );
  writeFileSync(join(folder, "answers"), `${answers.join("\n")}\n`);
  writeFileSync(join(folder, "questions"), "");
  const args = [
    "-F",
    join(bed.state, "ssh_config"),
    "-o",
    "NumberOfPasswordPrompts=1",
    `${bed.name}-${variant}`,
    command,
  ];
  const child = spawn("ssh", args, {
    env: { ...process.env, SSH_ASKPASS: helper, SSH_ASKPASS_REQUIRE: "force" },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code: code ?? -1, stdout, stderr, questions: readFileSync(join(folder, "questions"), "utf8") };
}

describe("login nodes of the bed", () => {
  const accepted: [Variant, () => string[], string][] = [
    ["key", () => [], ""],
    ["duo", () => ["1"], "Passcode or option (1-1)"],
    ["duo", () => [bed.passcode()], "Passcode or option (1-1)"],
    ["menu", () => ["000000", bed.passcode()], "Incorrect passcode. Please try again."],
    ["totp", () => [bed.totp()], "One-time password"],
    ["password", () => [bed.password(), bed.totp()], "Password:"],
    ["method", () => [bed.password()], "'s password:"],
    ["command", () => [], ""],
    ["drop", () => [], ""],
    ["few", () => [], ""],
    ["cert", () => [], ""],
  ];
  for (const [variant, answers, question] of accepted)
    it(`${variant} lets in who answers right, once`, async () => {
      const before = bed.authentications(variant);
      const said = await login(variant, answers());
      expect(said).toMatchObject({ code: 0, stdout: `${bed.user}\n` });
      expect(said.questions).toContain(question);
      expect(bed.authentications(variant)).toBe(before + 1);
    });

  const refused: [Variant, string[]][] = [
    ["duo", ["1"]],
    ["menu", ["1", "1", "000000"]],
    ["totp", ["000000"]],
    ["password", ["wrong", "000000"]],
    ["method", ["wrong"]],
    ["changed", []],
  ];
  for (const [variant, answers] of refused)
    it(`${variant} keeps out who answers wrong or is denied`, async () => {
      bed.push("deny");
      const before = bed.authentications(variant);
      expect((await login(variant, answers)).code).toBe(255);
      expect(bed.authentications(variant)).toBe(before);
      expect(bed.connections(variant)).toBeGreaterThan(0);
    });

  it("keeps out a key that it does not know, and a passcode that was used", async () => {
    const code = bed.passcode();
    expect((await login("duo", [code])).code).toBe(0);
    expect((await login("duo", [code, code, code])).code).toBe(255);
  });

  it("lets a push wait, and asks for it within the session of `command`", async () => {
    bed.push({ delay: 1 });
    const began = Date.now();
    expect((await login("duo", ["1"])).code).toBe(0);
    expect(Date.now() - began).toBeGreaterThan(900);
    bed.push("deny");
    expect(await login("command", [])).toMatchObject({ code: 1, stdout: "" });
  });

  it("cuts the line of `drop` after the bytes that were set, and not before", async () => {
    const big = join(folder, "big");
    writeFileSync(big, Buffer.alloc(3 << 20));
    bed.dropAfter(1 << 20);
    const put = (name: string) =>
      new Promise<number | null>((resolve) => {
        const child = spawn("sftp", ["-b", "-", "-F", join(bed.state, "ssh_config"), `${bed.name}-drop`]);
        child.on("close", resolve);
        child.stdin.end(`put ${big} ${name}\n`);
      });
    expect(await put("cut")).not.toBe(0);
    const size = statSync(bed.home("cut")).size;
    expect(size).toBeGreaterThan(0);
    expect(size).toBeLessThan(1 << 20);
    bed.dropAfter(undefined);
    expect(await put("whole")).toBe(0);
    expect(statSync(bed.home("whole")).size).toBe(3 << 20);
  });

  it("cuts and stalls the connections of one node, and no other's", async () => {
    const other = login("few", [], "cat >/dev/null; sleep 1; echo there");
    const cut = login("key", [], "touch ready; sleep 60");
    await until("the session", () => {
      try {
        return statSync(bed.home("ready")).isFile();
      } catch {
        return false;
      }
    });
    await bed.stall("key");
    await bed.resume("key");
    await bed.cut("key");
    expect((await cut).code).toBe(255);
    expect(await other).toMatchObject({ code: 0, stdout: "there\n" });
  });
});

describe("the cluster of the bed", () => {
  it("has the partitions and GPUs that it says", async () => {
    const said = await bed.root("sinfo", "-h", "-o", "%R %G %l");
    expect(said.trim().split("\n").sort()).toEqual(
      [
        "day (null) 1-00:00:00",
        "devel (null) 6:00:00",
        "gpu gpu:a100:2,gpu:h100:2 2-00:00:00",
        "gpu_devel gpu:a100:2,gpu:h100:2 6:00:00",
        "scavenge (null) 1-00:00:00",
        "scavenge gpu:a100:2,gpu:h100:2 1-00:00:00",
      ].sort(),
    );
  });

  it("runs a job on a GPU as the user, and keeps account of it", async () => {
    const script = "#!/bin/bash\necho $(id -un) $CUDA_VISIBLE_DEVICES\n";
    const submit = ["sbatch", "-W", "--parsable", "-p", "gpu", "--gpus=h100:1", "-o", "out.txt"];
    const { code, stdout } = await bed.as(bed.user, submit, { input: script });
    expect(code).toBe(0);
    expect(readFileSync(bed.home("out.txt"), "utf8")).toBe(`${bed.user} 2\n`);
    const said = await bed.root("sacct", "-nPX", "-j", stdout.trim(), "-o", "State,User,Account,AllocTRES");
    expect(said).toMatch(new RegExp(`^COMPLETED\\|${bed.user}\\|pi_${bed.name}\\|.*gres/gpu:h100=1`));
  });

  it("goes on after slurmctld was stopped and slurmdbd frozen", async () => {
    await bed.daemon("stop", "slurmctld");
    expect((await bed.as(bed.user, ["squeue"])).stderr).toContain("Unable to contact slurm controller");
    await bed.daemon("freeze", "slurmdbd");
    expect((await bed.as(bed.user, ["timeout", "1", "sacct"])).code).toBe(124);
    await bed.reset();
    expect((await bed.as(bed.user, ["squeue", "-h"])).code).toBe(0);
    expect((await bed.as(bed.user, ["timeout", "20", "sacct", "-n"])).code).toBe(0);
  });
});
