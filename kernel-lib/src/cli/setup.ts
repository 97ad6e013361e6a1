/** `yale setup`: Yale Jobs in the person's JupyterLab. */
import { check, type SetupOptions, setUp, uninstall } from "../setup/index.js";
import type { Flags } from "./flags.js";
import { findingText, print, printJson } from "./terminal.js";

/** `yale setup [--check|--uninstall]`. */
export async function setup(flags: Flags): Promise<void> {
  const text = (value: unknown) => (typeof value === "string" ? value : undefined);
  const [python, tslab] = [text(flags.python), text(flags.tslab)];
  const options: SetupOptions = {
    ...(python === undefined ? {} : { python }),
    ...(tslab === undefined ? {} : { tslab }),
    force: flags.force === true,
    kernelOnly: flags.kernelOnly === true,
    say: (line) => print(`  ${line}`),
  };
  if (flags.check === true) {
    const findings = await check(options);
    const missing = findings.filter((f) => !f.ok);
    if (flags.json === true) printJson(findings);
    else {
      for (const { what, ok, fix } of findings) print(findingText({ state: ok ? "ok" : "fault", what, fix }));
      print(missing.length === 0 ? "All is there." : "");
    }
    process.exitCode = missing.length === 0 ? 0 : 1;
    return;
  }
  if (flags.uninstall === true) {
    await uninstall(options);
    print("Yale Jobs is out of this JupyterLab. Jobs, results and settings stay where they are.");
    return;
  }
  await setUp(options);
  print("Yale Jobs is in this JupyterLab: start it, or restart it if it runs.");
}
