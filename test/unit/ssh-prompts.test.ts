import { expect, it } from "vitest";
import { choicesIn, roundQuestion, words } from "../../kernel-lib/src/cluster/ssh-prompts.js";

const DUO = `Duo two-factor login for ada

Enter a passcode or select one of the following options:

 1. Duo Push to XXX-XXX-1234
 2. Phone call to XXX-XXX-1234
 3. SMS passcodes to XXX-XXX-1234 (next code starts with: 1)

Passcode or option (1-3): `;

const round = (...prompts: string[]) => ({
  name: "",
  instructions: "",
  prompts: prompts.map((prompt) => ({ prompt, echo: true })),
});

it("reads the choices out of a menu", () => {
  expect(choicesIn(DUO)).toEqual([
    { value: "1", label: "Duo Push to XXX-XXX-1234" },
    { value: "2", label: "Phone call to XXX-XXX-1234" },
    { value: "3", label: "SMS passcodes to XXX-XXX-1234 (next code starts with: 1)" },
  ]);
  // As it comes a second time, below the words about the first answer.
  expect(choicesIn(`${DUO}\nIncorrect passcode.\n${DUO}`)).toHaveLength(3);
  expect(choicesIn("[1] Push\n[2] Call")).toEqual([
    { value: "1", label: "Push" },
    { value: "2", label: "Call" },
  ]);
  expect(choicesIn("Version 2.\n3. not the first\n2026. Year")).toEqual([]);
});

it("takes the last line for the field and keeps all words as they came", () => {
  const question = roundQuestion("grace", round(DUO), ["Banner\r\n"], new Map());
  expect(question).toMatchObject({
    cluster: "grace",
    kind: "second_factor",
    attempt: 1,
    fields: [{ label: "Passcode or option (1-3):", echo: true }],
  });
  expect(question.text).toBe(`Banner\n${DUO.trimEnd()}`);
  expect(question.choices).toHaveLength(3);
});

it("offers no choices where several fields are to be filled in", () => {
  expect(roundQuestion("grace", round("1. a\n2. b\nFirst:", "Second:"), [], new Map()).choices).toEqual([]);
});

it.each([
  ["Password: ", "password"],
  ["(ada@grace) Password:", "password"],
  ["Passwort: ", "password"],
  ["One-time password (OATH) for `ada': ", "second_factor"],
  ["Passcode: ", "second_factor"],
  ["Enter your password token: ", "second_factor"],
  ["", "second_factor"],
])("takes %j for a %s", (prompt, kind) => {
  expect(roundQuestion("grace", round(prompt), [], new Map()).kind).toBe(kind);
});

it("counts how often a field is asked for, each on its own", () => {
  const asked = new Map<string, number>();
  const attempts = ["Password: ", "Code: ", "Wrong code.\nCode: ", "Password: "].map(
    (prompt) => roundQuestion("grace", round(prompt), [], asked).attempt,
  );
  expect(attempts).toEqual([1, 1, 2, 2]);
});

it("makes one harmless line of what a server says", () => {
  expect(words(["Account \u001b[31mlocked\u0007\r\n", " \u202ecall us "])).toBe("Account [31mlocked call us");
  expect(words(["x".repeat(1_000)])).toHaveLength(400);
});
