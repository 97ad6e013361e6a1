import { type ChildProcess, execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sharedBed } from "../support/bed.js";
import { Kernel } from "../support/kernel.js";
import { Listener } from "../support/listener.js";
import { CLI, type Ran, Sandbox, until } from "../support/sandbox.js";
import { Terminal } from "../support/terminal.js";

const bed = sharedBed();
let box: Sandbox;
let kernel: Kernel | undefined;
const started: ChildProcess[] = [];

beforeEach(async () => {
  await bed.reset();
  box = new Sandbox({ YALE_JOBS_CONFIG: bed.configPath }).enter();
  bed.writeSshFolder(box.home);
  writeFileSync(join(box.home, "count.sh"), "#!/bin/bash\nsleep 1\necho counted\n");
  mkdirSync(join(box.home, "notebooks"));
});
afterEach(async () => {
  Listener.closeAll();
  await Terminal.closeAll();
  for (const child of started.splice(0)) child.kill();
  await kernel?.close();
  kernel = undefined;
  await box.close();
});

/**
 * Twenty commands at once: ten jobs, and ten that wait for the line itself. `waiting` resolves when all of these have
 * said so, `ended` with how all twenty did.
 */
function twenty(...verb: string[]): { jobs: Promise<Ran[]>; waiting: Promise<unknown>; ended: Promise<number[]> } {
  const jobs = Array.from({ length: 10 }, (_, n) =>
    box.yale("jobs", "run", "count.sh", "--cluster", "duo", "--job-name", `job${n}`, "-q"),
  );
  const others = Array.from({ length: 10 }, () => {
    const child = box.start(...verb);
    started.push(child);
    let said = "";
    child.stderr?.on("data", (text) => {
      said += String(text);
    });
    const ended = new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? 255)));
    const waits = until(`${verb.join(" ")} to wait`, () => said.includes("answer with `yale login duo`"));
    return { ended, waits };
  });
  return {
    jobs: Promise.all(jobs),
    waiting: Promise.all(others.map((o) => o.waits)),
    ended: Promise.all(others.map((o) => o.ended)),
  };
}

function idsOf(jobs: Ran[]): string[] {
  expect(jobs.map((j) => j.code)).toEqual(Array(10).fill(0));
  return jobs.map((j) => j.stdout.trim());
}

async function notebook(): Promise<Kernel> {
  kernel = await Kernel.start(join(box.home, "notebooks"), box.env);
  expect((await kernel.run('import { yale } from "yale-jobs";')).status).toBe("ok");
  return kernel;
}

const asked = () => ({ connections: bed.connections("duo"), accepted: bed.authentications("duo") });

describe("one second factor", () => {
  it("serves twenty commands, a notebook and the panel's client at once, and every job after them", async () => {
    const before = asked();
    const nb = await notebook();
    const panel = await Listener.begin();
    const cell = nb.run('await yale.login("duo")');
    const commands = twenty("login", "duo");
    await commands.waiting;
    await panel.answer(["1"]);
    expect(await commands.ended).toEqual(Array(10).fill(0));
    const { status, displays, updates } = await cell;
    expect(status).toBe("ok");
    expect(String(displays[0]?.data["text/plain"])).toContain("duo asks for a second factor");
    expect(String(displays[0]?.data["text/html"])).toContain("yale login duo");
    expect(updates.at(-1)?.data["text/plain"]).toBe("Logged in to duo.");
    // The jobs go the whole way over the same line, and so do their logs and a second notebook cell.
    const ids = idsOf(await commands.jobs);
    expect(await box.yale("jobs", "wait", ...ids, "-q")).toMatchObject({ code: 0 });
    const logs = await Promise.all(ids.map((id) => box.yale("jobs", "logs", id)));
    expect(logs.map((l) => l.stdout)).toEqual(Array(10).fill("counted\n"));
    expect((await nb.run('const again = await yale.job("job0");\nawait again.wait();')).status).toBe("ok");
    expect(panel.prompts).toHaveLength(1);
    const now = asked();
    expect([now.connections - before.connections, now.accepted - before.accepted]).toEqual([1, 1]);
  });

  it("that was refused is asked for by nobody again, though ten jobs wait, until a person logs in", async () => {
    const before = asked();
    bed.push("deny");
    const panel = await Listener.begin();
    const commands = twenty("cluster", "info", "duo");
    await commands.waiting;
    const ids = idsOf(await commands.jobs);
    await panel.answer(["1"]);
    // The server asks again on the same line: the person gives up.
    await panel.answer(null, 2);
    // A job is accepted all the same, and waits; who wanted to know something is told.
    expect(await commands.ended).toEqual(Array(10).fill(10));
    expect(await panel.state("duo", "login_needed")).toMatchObject({
      message: expect.stringContaining("login needed"),
    });
    await panel.until("jobs that wait for the login", (events) => {
      const waiting = events.flatMap((e) => (e.type === "job" && /login/.test(e.job.reason ?? "") ? [e.job.id] : []));
      return new Set(waiting).size === 10;
    });
    expect(panel.prompts).toHaveLength(2);
    const refused = asked();
    expect([refused.connections - before.connections, refused.accepted - before.accepted]).toEqual([1, 0]);
    bed.push("approve");
    const login = box.run(process.execPath, [CLI, "login", "duo"], { input: "1\n" });
    expect(await login).toMatchObject({ code: 0 });
    expect(await box.yale("jobs", "wait", ...ids, "-q")).toMatchObject({ code: 0 });
    const now = asked();
    expect([now.connections - before.connections, now.accepted - before.accepted]).toEqual([2, 1]);
  });

  it("is asked for once more when its line is lost, and not again after a refusal, though a job is polled", async () => {
    const panel = await Listener.begin();
    const t = Terminal.yale(box, "jobs", "run", "count.sh", "--cluster", "duo", "--wait");
    await t.until("Passcode or option (1-1): ");
    t.type("1\r");
    expect(await t.ended).toBe(0);
    const before = asked();
    writeFileSync(join(box.home, "long.sh"), "#!/bin/bash\nwhile [ ! -e done ]; do sleep 0.2; done\nsleep 5\n");
    const long = (await box.yale("jobs", "run", "long.sh", "--cluster", "duo", "-q")).stdout.trim();
    const job = await panel.until("the job to run", (events) =>
      events.flatMap((e) => (e.type === "job" && e.job.id === long && e.job.state === "running" ? [e.job] : [])).at(-1),
    );
    const states = panel.states("duo").length;
    await bed.cut("duo");
    await panel.until("the loss", () =>
      panel
        .states("duo")
        .slice(states)
        .find((c) => /^lost: /.test(c.message ?? "")),
    );
    await panel.answer(null, 2);
    await panel.state("duo", "login_needed");
    // The job goes on for some polls and ends meanwhile, and nobody here can know.
    writeFileSync(join(job.jobDir ?? "", "output", "done"), "");
    await bed.root("sh", "-c", 'while [ -n "$(squeue -h)" ]; do sleep 0.2; done');
    expect(panel.prompts).toHaveLength(2);
    expect(asked()).toEqual({ connections: before.connections + 1, accepted: before.accepted });
    const again = Terminal.yale(box, "jobs", "wait", long);
    await again.until("Passcode or option (1-1): ");
    again.type("1\r");
    expect(await again.ended).toBe(0);
    expect(asked()).toEqual({ connections: before.connections + 2, accepted: before.accepted + 1 });
  });

  it("is not asked for by an agent that was started again: its jobs wait for a person", async () => {
    const panel = await Listener.begin();
    expect(await box.run(process.execPath, [CLI, "login", "duo"], { input: "1\n" })).toMatchObject({ code: 0 });
    const ids = await Promise.all(
      [1, 2, 3].map(async () => (await box.yale("jobs", "run", "count.sh", "--cluster", "duo", "-q")).stdout.trim()),
    );
    await panel.until("three in the queue", (events) => {
      const queued = events.flatMap((e) => (e.type === "job" && e.job.schedulerId !== undefined ? [e.job.id] : []));
      return new Set(queued).size === 3;
    });
    panel.close();
    process.kill(box.agentPid(), "SIGKILL");
    const before = asked();
    await box.yale("jobs", "ls");
    const next = await Listener.begin();
    await next.state("duo", "login_needed");
    expect(await next.core.prompts()).toEqual([]);
    expect(asked().accepted).toBe(before.accepted);
    expect(asked().connections).toBe(before.connections + 1);
    expect(await box.run(process.execPath, [CLI, "login", "duo"], { input: "1\n" })).toMatchObject({ code: 0 });
    expect(await box.yale("jobs", "wait", ...ids, "-q")).toMatchObject({ code: 0 });
  });
});

describe("secrets", () => {
  it("are in no record, log, argument list, environment or file, here or on the cluster", async () => {
    const code = bed.passcode();
    const secrets = [code, bed.passphrase, bed.password()];
    const config = join(box.home, "config.yaml");
    const cluster = (port: number, key: string) =>
      `    host: 127.0.0.1\n    port: ${port}\n    user: ${bed.user}\n    identity: ${bed.key(key)}\n    scheduler: slurm\n    job_dir: ~/yale-jobs\n    poll_seconds: 1\n`;
    writeFileSync(
      config,
      `clusters:\n  duo:\n${cluster(bed.ports.duo, "id_passphrase")}  password:\n${cluster(bed.ports.password, "id_stranger")}` +
        `  openssh:\n${cluster(bed.ports.duo, "id_passphrase")}    transport: openssh\n`,
    );
    const wrong = "739182645";
    secrets.push(wrong);
    const seen = new Set<string>();
    const look = setInterval(() => {
      for (const text of processes()) for (const s of secrets) if (text.includes(s)) seen.add(s);
    }, 50);
    try {
      const t = Terminal.yale(box, "jobs", "run", "count.sh", "--cluster", "duo", "--config", config, "--wait");
      await t.until("passphrase");
      await t.until("(not shown)");
      t.type(`${bed.passphrase}\r`);
      await t.until("Passcode or option (1-1): ");
      t.type(`${wrong}\r`);
      await t.until("Incorrect passcode");
      await t.until("Passcode or option (1-1): ");
      t.type(`${code}\r`);
      expect(await t.ended).toBe(0);
      const totp = bed.totp();
      const both = await box.run(process.execPath, [CLI, "login", "password", "--config", config], {
        input: `${bed.password()}\n${totp}\n`,
      });
      expect(both).toMatchObject({ code: 0 });
      secrets.push(totp);
      // The same through the system's ssh, whose questions come by a program of ours.
      const last = bed.passcode();
      secrets.push(last);
      const openssh = await box.run(process.execPath, [CLI, "login", "openssh", "--config", config], {
        input: `${bed.passphrase}\n${last}\n`,
      });
      expect(openssh).toMatchObject({ code: 0 });
      // A request that can't be read must not come back in the log either.
      execFileSync(
        "curl",
        [
          "-s",
          "--unix-socket",
          join(box.home, "run", "yale-jobs", "agent.sock"),
          "-d",
          "@-",
          "-H",
          "x-yale-protocol: 2",
          "http://agent/v1/answer",
        ],
        { input: `["id", ["${wrong}"` },
      );
    } finally {
      clearInterval(look);
    }
    expect([...seen]).toEqual([]);
    const files = [...everyFile(box.home), ...everyFile(bed.home())];
    expect(files.some((f) => f.endsWith("agent.log"))).toBe(true);
    expect(files.some((f) => f.endsWith("job.sh"))).toBe(true);
    const found = files.filter((f) => secrets.some((s) => readFileSync(f).includes(s)));
    expect(found).toEqual([]);
  });
});

/** Arguments and environments of all processes. */
function processes(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) =>
      ["cmdline", "environ"].map((file) => {
        try {
          return readFileSync(`/proc/${pid}/${file}`, "latin1");
        } catch {
          // It ended meanwhile.
          return "";
        }
      }),
    );
}

function everyFile(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) => join(e.parentPath, e.name));
}
