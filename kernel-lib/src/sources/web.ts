/** Images on the web: one address, a list, a text file with one on each line, or a column of a table. */
import { stat } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
import { errorData, SourceError, UsageError } from "../errors.js";
import { sniff } from "../images.js";
import type { Fault, Json, SourceSpec } from "../protocol.js";
import { secretOf, withoutSecret } from "./addresses.js";
import { DownloadError, type Downloader, httpUrl } from "./download.js";
import { glance, isNamedAsPicture } from "./glance.js";
import type { Inspection, PageOrFault, PagesOptions, Source, SourceType } from "./index.js";
import { REMOTE_OPTIONS, type RemoteImage, remoteOptions, remotePages } from "./remote.js";
import { readTable, TABLE_FILES } from "./table.js";
import { readText } from "./text-file.js";

const WEB = /^https?:\/\//i;

/** An address and what stands beside it. */
interface Listed {
  /** As it is asked for, perhaps with a password. */
  address: string;
  /** As it is shown and kept. */
  url: string;
  row: { [column: string]: Json };
}

/** Source type `web`. */
export const web: SourceType = {
  kind: "web",
  options: {
    urls: "a list of addresses, instead of a file that lists them",
    column: "column of a CSV, TSV or Excel file that holds the addresses; default the first that does",
    ...REMOTE_OPTIONS,
  },
  async open(spec) {
    const { downloader, strict } = remoteOptions(spec.options);
    const { listed, skipped } = await listOf(spec);
    return new WebSource(nameOf(spec.location), listed, skipped, downloader, strict);
  },
  async detect(location) {
    if (WEB.test(location)) return detectAddress(location);
    const extension = extname(location).toLowerCase();
    if (extension !== ".txt" && !TABLE_FILES.has(extension)) return { score: 0, why: "neither an address nor a list" };
    try {
      const { listed } = await listOf({ kind: "web", location });
      if (listed.length === 0) return { score: 0, why: "it lists no addresses" };
      return { score: 0.9, why: `it lists ${listed.length} ${listed.length === 1 ? "address" : "addresses"}` };
    } catch (error) {
      return { score: 0, why: errorData(error).what };
    }
  },
};

/** Looks at the first bytes of an address, no more unless it is a document that another kind of source reads. */
async function detectAddress(location: string): Promise<{ score: number; why: string }> {
  const why = "an address on the web";
  try {
    const { first, status } = isNamedAsPicture(location) ? await beginning(location) : await whatIs(location);
    const info = sniff(first);
    if (info !== undefined) return { score: 0.95, why: `${why} that begins as ${info.mime}` };
    return { score: 0.05, why: `${why}, answered with ${status} and no image` };
  } catch {
    return { score: 0.1, why: `${why} that does not answer` };
  }
}

async function beginning(location: string): Promise<{ first: Uint8Array; status: number }> {
  const stop = AbortSignal.timeout(15_000);
  const headers = { range: "bytes=0-4095", ...secretOf(location) };
  const response = await fetch(httpUrl(location), { headers, signal: stop });
  const reader = response.body?.getReader();
  const first = (await reader?.read())?.value ?? new Uint8Array(0);
  await reader?.cancel();
  return { first, status: response.status };
}

async function whatIs(location: string): Promise<{ first: Uint8Array; status: number }> {
  try {
    const found = await glance(location);
    return { first: "first" in found ? found.first : new Uint8Array(0), status: 200 };
  } catch (error) {
    if (error instanceof DownloadError && error.status !== undefined)
      return { first: new Uint8Array(0), status: error.status };
    throw error;
  }
}

async function listOf(spec: SourceSpec): Promise<{ listed: Listed[]; skipped: Inspection["skipped"] }> {
  const { urls, column } = spec.options ?? {};
  if (urls !== undefined && !(Array.isArray(urls) && urls.every((u) => typeof u === "string")))
    throw new UsageError(`urls: got ${JSON.stringify(urls)}.`, "Give a list of addresses.");
  if (column !== undefined && typeof column !== "string")
    throw new UsageError(`column: got ${JSON.stringify(column)}.`, "Give the name of a column.");
  const all: Listed[] = [];
  if (urls !== undefined) all.push(...(urls as string[]).map((url) => toListed(url)));
  else if (WEB.test(spec.location)) all.push(toListed(spec.location));
  else {
    const path = resolve(spec.location);
    if (!(await stat(path).catch(() => undefined))?.isFile())
      throw new SourceError(`There is no file ${path}.`, "Give an address, or a file that lists addresses.");
    if (TABLE_FILES.has(extname(path).toLowerCase())) all.push(...(await fromTable(path, column)));
    else {
      for (const line of (await readText(path)).split(/\r\n|\r|\n/)) {
        // A `#` inside an address belongs to it; one after a space begins a remark.
        const url = line.replace(/(^|\s)#.*$/, "").trim();
        if (url !== "") all.push(toListed(url));
      }
    }
  }
  const seen = new Set<string>();
  const listed: Listed[] = [];
  const skipped: Inspection["skipped"] = [];
  for (const item of all) {
    if (seen.has(item.url)) skipped.push({ key: item.url, reason: "It is listed more than once." });
    else {
      seen.add(item.url);
      listed.push(item);
    }
  }
  if (listed.length === 0)
    throw new SourceError(`${spec.location} lists no addresses.`, "Write one on each line, beginning with https://.");
  return { listed, skipped };
}

function toListed(address: string, row: Listed["row"] = {}): Listed {
  return { address, url: withoutSecret(address), row };
}

async function fromTable(path: string, column: string | undefined): Promise<Listed[]> {
  const { columns, rows } = await readTable(path);
  const name = column ?? columns.find((c) => rows.some((row) => WEB.test(row[c] ?? "")));
  if (name === undefined || !columns.includes(name))
    throw new SourceError(
      `${path} has no column ${column === undefined ? "with addresses" : JSON.stringify(column)}.`,
      `It has: ${columns.join(", ")}.`,
    );
  return rows
    .filter((row) => (row[name] ?? "") !== "")
    .map((row) => {
      const { [name]: url, ...rest } = row;
      return toListed(url ?? "", rest);
    });
}

function nameOf(location: string): string {
  return WEB.test(location) ? withoutSecret(location) : basename(location);
}

class WebSource implements Source {
  readonly kind = "web";
  readonly #name: string;
  readonly #listed: readonly Listed[];
  readonly #skipped: Inspection["skipped"];
  readonly #downloader: Downloader;
  readonly #strict: boolean;

  constructor(
    name: string,
    listed: readonly Listed[],
    skipped: Inspection["skipped"],
    downloader: Downloader,
    strict: boolean,
  ) {
    this.#name = name;
    this.#listed = listed;
    this.#skipped = skipped;
    this.#downloader = downloader;
    this.#strict = strict;
  }

  async count(): Promise<number> {
    return this.#listed.length;
  }

  async inspect(): Promise<Inspection> {
    const found: Inspection = { kind: this.kind, count: 0, pages: [], skipped: [...this.#skipped] };
    for (const { url } of this.#listed) {
      try {
        found.pages.push({ key: url, url: httpUrl(url).href });
      } catch (error) {
        found.skipped.push({ key: url, reason: errorData(error).what });
      }
    }
    found.count = found.pages.length;
    return found;
  }

  async *pages(options: PagesOptions = {}): AsyncGenerator<PageOrFault> {
    yield* remotePages(this.#images(), this.#downloader, { ...options, strict: this.#strict });
  }

  async *#images(): AsyncGenerator<RemoteImage | { fault: Fault }> {
    for (const [i, { address, url, row }] of this.#listed.entries())
      yield {
        key: url,
        source: this.#name,
        page: i + 1,
        metadata: row,
        fetch: (signal) => this.#downloader.get(address, { as: "image", ...(signal === undefined ? {} : { signal }) }),
      };
  }
}
