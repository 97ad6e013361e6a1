/** Text as people's programs write it, whatever its encoding. */
import { readFile } from "node:fs/promises";

/**
 * The text of a file in UTF-8, or in UTF-16 with its mark (Excel's "Unicode Text"); one that is neither is taken for
 * Windows-1252, in which older programs write the letters of Western languages. Without the mark. Throws what reading throws.
 */
export async function readText(path: string): Promise<string> {
  const bytes = await readFile(path);
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (first === 0xfe && second === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}
