import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { NewLine } from "../../kernel-lib/src/cluster/first-session.js";
import type { LoginOptions } from "../../kernel-lib/src/cluster/transport.js";
import { Sandbox } from "../support/sandbox.js";

let home: Sandbox;
beforeEach(() => {
  home = new Sandbox().enter();
});
afterEach(() => home.close());

/** The module as a process that has just started has it. */
async function fresh() {
  vi.resetModules();
  return import("../../kernel-lib/src/cluster/first-session.js");
}

function line(stdout: string): NewLine {
  const shell = { run: async () => ({ code: 0, stdout, stderr: "" }) } as unknown as NewLine["shell"];
  return { name: "duo", target: "ada@login.example.edu:22", shell, ended: () => ({ code: 0, said: "" }) };
}

const silent: LoginOptions = { ask: async () => null, interactive: false };

it("a site that asks inside each session is known to the next agent, until it asks no more", async () => {
  const first = await fresh();
  first.checkSilent("duo", line("").target, silent);
  expect(await first.firstSession(line("forced"), undefined)).toBe(true);

  const next = await fresh();
  expect(() => next.checkSilent("duo", line("").target, silent)).toThrow(/would send a push.*\n.*yale login duo/s);
  next.checkSilent("duo", "ben@login.example.edu:22", silent);

  expect(await next.firstSession(line(""), undefined)).toBe(false);
  (await fresh()).checkSilent("duo", line("").target, silent);
});

it("a site that is known by a refusal only stays known after a session that was approved", async () => {
  const first = await fresh();
  const refused = line("");
  refused.shell.run = async () => {
    throw new Error("The shell on the far side ended.");
  };
  refused.ended = () => ({ code: 1, said: "" });
  await expect(first.firstSession(refused, undefined)).rejects.toThrow(/login_duo/);
  await first.firstSession(line(""), undefined);
  const next = await fresh();
  expect(() => next.checkSilent("duo", line("").target, silent)).toThrow(/would send a push/);
});
