// Builds kernel-lib/dist: one CommonJS bundle per door or process, the declarations, and the runners; and the
// JupyterLab extension. The extension's wheel is made by setup.mjs, which has a Python to do so.
//   node scripts/build.mjs   takes about three seconds
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const require = createRequire(import.meta.url);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const lib = join(root, "kernel-lib");
const dist = join(lib, "dist");
const manifest = JSON.parse(readFileSync(join(lib, "package.json"), "utf8"));

// Small pure-JavaScript dependencies are inlined: a CommonJS bundle can take ESM-only packages in, and the first cell
// and the CLI start without walking node_modules. What has native code, workers or data files beside it stays outside.
const external = [
  "@napi-rs/canvas",
  "@tesseract.js-data/eng",
  "apache-arrow",
  "heic-decode",
  "pdfjs-dist",
  "sharp",
  "ssh2",
  "tesseract.js",
];

// Every entry is a door or a process of its own.
const entries = {
  index: "src/index.ts",
  protocol: "src/protocol.ts",
  cli: "src/cli/main.ts",
  agent: "src/agent/main.ts",
  askpass: "src/cluster/askpass.ts",
  "kernel-launcher": "src/kernel/launcher.ts",
  "local-scheduler": "src/schedulers/local-daemon.ts",
  "heic-worker": "src/sources/heic-worker.ts",
  "pdf-worker": "src/sources/pdf-worker.ts",
};

export async function buildLibrary() {
  // Built beside and then exchanged: a job or test that runs meanwhile finds the old files or the new ones.
  const next = `${dist}.next`;
  rmSync(next, { recursive: true, force: true });
  await build({
    absWorkingDir: lib,
    entryPoints: entries,
    outdir: next,
    outExtension: { ".js": ".cjs" },
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    external: external.flatMap((name) => [name, `${name}/*`]),
    define: { "import.meta.url": "__importMetaUrl" },
    banner: { js: 'const __importMetaUrl = require("node:url").pathToFileURL(__filename).href;' },
    sourcemap: "linked",
    sourcesContent: false,
    legalComments: "none",
    logLevel: "warning",
  });
  const tsc = spawnSync(
    process.execPath,
    [
      join(dirname(require.resolve("typescript/package.json")), "bin/tsc"),
      ...["-p", lib, "--outDir", join(next, "types"), "--tsBuildInfoFile", join(next, ".tsbuildinfo")],
    ],
    { stdio: "inherit" },
  );
  if (tsc.status !== 0) throw new Error("The declarations could not be built: see the messages of tsc above.");
  const { buildRunners } = await import(pathToFileURL(join(root, "runners", "build.mjs")).href);
  await buildRunners(join(next, "runners"));
  mkdirSync(join(next, "tools"));
  copyFileSync(join(root, "runners", "tools", "model_check.py"), join(next, "tools", "model_check.py"));
  // The dictionary by which the quality of English text is judged; as files, since no cell should load it for nothing.
  mkdirSync(join(next, "dictionary"));
  const dictionary = dirname(require.resolve("dictionary-en"));
  for (const end of ["aff", "dic"])
    copyFileSync(join(dictionary, `index.${end}`), join(next, "dictionary", `en.${end}`));
  copyFileSync(join(dictionary, "license"), join(next, "dictionary", "LICENSE"));
  // What `yale setup` installs tslab from. npm leaves a package-lock.json out of a package, and not a shrinkwrap.
  const kernel = join(root, "scripts", "tslab");
  mkdirSync(join(next, "tslab"));
  copyFileSync(join(kernel, "package.json"), join(next, "tslab", "package.json"));
  copyFileSync(join(kernel, "package-lock.json"), join(next, "tslab", "npm-shrinkwrap.json"));
  const old = `${dist}.old`;
  rmSync(old, { recursive: true, force: true });
  if (existsSync(dist)) renameSync(dist, old);
  renameSync(next, dist);
  rmSync(old, { recursive: true, force: true });
  return manifest.version;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await buildLibrary();
  const { buildExtension } = await import(pathToFileURL(join(root, "labextension", "build.mjs")).href);
  await buildExtension();
}
