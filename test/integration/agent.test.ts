import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PROTOCOL_VERSION } from "../../kernel-lib/src/protocol.js";
import { Sandbox } from "../support/sandbox.js";

let box: Sandbox;
beforeEach(() => {
  box = new Sandbox();
});
afterEach(() => box.close());

const socket = () => join(box.home, "run", "yale-jobs", "agent.sock");

/** One raw request, as a program that is not ours would send it. */
function raw(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body = "",
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const r = request({ socketPath: socket(), method, path, headers, agent: false }, (response) => {
      let text = "";
      response.on("data", (c) => {
        text += c;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    r.on("error", reject);
    r.end(body);
  });
}

describe("the agent", () => {
  it("is one, however many clients start it at once", async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => box.yale("jobs", "ls", "--json")));
    expect(answers.map((a) => a.code)).toEqual([0, 0, 0, 0, 0, 0]);
    const log = readFileSync(join(box.home, "state", "yale-jobs", "agent.log"), "utf8");
    expect(log.match(/serves, pid/g)?.length).toBe(1);
  });

  it("keeps its socket for its user alone", async () => {
    await box.yale("agent", "start");
    expect(statSync(socket()).mode & 0o777).toBe(0o600);
    expect(statSync(join(box.home, "run", "yale-jobs")).mode & 0o777).toBe(0o700);
  });

  it("takes the place of a socket that a dead agent left behind", async () => {
    mkdirSync(join(box.home, "run", "yale-jobs"), { mode: 0o700 });
    const dead = createServer();
    await new Promise<void>((done) => dead.listen(socket(), done));
    // Closing removes the file; a killed process would have left it.
    await new Promise<void>((done) => dead.close(() => done()));
    writeFileSync(socket(), "");
    writeFileSync(join(box.home, "run", "yale-jobs", "agent.lock"), "999999 1");
    expect(await box.yale("jobs", "ls")).toMatchObject({ code: 0, stdout: expect.stringContaining("No jobs") });
  });

  it("is started again by the next client after kill -9", async () => {
    await box.yale("agent", "start");
    const first = box.agentPid();
    process.kill(first, "SIGKILL");
    expect((await box.yale("jobs", "ls")).code).toBe(0);
    expect(box.agentPid()).not.toBe(first);
  });

  it("says which side to update when versions differ", async () => {
    await box.yale("agent", "start");
    const older = await raw("POST", "/v1/list", { "x-yale-protocol": String(PROTOCOL_VERSION - 1) }, "[]");
    expect(older.status).toBe(400);
    expect(older.body).toMatch(/client is older: update/);
    const newer = await raw("POST", "/v1/list", { "x-yale-protocol": String(PROTOCOL_VERSION + 1) }, "[]");
    expect(newer.body).toMatch(/agent is older/);
  });

  it("gives a page in a browser nothing", async () => {
    await box.yale("agent", "start");
    const headers = { "x-yale-protocol": String(PROTOCOL_VERSION), origin: "https://example.org" };
    expect((await raw("POST", "/v1/list", headers, "[]")).status).toBe(403);
    expect((await raw("GET", "/hello", headers)).status).toBe(403);
    expect((await raw("POST", "/v1/constructor", { "x-yale-protocol": String(PROTOCOL_VERSION) }, "[]")).status).toBe(
      404,
    );
  });

  it("can be asked about, stopped, and read", async () => {
    expect((await box.yale("agent", "status")).stdout).toContain("No agent runs");
    await box.yale("agent", "start");
    expect(JSON.parse((await box.yale("agent", "status", "--json")).stdout)).toMatchObject({
      running: true,
      protocol: PROTOCOL_VERSION,
    });
    expect((await box.yale("agent", "log")).stdout).toContain("serves");
    expect((await box.yale("agent", "stop")).stdout).toContain("jobs go on");
  });

  it("ends after a long time with nothing to do", async () => {
    const idle = new Sandbox({ YALE_JOBS_AGENT_IDLE: "1" });
    try {
      await idle.yale("agent", "start");
      const pid = idle.agentPid();
      const { until } = await import("../support/sandbox.js");
      const { processStart } = await import("../../kernel-lib/src/process.js");
      await until("the idle agent's end", () => processStart(pid) === undefined, 10_000);
      expect(readFileSync(join(idle.home, "state", "yale-jobs", "agent.log"), "utf8")).toContain("nothing to do");
    } finally {
      await idle.close();
    }
  });
});
