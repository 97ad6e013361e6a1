// Builds labextension/dist/labextension: what JupyterLab loads. JupyterLab loads extensions as containers of Module
// Federation, which are an object with `init` and `get`; everything of JupyterLab's that the extension uses comes from
// the page's own copy. So esbuild, which the repository has, makes one in a tenth of a second, and JupyterLab's builder
// package (webpack and 65 MB) is not needed.
//   node labextension/build.mjs
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const manifest = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

/** Where the prebuilt extension is put. */
export const extensionFolder = join(here, "dist", "labextension");

export async function buildExtension() {
  const { metafile, outputFiles } = await build({
    absWorkingDir: here,
    entryPoints: ["src/index.ts"],
    bundle: true,
    platform: "browser",
    format: "cjs",
    target: "es2022",
    external: ["@jupyterlab/*", "@lumino/*", "react", "react-dom"],
    alias: { "yale-jobs/protocol": join(here, "..", "kernel-lib", "src", "protocol.ts") },
    loader: { ".svg": "text" },
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    metafile: true,
    write: false,
    logLevel: "warning",
  });
  const shared = Object.values(metafile.outputs).flatMap((o) => o.imports.filter((i) => i.external).map((i) => i.path));
  const css = await build({
    entryPoints: [join(here, "style", "index.css")],
    bundle: true,
    minify: true,
    write: false,
  });
  const script = container([...new Set(shared)].sort(), outputFiles[0].text, css.outputFiles[0].text);

  rmSync(extensionFolder, { recursive: true, force: true });
  mkdirSync(join(extensionFolder, "static"), { recursive: true });
  // The name changes with the content: Jupyter lets browsers keep it for ever.
  const load = `static/remoteEntry.${createHash("sha256").update(script).digest("hex").slice(0, 20)}.js`;
  writeFileSync(join(extensionFolder, load), script);
  cpSync(join(here, "schema"), join(extensionFolder, "schemas", manifest.name), { recursive: true });
  const { name, version, description, license } = manifest;
  // `jupyter labextension list` holds these against the JupyterLab that is installed.
  const dependencies = { "@jupyterlab/application": "^4.4.0" };
  const jupyterlab = {
    extension: true,
    schemaDir: "schema",
    _build: { load, extension: "./extension", style: "./style" },
  };
  writeFileSync(
    join(extensionFolder, "package.json"),
    `${JSON.stringify({ name, version, description, license, dependencies, jupyterlab }, null, 2)}\n`,
  );
}

/** The container: takes JupyterLab's modules from the page when it is asked for ours. */
function container(shared, code, css) {
  return `(() => {
const shared = ${JSON.stringify(shared)};
let scope, loading;
async function load() {
  const modules = {};
  await Promise.all(shared.map(async (name) => {
    const offers = Object.values(scope[name] ?? {});
    const offer = offers.find((o) => o.loaded) ?? offers.at(-1);
    if (offer === undefined) throw new Error("This JupyterLab has no " + name + ".");
    modules[name] = (await offer.get())();
  }));
  const module = { exports: {} };
  ((module, exports, require) => {
${code}
  })(module, module.exports, (name) => modules[name]);
  return module.exports;
}
(window._JUPYTERLAB ??= {})[${JSON.stringify(manifest.name)}] = {
  init(given) { scope = given; },
  async get(name) {
    if (name === "./style") return () => {
      const style = document.createElement("style");
      style.textContent = ${JSON.stringify(css)};
      document.head.append(style);
      return {};
    };
    const extension = await (loading ??= load());
    return () => extension;
  },
};
})();
`;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await buildExtension();
