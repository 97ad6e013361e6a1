// Opens the first notebook in JupyterLab, set up so that it runs: on this machine only, behind Jupyter's own token.
//   npm start [-- arguments of jupyter lab]
import { join } from "node:path";
import { root } from "./lib/stamp.mjs";
import { attached, main } from "./lib/steps.mjs";
import { jupyterEnv, places, setUp } from "./setup.mjs";

await main(async () => {
  await setUp("start");
  console.log("Starting JupyterLab. It prints its address below; Ctrl+C twice ends it.\n");
  // Python on macOS and Windows opens a browser by itself; on Linux only where there is a screen.
  const screen = process.platform !== "linux" || process.env.DISPLAY || process.env.WAYLAND_DISPLAY;
  return attached(
    places.python,
    [
      ...["-m", "jupyter", "lab", join(root, "notebooks", "simple_ocr.ipynb")],
      ...[`--ServerApp.root_dir=${root}`, "--ServerApp.ip=127.0.0.1"],
      // Neither asks the network for news on the first start.
      "--LabApp.news_url=None",
      "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
      ...(screen ? [] : ["--no-browser"]),
      ...(process.getuid?.() === 0 ? ["--allow-root"] : []),
      ...process.argv.slice(2),
    ],
    { env: jupyterEnv() },
  );
});
