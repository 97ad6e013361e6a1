/** The kinds of source there are, and which of them a location is. Contract tests loop over {@link SOURCES}. */
import { SourceError, UsageError } from "../errors.js";
import type { SourceKind, SourceSpec } from "../protocol.js";
import { dataset } from "./dataset.js";
import { directory } from "./directory.js";
import { hf } from "./hf.js";
import { iiif } from "./iiif.js";
import type { Source, SourceType } from "./index.js";
import { pdf } from "./pdf.js";
import { web } from "./web.js";

/** All kinds. One line for one more. */
export const SOURCES: readonly SourceType[] = [pdf, directory, dataset, iiif, web, hf];

/** Which kind a location is, and why; the surest wins. Throws SourceError if no kind knows it. */
export async function detectSource(location: string): Promise<{ kind: SourceKind; why: string }> {
  const votes = await Promise.all(SOURCES.map(async (type) => ({ kind: type.kind, ...(await type.detect(location)) })));
  votes.sort((a, b) => b.score - a.score);
  const [best] = votes;
  if (best === undefined || best.score <= 0)
    throw new SourceError(
      `${location}: no kind of source knows what this is (${votes.map((v) => `${v.kind}: ${v.why}`).join("; ")}).`,
      `Say it with --source-type; known: ${SOURCES.map((s) => s.kind).join(", ")}.`,
    );
  return { kind: best.kind, why: best.why };
}

/** Opens the source of a specification. Throws UsageError and SourceError. */
export async function openSource(spec: SourceSpec): Promise<Source> {
  const kind = spec.kind === "auto" ? (await detectSource(spec.location)).kind : spec.kind;
  const type = SOURCES.find((s) => s.kind === kind);
  if (type === undefined)
    throw new UsageError(
      `There is no source type ${JSON.stringify(kind)}.`,
      `Known: ${SOURCES.map((s) => s.kind).join(", ")}.`,
    );
  for (const option of Object.keys(spec.options ?? {}))
    if (!(option in type.options) && !(spec.kind === "auto" && option === "dpi"))
      throw new UsageError(
        `A ${kind} source has no option ${JSON.stringify(option)}.`,
        `It has: ${Object.keys(type.options).join(", ") || "none"}.`,
      );
  return type.open({ ...spec, kind });
}
