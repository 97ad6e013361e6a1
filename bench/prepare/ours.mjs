// Our way, in a process of its own, so that its peak of memory is its own: ours.mjs KIND SOURCE FOLDER DPI
import { createRequire } from "node:module";

const { Yale } = createRequire(import.meta.url)("../../kernel-lib/dist/index.cjs");
const [kind, source, folder, dpi] = process.argv.slice(2);
const began = performance.now();
const yale = new Yale();
const pages = kind === "pdf" ? yale.pdf(source, { dpi: Number(dpi) }) : yale.directory(source);
const info = await pages.toDataset(folder);
const peak = process.resourceUsage().maxRSS * 1024;
console.log(JSON.stringify({ pages: info.pages, seconds: (performance.now() - began) / 1000, peak }));
process.exit(0);
