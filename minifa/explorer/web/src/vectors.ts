// Small vectors: inner products, angles, and random numbers that are the same on every visit.

type Numbers = ArrayLike<number>;

export function dot(a: Numbers, b: Numbers): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

export const mean = (a: readonly number[]) => a.reduce((sum, one) => sum + one, 0) / a.length;
export const norm = (a: Numbers) => Math.sqrt(dot(a, a));

/** Degrees between two vectors; null if one of them is zero or not finite. */
export function angleOf(a: Numbers, b: Numbers): number | null {
  const size = norm(a) * norm(b);
  if (!(size > 0 && size < Infinity)) return null;
  return (Math.acos(Math.min(1, Math.max(-1, dot(a, b) / size))) * 180) / Math.PI;
}

/** Uniform numbers in [0, 1) from a seed (mulberry32, public domain). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** `count` independent Gaussian numbers (Box and Muller). */
export function gaussian(count: number, sd: number, next: () => number): Float64Array {
  return Float64Array.from({ length: count }, () => sd * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
}

/** 0 to count - 1 in random order. */
export function shuffled(count: number, next: () => number): number[] {
  const order = [...Array(count).keys()];
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
