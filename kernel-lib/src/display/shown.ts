/** Plain data that shows itself at the end of a cell. */
import type { Bundle } from "./bundle.js";
import { INSPECT, type InspectRequest, inspectHook } from "./kernel.js";

/** Gives `data` a look for notebooks and `console.log`; it stays plain data for JSON, spread and comparison. */
export function shown<T extends object>(data: T, text: (data: T) => string, bundle: (data: T) => Bundle): T {
  Object.defineProperty(data, INSPECT, {
    enumerable: false,
    value: (depth: number, options: InspectRequest["options"]) =>
      inspectHook({ depth, options, text: text(data), bundle: () => bundle(data) }),
  });
  return data;
}
