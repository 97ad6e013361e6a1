/** The list of a dataset folder's files, as Python's `datasets` writes it. */
import { randomBytes } from "node:crypto";

/** Its name in the folder. */
export const STATE_FILE = "state.json";

/** Its text: files in their order, relative to the folder, and what names the dataset; by default a name of its own. */
export function stateText(files: readonly string[], fingerprint: string = randomBytes(8).toString("hex")): string {
  // datasets indexes all seven keys; leaving one out is a KeyError (checked one by one with 5.2.0).
  const state = {
    _data_files: files.map((filename) => ({ filename })),
    _fingerprint: fingerprint,
    _format_columns: null,
    _format_kwargs: {},
    _format_type: null,
    _output_all_columns: false,
    _split: null,
  };
  return `${JSON.stringify(state, null, 2)}\n`;
}
