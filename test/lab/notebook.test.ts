import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Tab, writeNotebook } from "../support/lab.js";
import { withLab } from "../support/lab-hooks.js";

const at = withLab((box) => {
  writeNotebook(join(box.home, "work", "first.ipynb"), [
    'import { yale } from "yale-jobs";\nconst job = await yale.ocr("declaration.pdf").name("declaration").submit();\njob',
    "await job.wait();",
  ]);
});

const CARD = ".jp-OutputArea .jp-yj-card";
const ROW = "#yale-jobs-panel .jp-yj-row";

describe("JupyterLab with Yale Jobs", () => {
  it("says what to do while there are no jobs", async () => {
    at.tab = await Tab.open(at.context, at.lab, "first.ipynb");
    await at.tab.showPanel();
    await at.tab.page.getByText("No jobs yet.").waitFor();
    await at.tab.kernelIdle();
    await at.tab.pictures("empty");
  });

  it("shows the job of a cell as a live card and a row, to the end", async () => {
    const { page } = at.tab;
    await at.tab.runCell(0);
    await page.locator(ROW).getByText("running", { exact: true }).waitFor();
    await page.locator(CARD).getByText("running", { exact: true }).waitFor();
    // The side bar's icon counts it, and so does the status bar.
    await page.locator('.lm-TabBar-tab[data-id="yale-jobs-panel"][data-yale-running="1"]').waitFor();
    await page.locator(".jp-yj-status-button", { hasText: "1 job running" }).waitFor();
    await page.locator(CARD).getByText("of 4 pages").waitFor();
    await at.tab.picture("running-light");
    await page.locator(CARD).getByText("completed", { exact: true }).waitFor();
    await page.locator(ROW).getByText("completed", { exact: true }).waitFor();
    expect(
      await page.locator('.lm-TabBar-tab[data-id="yale-jobs-panel"]').getAttribute("data-yale-running"),
    ).toBeNull();
    await at.tab.closeNotifications();
    await at.tab.pictures("notebook");
  });

  it("shows the results: image beside text, and a line's box lit with it", async () => {
    const { page } = at.tab;
    await page.locator(CARD).getByRole("button", { name: "Results" }).click();
    const line = page.locator(".jp-yj-part", { hasText: "dissolve the political bands" });
    await line.waitFor();
    const image = page.locator(".jp-yj-sheet img");
    await expect.poll(() => image.evaluate((i: HTMLImageElement) => i.naturalWidth)).toBeGreaterThan(800);
    await line.hover();
    const box = page.locator(".jp-yj-box.jp-mod-lit");
    expect(await box.count()).toBe(1);
    // The box lies where the words are printed: inside the image, in its upper third.
    const [b, i] = [await box.boundingBox(), await image.boundingBox()];
    expect((b?.y ?? 0) - (i?.y ?? 0)).toBeLessThan((i?.height ?? 0) / 3);
    expect(b?.width).toBeGreaterThan((i?.width ?? 0) * 0.6);
    await at.tab.pictures("results");
    // The other way round: the pointer on the box lights the text.
    await page.locator(".jp-yj-box").nth(10).hover();
    await page.locator('.jp-yj-part.jp-mod-lit[data-part="10"]').waitFor();
  });

  it("turns pages by keyboard, zooms, and searches all pages", async () => {
    const { page } = at.tab;
    await page.locator(".jp-yj-pages").focus();
    await page.keyboard.press("ArrowRight");
    await page.getByText("page 2", { exact: false }).first().waitFor();
    await page.keyboard.press("+");
    await page.locator(".jp-yj-zoom", { hasText: "150 %" }).waitFor();
    await page.keyboard.press("0");
    await page.getByLabel("Search the text of all pages").fill("solemnly publish");
    await page.getByText("1 page has it").waitFor();
    await page.locator(".jp-yj-heading", { hasText: "page 4" }).waitFor();
    expect(await page.locator(".jp-yj-pages .jp-yj-row:visible").count()).toBe(1);
    expect(await page.evaluate(() => CSS.highlights.get("yale-jobs-page")?.size)).toBeGreaterThan(0);
    await page.getByLabel("Search the text of all pages").fill("");
    await page.locator(".jp-yj-pages .jp-yj-row:visible").nth(3).waitFor();
  });

  it("shows a job in full: overview, log, batch script", async () => {
    const { page } = at.tab;
    await page.locator(ROW).first().dblclick();
    await page.locator(".jp-yj-table", { hasText: "Exit code" }).waitFor();
    await at.tab.pictures("details");
    await page.getByRole("tab", { name: "Log" }).click();
    await page.getByRole("tab", { name: "Batch script" }).click();
    await page.locator(".jp-yj-script pre", { hasText: "#SBATCH" }).waitFor();
    await at.tab.pictures("script");
  });

  it("downloads results into a folder of the file browser", async () => {
    const { page } = at.tab;
    await page.locator(".jp-yj-details").getByRole("button", { name: "Download…" }).click();
    await page.locator(".jp-Dialog input").fill("taken");
    await page.locator(".jp-Dialog").getByRole("button", { name: "Download" }).click();
    await page.getByText("The results are in").waitFor();
    expect(existsSync(join(at.lab.root, "taken", "state.json"))).toBe(true);
    await at.tab.closeNotifications();
  });

  it("names the folder of a job that the file browser does not reach", async () => {
    const { page } = at.tab;
    const folder = at.box.records()[0]?.jobDir ?? "none";
    await page.locator(ROW).first().click({ button: "right" });
    await page.locator(".lm-Menu:visible .lm-Menu-item", { hasText: "Open Job Folder" }).click();
    const dialog = page.locator(".jp-Dialog", { hasText: "lies outside the folders that the file browser shows" });
    await dialog.getByText(folder).waitFor();
    await dialog.getByRole("button", { name: "Copy Path" }).click();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(folder);
  });

  it("copies the job as a cell that gives the same specification", async () => {
    const { page } = at.tab;
    await page.locator(".jp-yj-details").getByRole("button", { name: "Copy as cell" }).click();
    await page.getByText("The cell is on the clipboard.").waitFor();
    const cell = await page.evaluate(() => navigator.clipboard.readText());
    expect(cell).toContain('yale.ocr(yale.pdf("declaration.pdf"))');
    expect(cell).toContain('.name("declaration")');
    await at.tab.closeNotifications();
  });

  it("keeps views and the saved card over a reload", async () => {
    const { page } = at.tab;
    await at.tab.command("docmanager:save-all");
    await expect
      .poll(() => readFileSync(join(at.lab.root, "first.ipynb"), "utf8"))
      .toContain("application/vnd.yale.job+json");
    // JupyterLab writes its layout down a moment after it changed.
    await at.tab.layoutSaved(["yale-jobs-details:", "yale-jobs-results:"]);
    await page.goto(`${at.lab.url}lab`);
    await at.tab.ready();
    await page.locator(".jp-yj-details, .jp-yj-results").first().waitFor({ state: "attached" });
    expect(await page.locator(".jp-yj-details").count()).toBe(1);
    expect(await page.locator(".jp-yj-results").count()).toBe(1);
    await page.locator("#yale-jobs-panel").waitFor();
    await page.locator(".lm-TabBar-tab", { hasText: "first.ipynb" }).click();
    await page.locator(CARD).getByText("completed", { exact: true }).waitFor();
  });

  it("lets the console be", () => {
    expect(at.tab.complaints).toEqual([]);
  });
});
