/**
 * What browsers have and Node lacks, as far as pdf.js makes use of it: an ImageDecoder for JPEGs. Without one pdf.js
 * decodes them in JavaScript, which is most of the time that a scan with a stamp on it takes. Where this one gives up (a
 * damaged image, CMYK), pdf.js goes on as it does without.
 */
import { type Canvas, createCanvas } from "@napi-rs/canvas";
import { loadSharp } from "../images.js";

/** An opaque pixel without its colours, as a number of the byte order of all machines that \@napi-rs/canvas is made for. */
const OPAQUE = 0xff000000;

/** A decoded image. Its own properties are the ones that survive being cloned; see `cloneWithPictures`. */
class Picture {
  readonly picture: number;
  readonly width: number;
  readonly height: number;
  #canvas: Canvas | undefined;

  constructor(canvas: Canvas) {
    this.picture = next++;
    this.width = canvas.width;
    this.height = canvas.height;
    this.#canvas = canvas;
  }

  /** What drawImage of \@napi-rs/canvas looks for in an object that is no canvas itself. */
  get canvas(): Canvas | undefined {
    return this.#canvas;
  }

  /** Called by pdf.js when the page is done. */
  close(): void {
    if (this.#canvas !== undefined) this.#canvas.width = this.#canvas.height = 0;
    this.#canvas = undefined;
  }
}

let next = 1;

class JpegDecoder {
  readonly #data: Uint8Array;

  constructor({ data }: { data: Uint8Array }) {
    this.#data = data;
  }

  static async isTypeSupported(type: string): Promise<boolean> {
    return type === "image/jpeg";
  }

  async decode(): Promise<{ image: Picture }> {
    const sharp = await loadSharp();
    // The PDF says what the colours are, not a profile inside the image.
    const { data, info } = await sharp(this.#data, { ignoreIcc: true })
      .toColourspace("srgb")
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    const { width, height } = info;
    const canvas = createCanvas(width, height);
    // The canvas's own memory: putImageData would copy a whole scan twice, which is 35 MB.
    const own = canvas.data();
    const pixels = new Uint32Array(own.buffer, own.byteOffset, width * height);
    for (let i = 0, at = 0; i < pixels.length; i++, at += 3)
      pixels[i] = OPAQUE | ((data[at + 2] as number) << 16) | ((data[at + 1] as number) << 8) | (data[at] as number);
    return { image: new Picture(canvas) };
  }

  close(): void {}
}

/** Installs the decoder for pdf.js in this thread. To be called before pdf.js is loaded. */
export function installJpegDecoder(): void {
  const platform = globalThis as { ImageDecoder?: unknown; structuredClone: typeof structuredClone };
  platform.ImageDecoder = JpegDecoder;
  platform.structuredClone = cloneWithPictures(structuredClone);
}

/**
 * The two halves of pdf.js speak to each other in clones also within one thread, and hand over bitmaps, which can be
 * transferred in a browser. A picture is cloned to an object with its number, and put back by that.
 */
function cloneWithPictures(clone: typeof structuredClone): typeof structuredClone {
  return (value, options) => {
    const pictures = new Map<unknown, Picture>();
    const transfer = (options?.transfer ?? []).filter((item: unknown) => {
      if (item instanceof Picture) pictures.set(item.picture, item);
      return !(item instanceof Picture);
    });
    if (pictures.size === 0) return clone(value, options);
    const restore = (within: unknown): unknown => {
      if (typeof within !== "object" || within === null || ArrayBuffer.isView(within)) return within;
      const picture = "picture" in within ? pictures.get(within.picture) : undefined;
      if (picture !== undefined) return picture;
      for (const [key, item] of Object.entries(within)) (within as { [key: string]: unknown })[key] = restore(item);
      return within;
    };
    return restore(clone(value, { transfer })) as typeof value;
  };
}
