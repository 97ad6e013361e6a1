/** Decimals of Arrow and Parquet. */

/** A decimal of so many digits behind the point, as number where that is exact, else as text. */
export function decimalText(whole: bigint, scale: number): number | string {
  const digits = String(whole < 0n ? -whole : whole).padStart(scale + 1, "0");
  const point = digits.length - scale;
  const text = `${whole < 0n ? "-" : ""}${digits.slice(0, point)}${scale > 0 ? `.${digits.slice(point)}` : ""}`;
  return digits.length <= 15 ? Number(text) : text;
}
