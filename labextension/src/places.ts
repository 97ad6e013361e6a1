/** Files as JupyterLab names them and as the agent's machine does, and the notebook that is being worked in. */
import type { JupyterFrontEnd } from "@jupyterlab/application";
import { PageConfig, PathExt } from "@jupyterlab/coreutils";
import { DocumentWidget } from "@jupyterlab/docregistry";
import type { Widget } from "@lumino/widgets";

/** Name of our kernel, as `yale setup` installs it. */
const KERNEL = "tslab";

/** What of a notebook's panel is used here; the notebook package itself (with mermaid, 250 MB) is not needed for it. */
type NotebookPanel = DocumentWidget<
  Widget & { activeCell: { model: { sharedModel: { getSource(): string; setSource(text: string): void } } } | null }
>;

/** Paths and notebooks of one JupyterLab. */
export class Places {
  readonly #app: JupyterFrontEnd;
  readonly #home: () => string | undefined;
  #notebook: NotebookPanel | undefined;

  constructor(app: JupyterFrontEnd, home: () => string | undefined) {
    this.#app = app;
    this.#home = home;
    app.shell.currentChanged?.connect((_, { newValue }) => {
      if (isNotebook(newValue)) this.#notebook = newValue;
    });
  }

  /** The path on the server's machine of one in the file browser; begins with `~/` where the home is not known yet. */
  absolute(path: string): string {
    const root = PageConfig.getOption("serverRoot");
    const full = PathExt.join(root, this.#app.serviceManager.contents.localPath(path)).replace(/\/$/, "");
    const home = this.#home();
    const rooted = full.startsWith("~") || full.startsWith("/") ? full : `/${full}`;
    return home !== undefined && (rooted === "~" || rooted.startsWith("~/")) ? home + rooted.slice(1) : rooted;
  }

  /** The file browser's path of one on the server's machine; undefined if the browser does not reach it. */
  inBrowser(path: string): string | undefined {
    const root = this.absolute("");
    if (path === root) return "";
    return path.startsWith(`${root === "/" ? "" : root}/`) ? path.slice(root === "/" ? 1 : root.length + 1) : undefined;
  }

  /** Folder of the notebook that was worked in last, on the server's machine. */
  get notebookFolder(): string | undefined {
    const notebook = this.#open;
    return notebook === undefined ? undefined : this.absolute(PathExt.dirname(notebook.context.path));
  }

  get #open(): NotebookPanel | undefined {
    return this.#notebook?.isDisposed === true ? undefined : this.#notebook;
  }

  /**
   * Writes a cell below the active one of the notebook that was worked in last, if it speaks TypeScript; else into a new
   * notebook in `cwd`. `code` is given the folder of the notebook.
   */
  async insertCell(code: (folder: string) => string, cwd: string): Promise<void> {
    const { commands, shell } = this.#app;
    const last = this.#open;
    const speaks = last !== undefined && last.context.model.defaultKernelName === KERNEL;
    const notebook = speaks
      ? last
      : ((await commands.execute("notebook:create-new", { kernelName: KERNEL, cwd })) as NotebookPanel);
    await notebook.context.ready;
    await notebook.revealed;
    shell.activateById(notebook.id);
    const text = code(this.absolute(PathExt.dirname(notebook.context.path)));
    const active = notebook.content.activeCell?.model.sharedModel;
    if (active !== undefined && active.getSource().trim() === "") return active.setSource(text);
    await commands.execute("notebook:insert-cell-below");
    notebook.content.activeCell?.model.sharedModel.setSource(text);
  }
}

function isNotebook(widget: Widget | null): widget is NotebookPanel {
  return widget instanceof DocumentWidget && widget.hasClass("jp-NotebookPanel");
}
