// The scales of a chart: numbers to pixels, with ticks at 1, 2 or 5 times a power of ten.

export type Range = readonly [low: number, high: number];

export interface Scale {
  (value: number): number;
  /** About `count` round values in the domain. */
  ticks(count: number): number[];
}

/** The round number nearest to span / count: 1, 2, 5 or 10 times a power of ten. */
function roundStep(span: number, count: number): number {
  const power = 10 ** Math.floor(Math.log10(span / count));
  const factor = span / count / power;
  return power * (factor >= Math.sqrt(50) ? 10 : factor >= Math.sqrt(10) ? 5 : factor >= Math.SQRT2 ? 2 : 1);
}

function roundValues([low, high]: Range, count: number): number[] {
  const step = roundStep(high - low, count);
  const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
  return Array.from({ length: last - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12))); // 0.3, not 0.30000000000000004
}

/** The domain, widened to the next round values. */
function widened([low, high]: Range, count: number): Range {
  const step = roundStep(high - low, count);
  return [step * Math.floor(low / step), step * Math.ceil(high / step)];
}

function scaleOf(domain: Range, [from, to]: Range, change: (value: number) => number, ticks: Scale["ticks"]): Scale {
  const [low, high] = domain.map(change);
  return Object.assign((value: number) => from + ((change(value) - low) / (high - low)) * (to - from), { ticks });
}

/** `nice`: the domain is widened to round values, about so many. */
export function linear(domain: Range, range: Range, nice?: number): Scale {
  const shown = nice ? widened(domain, nice) : domain;
  return scaleOf(shown, range, (value) => value, (count) => roundValues(shown, count));
}

/** Of positive numbers; the domain is widened to powers of ten, which are the ticks. */
export function logarithmic(domain: Range, range: Range): Scale {
  const exponents = [Math.floor(Math.log10(domain[0])), Math.ceil(Math.log10(domain[1]))] as const;
  const ticks = (count: number) => roundValues(exponents, Math.min(count, exponents[1] - exponents[0])).map((one) => 10 ** one);
  return scaleOf([10 ** exponents[0], 10 ** exponents[1]], range, Math.log10, ticks);
}

/** As a logarithmic scale of 1 + value, so that it holds 0; its ticks are powers of ten and 0. */
export function counting([low, high]: Range, range: Range): Scale {
  const ticks = () => [0, 1, 10, 100, 1000, 1e4, 1e5].filter((one) => one >= low && one <= high);
  return scaleOf([low, high], range, Math.log1p, ticks);
}
