import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, it } from "vitest";
import { prepare } from "../../kernel-lib/src/jobs/prepare.js";
import type { JobSpec } from "../../kernel-lib/src/protocol.js";
import { Sandbox } from "../support/sandbox.js";

it("a note that a crash left half written costs one preparation, not every job on these pages", async () => {
  const home = new Sandbox().enter();
  try {
    const pages = join(home.home, "pages");
    mkdirSync(pages);
    const image = sharp({ create: { width: 8, height: 8, channels: 3, background: "white" } });
    writeFileSync(join(pages, "1.png"), await image.png().toBuffer());
    const spec: JobSpec = {
      kind: "ocr",
      name: "a",
      cluster: "local",
      sources: [{ kind: "directory", location: pages }],
      options: {},
      resources: {},
    };
    const { hash } = await prepare(spec);
    const folder = join(home.home, "cache", "yale-jobs", "datasets");
    const notes = readdirSync(folder).filter((name) => /^[0-9a-f]{32}\.json$/.test(name));
    expect(notes).toHaveLength(1);
    for (const torn of ["", '{"ha', '{"hash":"../../elsewhere"}']) {
      writeFileSync(join(folder, notes[0] ?? ""), torn);
      expect((await prepare(spec)).hash).toBe(hash);
    }
    expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
  } finally {
    await home.close();
  }
});
