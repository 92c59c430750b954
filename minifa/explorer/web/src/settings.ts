// The settings of the playground and their place in the address: chapter-5/rule=fa/rate=0.02/hidden=16,16/paint.linear2=...
// Whatever an address has that is not a setting, or out of range, is replaced by the default.

import type { RunParams } from "./types";

/** Cells of B that the reader set: index to sign. */
export interface Painted { size: number; cells: Record<number, Sign> }
export type Sign = -1 | 0 | 1;

export interface Settings {
  rule: string;
  rate: number;
  depth: number;
  width: number;
  /** The share of wrong training labels. */
  noise: number;
  seed: number;
  epochs: number;
  /** Degrees between B and the initial W; null: B is drawn. */
  angle: number | null;
  painted: Record<string, Painted>;
}

export interface Choices { rules: string[]; depths: number[]; widths: number[]; seeds: number[]; epochs: number[] }

export const RATES = { least: 0.001, most: 1 };
export const MOST_NOISE = 0.5;
const MOST_CELLS = 2000;
const LETTERS: Record<string, Sign> = { p: 1, z: 0, n: -1 };
const letterOf = (sign: Sign) => (sign > 0 ? "p" : sign < 0 ? "n" : "z");

export const STANDARD: Settings = {
  rule: "fa", rate: 0.02, depth: 2, width: 16, noise: 0, seed: 0, epochs: 6, angle: null, painted: {},
};

/** A rate with two significant digits. */
export const rounded = (rate: number) => Number(rate.toPrecision(2));

function paintedFrom(text: string): Painted | null {
  const [size, cells = ""] = text.split(":");
  const value = rounded(Number(size));
  if (!(value > 0 && value < 1e3)) return null;
  const found = [...cells.matchAll(/(\d{1,5})([pzn])/g)].slice(0, MOST_CELLS);
  return { size: value, cells: Object.fromEntries(found.map(([, index, letter]) => [Number(index), LETTERS[letter]])) };
}

/** The settings of an address's parts, "rule=fa". */
export function readSettings(parts: readonly string[], choices: Choices): Settings {
  const given = new Map(parts.map((part) => [part.split("=")[0], part.split("=").slice(1).join("=")] as const));
  const number = (key: string, low: number, high: number, otherwise: number) => {
    const text = given.get(key);
    const value = text ? Number(text) : NaN;
    return value >= low && value <= high ? value : otherwise;
  };
  const one = <T,>(options: readonly T[], wanted: unknown, otherwise: T) => options.find((option) => String(option) === wanted) ?? (options.includes(otherwise) ? otherwise : options[0]);
  const rule = one(choices.rules, given.get("rule"), STANDARD.rule);
  const hidden = (given.get("hidden") ?? "").split(",");
  const isKnown = new Set(hidden).size === 1 && choices.widths.map(String).includes(hidden[0]);
  const depth = isKnown ? String(hidden.length) : "";
  const angle = number("angle", 0, 180, NaN);
  const painted: Settings["painted"] = {};
  for (const [key, text] of given) {
    const cells = /^paint\.\w{1,40}$/.test(key) ? paintedFrom(text) : null;
    if (cells) painted[key.slice(6)] = cells;
  }
  return {
    rule,
    rate: rounded(number("rate", RATES.least, RATES.most, STANDARD.rate)),
    depth: one(choices.depths, depth, STANDARD.depth),
    width: one(choices.widths, isKnown ? hidden[0] : "", STANDARD.width),
    noise: rounded(number("noise", 0, MOST_NOISE, 0)),
    seed: one(choices.seeds, given.get("seed"), STANDARD.seed),
    epochs: one(choices.epochs, given.get("epochs"), STANDARD.epochs),
    angle: rule !== "fa" || Number.isNaN(angle) ? null : Math.round(angle),
    painted,
  };
}

/** The address of these settings; what has its default value is left out. */
export function writeSettings(settings: Settings): string {
  const { rule, rate, depth, width, noise, seed, epochs, angle } = settings;
  const parts = [`rule=${encodeURIComponent(rule)}`, `rate=${rate}`, `hidden=${hiddenOf(settings).join(",")}`];
  if (noise) parts.push(`noise=${noise}`);
  if (seed) parts.push(`seed=${seed}`);
  if (epochs !== STANDARD.epochs) parts.push(`epochs=${epochs}`);
  if (angle !== null) parts.push(`angle=${angle}`);
  for (const [layer, { size, cells }] of Object.entries(settings.painted)) {
    const text = Object.entries(cells).map(([index, sign]) => index + letterOf(sign)).join("");
    if (text) parts.push(`paint.${layer}=${size}:${text}`);
  }
  const isStandard = parts.length === 3 && rule === STANDARD.rule && rate === STANDARD.rate && depth === STANDARD.depth && width === STANDARD.width;
  return ["chapter-5", ...(isStandard ? [] : parts)].join("/");
}

export const hiddenOf = ({ depth, width }: Settings) => Array<number>(depth).fill(width);

/** The parameters of the run. sizes: of the matrices whose cells may be set; other painted cells are left out. */
export function paramsOf(settings: Settings, sizes: Record<string, number>, batches: number): RunParams {
  const painted = Object.entries(settings.painted).filter(([layer]) => layer in sizes);
  const cellsOf = ({ size, cells }: Painted, most: number) =>
    Object.entries(cells).filter(([index]) => Number(index) < most).map(([index, sign]) => [Number(index), sign * size] as [number, number]);
  const feedback = painted.map(([layer, one]) => [layer, cellsOf(one, sizes[layer])] as const).filter(([, cells]) => cells.length);
  return {
    rule: settings.rule,
    lr: settings.rate,
    hidden: hiddenOf(settings),
    seed: settings.seed,
    updates: batches * settings.epochs,
    noise: settings.noise,
    angle: settings.angle,
    feedback: Object.fromEntries(feedback),
  };
}
