/** The card of a pushed dataset: what its rows are, for people and for the Hub's viewer. */
import { parseDocument } from "yaml";
import type { ResultRow } from "../dataset/index.js";
import { packageVersion } from "../paths.js";

type Features = Record<string, { dtype?: string; _type: string }>;

/**
 * The text of README.md. Of a card that is there only what is about the files is renewed; what people wrote stays. Words
 * from outside stand in code, so that they are no Markdown.
 */
export function cardOf(existing: string | undefined, rows: readonly ResultRow[], features: Features): string {
  const [, head = "", body] = /^---\r?\n([\s\S]*?)\r?\n---\r?\n?([\s\S]*)$/.exec(existing ?? "") ?? [];
  const document = parseDocument(head === "" ? "{}" : head);
  // A head that is no YAML was somebody's mistake; the Hub would refuse it, too.
  const front = document.errors.length > 0 || document.contents === null ? parseDocument("{}") : document;
  front.set("configs", [{ config_name: "default", data_files: [{ split: "train", path: "data/train-*" }] }]);
  front.set("dataset_info", {
    features: Object.entries(features).map(([name, f]) => ({ name, dtype: f._type === "Image" ? "image" : f.dtype })),
    splits: [{ name: "train", num_examples: rows.length }],
  });
  if (!front.has("tags")) front.set("tags", ["ocr", "yale-jobs"]);
  front.contents = front.createNode(front.toJS()) as typeof front.contents;
  return `---\n${String(front)}---\n${body ?? existing ?? bodyOf(rows)}`;
}

function bodyOf(rows: readonly ResultRow[]): string {
  const failed = rows.filter((r) => r.error !== null).length;
  const sources = [...new Set(rows.map((r) => r.source))];
  const info = rows.find((r) => r.inferenceInfo !== null)?.inferenceInfo ?? null;
  return `
# Recognised text

${rows.length} pages${failed === 0 ? "" : `, ${failed} of them in error`}, recognised by machine and not corrected, from:

${sources
  .slice(0, 50)
  .map((source) => `- ${code(source)}`)
  .join("\n")}${sources.length > 50 ? `\n- and ${sources.length - 50} more` : ""}

Each row is a page: \`image\`, \`text\`, \`markdown\`, \`layout\` (JSON: boxes, categories and texts in pixels of the image),
\`error\` where there is no text, \`confidence\`, and \`source\`, \`page\`, \`label\` and \`metadata\` of where it is from.
The rights in the pages are those of their sources; this card grants none.

Made with Yale Jobs ${packageVersion()}, by the first page's \`inference_info\`:

\`\`\`json
${JSON.stringify(info, null, 2).replaceAll("```", "'''")}
\`\`\`
`;
}

/** Words as code, on one line. */
function code(text: string): string {
  return `\`${text.replace(/[`\s]+/g, " ").slice(0, 300)}\``;
}
