/** What a PDF is beyond what its renderer says of it: cut off, broken in its list of pages, with labels. */
import { pageLabels } from "./pdf-labels.js";
import { PdfBytes, PdfObjects } from "./pdf-objects.js";
import { type Rebuilt, rebuild } from "./pdf-rebuild.js";

/** How the renderer took the file. */
export interface Rendered {
  /** Pages that it has by its own count; 0 if it could not be opened. */
  pages: number;
  /** It had to look for the objects itself. */
  recovered: boolean;
  /** How many of its pages can be had. Asked where the file is in doubt only. */
  readable(): Promise<number>;
}

/** What {@link survey} found. */
export interface Survey {
  /** The end of the file is missing. */
  truncated: boolean;
  labels?: string[];
  /** How to read the file, where the renderer alone would have fewer of its pages. */
  rebuilt?: Rebuilt;
}

/** Looks at a file of which the renderer has said what it can. */
export async function survey(path: string, rendered: Rendered): Promise<Survey> {
  const truncated = rendered.recovered && !endOf(path).includes("%%EOF");
  const objects = await PdfObjects.open(path).catch(() => undefined);
  try {
    let rebuilt: Rebuilt | undefined;
    if (rendered.recovered || rendered.pages === 0 || (objects !== undefined && isBroken(objects, rendered.pages))) {
      const found = await rebuild(path).catch(() => undefined);
      const readable = rendered.pages === 0 ? 0 : await rendered.readable();
      // The renderer shows a page whose content is cut off as an empty one.
      if (found !== undefined && (found.pages - found.lost.length > readable || (truncated && found.pages >= readable)))
        rebuilt = found;
    }
    const labels = await labelsOf(path, objects, rebuilt, rebuilt?.pages ?? rendered.pages);
    return { truncated, ...(labels === undefined ? {} : { labels }), ...(rebuilt === undefined ? {} : { rebuilt }) };
  } finally {
    objects?.close();
  }
}

function endOf(path: string): string {
  const bytes = new PdfBytes(path);
  try {
    return bytes.tail();
  } finally {
    bytes.close();
  }
}

/** Whether the list of pages has breaks, the same page twice, or another number of pages than the renderer says. */
function isBroken(objects: PdfObjects, pages: number): boolean {
  try {
    const leaves = objects.pages();
    return (
      leaves.length !== pages ||
      new Set(leaves.map(({ page }) => page ?? null)).size !== pages ||
      leaves.some(({ page }) => page === undefined)
    );
  } catch {
    return true;
  }
}

async function labelsOf(
  path: string,
  objects: PdfObjects | undefined,
  rebuilt: Rebuilt | undefined,
  pages: number,
): Promise<string[] | undefined> {
  try {
    if (rebuilt === undefined) return objects === undefined ? undefined : await pageLabels(objects, pages);
    const anew = await PdfObjects.open(path, rebuilt.appendix);
    try {
      return await pageLabels(anew, pages);
    } finally {
      anew.close();
    }
  } catch {
    return undefined;
  }
}
