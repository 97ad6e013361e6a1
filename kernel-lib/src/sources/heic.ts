/**
 * HEIC, as telephones take photographs. sharp's binaries leave it out for its patents, and PIL does not open it; libheif's
 * WebAssembly build reads it.
 */
import { Worker } from "node:worker_threads";
import { DatasetError } from "../errors.js";
import { loadSharp } from "../images.js";
import { distFile } from "../paths.js";

/** Milliseconds after which an image is given up. */
const LIMIT = 60_000;
/** Quality of the JPEG that it becomes; HEIC has lost more than that already. */
const QUALITY = 95;

/** The (first) picture of a HEIC file as a JPEG, upright. Throws DatasetError for a damaged one. */
export async function heicToJpeg(bytes: Uint8Array): Promise<{ image: Uint8Array; width: number; height: number }> {
  const raw = await decoded(bytes).catch((cause: unknown) => {
    throw new DatasetError(
      `The image (HEIC, ${bytes.length} bytes) can't be decoded: ${(cause as Error).message.split("\n")[0]}.`,
      "It is truncated or damaged; get it again, or convert it to JPEG.",
      { cause },
    );
  });
  const sharp = await loadSharp();
  const { data, info } = await sharp(raw.data, { raw: { width: raw.width, height: raw.height, channels: 4 } })
    .flatten({ background: "white" })
    .jpeg({ quality: QUALITY, chromaSubsampling: "4:4:4" })
    .toBuffer({ resolveWithObject: true });
  return { image: new Uint8Array(data), width: info.width, height: info.height };
}

function decoded(bytes: Uint8Array): Promise<{ width: number; height: number; data: Uint8Array }> {
  return new Promise((resolve, reject) => {
    // libheif prints what it dislikes; the error says it.
    const worker = new Worker(distFile("heic-worker.cjs"), { workerData: bytes, stdout: true, stderr: true });
    const timer = setTimeout(() => void worker.terminate(), LIMIT);
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => {
      clearTimeout(timer);
      reject(new Error("it took too long, or the decoder ended"));
    });
  });
}
