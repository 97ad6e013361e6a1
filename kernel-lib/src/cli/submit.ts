/** The verbs that send jobs: ocr, run, retry. */
import { UsageError } from "../errors.js";
import type { OcrBuilder, RunBuilder } from "../jobs/builder.js";
import type { Job } from "../jobs/job.js";
import type { Plan } from "../protocol.js";
import { yaleOf } from "./core.js";
import { countFlag, type Flags, ocrFlags, retryFlags, runFlags } from "./flags.js";
import { print, printJson, remark } from "./terminal.js";
import { waitFor } from "./watch.js";

/** `yale jobs ocr [source] [output]`. */
export async function ocr(source: string | undefined, output: string | undefined, flags: Flags): Promise<void> {
  if (source === undefined && flags.datasetPath === undefined)
    throw new UsageError("yale jobs ocr needs a source.", "Give a path or URL, or --dataset-path.");
  const options = ocrFlags(output === undefined ? flags : { ...flags, outputDir: flags.outputDir ?? output });
  await send(yaleOf(flags).ocr(source === undefined ? [] : [source], options), flags);
}

/** `yale jobs run <script> [args...]`. */
export async function run(script: string, args: string[], flags: Flags): Promise<void> {
  await send(yaleOf(flags).run(script, { ...runFlags(flags), args }), flags);
}

/** `yale jobs batch <sheet>`. */
export async function batch(sheet: string, flags: Flags): Promise<void> {
  const builders = await yaleOf(flags).sheet(sheet, ocrFlags(flags));
  if (flags.dryRun === true) {
    const plans: Plan[] = [];
    for (const builder of builders) plans.push(await builder.plan());
    if (flags.json === true) return printJson(plans);
    for (const [i, plan] of plans.entries()) {
      print(`Row ${i + 2}: ${plan.spec.name} on ${plan.spec.cluster}`);
      for (const warning of plan.warnings) remark(`  Note: ${warning}`);
    }
    return print("Nothing was sent.");
  }
  const jobs = await builders.submit();
  if (flags.wait === true) return waitFor(jobs, flags);
  if (flags.json === true) return printJson(jobs.map((job) => job.record));
  for (const job of jobs) print(flags.quiet === true ? job.id : `Submitted job ${job.id} (${job.name}).`);
}

/** `yale jobs retry <id>`. */
export async function retry(id: string, flags: Flags): Promise<void> {
  const job = await yaleOf(flags).job(id);
  await sent(await job.retry(retryFlags(flags)), flags);
}

/** `yale jobs sync [cluster]`. */
export async function sync(cluster: string | undefined, flags: Flags): Promise<void> {
  const yale = yaleOf(flags);
  const { found, added, skipped } = await (await yale.core()).sync(cluster ?? "", await yale.configPath());
  if (flags.json === true) return printJson({ found, added, skipped });
  print(`${found} ${found === 1 ? "job was" : "jobs were"} found there, ${added} of them new to this machine.`);
  for (const reason of skipped) remark(`  Skipped: ${reason}`);
}

async function send(builder: OcrBuilder | RunBuilder, flags: Flags): Promise<void> {
  countFlag("--timeout", flags.timeout);
  if (flags.estimate === true) {
    checkEstimate(flags);
    const estimate = await builder.estimate();
    if (flags.json === true) return printJson(estimate);
    return print((await import("../display/index.js")).estimateText(estimate));
  }
  if (flags.dryRun === true) return showPlan(await builder.plan(), flags);
  await sent(await builder.submit(), flags);
}

async function sent(job: Job, flags: Flags): Promise<void> {
  if (flags.wait === true) {
    if (flags.quiet !== true && flags.json !== true)
      remark(`Job ${job.id} (${job.name}) on ${job.record.spec.cluster}`);
    if (flags.quiet === true) print(job.id);
    await waitFor([job], flags);
    return;
  }
  if (flags.json === true) printJson(job.record);
  else if (flags.quiet === true) print(job.id);
  else {
    print(`Submitted job ${job.id} (${job.name}) to ${job.record.spec.cluster}.`);
    remark(`  yale jobs wait ${job.id}      wait for its end\n  yale jobs logs -f ${job.id}   follow its log`);
  }
}

function showPlan(plan: Plan, flags: Flags): void {
  if (flags.json === true) {
    printJson(plan);
    return;
  }
  print(`Nothing was sent. This would be:\n\n${plan.script}`);
  print(`Job folder ${plan.jobDir} on ${plan.spec.cluster}:`);
  for (const file of plan.files) print(`  ${file.path}  (${file.from})`);
  print(`\nSubmitted by: ${plan.submit.join(" ")}`);
  for (const warning of plan.warnings) remark(`Note: ${warning}`);
}

/** An estimate sends nothing: what would be done with the job afterwards has no place beside it. */
function checkEstimate(flags: Flags): void {
  for (const [flag, name] of [
    ["dryRun", "--dry-run"],
    ["wait", "--wait"],
    ["quiet", "--quiet"],
  ] as const)
    if (flags[flag] === true) throw new UsageError(`--estimate and ${name} can't stand together.`, "Use one of them.");
}
