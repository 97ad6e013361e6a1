/** Columns of a dataset and their types; imports nothing, so that declarations that speak of them stay light. */

/** Types of columns that we write. `image` is datasets' Image feature: encoded bytes, decoded by PIL when looked at. */
export type FeatureType = "string" | "int64" | "float64" | "image";
/** Columns by name, in their order. */
export type Features = Readonly<Record<string, FeatureType>>;
/** Columns of a result, as runners write them. */
export const RESULT_FEATURES = {
  key: "string",
  source: "string",
  page: "int64",
  label: "string",
  text: "string",
  markdown: "string",
  layout: "string",
  error: "string",
  confidence: "float64",
  seconds: "float64",
  width: "int64",
  height: "int64",
  inference_info: "string",
} as const satisfies Features;
/** A row: a value or null for every column; `image` takes the encoded bytes. */
export type Row = Readonly<Record<string, string | number | Uint8Array | null | undefined>>;
