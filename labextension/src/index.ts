/**
 * Yale Jobs in JupyterLab: the panel, the live card, the login dialog, the results viewer, the form, and their places in
 * palette, launcher, menus, status bar, running things and layout.
 *
 * @module
 */
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette, MainAreaWidget, Notification, WidgetTracker } from "@jupyterlab/apputils";
import { IFileBrowserFactory } from "@jupyterlab/filebrowser";
import { ILauncher } from "@jupyterlab/launcher";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { IRunningSessionManagers } from "@jupyterlab/running";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import { IStatusBar } from "@jupyterlab/statusbar";
import { ITranslator, nullTranslator } from "@jupyterlab/translation";
import { DisposableDelegate, DisposableSet } from "@lumino/disposable";
import type { Widget } from "@lumino/widgets";
import { JOB_MIME, type JobRecord, type Json } from "yale-jobs/protocol";
import type { Action } from "./actions";
import { cellOf } from "./cell";
import { Agent } from "./client";
import { addCommands, CommandIDs, errorTeller, jobCommand } from "./commands";
import { JobDetails } from "./details";
import { type FormStart, JobForm } from "./form";
import { JobsPanel } from "./panel";
import { Places } from "./places";
import { PromptDialogs } from "./prompt";
import { jobRendererFactory } from "./renderer";
import { ResultsViewer } from "./results";
import { RunningJobs } from "./running";
import { StatusItem } from "./status";
import { type Change, JobStore } from "./store";
import { oneLine, tone, Words } from "./words";

const PLUGIN = "@yale-jobs/labextension:plugin";

/** What the settings editor offers; see schema/plugin.json. */
interface Settings {
  notifications: "all" | "failed" | "none";
  promptDialog: boolean;
  defaults: { [name: string]: Json };
}

/** Everything that activation put into JupyterLab, to be taken out again. */
let active: DisposableSet | undefined;

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN,
  description: "OCR and other jobs on a SLURM cluster: panel, live card, login, results.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [
    ITranslator,
    ISettingRegistry,
    ILayoutRestorer,
    ICommandPalette,
    ILauncher,
    IStatusBar,
    IRunningSessionManagers,
    IFileBrowserFactory,
  ],
  activate: (
    app: JupyterFrontEnd,
    rendermime: IRenderMimeRegistry,
    translator: ITranslator | null,
    settingRegistry: ISettingRegistry | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    statusBar: IStatusBar | null,
    running: IRunningSessionManagers | null,
    browser: IFileBrowserFactory | null,
  ): void => {
    const { languageCode } = translator ?? nullTranslator;
    const trans = (translator ?? nullTranslator).load("yale_jobs");
    const words = new Words(trans, languageCode);
    const { commands, shell } = app;
    const showError = errorTeller(words);
    const disposables = new DisposableSet();
    active = disposables;
    const store = new JobStore(new Agent(app.serviceManager.serverSettings));
    disposables.add(store);
    const places = new Places(app, () => store.home);
    let settings: Settings = { notifications: "all", promptDialog: true, defaults: {} };

    const execute = (id: string, args: Parameters<typeof commands.execute>[1] = {}) => void commands.execute(id, args);
    const act = (action: Action, id: string) => execute(jobCommand(action), { ids: [id] });

    // The side panel, on the left beside the running things.
    const panel = new JobsPanel(store, words, {
      open: (id) => act("open", id),
      newJob: () => execute(CommandIDs.create),
      login: (cluster) => execute(CommandIDs.login, { cluster }),
      logout: (cluster) => execute(CommandIDs.logout, { cluster }),
      answer: () => execute(CommandIDs.answer),
    });
    shell.add(panel, "left", { rank: 250, type: "Yale Jobs" });
    restorer?.add(panel, panel.id);
    disposables.add(panel);

    // Views in the main area, one for each job; JupyterLab opens them again after a reload.
    const details = new WidgetTracker<MainAreaWidget<JobDetails>>({ namespace: "yale-jobs-details" });
    const results = new WidgetTracker<MainAreaWidget<ResultsViewer>>({ namespace: "yale-jobs-results" });
    const forms = new WidgetTracker<MainAreaWidget<JobForm>>({ namespace: "yale-jobs-forms" });
    const open = <T extends Widget>(
      tracker: WidgetTracker<MainAreaWidget<T>>,
      id: string,
      make: () => T,
    ): MainAreaWidget<T> => {
      const known = tracker.find((widget) => widget.id === id);
      if (known !== undefined) {
        shell.activateById(id);
        return known;
      }
      const widget = new MainAreaWidget<T>({ content: make() });
      widget.id = id;
      widget.toolbar.hide();
      void tracker.add(widget);
      shell.add(widget, "main");
      shell.activateById(id);
      return widget;
    };
    let formNumber = 0;
    const openForm = (start: FormStart) => {
      formNumber += 1;
      const defaults = start.from === undefined ? settings.defaults : {};
      const widget: MainAreaWidget<JobForm> = open(forms, `yale-jobs-form-${formNumber}-${Date.now()}`, () => {
        const acts = {
          submitted: (job: JobRecord) => {
            widget.dispose();
            act("open", job.id);
          },
          insert: (spec: Parameters<typeof cellOf>[0]) => {
            places
              .insertCell((folder) => cellOf(spec, folder), places.inBrowser(start.folder) ?? "")
              .catch((error: unknown) => showError(error));
          },
        };
        return new JobForm(store, words, acts, { ...start, options: { ...defaults, ...start.options } });
      });
    };

    const prompts = new PromptDialogs(store, words, showError);
    disposables.add(prompts);
    disposables.add(
      addCommands({
        app,
        store,
        words,
        places,
        browser,
        selection: () => panel.selection,
        showPanel: () => shell.activateById(panel.id),
        showPrompts: () => prompts.showAll(),
        openDetails: (id) => open(details, `yale-jobs-job-${id}`, () => new JobDetails(store, words, act, id)),
        openResults: (id) =>
          open(
            results,
            `yale-jobs-results-${id}`,
            () => new ResultsViewer(store, words, id, { download: (job) => act("download", job) }),
          ),
        openForm,
      }),
    );
    if (restorer !== null) {
      const job = (widget: MainAreaWidget<JobDetails | ResultsViewer>) => widget.content.jobId;
      void restorer.restore(details, {
        command: RESTORE.details,
        args: (widget) => ({ id: job(widget) }),
        name: job,
      });
      void restorer.restore(results, {
        command: RESTORE.results,
        args: (widget) => ({ id: job(widget) }),
        name: job,
      });
      void restorer.restore(forms, {
        command: RESTORE.form,
        args: (widget) => widget.content.state,
        name: (widget) => widget.id,
      });
    }
    // Restoring comes before the agent has told which jobs there are, so it asks no command that needs a known job.
    const restoring = { describedBy: { args: { type: "object", properties: {} } }, isVisible: () => false };
    disposables.add(
      commands.addCommand(RESTORE.details, {
        ...restoring,
        execute: ({ id }) => open(details, `yale-jobs-job-${id}`, () => new JobDetails(store, words, act, String(id))),
      }),
    );
    disposables.add(
      commands.addCommand(RESTORE.results, {
        ...restoring,
        execute: ({ id }) =>
          open(
            results,
            `yale-jobs-results-${id}`,
            () => new ResultsViewer(store, words, String(id), { download: (job) => act("download", job) }),
          ),
      }),
    );
    disposables.add(
      commands.addCommand(RESTORE.form, {
        ...restoring,
        execute: (args) =>
          openForm({ folder: String(args["folder"] ?? "~"), sources: (args["sources"] as string[] | undefined) ?? [] }),
      }),
    );

    rendermime.addFactory(jobRendererFactory(store, words, act));
    disposables.add(new DisposableDelegate(() => rendermime.removeMimeType(JOB_MIME)));

    const category = trans.__("Yale Jobs");
    for (const command of [CommandIDs.create, CommandIDs.panel, CommandIDs.login, CommandIDs.logout, CommandIDs.start])
      palette?.addItem({ command, category, args: { isPalette: true } });
    launcher?.add({ command: CommandIDs.create, category: trans.__("Other"), rank: 10 });
    if (statusBar !== null) {
      const item = new StatusItem(store, words, {
        answer: () => prompts.showAll(),
        login: (cluster) => execute(CommandIDs.login, { cluster }),
        openPanel: () => shell.activateById(panel.id),
      });
      disposables.add(statusBar.registerStatusItem("yale-jobs:status", { item, align: "left", rank: 20 }));
      disposables.add(item);
    }
    if (running !== null) {
      const jobs = new RunningJobs(store, words, {
        open: (id) => act("open", id),
        cancel: (ids) => {
          for (const id of ids) act("cancel", id);
        },
      });
      disposables.add(running.add(jobs));
      disposables.add(jobs);
    }
    store.changed.connect((_, change) => tellEnd(change, settings, words, act));

    void settingRegistry?.load(PLUGIN).then(
      (loaded) => {
        const read = () => {
          settings = loaded.composite as unknown as Settings;
          prompts.automatic = settings.promptDialog;
        };
        loaded.changed.connect(read);
        read();
      },
      (error: unknown) => console.warn("The settings of Yale Jobs can't be read.", error),
    );
  },
  deactivate: () => {
    active?.dispose();
    active = undefined;
  },
};

/** Commands by which JupyterLab opens views again. */
const RESTORE = {
  details: "yale-jobs:restore-job",
  results: "yale-jobs:restore-results",
  form: "yale-jobs:restore-form",
} as const;

/** A job has come to its end: a word in the corner, with what to do next. */
function tellEnd(change: Change, settings: Settings, words: Words, act: (action: Action, id: string) => void): void {
  if (change.kind !== "job" || !change.ended) return;
  const { job } = change;
  // Whoever cancelled it knows.
  if (job.state === "cancelled") return;
  const good = job.state === "completed" && job.progress.failed === 0;
  if (settings.notifications === "none" || (settings.notifications === "failed" && good)) return;
  const t = words.trans;
  const text = [t.__("%1: %2", oneLine(job.spec.name, 60), words.state(job.state)), ...words.facts(job)].join(" · ");
  const actions = [
    ...(job.state === "completed" && job.spec.kind === "ocr"
      ? [{ label: t.__("Results"), callback: () => act("results", job.id) }]
      : []),
    { label: t.__("Details"), callback: () => act("open", job.id) },
  ];
  const type = good ? "success" : tone(job.state) === "bad" ? "error" : "warning";
  Notification.emit(text, type, { autoClose: good ? 8000 : false, actions });
}

export default plugin;
