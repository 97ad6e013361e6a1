/** Questions of a login node that means harm, in the dialog of a real JupyterLab. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Server, utils } from "ssh2";
import { afterAll, describe, expect, it } from "vitest";
import { Tab } from "../support/lab.js";
import { withLab } from "../support/lab-hooks.js";
import type { Sandbox } from "../support/sandbox.js";

const INSTRUCTIONS = [
  "<img src=x onerror=hit(1)> <script>hit(2)</script>",
  "\u001b[31mred\u001b[0m \u202egnp.exe\u202c \u001b]0;title\u0007",
  " 1. Push <img src=x onerror=hit(3)>",
  " 2. Phone",
].join("\n");
const QUESTION = "<b onmouseover=hit(4)>Passcode</b> or option (1-2): ";

let server: Server;
const at = withLab(async (box) => {
  server = await serve(box);
  const { port } = server.address() as AddressInfo;
  const config = join(box.home, "config", "yale-jobs");
  mkdirSync(config, { recursive: true });
  const cluster = `  evil:\n    host: 127.0.0.1\n    port: ${port}\n    user: ada\n`;
  writeFileSync(join(config, "config.yaml"), `default: local\nclusters:\n${cluster}`);
});
afterAll(() => {
  server?.close();
});

/** Asks, and takes no answer for right. */
async function serve(box: Sandbox): Promise<Server> {
  const path = join(box.home, "hostkey");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path]);
  const hostKeys = [readFileSync(path, "utf8")];
  const listening = new Server({ hostKeys }, (connection) => {
    connection.on("error", () => undefined);
    connection.on("authentication", (context) => {
      if (context.method !== "keyboard-interactive") return context.reject(["keyboard-interactive"]);
      context.prompt([{ prompt: QUESTION, echo: true }], "<h1>Duo</h1>", INSTRUCTIONS, () => context.reject());
    });
  }).listen(0, "127.0.0.1");
  await once(listening, "listening");
  const key = utils.parseKey(hostKeys[0] as string);
  if (key instanceof Error) throw key;
  const known = `[127.0.0.1]:${(listening.address() as AddressInfo).port} ${key.type} ${key.getPublicSSH().toString("base64")}\n`;
  mkdirSync(join(box.home, ".ssh"), { mode: 0o700 });
  writeFileSync(join(box.home, ".ssh", "known_hosts"), known);
  return listening;
}

describe("words of a login node", () => {
  it("are text in the dialog, in the order in which they were sent", async () => {
    at.tab = await Tab.open(at.context, at.lab);
    const { page } = at.tab;
    await page.evaluate(() =>
      Object.assign(window, { hits: [], hit: (n: number) => (window as never as { hits: number[] }).hits.push(n) }),
    );
    await at.tab.showPanel();
    await page.locator(".jp-yj-line", { hasText: "evil" }).getByRole("button", { name: "Log in" }).click();
    const dialog = page.locator(".jp-yj-dialog");
    await dialog.getByText("Log in to evil").waitFor();
    const words = (await dialog.textContent()) ?? "";
    for (const said of ["<img src=x onerror=hit(1)> <script>hit(2)</script>", "<h1>Duo</h1>", "red gnp.exe"])
      expect(words).toContain(said);
    expect(words).toContain("<b onmouseover=hit(4)>Passcode</b>");
    expect(words).not.toMatch(/[\u001b\u0007\u202a-\u202e]/);
    await dialog.getByRole("button", { name: "Push <img src=x onerror=hit(3)>" }).hover();
    await dialog.locator("label", { hasText: "Passcode" }).hover();
    expect(await dialog.locator("img, script, h1 h1, b, iframe").count()).toBe(0);
    await at.tab.pictures("login-hostile");
    await dialog.getByRole("button", { name: "Decline" }).click();
    await dialog.waitFor({ state: "detached" });
    expect(await page.evaluate(() => (window as never as { hits: number[] }).hits)).toEqual([]);
  });

  it("run nothing, and let the console be", () => {
    expect(at.tab.complaints).toEqual([]);
  });
});

describe("the folder of a job that the file browser does not reach", () => {
  it("is named in words", async () => {
    const { page } = at.tab;
    const ran = await at.box.yale("jobs", "run", "-q", "--wait", "--job-name", "far away", ...script(at.box));
    expect(ran.code).toBe(0);
    await page.locator("#yale-jobs-panel .jp-yj-row:visible", { hasText: "far away" }).click({ button: "right" });
    await page.locator(".lm-Menu:visible .lm-Menu-item", { hasText: "Open Job Folder" }).click();
    const dialog = page.locator(".jp-Dialog", { hasText: "lies outside the folders that the file browser shows" });
    await dialog.getByText(at.box.records()[0]?.jobDir ?? "none").waitFor();
    await dialog.getByRole("button", { name: "Copy Path" }).click();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(at.box.records()[0]?.jobDir);
  });
});

function script(box: Sandbox): string[] {
  writeFileSync(join(box.home, "fine.sh"), "#!/bin/bash\ntrue\n");
  return [join(box.home, "fine.sh")];
}
