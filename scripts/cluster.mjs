// `npm run cluster:up` and `npm run cluster:down`: a toy cluster on this machine, with SLURM and login nodes that ask for
// a second factor, to try Yale Jobs on. test/bed/README.md says what there is.
//   node scripts/cluster.mjs up|down     NAME=, STATE= and PORT0= as in test/bed/up.sh
import { join } from "node:path";
import { bedPackages, installMissing } from "./lib/debian.mjs";
import { root } from "./lib/stamp.mjs";
import { attached, main, SetupError, step } from "./lib/steps.mjs";

const script = (name) => join(root, "test", "bed", `${name}.sh`);

await main(async () => {
  const what = process.argv[2];
  if (what !== "up" && what !== "down") throw new SetupError("node scripts/cluster.mjs up|down");
  if (process.platform !== "linux")
    throw new SetupError(
      "The toy cluster needs Linux: it starts SLURM and sshd.\n  → Run it in a container of Debian 12, as root.",
    );
  if (process.getuid() !== 0)
    throw new SetupError(
      `The toy cluster starts daemons as several users and makes two users of its own, for which it must be root.\n  → Run \`sudo npm run cluster:${what}\`, or run it in a container.`,
    );
  if (what === "up")
    await step("programs of the system", async () => {
      const names = await installMissing(bedPackages());
      return names.length === 0 ? "all there" : `installed ${names.join(", ")}`;
    });
  return attached(script(what), [], { cwd: root });
});
