// Writes the documents that are made of the code: docs/cli.md from the help of every command, docs/api.md from the
// declarations and their comments. test/unit/docs.test.ts makes them again and compares.
//   npm run build && node scripts/docs.mjs
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Node, Project } from "ts-morph";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "kernel-lib", "dist");

/** The command `yale` as the build has it. */
export function program() {
  return createRequire(import.meta.url)(join(dist, "cli.cjs")).program();
}

/** Every command that does something, as its words after `yale`. */
function* leaves(command, words = []) {
  if (command.commands.length === 0) yield { words, command };
  for (const child of command.commands) if (child.name() !== "help") yield* leaves(child, [...words, child.name()]);
}

/** docs/cli.md. */
export function cliReference() {
  const yale = program();
  const parts = [
    "# The command `yale`",
    "",
    "Made of the program's own help (`yale COMMAND --help`) by `node scripts/docs.mjs`.",
    "",
    ...[...leaves(yale)].map(({ words }) => `- [yale ${words.join(" ")}](#yale-${words.join("-")})`),
  ];
  for (const { words, command } of leaves(yale)) {
    let help = "";
    command.configureHelp({ helpWidth: 110 });
    command.configureOutput({ writeOut: (text) => (help += text) });
    command.outputHelp();
    parts.push("", `## yale ${words.join(" ")}`, "", "```text", help.trimEnd().replace(/[ \t]+$/gm, ""), "```");
  }
  let help = "";
  yale.configureOutput({ writeOut: (text) => (help += text) });
  yale.outputHelp();
  const codes = help.slice(help.indexOf("Exit codes:")).trimEnd();
  parts.push("", "## Exit codes", "", "```text", codes, "```", "", "What each means: [errors.md](errors.md).", "");
  return parts.join("\n");
}

/** Exported names with their declarations: { name, kind, doc, text }. */
export function publicNames() {
  const project = new Project({ skipAddingFilesFromTsConfig: true });
  const entry = project.addSourceFileAtPath(join(dist, "types", "index.d.ts"));
  project.resolveSourceFileDependencies();
  const names = [];
  for (const [name, declarations] of entry.getExportedDeclarations()) {
    const [first] = declarations;
    const documented = Node.isVariableDeclaration(first) ? first.getVariableStatementOrThrow() : first;
    const docs = Node.isJSDocable(documented) ? documented.getJsDocs() : [];
    const doc = docs
      .map((d) => d.getDescription().trim())
      .join("\n\n")
      .trim();
    const text = declarations
      .map((d) => (Node.isVariableDeclaration(d) ? d.getVariableStatementOrThrow() : d).getText(false))
      .join("\n")
      .replace(/^export (declare )?/gm, "")
      .replace(/^\s*(#private;|private .*)\n/gm, "");
    const kind = Node.isClassDeclaration(first)
      ? "class"
      : Node.isInterfaceDeclaration(first) || Node.isTypeAliasDeclaration(first)
        ? "type"
        : "value";
    names.push({ name, kind, doc, text });
  }
  return names.sort((a, b) => a.name.localeCompare(b.name, "en"));
}

/** docs/api.md. */
export function apiReference() {
  const names = publicNames();
  // `yale` and `Yale` have one anchor; the second of two gets a number.
  const seen = new Map();
  const anchor = (name) => {
    const slug = name.toLowerCase();
    const before = seen.get(slug) ?? 0;
    seen.set(slug, before + 1);
    return before === 0 ? slug : `${slug}-${before}`;
  };
  const section = (title, kind) => {
    const of = names.filter((n) => n.kind === kind);
    return [
      "",
      `## ${title}`,
      "",
      of.map((n) => `[${n.name}](#${anchor(n.name)})`).join(" · "),
      ...of.flatMap(({ name, doc, text }) => ["", `### ${name}`, "", linked(doc), "", "```ts", text, "```"]),
    ];
  };
  return [
    "# The library `yale-jobs`",
    "",
    "Made of the declarations and their comments by `node scripts/docs.mjs`. To begin with: [quickstart.md](quickstart.md).",
    ...section("Values", "value"),
    ...section("Classes", "class"),
    ...section("Types", "type"),
    "",
  ].join("\n");
}

/** `{@link x}` as code; everything else of a comment is Markdown already. */
function linked(doc) {
  return doc.replace(/\{@link ([^}\s|]+)[^}]*\}/g, "`$1`");
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const [path, make] of [
    ["cli.md", cliReference],
    ["api.md", apiReference],
  ]) {
    const file = join(root, "docs", path);
    const text = make();
    let before = "";
    try {
      before = readFileSync(file, "utf8");
    } catch {
      // It is new.
    }
    if (before !== text) writeFileSync(file, text);
    console.log(`docs/${path}: ${before === text ? "as it was" : "written"}`);
  }
}
