// What the tests need of the operating system. As root on Debian or Ubuntu it is installed; anybody else is told what
// is missing and how to get it. To add one: a line in TEST_PACKAGES, or in test/bed/packages.txt for the toy cluster.
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { root } from "./stamp.mjs";
import { attempt, run, SetupError } from "./steps.mjs";

/** Package, a program by which its presence is known (else dpkg is asked), and what it is for. */
export const TEST_PACKAGES = [
  { package: "chromium", program: "chromium", why: "JupyterLab as people see it" },
  { package: "poppler-utils", program: "pdftotext", why: "another reader of the PDFs that we write" },
  { package: "tesseract-ocr", program: "tesseract", why: "the CPU runner with the system's own Tesseract" },
];

/** What the toy cluster is made of. */
export function bedPackages() {
  const lines = readFileSync(join(root, "test", "bed", "packages.txt"), "utf8").split("\n");
  const names = lines.filter((line) => line !== "" && !line.startsWith("#"));
  return names.map((name) => ({ package: name, why: "the toy cluster (test/bed)" }));
}

/** Services that these packages bring; a machine that had none of them shall not start them with the next boot. */
const UNITS = {
  "mariadb-server": "mariadb.service",
  munge: "munge.service",
  "openssh-server": "ssh.service",
  slurmctld: "slurmctld.service",
  slurmd: "slurmd.service",
  slurmdbd: "slurmdbd.service",
};

function onPath(program) {
  // Services' programs lie where an ordinary user's PATH does not look.
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin", "/sbin"];
  return folders.some((folder) => existsSync(join(folder, program)));
}

/** Names of the packages that dpkg has installed; undefined where there is no dpkg. */
async function installed() {
  if (!onPath("dpkg-query")) return undefined;
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the form is dpkg-query's own.
  const { stdout } = await attempt("dpkg-query", ["-W", "-f", "${Package} ${db:Status-Status}\\n"]);
  const lines = stdout.split("\n").map((line) => line.split(" "));
  return new Set(lines.filter(([, status]) => status === "installed").map(([name]) => name));
}

/** Installs what is missing, or throws a SetupError that says what it is. Returns the names of what was installed. */
export async function installMissing(wanted) {
  const known = await installed();
  // Where there is no dpkg, a package without a program to know it by is left to who uses it: up.sh tells what it lacks.
  const missing = wanted.filter((w) =>
    w.program === undefined ? known !== undefined && !known.has(w.package) : !onPath(w.program),
  );
  if (missing.length === 0) return [];
  const names = missing.map((w) => w.package);
  const words = missing.map((w) => `  ${w.package}${w.program ? ` (${w.program})` : ""}: ${w.why}`).join("\n");
  const command = `apt-get install -y --no-install-recommends ${names.join(" ")}`;
  if (process.getuid?.() !== 0 || !onPath("apt-get"))
    throw new SetupError(
      `These are needed and not on this machine:\n${words}\n\n  → On Debian or Ubuntu: sudo ${command}\n    Elsewhere: install the same with your system's package manager, then run this again.`,
    );
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // Somebody else may be installing at this moment.
  const wait = ["-o", "DPkg::Lock::Timeout=300"];
  // An image may carry no package lists, or old ones that name versions which are gone.
  await attempt("apt-get", [...wait, "update"], { env });
  await withoutStarting(() => run("apt-get", [...wait, "install", "-y", "--no-install-recommends", ...names], { env }));
  const units = names.flatMap((name) => UNITS[name] ?? []);
  // Not on every machine does systemd run; where it does not, nothing is started by it.
  if (units.length > 0 && onPath("systemctl")) await attempt("systemctl", ["disable", "--quiet", ...units]);
  return names;
}

const POLICY = "/usr/sbin/policy-rc.d";
const ASIDE = `${POLICY}.before-yale-jobs`;

/** Does `work` while Debian's own switch keeps packages from starting their services, and puts it back as it was. */
async function withoutStarting(work) {
  // One that was killed here before has left it aside.
  if (!existsSync(ASIDE) && existsSync(POLICY)) renameSync(POLICY, ASIDE);
  writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  const restore = () => {
    if (existsSync(ASIDE)) renameSync(ASIDE, POLICY);
    else rmSync(POLICY, { force: true });
  };
  const interrupted = (signal) => {
    restore();
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  try {
    await work();
  } finally {
    process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
    restore();
  }
}
