/** A specification as the notebook cell that gives the very same specification. */
import type { JobSpec, Json, SourceSpec } from "yale-jobs/protocol";

/** Options of runners that have a method of their own. */
const METHODS = new Set(["promptMode", "batchSize", "maxModelLen", "maxTokens", "lang"]);

/**
 * The cell. Files below `folder`, an absolute path (the notebook's), are written relative to it, so that the notebook can be
 * moved together with them.
 */
export function cellOf(spec: JobSpec, folder?: string): string {
  const near = (location: string) => relative(location, folder);
  const calls: string[] = [];
  const call = (name: string, ...args: unknown[]) => {
    if (args[0] !== undefined) calls.push(`  .${name}(${args.map(literal).join(", ")})`);
  };
  const { sources, dpi } = sourcesOf(spec.sources, near);
  call("name", spec.name);
  if (spec.cluster !== "") call("on", spec.cluster);
  call("model", spec.runner);
  call("dpi", dpi);
  for (const [name, value] of Object.entries(spec.options))
    if (METHODS.has(name)) call(name, value);
    else calls.push(`  .option(${literal(name)}, ${literal(value)})`);
  const r = spec.resources;
  for (const name of ["gpus", "cpus", "memory", "time", "partition", "nodes", "account", "qos", "constraint"] as const)
    call(name, r[name]);
  if (r.extra !== undefined) call("extra", ...r.extra);
  if (r.mail !== undefined) call("mail", r.mail.user, r.mail.type);
  call("env", spec.env);
  if (spec.modules !== undefined) call("modules", ...spec.modules);
  call("variables", spec.variables);
  call("maxSamples", spec.maxSamples);
  if (spec.sources.length > 0) call("datasetPath", spec.datasetPath);
  call("shards", spec.shards);
  call("retries", spec.retries);
  const [first] = spec.after ?? [];
  // The output of another job brings its wait along.
  if (first !== undefined && spec.dataFrom === undefined)
    call(
      "after",
      spec.after?.map((a) => a.job),
      first.condition,
    );
  for (const [name, value] of Object.entries(spec.labels ?? {})) call("label", name, value);
  if (spec.output !== undefined) call("output", near(spec.output));
  if (spec.pushToHub !== undefined) call("pushToHub", spec.pushToHub);
  if (spec.startEarly === true) calls.push("  .startEarly()");
  let head: string;
  // Without a source the builder must be told at once where the pages are.
  const there = spec.datasetPath === undefined ? "" : `, ${literal({ datasetPath: spec.datasetPath })}`;
  if (spec.kind === "ocr") head = `yale.ocr(${spec.sources.length === 0 ? `[]${there}` : sources})`;
  else {
    const { script } = spec;
    if (spec.dataFrom !== undefined) call("data", { id: spec.dataFrom });
    else if (spec.sources.length > 0) calls.push(`  .data(${sources})`);
    if (script !== undefined && script.args.length > 0) call("args", ...script.args);
    call("interpreter", script?.interpreter);
    head = `yale.run(${template(script?.text ?? "")})`;
  }
  return ['import { yale } from "yale-jobs";', `const job = await ${head}`, ...calls, "  .submit();", "job"].join("\n");
}

/** The sources as an expression. Those whose kind is found by content are plain texts; `dpi` then has a method. */
function sourcesOf(sources: readonly SourceSpec[], near: (path: string) => string): { sources: string; dpi?: Json } {
  const dpi = sources[0]?.options?.["dpi"];
  const plain = sources.every(
    (s) => s.kind === "auto" && JSON.stringify(s.options ?? {}) === JSON.stringify(dpi === undefined ? {} : { dpi }),
  );
  const written = sources.map((s) => {
    const location = literal(s.kind === "hf" ? s.location : near(s.location));
    if (plain) return location;
    const options = s.options === undefined ? "" : `, ${literal(s.options)}`;
    return `yale.${s.kind === "auto" ? "source" : s.kind}(${location}${options})`;
  });
  const expression = written.length === 1 ? (written[0] ?? "") : `[${written.join(", ")}]`;
  return { sources: expression, ...(plain && dpi !== undefined ? { dpi } : {}) };
}

/** A value as TypeScript. JSON is TypeScript; keys stay quoted, whatever they are. */
function literal(value: unknown): string {
  return JSON.stringify(value);
}

/** A script over several lines, readable; a single one is given its line break, by which it is told from a path. */
function template(text: string): string {
  const body = text.includes("\n") ? text : `${text}\n`;
  return `\`${body.replace(/[\\`]|\$\{/g, "\\$&").replace(/\r/g, "\\r")}\``;
}

function relative(location: string, folder: string | undefined): string {
  if (folder === undefined || !location.startsWith(`${folder.replace(/\/$/, "")}/`)) return location;
  return location.slice(folder.replace(/\/$/, "").length + 1);
}
