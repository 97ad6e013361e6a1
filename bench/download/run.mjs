// How long 500 canvases take from a server that answers after 300 ms and refuses more than 8 requests at once: our
// source, and what the Python way does (one request after another). Prints pages per second and the ratio; checks that
// every page came whole, once and in order, and how often the server had to refuse.
//   node bench/download/run.mjs [canvases]        about half a minute; build first (npm run build)
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";

const CANVASES = Number(process.argv[2] ?? 500);
const LATENCY = 300;
const ALLOWED = 8;
/** Requests that the slow way makes before its time for all is worked out. */
const SAMPLE = 40;

const folder = mkdtempSync(join(tmpdir(), "yale-bench-"));
process.env.XDG_CACHE_HOME = join(folder, "cache");
const { Yale } = createRequire(import.meta.url)("../../kernel-lib/dist/index.cjs");

const noise = Buffer.from(Array.from({ length: 600 * 800 * 3 }, (_, i) => ((i * 2654435761) >>> 13) & 255));
const image = await sharp(noise, { raw: { width: 600, height: 800, channels: 3 } })
  .jpeg()
  .toBuffer();

let now = 0;
let most = 0;
let refused = 0;
let over = 0;
const server = createServer((request, response) => {
  now += 1;
  most = Math.max(most, now);
  if (now > ALLOWED) over += 1;
  response.on("close", () => {
    now -= 1;
  });
  if (now > ALLOWED) {
    refused += 1;
    response.writeHead(429, { "retry-after": "1" }).end();
    return;
  }
  setTimeout(() => {
    response.writeHead(200, { "content-type": "image/jpeg", "content-length": image.length, etag: `"${request.url}"` });
    response.end(image);
  }, LATENCY);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const base = `http://127.0.0.1:${server.address().port}`;

try {
  const items = Array.from({ length: CANVASES }, (_, i) => ({
    id: `${base}/canvas/${i}`,
    type: "Canvas",
    items: [{ items: [{ motivation: "painting", body: { id: `${base}/${i}.jpg`, type: "Image" } }] }],
  }));
  const manifest = join(folder, "manifest.json");
  writeFileSync(
    manifest,
    JSON.stringify({ id: `${base}/manifest`, type: "Manifest", label: { en: ["Bench"] }, items }),
  );

  const sum = createHash("sha1").update(image).digest("hex");
  let from = performance.now();
  let next = 0;
  for await (const page of new Yale().iiif(manifest).pages()) {
    if ("fault" in page) throw new Error(`lost: ${page.fault.reason}`);
    if (page.key !== `${base}/canvas/${next}`) throw new Error(`out of order: ${page.key}`);
    if (createHash("sha1").update(page.image).digest("hex") !== sum) throw new Error(`not the same bytes: ${page.key}`);
    next += 1;
  }
  if (next !== CANVASES) throw new Error(`${next} of ${CANVASES} pages came`);
  const ours = (performance.now() - from) / 1000;

  from = performance.now();
  // Not spawnSync: the server lives in this process.
  const python = spawn(
    "python3",
    ["-c", `import sys, urllib.request\nfor i in range(${SAMPLE}): urllib.request.urlopen(f"${base}/s{i}.jpg").read()`],
    { stdio: "inherit" },
  );
  await new Promise((done) => python.on("close", done));
  const sequential = (((performance.now() - from) / 1000) * CANVASES) / SAMPLE;

  console.log(`${CANVASES} canvases, ${LATENCY} ms latency, ${ALLOWED} at once allowed`);
  console.log(`  ours        ${ours.toFixed(1)} s  ${(CANVASES / ours).toFixed(1)} pages/s`);
  console.log(
    `  sequential  ${sequential.toFixed(1)} s  ${(CANVASES / sequential).toFixed(1)} pages/s (Python, from ${SAMPLE} of them)`,
  );
  console.log(`  ratio       ${(sequential / ours).toFixed(1)}`);
  console.log(
    `  refused     ${refused} of ${CANVASES + refused}; most at once ${most}; requests above the limit ${over}`,
  );
} finally {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
}
