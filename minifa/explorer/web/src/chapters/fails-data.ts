// The grid of finished runs of chapter 4 (see minifa/explorer/grid.py), what is chosen in it, and its sentences. All
// numbers of a sentence are computed from the runs.

import { degrees, isNumber } from "../numbers";
import type { Band } from "../types";
import { mean } from "../vectors";

export type Quantity = "accuracy" | "true_angle" | "weight_angle";
type Lists = (number | null)[][];

export interface Cell {
  family: string;
  depth: number;
  rule: string;
  lr: number;
  accuracy: number[][];
  true_angle: Lists | null;
  weight_angle: Lists | null;
  layers: { true_angle: string; weight_angle: string };
  chance: { true_angle: Band | null; weight_angle: Band | null };
  diverged: number;
  peer: number[] | null;
}

export interface Family { name: string; title: string; unit: string; units: string; kind: string; depths: number[] }

export interface RunGrid {
  meta: {
    data: string; train: number; test: number; classes: number; optimizer: string; batch_size: number; epochs: number;
    seeds: number[]; held_out: number; search_seeds: number[]; command: string; minifa: string; commit: string;
    date: string; torch: string | null;
  };
  rules: { name: string; title: string }[];
  families: Family[];
  cells: Cell[];
}

/** A cell; a row if `depth` is null (one rule at all depths); a column if `rule` is null (all rules at one depth). */
export interface Choice { family: string; depth: number | null; rule: string | null }

export interface Summary { mean: number; low: number; high: number }

const FAR_APART = 0.1; // from the lowest to the highest seed
const HAS_LEARNED = 0.1; // above the accuracy before training
const STILL_RISING = 0.05; // gain of accuracy in the last third of the epochs

export const score = (value: number) => `${(100 * value).toFixed(0)} %`;
const and = (words: string[]) =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;

export const familyOf = (grid: RunGrid, name: string) => grid.families.find((one) => one.name === name)!;
/** The control trains the output layer only. */
export const controlOf = (grid: RunGrid) => grid.rules[grid.rules.length - 1].name;

export function cellOf(grid: RunGrid, family: string, depth: number, rule: string): Cell {
  return grid.cells.find((one) => one.family === family && one.depth === depth && one.rule === rule)!;
}

export function chosenCells(grid: RunGrid, { family, depth, rule }: Choice): Cell[] {
  return grid.cells.filter(
    (one) => one.family === family && (depth === null || one.depth === depth) && (rule === null || one.rule === rule),
  );
}

/** Test accuracy after the last epoch: mean, lowest and highest seed. */
export function finalScore(cell: Cell): Summary {
  const last = cell.accuracy.map((run) => run[run.length - 1]);
  return { mean: mean(last), low: Math.min(...last), high: Math.max(...last) };
}

/** Mean over the seeds at every epoch; null where no seed has a value. */
export function meanCurve(lists: Lists | null): (number | null)[] {
  const length = Math.max(0, ...(lists ?? []).map((run) => run.length));
  return Array.from({ length }, (_, epoch) => {
    const known = lists!.map((run) => run[epoch]).filter(isNumber);
    return known.length ? mean(known) : null;
  });
}

function ends(lists: Lists | null): [start: number, end: number] | null {
  const known = meanCurve(lists).filter(isNumber);
  return known.length ? [known[0], known[known.length - 1]] : null;
}

/** -1: every seed is below every seed of the control; 1: above; 0: the seeds overlap. */
export function besideControl(grid: RunGrid, cell: Cell): -1 | 0 | 1 {
  const [own, other] = [finalScore(cell), finalScore(cellOf(grid, cell.family, cell.depth, controlOf(grid)))];
  return own.high < other.low ? -1 : own.low > other.high ? 1 : 0;
}

/** The cell that ends farthest below the control of its network, with every seed below every seed of the control. */
export function worstCell(grid: RunGrid): Cell {
  const gain = (cell: Cell) => finalScore(cell).mean - finalScore(cellOf(grid, cell.family, cell.depth, controlOf(grid))).mean;
  const below = grid.cells.filter((cell) => besideControl(grid, cell) < 0);
  return (below.length ? below : grid.cells).reduce((worst, cell) => (gain(cell) < gain(worst) ? cell : worst));
}

export function networkName(family: Family, depth: number): string {
  return `${depth} ${depth === 1 ? family.unit : family.units}${family.kind && ` ${family.kind}`}`;
}

/** What the reader sees, in sentences. */
export function caption(grid: RunGrid, choice: Choice): string {
  if (choice.depth === null) return ofRow(grid, choice.family, choice.rule!);
  if (choice.rule === null) return ofColumn(grid, choice.family, choice.depth);
  return ofCell(grid, cellOf(grid, choice.family, choice.depth, choice.rule));
}

function ofCell(grid: RunGrid, cell: Cell): string {
  const family = familyOf(grid, cell.family);
  const { mean: reached, low, high } = finalScore(cell);
  const first = grid.rules[0].name;
  const seeds = cell.accuracy.map((run) => run[run.length - 1]).sort((a, b) => a - b);
  const spread = `seeds: ${and(seeds.map(score))}`;
  const start = `With ${networkName(family, cell.depth)}, ${cell.rule} reaches ${score(reached)} (${spread})`;
  const control = controlOf(grid);
  if (cell.rule === control) {
    return `${start}. This is the control, output layer only: no error reaches a hidden layer, and only the output layer learns. ` +
      `A rule that ends below ${score(reached)} would do better to leave the hidden layers as they were drawn.`;
  }
  const other = score(finalScore(cellOf(grid, cell.family, cell.depth, control)).mean);
  const relation = {
    "-1": `: every seed is below those of the control, which reaches ${other}`,
    "0": high - low > FAR_APART
      ? `: the seeds are too far apart to say whether it is below the control, which reaches ${other}`
      : `: no clear difference from the control, which reaches ${other}`,
    "1": `: above the control, which reaches ${other}`,
  }[besideControl(grid, cell)];
  const best = cell.rule === first ? "" : `; ${first} reaches ${score(finalScore(cellOf(grid, cell.family, cell.depth, first)).mean)}`;
  return [`${start}${relation}${best}.`, aboutPace(cell), aboutErrors(cell), aboutWeights(cell), elsewhere(grid, cell)].filter(Boolean).join(" ");
}

const PLACES = ["closer than chance", "chance", "farther than chance"];
const placeOf = (angle: number, band: Band) => (angle < band[0] ? 0 : angle > band[1] ? 2 : 1);

function place(angle: number, band: Band | null): string {
  if (!band) return "";
  const found = placeOf(angle, band);
  return `, ${found === 1 ? "which is " : ""}${PLACES[found]} (${degrees(band[0])} to ${degrees(band[1])})`;
}

function aboutErrors(cell: Cell): string {
  const angles = ends(cell.true_angle);
  const band = cell.chance.true_angle;
  if (!angles) return "No error reaches the lowest layer.";
  if (angles[1] < 0.05) return "Its errors are the true ones, at 0° by definition.";
  const curve = meanCurve(cell.accuracy) as number[];
  const isAbove = band && angles[1] >= band[0] && curve[curve.length - 1] - curve[0] > HAS_LEARNED;
  const learns = isAbove ? " Only the lowest hidden layer is shown; the error at the output layer is always exact, so the learning happens above the lowest layer." : "";
  return `The error at the lowest layer ends at ${degrees(angles[1])} to the true one${place(angles[1], band)}.${learns}`;
}

function aboutWeights(cell: Cell): string {
  const angles = ends(cell.weight_angle);
  if (!angles) return "It has no B that stands in for a W, so the two have no angle.";
  if (angles[1] < 0.05) return "";
  return `W and B of ${cell.layers.weight_angle}, through which it arrives, go from ${degrees(angles[0])} to ` +
    `${degrees(angles[1])}${place(angles[1], cell.chance.weight_angle)}.`;
}

/** Whether the last third of the epochs still changed something. */
function aboutPace(cell: Cell): string {
  const curve = meanCurve(cell.accuracy) as number[];
  const before = Math.round((2 * (curve.length - 1)) / 3);
  const gain = curve[curve.length - 1] - curve[before];
  return gain < STILL_RISING ? "" : `It is still rising: after ${before} epochs it had ${score(curve[before])}.`;
}

/** The same rule and depth in the other families with the same unit. */
function elsewhere(grid: RunGrid, cell: Cell): string {
  const { unit } = familyOf(grid, cell.family);
  return grid.families
    .filter((one) => one.name !== cell.family && one.unit === unit && one.depths.includes(cell.depth))
    .map((one) => `${one.kind[0].toUpperCase()}${one.kind.slice(1)}, the same network reaches ${score(finalScore(cellOf(grid, one.name, cell.depth, cell.rule)).mean)} under ${cell.rule}.`)
    .join(" ");
}

function ofRow(grid: RunGrid, name: string, rule: string): string {
  const family = familyOf(grid, name);
  const cells = family.depths.map((depth) => cellOf(grid, name, depth, rule));
  const scores = cells.map((one) => score(finalScore(one).mean));
  const kind = family.kind && ` ${family.kind}`;
  const start = `With ${and(family.depths.map(String))} ${family.units}${kind}, ${rule} reaches ${and(scores)}.`;
  const control = controlOf(grid);
  if (rule === control) return `${start} Only the output layer learns, from features that stay as they were drawn.`;
  const below = cells.filter((one) => besideControl(grid, one) < 0).map((one) => String(one.depth));
  const above = cells.filter((one) => besideControl(grid, one) > 0).map((one) => String(one.depth));
  const relation = [above.length && `above the control at ${and(above)}`, below.length && `below it at ${and(below)}`];
  const told = relation.some(Boolean)
    ? `It is ${and((above.length ? relation : [below.length && `below the control at ${and(below)}`]).filter((one) => one) as string[])}.`
    : `At no depth do these seeds tell it from the control.`;
  return [start, told, errorsByDepth(cells)].filter(Boolean).join(" ");
}

function errorsByDepth(cells: Cell[]): string {
  const known = cells.flatMap((cell) => {
    const angles = ends(cell.true_angle);
    return angles && angles[1] >= 0.05 ? [{ cell, angle: angles[1] }] : [];
  });
  if (!known.length) return "";
  const places = PLACES.flatMap((words, k) => {
    const depths = known.filter(({ cell, angle }) => cell.chance.true_angle && placeOf(angle, cell.chance.true_angle) === k);
    return depths.length ? [`${words} at ${and(depths.map(({ cell }) => String(cell.depth)))}`] : [];
  });
  return `The error at the lowest layer ends at ${and(known.map(({ angle }) => degrees(angle)))} to the true one: ${and(places)}.`;
}

function ofColumn(grid: RunGrid, name: string, depth: number): string {
  const control = controlOf(grid);
  const cells = grid.rules.map((one) => cellOf(grid, name, depth, one.name));
  const rules = cells.filter((one) => one.rule !== control);
  const scores = rules.map((one) => `${one.rule} ${score(finalScore(one).mean)}`);
  const other = score(finalScore(cellOf(grid, name, depth, control)).mean);
  const below = rules.filter((one) => besideControl(grid, one) < 0).map((one) => one.rule);
  const even = rules.filter((one) => besideControl(grid, one) === 0).map((one) => one.rule);
  const told = [
    below.length ? `Below the control ${below.length === 1 ? "is" : "are"} ${and(below)}.` : "No rule is below the control.",
    even.length ? `These seeds do not tell ${and(even)} from the control.` : "",
  ];
  const lost = rules.filter((one) => {
    const angles = ends(one.true_angle);
    return angles && one.chance.true_angle && placeOf(angles[1], one.chance.true_angle) === 1;
  });
  const errors = lost.length
    ? `At the lowest layer the errors of ${and(lost.map((one) => `${one.rule} (${degrees(ends(one.true_angle)![1])})`))} are at chance.`
    : "";
  return [`With ${networkName(familyOf(grid, name), depth)}: ${and(scores)}; the control has ${other}.`, ...told, errors]
    .filter(Boolean).join(" ");
}
