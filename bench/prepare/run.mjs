// Pages to a dataset: us and the Python way (pypdfium2, Pillow, Dataset.save_to_disk) in turn, in one run. Prints pages
// per second, peak memory and the ratios, and whether memory stays flat from 100 to 2,000 pages.
//   node bench/prepare/run.mjs        a few minutes; build and `node scripts/setup.mjs test` first
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { degrees, PDFDocument, StandardFonts } from "pdf-lib";
import sharp from "sharp";

const here = dirname(fileURLToPath(import.meta.url));
const made = join(here, "..", "..", ".yale");
const folder = mkdtempSync(join(tmpdir(), "yale-bench-"));
process.env.XDG_CACHE_HOME = join(folder, "cache");

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let error = "";
    child.stdout.on("data", (text) => {
      out += text;
    });
    child.stderr.on("data", (text) => {
      error += text;
    });
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 ? resolve(out) : reject(new Error(`${command} ended with ${code}: ${error}`)),
    );
  });
}

/** The tests' Python, with pypdfium2 beside it in an environment of the benchmark's own. */
async function python() {
  const venv = join(made, "bench");
  const bin = join(venv, "bin", "python");
  if (!existsSync(bin)) {
    await run("python3", ["-m", "venv", venv]);
    await run(bin, ["-m", "pip", "install", "-q", "pypdfium2==5.14.0", "pillow", "datasets==5.2.0"]);
  }
  return bin;
}

const words = "the library keeps letters, volumes and catalogues of every kind for those who come to read them ".split(
  " ",
);

async function bornDigital(path, pages) {
  const doc = await PDFDocument.create();
  const fonts = [];
  for (const name of [StandardFonts.TimesRoman, StandardFonts.Helvetica, StandardFonts.Courier])
    fonts.push(await doc.embedFont(name));
  for (let p = 0; p < pages; p++) {
    const page = doc.addPage([595, 842]);
    for (let line = 0; line < 60; line++) {
      const text = Array.from({ length: 13 }, (_, i) => words[(p * 7 + line * 13 + i) % words.length]).join(" ");
      // Each call gives the font a name of its own on the page; other programs name each once.
      if (line % 20 === 0) page.setFont(fonts[line / 20]);
      page.drawText(text, { x: 50, y: 800 - line * 12.5, size: 9.5 });
    }
  }
  writeFileSync(path, await doc.save());
}

/** A page as a scanner gives it: paper, grain, dark lines. */
async function scan(seed, width = 2480, height = 3508) {
  const raw = Buffer.alloc(width * height * 3);
  let state = seed * 2654435761 + 1;
  for (let i = 0; i < raw.length; i += 3) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    const grain = state >>> 27;
    const y = Math.floor(i / 3 / width);
    const ink = y % 50 < 12 && (state >>> 8) % 3 === 0;
    raw[i] = (ink ? 40 : 216) + grain;
    raw[i + 1] = (ink ? 36 : 208) + grain;
    raw[i + 2] = (ink ? 30 : 190) + grain;
  }
  return sharp(raw, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 80 })
    .toBuffer();
}

async function scanned(path, images, turned) {
  const doc = await PDFDocument.create();
  for (const image of images) {
    const jpeg = await doc.embedJpg(image);
    const page = doc.addPage([595, 842]);
    page.drawImage(jpeg, { x: 0, y: 0, width: 595, height: 842 });
    // A stamp on top of a scan has to be rendered with it.
    if (turned) page.drawText("seen", { x: 500, y: 20, size: 12, rotate: degrees(10) });
  }
  writeFileSync(path, await doc.save());
}

const mib = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;

try {
  const bin = await python();
  const images = [];
  for (let i = 0; i < 10; i++) images.push(await scan(i));
  const corpus = {
    "born digital, 200 dpi": ["pdf", join(folder, "born.pdf"), 200, 100],
    "scanned JPEG, 300 dpi": ["pdf", join(folder, "scan.pdf"), 300, 40],
    "scan to be rendered, 200 dpi": ["pdf", join(folder, "stamped.pdf"), 200, 30],
    "folder of images": ["directory", join(folder, "images"), 0, 30],
  };
  await bornDigital(join(folder, "born.pdf"), 100);
  await scanned(join(folder, "scan.pdf"), [...images, ...images, ...images, ...images], false);
  await scanned(join(folder, "stamped.pdf"), [...images, ...images, ...images], true);
  mkdirSync(join(folder, "images"));
  for (let i = 0; i < 30; i++) writeFileSync(join(folder, "images", `page${i}.jpg`), images[i % 10]);

  console.log("                                 ours              Python            ratio   memory");
  for (const [name, [kind, source, dpi, pages]] of Object.entries(corpus)) {
    const results = [];
    for (const [who, command, script] of [
      ["ours", process.execPath, "ours.mjs"],
      ["python", bin, "rival.py"],
    ]) {
      const out = join(folder, `${who}-${results.length}`);
      const said = await run(command, [join(here, script), kind, source, out, String(dpi)]);
      const result = JSON.parse(said.trim().split("\n").at(-1));
      if (result.pages !== pages) throw new Error(`${who}: ${result.pages} of ${pages} pages`);
      results.push(result);
      rmSync(out, { recursive: true, force: true });
    }
    const [a, b] = results;
    const pace = (r) => `${(r.pages / r.seconds).toFixed(2)} p/s ${mib(r.peak)}`.padEnd(18);
    const ratio = (b.seconds / b.pages / (a.seconds / a.pages)).toFixed(1).padStart(6);
    console.log(
      `${name.padEnd(32)} ${pace(a)}${pace(b)}${ratio} ${(b.peak / a.peak).toFixed(1).padStart(7)} times less`,
    );
  }

  const peaks = [];
  for (const pages of [100, 2000]) {
    await bornDigital(join(folder, `${pages}.pdf`), pages);
    const args = [join(here, "ours.mjs"), "pdf", join(folder, `${pages}.pdf`), join(folder, `out-${pages}`), "72"];
    peaks.push(JSON.parse((await run(process.execPath, args)).trim()).peak);
    rmSync(join(folder, `out-${pages}`), { recursive: true, force: true });
  }
  console.log(`\npeak memory: ${mib(peaks[0])} for 100 pages, ${mib(peaks[1])} for 2,000`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
