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

/**
 * Columns of images by the features that Hugging Face notes, best first: one called `image`, those with one image a row,
 * those with lists. Empty for what is no list of features.
 */
export function imageFeatures(features: unknown): string[] {
  if (typeof features !== "object" || features === null) return [];
  const depth = (feature: unknown): number | undefined => {
    if (Array.isArray(feature)) return deeper(depth(feature[0]));
    const { _type, feature: inner } = (feature ?? {}) as { _type?: unknown; feature?: unknown };
    if (_type === "Image") return 0;
    return _type === "Sequence" || _type === "List" || _type === "LargeList" ? deeper(depth(inner)) : undefined;
  };
  const rank = (name: string, d: number) => d * 2 + (name === "image" ? 0 : 1);
  return Object.entries(features)
    .flatMap(([name, feature]) => {
      const d = depth(feature);
      return d === undefined ? [] : [{ name, rank: rank(name, d) }];
    })
    .sort((a, b) => a.rank - b.rank)
    .map(({ name }) => name);
}

function deeper(depth: number | undefined): number | undefined {
  return depth === undefined ? undefined : depth + 1;
}
