import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { jpegFrame } from "../../kernel-lib/src/sources/jpeg-frame.js";
import { jpeg } from "../support/material.js";

const raw = async (options: import("sharp").JpegOptions = {}) =>
  sharp(await jpeg(1))
    .jpeg(options)
    .toBuffer();
const marker = (image: Buffer, code: number) => image.indexOf(Buffer.from([0xff, code]));
const half = (image: Buffer) => (marker(image, 0xda) + image.length) >> 1;

/** Colours are YCbCr, by the one; they are RGB, by the other. */
const JFIF = [0xff, 0xe0, 0, 16, ...Buffer.from("JFIF\0"), 1, 1, 0, 0, 1, 0, 1, 0, 0];
const ADOBE = [0xff, 0xee, 0, 14, ...Buffer.from("Adobe"), 0, 100, 0, 0, 0, 0, 0];

/** The image with bytes put in at a place. */
function spliced(image: Buffer, at: number, bytes: number[]): Buffer {
  return Buffer.concat([image.subarray(0, at), Buffer.from(bytes), image.subarray(at)]);
}

/** The image with one byte changed. */
function changed(image: Buffer, at: number, byte: number): Buffer {
  const copy = Buffer.from(image);
  copy[at] = byte;
  return copy;
}

describe("a JPEG is taken as it is", () => {
  it.each([
    ["baseline", async () => raw(), 3],
    ["progressive", async () => raw({ progressive: true }), 3],
    [
      "grey",
      async () =>
        sharp(await raw())
          .toColourspace("b-w")
          .jpeg()
          .toBuffer(),
      1,
    ],
    ["with bytes behind its end", async () => Buffer.concat([await raw(), Buffer.alloc(300)]), 3],
    ["with fill before a marker", async () => spliced(await raw(), marker(await raw(), 0xc0), [0xff, 0xff]), 3],
  ])("%s", async (_, make, components) => {
    expect(jpegFrame(await make())).toEqual({ width: 400, height: 500, components });
  });
});

describe("a JPEG is refused", () => {
  it.each<[string, (image: Buffer) => Buffer]>([
    ["that is none", () => Buffer.from("Dear reader, this is no picture.")],
    ["with a second frame", (image) => spliced(image, half(image), [0xff, 0xc0, 0, 8, 8, 0, 1, 0, 1, 0])],
    ["with a marker inside its data", (image) => spliced(image, half(image), [0xff, 0xc0])],
    ["with a restart where none was announced", (image) => spliced(image, half(image), [0xff, 0xd0])],
    ["without its end", (image) => image.subarray(0, image.length - 2)],
    ["cut in half", (image) => image.subarray(0, half(image))],
    ["without data", (image) => Buffer.concat([image.subarray(0, marker(image, 0xda)), Buffer.from([0xff, 0xd9])])],
    ["with a table longer than itself", (image) => spliced(image, marker(image, 0xdb), [0xff, 0xdb, 0xff, 0xff])],
    ["of arithmetic codes", (image) => changed(image, marker(image, 0xc0) + 1, 0xc9)],
    ["of 12 bits", (image) => changed(image, marker(image, 0xc0) + 4, 12)],
    ["of two words about its colours", (image) => spliced(image, 2, [...JFIF, ...ADOBE])],
  ])("%s", async (_, change) => {
    expect(jpegFrame(change(await raw()))).toBeUndefined();
  });
});
