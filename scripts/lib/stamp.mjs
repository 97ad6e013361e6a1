// Stamps: files that hold the hash of what a step was made from, so that a second run knows there is nothing to do.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** What the set-up makes: everything is in this folder, and deleting it loses nothing but time. */
export const made = join(root, ".yale");

/** Hash of words, and of files or whole folders (relative to the checkout). */
export function hashOf(words, ...paths) {
  const hash = createHash("sha256");
  for (const word of words) hash.update(`${word}\0`);
  const add = (path) => {
    const full = join(root, path);
    if (!existsSync(full)) return;
    if (statSync(full).isDirectory()) for (const name of readdirSync(full).sort()) add(join(path, name));
    else hash.update(`${path}\0`).update(readFileSync(full));
  };
  for (const path of paths) add(path);
  return hash.digest("hex");
}

/** True if the step of this name was last done with this hash. */
export function isStamped(name, hash) {
  const file = join(made, "stamps", name);
  return existsSync(file) && readFileSync(file, "utf8") === hash;
}

/** Remembers that the step was done. */
export function stamp(name, hash) {
  mkdirSync(join(made, "stamps"), { recursive: true });
  writeFileSync(join(made, "stamps", name), hash);
}

/** Hash of everything that the build reads. */
export function sourcesHash() {
  return hashOf(
    [process.version],
    "package-lock.json",
    "tsconfig.base.json",
    "scripts/build.mjs",
    "kernel-lib/package.json",
    "kernel-lib/tsconfig.json",
    "kernel-lib/src",
    "runners",
  );
}
