/** Fetches the images of manifests from servers that do not always keep their word, and remembers which words a host knows. */
import { DownloadError, type Downloader } from "./download.js";
import type { CanvasImage } from "./iiif-body.js";
import {
  imageUrl,
  informed,
  listedUrl,
  mustBeAsked,
  ownUrl,
  requestKind,
  shownSize,
  WORDS,
  type Words,
} from "./iiif-image.js";
import { readService } from "./iiif-service.js";
import { node } from "./iiif-values.js";
import type { FetchedImage } from "./remote.js";

/** Answers to words of the Image API that a server does not know; any other failure has another cause. */
const NOT_UNDERSTOOD = new Set([400, 404, 405, 406, 501]);

/** Fetches images for one source. */
export class ImageFetcher {
  readonly #downloader: Downloader;
  readonly #width: number | undefined;
  /**
   * Words that worked with a host, for each kind of request, and the page that finds them out, for which the others
   * wait. Only words are remembered: a size that one page had to be content with is not that of another.
   */
  readonly #words = new Map<string, Words>();
  readonly #finding = new Map<string, Promise<unknown>>();

  /** `width`: at most so many pixels across. */
  constructor(downloader: Downloader, width: number | undefined) {
    this.#downloader = downloader;
    this.#width = width;
  }

  /** Brings an image into the cache, by the service or, where that fails, as the manifest names it. Throws DownloadError. */
  async fetch(image: CanvasImage, signal?: AbortSignal): Promise<FetchedImage> {
    if (image.service === undefined) return this.#get(ownUrl(image), signal);
    const known = mustBeAsked(image, this.#width) ? await this.#informed(image, signal) : undefined;
    const asked = known ?? image;
    const kind = `${hostOf(image.service.id)} ${requestKind(asked, this.#width)}`;
    if (this.#words.has(kind)) return this.#ask(asked, known !== undefined, kind, signal);
    const finding = this.#finding.get(kind);
    if (finding !== undefined) {
      await finding;
      return this.#ask(asked, known !== undefined, kind, signal);
    }
    const asking = this.#ask(asked, known !== undefined, kind, signal);
    this.#finding.set(
      kind,
      asking.catch(() => this.#finding.delete(kind)),
    );
    return asking;
  }

  async #ask(image: CanvasImage, isInformed: boolean, kind: string, signal?: AbortSignal): Promise<FetchedImage> {
    const tried = new Set<string>();
    let first: unknown;
    const attempt = async (url: string | undefined): Promise<FetchedImage | undefined> => {
      if (url === undefined || tried.has(url)) return undefined;
      tried.add(url);
      try {
        return await this.#get(url, signal);
      } catch (error) {
        first ??= error;
        if (!NOT_UNDERSTOOD.has((error instanceof DownloadError ? error.status : undefined) ?? 0)) throw error;
        return undefined;
      }
    };
    const worked = this.#words.get(kind);
    for (const words of worked === undefined ? WORDS : [worked, ...WORDS]) {
      const found = await attempt(imageUrl(image, this.#width, words));
      if (found === undefined) continue;
      this.#words.set(kind, words);
      return found;
    }
    // From here on what comes may be another size than was asked for, and is good for this page alone.
    const told = isInformed ? image : ((await this.#informed(image, signal)) ?? image);
    const largest = this.#width === undefined ? [] : WORDS.map((w) => imageUrl(told, undefined, w));
    const ways: [what: string, urls: (string | undefined)[]][] = [
      ["as large as the image service gives it", [...WORDS.map((w) => imageUrl(told, this.#width, w)), ...largest]],
      ["in the best size that the image service lists", [listedUrl(told, this.#width)]],
      ["as the manifest itself names it", [ownUrl(image)]],
    ];
    for (const [what, urls] of ways)
      for (const url of urls) {
        const found = await attempt(url);
        if (found !== undefined) return this.#noted(found, told, what);
      }
    throw first;
  }

  /** With a notice, unless it has the size that was wanted all the same. */
  #noted(found: FetchedImage, image: CanvasImage, what: string): FetchedImage {
    const whole = image.guessed === true ? undefined : shownSize(image).width;
    const wanted = whole === undefined ? undefined : Math.min(whole, Math.floor(this.#width ?? whole));
    const { width = 0, height = 0 } = found.image ?? {};
    if (wanted !== undefined && Math.abs(width - wanted) <= 1) return found;
    return {
      ...found,
      notice: `The image service refused the size that was asked for: it is here ${what}, ${width} × ${height} pixels.`,
    };
  }

  async #get(url: string | undefined, signal?: AbortSignal): Promise<FetchedImage> {
    if (url === undefined)
      throw new DownloadError("The canvas names no address of an image.", "Tell the keepers of the manifest.");
    return this.#downloader.get(url, { as: "image", ...(signal === undefined ? {} : { signal }) });
  }

  /** The image with what its service says of itself; undefined if it says nothing. */
  async #informed(image: CanvasImage, signal?: AbortSignal): Promise<CanvasImage | undefined> {
    try {
      const url = `${image.service?.id}/info.json`;
      const info = readService(node(await this.#downloader.json(url, signal === undefined ? {} : { signal })), "");
      return info === undefined ? undefined : informed(image, info);
    } catch (error) {
      if (signal?.aborted) throw error;
      return undefined;
    }
  }
}

function hostOf(address: string): string {
  return URL.canParse(address) ? new URL(address).host : "";
}
