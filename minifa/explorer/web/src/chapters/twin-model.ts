// The numbers of chapter 1: the weights of a layer, the error of every example, and what the way back makes of it.

import type { Arr, Content, Film, Moment, NamedArr } from "../types";
import { angleOf, gaussian, mean, norm, shuffled, uniform } from "../vectors";

export interface Layer {
  name: string;
  /** (inputs, outputs), row by row. */
  W: ArrayLike<number>;
  rows: number;
  columns: number;
  /** The errors at the layer's outputs, (examples, outputs). */
  errors: ArrayLike<number>;
  /** Backpropagation's errors at its inputs as the engine computed them, (examples, inputs). */
  truth: ArrayLike<number>;
  /** Activities at its inputs and outputs, (examples, inputs) and (examples, outputs), where the film has them. */
  inputs: ArrayLike<number> | null;
  outputs: ArrayLike<number> | null;
  examples: number;
  /** The number of examples of the update; the page may hold the errors of the first ones only. */
  batch: number;
  /** The weights after the update of the film. */
  after: ArrayLike<number> | null;
  isOutput: boolean;
  /** The shape of W if the page holds only its first rows. */
  of: readonly number[] | null;
}

const termOf = (moment: Moment | undefined, symbol: string): NamedArr | null => {
  const term = moment?.terms[symbol];
  return typeof term === "object" ? term : null;
};
const arrayOf = (moment: Moment | undefined, symbol: string): Arr | null => termOf(moment, symbol)?.array ?? null;
/** Whether the page holds all columns of a term; it may hold only its first rows. */
const hasColumns = (term: NamedArr | null) => !term?.of || term.of[1] === term.array.shape[1];
const isMatrix = (array: Arr | null): array is Arr => array?.shape.length === 2;

/** The first columns of a matrix: of the units whose weights the page holds. */
function firstColumns({ shape: [rows, columns], values }: Arr, count: number): ArrayLike<number> {
  return count === columns ? values : Float64Array.from({ length: rows * count }, (_, k) => values[Math.floor(k / count) * columns + (k % count)]);
}

/** The layers of a film of backpropagation whose step back is one product of matrices; the output layer is the first. */
export function layersOf(film: Film): Layer[] {
  const found: Layer[] = [];
  const find = (kind: string, layer: string) => film.find((one) => one.kind === kind && one.layer === layer);
  for (const moment of film) {
    if (moment.kind !== "carry") continue;
    const [W, errors] = [arrayOf(moment, "W"), arrayOf(moment, "delta")];
    const truth = arrayOf(moment, "delta_bp") ?? arrayOf(moment, "delta_below");
    if (!isMatrix(W) || !isMatrix(errors) || !isMatrix(truth)) continue;
    if (!hasColumns(termOf(moment, "W")) || !hasColumns(termOf(moment, "delta"))) continue; // the sum over j needs them all
    if (errors.shape[1] !== W.shape[1] || truth.shape[1] < W.shape[0] || truth.shape[0] !== errors.shape[0]) continue;
    const forward = find("forward", moment.layer);
    const [inputs, outputs] = [arrayOf(forward, "x"), arrayOf(forward, "y")];
    found.push({
      name: moment.layer,
      W: W.values,
      rows: W.shape[0],
      columns: W.shape[1],
      errors: errors.values,
      truth: firstColumns(truth, W.shape[0]),
      inputs: isMatrix(inputs) && inputs.shape[1] >= W.shape[0] ? firstColumns(inputs, W.shape[0]) : null,
      outputs: isMatrix(outputs) && outputs.shape[1] === W.shape[1] ? outputs.values : null,
      examples: errors.shape[0],
      batch: termOf(moment, "delta")?.of?.[0] ?? errors.shape[0],
      after: arrayOf(find("update", moment.layer), "W_new")?.values ?? null,
      isOutput: found.length === 0,
      of: termOf(moment, "W")?.of ?? null,
    });
  }
  return found;
}

/** The name of the rule whose film holds backpropagation's errors: bp, else the first of the page. */
export const ruleForTwin = (content: Content) => content.rules.find(({ name }) => name === "bp")?.name ?? content.rules[0]?.name;

export const rowOf = (values: ArrayLike<number>, row: number, width: number) =>
  Float64Array.from({ length: width }, (_, k) => values[row * width + k]);

/** The error e (outputs) through the copies C (inputs, outputs): delta_i = sum over j of e_j C_ij. */
export function carried(e: ArrayLike<number>, C: ArrayLike<number>, rows: number): Float64Array {
  return Float64Array.from({ length: rows }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < e.length; j++) sum += e[j] * C[i * e.length + j];
    return sum;
  });
}

/** How far e W^T, computed here, is from the engine's error, relative to its norm, over all examples. */
export function disagreement({ W, errors, truth, rows, columns, examples }: Layer): number {
  let [difference, size] = [0, 0];
  for (let n = 0; n < examples; n++) {
    const [here, engine] = [carried(rowOf(errors, n, columns), W, rows), rowOf(truth, n, rows)];
    difference += norm(here.map((value, i) => value - engine[i])) ** 2;
    size += norm(engine) ** 2;
  }
  return size ? Math.sqrt(difference / size) : Math.sqrt(difference);
}

/** Random weights of the size of W, and the order in which the twins become wrong. */
export function wrongTwins({ W }: Layer, seed: number): { values: Float64Array; order: number[] } {
  const next = uniform(seed);
  return { values: gaussian(W.length, norm(W) / Math.sqrt(W.length), next), order: shuffled(W.length, next) };
}

const DRAWS = 40;

/** The angles (mean -+ 2 sd) of an error that comes through random weights only, from 40 draws. */
export function chanceBand(layer: Layer, e: ArrayLike<number>, truth: ArrayLike<number>): [number, number] | null {
  const angles = Array.from({ length: DRAWS }, (_, k) => angleOf(carried(e, wrongTwins(layer, 1000 + k).values, layer.rows), truth));
  const known = angles.filter((one): one is number => one !== null);
  if (known.length < DRAWS) return null;
  const middle = mean(known);
  const sd = Math.sqrt(known.reduce((sum, one) => sum + (one - middle) ** 2, 0) / (DRAWS - 1));
  return [middle - 2 * sd, middle + 2 * sd];
}

/** The largest of the weights whose unit is active in an example. */
export function strongest({ W, rows, columns, inputs }: Layer, example: number, shownRows = rows, shownColumns = columns): [number, number] {
  let best: [number, number] = [0, 0];
  let most = -1;
  const active = inputs && rowOf(inputs, example, rows);
  const isSilent = !active || active.every((value) => value === 0);
  for (let i = 0; i < shownRows; i++)
    for (let j = 0; j < shownColumns; j++) {
      const size = isSilent || active[i] ? Math.abs(W[i * columns + j]) : 0;
      if (size > most) [most, best] = [size, [i, j]];
    }
  return best;
}
