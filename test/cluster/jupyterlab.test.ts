/** The whole way in a real JupyterLab: a cell, the cluster's questions in a dialog, SLURM, and the words of the pages. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { seriousFaults } from "../support/axe.js";
import { sharedBed } from "../support/bed.js";
import { Tab, writeNotebook } from "../support/lab.js";
import { withLab } from "../support/lab-hooks.js";

const bed = sharedBed();
/** Logins that the login node had accepted before. */
let before = 0;
beforeAll(async () => {
  await bed.reset();
  before = bed.authentications("menu");
});

const at = withLab((box) => {
  bed.writeSshFolder(box.home);
  box.configure(readFileSync(bed.configPath, "utf8"));
  writeNotebook(join(box.home, "work", "cluster.ipynb"), [
    [
      'import { yale } from "yale-jobs";',
      'const scans = yale.ocr("declaration.pdf").on("menu").model("tesseract").name("letters");',
      "const job = await scans.submit();",
      "job",
    ].join("\n"),
    'await yale.login("totp");\nconsole.log("went on");',
    'await yale.login("password");\nconsole.log("and on");',
  ]);
});

const CARD = ".jp-OutputArea .jp-yj-card";
const dialog = (tab: Tab) => tab.page.locator(".jp-yj-dialog");

/** All that was written on this machine in the sandbox, as one text. */
function everything(folder: string): string {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) => readFileSync(join(e.parentPath, e.name), "latin1"))
    .join("\n");
}

describe("a job on a cluster behind two factors", () => {
  it("asks in a dialog, with the server's own words, and asks again after a wrong code", async () => {
    at.tab = await Tab.open(at.context, at.lab, "cluster.ipynb");
    const { page } = at.tab;
    await at.tab.showPanel();
    await page.locator(".jp-yj-line", { hasText: "menu" }).getByText("not connected").waitFor();
    await at.tab.kernelIdle();
    await at.tab.runCell(0);
    await dialog(at.tab).getByText("Log in to menu").waitFor();
    await dialog(at.tab).getByText("Duo two-factor login").waitFor();
    await page.locator(".jp-yj-status-button", { hasText: "menu asks" }).waitFor();
    await dialog(at.tab)
      .getByText(/Time left: \d:\d\d/)
      .waitFor();
    // Nothing empty is sent.
    expect(await dialog(at.tab).getByRole("button", { name: "Send" }).isDisabled()).toBe(true);
    await at.tab.pictures("login");
    for (const theme of ["light", "dark"] as const) {
      await at.tab.theme(theme);
      expect(await seriousFaults(page, ".jp-yj-dialog")).toEqual([]);
    }
    await at.tab.theme("light");
    await dialog(at.tab).locator("input").fill("123999");
    await page.keyboard.press("Enter");
    await dialog(at.tab).getByText("That was not accepted. Try again.").waitFor();
    await at.tab.pictures("login-again");
  });

  it("goes on by a press of a choice, in whichever tab it is made", async () => {
    const { page } = at.tab;
    const other = await Tab.open(at.context, at.lab, "", { workspace: "other" });
    await dialog(other).getByRole("button", { name: /Push/ }).first().click();
    await dialog(other).waitFor({ state: "detached" });
    await dialog(at.tab).waitFor({ state: "detached" });
    await page.locator(".jp-yj-line", { hasText: "menu" }).getByText("connected since").waitFor();
    await other.page.close();
    await page
      .locator("#yale-jobs-panel .jp-yj-row")
      .getByText("completed", { exact: true })
      .waitFor({ timeout: 90_000 });
    await page.locator(CARD).getByText("completed", { exact: true }).waitFor();
    await at.tab.closeNotifications();
    await at.tab.pictures("cluster");
  });

  it("shows the words of the pages beside them", async () => {
    const { page } = at.tab;
    await page.locator(CARD).getByRole("button", { name: "Results" }).click();
    await page.locator(".jp-yj-part", { hasText: "dissolve the political bands" }).waitFor();
    await expect
      .poll(() => page.locator(".jp-yj-sheet img").evaluate((i: HTMLImageElement) => i.naturalWidth))
      .toBeGreaterThan(800);
    await page.getByLabel("Search the text of all pages").fill("lives, our fortunes");
    await page.getByText("1 page has it").waitFor();
    await page.locator("#yale-jobs-panel .jp-yj-row").dblclick();
    await page.locator(".jp-yj-table", { hasText: "Scheduler's id" }).waitFor();
    await at.tab.pictures("cluster-details");
    expect(bed.authentications("menu")).toBe(before + 1);
  });
});

describe("a cell that waits for a code", () => {
  it("goes on when it is given in another tab, and after the first was closed half-way", async () => {
    const { page } = at.tab;
    await page.locator(".lm-TabBar-tab", { hasText: "cluster.ipynb" }).click();
    await at.tab.runCell(1);
    await dialog(at.tab).getByText("Log in to totp").waitFor();
    await at.tab.command("docmanager:save");
    await page.close();
    // Nobody is there now, and the question stands.
    at.tab = await Tab.open(at.context, at.lab, "cluster.ipynb", { keep: true });
    await dialog(at.tab).getByText("Log in to totp").waitFor();
    const code = bed.totp();
    await dialog(at.tab).locator("input").fill(code);
    await dialog(at.tab).getByRole("button", { name: "Send" }).click();
    await at.tab.page.locator(".jp-yj-line", { hasText: "totp" }).getByText("connected since").waitFor();
    // Which of the tabs is the current one after a reload is JupyterLab's choice, and its status bar shows that one's kernel.
    await at.tab.page.locator(".lm-TabBar-tab", { hasText: "cluster.ipynb" }).click();
    await at.tab.kernelIdle();
    // The kernel is free: the cell has gone on, whoever saw it.
    await at.tab.page.locator(".jp-NotebookPanel .jp-Cell").nth(2).locator(".jp-InputArea-editor").click();
    await at.tab.page.keyboard.press("Escape");
    expect(everything(at.box.home)).not.toContain(code);
  });

  it("is asked for each thing in its turn, is put aside and taken up again", async () => {
    const { page } = at.tab;
    await at.tab.runCell(2);
    await dialog(at.tab).getByText("Log in to password").waitFor();
    await page.keyboard.press("Escape");
    await dialog(at.tab).waitFor({ state: "detached" });
    // It still stands, and the status bar says so.
    await page.locator(".jp-yj-status-button", { hasText: "password asks" }).click();
    // Masked where the server says so, which it does of passwords.
    expect(await dialog(at.tab).locator("input").first().getAttribute("type")).toBe("password");
    await dialog(at.tab).locator("input").first().fill(bed.password());
    await dialog(at.tab).getByRole("button", { name: "Send" }).click();
    await dialog(at.tab)
      .locator("label", { hasText: /one-time|code|OATH/i })
      .waitFor();
    await dialog(at.tab).locator("input").first().fill(bed.totp());
    await dialog(at.tab).getByRole("button", { name: "Send" }).click();
    await page.locator(".jp-OutputArea", { hasText: "and on" }).waitFor();
    expect(everything(at.box.home)).not.toContain(bed.password());
    expect(at.lab.log).not.toContain(bed.password());
  });
});

describe("the lines", () => {
  it("are closed and opened in the panel; a declined login stays declined", async () => {
    const { page } = at.tab;
    const line = page.locator(".jp-yj-line", { hasText: "menu" });
    await at.tab.showPanel();
    await line.getByRole("button", { name: "Log out" }).click();
    await line.getByText("logged out").waitFor();
    await line.getByRole("button", { name: "Log in" }).click();
    await dialog(at.tab).getByRole("button", { name: "Decline" }).click();
    await dialog(at.tab).waitFor({ state: "detached" });
    await line.getByText("was cancelled").waitFor();
    await page.locator(".jp-yj-status-button", { hasText: "Log in to menu" }).waitFor();
    await at.tab.picture("declined-light");
    expect(bed.authentications("menu")).toBe(before + 1);
    await at.tab.closeNotifications();
  });

  it("show an unknown host's fingerprint before anything is sent to it", async () => {
    const { page } = at.tab;
    const accepted = bed.authentications("key");
    writeFileSync(join(at.box.home, ".ssh", "known_hosts"), "");
    await page.locator(".jp-yj-line", { hasText: "key" }).getByRole("button", { name: "Log in" }).click();
    await dialog(at.tab).getByText("Unknown host key of key").waitFor();
    await dialog(at.tab).getByText("SHA256:").waitFor();
    // The keyboard does not begin on a choice that accepts.
    expect(await page.evaluate(() => document.activeElement?.textContent)).toContain("Decline");
    await at.tab.pictures("host-key");
    await dialog(at.tab).getByRole("button", { name: "Decline" }).click();
    await page.locator(".jp-yj-line", { hasText: "key" }).getByText("was not confirmed").waitFor();
    expect(bed.authentications("key")).toBe(accepted);
    await at.tab.closeNotifications();
  });

  it("let the console be", () => {
    expect(at.tab.complaints).toEqual([]);
  });
});
