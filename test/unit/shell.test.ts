import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { loginCommand, quote } from "../../kernel-lib/src/cluster/shell.js";

/** What users have for a login shell, as far as it is installed here. */
const SHELLS = ["/bin/bash", "/bin/dash", "/bin/sh", "/bin/zsh", "/bin/tcsh", "/usr/bin/fish", "/bin/ksh"].filter((s) =>
  existsSync(s),
);
const WORDS = [
  "",
  " ",
  "a b",
  "'",
  '"',
  "\\",
  "\\\\",
  "a\\'b",
  "$(id)",
  "`id`",
  "$HOME",
  "!!",
  "~",
  "*",
  "a\nb\n",
  "-n",
  "--",
  "é 📜",
  "=ls",
  "%self",
  "{a,b}",
  "#",
  ";&|<>",
  "\t",
  "\r",
  "^a^b",
  "(",
  "@",
  "%d\\n",
];

describe.each(SHELLS)("a line for sshd under %s", (shell) => {
  const run = (line: string, input = "") =>
    execFileSync(shell, ["-c", line], { encoding: "utf8", input, stdio: "pipe" });

  it("hands on every word as it is, together and alone", () => {
    expect(
      run(loginCommand(["printf", "%s\\0", ...WORDS]))
        .split("\0")
        .slice(0, -1),
    ).toEqual(WORDS);
    for (const word of WORDS) expect(run(loginCommand(["printf", "%s", word]))).toBe(word);
    expect(run(loginCommand(["cat"]), "in")).toBe("in");
  });

  it("goes into a folder first, and marks where the output begins", () => {
    expect(run(loginCommand(["pwd"], "/usr"))).toBe("/usr\n");
    expect(run(loginCommand(["printf", "a\nb"], "/usr", "mark"))).toBe("marka\nb");
    expect(run(loginCommand(["pwd"], undefined, "mark")).startsWith("mark/")).toBe(true);
  });
});

it("refuses what no command can hold", () => {
  expect(() => loginCommand(["echo", "a\0b"])).toThrow("zero byte");
  expect(() => loginCommand(["echo", "x".repeat(130_000)])).toThrow("too long");
  expect(() => quote("\0")).toThrow("zero byte");
});
