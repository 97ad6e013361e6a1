/** The commands: everything that buttons, menus, palette and keyboard do goes through one of them. */
import type { JupyterFrontEnd } from "@jupyterlab/application";
import { Clipboard, Dialog, InputDialog, Notification, showDialog, showErrorMessage } from "@jupyterlab/apputils";
import { PathExt } from "@jupyterlab/coreutils";
import type { IFileBrowserFactory } from "@jupyterlab/filebrowser";
import { type LabIcon, stopIcon } from "@jupyterlab/ui-components";
import type { ReadonlyPartialJSONObject } from "@lumino/coreutils";
import { DisposableSet, type IDisposable } from "@lumino/disposable";
import { isEnd, type JobRecord } from "yale-jobs/protocol";
import { ACTIONS, type Action, allows } from "./actions";
import { cellOf } from "./cell";
import { AgentError } from "./client";
import type { FormStart } from "./form";
import { jobsIcon } from "./icons";
import type { Places } from "./places";
import type { JobStore } from "./store";
import { oneLine, type Words } from "./words";

/** Ids of the commands that are not about a job. */
export const CommandIDs = {
  panel: "yale-jobs:show-panel",
  create: "yale-jobs:new",
  files: "yale-jobs:ocr-files",
  login: "yale-jobs:login",
  logout: "yale-jobs:logout",
  answer: "yale-jobs:answer",
  start: "yale-jobs:start-agent",
} as const;

/** Id of the command that does an action with jobs: those in its argument `ids`, or those selected in the panel. */
export function jobCommand(action: Action): string {
  return `yale-jobs:job-${action}`;
}

/** What the commands work on. */
export interface CommandContext {
  app: JupyterFrontEnd;
  store: JobStore;
  words: Words;
  places: Places;
  browser: IFileBrowserFactory | null;
  /** Ids of the jobs selected in the panel. */
  selection(): readonly string[];
  showPanel(): void;
  showPrompts(): void;
  openDetails(id: string): void;
  openResults(id: string): void;
  openForm(start: FormStart): void;
}

/** Files that a person may want read: what the sources know by name, and folders. */
const READABLE = /\.(pdf|json|jpe?g|png|tiff?|webp|gif|bmp|jp2|parquet|arrow)$/i;

/** Characters of a message in the corner after which JupyterLab cuts it off. */
const CORNER = 140;

/** What shows errors of the agent, with what to do. */
export function errorTeller(words: Words): (error: unknown) => void {
  const t = words.trans;
  return (error) => {
    const { message, fix } = error instanceof AgentError ? error : new AgentError("internal", String(error));
    const text = `${oneLine(message, 2000)}${fix === "" ? "" : ` → ${oneLine(fix, 2000)}`}`;
    const whole = {
      label: t.__("Show all"),
      callback: () => void showErrorMessage(t.__("Yale Jobs"), text.replace(" → ", "\n\n→ ")),
    };
    Notification.error(text, { autoClose: false, actions: text.length > CORNER ? [whole] : [] });
  };
}

/** Adds all commands; disposing takes them away. */
export function addCommands(context: CommandContext): IDisposable {
  const { app, store, words, places } = context;
  const { commands } = app;
  const t = words.trans;
  const showError = errorTeller(words);
  const added = new DisposableSet();
  const anyArguments = { args: { type: "object", properties: {} } };
  const add = (id: string, options: Parameters<typeof commands.addCommand>[1]) =>
    added.add(commands.addCommand(id, { describedBy: anyArguments, ...options }));
  const live = () => store.status.kind === "live";

  add(CommandIDs.panel, { label: t.__("Show Yale Jobs"), icon: jobsIcon, execute: () => context.showPanel() });
  add(CommandIDs.create, {
    label: (args) => (args["isPalette"] ? t.__("New OCR Job…") : t.__("OCR Job")),
    caption: t.__("OCR of PDF files, folders, manifests and datasets with Yale Jobs"),
    icon: (args) => (args["isPalette"] ? (undefined as unknown as LabIcon) : jobsIcon),
    execute: (args) => context.openForm({ folder: places.absolute(String(args["cwd"] ?? cwd())) }),
  });
  add(CommandIDs.files, {
    label: t.__("OCR with Yale Jobs…"),
    icon: jobsIcon,
    isVisible: () => files().length > 0,
    isEnabled: () => files().length > 0,
    execute: () => {
      const [first] = files();
      if (first === undefined) return;
      const sources = files().map((file) => places.absolute(file));
      context.openForm({ folder: places.absolute(PathExt.dirname(first)), sources });
    },
  });
  add(CommandIDs.start, {
    label: t.__("Start the Agent of Yale Jobs"),
    isEnabled: () => store.status.kind === "absent",
    execute: () => store.start(),
  });
  add(CommandIDs.answer, {
    label: t.__("Answer the Login of a Cluster"),
    isEnabled: () => store.prompts.length > 0,
    execute: () => context.showPrompts(),
  });
  for (const verb of ["login", "logout"] as const)
    add(CommandIDs[verb], {
      label: verb === "login" ? t.__("Log in to a Cluster…") : t.__("Log out of a Cluster…"),
      isEnabled: () => live() && store.connections.length > 0,
      execute: async (args) => {
        const cluster = await clusterOf(args, verb);
        if (cluster === undefined) return;
        try {
          if (verb === "logout") await store.agent.call("logout", cluster);
          else await store.agent.call("login", cluster, ...(store.config === undefined ? [] : [store.config]));
        } catch (error) {
          showError(error);
        }
      },
    });

  /** The cluster that is meant: named, the only one, or chosen. */
  async function clusterOf(args: ReadonlyPartialJSONObject, verb: "login" | "logout"): Promise<string | undefined> {
    if (typeof args["cluster"] === "string") return args["cluster"];
    const fits = store.connections.filter((line) => (line.state === "connected") === (verb === "logout"));
    const names = (fits.length > 0 ? fits : store.connections).map((line) => line.cluster);
    if (names.length <= 1) return names[0];
    const title = verb === "login" ? t.__("Log in to which cluster?") : t.__("Log out of which cluster?");
    const { value, button } = await InputDialog.getItem({ title, items: names });
    return button.accept && value !== null ? value : undefined;
  }

  const cwd = () => context.browser?.tracker.currentWidget?.model.path ?? "";
  const files = () =>
    [...(context.browser?.tracker.currentWidget?.selectedItems() ?? [])]
      .filter((item) => item.type === "directory" || READABLE.test(item.path))
      .map((item) => item.path);

  const ids = (args: ReadonlyPartialJSONObject): string[] =>
    Array.isArray(args["ids"]) ? (args["ids"] as unknown[]).map(String) : [...context.selection()];
  const fitting = (args: ReadonlyPartialJSONObject, action: Action) =>
    ids(args)
      .map((id) => store.get(id))
      .filter((job): job is JobRecord => job !== undefined && allows(job, action));

  const actions: Record<Action, { label: string; icon?: LabIcon; single?: boolean; run(jobs: JobRecord[]): unknown }> =
    {
      open: {
        label: t.__("Open Job"),
        icon: jobsIcon,
        run: ([job]) => job && context.openDetails(job.id),
        single: true,
      },
      results: { label: t.__("Open Results"), run: ([job]) => job && context.openResults(job.id), single: true },
      cancel: {
        label: t.__("Cancel Job"),
        icon: stopIcon,
        run: async (jobs) => {
          if (
            jobs.length > 1 &&
            !(await sure(t._n("Cancel %1 job?", "Cancel %1 jobs?", jobs.length), t.__("Cancel Jobs")))
          )
            return;
          await each(jobs, (job) => store.agent.call("cancel", job.id));
        },
      },
      hold: { label: t.__("Hold in the Queue"), run: (jobs) => each(jobs, (job) => store.agent.call("hold", job.id)) },
      release: { label: t.__("Release"), run: (jobs) => each(jobs, (job) => store.agent.call("release", job.id)) },
      retry: { label: t.__("Retry Job"), run: (jobs) => each(jobs, (job) => store.agent.call("retry", job.id)) },
      rerun: {
        label: t.__("Run Again with Changes…"),
        single: true,
        run: async ([job]) => {
          if (job !== undefined) context.openForm({ folder: "~", from: await store.whole(job.id) });
        },
      },
      download: { label: t.__("Download Results…"), run: (jobs) => download(jobs) },
      folder: { label: t.__("Open Job Folder"), single: true, run: ([job]) => job && openFolder(job) },
      "copy-cell": {
        label: t.__("Copy as TypeScript Cell"),
        single: true,
        run: async ([job]) => {
          if (job === undefined) return;
          const { spec } = await store.whole(job.id);
          Clipboard.copyToSystem(cellOf(spec, places.notebookFolder));
          Notification.info(t.__("The cell is on the clipboard."), { autoClose: 3000 });
        },
      },
      "copy-id": {
        label: t.__("Copy Id"),
        run: (jobs) => Clipboard.copyToSystem(jobs.map((job) => job.id).join("\n")),
      },
      remove: { label: t.__("Remove from List…"), run: (jobs) => remove(jobs) },
    };
  for (const action of ACTIONS) {
    const { label, icon, single = false, run } = actions[action];
    const fits = (args: ReadonlyPartialJSONObject) => {
      const { length } = fitting(args, action);
      return live() && length > 0 && (!single || length === 1);
    };
    add(jobCommand(action), {
      label,
      ...(icon === undefined ? {} : { icon }),
      isEnabled: fits,
      isVisible: fits,
      execute: async (args) => {
        try {
          // A card of an old notebook may name a job that the list has not read yet.
          for (const id of ids(args)) if (store.get(id) === undefined) await store.whole(id);
          await run(fitting(args, action));
        } catch (error) {
          showError(error);
        }
      },
    });
  }

  /** Does it with each job, and tells of all that went wrong at the end. */
  async function each(jobs: readonly JobRecord[], call: (job: JobRecord) => Promise<JobRecord>): Promise<void> {
    const results = await Promise.allSettled(
      jobs.map(async (job) => {
        store.put(await call(job));
      }),
    );
    for (const result of results) if (result.status === "rejected") showError(result.reason);
  }

  async function sure(title: string, accept: string): Promise<boolean> {
    const buttons = [Dialog.cancelButton({ label: t.__("No") }), Dialog.warnButton({ label: accept })];
    return (await showDialog({ title, body: t.__("Pages that are done stay."), buttons })).button.accept;
  }

  async function download(jobs: readonly JobRecord[]): Promise<void> {
    const [first] = jobs;
    if (first === undefined) return;
    const name = (job: JobRecord) => `${job.spec.name.replace(/[^\p{L}\p{N}._ -]+/gu, "_").slice(0, 60)}-${job.id}`;
    const { value, button } = await InputDialog.getText({
      title:
        jobs.length === 1
          ? t.__("Download results")
          : t._n("Download results of %1 job", "Download results of %1 jobs", jobs.length),
      label: t.__("Folder on the machine of JupyterLab; nothing in it is overwritten"),
      text: places.absolute(PathExt.join(cwd(), jobs.length === 1 ? name(first) : "results")),
      okLabel: t.__("Download"),
    });
    if (!button.accept || value === null || value.trim() === "") return;
    const folder = value.startsWith("/") || value.startsWith("~") ? value : places.absolute(value);
    const home = store.home ?? "";
    const target = folder.startsWith("~") ? home + folder.slice(1) : folder;
    const all = jobs.map(async (job) => {
      const to = jobs.length === 1 ? target : PathExt.join(target, name(job));
      return store.agent.call("download", job.id, to);
    });
    const done = Promise.all(all);
    Notification.promise(done, {
      pending: { message: t.__("Downloading results…") },
      success: {
        message: () => t.__("The results are in %1", oneLine(target, 300)),
        options: { autoClose: 8000 },
      },
      error: {
        message: (reason) =>
          oneLine(reason instanceof AgentError ? `${reason.message} ${reason.fix}` : String(reason), 1000),
        options: { autoClose: false },
      },
    });
    await done.catch(() => undefined);
  }

  async function openFolder(job: JobRecord): Promise<void> {
    const { jobDir } = job;
    if (jobDir === undefined) return;
    const path = job.spec.cluster === "local" ? places.inBrowser(jobDir) : undefined;
    if (path !== undefined) {
      await commands.execute("filebrowser:activate");
      await commands.execute("filebrowser:go-to-path", { path });
      return;
    }
    const where =
      job.spec.cluster === "local"
        ? t.__("The job folder lies outside the folders that the file browser shows:")
        : t.__("The job folder lies on %1:", words.cluster(job.spec.cluster));
    const copy = Dialog.okButton({ label: t.__("Copy Path") });
    const result = await showDialog({
      title: t.__("Job folder"),
      body: `${where}\n${oneLine(jobDir, 2000)}`,
      buttons: [Dialog.cancelButton({ label: t.__("Close") }), copy],
    });
    if (result.button.accept) Clipboard.copyToSystem(jobDir);
  }

  async function remove(jobs: readonly JobRecord[]): Promise<void> {
    const gone = jobs.filter((job) => isEnd(job.state));
    const { button, isChecked } = await showDialog({
      title: t._n("Remove %1 job from the list?", "Remove %1 jobs from the list?", gone.length),
      body: t.__("Results that were downloaded stay where they are."),
      checkbox: { label: t.__("Delete the job folder with its results too"), caption: "", className: "" },
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: t.__("Remove") })],
    });
    if (!button.accept) return;
    for (const job of gone)
      try {
        await store.agent.call("remove", job.id, { files: isChecked === true });
      } catch (error) {
        showError(error);
      }
  }

  // Menus and toolbars ask again what can be done when a job changes its state.
  const states = new Map<string, string>();
  const refresh = (_: JobStore, change: { kind: string; job?: JobRecord }) => {
    if (change.job !== undefined) {
      const state = `${change.job.state} ${change.job.held === true}`;
      if (states.get(change.job.id) === state) return;
      states.set(change.job.id, state);
    }
    commands.notifyCommandChanged();
  };
  store.changed.connect(refresh);
  return added;
}
