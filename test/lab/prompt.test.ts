/** Questions of a login node that means harm, in the dialog of a real JupyterLab. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { Server } from "ssh2";
import { afterAll, describe, expect, it } from "vitest";
import { knowHost, makeHostKey } from "../support/host-key.js";
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
  box.configure(
    `default: local\nclusters:\n  evil:\n    host: 127.0.0.1\n    port: ${portOf(server)}\n    user: ada\n`,
  );
});
afterAll(() => {
  server?.close();
});

/** Asks, and takes no answer for right. */
async function serve(box: Sandbox): Promise<Server> {
  const hostKey = makeHostKey(box.home, "ed25519");
  const listening = new Server({ hostKeys: [hostKey] }, (connection) => {
    connection.on("error", () => undefined);
    connection.on("authentication", (context) => {
      if (context.method !== "keyboard-interactive") return context.reject(["keyboard-interactive"]);
      context.prompt([{ prompt: QUESTION, echo: true }], "<h1>Duo</h1>", INSTRUCTIONS, () => context.reject());
    });
  }).listen(0, "127.0.0.1");
  await once(listening, "listening");
  knowHost(box.home, portOf(listening), hostKey);
  return listening;
}

describe("words of a login node", () => {
  it("are text in the dialog, in the order in which they were sent", async () => {
    at.tab = await Tab.open(at.context, at.lab);
    const { page } = at.tab;
    await at.tab.watchHits();
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
    expect(await at.tab.hits()).toEqual([]);
  });

  it("run nothing, and let the console be", () => {
    expect(at.tab.complaints).toEqual([]);
  });
});

function portOf(listening: Server): number {
  return (listening.address() as AddressInfo).port;
}
