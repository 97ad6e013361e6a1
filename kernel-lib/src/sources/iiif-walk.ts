/** From a document to its manifests: documents are fetched when their turn comes, and name only what they may name. */
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { SourceError } from "../errors.js";
import type { Fault } from "../protocol.js";
import { DownloadError, type Downloader } from "./download.js";
import type { Collection, Member } from "./iiif-collection.js";
import { type Manifest, readPresentation } from "./iiif-read.js";
import { faultFrom } from "./index.js";

/** Collections inside collections, at most. */
const DEPTH = 8;
/** Pages of one collection, at most. */
const PAGES = 1000;

/** A manifest, and where the document is from that it stands in. */
export interface Found {
  manifest: Manifest;
  base: string;
}

/** True for addresses of the web. */
export function isWeb(location: string): boolean {
  return /^https?:\/\//i.test(location);
}

/** A JSON file; the mark of byte order that some editors put before it is left out. Throws SourceError. */
export async function readJson(location: string): Promise<unknown> {
  const path = resolve(location);
  if (!(await stat(path).catch(() => undefined))?.isFile())
    throw new SourceError(`There is no file ${path}.`, "Check the path of the manifest.");
  try {
    return JSON.parse((await readFile(path, "utf8")).replace(/^\ufeff/, ""));
  } catch (cause) {
    throw new SourceError(`${path} holds no JSON.`, "Save the manifest again.", { cause });
  }
}

/** A document by its address or path. Throws SourceError, DownloadError. */
export async function loadDocument(location: string, downloader: Downloader, signal?: AbortSignal): Promise<unknown> {
  if (isWeb(location)) return downloader.json(location, signal === undefined ? {} : { signal });
  return readJson(location);
}

/**
 * Where something is that a document from `base` refers to. What comes from the web may name addresses of the web only:
 * it has no business with the files of this machine. Throws DownloadError.
 */
export function refer(id: string, base: string): string {
  if (!isWeb(base)) {
    if (isWeb(id)) return id;
    return /^file:/i.test(id) ? fileURLToPath(id) : resolve(dirname(resolve(base)), id);
  }
  const address = URL.canParse(id, base) ? new URL(id, base).href : "";
  if (!isWeb(address))
    throw new DownloadError(
      `${id} is no address of the web, and ${base}, which names it, is from there.`,
      "Tell the keepers of the collection; a local file can be named as a source of its own.",
    );
  return address;
}

/** The manifests of a document that was found at `location`, one after another, and what can't be had of them. */
export async function* manifestsOf(
  doc: Manifest | Collection,
  location: string,
  downloader: Downloader,
  signal?: AbortSignal,
): AsyncGenerator<Found | { fault: Fault }> {
  const seen = new Set<string>([location]);
  const fault = (key: string, reason: string, fix: string) => ({ fault: { key, source: location, reason, fix } });

  const open = async (member: Member, base: string) => {
    if (member.inline !== undefined) return { inner: readPresentation(member.inline, base), base };
    const address = refer(member.id, base);
    if (seen.has(address)) return undefined;
    seen.add(address);
    return { inner: readPresentation(await loadDocument(address, downloader, signal), address), base: address };
  };

  const walk = async function* (
    { members, more, skipped, id }: Collection,
    base: string,
    depth: number,
  ): AsyncGenerator<Found | { fault: Fault }> {
    for (const { key, reason } of skipped) yield fault(key, reason, "Tell the keepers of the collection.");
    const waiting = members.map((member) => ({ member, base, isPage: false }));
    const pages = more.map((member) => ({ member, base, isPage: true }));
    let turned = 0;
    for (let next = waiting.shift() ?? pages.shift(); next !== undefined; next = waiting.shift() ?? pages.shift()) {
      if (signal?.aborted) return;
      const { member, isPage } = next;
      if (isPage && ++turned > PAGES) {
        yield fault(id, `It has more than ${PAGES} pages.`, "Name the page to go on with as a source of its own.");
        return;
      }
      if (!isPage && depth >= DEPTH) {
        yield fault(member.id, `It lies more than ${DEPTH} collections deep.`, "Name it as a source of its own.");
        continue;
      }
      try {
        const opened = await open(member, next.base);
        if (opened === undefined) continue;
        const { inner, base: from } = opened;
        if (inner === undefined)
          yield fault(member.id, "It is no IIIF manifest or collection.", "Open it in a browser.");
        else if (inner.type === "manifest") yield { manifest: inner, base: from };
        else if (isPage) {
          for (const { key, reason } of inner.skipped) yield fault(key, reason, "Tell the keepers of the collection.");
          waiting.push(...inner.members.map((m) => ({ member: m, base: from, isPage: false })));
          pages.push(...inner.more.map((m) => ({ member: m, base: from, isPage: true })));
        } else yield* walk(inner, from, depth + 1);
      } catch (error) {
        if (signal?.aborted) return;
        yield faultFrom(error, { key: member.id, source: location }, "Try again later.");
      }
    }
  };
  if (doc.type === "manifest") yield { manifest: doc, base: location };
  else yield* walk(doc, location, 0);
}
