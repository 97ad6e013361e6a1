#!/usr/bin/env node
/** The command line `yale`: the same verbs as the library. Everything heavy is loaded by the verb that needs it. */
import { Command, CommanderError, Option } from "commander";
import { type ErrorCode, EXIT, errorData } from "../errors.js";
import { FORMAT_NAMES } from "../exports/names.js";
import { packageVersion } from "../paths.js";
import { examples, modelOptions, ocrOptions, retryOptions, runOptions } from "./flags.js";

/** Exit codes as they stand in the help; the numbers are those of {@link EXIT}. */
const EXIT_HELP = `
Exit codes: 0 done · 1 unexpected · 2 usage · 3 done, with pages in error · 4 job failed · 5 cancelled · 6 time limit
  7 out of memory · 8 preempted or node lost · 10 login needed or refused · 11 connection · 12 scheduler refused
  13 quota · 124 wait timed out · 130 interrupted (the job keeps running)`;

/** Makes the whole command; exported for completion and for the tests of its help. */
export function program(): Command {
  const yale = new Command("yale")
    .description("Run OCR and other jobs on a SLURM cluster, or on this machine.")
    .version(packageVersion())
    .addHelpText("after", EXIT_HELP)
    .showSuggestionAfterError();

  const jobs = yale.command("jobs").description("submit, watch and fetch jobs");
  const json = () => new Option("--json", "print records as JSON");
  const quiet = () => new Option("-q, --quiet", "print ids only");

  ocrOptions(
    jobs
      .command("ocr")
      .argument("[source]", "PDF, image, folder, glob, URL, manifest or dataset")
      .argument("[output]", "local folder for the results, filled when the job is done")
      .description("recognise the text of pages"),
  )
    .addHelpText(
      "after",
      examples(
        "yale jobs ocr scans.pdf results --wait",
        'yale jobs ocr "boxes/*.pdf" --cluster bouchet --gpus h200:1 --time 04:00:00',
      ),
    )
    .action(async (source, output, flags) => (await import("./submit.js")).ocr(source, output, flags));

  runOptions(
    jobs
      .command("run")
      .argument("<script>", "a .py, .sh or .mjs file")
      .argument("[args...]", "arguments for the script; put -- before those that begin with a dash")
      .description("run a script, with pages as `dataset` in its working directory"),
  )
    .addHelpText(
      "after",
      examples(
        "yale jobs run count.py --data scans.pdf --wait",
        "yale jobs run train.py --cluster bouchet --gpus a100:1 -- --epochs 3",
      ),
    )
    .action(async (script, args, flags) => (await import("./submit.js")).run(script, args, flags));

  ocrOptions(
    jobs
      .command("batch")
      .argument("<sheet>", "a CSV, TSV or Excel file: a column source or script, any option beside it")
      .description("submit one job for each row of a table; the flags hold for rows that say nothing else"),
  )
    .addHelpText(
      "after",
      examples("yale jobs batch boxes.xlsx --dry-run", "yale jobs batch boxes.csv --cluster bouchet --gpus h200:1"),
    )
    .action(async (sheet, flags) => (await import("./submit.js")).batch(sheet, flags));

  jobs
    .command("ls")
    .alias("ps")
    .description("list jobs, newest first")
    .option("--state <states>", "only these states, separated by commas")
    .option("--active", "only jobs that have not ended")
    .option("--cluster <name>", "only this cluster")
    .option("--name <text>", "only names that hold this text")
    .option("--label <name=value...>", "only jobs with this label")
    .option("-n, --limit <count>", "at most so many")
    .addOption(json())
    .addOption(quiet())
    .addHelpText("after", examples("yale jobs ls --active", "yale jobs ls --state failed,timeout --json"))
    .action(async (flags) => (await import("./watch.js")).ls(flags));

  jobs
    .command("status")
    .argument("<id...>", "id, beginning of an id, scheduler id, or name")
    .description("show jobs")
    .addOption(json())
    .addHelpText("after", examples("yale jobs status 6fkk8e35m7"))
    .action(async (ids, flags) => (await import("./watch.js")).status(ids, flags));

  jobs
    .command("wait")
    .argument("<id...>")
    .description("wait for the end of jobs; the exit code says how they ended")
    .option("--timeout <seconds>", "give up waiting after so long (exit 124); the jobs go on")
    .addOption(json())
    .addOption(quiet())
    .addHelpText("after", examples("yale jobs wait 6fkk8e35m7 --timeout 3600"))
    .action(async (ids, flags) => (await import("./watch.js")).wait(ids, flags));

  jobs
    .command("logs")
    .argument("[id]")
    .description("print a job's log")
    .option("-f, --follow", "go on until the job ends")
    .option("-n, --tail <lines>", "begin so many lines before the end")
    .option("--task <number>", "only this task of a job with shards, counted from 0")
    .option("--job-name <name>", "the newest job of this name")
    .addHelpText("after", examples("yale jobs logs 6fkk8e35m7 -f", "yale jobs logs --job-name 'ocr scans' -n 50"))
    .action(async (id, flags) => (await import("./watch.js")).logs(id, flags));

  jobs
    .command("cancel")
    .argument("<id...>")
    .description("cancel jobs; pages that are done stay")
    .addOption(json())
    .addHelpText("after", examples("yale jobs cancel 6fkk8e35m7"))
    .action(async (ids, flags) => (await import("./watch.js")).cancel(ids, flags));

  for (const [verb, what] of [
    ["hold", "keep jobs that have not started from starting"],
    ["release", "let held jobs go"],
  ] as const)
    jobs
      .command(verb)
      .argument("<id...>")
      .description(what)
      .addOption(json())
      .addHelpText("after", examples(`yale jobs ${verb} 6fkk8e35m7`))
      .action(async (ids, flags) => (await import("./watch.js")).holdOrRelease(verb, ids, flags));

  retryOptions(
    jobs
      .command("retry")
      .argument("<id>")
      .description("run an ended job again: it goes on where it stopped, with more memory or time if you say so"),
  )
    .option("-w, --wait", "wait for its end")
    .option("--timeout <seconds>", "with --wait: give up waiting after so long")
    .addOption(json())
    .addOption(quiet())
    .addHelpText("after", examples("yale jobs retry 6fkk8e35m7 --wait", "yale jobs retry 6fkk8e35m7 --memory 64G"))
    .action(async (id, flags) => (await import("./submit.js")).retry(id, flags));

  jobs
    .command("sync")
    .argument("[cluster]", "default: the configuration's default cluster")
    .description("find jobs again that were submitted from another machine, by their folders on the cluster")
    .option("--config <path>", "config.yaml to use")
    .addOption(json())
    .addHelpText("after", examples("yale jobs sync bouchet"))
    .action(async (cluster, flags) => (await import("./submit.js")).sync(cluster, flags));

  jobs
    .command("results")
    .argument("<id>")
    .description("print what was recognised, page by page")
    .option("--json", "one JSON object for each page, a line each")
    .option("--page <number>", "only this page")
    .option("--folder", "print only the folder of the dataset with the results")
    .addHelpText("after", examples("yale jobs results 6fkk8e35m7", "yale jobs results 6fkk8e35m7 --json | jq -r .text"))
    .action(async (id, flags) => (await import("./watch.js")).results(id, flags));

  jobs
    .command("export")
    .argument("<id>")
    .argument("[target]", "folder, or a file whose end says the format; default a folder with the job's name")
    .description("write the results as files that other programs take")
    .option("-f, --format <format>", FORMAT_NAMES)
    .option("--per <unit>", "what a file holds: page, work (the pages of one source) or job; default by format")
    .option("--base <address>", "annotations: where the folder will be on the web; default http://localhost:8000")
    .option("--force", "overwrite files that are there")
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "yale jobs export 6fkk8e35m7 book.pdf",
        "yale jobs export 6fkk8e35m7 alto --format alto",
        "yale jobs export 6fkk8e35m7 --format annotations --base https://iiif.example.edu",
      ),
    )
    .action(async (id, target, flags) => (await import("./export.js")).exportJob(id, target, flags));

  jobs
    .command("push")
    .argument("<id>")
    .argument("<dataset>", "owner/name on the Hugging Face Hub")
    .description("push the results, with the page images, to a dataset on the Hugging Face Hub")
    .option("--public", "everybody may see it; default private")
    .option("--no-images", "the text alone")
    .option("--revision <branch>", "branch to commit to; default main")
    .option("--message <text>", "message of the commit")
    .addOption(json())
    .addHelpText(
      "after",
      `\nThe token is that of HF_TOKEN or of \`hf auth login\`; it is shown nowhere.\n${examples("yale jobs push 6fkk8e35m7 ab123/letters")}`,
    )
    .action(async (id, dataset, flags) => (await import("./export.js")).push(id, dataset, flags));

  jobs
    .command("report")
    .argument("<id>")
    .argument("[file]", "web page to write; default the job's name with -report.html")
    .description("how good the pages are likely to be: a web page with the worst first")
    .option("--dictionary <file>", "list with a word a line, or a .dic of Hunspell; default by language")
    .addOption(new Option("--json", "print the figures of each page as JSON, and write no web page"))
    .addHelpText("after", examples("yale jobs report 6fkk8e35m7", "yale jobs report 6fkk8e35m7 --json"))
    .action(async (id, file, flags) => (await import("./export.js")).report(id, file, flags));

  jobs
    .command("compare")
    .argument("<id>")
    .argument("<other>", "another job, or a ground truth: text file, JSON Lines, or folder of text files")
    .description("character and word error rates of a job's text against another")
    .option("--report <file>", "web page to write, both texts side by side")
    .addOption(json())
    .addHelpText(
      "after",
      examples("yale jobs compare 6fkk8e35m7 6fm2x9d1qa", "yale jobs compare 6fkk8e35m7 truth/ --report diff.html"),
    )
    .action(async (id, other, flags) => (await import("./export.js")).compare(id, other, flags));

  jobs
    .command("download")
    .argument("[id]")
    .description("copy a job's output into a local folder")
    .option("--job-name <name>", "the newest job of this name")
    .option("-o, --output-dir <folder>", "default: a folder with the job's id")
    .addOption(json())
    .addHelpText("after", examples("yale jobs download 6fkk8e35m7 -o results"))
    .action(async (id, flags) => (await import("./watch.js")).download(id, flags));

  jobs
    .command("rm")
    .argument("<id...>")
    .description("forget ended jobs")
    .option("--files", "delete their folders too")
    .addHelpText("after", examples("yale jobs rm 6fkk8e35m7 --files"))
    .action(async (ids, flags) => (await import("./watch.js")).rm(ids, flags));

  const source = yale.command("source").description("look at sources of pages");
  const kinds = (command: Command) =>
    command
      .option("--source-type <kind>", "kind of the source; default by content")
      .option("--option <name=value...>", "an option of the source, such as dpi=300 or pages=1-3");
  kinds(
    source.command("inspect").argument("<source>").description("kind, count and first pages, without reading them all"),
  )
    .addOption(json())
    .addHelpText("after", examples("yale source inspect scans/"))
    .action(async (location, flags) => (await import("./source.js")).inspect(location, flags));
  kinds(
    source
      .command("convert")
      .argument("<source>")
      .argument("<folder>")
      .description("write the pages as a dataset that Python's load_from_disk reads"),
  )
    .option("--dpi <number>", "resolution of rendered PDF pages; default 200")
    .option("--max-samples <count>", "at most so many pages")
    .addOption(json())
    .addHelpText("after", examples("yale source convert scans.pdf dataset --dpi 300"))
    .action(async (location, folder, flags) => (await import("./source.js")).convert(location, folder, flags));

  yale
    .command("models")
    .description("list the runners and what each needs and takes")
    .argument("[name]")
    .addOption(json())
    .addHelpText("after", examples("yale models", "yale models tesseract"))
    .action(async (name, flags) => (await import("./source.js")).models(name, flags));

  yale
    .command("login")
    .argument("<cluster>")
    .description("open the line to a cluster, answering its questions here")
    .option("--config <path>", "config.yaml to use")
    .addOption(json())
    .addHelpText(
      "after",
      `\nWithout a terminal, answers are read from standard input, a line for each field.\n${examples("yale login bouchet", "echo 1 | yale login bouchet")}`,
    )
    .action(async (cluster, flags) => (await import("./login.js")).login(cluster, flags));
  yale
    .command("logout")
    .argument("<cluster>")
    .description("close the line to a cluster; jobs go on, and it stays closed until a login")
    .addOption(json())
    .addHelpText("after", examples("yale logout bouchet"))
    .action(async (cluster, flags) => (await import("./login.js")).logout(cluster, flags));
  yale
    .command("connections")
    .description("list the lines to clusters: state, since when, what there is to say")
    .addOption(json())
    .addHelpText("after", examples("yale connections"))
    .action(async (flags) => (await import("./login.js")).connections(flags));

  const cluster = yale.command("cluster").description("what clusters there are, and what each has and allows");
  cluster
    .command("info")
    .argument("[name]", "a cluster of config.yaml; default its default")
    .description("partitions, GPUs free, limits, accounts, storage and submissions of a cluster, asked now")
    .option("--config <path>", "config.yaml to use")
    .addOption(new Option("--json", "print what the cluster said as JSON"))
    .addHelpText("after", examples("yale cluster info bouchet", "yale cluster info --json | jq .partitions"))
    .action(async (name, flags) => (await import("./cluster.js")).info(name, flags));
  for (const [verb, what, sample] of [
    [
      "check",
      "whether a model would run there, looked at by a job of a minute",
      "yale cluster check bouchet --model dots-ocr",
    ],
    ["download", "fetch a model's weights, in a job without a GPU", "yale cluster download bouchet --model dots-ocr"],
  ] as const)
    modelOptions(
      cluster.command(verb).argument("[name]", "a cluster of config.yaml; default its default").description(what),
    )
      .addOption(
        new Option("--json", verb === "check" ? "print the findings as JSON" : "print the job's record as JSON"),
      )
      .addHelpText("after", examples(sample))
      .action(async (name, flags) => (await import("./cluster.js"))[verb](name, flags));
  cluster
    .command("ls")
    .description("list the clusters of config.yaml with the state of the line to each; opens none")
    .option("--config <path>", "config.yaml to use")
    .addOption(new Option("--json", "print them as JSON"))
    .addHelpText("after", examples("yale cluster ls"))
    .action(async (flags) => (await import("./cluster.js")).ls(flags));

  const agent = yale.command("agent").description("the background process that everything goes through");
  for (const [verb, what] of [
    ["status", "say whether it runs"],
    ["start", "start it"],
    ["stop", "end it; jobs go on"],
    ["log", "print its log"],
  ] as const)
    agent
      .command(verb)
      .description(what)
      .addOption(json())
      .addHelpText("after", examples(`yale agent ${verb}`))
      .action(async (flags) => (await import("./agent.js")).agent(verb, flags));

  yale
    .command("init")
    .description("describe a cluster in a first config.yaml: asks a few questions, or takes them as flags")
    .option("--cluster <name>", "one that is known (bouchet, grace, mccleary, misha, milgram), or a name of your own")
    .option("--host <host>", "login node, or an alias of ~/.ssh/config")
    .option("--user <name>", "the name that you log in with there (NetID)")
    .option("--job-dir <folder>", "folder for jobs and datasets there")
    .option("--account <name>", "SLURM account")
    .option("--config <path>", "file to write; default your own, ~/.config/yale-jobs/config.yaml")
    .option("--force", "replace the file that is there")
    .option("--no-login", "don't offer to log in")
    .addOption(json())
    .addHelpText(
      "after",
      examples("yale init", "yale init --cluster bouchet --user ab123 --job-dir '~/scratch_pi_xy1/yale-jobs'"),
    )
    .action(async (flags) => (await import("./init.js")).init(flags));
  yale
    .command("doctor")
    .argument("[cluster]", "open the line to this cluster too, and ask it what it has")
    .description("look at everything that jobs need, and say what to do about what is wrong")
    .option("--config <path>", "config.yaml to use")
    .addOption(json())
    .addHelpText(
      "after",
      `\n✓ is well, ! works or is not needed by everybody, ✗ keeps jobs from running (exit code 1).\n${examples("yale doctor", "yale doctor bouchet")}`,
    )
    .action(async (cluster, flags) => (await import("./doctor.js")).doctor(cluster, flags));

  yale
    .command("setup")
    .description("put the kernel, the panel and the live card into your JupyterLab")
    .option("--check", "only say what is there and what is missing")
    .option("--uninstall", "take everything out again; jobs and results stay")
    .option("--python <path>", "Python of the JupyterLab that is meant; default: that of `jupyter` on the PATH")
    .option("--tslab <folder>", "use this installed tslab; default: one is installed for you")
    .option("--kernel-only", "only the kernel, for a Jupyter without JupyterLab")
    .option("--force", "replace another kernel called tslab")
    .addOption(json())
    .addHelpText("after", examples("npx yale-jobs setup", "yale setup --check"))
    .action(async (flags) => (await import("./setup.js")).setup(flags));

  yale
    .command("completion")
    .argument("<shell>", "bash, zsh, fish or powershell")
    .description("print the script that teaches a shell to complete yale")
    .addHelpText(
      "after",
      examples("source <(yale completion bash)", "yale completion fish > ~/.config/fish/completions/yale.fish"),
    )
    .action(async (shell) => (await import("./completion.js")).completion(program(), shell));

  for (const command of everyCommand(yale)) command.exitOverride().configureHelp({ showGlobalOptions: false });
  return yale;
}

/** A command and all below it. */
export function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

async function main(argv: string[]): Promise<number> {
  // Completion asks in the middle of typing, where a parse would fail.
  if (argv[2] === "complete") {
    (await import("./completion.js")).answer(program(), argv.slice(3));
    return 0;
  }
  try {
    await program().parseAsync(argv);
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and version end here too, with 0.
      return error.exitCode === 0 || error.code === "commander.help" ? 0 : EXIT.usage;
    }
    const data = errorData(error);
    const { escapeTerminal } = await import("./terminal.js");
    process.stderr.write(`${escapeTerminal(`yale: ${data.what}${data.fix === "" ? "" : `\n  → ${data.fix}`}`)}\n`);
    if (data.code === "internal" && process.env.YALE_JOBS_DEBUG) console.error(error);
    return EXIT[data.code as ErrorCode] ?? 1;
  }
}

if (require.main === module) {
  // `yale jobs results | head` is no fault of anybody.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  void main(process.argv).then((code) => {
    // Sockets that are still open must not hold the prompt back; what was written is flushed first.
    process.exitCode = code;
    process.stdout.write("", () => process.exit(code));
  });
}
