// /// script
// [tool.yale-jobs]
// name = "tesseract"
// title = "Tesseract 5: printed text on the CPU, no model download"
// engine = "tesseract"
// licence = "Apache-2.0"
// gpus = 0
// speed = "about half a page a second on each core"
// startSeconds = 2
// command = ["node", "runner/main.cjs"]
// [tool.yale-jobs.pagesPerSecond]
// core = 0.5
// [tool.yale-jobs.options.lang]
// type = "string"
// help = "language of the text in Tesseract's codes, such as eng or deu+lat; English is built in, others need an installed tesseract"
// default = "eng"
// [tool.yale-jobs.options.engine]
// type = "string"
// help = "native: the installed program; js: the one that is built in; auto: native where it is installed"
// allowed = ["auto", "native", "js"]
// default = "auto"
// [tool.yale-jobs.options.psm]
// type = "integer"
// help = "page segmentation mode; 3 finds columns by itself"
// allowed = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
// default = 3
// [tool.yale-jobs.options.batchSize]
// type = "integer"
// help = "pages in work at once; default one for each core, at most 4"
// minimum = 1
// [tool.yale-jobs.options.maxSamples]
// type = "integer"
// help = "stop after so many pages of the dataset"
// minimum = 1
// ///

/**
 * The CPU runner: page images of an HF dataset folder through Tesseract, by the runner contract (`--input DATASET
 * --output FOLDER --options FILE`). Finished pages are in the journal at once, so that a killed run loses only the
 * pages in flight; the same command goes on where it stopped.
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Input } from "../common/input.js";
import { Output, type OutputRow, Refused } from "../common/output.js";
import { ProgressWriter } from "../common/progress.js";
import { shardOf, shardRange } from "../common/shard.js";
import { type Engine, nativeEngine, wasmEngine } from "./engines.js";

/** Exit codes of the runner contract. */
const EXIT = { done: 0, doneWithErrors: 3, badOptions: 64, badInput: 66, internal: 70, again: 75 } as const;
/** Columns of the input that are used. */
const COLUMNS = ["image", "key", "source", "page", "label", "width", "height"] as const;
/** Milliseconds that pages in flight get after the signal to stop. */
const GRACE = 15_000;

interface Options {
  lang: string;
  engine: "auto" | "native" | "js";
  psm: number;
  batchSize: number;
  maxSamples: number;
}

function readOptions(path: string | undefined): Options {
  const given = (path === undefined ? {} : JSON.parse(readFileSync(path, "utf8"))) as Partial<Options>;
  const cores = Number(process.env.SLURM_CPUS_PER_TASK) || availableParallelism();
  const options: Options = { lang: "eng", engine: "auto", psm: 3, batchSize: Math.min(4, cores), maxSamples: Infinity };
  for (const key of Object.keys(given))
    if (!(key in options))
      throw new Refused(`There is no option ${JSON.stringify(key)}; known: ${Object.keys(options).join(", ")}.`);
  Object.assign(options, given);
  if (!/^[A-Za-z0-9_]+(\+[A-Za-z0-9_]+)*$/.test(options.lang))
    throw new Refused(`lang: ${JSON.stringify(options.lang)} is no language code.`);
  return options;
}

async function chooseEngine(options: Options): Promise<Engine> {
  if (options.engine !== "js") {
    const native = await nativeEngine(options);
    if ("engine" in native) return native.engine;
    if (options.engine === "native" || options.lang !== "eng") throw new Refused(native.missing);
  }
  return wasmEngine(options);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { input: { type: "string" }, output: { type: "string" }, options: { type: "string" } },
  });
  if (values.input === undefined || values.output === undefined) throw new Refused("--input and --output are needed.");
  const options = readOptions(values.options);
  const engine = await chooseEngine(options);
  const shard = shardOf();
  const output = await Output.open(values.output, {
    input: values.input,
    settings: { engine: "tesseract", lang: options.lang, psm: options.psm },
    ...(shard === undefined ? {} : { shard }),
  });
  const progress = new ProgressWriter();
  let stopping = false;
  const stop = new Promise<void>((resolve) => {
    const onSignal = (name: string) => {
      if (stopping) process.exit(EXIT.again);
      stopping = true;
      progress.write({ type: "signal", name });
      console.log(`${name}: no more pages are taken; those in work are finished.`);
      resolve();
    };
    for (const name of ["SIGTERM", "SIGUSR1", "SIGINT"] as const) process.on(name, () => onSignal(name));
  });

  const input = new Input(values.input, options.maxSamples, stop);
  const inFlight = new Set<Promise<void>>();
  let total = 0;
  for (let next: number | undefined; !stopping && !input.whole; ) {
    if (!(await input.more())) break;
    const [from, to] = shardRange(input.keys.length, shard);
    total = to - from;
    await output.order(input.keys.slice(from, to));
    if (input.whole) output.check(input.keys);
    if (next === undefined) progress.start({ total, done: output.done, attempt: output.attempt });
    else progress.total(total);
    next ??= from;
    for await (const row of input.rows(next, to, COLUMNS)) {
      if (stopping) break;
      const key = input.keys[next++] ?? "";
      if (output.has(key)) continue;
      while (inFlight.size >= options.batchSize && !stopping) await Promise.race([...inFlight, stop]);
      if (stopping) break;
      const page: Promise<void> = recognise(engine, row, key, options)
        .then((result) => {
          output.add(result);
          if (result.error === null) progress.page(key, result.seconds);
          else {
            progress.error(key, result.error);
            console.log(`${key}: ${result.error}`);
          }
        })
        .finally(() => inFlight.delete(page));
      inFlight.add(page);
      await output.foldIfDue();
    }
  }
  if (!stopping && !input.whole) console.log("No new page has come for ten minutes: the node is given back.");
  const late = new Promise<void>((resolve) => setTimeout(resolve, GRACE).unref());
  await (stopping ? Promise.race([Promise.all(inFlight), late]) : Promise.all(inFlight));
  await engine.close();
  const unfinished = !input.whole || output.done < total;
  await output.close({ finished: !unfinished });
  const exit = unfinished ? EXIT.again : output.failed > 0 ? EXIT.doneWithErrors : EXIT.done;
  progress.write({ type: "end", done: output.done, failed: output.failed, total, exit });
  console.log(`${output.done} of ${total} pages are done, ${output.failed} in error.`);
  return exit;
}

async function recognise(
  engine: Engine,
  row: Record<string, unknown>,
  key: string,
  options: Options,
): Promise<OutputRow> {
  const from = performance.now();
  const image = (row.image as { bytes?: Uint8Array } | null)?.bytes;
  const base = {
    key,
    source: String(row.source ?? ""),
    page: Number(row.page ?? 0),
    label: typeof row.label === "string" ? row.label : null,
    width: Number(row.width ?? 0),
    height: Number(row.height ?? 0),
    inference_info: JSON.stringify({ ...engine.about, lang: options.lang, psm: options.psm }),
  };
  try {
    if (!(image instanceof Uint8Array) || image.length === 0) throw new Error("The page has no image.");
    const { text, layout, confidence } = await engine.recognise(image);
    return {
      ...base,
      text,
      markdown: text,
      layout: JSON.stringify(layout),
      error: null,
      confidence,
      seconds: (performance.now() - from) / 1000,
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      ...base,
      text: null,
      markdown: null,
      layout: null,
      error: reason,
      confidence: null,
      seconds: (performance.now() - from) / 1000,
    };
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const { name, message, stack } = error as Error;
    if (error instanceof Refused) {
      console.error(message);
      process.exit(EXIT.badOptions);
    }
    console.error(name === "DatasetError" ? message : (stack ?? message));
    process.exit(name === "DatasetError" ? EXIT.badInput : EXIT.internal);
  },
);
