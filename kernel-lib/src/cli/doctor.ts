/** `yale doctor`: what works, what does not, and what to do. */
import { type Diagnosis, diagnose } from "../doctor/index.js";
import { yaleOf } from "./core.js";
import type { Flags } from "./flags.js";
import { findingText, print, printJson } from "./terminal.js";

/** `yale doctor [cluster]`. Ends with 1 where a fault was found. */
export async function doctor(cluster: string | undefined, flags: Flags): Promise<void> {
  const found: Diagnosis[] = [];
  const options = {
    ...(typeof flags.config === "string" ? { config: flags.config } : {}),
    ...(cluster === undefined ? {} : { cluster, ask: (name: string) => yaleOf(flags).cluster(name) }),
  };
  let about = "";
  for await (const diagnosis of diagnose(options)) {
    found.push(diagnosis);
    if (flags.json === true) continue;
    if (diagnosis.about !== about) print(`${about === "" ? "" : "\n"}${diagnosis.about}`);
    about = diagnosis.about;
    print(findingText(diagnosis, "  "));
  }
  const faults = found.filter((d) => d.state === "fault").length;
  process.exitCode = faults === 0 ? 0 : 1;
  if (flags.json === true) return printJson(found);
  print(
    `\n${faults === 0 ? "Nothing keeps jobs from running." : `${faults} ${faults === 1 ? "fault" : "faults"} to mend.`}`,
  );
}
