import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import type { LoginOptions, Question, Transport } from "../../kernel-lib/src/cluster/transport.js";
import type { ClusterConfig } from "../../kernel-lib/src/config/index.js";
import { ConfigError, ConnectionError, HostKeyError, LoginError } from "../../kernel-lib/src/errors.js";
import { Lines } from "../../kernel-lib/src/jobs/lines.js";
import { Prompts } from "../../kernel-lib/src/jobs/prompts.js";
import type { Connection, Prompt } from "../../kernel-lib/src/protocol.js";

const cluster = (name = "duo", more: Partial<ClusterConfig> = {}): ClusterConfig => ({
  name,
  transport: "ssh",
  scheduler: "slurm",
  host: "login.example.edu",
  user: "ada",
  jobDir: "~/jobs",
  defaults: {},
  policy: { pollSeconds: 15, minTaskMinutes: 0, taskMinutes: 0 },
  ...more,
});

const QUESTION: Omit<Question, "cluster"> = {
  kind: "second_factor",
  text: "Passcode or option (1-1): ",
  fields: [{ label: "Passcode", echo: true }],
  choices: [{ value: "1", label: "Push" }],
  attempt: 1,
};

/** Lines whose far side is a script: what each opening does in turn, the last for all that follow. */
class Far {
  /** How each opening was asked for. */
  readonly openings: { interactive: boolean; cluster: string }[] = [];
  readonly prompts: Prompt[] = [];
  readonly gone: string[] = [];
  readonly states: string[] = [];
  readonly closed: number[] = [];
  /** Cuts the newest line. */
  cut: (reason?: Error) => void = () => undefined;
  script: ("key" | "factor" | "down" | "changed" | "stuck" | "config")[];
  readonly lines: Lines;
  readonly asked: Prompts;
  readonly #sleepers: (() => void)[] = [];

  constructor(...script: Far["script"]) {
    this.script = script;
    this.asked = new Prompts(
      (prompt) => {
        this.prompts.push(prompt);
        this.#wake();
      },
      (id, reason) => this.gone.push(`${this.prompts.findIndex((p) => p.id === id)} ${reason}`),
    );
    this.lines = new Lines({
      ask: (question, signal) => this.asked.ask(question, signal),
      onChange: (c) => {
        this.states.push(c.state);
        this.#wake();
      },
      open: (c, login) => this.#open(c, login),
      backoff: () => 1,
    });
  }

  async #open(c: ClusterConfig, login: LoginOptions): Promise<Transport> {
    this.openings.push({ interactive: login.interactive !== false, cluster: c.name });
    const does = this.script.length > 1 ? this.script.shift() : this.script[0];
    const number = this.openings.length;
    await Promise.resolve();
    if (does === "down") throw new ConnectionError(`${c.name} does not answer.`, "Try again.");
    if (does === "changed") throw new HostKeyError(`The host key of ${c.name} has changed.`);
    if (does === "config") throw new ConfigError("The key is no key.");
    if (does === "stuck")
      await new Promise((_, reject) => login.signal?.addEventListener("abort", () => reject(login.signal?.reason)));
    if (does === "factor") {
      if (login.interactive === false) throw new LoginError(`${c.name} asks for a second factor.`, "Log in.");
      const answers = await login.ask({ ...QUESTION, cluster: c.name });
      if (answers?.[0] !== "1") throw new LoginError(`${c.name} refused the login.`, "Log in again.");
    }
    let lose: (reason: Error) => void = () => undefined;
    const lost = new Promise<Error>((resolve) => {
      lose = resolve;
    });
    this.cut = (reason = new ConnectionError("The line to duo was lost.", "Try again.")) => lose(reason);
    return {
      kind: "ssh",
      asked: does === "factor",
      lost,
      exec: () => Promise.reject(new Error("not here")),
      sftp: () => Promise.reject(new Error("not here")),
      close: async () => {
        this.closed.push(number);
        lose(new ConnectionError("closed"));
      },
    };
  }

  #wake(): void {
    for (const wake of this.#sleepers.splice(0)) wake();
  }
  /** Waits until a condition holds, looking at every event. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#sleepers.push(resolve));
  }
  async answer(text: string | null, n = 1): Promise<void> {
    await this.until(() => this.prompts.length >= n);
    this.asked.answer(this.prompts[n - 1]?.id ?? "", text === null ? null : [text]);
  }
  get state(): Connection | undefined {
    return this.lines.list()[0];
  }
}

describe("a line", () => {
  it("is opened once and asks once, however many want it at a time, in the foreground and behind", async () => {
    const far = new Far("factor");
    const all = Promise.all([
      ...Array.from({ length: 10 }, () => far.lines.open(cluster())),
      ...Array.from({ length: 10 }, () => far.lines.open(cluster(), { interactive: false })),
    ]);
    await far.answer("1");
    expect(new Set(await all).size).toBe(1);
    expect(far.openings).toHaveLength(1);
    expect(far.prompts).toHaveLength(1);
    expect(far.states).toEqual(["connecting", "prompting", "connecting", "connected"]);
    expect(await far.lines.open(cluster())).toBe((await all)[0]);
  });

  it("is shared by files that name one host, user and port, and by no others", async () => {
    const far = new Far("key");
    const one = await far.lines.open(cluster("duo"));
    expect(await far.lines.open(cluster("grace", { host: "LOGIN.example.edu", port: 22 }))).toBe(one);
    expect(far.lines.list().map((c) => c.cluster)).toEqual(["duo", "grace"]);
    for (const other of [{ user: "ben" }, { port: 2222 }, { host: "b.example.edu" }, { proxyJump: "j" }])
      expect(await far.lines.open(cluster("duo", other))).not.toBe(one);
    expect(far.openings).toHaveLength(5);
  });

  it("that would have to ask is not opened by what runs behind, and a person who comes meanwhile is asked", async () => {
    const far = new Far("factor");
    const behind = far.lines.open(cluster(), { interactive: false });
    const person = far.lines.open(cluster());
    await expect(behind).rejects.toThrow(LoginError);
    await far.answer("1");
    await person;
    expect(far.openings.map((o) => o.interactive)).toEqual([false, true]);
  });

  it("leaves this machine out of the list", async () => {
    const far = new Far("key");
    await far.lines.open(cluster("local", { transport: "local" }));
    expect(far.lines.list()).toEqual([]);
    expect(far.states).toEqual([]);
  });
});

describe("a refused login", () => {
  it.each([
    ["refused", "2", "refused the login"],
    ["declined", null, "refused the login"],
  ])("that was %s is never repeated by itself, and says so in its state", async (_how, text, words) => {
    const far = new Far("factor");
    const first = far.lines.open(cluster());
    await far.answer(text);
    await expect(first).rejects.toThrow(words);
    expect(far.state).toMatchObject({ state: "login_needed", message: expect.stringContaining("login needed: duo") });
    for (let i = 0; i < 5; i++)
      await expect(far.lines.open(cluster(), { interactive: false })).rejects.toThrow(LoginError);
    // Other commands of the same moment neither; a person who says so is asked again.
    await expect(far.lines.open(cluster())).rejects.toThrow(words);
    expect(far.openings).toHaveLength(1);
    const again = far.lines.login(cluster());
    await far.answer("1", 2);
    await again;
    expect(far.openings).toHaveLength(2);
  });

  it("is one question for all jobs of a new agent that must not ask by itself", async () => {
    const far = new Far("factor");
    for (let i = 0; i < 5; i++)
      await expect(far.lines.open(cluster(), { interactive: false })).rejects.toThrow(LoginError);
    expect(far.openings).toEqual([{ interactive: false, cluster: "duo" }]);
    expect(far.prompts).toEqual([]);
    expect(far.state?.state).toBe("login_needed");
    // Nothing went wrong about a question, so any verb of a person may ask.
    const person = far.lines.open(cluster());
    await far.answer("1");
    await person;
  });

  it("counts as one when the host key changed", async () => {
    const far = new Far("changed", "key");
    await expect(far.lines.open(cluster())).rejects.toThrow(HostKeyError);
    await expect(far.lines.open(cluster(), { interactive: false })).rejects.toThrow(HostKeyError);
    expect(far.openings).toHaveLength(1);
    expect(far.state?.state).toBe("login_needed");
    await far.lines.open(cluster());
  });
});

describe("a lost line", () => {
  it("comes back by itself where that needs nobody, through failures", async () => {
    const far = new Far("key", "down", "down", "key");
    const first = await far.lines.open(cluster());
    far.cut();
    await far.until(() => far.state?.state === "disconnected");
    expect(far.state?.message).toBe("lost: The line to duo was lost; comes back by itself");
    await far.until(() => far.state?.state === "connected");
    expect(far.openings.map((o) => o.interactive)).toEqual([true, false, false, false]);
    expect(await far.lines.open(cluster())).not.toBe(first);
  });

  it("asks once where it needs a person, when it is wanted, and no more after a refusal", async () => {
    const far = new Far("factor");
    const first = far.lines.open(cluster());
    await far.answer("1");
    await first;
    far.cut();
    await far.until(() => far.state?.state === "disconnected");
    expect(far.state?.message).toContain("its next use asks for a login");
    const jobs = Promise.allSettled(Array.from({ length: 5 }, () => far.lines.open(cluster(), { interactive: false })));
    await far.answer("no", 2);
    expect((await jobs).map((j) => j.status)).toEqual(Array(5).fill("rejected"));
    await expect(far.lines.open(cluster(), { interactive: false })).rejects.toThrow(LoginError);
    expect(far.prompts).toHaveLength(2);
    expect(far.openings).toHaveLength(2);
  });

  it("that came back by itself so far asks once when the key alone does not do any more", async () => {
    const far = new Far("key", "factor");
    await far.lines.open(cluster());
    far.cut();
    await far.until(() => far.state?.state === "disconnected");
    const back = far.lines.whenOpen(cluster());
    await far.answer("1");
    await back;
    expect(far.openings.map((o) => o.interactive)).toEqual([true, false, true]);
  });

  it("is waited for by work that goes on with the next one", async () => {
    const far = new Far("factor");
    const first = far.lines.open(cluster());
    await far.answer("1");
    await first;
    far.cut();
    await far.until(() => far.state?.state === "disconnected");
    const jobs = Promise.all(Array.from({ length: 5 }, () => far.lines.whenOpen(cluster())));
    await far.answer(null, 2);
    await far.until(() => far.state?.state === "login_needed");
    const login = far.lines.login(cluster());
    await far.answer("1", 3);
    expect(new Set([await login, ...(await jobs)]).size).toBe(1);
    expect(far.prompts).toHaveLength(3);
  });

  it("that is logged out stays so until a person logs in", async () => {
    const far = new Far("key");
    await far.lines.open(cluster());
    expect(await far.lines.close("duo")).toMatchObject({ state: "disconnected", message: "logged out" });
    expect(far.closed).toEqual([1]);
    await expect(far.lines.open(cluster(), { interactive: false })).rejects.toThrow("closed by a logout");
    const job = far.lines.whenOpen(cluster());
    const person = await far.lines.open(cluster());
    expect(await job).toBe(person);
    expect(far.openings).toHaveLength(2);
    expect(await far.lines.close("nobody")).toEqual({ cluster: "nobody", state: "disconnected" });
  });
});

describe("a logout", () => {
  it("gives up an opening, question and all, for all who wait for it", async () => {
    const far = new Far("factor");
    const waiting = [far.lines.open(cluster()), far.lines.open(cluster(), { interactive: false })];
    const heard = waiting.map((w) => w.catch((e: Error) => e.message));
    await far.until(() => far.prompts.length === 1);
    await far.lines.close("duo");
    for (const message of await Promise.all(heard)) expect(message).toContain("closed by a logout");
    expect(far.gone).toEqual(["0 withdrawn"]);
    expect(far.state).toMatchObject({ state: "disconnected", message: "logged out" });
  });
});

describe("waiting for a line", () => {
  it("tries again through failures, and ends at once with its signal", async () => {
    const far = new Far("down", "down", "key");
    expect((await far.lines.whenOpen(cluster())).kind).toBe("ssh");
    const { signal } = new AbortController();
    await far.lines.whenOpen(cluster(), signal);
    expect(getEventListeners(signal, "abort")).toEqual([]);
    const stuck = new Far("down");
    const stop = new AbortController();
    const waiting = stuck.lines.whenOpen(cluster(), stop.signal);
    await stuck.until(() => stuck.openings.length > 3);
    stop.abort(new Error("cancelled"));
    await expect(waiting).rejects.toThrow("cancelled");
    await expect(stuck.lines.whenOpen(cluster(), stop.signal)).rejects.toThrow("cancelled");
  });

  it("does not wait for what no waiting mends", async () => {
    await expect(new Far("config").lines.whenOpen(cluster())).rejects.toThrow(ConfigError);
  });

  it("gives the opening up, question and all, when the last who waited leaves", async () => {
    const far = new Far("factor");
    const [a, b] = [new AbortController(), new AbortController()];
    const both = [a, b].map((c) => far.lines.open(cluster(), { signal: c.signal }).catch((e: Error) => e.message));
    await far.until(() => far.prompts.length === 1);
    a.abort(new Error("first left"));
    expect(await both[0]).toBe("first left");
    expect(far.asked.list()).toHaveLength(1);
    b.abort(new Error("second left"));
    expect(await both[1]).toBe("second left");
    expect(far.asked.list()).toHaveLength(0);
    expect(far.gone).toEqual(["0 withdrawn"]);
    await far.until(() => far.state?.state === "disconnected");
  });

  it("of a core that closes ends, its question withdrawn", async () => {
    const far = new Far("factor");
    const open = far.lines.open(cluster()).catch((e: Error) => e.message);
    const waiting = far.lines.whenOpen(cluster()).catch((e: Error) => e.message);
    await far.until(() => far.prompts.length === 1);
    await far.lines.closeAll();
    expect(await open).toContain("the agent ends");
    expect(await waiting).toContain("the agent ends");
    expect(far.gone).toEqual(["0 withdrawn"]);
    await expect(far.lines.open(cluster())).rejects.toThrow(ConnectionError);
  });
});

describe("a question", () => {
  const ask = (far: Far, more: Partial<Question> = {}) => far.asked.ask({ ...QUESTION, cluster: "duo", ...more });

  it("stands for all who look, and is gone for all with the first answer", async () => {
    const far = new Far("key");
    const answer = ask(far);
    expect(far.asked.list()).toEqual(far.prompts);
    const id = far.prompts[0]?.id ?? "";
    far.asked.answer(id, ["1"]);
    expect(await answer).toEqual(["1"]);
    expect(far.gone).toEqual(["0 answered"]);
    expect(() => far.asked.answer(id, ["2"])).toThrow("does not stand any more");
    expect(JSON.stringify([far.prompts, far.asked.list(), far.gone])).not.toContain('"2"');
  });

  it("refuses answers that are none without repeating them, and stands on", async () => {
    const far = new Far("key");
    const answer = ask(far, {
      fields: [
        { label: "A", echo: false },
        { label: "B", echo: true },
      ],
    });
    const id = far.prompts[0]?.id ?? "";
    for (const wrong of [["canary"], ["canary", 5], "canary", ["a", "b", "canary"], { 0: "canary" }]) {
      let said = "";
      try {
        far.asked.answer(id, wrong as string[]);
      } catch (error) {
        said = String(error);
      }
      expect(said).toMatch(/UsageError/);
      expect(said).not.toContain("canary");
    }
    far.asked.answer(id, ["a", "b"]);
    expect(await answer).toEqual(["a", "b"]);
  });

  it("that nobody answers ends in words that say what to do", async () => {
    const far = new Far("key");
    const answer = ask(far, { expiresAt: new Date(Date.now() + 20).toISOString() });
    // The timer of a question keeps no program alive, so this one waits beside it.
    const alive = setInterval(() => undefined, 10);
    await expect(answer).rejects.toThrow(/duo asked for a login and nobody answered.*\n.*yale login duo/s);
    clearInterval(alive);
    expect(far.gone).toEqual(["0 expired"]);
  });
});
