/** What stands between a page and the agent. JupyterLab runs below a prefix here, as JupyterHub runs it. */
import { execFileSync, spawn } from "node:child_process";
import { chownSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { PROTOCOL_HEADER, PROTOCOL_VERSION } from "../../kernel-lib/src/protocol.js";
import { Lab, Tab, TOKEN } from "../support/lab.js";
import { withLab } from "../support/lab-hooks.js";
import { python, Sandbox, until } from "../support/sandbox.js";

const at = withLab(() => undefined, ["--ServerApp.base_url=/user/ada/"]);

/** The user that nobody is. */
const NOBODY = 65534;
const root = process.getuid?.() === 0;

const call = (verb: string) => `${at.lab.url}yale-jobs/v1/${verb}`;
const PROTOCOL = { [PROTOCOL_HEADER]: String(PROTOCOL_VERSION) };

async function post(verb: string, headers: Record<string, string> = {}, args: unknown[] = []) {
  const response = await fetch(call(verb), {
    method: "POST",
    headers: { ...PROTOCOL, ...headers },
    body: JSON.stringify(args),
    redirect: "manual",
  });
  return { status: response.status, text: await response.text() };
}

/** How a WebSocket's handshake ends: 101 if it is let in. */
function handshake(headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(call("events").replace("http", "ws"), { headers });
    socket.on("open", () => {
      socket.close();
      resolve(101);
    });
    socket.on("unexpected-response", (_, response) => resolve(response.statusCode ?? 0));
    socket.on("error", () => undefined);
  });
}

/** Cookies of somebody who has logged in by the token, and the XSRF token among them. */
async function login(lab: Lab = at.lab): Promise<{ cookie: string; xsrf: string }> {
  const response = await fetch(`${lab.url}lab?token=${TOKEN}`, { redirect: "manual" });
  const pairs = response.headers.getSetCookie().map((c) => c.split(";", 1)[0] ?? "");
  return { cookie: pairs.join("; "), xsrf: pairs.find((c) => c.startsWith("_xsrf="))?.slice(6) ?? "" };
}

describe("without a login", () => {
  it("no command, no event and no page is had", async () => {
    expect((await post("list")).status).toBe(403);
    expect((await post("image", {}, ["a", "b", 1])).status).toBe(403);
    expect(await handshake()).toBe(403);
    expect((await fetch(call("list"), { redirect: "manual" })).status).toBeGreaterThanOrEqual(400);
    expect((await post("list", { authorization: "token wrong" })).status).toBe(403);
    // Nobody asked for the agent, so there is none.
    expect(() => at.box.agentPid()).toThrow();
  });
});

describe("with a login", () => {
  it("commands need the XSRF token of the same browser", async () => {
    const { cookie, xsrf } = await login();
    expect((await post("list", { cookie })).status).toBe(403);
    expect((await post("list", { cookie, "x-xsrftoken": "2|00000000|00|0" })).status).toBe(403);
    expect((await post("list", { cookie: cookie.replace(xsrf, "x"), "x-xsrftoken": xsrf })).status).toBe(403);
    const answer = await post("list", { cookie, "x-xsrftoken": xsrf });
    expect(answer).toEqual({ status: 200, text: '{"ok":[]}' });
    expect((await post("list", { authorization: `token ${TOKEN}` })).status).toBe(200);
    expect(await handshake({ cookie })).toBe(101);
  });

  it("a page of another origin gets nothing, though the browser sends its cookies along", async () => {
    const { cookie, xsrf } = await login();
    const origin = "http://evil.example";
    expect((await post("list", { cookie, "x-xsrftoken": xsrf, origin })).status).toBe(404);
    expect(await handshake({ cookie, origin })).toBe(403);

    // In a real browser: cookies do not tell ports apart, so a page on another port of this host has them.
    const site = createServer((_, response) =>
      response.writeHead(200, { "content-type": "text/html" }).end("<p>hello"),
    );
    await new Promise<void>((done) => site.listen(0, "127.0.0.1", done));
    try {
      at.tab = await Tab.open(at.context, at.lab);
      // Our own page, below the prefix, has all of it.
      await at.tab.showPanel();
      await at.tab.page.getByText("No jobs yet.").waitFor();
      const page = await at.context.newPage();
      await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`);
      const calls = at.lab.log.split("\n").length;
      const got = await page.evaluate(
        async ([url, events]) => {
          const tried = async (options: RequestInit) => {
            try {
              const response = await fetch(url as string, { method: "POST", credentials: "include", ...options });
              return response.type === "opaque" ? "nothing" : await response.text();
            } catch {
              return "nothing";
            }
          };
          const heard = await new Promise((resolve) => {
            const socket = new globalThis.WebSocket(events as string);
            socket.onmessage = (message) => resolve(message.data);
            socket.onerror = () => resolve("nothing");
          });
          const json = { "content-type": "application/json" };
          return [
            await tried({ body: "[]", mode: "no-cors" }),
            await tried({ body: "[]", headers: json }),
            await tried({ body: '["x"]', mode: "no-cors", headers: { "content-type": "text/plain" } }),
            heard,
          ];
        },
        [call("list"), call("events").replace("http", "ws")] as const,
      );
      expect(got).toEqual(["nothing", "nothing", "nothing", "nothing"]);
      expect(at.lab.log.split("\n").slice(calls).join("\n")).toMatch(/403|404/);
      await page.close();
    } finally {
      site.close();
    }
  });

  it("only verbs are passed on, with neither cookie nor token, and nothing names a path", async () => {
    const headers = { authorization: `token ${TOKEN}` };
    for (const verb of ["stop", "hello", "nonsense", "__proto__", "constructor"])
      expect((await post(verb, headers)).status).toBe(404);
    for (const verb of ["..%2fstop", "list%3f", "%2e%2e/stop"]) expect((await post(verb, headers)).status).toBe(404);
    const odd = await post("image", headers, ["../../etc", "/etc/passwd", 100]);
    expect(odd.text).toContain('"error"');
    expect(odd.text).not.toContain("root:");
    // The agent still runs: none of these reached its own door for ending it.
    expect((await post("list", headers)).status).toBe(200);
  });

  it("a client of another version is told which side to update", async () => {
    const headers = { authorization: `token ${TOKEN}`, [PROTOCOL_HEADER]: "1" };
    const answer = await post("list", headers);
    expect(answer.text).toContain("This client is older");
  });
});

describe("on a machine with several users", () => {
  it("the agent listens on no port", () => {
    const pid = at.box.agentPid();
    const own = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    });
    // State 0A is LISTEN; the tenth column is the socket's inode.
    const listening = ["tcp", "tcp6"].flatMap((file) =>
      readFileSync(`/proc/net/${file}`, "utf8")
        .split("\n")
        .map((line) => line.trim().split(/\s+/))
        .filter((columns) => columns[3] === "0A")
        .map((columns) => columns[9]),
    );
    expect(own.length).toBeGreaterThan(0);
    expect(listening.filter((inode) => own.includes(inode ?? ""))).toEqual([]);
  });

  it.runIf(root)("another user's process does not reach the agent's socket", async () => {
    const socket = join(at.box.home, "run", "yale-jobs", "agent.sock");
    const code = `require("node:net").connect(${JSON.stringify(socket)}).on("connect", () => process.exit(0)).on("error", (e) => { console.log(e.code); process.exit(1); })`;
    const child = spawn(process.execPath, ["-e", code], { uid: NOBODY, gid: NOBODY, cwd: "/", env: {} });
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const status = await new Promise((resolve) => child.once("close", resolve));
    expect([status, said.trim()]).toEqual([1, "EACCES"]);
    // The same from this user: it is there.
    await new Promise<void>((resolve, reject) => connect(socket).on("connect", resolve).on("error", reject));
  });

  it.runIf(root)("a socket that another user has put there first is told nothing", async () => {
    const trap = new Sandbox();
    const folder = join(trap.home, "trap");
    mkdirSync(folder);
    chownSync(folder, NOBODY, NOBODY);
    // Everybody may pass through, as through a temporary folder.
    execFileSync("chmod", ["755", trap.home, folder]);
    const socket = join(folder, "agent.sock");
    const listen = `let n = 0; require("node:net").createServer((s) => { n += 1; console.log("heard"); s.destroy(); }).listen(${JSON.stringify(socket)}, () => { require("node:fs").chmodSync(${JSON.stringify(socket)}, 0o777); console.log("ready"); })`;
    const other = spawn(process.execPath, ["-e", listen], { uid: NOBODY, gid: NOBODY, cwd: "/", env: {} });
    let said = "";
    other.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    await until("the trap", () => said.includes("ready"));
    const box = new Sandbox({ YALE_JOBS_SOCKET: socket });
    const lab = await Lab.start(box);
    try {
      const response = await fetch(`${lab.url}yale-jobs/v1/list`, {
        method: "POST",
        headers: { ...PROTOCOL, authorization: `token ${TOKEN}` },
        body: "[]",
      });
      expect(await response.text()).toContain("is not yours alone");
      const socketEvents = new WebSocket(`${lab.url.replace("http", "ws")}yale-jobs/v1/events?token=${TOKEN}`);
      const first = await new Promise<string>((resolve) => socketEvents.on("message", (m) => resolve(String(m))));
      expect(JSON.parse(first)).toMatchObject({
        type: "absent",
        error: { what: expect.stringContaining("not yours") },
      });
      socketEvents.close();
      const { code, stderr } = await box.yale("jobs", "ls");
      expect(code).toBe(1);
      expect(stderr).toContain("is not yours alone");
      expect(said).not.toContain("heard");
    } finally {
      await lab.close();
      other.kill();
      await box.close();
      rmSync(trap.home, { recursive: true, force: true });
    }
  });
});

describe("behind a password", () => {
  it("the panel works after the login page, and not before", async () => {
    const box = new Sandbox();
    const hash = execFileSync(
      python(),
      ["-c", "from jupyter_server.auth import passwd; print(passwd('secret words'))"],
      {
        encoding: "utf8",
      },
    ).trim();
    const lab = await Lab.start(box, [
      `--PasswordIdentityProvider.hashed_password=${hash}`,
      "--IdentityProvider.token=",
    ]);
    try {
      const context = await at.browser.newContext();
      const page = await context.newPage();
      await page.goto(`${lab.url}lab`);
      await page.getByLabel("Password").fill("secret words");
      await page.getByRole("button", { name: "Log in" }).click();
      await page.locator(".jp-yj-status-button").waitFor({ timeout: 60_000 });
      await page.locator('.jp-SideBar .lm-TabBar-tab[data-id="yale-jobs-panel"]').click();
      await page.getByText("No jobs yet.").waitFor();
      await context.close();
    } finally {
      await lab.close();
      await box.close();
    }
  });
});
