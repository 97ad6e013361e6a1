import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Connection } from "../../kernel-lib/src/protocol.js";
import { sharedBed, type Variant } from "../support/bed.js";
import { Kernel } from "../support/kernel.js";
import { Listener } from "../support/listener.js";
import { CLI, Sandbox, until } from "../support/sandbox.js";
import { Terminal } from "../support/terminal.js";

const bed = sharedBed();
let box: Sandbox;
let watch: Listener;

beforeEach(async () => {
  await bed.reset();
  box = new Sandbox({ YALE_JOBS_CONFIG: bed.configPath, YALE_JOBS_PROMPT_SECONDS: "30" }).enter();
  bed.writeSshFolder(box.home);
  await box.yale("agent", "start");
  watch = await Listener.begin();
});
afterEach(async () => {
  Listener.closeAll();
  await Terminal.closeAll();
  await box.close();
});

function yale(...args: string[]): Terminal {
  return Terminal.yale(box, ...args);
}
/** How often a login node was connected to, and how often with success, since `before`. */
function logins(variant: Variant, before = { asked: 0, accepted: 0 }): { asked: number; accepted: number } {
  return {
    asked: bed.connections(variant) - before.asked,
    accepted: bed.authentications(variant) - before.accepted,
  };
}

describe("yale login on a terminal", () => {
  it("shows the server's words, takes a choice, and counts the seconds while the push waits", async () => {
    bed.push({ delay: 2 });
    const t = yale("login", "duo");
    await t.until("duo asks for a second factor");
    await t.until("  |  1. Duo Push to XXX-XXX-1234");
    await t.until("Passcode or option (1-1): ");
    t.type("1\r");
    await t.until("Waiting for duo … 1 s");
    await t.until("The line to duo is open.");
    expect(await t.ended).toBe(0);
    const list = JSON.parse((await box.yale("connections", "--json")).stdout) as Connection[];
    expect(list).toMatchObject([{ cluster: "duo", state: "connected", since: expect.any(String) }]);
    expect((await box.yale("connections")).stdout).toMatch(/^CLUSTER +STATE +SINCE.*\nduo +connected +\d{4}-/);
  });

  it("asks again with the server's words after a wrong passcode", async () => {
    const before = logins("duo");
    const t = yale("login", "duo");
    await t.until("Passcode or option (1-1): ");
    t.type("000000\r");
    await t.until("again: the answer before was not accepted");
    await t.until("  | Incorrect passcode. Please try again.");
    await t.until("Passcode or option (1-1): ");
    t.type(`${bed.passcode()}\r`);
    await t.until("is open.");
    expect(await t.ended).toBe(0);
    expect(logins("duo", before)).toEqual({ asked: 1, accepted: 1 });
  });

  it("shows neither password nor one-time code while they are typed", async () => {
    const t = yale("login", "password");
    const [password, code] = [bed.password(), bed.totp()];
    await t.until("password asks for a password");
    await t.until("(not shown)");
    t.type(`${password}\r`);
    await t.until("asks for a second factor");
    await t.until("(not shown)");
    t.type(`${code}\r`);
    await t.until("is open.");
    expect(await t.ended).toBe(0);
    expect(t.shown).not.toContain(password);
    expect(t.shown).not.toContain(code);
  });

  it("declines with Ctrl-C: exit 10, the question is gone, and nothing asks again", async () => {
    const before = logins("duo");
    const t = yale("login", "duo");
    await t.until("Passcode or option (1-1): ");
    t.type("\u0003");
    await t.until("Declined.");
    expect(await t.ended).toBe(10);
    expect(await watch.core.prompts()).toEqual([]);
    expect(await watch.state("duo", "login_needed")).toMatchObject({
      message: expect.stringMatching(/^login needed: /),
    });
    expect(logins("duo", before)).toEqual({ asked: 1, accepted: 0 });
  });

  it("answers what somebody else caused, and hears when somebody else was quicker", async () => {
    void watch.core.login("duo", bed.configPath).catch(() => undefined);
    await watch.prompt();
    const [a, b] = [yale("login", "duo"), yale("login", "duo")];
    for (const t of [a, b]) await t.until("Passcode or option (1-1): ");
    a.type("1\r");
    await b.until("It was answered elsewhere.");
    expect(await Promise.all([a.ended, b.ended])).toEqual([0, 0]);
    expect(watch.prompts).toHaveLength(1);
  });
});

describe("one machine under two names", () => {
  it.each(["ssh", "openssh"])("in two configurations shares one line (%s)", async (transport) => {
    // One says it all, the other leaves it to ~/.ssh/config.
    const whole = `    host: 127.0.0.1\n    port: ${bed.ports.duo}\n    user: ${bed.user}\n    identity: ${bed.key()}\n`;
    const files = [`clusters:\n  one:\n${whole}`, `clusters:\n  other:\n    host: ${bed.name}-duo\n`].map((text, i) => {
      const path = join(box.home, `config${i}.yaml`);
      writeFileSync(path, `${text}    transport: ${transport}\n    scheduler: slurm\n`);
      return path;
    });
    const before = logins("duo");
    const login = (name: string, config = "") =>
      box.run(process.execPath, [CLI, "login", name, "--config", config], { input: "1\n" });
    expect(await login("one", files[0])).toMatchObject({ code: 0 });
    expect(await login("other", files[1])).toMatchObject({ code: 0, stderr: "" });
    expect(logins("duo", before)).toEqual({ asked: 1, accepted: 1 });
    const list = JSON.parse((await box.yale("connections", "--json")).stdout) as Connection[];
    expect(list.map((c) => [c.cluster, c.state])).toEqual([
      ["one", "connected"],
      ["other", "connected"],
    ]);
  });
});

describe("yale login without a terminal", () => {
  it("takes a line for each field from a pipe, and declines when they have run out", async () => {
    const before = logins("duo");
    const ran = await box.run(process.execPath, [CLI, "login", "duo"], { input: `000000\n${bed.passcode()}\n` });
    expect(ran).toMatchObject({ code: 0, stdout: "The line to duo is open.\n" });
    expect(ran.stderr).toContain("  | Incorrect passcode");
    expect(logins("duo", before)).toEqual({ asked: 1, accepted: 1 });
    await box.yale("logout", "duo");
    const out = await box.run(process.execPath, [CLI, "login", "duo"], { input: "000000\n" });
    expect(out).toMatchObject({ code: 10, stderr: expect.stringContaining("standard input has ended") });
  });

  it("says how to answer, and goes on when somebody did", async () => {
    const child = box.start("login", "duo");
    let said = "";
    child.stderr?.on("data", (text) => {
      said += String(text);
    });
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    await until("the hint", () => said.includes("answer with `yale login duo` in a terminal"));
    await watch.answer(["1"]);
    expect(await ended).toBe(0);
  });
});

describe("a question that nobody answers", () => {
  it("ends in words and with 10, and hangs nothing", async () => {
    // Who listens would start the agent again, with another time for questions.
    watch.close();
    await box.yale("agent", "stop");
    box.env["YALE_JOBS_PROMPT_SECONDS"] = "2";
    await box.yale("agent", "start");
    const ran = await box.run(process.execPath, [CLI, "login", "duo"], { timeout: 30_000 });
    expect(ran.code).toBe(10);
    expect(ran.stderr).toMatch(/duo asked for a login and nobody answered within 2 s\.\n +→ .*yale login duo/);
    expect(JSON.parse((await box.yale("connections", "--json")).stdout)).toMatchObject([{ state: "login_needed" }]);
  });
});

describe("a refused login", () => {
  it("is told in the server's words, and jobs that need the line wait without a second attempt", async () => {
    bed.push("deny");
    const before = logins("menu");
    const t = yale("login", "menu");
    await t.until("Passcode or option (1-3): ");
    t.type("1\r");
    await t.until("  | Login request denied.");
    await t.until("Passcode or option (1-3): ");
    t.type("\u0003");
    expect(await t.ended).toBe(10);
    // Other commands at the same moment hear the same; what runs behind never asks.
    const jobs = [1, 2, 3].map(() => box.yale("jobs", "run", script(), "--cluster", "menu", "-q"));
    expect((await Promise.all(jobs)).map((o) => o.code)).toEqual([0, 0, 0]);
    await watch.until("three jobs that wait", (events) => {
      const waiting = events.flatMap((e) =>
        e.type === "job" && /^Login needed/.test(e.job.reason ?? "") ? [e.job.id] : [],
      );
      return new Set(waiting).size === 3;
    });
    expect(watch.prompts).toHaveLength(2);
    expect(logins("menu", before)).toEqual({ asked: 1, accepted: 0 });
    for (const { id } of box.records()) expect((await box.yale("jobs", "cancel", id)).code).toBe(0);
  });
});

describe("a line that can't be had", () => {
  it("ends with 11 where nobody answers", async () => {
    await bed.daemon("stop", "sshd-key");
    const ran = await box.yale("login", "key");
    expect(ran).toMatchObject({ code: 11, stderr: expect.stringContaining("refused the connection") });
    expect(JSON.parse((await box.yale("connections", "--json")).stdout)).toMatchObject([{ state: "disconnected" }]);
  });

  it("takes its question along when the server hangs up, and when somebody logs out", async () => {
    for (const end of [() => bed.cut("duo"), () => box.yale("logout", "duo")]) {
      const from = watch.prompts.length;
      const t = yale("login", "duo");
      await watch.prompt(from + 1);
      await t.until("Passcode or option (1-1): ");
      await end();
      await t.until("It does not ask any more.");
      expect(await t.ended).toBe(10);
      expect(await watch.core.prompts()).toEqual([]);
    }
  });
});

describe("a notebook", () => {
  it("shows on job card and bar what its cluster waits for, and answers from a cell where none waits", async () => {
    mkdirSync(join(box.home, "notebooks"));
    const kernel = await Kernel.start(join(box.home, "notebooks"), box.env);
    try {
      await kernel.run('import { yale } from "yale-jobs";');
      const script = JSON.stringify("#!/bin/bash\necho counted\n");
      const submitted = await kernel.run(`const job = await yale.run(${script}).on("duo").submit();\njob`);
      expect(submitted.status).toBe("ok");
      await watch.prompt();
      // A wait that is interrupted has shown both: a bar that says who waits for whom, and the card of the question.
      const waited = await kernel.run("await job.wait();", { interruptAfter: 3 });
      const shown = [...waited.displays, ...waited.updates].map((d) => String(d.data["text/plain"]));
      expect(
        shown.some((s) => /^(preparing|uploading)[\s\S]*\n {2}duo asks for a second factor: answer with/.test(s)),
      ).toBe(true);
      expect(shown.some((s) => s.startsWith("duo asks for a second factor; ") && s.includes("  |  1. Duo Push"))).toBe(
        true,
      );
      const answered = await kernel.run('await yale.answer("1");\nawait job.wait();\nconsole.log(job.state)');
      expect(answered.printed("stdout")).toBe("completed\n");
      const cards = [submitted, waited, answered]
        .flatMap((r) => [...r.displays, ...r.updates])
        .filter((d) => d.id === submitted.displays[0]?.id)
        .map((d) => String(d.data["text/plain"]));
      expect(cards.some((c) => c.includes("  duo asks for a second factor: answer with `yale login duo`"))).toBe(true);
      expect(cards.at(-1)).toContain("completed");
      expect(cards.at(-1)).not.toContain("second factor");
      // A password would be saved with the cell.
      const pending = 'const p = yale.login("password");\np.catch(() => 0);\n0';
      await kernel.run(pending);
      await watch.prompt(2);
      const refused = await kernel.run('await yale.answer("anything")');
      expect(refused.printed("stderr")).toContain("would be saved with the notebook");
      expect((await kernel.run("await yale.answer(null)")).status).toBe("ok");
    } finally {
      await kernel.close();
    }
  });
});

describe("a host key", () => {
  it("that is not known is shown, and remembered once a person said yes", async () => {
    writeFileSync(join(box.home, ".ssh", "known_hosts"), "");
    const t = yale("login", "key");
    await t.until("host key that is not known here yet");
    await t.until("SHA256:");
    await t.until(/yes/);
    t.type("yes\r");
    await t.until("is open.");
    expect(await t.ended).toBe(0);
    expect(readFileSync(join(box.home, ".ssh", "known_hosts"), "utf8")).toContain(String(bed.ports.key));
  });

  it("that is not known is not confirmed by a number that a script sends for a push", async () => {
    const file = join(box.home, ".ssh", "known_hosts");
    writeFileSync(file, "");
    const cli = [CLI, "login", "key"];
    const ran = await box.run(process.execPath, cli, { input: "1\n" });
    expect([ran.code, ran.stderr]).toEqual([10, expect.stringContaining("was not confirmed. Nothing was sent to it.")]);
    expect(readFileSync(file, "utf8")).toBe("");
    expect((await box.run(process.execPath, cli, { input: "yes\n" })).code).toBe(0);
  });

  it("that has changed is refused without a question", async () => {
    const ran = await box.yale("login", "changed");
    expect(ran.code).toBe(10);
    expect(ran.stderr).toMatch(/changed/i);
    expect(ran.stderr).toMatch(/known_hosts/);
    expect(watch.prompts).toEqual([]);
  });
});

describe("a lost line", () => {
  it("comes back by itself where a key is all it needs", async () => {
    const before = logins("key");
    expect((await box.yale("login", "key")).code).toBe(0);
    const from = watch.states("key").length;
    await bed.cut("key");
    const lost = await watch.until("the loss", () => watch.states("key").slice(from)[0]);
    expect(lost).toMatchObject({
      state: "disconnected",
      message: expect.stringMatching(/^lost: .*comes back by itself$/),
    });
    await watch.state("key", "connected", from + 1);
    expect(logins("key", before)).toEqual({ asked: 2, accepted: 2 });
    expect(watch.prompts).toEqual([]);
  });
});

function script(): string {
  const path = join(box.home, "sleep.sh");
  if (!existsSync(path)) writeFileSync(path, "#!/bin/bash\nsleep 1\n");
  return path;
}
