/** Shell completion, by @bomb.sh/tab: its scripts ask `yale complete -- words…` while one types. */
import tab, { type RootCommand } from "@bomb.sh/tab";
import type { Command, Option } from "commander";
import { UsageError } from "../errors.js";

const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;

/** Tells tab about every command and flag. */
function describe(program: Command): RootCommand {
  const add = (command: Command, path: string[]) => {
    if (path.length > 0) tab.command(path.join(" "), command.description());
    for (const child of command.commands) add(child, [...path, child.name()]);
  };
  add(program, []);
  const options = (command: Command, path: string[]) => {
    const target = path.length === 0 ? undefined : tab.commands.get(path.join(" "));
    for (const option of command.options as Option[])
      if (option.long != null && target !== undefined)
        target.option(option.long.replace(/^--/, ""), option.description, option.short?.replace(/^-/, ""));
    for (const child of command.commands) options(child, [...path, child.name()]);
  };
  options(program, []);
  return tab;
}

/** `yale completion <shell>`: the script to source. Throws UsageError. */
export function completion(program: Command, shell: string): void {
  if (!(SHELLS as readonly string[]).includes(shell))
    throw new UsageError(`completion: got ${JSON.stringify(shell)}.`, `Allowed: ${SHELLS.join(", ")}.`);
  describe(program).setup("yale", "yale", shell);
}

/** Answers a script's question. */
export function answer(program: Command, words: string[]): void {
  describe(program).parse(words[0] === "--" ? words.slice(1) : words);
}
