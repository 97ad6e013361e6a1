// What of a notebook's outputs is kept in the repository, and what of them must be the same at every run.

/** Types of output that are kept; the live card's own data belongs to a job that is gone. */
const KEPT = new Set(["text/plain", "text/html"]);

/** Ids of jobs, in their own alphabet, with at least one letter and one digit. */
const ID = /\b(?=[a-z0-9]*\d)(?=[a-z0-9]*[a-z])[0-9a-z]{10}\b/g;

/** The notebook as it is kept: no paths of the machine, no metadata of the run. */
export function kept(notebook, folder) {
  const plain = (text) => text.replaceAll(`${folder}/`, "").replaceAll(folder, ".");
  const lines = (text) => (Array.isArray(text) ? text.join("") : text);
  for (const cell of notebook.cells) {
    cell.metadata = {};
    if (cell.cell_type !== "code") continue;
    cell.outputs = cell.outputs.map((output) => {
      if (output.output_type === "stream") return { ...output, text: split(plain(lines(output.text))) };
      const data = Object.fromEntries(
        Object.entries(output.data ?? {})
          .filter(([type]) => KEPT.has(type))
          .map(([type, text]) => [type, split(plain(lines(text)))]),
      );
      return { ...output, data, metadata: {} };
    });
  }
  return notebook;
}

function split(text) {
  return text.split(/(?<=\n)/);
}

/** What must be the same at every run: what each cell printed, and which kinds of things it showed. */
export function stable(notebook) {
  return notebook.cells
    .filter((cell) => cell.cell_type === "code")
    .map((cell) => ({
      printed: cell.outputs
        .filter((o) => o.output_type === "stream")
        .map((o) => (Array.isArray(o.text) ? o.text.join("") : o.text))
        .join("")
        .replace(ID, "ID")
        .replace(/xywh=[\d,]+/g, "xywh"),
      shown: cell.outputs.filter((o) => o.output_type !== "stream").map((o) => Object.keys(o.data).sort()),
    }));
}
