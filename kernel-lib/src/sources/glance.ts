/** What is at an address, found out with one request for all kinds of sources that want to know it. */
import { Downloader, httpUrl, NoJsonError } from "./download.js";

/** A JSON document, or the first bytes of whatever else is there. */
export type Glance = { json: unknown } | { first: Uint8Array };

const looking = new Map<string, Promise<Glance>>();

/** True for an address that is called like an image or PDF. */
export function isNamedAsPicture(location: string): boolean {
  return /\.(jpe?g|png|tiff?|webp|gif|jp2|pdf)$/i.test(httpUrl(location).pathname);
}

/**
 * Looks at an address. A document is kept by the cache, so that reading it afterwards asks for nothing; of anything else
 * only the beginning is fetched. Who asks while another does gets the same answer. Throws DownloadError.
 */
export function glance(location: string): Promise<Glance> {
  const running = looking.get(location) ?? look(location).finally(() => looking.delete(location));
  looking.set(location, running);
  return running;
}

async function look(location: string): Promise<Glance> {
  try {
    const bytes = await new Downloader({ maxBytes: 64 << 20 }).bytes(location, { as: "json" });
    try {
      return { json: JSON.parse(new TextDecoder().decode(bytes)) };
    } catch {
      // An image that the cache had.
      return { first: bytes.subarray(0, 4096) };
    }
  } catch (error) {
    if (error instanceof NoJsonError) return { first: error.first };
    throw error;
  }
}
