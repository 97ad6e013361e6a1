import sharp, { type Sharp } from "sharp";
import { describe, expect, it } from "vitest";
import { checkImage } from "../../kernel-lib/src/images.js";

/** Noise, so that no format can leave the end of its data unused. */
const pixels = Buffer.from(Array.from({ length: 300 * 400 * 3 }, (_, i) => ((i * 2654435761) >>> 13) & 255));
const picture = (): Sharp => sharp(pixels, { raw: { width: 300, height: 400, channels: 3 } });

const FORMATS: Record<string, () => Promise<Buffer>> = {
  JPEG: () => picture().jpeg().toBuffer(),
  "progressive JPEG": () => picture().jpeg({ progressive: true }).toBuffer(),
  PNG: () => picture().png().toBuffer(),
  "interlaced PNG": () => picture().png({ progressive: true }).toBuffer(),
  TIFF: () => picture().tiff({ compression: "lzw" }).toBuffer(),
  WebP: () => picture().webp().toBuffer(),
  GIF: () => picture().gif().toBuffer(),
};

describe.each(Object.entries(FORMATS))("a %s", (_, make) => {
  it("that is whole is taken, with its size", async () => {
    expect(await checkImage(await make())).toMatchObject({ width: 300, height: 400 });
  });

  it.each([0.99, 0.9, 0.5, 0.1])("that is cut at %f of its bytes is refused in words", async (share) => {
    const bytes = await make();
    await expect(checkImage(bytes.subarray(0, Math.floor(bytes.length * share)))).rejects.toThrow(
      /truncated or damaged/,
    );
  });
});
