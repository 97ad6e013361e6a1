/** One JupyterLab and one browser for a file of tests. */
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContext } from "playwright-core";
import { afterAll, afterEach, beforeAll } from "vitest";
import { Lab, openBrowser, type Tab } from "./lab.js";
import { ROOT, Sandbox } from "./sandbox.js";

/** What the tests of a file share; set before the first of them. */
export interface LabFixture {
  box: Sandbox;
  lab: Lab;
  browser: Browser;
  context: BrowserContext;
  /** The tab that a failed test leaves a picture of. */
  tab: Tab;
}

/** Size of the windows: what a laptop has. */
export const VIEW = { width: 1400, height: 850 };

/** Starts all before the file's tests and ends all after them. `prepare` fills `<home>/work` and the sandbox. */
export function withLab(prepare: (box: Sandbox) => void | Promise<void>, args: readonly string[] = []): LabFixture {
  const fixture = {} as LabFixture;
  beforeAll(async () => {
    fixture.box = new Sandbox();
    const work = join(fixture.box.home, "work");
    mkdirSync(work);
    cpSync(join(ROOT, "notebooks", "material", "declaration.pdf"), join(work, "declaration.pdf"));
    await prepare(fixture.box);
    [fixture.lab, fixture.browser] = await Promise.all([Lab.start(fixture.box, args), openBrowser()]);
    fixture.context = await fixture.browser.newContext({
      viewport: VIEW,
      permissions: ["clipboard-read", "clipboard-write"],
    });
    fixture.context.setDefaultTimeout(45_000);
  });
  afterEach(async ({ task }) => {
    if (task.result?.state !== "fail" || fixture.tab === undefined) return;
    await fixture.tab.picture(`failed ${task.name}`).catch(() => undefined);
    console.log(fixture.lab.log.slice(-3000), fixture.tab.complaints);
  });
  afterAll(async () => {
    await fixture.browser?.close();
    await fixture.lab?.close();
    await fixture.box?.close();
  });
  return fixture;
}
