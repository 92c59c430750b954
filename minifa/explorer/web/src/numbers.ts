// Numbers and errors as text.

export const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));
export const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
export const minus = (text: string) => text.replaceAll("-", "−");
export const times = (shape: readonly number[]) => shape.join(" × ");

/** The shortest decimal that represents this number exactly, as NumPy prints it. */
export function exact(value: number, single: boolean): string {
  let text = String(value);
  for (let digits = 1; single && Number.isFinite(value) && digits <= 9; digits++) {
    text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === value) break;
  }
  return minus(text);
}

/** Three decimals, or as many digits as are significant relative to the largest number. */
export function short(value: number, largest = Math.abs(value)): string {
  if (!Number.isFinite(value)) return minus(String(value));
  if (Number.isInteger(value) && largest < 1000) return minus(String(value));
  if (largest < 0.01 && Math.abs(value) >= 1e-4) return minus(value.toPrecision(2));
  if (largest < 0.01 || largest >= 1000) return value === 0 ? "0" : minus(value.toExponential(1));
  const text = value.toFixed(largest < 10 ? 3 : largest < 100 ? 2 : 1);
  return Number(text) === 0 ? text.replace("-", "") : minus(text);
}

export const plain = (value: unknown) => (isNumber(value) ? minus(String(Number(value.toPrecision(4)))) : String(value));
export const degrees = (angle: unknown) => (isNumber(angle) ? `${angle.toFixed(1)}°` : "not defined");
export const percent = (share: unknown) =>
  isNumber(share) ? `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %` : "an unknown fraction";

/** An angle in words beside the band of angles that chance gives; no claim where it is not known. */
export function beside(angle: number | null, band?: readonly [number, number] | null): string {
  if (!isNumber(angle)) return "not defined, because one of the two is zero";
  if (angle < 1) return "the same direction";
  if (!band) return "";
  const range = `chance: ${degrees(band[0])} to ${degrees(band[1])}`;
  if (angle < band[0]) return `below ${range}`;
  return angle > band[1] ? `above ${range}` : `within ${range}`;
}

/** What an error says to the reader. */
export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
