// Preparing pages and sending them, each alone and as a job does it, in one run: 2,000 scanned pages, to an sshd with 30 ms
// of round trip at 1 Gbit/s (root only: it makes two network namespaces), or on loopback. What arrived is compared.
//   node bench/pipeline/run.mjs [--pages 2000] [--loopback]        build first
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { PDFDocument } from "pdf-lib";
import sharp from "sharp";
import { main, run, SetupError, step } from "../../scripts/lib/steps.mjs";
import { machine, Site } from "../transfer/site.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
// Beside the build, for the workers that read PDFs are looked for there.
const tool = join(root, "kernel-lib", "dist", "bench-pipeline.cjs");
const PER_FILE = 100;

const { values } = parseArgs({
  options: { pages: { type: "string", default: "2000" }, loopback: { type: "boolean", default: false } },
});
const pages = Number(values.pages);

/** Books of scans of about 1 MB a page. */
async function books(folder) {
  mkdirSync(folder);
  const images = [];
  for (let seed = 0; seed < 8; seed++) {
    const [width, height] = [1240, 1754];
    const noise = { type: "gaussian", mean: 200, sigma: 30 };
    const image = sharp({ create: { width, height, channels: 3, background: "white", noise } });
    images.push(await image.jpeg({ quality: 85 }).toBuffer());
  }
  for (let begin = 0; begin < pages; begin += PER_FILE) {
    const doc = await PDFDocument.create();
    for (let i = 0; i < Math.min(PER_FILE, pages - begin); i++) {
      const image = await doc.embedJpg(images[i % images.length]);
      doc.addPage([595, 842]).drawImage(image, { x: 0, y: 0, width: 595, height: 842 });
    }
    writeFileSync(join(folder, `book-${begin}.pdf`), await doc.save());
  }
}

await main(async () => {
  const site = new Site(0);
  const stop = () => site.close().finally(() => process.exit(130));
  process.once("SIGINT", stop).once("SIGTERM", stop);
  try {
    await step("Tool", async () => {
      await build({
        entryPoints: [join(here, "ours.ts")],
        outfile: tool,
        ...{ bundle: true, platform: "node", format: "cjs", packages: "external", logLevel: "warning" },
        // As scripts/build.mjs has it.
        define: { "import.meta.url": "__importMetaUrl" },
        banner: { js: 'const __importMetaUrl = require("node:url").pathToFileURL(__filename).href;' },
      });
    });
    await step(`${pages} pages`, () => books(site.path("books")));
    site.makeKeys();
    let [host, port, enter] = ["127.0.0.1", "17390", []];
    if (values.loopback) await site.sshd("loopback", host, Number(port));
    else {
      if (process.getuid() !== 0) throw new SetupError("Only root can make the long way: add `--loopback`.");
      const way = await site.delay(15, 1000);
      [host, port, enter] = ["10.77.0.2", "22", way.near];
      await site.sshd("delay", host, 22, way.far);
    }
    const far = site.path("far");
    const measure = async (what) => {
      const command = [
        ...enter,
        process.execPath,
        tool,
        host,
        port,
        site.user,
        site.key,
        what,
        site.path("books"),
        far,
      ];
      const [program, ...args] = command;
      const result = JSON.parse((await run(program, args)).trim().split("\n").at(-1));
      if (what !== "prepare") {
        const datasets = join(far, "datasets");
        const [dataset] = readdirSync(datasets).filter((name) => !name.startsWith("."));
        const { shards } = JSON.parse(readFileSync(join(datasets, dataset, "yale-dataset.json"), "utf8"));
        for (const { file, sha256 } of shards) {
          const [found] = (await run("sha256sum", [join(datasets, dataset, file)])).split(" ");
          if (found !== sha256) throw new Error(`${file} arrived with other bytes.`);
        }
      }
      rmSync(far, { recursive: true, force: true });
      return result;
    };
    const [prepare, upload, both] = [await measure("prepare"), await measure("upload"), await measure("both")];
    const slower = Math.max(prepare.seconds, upload.seconds);
    const gib = (both.bytes / 2 ** 30).toFixed(2);
    console.log(
      `\n${machine()}; ${both.pages} pages, ${gib} GiB; ${values.loopback ? "loopback" : "30 ms, 1 Gbit/s"}\n`,
    );
    for (const [name, { seconds, memory }] of Object.entries({ prepare, upload, both }))
      console.log(`${name.padEnd(8)} ${seconds.toFixed(1).padStart(6)} s ${Math.round(memory / 2 ** 20)} MiB`);
    console.log(`\nboth ÷ the slower of the two: ${(both.seconds / slower).toFixed(2)} (goal: at most 1.15)`);
    console.log(`one after the other it would be ${((prepare.seconds + upload.seconds) / slower).toFixed(2)}`);
  } finally {
    rmSync(tool, { force: true });
    await site.close();
  }
});
