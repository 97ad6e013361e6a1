import sharp from "sharp";
import { describe, expect, it } from "vitest";
import {
  type Bundle,
  bar,
  contactSheetBundle,
  dataUrl,
  duration,
  jobBundle,
  jobsBundle,
  jobsText,
  jobText,
  oneLine,
  plain,
  progressBundle,
  progressText,
  resultsBundle,
  resultsText,
} from "../../kernel-lib/src/display/index.js";
import { JOB_MIME, JOB_STATES, type JobRecord } from "../../kernel-lib/src/protocol.js";

const NOW = Date.parse("2026-03-01T12:00:00Z");

/** What an attacker would put into a file name, PDF metadata, a log line or onto a page. */
const HOSTILE = `"><img src=x onerror=alert(1)><script>alert(2)</script>' onmouseover='alert(3)\`\u001b[31mred\u001b]0;title\u0007\u202e`;

function record(changes: Partial<JobRecord> = {}): JobRecord {
  return {
    id: "7k3m9d0x2q",
    spec: {
      kind: "ocr",
      name: "letters",
      cluster: "local",
      sources: [{ kind: "pdf", location: "/scans/letters.pdf" }],
      runner: "tesseract",
      options: {},
      resources: {},
    },
    state: "running",
    createdAt: "2026-03-01T11:50:00Z",
    startedAt: "2026-03-01T11:55:00Z",
    heardAt: "2026-03-01T11:59:58Z",
    faults: [],
    faultCount: 0,
    progress: { prepared: 60, done: 34, failed: 2, total: 60, rate: 1.2, etaSeconds: 21.7 },
    logTail: ["page 33", "page 34"],
    attempt: 1,
    revision: 9,
    ...changes,
  };
}

/** Every string of a record replaced by a hostile one, but for those that only the core writes. */
function hostileRecord(): JobRecord {
  const own = new Set(["kind", "state", "createdAt", "startedAt", "endedAt", "heardAt", "condition"]);
  const poison = (value: unknown, key: string): unknown => {
    if (typeof value === "string") return own.has(key) ? value : HOSTILE;
    if (Array.isArray(value)) return value.map((v) => poison(v, key));
    if (typeof value === "object" && value !== null)
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, poison(v, k)]));
    return value;
  };
  const full = record({
    state: "failed",
    raw: "x",
    reason: "x",
    schedulerId: "x",
    endedAt: "2026-03-01T11:59:00Z",
    jobDir: "x",
    faults: [{ key: "x", source: "x", page: 3, reason: "x", fix: "x" }],
    faultCount: 3,
    progress: { prepared: 1, done: 1, failed: 1, total: 2, message: "x" },
    error: { code: "x", what: "x", fix: "x" },
    resultsDir: "x",
  });
  const resources = { gpus: "x", cpus: 2, memory: "x", time: "x", partition: "x" };
  const poisoned = poison({ ...full, spec: { ...full.spec, cluster: "x", resources } }, "") as JobRecord;
  return poisoned;
}

/** Tags and attributes that a bundle's HTML really has, as a browser would parse it. */
function elements(html: string): string[] {
  return [...html.matchAll(/<[^>]*>/g)].map((m) => m[0]);
}

function expectHarmless(bundle: Bundle): void {
  const html = String(bundle["text/html"]);
  for (const tag of elements(html)) {
    expect(tag).toMatch(
      /^<\/?(div|span|b|code|br|pre|ul|li|table|thead|tbody|tr|th|td|img)( (style|title|alt|dir|src)="[^"<>]*")*>$/,
    );
    const src = /src="([^"]*)"/.exec(tag)?.[1];
    if (src !== undefined) expect(src).toMatch(/^data:image\/(jpeg|png|gif|webp);base64,[A-Za-z0-9+/=]+$/);
  }
  // Outside of tags no angle bracket is left, so nothing can begin a tag after all.
  expect(html.replace(/<[^>]*>/g, "")).not.toMatch(/[<>]/);
  for (const text of [html, String(bundle["text/plain"])]) {
    expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  }
}

async function picture(width: number, height: number): Promise<Buffer> {
  return sharp({ create: { width, height, channels: 3, background: "#ddccaa" } })
    .jpeg()
    .toBuffer();
}

describe("hostile text", () => {
  it("stays text in the card of a job, the bar, and the table of jobs", () => {
    for (const state of JOB_STATES) {
      const hostile = { ...hostileRecord(), state };
      expectHarmless(jobBundle(hostile, NOW));
      expectHarmless(progressBundle(hostile, NOW));
      expectHarmless(jobsBundle([hostile, hostile], NOW));
    }
  });

  it("is shown, not swallowed: a reader sees the very characters of a file name", () => {
    const html = String(jobBundle(hostileRecord(), NOW)["text/html"]);
    expect(html).toContain("&lt;script&gt;alert(2)&lt;/script&gt;");
    expect(html).toContain("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;");
  });

  it("stays text in results and contact sheets", async () => {
    const row = { key: HOSTILE, source: HOSTILE, page: 1, markdown: null, confidence: 88.4, seconds: 1.5 };
    const rows = [
      { row: { ...row, text: HOSTILE, error: null }, image: { bytes: await picture(50, 70) } },
      { row: { ...row, text: null, error: HOSTILE }, image: undefined },
      { row: { ...row, text: "fine", error: null }, image: { bytes: Buffer.from(`<svg onload="alert(1)"/>`) } },
    ];
    expectHarmless(await resultsBundle(rows, { total: 3, complete: false }));
    const page = { key: HOSTILE, source: HOSTILE, page: 2, label: { [HOSTILE]: [HOSTILE] } };
    const pages = [
      { ...page, image: await picture(30, 40) },
      { ...page, image: Buffer.from("<script>") },
    ];
    expectHarmless(await contactSheetBundle(pages, { faults: 1, total: 9 }));
  });

  it("brings no terminal control into plain text", () => {
    expect(
      plain("a\u001b[31mb\u001b[0m\u009b2Jc\u001b]0;title\u0007d\u001b]8;;http://x\u001b\\e\u001bcf\u0000\u0008g"),
    ).toBe("abcdefg");
    expect(plain("10 %\r50 %\rdone\r\nnext\ttab")).toBe("done\nnext\ttab");
    expect(plain("an unclosed \u001b]0;title keeps its text")).toBe("an unclosed 0;title keeps its text");
    expect(oneLine("evil\u202egnp.exe\n second   line")).toBe("evilgnp.exe second line");
  });

  it("costs no more than its length: a megabyte of escape characters takes well under a second", () => {
    const began = performance.now();
    for (const c of ["\u001b]", "\u009d", "\u001b[", "\r", "a\r", " "]) plain(c.repeat(500_000));
    expect(performance.now() - began).toBeLessThan(1500);
  });
});

describe("a job", () => {
  it("is one line of text with state, pages, pace and time left", () => {
    expect(jobText(record(), NOW)).toBe(
      "Job 7k3m9d0x2q (letters): running, 34 of 60 pages done, 2 pages in error, 1.2 pages/s, 22 s left",
    );
  });

  it("is the record for our own renderer, a card, and text", () => {
    const bundle = jobBundle(record(), NOW);
    expect(Object.keys(bundle)).toEqual([JOB_MIME, "text/html", "text/plain"]);
    expect(bundle[JOB_MIME]).toEqual(record());
    expect(bundle["text/html"]).toContain("34 of 60 pages done");
    expect(bundle["text/html"]).toContain("page 34");
    expect(bundle["text/plain"]).toContain("  | page 34");
  });

  it("says an error with what to do, and each page that could not be had with its reason", () => {
    const text = String(
      jobBundle(
        record({
          state: "failed",
          error: { code: "job_failed", what: "It was ended by signal 9 (killed).", fix: "Run it again." },
          faults: [{ key: "b.pdf", source: "b.pdf", reason: "The file is encrypted.", fix: "Give its password." }],
          faultCount: 7,
        }),
        NOW,
      )["text/plain"],
    );
    expect(text).toContain("It was ended by signal 9 (killed).");
    expect(text).toContain("→ Run it again.");
    expect(text).toContain("7 pages or files could not be had:");
    expect(text).toContain("b.pdf: The file is encrypted. → Give its password.");
    expect(text).toContain("and 6 more");
  });

  it("says how old the news are when the scheduler has been silent", () => {
    const silent = record({ heardAt: "2026-03-01T11:56:00Z" });
    expect(jobBundle(silent, NOW)["text/plain"]).toContain("last heard of 4 min ago");
    expect(jobBundle(record(), NOW)["text/plain"]).not.toContain("last heard");
  });

  it("counts what its state is about: pages prepared, bytes uploaded, pages done", () => {
    const preparing = record({ state: "preparing", progress: { prepared: 12, done: 0, failed: 0 } });
    expect(jobText(preparing, NOW)).toContain("12 pages prepared");
    const progress = { prepared: 60, done: 0, failed: 0, uploadedBytes: 3_000_000, uploadTotalBytes: 9_000_000 };
    expect(jobText(record({ state: "uploading", progress }), NOW)).toContain("2.9 MiB of 8.6 MiB uploaded");
  });

  it("of a script counts no pages unless the script reports them", () => {
    const script = record({ progress: { prepared: 0, done: 0, failed: 0 } });
    script.spec = { ...script.spec, kind: "run", script: { name: "a.py", text: "", interpreter: "python3", args: [] } };
    expect(jobText(script, NOW)).toBe("Job 7k3m9d0x2q (letters): running");
    expect(jobBundle(script, NOW)["text/plain"]).toContain("a.py on /scans/letters.pdf");
  });

  it("shows a bar whose width follows the share, full when completed", () => {
    expect(bar(0, 10)).toBe("░".repeat(10));
    expect(bar(0.5, 10)).toBe("█████░░░░░");
    expect(bar(1, 10)).toBe("█".repeat(10));
    for (let i = 0; i <= 100; i++) expect([...bar(i / 100, 13)]).toHaveLength(13);
    const line = progressText(record(), 100, NOW);
    expect(line).toMatch(/^running +█+.?░+ +56 % +34 of 60 pages done · 2 pages in error · 1\.2 pages\/s · 22 s left$/);
    expect(progressText(record({ state: "completed" }), 100, NOW)).toContain("100 %");
    for (const width of [20, 40, 80, 200]) expect(progressText(record(), width, NOW).length).toBeLessThanOrEqual(width);
  });
});

describe("a list of jobs", () => {
  it("is a table in both forms", () => {
    const records = [record(), record({ id: "7k3m9d0x2r", state: "out_of_memory" })];
    const [head, first, second] = jobsText(records, NOW).split("\n");
    expect(head).toMatch(/^ID +NAME +STATE +PROGRESS +CLUSTER +SUBMITTED$/);
    expect(first?.indexOf("letters")).toBe(head?.indexOf("NAME"));
    expect(second).toContain("out of memory");
    expect(jobsBundle(records, NOW)["text/html"]).toContain("<table");
    expect(jobsText([], NOW)).toBe("No jobs.");
  });
});

describe("results", () => {
  const good = {
    key: "a/1",
    source: "a.pdf",
    page: 1,
    text: "To my sister.",
    markdown: null,
    error: null,
    confidence: 91,
  };
  const bad = { key: "a/2", source: "a.pdf", page: 2, text: null, markdown: null, error: "The image is damaged." };

  it("show each page's picture beside its text, and an error in words", async () => {
    const image = { bytes: await picture(1200, 1600) };
    const bundle = await resultsBundle([{ row: good, image }, { row: bad }], { total: 60, complete: true });
    const html = String(bundle["text/html"]);
    expect(html.match(/<img /g)).toHaveLength(1);
    expect(html).toContain("To my sister.");
    expect(html).toContain("The image is damaged.");
    expect(html).toContain("2 pages of 60");
    expect(bundle["text/plain"]).toContain("── a.pdf · page 1 · 3 words · 91 % sure ──\nTo my sister.");
    expect(resultsText([bad])).toBe("── a.pdf · page 2 ──\n[The image is damaged.]");
  });

  it("keep an executed notebook small: a page's picture takes a few tens of kilobytes", async () => {
    const noise = await sharp({
      create: {
        width: 2480,
        height: 3508,
        channels: 3,
        noise: { type: "gaussian", mean: 200, sigma: 40 },
        background: "#fff",
      },
    })
      .jpeg({ quality: 90 })
      .toBuffer();
    const bundle = await resultsBundle([{ row: good, image: { bytes: noise } }], { total: 1, complete: true });
    expect(String(bundle["text/html"]).length).toBeLessThan(120_000);
  });

  it("say in words when a picture can't be shown", async () => {
    const bundle = await resultsBundle([{ row: good, image: { bytes: Buffer.alloc(5000, 7) } }, { row: bad }], {
      total: 2,
      complete: true,
    });
    expect(bundle["text/html"]).toContain("This page image can&#39;t be shown here.");
    expect(bundle["text/html"]).toContain("The page image is not on this machine.");
  });

  it("only take for a picture what begins like one that browsers show", async () => {
    expect(dataUrl(await picture(4, 4))).toMatch(/^data:image\/jpeg;base64,/);
    expect(dataUrl(Buffer.from("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"))).toBeUndefined();
    expect(dataUrl(Buffer.from("II*\0aaaaaaaaaaaaaaaa"))).toBeUndefined();
  });
});

describe("a contact sheet", () => {
  it("shows labels, and how many pages there are beyond those shown", async () => {
    const page = { key: "a/1", source: "book.pdf", image: await picture(300, 400) };
    const bundle = await contactSheetBundle(
      [
        { ...page, page: 1, label: { none: ["fol. 1r"] } },
        { ...page, page: 2 },
      ],
      { total: 240, faults: 1 },
    );
    expect(bundle["text/html"]).toContain("fol. 1r");
    expect(bundle["text/html"]).toContain("the first 2 of 240 pages");
    expect(bundle["text/plain"]).toBe(
      "book.pdf · page 1 · fol. 1r\nbook.pdf · page 2\n1 page or file could not be had.",
    );
  });
});

describe("words", () => {
  it("say durations as people do", () => {
    expect([0.4, 59, 60, 200, 3599.7, 7500, 100_000].map(duration)).toEqual([
      "0 s",
      "59 s",
      "1 min",
      "3 min 20 s",
      "1 h",
      "2 h 5 min",
      "1 d 4 h",
    ]);
  });
});
