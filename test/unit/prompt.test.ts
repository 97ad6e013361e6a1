import { describe, expect, it } from "vitest";
import {
  choiceKey,
  connectionsText,
  fieldLabel,
  loginBundle,
  loginText,
  promptLines,
} from "../../kernel-lib/src/display/index.js";
import type { Prompt } from "../../kernel-lib/src/protocol.js";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const DUO = "Duo two-factor login for ada\n\n 1. Duo Push to XXX-1234\n\nPasscode or option (1-1): ";
const prompt = (more: Partial<Prompt> = {}): Prompt => ({
  id: "7k3m9d0x2q",
  cluster: "duo",
  kind: "second_factor",
  text: DUO,
  fields: [{ label: "Passcode or option (1-1): ", echo: true }],
  choices: [{ value: "1", label: "Duo Push to XXX-1234" }],
  expiresAt: "2026-03-01T12:01:40Z",
  attempt: 1,
  ...more,
});

describe("a question of a cluster", () => {
  it("is the server's words once: not the label again, and no menu beside the server's own", () => {
    expect(promptLines(prompt())).toEqual(["Duo two-factor login for ada", "", " 1. Duo Push to XXX-1234"]);
    expect(promptLines(prompt({ text: "Key ab:cd.", choices: [{ value: "yes", label: "Trust it" }] }))).toEqual([
      "Key ab:cd.",
      " 1. Trust it",
    ]);
  });

  it("gives each choice the number that the server knows it by, else its place", () => {
    const choices = [
      { value: "2", label: "Call" },
      { value: "3", label: "SMS" },
    ];
    expect([0, 1].map((i) => choiceKey(prompt({ choices }), i))).toEqual(["2", "3"]);
    const words = [
      { value: "yes", label: "a" },
      { value: "no", label: "b" },
    ];
    expect([0, 1].map((i) => choiceKey(prompt({ choices: words }), i))).toEqual(["1", "2"]);
  });

  it("can't move the cursor, set the title, or be markup", () => {
    const evil = prompt({
      text: "\u001b[2J\u001b]0;x\u0007<img src=x onerror=alert(1)>\n\u001b[1A",
      cluster: "duo",
      choices: [{ value: "<b>", label: "<script>\u001b[31m" }],
      fields: [{ label: "\u001b[8mCode\nmore", echo: false }],
    });
    const bundle = loginBundle({ cluster: "duo", prompt: evil }, NOW);
    expect(bundle["text/html"]).not.toMatch(/<img|<script/);
    // Control characters are what is looked for.
    expect(JSON.stringify(bundle)).not.toContain("\\u001b");
    expect(promptLines(evil).join("\n")).not.toContain("\u001b");
    expect(fieldLabel("\u001b[8mCode\nmore")).toBe("Code more:");
  });

  it("stands in the order in which it was sent, without marks that turn it", () => {
    const turned = prompt({ text: "Push to \u202eecila\u202c\n\u2067ok\u2069", choices: [] });
    expect(promptLines(turned)).toEqual(["Push to ecila", "ok"]);
  });

  it("is a card that says what is asked, how long it stands, and how it is answered", () => {
    const text = String(loginBundle({ cluster: "duo", prompt: prompt() }, NOW)["text/plain"]);
    expect(text).toContain("duo asks for a second factor; 1 min 40 s left.");
    expect(text).toContain("  |  1. Duo Push to XXX-1234");
    expect(text).toContain("`yale login duo` in a terminal");
    expect(loginBundle({ cluster: "duo", prompt: prompt({ attempt: 2 }) }, NOW)["text/html"]).toContain("not accepted");
  });

  it("turns into what came of it", () => {
    const end = (state: "connected" | "login_needed", message?: string) =>
      loginBundle({
        cluster: "duo",
        connection: { cluster: "duo", state, ...(message === undefined ? {} : { message }) },
      });
    expect(end("connected")["text/plain"]).toBe("Logged in to duo.");
    expect(end("login_needed", "login needed: duo refused it")["text/plain"]).toContain("duo refused it");
    expect(end("login_needed", "<i>")["text/html"]).not.toContain("<i>");
  });

  it("is a line beside a job, and none where nobody is waited for", () => {
    expect(loginText({ cluster: "duo", prompt: prompt() })).toMatch(/^duo asks for a second factor: answer with `yale/);
    expect(loginText({ cluster: "duo", connection: { cluster: "duo", state: "connected" } })).toBeUndefined();
    expect(loginText({ cluster: "duo" })).toBeUndefined();
    const lost = { cluster: "duo", state: "disconnected", message: "lost: reset; comes back by itself" } as const;
    expect(loginText({ cluster: "duo", connection: lost })).toBe("duo: lost: reset; comes back by itself");
  });
});

describe("lines", () => {
  it("are a table of state, since when, and what there is to say", () => {
    const [head, row] = connectionsText(
      [{ cluster: "duo", state: "login_needed", since: "2026-03-01T11:55:00Z", message: "login needed:\u001b[2J x" }],
      NOW,
    ).split("\n");
    expect(head).toMatch(/^CLUSTER +STATE +SINCE +MESSAGE$/);
    expect(row).toMatch(/^duo +login needed +2026-03-01 \d\d:55 \(5 min\) +login needed: x$/);
    expect(connectionsText([])).toBe("No line is open, and none was.");
  });
});
