import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Route } from "playwright-core";
import { describe, expect, it } from "vitest";
import type { JobRecord } from "../../kernel-lib/src/protocol.js";
import { seriousFaults } from "../support/axe.js";
import { Tab, writeNotebook } from "../support/lab.js";
import { withLab } from "../support/lab-hooks.js";
import { textPdf } from "../support/material.js";
import { until } from "../support/sandbox.js";

/** A file whose name is markup, with markup on its page. */
const HOSTILE = "<img src=x onerror=hit(1)>.pdf";
const WORDS = "<img src=x onerror=hit(2)> <script>hit(3)</script>";

const at = withLab(async (box) => {
  const work = join(box.home, "work");
  await textPdf(work, "letters.pdf", 2);
  writeFileSync(join(work, "waits.sh"), "#!/bin/bash\necho started\nsleep 600\n");
  writeFileSync(join(work, "fails.sh"), `#!/bin/bash\nprintf '\\033[31m%s\\n' '${WORDS}'\nexit 3\n`);
  // Jobs lie where the file browser shows them.
  box.configure(`clusters:\n  local:\n    job_dir: ${JSON.stringify(join(work, "jobs"))}\n`);
  writeNotebook(join(work, "cells.ipynb"), ['import { yale } from "yale-jobs";']);
});

const PANEL = "#yale-jobs-panel";
const row = (name: string) => at.tab.page.locator(`${PANEL} .jp-yj-row:visible`, { hasText: name });

async function submit(script: string, ...more: string[]): Promise<string> {
  const { code, stdout, stderr } = await at.box.yale("jobs", "run", join(at.lab.root, script), "-q", ...more);
  if (code !== 0) throw new Error(stderr);
  return stdout.trim();
}

function record(id: string): JobRecord {
  const found = at.box.records().find((r) => r.id === id);
  if (found === undefined) throw new Error(`There is no job ${id}.`);
  return found;
}

async function menu(label: string): Promise<void> {
  await at.tab.page.locator(".lm-Menu:visible .lm-Menu-item", { hasText: label }).click();
}

describe("jobs of a terminal", () => {
  it("appear in an open panel, and are cancelled from it", async () => {
    at.tab = await Tab.open(at.context, at.lab);
    await at.tab.watchHits();
    await at.tab.showPanel();
    const id = await submit("waits.sh", "--job-name", "waits");
    await row("waits").getByText("running", { exact: true }).waitFor();
    await row("waits").click({ button: "right" });
    await at.tab.picture("menu-light");
    await menu("Cancel Job");
    await row("waits").getByText("cancelled", { exact: true }).waitFor();
    expect(record(id).state).toBe("cancelled");
  });

  it("are cancelled several at once, after a question", async () => {
    const { page } = at.tab;
    await submit("waits.sh", "--job-name", "pair one");
    await submit("waits.sh", "--job-name", "pair two");
    await row("pair two").click();
    await row("pair one").click({ modifiers: ["Control"] });
    await page.locator(".jp-yj-count", { hasText: "2 selected" }).waitFor();
    await row("pair one").click({ button: "right" });
    await menu("Cancel Job");
    await page.locator(".jp-Dialog").getByRole("button", { name: "Cancel Jobs" }).click();
    await row("pair one").getByText("cancelled", { exact: true }).waitFor();
    await row("pair two").getByText("cancelled", { exact: true }).waitFor();
    await at.tab.closeNotifications();
  });

  it("are held and released while they wait", async () => {
    const first = await submit("waits.sh", "--job-name", "before");
    const id = await submit("waits.sh", "--job-name", "behind", "--after", first);
    await row("behind").getByText("queued", { exact: true }).waitFor();
    await row("behind").click({ button: "right" });
    await menu("Hold in the Queue");
    await row("behind").getByText("held").waitFor();
    await row("behind").click({ button: "right" });
    await menu("Release");
    await expect.poll(() => record(id).held ?? false).toBe(false);
    await at.box.yale("jobs", "cancel", id, first);
  });

  it("show why they failed, and are retried", async () => {
    const { page } = at.tab;
    const id = await submit("fails.sh", "--job-name", "fails", "--retries", "0");
    await row("fails").getByText("failed", { exact: true }).waitFor();
    await row("fails").dblclick();
    const details = page.locator(".jp-yj-details");
    await details.locator(".jp-yj-trouble.jp-mod-bad").waitFor();
    await details.getByRole("button", { name: "Retry", exact: true }).click();
    await row("fails").getByText("attempt 2").waitFor();
    await row("fails").getByText("failed", { exact: true }).waitFor();
    expect(record(id).attempt).toBe(2);
    await at.tab.pictures("failed");
  });

  it("have a log that is searched, copied, and never more than text", async () => {
    const { page } = at.tab;
    await page.getByRole("tab", { name: "Log" }).click();
    await page.locator(".jp-yj-log", { hasText: WORDS }).waitFor();
    expect(await page.locator(".jp-yj-log:visible").textContent()).not.toMatch(/\u001b|\[31m/);
    await page.getByLabel("Search the log").fill("onerror");
    await page.getByText("match 1 of 2").waitFor();
    await page.getByRole("button", { name: "Copy the log" }).click();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain(WORDS);
    await at.tab.pictures("log");
    await at.tab.closeNotifications();
  });

  it("run again with changes as new jobs that say what they repeat", async () => {
    const { page } = at.tab;
    const before = at.box.records().length;
    await page.locator(".jp-yj-details").getByRole("button", { name: "Run again with changes…" }).click();
    const form = page.locator(".jp-yj-form:visible");
    await form.getByLabel("Script", { exact: true }).fill("#!/bin/bash\necho fine\n");
    await form.getByLabel("Name", { exact: true }).fill("mended");
    await form.locator(".jp-mod-accept:enabled").click();
    await row("mended").getByText("completed", { exact: true }).waitFor();
    const made = at.box.records();
    expect(made.length).toBe(before + 1);
    expect(made[0]).toMatchObject({ spec: { name: "mended", kind: "run" }, retryOf: expect.any(String) });
    await at.tab.closeNotifications();
  });

  it("have a folder that the file browser opens", async () => {
    const { page } = at.tab;
    await row("mended").click({ button: "right" });
    await menu("Open Job Folder");
    await page.locator(".jp-DirListing-item:visible", { hasText: "job.sh" }).waitFor();
    await page.locator(".jp-BreadCrumbs-item:visible", { hasText: at.box.records()[0]?.id ?? "none" }).waitFor();
    // Back to where files are, for those that look for one.
    await at.tab.command("filebrowser:go-to-path", { path: "" });
    await at.tab.showPanel();
  });

  it("are removed from the list", async () => {
    const { page } = at.tab;
    await row("mended").click({ button: "right" });
    await menu("Remove from List…");
    await page.locator(".jp-Dialog").getByRole("button", { name: "Remove" }).click();
    await row("mended").waitFor({ state: "detached" });
    expect(at.box.records().some((r) => r.spec.name === "mended")).toBe(false);
  });

  it("stand among JupyterLab's running things", async () => {
    const { page } = at.tab;
    const id = await submit("waits.sh", "--job-name", "among them");
    await row("among them").getByText("running", { exact: true }).waitFor();
    await page.click('.jp-SideBar .lm-TabBar-tab[data-id="jp-running-sessions"]');
    const item = page.locator(".jp-RunningSessions-item", { hasText: "among them" });
    await item.waitFor();
    await item.hover();
    await item.locator(".jp-RunningSessions-itemShutdown").click();
    await item.waitFor({ state: "detached" });
    await expect.poll(() => record(id).state).toBe("cancelled");
    await at.tab.showPanel();
  });
});

describe("a job without code", () => {
  it("begins with a right click on a file, and says what it takes", async () => {
    const { page } = at.tab;
    await page.click('.jp-SideBar .lm-TabBar-tab[data-id="filebrowser"]');
    await page.locator(".jp-DirListing-item", { hasText: "letters.pdf" }).click({ button: "right" });
    await menu("OCR with Yale Jobs…");
    const form = page.locator(".jp-yj-form:visible");
    await form.getByText("2 pages").waitFor();
    expect(await form.getByLabel("Source").inputValue()).toBe(join(at.lab.root, "letters.pdf"));
    await form.getByText("What would be sent").click();
    await form.locator("pre", { hasText: "#SBATCH" }).waitFor();
    await at.tab.pictures("form");
  });

  it("is refused in the builder's own words before anything is sent", async () => {
    const { page } = at.tab;
    const form = page.locator(".jp-yj-form:visible");
    await form.getByLabel("Time limit").fill("2");
    await form.getByText('time: got "2"').waitFor();
    expect(await form.locator(".jp-mod-accept").isDisabled()).toBe(true);
    await form.getByLabel("Time limit").fill("00:10:00");
    await form.locator(".jp-mod-accept:enabled").waitFor();
  });

  it("lets nothing be sent for fields that were changed since", async () => {
    const { page } = at.tab;
    const form = page.locator(".jp-yj-form:visible");
    // The answer to one word comes when the next stands there already, and that one's is still to come.
    const asked: Route[] = [];
    await page.route("**/v1/form*", (route) => void asked.push(route));
    const isAsked = (times: number) => expect.poll(() => asked.length).toBe(times);
    await form.getByLabel("Name", { exact: true }).fill("first");
    await isAsked(1);
    await form.getByLabel("Name", { exact: true }).fill("second");
    const answered = page.waitForResponse("**/v1/form*");
    await asked[0]?.continue();
    await (await answered).finished();
    await page.evaluate(() => new Promise((done) => setTimeout(done)));
    expect(await form.locator(".jp-mod-accept").isDisabled()).toBe(true);
    await isAsked(2);
    await asked[1]?.continue();
    await page.unroute("**/v1/form*");
    await form.locator(".jp-mod-accept:enabled").waitFor();
    await form.getByLabel("Name", { exact: true }).fill("");
    await form.locator(".jp-mod-accept:enabled").waitFor();
  });

  it("is the very same as the cell that the form writes", async () => {
    const { page } = at.tab;
    const form = page.locator(".jp-yj-form:visible");
    await form.getByLabel("Name", { exact: true }).fill("by form");
    await form.getByLabel("At most pages").fill("1");
    await form.getByText("More", { exact: true }).click();
    await form.getByLabel("Resolution of PDF pages").fill("150");
    await form.locator(".jp-mod-accept:enabled").waitFor();
    await form.getByRole("button", { name: "Insert as notebook cell" }).click();
    // There is no notebook yet: a new one is made, in the folder of the file, and the cell written into it.
    await page.locator(".jp-NotebookPanel .cm-content", { hasText: ".dpi(150)" }).waitFor();
    await at.tab.kernelIdle();
    await at.tab.pictures("inserted");
    await at.tab.runCell(0);
    await page.locator(".jp-OutputArea .jp-yj-card").getByText("completed", { exact: true }).waitFor();
    await page.locator(".lm-TabBar-tab", { hasText: "New OCR job" }).click();
    await page.locator(".jp-yj-form:visible .jp-mod-accept:enabled").click();
    await page.locator(".jp-yj-details:visible .jp-yj-card").getByText("completed", { exact: true }).waitFor();
    const [second, first] = at.box.records();
    expect(second?.id).not.toBe(first?.id);
    expect(first?.spec.name).toBe("by form");
    expect(second?.spec).toEqual(first?.spec);
    await at.tab.closeNotifications();
  });

  it("has its places in launcher, palette and menus", async () => {
    const { page } = at.tab;
    await at.tab.command("launcher:create");
    await page.locator('.jp-LauncherCard[title*="OCR of PDF files"]:visible').click();
    await page.locator(".jp-yj-form:visible").waitFor();
    await at.tab.command("apputils:activate-command-palette");
    await page.locator(".lm-CommandPalette-input").fill("yale jobs");
    for (const label of ["New OCR Job…", "Show Yale Jobs"])
      await page.locator(".lm-CommandPalette-item", { hasText: label }).first().waitFor();
    await page.keyboard.press("Escape");
  });
});

describe("words from outside", () => {
  it("are text wherever they are shown", async () => {
    const { page } = at.tab;
    const pdf = await textPdf(at.lab.root, HOSTILE, 1);
    await at.tab.showPanel();
    const ran = await at.box.yale("jobs", "ocr", pdf, "--job-name", HOSTILE, "-q", "--wait");
    expect(ran.code).toBe(0);
    await row(HOSTILE).getByText("completed", { exact: true }).waitFor();
    await row(HOSTILE).dblclick();
    await page.locator(".jp-yj-details:visible h3", { hasText: HOSTILE }).waitFor();
    await page.locator(".jp-yj-details:visible").getByRole("button", { name: "Results" }).click();
    await page.locator(".jp-yj-results:visible .jp-yj-part").first().waitFor();
    // A notebook that somebody sent, with an output that is no job at all, or one made to hurt.
    const saved = at.box.records()[0];
    // Of another machine, or long forgotten here.
    const forgotten = { ...saved, id: "0000000001", spec: { ...saved?.spec, name: "from elsewhere" } };
    const cells = [
      saved,
      forgotten,
      { ...saved, spec: 7 },
      { ...saved, id: "0000000000", spec: { name: { toString: 1 } } },
      null,
      "x",
    ].map((job, i) => ({
      cell_type: "code",
      execution_count: null,
      id: `c${i}`,
      metadata: {},
      source: "",
      outputs: [
        {
          output_type: "display_data",
          metadata: {},
          data: { "application/vnd.yale.job+json": job, "text/plain": "job" },
        },
      ],
    }));
    const kernelspec = { display_name: "TypeScript (Yale Jobs)", language: "typescript", name: "tslab" };
    const notebook = { cells, metadata: { kernelspec }, nbformat: 4, nbformat_minor: 5 };
    writeFileSync(join(at.lab.root, "sent.ipynb"), JSON.stringify(notebook));
    await at.tab.command("docmanager:open", { path: "sent.ipynb" });
    await page.locator(".jp-OutputArea .jp-yj-card h3", { hasText: HOSTILE }).waitFor();
    await expect.poll(() => page.getByText("can't be read").count()).toBe(4);
    const elsewhere = page.locator(".jp-OutputArea .jp-yj-card", { hasText: "from elsewhere" });
    await elsewhere.getByText("does not know the job").waitFor();
    expect(await elsewhere.getByRole("button").filter({ visible: true }).count()).toBe(0);
    expect(await at.tab.hits()).toEqual([]);
    expect(await page.locator('img[src="x"]').count()).toBe(0);
    await at.tab.closeNotifications();
  });
});

describe("for everybody", () => {
  it.each(["light", "dark"] as const)("axe finds no serious fault in the %s theme", async (theme) => {
    const { page } = at.tab;
    await at.tab.theme(theme);
    await at.tab.showPanel();
    await row("by form").first().waitFor();
    expect(await seriousFaults(page, PANEL)).toEqual([]);
    for (const [tab, part] of [
      ["sent.ipynb", ".jp-OutputArea .jp-yj-card"],
      ["Results: <img", ".jp-yj-results"],
      ["by form", ".jp-yj-details"],
      ["New OCR job", ".jp-yj-form"],
    ] as const) {
      await page.locator("#jp-main-dock-panel .lm-TabBar-tab", { hasText: tab }).first().click();
      await page.locator(`${part}:visible`).first().waitFor();
      expect(await seriousFaults(page, `${part}`)).toEqual([]);
    }
    expect(await seriousFaults(page, ".jp-yj-status")).toEqual([]);
    await at.tab.theme("light");
  });

  it("lets the console be", () => {
    expect(at.tab.complaints).toEqual([]);
  });
});

/** True if the sandbox has an agent. */
function lives(): boolean {
  try {
    return at.box.agentPid() > 0;
  } catch {
    return false;
  }
}

describe("the agent", () => {
  it("that is killed is started again by itself", async () => {
    const pid = at.box.agentPid();
    process.kill(pid, "SIGKILL");
    await until("another agent", () => lives() && at.box.agentPid() !== pid);
    const id = await submit("waits.sh", "--job-name", "afterwards");
    await row("afterwards").getByText("running", { exact: true }).waitFor();
    await at.box.yale("jobs", "cancel", id);
    await row("afterwards").getByText("cancelled", { exact: true }).waitFor();
  });

  it("that was stopped stays so until somebody wants it", async () => {
    const { page } = at.tab;
    await at.box.yale("agent", "stop");
    await page.getByText("The agent of Yale Jobs does not run").waitFor();
    await page.locator(".jp-yj-status-button", { hasText: "no agent" }).waitFor();
    await at.tab.pictures("stopped");
    await page.getByRole("button", { name: "Start the agent" }).click();
    await until("the agent", () => lives());
    await page.locator(`${PANEL}:not(.jp-mod-dead)`).waitFor();
    await row("afterwards").getByText("cancelled", { exact: true }).waitFor();
    // Or until another door starts it.
    await at.box.yale("agent", "stop");
    await page.getByText("The agent of Yale Jobs does not run").waitFor();
    await at.box.yale("jobs", "ls");
    await page.locator(`${PANEL}:not(.jp-mod-dead)`).waitFor();
  });
});

describe("the extension", () => {
  it("goes without a trace when it is switched off", async () => {
    const { page } = at.tab;
    await page.evaluate(() =>
      (
        window as unknown as { jupyterapp: { deactivatePlugin(id: string): Promise<string[]> } }
      ).jupyterapp.deactivatePlugin("@yale-jobs/labextension:plugin"),
    );
    await page.locator(PANEL).waitFor({ state: "detached" });
    await page.locator(".jp-yj-status").waitFor({ state: "detached" });
    const left = await page.evaluate(() =>
      (window as unknown as { jupyterapp: { commands: { listCommands(): string[] } } }).jupyterapp.commands
        .listCommands()
        .filter((id) => id.startsWith("yale-jobs:")),
    );
    expect(left).toEqual([]);
  });
});
