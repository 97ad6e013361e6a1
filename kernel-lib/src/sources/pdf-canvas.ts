/**
 * What pdf.js needs of a browser's canvas and \@napi-rs/canvas (0.1.100) lacks: SVG filters that are named by a URL, which do
 * the soft masks by luminosity and the transfer functions of PDF (without them a mask hides nothing, or all); styles that are
 * read as they are after `restore`, and not as they were before it, for pdf.js copies them from one canvas to the other where
 * a mask ends; and text that may hold a NUL. The filters are told through the factory that pdf.js takes, and applied where
 * something is drawn under one.
 */
import { createCanvas, type SKRSContext2D } from "@napi-rs/canvas";

/** Changes RGBA pixels where they are, colours not multiplied by alpha. */
type Pixels = (rgba: Uint8ClampedArray) => void;

interface Filter {
  pixels: Pixels;
  /** The colour that a colour becomes; undefined for masks, through which only images are drawn. */
  colour?: (rgb: number) => number;
}

/** What is not a URL that this file gave out goes to the canvas itself. */
const NAME = /^url\(#yale-\d+\)$/;

const filters = new Map<string, Filter>();
let made = 0;

/** Takes the place of pdf.js's `FilterFactory`, which draws nothing in Node; see `getDocument` there. */
export class CanvasFilters {
  readonly #names = new Map<unknown, string>();

  /** For the transfer functions of a graphics state: one for all colours, or one each for red, green and blue. */
  addFilter(maps: readonly Uint8Array[] | null): string {
    if (!maps) return "none";
    const [first] = maps;
    const [red, green, blue] = maps.length === 1 ? [first, first, first] : maps;
    if (red === undefined || green === undefined || blue === undefined) return "none";
    return this.#name(maps, {
      pixels(rgba) {
        for (let i = 0; i < rgba.length; i += 4) {
          rgba[i] = red[rgba[i] ?? 0] ?? 0;
          rgba[i + 1] = green[rgba[i + 1] ?? 0] ?? 0;
          rgba[i + 2] = blue[rgba[i + 2] ?? 0] ?? 0;
        }
      },
      colour: (rgb) => ((red[rgb >> 16] ?? 0) << 16) | ((green[(rgb >> 8) & 255] ?? 0) << 8) | (blue[rgb & 255] ?? 0),
    });
  }

  /** For a mask by alpha with a transfer function. */
  addAlphaFilter(map: Uint8Array): string {
    return this.#name(map, {
      pixels(rgba) {
        for (let i = 3; i < rgba.length; i += 4) rgba[i] = map[rgba[i] ?? 0] ?? 0;
      },
    });
  }

  /** For a mask by luminosity; what the mask leaves open is black (ISO 32000-2, 11.5.3), and so hides. */
  addLuminosityFilter(map?: Uint8Array | null): string {
    return this.#name(map ?? "luminosity", {
      pixels(rgba) {
        for (let i = 0; i < rgba.length; i += 4) {
          const bright = 0.3 * (rgba[i] ?? 0) + 0.59 * (rgba[i + 1] ?? 0) + 0.11 * (rgba[i + 2] ?? 0);
          const light = Math.round((bright * (rgba[i + 3] ?? 0)) / 255);
          rgba[i] = rgba[i + 1] = rgba[i + 2] = 0;
          rgba[i + 3] = map ? (map[light] ?? 0) : light;
        }
      },
    });
  }

  /** High contrast is for screens. */
  addHCMFilter(): string {
    return "none";
  }

  /** Highlights are for screens. */
  addHighlightHCMFilter(): string {
    return "none";
  }

  /** Called by pdf.js when the document is closed. */
  destroy(): void {
    for (const name of this.#names.values()) filters.delete(name);
    this.#names.clear();
  }

  #name(key: unknown, filter: Filter): string {
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const name = `url(#yale-${made++})`;
    this.#names.set(key, name);
    filters.set(name, filter);
    return name;
  }
}

/** What the canvas does not keep, or not as it is, of a context. */
interface Now {
  /** Name of a filter of ours, or empty. */
  filter: string;
  fillStyle: Style;
  strokeStyle: Style;
}

type Style = SKRSContext2D["fillStyle"];

/** As the canvas begins. */
const FIRST: Now = { filter: "", fillStyle: "#000000", strokeStyle: "#000000" };

const NOW = Symbol("what is set now");
const BEFORE = Symbol("what save has kept");

type Context = SKRSContext2D & { [NOW]?: Now; [BEFORE]?: Now[] };

/** Makes all canvases of this thread do it. */
export function installCanvasParts(): void {
  const context = Object.getPrototypeOf(createCanvas(1, 1).getContext("2d")) as Context;
  const { save, restore, reset, drawImage } = context;
  const accessors = (name: "filter" | "fillStyle" | "strokeStyle") => {
    const { get, set } = Object.getOwnPropertyDescriptor(context, name) ?? {};
    if (get === undefined || set === undefined) throw new Error(`The canvas has no ${name}.`);
    return { get, set };
  };

  const filter = accessors("filter");
  Object.defineProperty(context, "filter", {
    configurable: true,
    get(this: Context): string {
      return this[NOW]?.filter || filter.get.call(this);
    },
    set(this: Context, value: string) {
      const ours = NAME.test(value);
      this[NOW] = { ...(this[NOW] ?? FIRST), filter: ours ? value : "" };
      if (!ours) filter.set.call(this, value);
    },
  });
  for (const name of ["fillStyle", "strokeStyle"] as const) {
    const { set } = accessors(name);
    Object.defineProperty(context, name, {
      configurable: true,
      get(this: Context): Style {
        return this[NOW]?.[name] ?? FIRST[name];
      },
      set(this: Context, value: Style) {
        this[NOW] = { ...(this[NOW] ?? FIRST), [name]: value };
        set.call(this, value);
      },
    });
  }
  context.save = function (this: Context) {
    const now = this[NOW] ?? FIRST;
    if (this[BEFORE] === undefined) this[BEFORE] = [now];
    else this[BEFORE].push(now);
    save.call(this);
  };
  context.restore = function (this: Context) {
    const before = this[BEFORE]?.pop();
    if (before !== undefined) this[NOW] = before;
    restore.call(this);
  };
  context.reset = function (this: Context) {
    delete this[NOW];
    delete this[BEFORE];
    reset.call(this);
  };

  const filterOf = (c: Context) => (filters.size > 0 ? filters.get(c[NOW]?.filter ?? "") : undefined);
  context.drawImage = function (this: Context, image, ...at: number[]) {
    const draw = drawImage as (this: SKRSContext2D, image: unknown, ...at: number[]) => void;
    const filter = filterOf(this);
    if (filter === undefined) return draw.call(this, image, ...at);
    const { width, height } = image as { width: number; height: number };
    const [x, y, w, h] = at.length === 8 ? (at as [number, number, number, number]) : [0, 0, width, height];
    if (w < 1 || h < 1) return;
    const copy = createCanvas(Math.ceil(w), Math.ceil(h));
    const own = copy.getContext("2d");
    draw.call(own, image, x, y, w, h, 0, 0, w, h);
    const pixels = own.getImageData(0, 0, copy.width, copy.height);
    filter.pixels(pixels.data);
    own.putImageData(pixels, 0, 0);
    if (at.length === 8) draw.call(this, copy, 0, 0, w, h, ...at.slice(4));
    else draw.call(this, copy, ...at);
    copy.width = copy.height = 0;
  } as SKRSContext2D["drawImage"];

  for (const name of ["fill", "fillRect", "fillText", "stroke", "strokeText"] as const) {
    const draw = context[name] as (this: SKRSContext2D, ...args: unknown[]) => void;
    const style = name.startsWith("stroke") ? "strokeStyle" : "fillStyle";
    const isText = name.endsWith("Text");
    (context as unknown as { [key: string]: unknown })[name] = function (this: Context, ...args: unknown[]) {
      if (isText) args[0] = withoutNul(args[0]);
      const before = this[style];
      const changed = filters.size > 0 ? recoloured(before, filterOf(this)) : undefined;
      if (changed === undefined) return draw.apply(this, args);
      this[style] = changed;
      draw.apply(this, args);
      this[style] = before;
    };
  }
  const { measureText } = context;
  context.measureText = function (this: SKRSContext2D, text: string) {
    return measureText.call(this, withoutNul(text));
  };
}

/** Text as a C string can hold it. */
function withoutNul(text: unknown): string {
  return String(text).replaceAll("\0", "");
}

function recoloured(style: unknown, filter: Filter | undefined): string | undefined {
  const hex = filter?.colour === undefined || typeof style !== "string" ? null : /^#([0-9a-f]{6})$/i.exec(style);
  if (hex?.[1] === undefined || filter?.colour === undefined) return undefined;
  return `#${filter.colour(Number.parseInt(hex[1], 16)).toString(16).padStart(6, "0")}`;
}
