// What the tests need of the operating system. As root on Debian or Ubuntu it is installed; anybody else is told what
// is missing and how to get it. To add one: a line in this list.
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { attempt, run, SetupError } from "./steps.mjs";

/** Package, a program by which its presence is known, and what it is for. */
export const TEST_PACKAGES = [
  { package: "openssh-client", program: "ssh", why: "lines to clusters" },
  { package: "openssh-server", program: "sshd", why: "a cluster to reach by SSH, on this machine" },
  { package: "tesseract-ocr", program: "tesseract", why: "the CPU runner with the system's own Tesseract" },
];

function onPath(program) {
  // Services' programs lie where an ordinary user's PATH does not look.
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin", "/sbin"];
  return folders.some((folder) => existsSync(join(folder, program)));
}

/** Installs what is missing, or throws a SetupError that says what it is. Returns the names of what was installed. */
export async function installMissing(wanted) {
  const missing = wanted.filter((w) => !onPath(w.program));
  if (missing.length === 0) return [];
  const names = missing.map((w) => w.package);
  const words = missing.map((w) => `  ${w.package} (${w.program}): ${w.why}`).join("\n");
  const command = `apt-get install -y --no-install-recommends ${names.join(" ")}`;
  if (process.getuid?.() !== 0 || !onPath("apt-get"))
    throw new SetupError(
      `These are needed and not on this machine:\n${words}\n\n  → On Debian or Ubuntu: sudo ${command}\n    Elsewhere: install the same with your system's package manager, then run this again.`,
    );
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // An image may carry no package lists, or old ones that name versions which are gone.
  await attempt("apt-get", ["update"], { env });
  await run("apt-get", ["install", "-y", "--no-install-recommends", ...names], { env });
  return names;
}
