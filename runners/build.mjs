// Builds each runner into a folder that can be brought to a cluster as it is: those in TypeScript need nothing beside it
// but Node, those in Python what their head says. Called by scripts/build.mjs.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { parse } from "smol-toml";

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

/** Tables of a TOML text, each with its head line. */
function tables(toml) {
  return toml.split(/^(?=\[)/m).filter((t) => t.startsWith("["));
}

/** A folder for each file of `cards/`: the runner for vision models with that card at its head. */
function packCards(out) {
  const options = tables(readFileSync(join(here, "vision", "options.toml"), "utf8"));
  for (const file of readdirSync(join(here, "cards")).filter((n) => n.endsWith(".py"))) {
    const source = readFileSync(join(here, "cards", file), "utf8");
    const head = /^# \/\/\/ script\n((?:#.*\n)*?)# \/\/\/\n/.exec(source);
    if (head === null) throw new Error(`${file} has no card.`);
    const toml = head[1].replace(/^# ?/gm, "");
    const own = tables(toml).map((t) => t.slice(0, t.indexOf("\n")));
    const start = 'command = ["bash", "runner/start.sh"]\n';
    const whole = toml.replace("[tool.yale-jobs]\n", (line) => line + start);
    const all = whole + options.filter((t) => !own.includes(t.slice(0, t.indexOf("\n")))).join("");
    const { tool, dependencies } = parse(all);
    const about = tool["yale-jobs"];
    if (file !== `${about.name}.py`) throw new Error(`${file} is the card of ${about.name}.`);
    const folder = join(out, about.name);
    mkdirSync(folder, { recursive: true });
    const lines = all.trimEnd().replace(/^/gm, "# ").replace(/ +$/gm, "");
    writeFileSync(join(folder, "main.py"), `# /// script\n${lines}\n# ///\n${source.slice(head[0].length)}`);
    // Python reads TOML from 3.11 on only.
    const json = { ...about, python: { dependencies, server: about.server } };
    writeFileSync(join(folder, "card.json"), `${JSON.stringify(json, null, 2)}\n`);
    for (const name of ["start.sh", "check.py"]) cpSync(join(here, "vision", name), join(folder, name));
    for (const room of ["vision", "common"]) {
      mkdirSync(join(folder, room));
      for (const name of readdirSync(join(here, room)))
        if (name.endsWith(".py") && name !== "check.py") cpSync(join(here, room, name), join(folder, room, name));
    }
  }
}

/** Builds all runners into `out/<name>/`. */
export async function buildRunners(out) {
  packCards(out);
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
