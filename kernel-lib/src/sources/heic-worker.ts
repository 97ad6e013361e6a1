/** Decodes one HEIC image in a thread of its own: WebAssembly holds its thread for as long as it works. */
import { parentPort, workerData } from "node:worker_threads";

void (async () => {
  // LGPL: it stays a package of its own, outside the bundle.
  const { default: decode } = await import("heic-decode");
  const { width, height, data } = await decode({ buffer: workerData as Uint8Array });
  parentPort?.postMessage({ width, height, data: new Uint8Array(data.buffer) }, [data.buffer as ArrayBuffer]);
})();
