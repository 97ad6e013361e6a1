/**
 * The way into a notebook output from inside tslab: whole MIME bundles, updates of what is shown, and the hook that
 * shows an object as the last value of a cell.
 *
 * tslab's public API sends one MIME type a message, and `require("tslab")` from a library finds no tslab or a second
 * one. The kernel's own copy is in Node's module cache; its `lastWriteDisplayData` (tslab 1.0.22, dist/jupyter.js)
 * takes a bundle with metadata and display id as the Jupyter protocol has them.
 */
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import type { Bundle } from "./bundle.js";

/** Something shown in a notebook that can change. */
export interface LiveDisplay {
  /** Shows this instead; of several within a tenth of a second only the last is sent. */
  update(bundle: Bundle): void;
  /** Sends what is still to be sent, and nothing after that. */
  close(): void;
}

/** Milliseconds between two updates of one display: smooth to the eye, light on the notebook's connection. */
const UPDATE_INTERVAL = 100;

interface DisplayMessage {
  data: Bundle;
  metadata: { [mime: string]: unknown };
  transient: { display_id: string };
}
type WriteDisplayData = (message: DisplayMessage, update: boolean) => void;

/** tslab gives every cell a writer of its own, so this is asked at every message. */
function writer(): WriteDisplayData | undefined {
  const { cache } = createRequire(import.meta.url);
  for (const path in cache) {
    if (!/[\\/]tslab[\\/]dist[\\/]jupyter\.js$/.test(path)) continue;
    const exported: unknown = cache[path]?.exports;
    // A second tslab may be loaded and idle: only the one that runs cells has a writer.
    if (typeof exported === "object" && exported !== null && "lastWriteDisplayData" in exported)
      if (typeof exported.lastWriteDisplayData === "function") return exported.lastWriteDisplayData as WriteDisplayData;
  }
  return undefined;
}

/** True inside a tslab kernel that has run a cell. */
export function inKernel(): boolean {
  return writer() !== undefined;
}

/** Shows a bundle as one output of the running cell; undefined outside a notebook, where the caller prints text. */
export function showInKernel(bundle: Bundle): LiveDisplay | undefined {
  const write = writer();
  if (write === undefined) return undefined;
  const id = randomUUID();
  const send = (data: Bundle, update: boolean) => {
    (update ? writer() : write)?.({ data, metadata: {}, transient: { display_id: id } }, update);
  };
  send(bundle, false);
  let pending: Bundle | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    if (pending === undefined) return;
    const data = pending;
    pending = undefined;
    send(data, true);
  };
  return {
    update(data) {
      if (closed) return;
      pending = data;
      timer ??= setTimeout(flush, UPDATE_INTERVAL).unref();
    },
    close() {
      flush();
      closed = true;
    },
  };
}

/** Name of the method that Node calls to print an object: `util.inspect.custom`, without loading node:util. */
export const INSPECT: unique symbol = Symbol.for("nodejs.util.inspect.custom") as never;

/** What an object's `[util.inspect.custom]` hands to {@link inspectHook}. */
export interface InspectRequest {
  /** The first two arguments that Node gives to `[util.inspect.custom]`. */
  depth: number | null;
  options: { readonly depth?: number | null };
  /** The form for `console.log`, nesting, and everywhere outside a notebook. */
  text: string;
  /** Made only if it is shown. */
  bundle: () => Bundle;
  /** Called with the display, if there is one, by an object that goes on changing. */
  live?: (display: LiveDisplay) => void;
}

/**
 * The answer of `[util.inspect.custom]`: in a notebook, a cell that ends in the object shows the bundle and prints
 * nothing; `console.log(object)`, an object inside another value, and other programs get the text.
 */
export function inspectHook(request: InspectRequest): string {
  const whole = request.depth === (request.options.depth ?? null);
  if (!whole || !isCellValue()) return request.text;
  const display = showInKernel(request.bundle());
  if (display === undefined) return request.text;
  if (request.live === undefined) display.close();
  else request.live(display);
  withoutNextLine();
  return "";
}

/**
 * True while tslab prints the last value of a cell. It does so by `console.log`, as a cell itself may: the frame that
 * called `console.log` tells the two apart.
 */
function isCellValue(): boolean {
  const { prepareStackTrace, stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = 50;
    Error.prepareStackTrace = (_error, sites) => sites.map((site) => site.getFileName() ?? "");
    const holder: { stack?: unknown } = {};
    Error.captureStackTrace(holder);
    const files = Array.isArray(holder.stack) ? (holder.stack as string[]) : [];
    const log = files.lastIndexOf("node:internal/console/constructor");
    return log >= 0 && /[\\/]tslab[\\/]dist[\\/]executor\.js$/.test(files[log + 1] ?? "");
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** Swallows the empty line that `console.log` is about to print for a value whose text is empty. */
function withoutNextLine(): void {
  const { stdout } = process;
  const original = stdout.write;
  const restore = () => {
    if (stdout.write === once) stdout.write = original;
  };
  const once = ((...args: Parameters<typeof original>) => {
    restore();
    return args[0] === "\n" ? true : original.apply(stdout, args);
  }) as typeof original;
  stdout.write = once;
  // Should nothing be printed after all, the next line of somebody else must not be lost.
  process.nextTick(restore);
}
