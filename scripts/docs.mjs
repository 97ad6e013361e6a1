// Writes the documents that are made of the code: docs/cli.md from the help of every command, docs/api.md from the
// declarations and their comments, docs/clusters/ from the profiles. test/unit/docs.test.ts makes them again and compares.
//   npm run build && node scripts/docs.mjs
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
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

/** Exported names with their declarations: { name, kind, doc, text, bare }, the last being members without a comment. */
export function publicNames() {
  names ??= readNames();
  return names;
}
let names;

function readNames() {
  const project = new Project({ skipAddingFilesFromTsConfig: true });
  const entry = project.addSourceFileAtPath(join(dist, "types", "index.d.ts"));
  project.resolveSourceFileDependencies();
  const found = [];
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
    found.push({ name, kind, doc, text, bare: bareMembers(first) });
  }
  return found.sort((a, b) => a.name.localeCompare(b.name, "en"));
}

/** Members of a class that say nothing of themselves; those of symbols and constructors speak for themselves. */
function bareMembers(declaration) {
  if (!Node.isClassDeclaration(declaration)) return [];
  const members = [...declaration.getMethods(), ...declaration.getProperties(), ...declaration.getGetAccessors()];
  return members
    .filter((m) => !/^[#[]/.test(m.getName()) && m.getJsDocs().length === 0)
    .map((m) => `${declaration.getName()}.${m.getName()}`);
}

/** docs/api.md. */
export function apiReference() {
  const all = publicNames();
  // `yale` and `Yale` have one anchor; the second of two gets a number.
  const seen = new Map();
  const anchor = (name) => {
    const slug = name.toLowerCase();
    const before = seen.get(slug) ?? 0;
    seen.set(slug, before + 1);
    return before === 0 ? slug : `${slug}-${before}`;
  };
  const section = (title, kind) => {
    const of = all.filter((n) => n.kind === kind);
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

/** Profiles of the clusters that are known. */
export async function sites() {
  const entry = join(root, "kernel-lib", "src", "sites", "index.ts");
  const made = await build({ entryPoints: [entry], bundle: true, write: false, format: "esm", platform: "node" });
  const code = Buffer.from(made.outputFiles[0].text).toString("base64");
  return (await import(`data:text/javascript;base64,${code}`)).SITES;
}

const hours = (seconds) => (seconds % 86_400 === 0 ? `${seconds / 86_400} d` : `${seconds / 3600} h`);
const size = (bytes) => (bytes >= 2 ** 40 ? `${bytes / 2 ** 40} TiB` : `${bytes / 2 ** 30} GiB`);

/** docs/clusters/NAME.md. */
export function clusterPage(site) {
  const code = (text) => `\`${text}\``;
  const [host] = site.hosts;
  const parts = [
    `# ${site.title}`,
    "",
    `Made of the profile ${code(`kernel-lib/src/sites/${site.name}.ts`)}, whose sources were read on ${site.checked}. What the cluster`,
    `itself says goes before it: ${code(`yale cluster info ${site.name}`)}.`,
  ];
  if (site.windingDown !== undefined) parts.push("", `**${site.windingDown}**`);
  if (site.outOfScope !== undefined) parts.push("", `**${site.outOfScope}**`);
  else
    parts.push(
      "",
      "## Begin",
      "",
      "1. An account, and a key of yours in place there: `ssh-keygen -t ed25519`, then give the centre the public half",
      "   (`~/.ssh/id_ed25519.pub`) as its documentation says; it takes some ten minutes until it holds.",
      `2. From the campus network or the VPN, ${code(`yale init --cluster ${site.name} --user NETID`)}.`,
      `3. ${code(`yale login ${site.name}`)}: the host key once, compared with the one that the centre publishes, then the second factor.`,
      `4. ${code(`yale doctor ${site.name}`)} says whether all is well.`,
      "",
      "```yaml",
      "clusters:",
      `  ${site.name}:`,
      `    host: ${host}`,
      "    user: netid",
      site.name === "bouchet"
        ? "    job_dir: ~/scratch_pi_xy1/yale-jobs # the folder of your group"
        : "    job_dir: ~/yale-jobs # better: a folder on scratch or project storage",
      "```",
    );
  parts.push(
    "",
    "## Partitions",
    "",
    "| partition | what for | longest | GPUs | one person may have |",
    "| --- | --- | --- | --- | --- |",
    ...site.partitions.map((p) => {
      const limits = [
        p.cpusPerUser === undefined ? "" : `${p.cpusPerUser.toLocaleString("en-US")} CPUs`,
        p.gpusPerUser === undefined ? "" : `${p.gpusPerUser} GPUs`,
        p.runningPerUser === undefined ? "" : `${p.runningPerUser} running ${p.runningPerUser === 1 ? "job" : "jobs"}`,
        p.submittedPerUser === undefined
          ? ""
          : `${p.submittedPerUser} submitted ${p.submittedPerUser === 1 ? "job" : "jobs"}`,
      ].filter((l) => l !== "");
      const uses = {
        batch: "jobs",
        devel: "trying out",
        scavenge: "idle nodes; ended at any time",
        special: "special hardware",
      };
      return `| ${code(p.name)} | ${uses[p.use]} | ${hours(p.maxSeconds)} | ${(p.gpus ?? []).map(code).join(", ") || "–"} | ${limits.join(", ") || "–"} |`;
    }),
  );
  if (site.gpus.length > 0)
    parts.push("", `Memory of the GPUs in GB: ${site.gpus.map((g) => `${code(g.type)} ${g.gigabytes}`).join(", ")}.`);
  parts.push(
    "",
    "## Storage",
    "",
    "| place | meant for | paths | room | files are deleted |",
    "| --- | --- | --- | --- | --- |",
    ...site.storage.map((s) => {
      const room = [
        s.bytes === undefined ? "" : size(s.bytes),
        s.files === undefined ? "" : `${s.files.toLocaleString("en-US")} files`,
      ];
      const whose = s.quotaOf === undefined ? "" : ` for each ${s.quotaOf}`;
      return `| ${s.name} | ${s.use} | ${s.roots.map(code).join(", ") || "–"} | ${room.filter(Boolean).join(", ") || "–"}${whose} | ${s.purgeDays === undefined ? "never" : `after ${s.purgeDays} days`} |`;
    }),
    "",
    `Results are copied to you; datasets that the purge takes are uploaded again when they are needed.${site.quotaCommand === undefined ? "" : ` Quotas are those of ${code(site.quotaCommand.join(" "))}.`}`,
    "",
    "## Manners",
    "",
    ...(site.policy.submissionsPerHour === undefined
      ? []
      : [
          `- At most ${site.policy.submissionsPerHour} submissions an hour: Yale Jobs counts them, and later jobs wait their turn and say so.`,
        ]),
    `- No crowds of tasks shorter than ${site.policy.minTaskMinutes} minutes; plans aim at ${site.policy.taskMinutes}.`,
    `- The scheduler is asked at most every ${site.policy.pollSeconds} seconds, once for all jobs.`,
    ...(site.transferHost === undefined
      ? []
      : [
          `- ${code(site.transferHost)} is for bulk transfers by hand; it asks for a second factor of its own, so nothing is sent there by itself.`,
        ]),
    ...site.notes.map((n) => `- ${n.replaceAll("<", "&lt;")}`),
    "",
    "## Sources",
    "",
    ...site.sources.map((s) => `- ${s}`),
    "",
  );
  return parts.join("\n");
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  mkdirSync(join(root, "docs", "clusters"), { recursive: true });
  const pages = (await sites()).map((site) => [`clusters/${site.name}.md`, () => clusterPage(site)]);
  for (const [path, make] of [["cli.md", cliReference], ["api.md", apiReference], ...pages]) {
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
