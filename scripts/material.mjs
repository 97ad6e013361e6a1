// Makes notebooks/material/declaration.pdf from declaration.txt beside it: pages set in Caslon and then "scanned", each
// a little askew, on toned paper, with blur, grain and specks, as one full-page JPEG a page. The text file is the truth
// that recognition is measured against, so every word on the pages, running heads and page numbers too, stands there.
//   node scripts/material.mjs        not part of any build: the PDF is kept in the repository
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./lib/stamp.mjs";
import { main, run } from "./lib/steps.mjs";

const require = createRequire(join(root, "kernel-lib", "package.json"));
const { createCanvas, GlobalFonts } = require("@napi-rs/canvas");
const sharp = require("sharp");
const { PDFDocument } = require("pdf-lib");

/** Six by nine inches at 300 dots per inch, an octavo page. */
const DPI = 300;
const WIDTH = 6 * DPI;
const HEIGHT = 9 * DPI;
const MARGIN = { side: 220, top: 250, bottom: 260 };
/** Degrees that each page lies askew, and the side on which the book's fold shades it. */
const PAGES = [
  { skew: 0.5, fold: "left" },
  { skew: -0.35, fold: "right" },
  { skew: 0.3, fold: "left" },
  { skew: -0.5, fold: "right" },
];
const SIZE = 43;
const LEADING = 57;
const FONT = "@fontsource/libre-caslon-text";

await main(async () => {
  await loadFonts();
  const material = join(root, "notebooks", "material");
  const texts = readFileSync(join(material, "declaration.txt"), "utf8").trimEnd().split("\n\f");
  const pdf = await PDFDocument.create();
  pdf.setTitle("The Declaration of Independence (a made scan)");
  // A fixed date: the same script makes the same file.
  for (const set of ["setCreationDate", "setModificationDate"]) pdf[set](new Date("2026-01-01T00:00:00Z"));
  for (const [i, text] of texts.entries()) {
    const jpeg = await scan(typeset(text), PAGES[i % PAGES.length], i + 1);
    const page = pdf.addPage([6 * 72, 9 * 72]);
    page.drawImage(await pdf.embedJpg(jpeg), { x: 0, y: 0, width: 6 * 72, height: 9 * 72 });
    console.log(`page ${i + 1}: ${(jpeg.length / 1024).toFixed(0)} KiB`);
  }
  writeFileSync(join(material, "declaration.pdf"), await pdf.save({ useObjectStreams: false }));
});

/** Libre Caslon Text (SIL Open Font License), from its npm package; only its pictures get into the PDF. */
async function loadFonts() {
  const folder = mkdtempSync(join(tmpdir(), "yale-material-"));
  try {
    await run("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", `${FONT}@5.3.0`]);
    const file = join(folder, "node_modules", FONT, "files", "libre-caslon-text-latin-400-normal.woff2");
    if (!GlobalFonts.register(readFileSync(file), "Caslon")) throw new Error(`${file} can't be read as a font.`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Black on white: heading centred, paragraphs justified, the last one, the page number, at the foot. */
function typeset(text) {
  const canvas = createCanvas(WIDTH, HEIGHT);
  const ink = canvas.getContext("2d");
  ink.fillStyle = "#ffffff";
  ink.fillRect(0, 0, WIDTH, HEIGHT);
  ink.fillStyle = "#000000";
  const paragraphs = text.split("\n\n");
  const folio = paragraphs.pop();
  const measure = WIDTH - 2 * MARGIN.side;
  let y = MARGIN.top;
  for (const paragraph of paragraphs) {
    const head = paragraph === paragraph.toUpperCase();
    ink.font = `${head ? SIZE - 3 : SIZE}px Caslon`;
    const lines = broken(ink, paragraph, measure, head ? 0 : 60);
    for (const [i, words] of lines.entries()) {
      if (head) centred(ink, words.join(" "), y);
      else justified(ink, words, i === 0 ? 60 : 0, measure, y, i === lines.length - 1);
      y += LEADING;
    }
    y += head ? LEADING * 0.6 : 14;
  }
  if (y > HEIGHT - MARGIN.bottom)
    throw new Error(`The page beginning "${text.slice(0, 40)}" is too long by ${y - HEIGHT + MARGIN.bottom} pixels.`);
  ink.font = `${SIZE - 3}px Caslon`;
  centred(ink, folio, HEIGHT - 170);
  return canvas;
}

/** Lines of words, none wider than the measure; the first is indented. No word is divided. */
function broken(ink, paragraph, measure, indent) {
  const lines = [[]];
  for (const word of paragraph.split(/\s+/)) {
    const line = lines.at(-1);
    const room = measure - (lines.length === 1 ? indent : 0);
    if (line.length > 0 && ink.measureText([...line, word].join(" ")).width > room) lines.push([word]);
    else line.push(word);
  }
  return lines;
}

function centred(ink, text, y) {
  ink.fillText(text, (WIDTH - ink.measureText(text).width) / 2, y);
}

function justified(ink, words, indent, measure, y, last) {
  const natural = words.reduce((sum, word) => sum + ink.measureText(word).width, 0);
  const space = last ? ink.measureText(" ").width : (measure - indent - natural) / Math.max(1, words.length - 1);
  let x = MARGIN.side + indent;
  for (const word of words) {
    ink.fillText(word, x, y);
    x += ink.measureText(word).width + space;
  }
}

/** The page as a flatbed would give it. */
async function scan(canvas, { skew, fold }, seed) {
  const { data } = await sharp(canvas.toBuffer("image/png"))
    .rotate(skew, { background: "#ffffff" })
    .resize(WIDTH, HEIGHT, { fit: "cover" })
    .grayscale()
    .blur(0.9)
    .raw()
    .toBuffer({ resolveWithObject: true });
  const random = generator(seed);
  const specks = Array.from({ length: 60 }, () => [random() * WIDTH, random() * HEIGHT, 1 + random() * 2.2]);
  const spotted = new Float32Array(WIDTH * HEIGHT);
  for (const [sx, sy, r] of specks)
    for (let y = Math.max(0, Math.floor(sy - r)); y < Math.min(HEIGHT, sy + r); y++)
      for (let x = Math.max(0, Math.floor(sx - r)); x < Math.min(WIDTH, sx + r); x++)
        if ((x - sx) ** 2 + (y - sy) ** 2 < r * r) spotted[y * WIDTH + x] = 0.5;
  const pixels = Buffer.alloc(WIDTH * HEIGHT * 3);
  for (let y = 0; y < HEIGHT; y++)
    for (let x = 0; x < WIDTH; x++) {
      const i = y * WIDTH + x;
      // Ink is never black nor even, paper never white: the fold's shade falls off within an inch and a half.
      const ink = Math.max((255 - data[i]) / 255, spotted[i]) * 0.86;
      const inward = fold === "left" ? x : WIDTH - x;
      const shade = 1 - 0.16 * Math.exp(-inward / 130) - 0.025 * Math.sin(x / 390 + seed) * Math.sin(y / 510);
      const grain = (random() + random() + random() - 1.5) * 11;
      for (const [c, paper] of [241, 233, 214].entries())
        pixels[i * 3 + c] = Math.max(0, Math.min(255, paper * shade * (1 - ink) + [38, 32, 30][c] * ink + grain));
    }
  return sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
    .withMetadata({ density: DPI })
    .jpeg({ quality: 70, mozjpeg: true })
    .toBuffer();
}

/** Random numbers from 0 to 1, the same on every machine (mulberry32). */
function generator(seed) {
  let state = seed * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
