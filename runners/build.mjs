// Builds each TypeScript runner into a folder that needs nothing beside it but Node, so that it can be brought to a
// cluster as it is. Called by scripts/build.mjs.
import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const require = createRequire(import.meta.url);
const here = dirname(fileURLToPath(import.meta.url));

/** The card at the head of a source file, which bundling would drop. */
function card(file) {
  const [block] = /^\/\/ \/\/\/ script\n(?:\/\/.*\n)*?\/\/ \/\/\/\n/m.exec(readFileSync(file, "utf8")) ?? [];
  if (block === undefined) throw new Error(`${file} has no card.`);
  return block;
}

const common = {
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node20",
  legalComments: "none",
  logLevel: "warning",
};

/** Builds all runners into `out/<name>/`. */
export async function buildRunners(out) {
  const main = join(here, "tesseract", "main.ts");
  const folder = join(out, "tesseract");
  await build({
    ...common,
    entryPoints: [main],
    outfile: join(folder, "main.cjs"),
    banner: { js: card(main) },
    external: ["sharp"],
  });
  // tesseract.js's own worker script; the engine cores stay files, since they load their .wasm from beside themselves.
  await build({
    ...common,
    entryPoints: [join(dirname(require.resolve("tesseract.js/package.json")), "src/worker-script/node/index.js")],
    outfile: join(folder, "worker.cjs"),
    external: ["node-fetch"],
    plugins: [
      {
        name: "cores-beside",
        setup: (b) => {
          // In Node, tesseract.js 7.0.0 asks for the large cores even where it is told that only the LSTM is used.
          b.onResolve({ filter: /^tesseract\.js-core\// }, ({ path }) => ({
            path: `./core/${path.slice("tesseract.js-core/".length).replace(/(-lstm)?$/, "-lstm")}.js`,
            external: true,
          }));
        },
      },
    ],
  });
  // Three variants of the core, by what the processor can do; the LSTM alone is used, so the smaller ones do.
  const cores = dirname(require.resolve("tesseract.js-core/package.json"));
  mkdirSync(join(folder, "core"), { recursive: true });
  for (const variant of ["relaxedsimd-lstm", "simd-lstm", "lstm"])
    for (const ending of ["js", "wasm"])
      cpSync(
        join(cores, `tesseract-core-${variant}.${ending}`),
        join(folder, "core", `tesseract-core-${variant}.${ending}`),
      );
  const english = dirname(require.resolve("@tesseract.js-data/eng/package.json"));
  // 3 MB instead of 11 MB, and the same error rate on the measured pages.
  cpSync(join(english, "4.0.0_best_int", "eng.traineddata.gz"), join(folder, "lang", "eng.traineddata.gz"));
}
