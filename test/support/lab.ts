/** A real JupyterLab with the extension as people install it, and a real browser in front of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { python, ROOT, type Sandbox, until } from "./sandbox.js";

/** What every test's server is protected by. */
export const TOKEN = "a-token-for-tests-only";

/** Folder that pictures of the tests are put into. */
export const PICTURES: string = join(ROOT, "test", ".out");

/** Programs under which Chromium is known; `npm test` installs the first. */
const BROWSERS = ["chromium", "chromium-browser", "google-chrome"];

function onPath(names: readonly string[]): string {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const found = names.flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
  if (found === undefined) throw new Error(`There is none of ${names.join(", ")}: run the tests with \`npm test\`.`);
  return found;
}

/** Writes a notebook for our kernel. */
export function writeNotebook(path: string, cells: readonly string[]): void {
  const notebook = {
    cells: cells.map((source, i) => ({
      cell_type: "code",
      execution_count: null,
      id: `cell-${i}`,
      metadata: {},
      outputs: [],
      source,
    })),
    metadata: {
      kernelspec: { display_name: "TypeScript (Yale Jobs)", language: "typescript", name: "tslab" },
      language_info: { name: "typescript" },
    },
    nbformat: 4,
    nbformat_minor: 5,
  };
  writeFileSync(path, JSON.stringify(notebook));
}

/** A browser without a window. */
export async function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: onPath(BROWSERS),
    // The sandbox needs rights that containers do not have; the pages are our own.
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--no-first-run",
      "--disable-background-networking",
    ],
  });
}

/** Milliseconds that Jupyter gets to close its kernels and itself. */
const CLOSE_TIME = 20_000;

/** A running JupyterLab. */
export class Lab {
  readonly url: string;
  readonly root: string;
  readonly #server: ChildProcess;
  readonly #log: string[];

  private constructor(server: ChildProcess, log: string[], url: string, root: string) {
    this.#server = server;
    this.#log = log;
    this.url = url;
    this.root = root;
  }

  /** Starts one in a sandbox, on a free port of loopback, over `<home>/work`. `args` are Jupyter's own. */
  static async start(box: Sandbox, args: readonly string[] = []): Promise<Lab> {
    const root = join(box.home, "work");
    const runtime = join(box.home, "jupyter-runtime");
    mkdirSync(root, { recursive: true });
    // JupyterLab would ask on the first start whether it may fetch news.
    const settings = join(box.home, "jupyter-settings", "@jupyterlab", "apputils-extension");
    mkdirSync(settings, { recursive: true });
    writeFileSync(join(settings, "notification.jupyterlab-settings"), '{ "fetchNews": "false" }');
    const env = {
      ...box.env,
      PATH: [dirname(python()), process.env["PATH"]].join(delimiter),
      JUPYTER_CONFIG_DIR: join(box.home, "jupyter-config"),
      JUPYTER_DATA_DIR: join(box.home, "jupyter-data"),
      JUPYTER_RUNTIME_DIR: runtime,
      JUPYTERLAB_SETTINGS_DIR: join(box.home, "jupyter-settings"),
      JUPYTERLAB_WORKSPACES_DIR: join(box.home, "jupyter-workspaces"),
      JUPYTER_TOKEN: TOKEN,
    };
    const server = spawn(
      python(),
      [
        ...["-m", "jupyter", "lab", "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"],
        // By this the tests reach JupyterLab's commands.
        "--LabApp.expose_app_in_browser=True",
        ...[`--ServerApp.root_dir=${root}`, "--LabApp.news_url=None", "--allow-root"],
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
        ...args,
      ],
      { env, cwd: root, stdio: ["ignore", "pipe", "pipe"] },
    );
    const log: string[] = [];
    for (const stream of [server.stdout, server.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => log.push(text));
    const url = await until("JupyterLab to start", () => {
      if (server.exitCode !== null) throw new Error(`JupyterLab ended:\n${log.join("")}`);
      const file = existsSync(runtime) ? readdirSync(runtime).find((f) => /^jpserver-\d+\.json$/.test(f)) : undefined;
      if (file === undefined) return undefined;
      try {
        return (JSON.parse(readFileSync(join(runtime, file), "utf8")) as { url: string }).url;
      } catch {
        return undefined;
      }
    });
    // The file is there a moment before the server listens.
    for (let up = false; !up; )
      up = await fetch(`${url}api`).then(
        (response) => response.ok,
        () => false,
      );
    return new Lab(server, log, url, root);
  }

  /** What Jupyter printed. */
  get log(): string {
    return this.#log.join("");
  }

  /** Ends it as Ctrl-C does, and waits for that. */
  async close(): Promise<void> {
    if (this.#server.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#server.once("exit", resolve));
    this.#server.kill("SIGTERM");
    // Jupyter closes everything, and then Python may wait for ever for a worker thread of anyio's that was at rest when
    // the event loop ended (seen with py-spy, once in some tens of runs).
    const timer = setTimeout(() => this.#server.kill("SIGKILL"), CLOSE_TIME);
    await ended;
    clearTimeout(timer);
  }
}

/** A tab with JupyterLab in it, and what its console said. */
export class Tab {
  readonly page: Page;
  /** Errors and warnings of the console and uncaught errors. */
  readonly complaints: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(error.stack ?? error.message));
  }

  /** Opens JupyterLab, at a notebook if `path` names one, with a fresh layout unless `keep`. */
  static async open(
    context: BrowserContext,
    lab: Lab,
    path = "",
    options: { keep?: boolean; workspace?: string } = {},
  ): Promise<Tab> {
    const tab = new Tab(await context.newPage());
    const tree = path === "" ? "" : `/tree/${encodeURI(path)}`;
    const workspace = options.workspace === undefined ? "" : `/workspaces/${options.workspace}`;
    await tab.page.goto(`${lab.url}lab${workspace}${tree}?token=${TOKEN}${options.keep ? "" : "&reset"}`);
    await tab.ready();
    return tab;
  }

  /** Waits until JupyterLab is there. */
  async ready(): Promise<void> {
    await this.page.waitForSelector("#jp-main-dock-panel", { timeout: 60_000 });
    await this.page.waitForSelector(".jp-yj-status-button", { timeout: 60_000 });
  }

  /** Lets markup that runs be noticed: `hit(number)` in the page is noted. */
  async watchHits(): Promise<void> {
    await this.page.evaluate(() =>
      Object.assign(window, { hits: [], hit: (n: number) => (window as never as { hits: number[] }).hits.push(n) }),
    );
  }

  /** Numbers that were hit since {@link watchHits}. */
  hits(): Promise<number[]> {
    return this.page.evaluate(() => (window as never as { hits: number[] }).hits);
  }

  /** Opens the side panel. */
  async showPanel(): Promise<void> {
    const panel = this.page.locator("#yale-jobs-panel");
    if (!(await panel.isVisible())) await this.page.click('.jp-SideBar .lm-TabBar-tab[data-id="yale-jobs-panel"]');
    await panel.waitFor({ state: "visible" });
  }

  /** Runs a command of JupyterLab's. */
  async command(id: string, args: object = {}): Promise<void> {
    await this.page.evaluate(
      ([id, args]) =>
        (
          window as unknown as { jupyterapp: { commands: { execute(id: string, args: object): Promise<unknown> } } }
        ).jupyterapp.commands
          .execute(id as string, args as object)
          .then(() => undefined),
      [id, args] as const,
    );
  }

  /** Runs the cell of that number in the notebook that is seen, counted from 0. */
  async runCell(number: number): Promise<void> {
    await this.page.locator(".jp-NotebookPanel:visible .jp-Cell").nth(number).locator(".jp-InputArea-editor").click();
    await this.page.keyboard.press("Shift+Enter");
  }

  /** Waits until the notebook's kernel is there and does nothing. The notebook itself says so too early. */
  async kernelIdle(): Promise<void> {
    await this.page
      .locator("#jp-bottom-panel", { hasText: "TypeScript (Yale Jobs) | Idle" })
      .waitFor({ timeout: 60_000 });
  }

  /** Takes JupyterLab's messages in the corner away. */
  async closeNotifications(): Promise<void> {
    const close = this.page.locator(".jp-Notification-Toast-Close");
    while ((await close.count()) > 0)
      await close
        .first()
        .click({ timeout: 2000 })
        .catch(() => undefined);
  }

  /** Waits until JupyterLab has written down a layout with views whose ids begin so. */
  async layoutSaved(ids: readonly string[]): Promise<void> {
    const saved = () =>
      this.page.evaluate(async () => {
        const response = await fetch(`${location.href.replace(/lab.*/, "")}lab/api/workspaces/default`);
        return response.text();
      });
    for (;;) {
      const text = await saved();
      if (ids.every((id) => text.includes(id))) return;
      await this.page.waitForTimeout(200);
    }
  }

  /** Light or dark. */
  async theme(name: "light" | "dark"): Promise<void> {
    await this.command("apputils:change-theme", { theme: name === "dark" ? "JupyterLab Dark" : "JupyterLab Light" });
    await this.page.waitForFunction(
      (light) => document.body.dataset["jpThemeLight"] === light,
      String(name === "light"),
    );
    // JupyterLab's curtain falls over a change of theme, and trips over a second change while it does.
    await this.page.locator("#jupyterlab-splash").waitFor({ state: "detached" });
  }

  /** The same in both themes, and light afterwards. */
  async pictures(name: string): Promise<void> {
    await this.picture(`${name}-light`);
    await this.theme("dark");
    await this.picture(`${name}-dark`);
    await this.theme("light");
  }

  /** A picture of the whole tab, for people to look at. */
  async picture(name: string): Promise<void> {
    mkdirSync(PICTURES, { recursive: true });
    await this.page.screenshot({ path: join(PICTURES, `${name}.png`) });
  }
}
