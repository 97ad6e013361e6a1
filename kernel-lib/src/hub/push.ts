/**
 * Results to a dataset on the Hugging Face Hub: Parquet shards with the page images, and a card that says what they are.
 *
 * By Hugging Face's own client. One commit brings all; large files go up before it, and those that the Hub has already, from
 * a push that broke or an earlier one, are not sent again.
 */
import { openAsBlob } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ResultRow } from "../dataset/index.js";
import { ConnectionError, LoginError, TransferError, UsageError } from "../errors.js";
import { type PageContext, type PageImage, worksOf } from "../exports/index.js";
import { features, writeParquet } from "../exports/parquet.js";
import { checkRepo } from "../options.js";
import { hubAccess } from "../sources/hf-hub.js";
import { cardOf } from "./card.js";

/** How results are pushed. */
export interface PushOptions {
  /** Only you (or your organisation) see it. Default true; a dataset that is there stays as it is. */
  private?: boolean;
  /** Branch to commit to. Default `main`. */
  revision?: string;
  /** Message of the commit. */
  message?: string;
  /** Page images too. Default true. */
  images?: boolean;
  /** Told what is done, and how much of it. */
  say?: (line: string) => void;
}

/** What a push has brought. */
export interface Pushed {
  /** `owner/name`. */
  repo: string;
  /** Page of the dataset on the Hub. */
  url: string;
  /** Id of the commit. */
  commit: string;
  pages: number;
  /** Parquet files. */
  shards: number;
  bytes: number;
  /** Pages whose image is not on this machine any more. */
  imagesMissing: number;
}

/** Bytes of page images in one shard: small enough to be held here while it is written. */
const SHARD = 200 * 1024 ** 2;

/** Pushes rows. Throws UsageError, LoginError (no token, or refused), ConnectionError and TransferError. */
export async function pushRows(
  rows: readonly ResultRow[],
  context: PageContext,
  repo: string,
  options: PushOptions = {},
): Promise<Pushed> {
  checkRepo(repo);
  if (rows.length === 0) throw new UsageError("There are no pages to push yet.", "Wait for the first pages.");
  const { token, endpoint } = await hubAccess();
  if (token === undefined)
    throw new LoginError(
      "There is no Hugging Face token here, so nothing can be pushed.",
      "`hf auth login`, or set HF_TOKEN, with a token that may write.",
    );
  const say = options.say ?? (() => undefined);
  const folder = await mkdtemp(join(tmpdir(), "yale-push-"));
  try {
    const made = await shardsOf(rows, context, folder, options.images !== false, say);
    const hub = await import("@huggingface/hub");
    const about = { repo: { type: "dataset" as const, name: repo }, hubUrl: endpoint, accessToken: token };
    await createIfMissing(hub, about, options.private !== false);
    const branch = options.revision ?? "main";
    const card = cardOf(await existingCard(hub, about, branch), rows, features(options.images !== false));
    const fresh = new Set(made.files.map((f) => f.path));
    const old: string[] = [];
    // All that the card's pattern takes for this split, whatever `datasets` or an earlier push called it: rows would mix.
    for await (const file of filesOf(hub, about, branch))
      if (/^data\/train-[^/]*$/.test(file) && !fresh.has(file)) old.push(file);
    let last = "";
    const commit = hub.commitIter({
      ...about,
      branch,
      title: options.message ?? `Add ${rows.length} pages with Yale Jobs`,
      operations: [
        { operation: "addOrUpdate", path: "README.md", content: new Blob([card]) },
        ...made.files.map(({ path, blob }) => ({ operation: "addOrUpdate" as const, path, content: blob })),
        ...old.map((path) => ({ operation: "delete" as const, path })),
      ],
      // Every dataset takes LFS; the other way brings WebAssembly and cuts files anew.
      useXet: false,
    });
    let step = await commit.next();
    while (!step.done) {
      const { value } = step;
      const line =
        value.event === "phase" ? PHASES[value.phase] : value.state === "uploading" ? `sending ${value.path}` : "";
      if (line !== "" && line !== last) say(line);
      if (line !== "") last = line;
      step = await commit.next();
    }
    return {
      repo,
      url: `${endpoint}/datasets/${repo}`,
      commit: step.value?.commit.oid ?? "",
      pages: rows.length,
      shards: made.files.length,
      bytes: made.bytes,
      imagesMissing: made.imagesMissing,
    };
  } catch (error) {
    throw fault(error, repo, endpoint);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const PHASES = {
  preuploading: "asking the Hub what it has",
  uploadingLargeFiles: "sending what it has not",
  committing: "committing",
} as const;

type Hub = typeof import("@huggingface/hub");
interface About {
  repo: { type: "dataset"; name: string };
  hubUrl: string;
  accessToken: string;
}

/** Shards on disk; the same rows make the same bytes, by which the Hub knows them again. */
async function shardsOf(
  rows: readonly ResultRow[],
  context: PageContext,
  folder: string,
  withImages: boolean,
  say: (line: string) => void,
): Promise<{ files: { path: string; blob: Blob }[]; bytes: number; imagesMissing: number }> {
  const files: { path: string; blob: Blob }[] = [];
  let [bytes, imagesMissing, held] = [0, 0, 0];
  const pages = worksOf(rows, context).flatMap((work) => work.pages);
  let group: typeof pages = [];
  let images: (PageImage | undefined)[] = [];
  const flush = async () => {
    const name = `train-${String(files.length).padStart(5, "0")}.parquet`;
    const path = join(folder, name);
    if (withImages) await writeParquet(path, group, images);
    else await writeParquet(path, group);
    files.push({ path: `data/${name}`, blob: await openAsBlob(path) });
    bytes += (await stat(path)).size;
    [group, images, held] = [[], [], 0];
    say(`${name}: ${bytes.toLocaleString("en-US")} bytes so far`);
  };
  for (const page of pages) {
    const image = withImages ? await page.image() : undefined;
    if (withImages && image === undefined) imagesMissing += 1;
    group.push(page);
    images.push(image);
    held += (image?.bytes.length ?? 0) + JSON.stringify(page.row.layout ?? null).length;
    if (held >= SHARD) await flush();
  }
  if (group.length > 0) await flush();
  return { files, bytes, imagesMissing };
}

async function createIfMissing(hub: Hub, about: About, hidden: boolean): Promise<void> {
  try {
    await hub.createRepo({ ...about, visibility: hidden ? "private" : "public" });
  } catch (error) {
    const status = statusOf(error);
    if (status === 409) return;
    // A token that may write this dataset need not be one that may make others in its organisation, nor one that may pay:
    // the Hub refuses before it looks whether there is anything to make, and the commit says whether it may write.
    if (status !== 401 && status !== 402 && status !== 403) throw error;
    if (!(await hub.repoExists(about).catch(() => false))) throw error;
  }
}

async function existingCard(hub: Hub, about: About, branch: string): Promise<string | undefined> {
  const file = await hub.downloadFile({ ...about, path: "README.md", revision: branch }).catch((error: unknown) => {
    if (statusOf(error) === 404) return null;
    throw error;
  });
  return file === null ? undefined : file.text();
}

async function* filesOf(hub: Hub, about: About, branch: string): AsyncGenerator<string> {
  try {
    for await (const file of hub.listFiles({ ...about, path: "data", revision: branch })) yield file.path;
  } catch (error) {
    // A new dataset has no such folder.
    if (statusOf(error) !== 404) throw error;
  }
}

function statusOf(error: unknown): number | undefined {
  return (error as { statusCode?: number } | null)?.statusCode;
}

/** What went wrong, for people. The Hub's words hold no token; the client puts it into headers only. */
function fault(error: unknown, repo: string, endpoint: string): unknown {
  const status = statusOf(error);
  const said = error instanceof Error ? error.message.split(". URL:")[0] : String(error);
  if (status === 401 || status === 403)
    return new LoginError(
      `The Hub (${endpoint}) refused to let this token write ${repo}: ${said}`,
      "Make a token that may write (huggingface.co/settings/tokens), and check the owner's name.",
    );
  if (status !== undefined)
    return new TransferError(
      `The Hub did not take ${repo} (${status}): ${said}`,
      "Push again: what arrived is not sent again.",
      {
        cause: error,
      },
    );
  if (error instanceof TypeError && /fetch failed|network/i.test(error.message))
    return new ConnectionError(
      `The Hub (${endpoint}) can't be reached: ${String((error.cause as Error | undefined)?.message ?? said)}`,
      "Check the network and HF_ENDPOINT, then push again: what arrived is not sent again.",
      { cause: error },
    );
  return error;
}
