// The size of every picture. The size of a cell depends on the shape of the array and on the width of a column alone: an
// array looks the same at every moment and under every rule, and units have the same width in all matrices of a layer.

import { type Grid, gridOf } from "../grid";
import type { Cell } from "../heat";
import { clamp, short } from "../numbers";
import { isKernel, roleOf } from "../symbols";
import type { Arr, Moment } from "../types";
import type { Figure } from "./film";

const [WIDEST, HIGHEST] = [44, 18]; // of a cell, in px; the width of a number
const ROOM = 256; // px for the height of a matrix
const [MAPS_ROOM, KERNELS_ROOM] = [152, 256];
const CAPTION = 34; // px with the gap below a picture

export interface Laid extends Figure {
  grid: Grid;
  cell: Cell;
  example: number | null;
  across?: number;
  /** A grey picture. */
  image: boolean;
}

/** Whether the first axis of an array are the examples of the batch. */
function isBatched({ symbol, array }: Figure, batch: number): boolean {
  return array.shape.length > 1 && !isKernel(roleOf(symbol)) && array.shape[0] > 0 && (array.shape.length === 4 || array.shape[0] % batch === 0);
}

/** How many tiles of maps (h, w, c) stand in a row, so that they are largest. */
export function tilesAcross([, h, w, c]: readonly number[], width: number): number {
  const sideOf = (across: number) => Math.min(Math.floor(width / (across * (w + 1))), Math.floor(MAPS_ROOM / (Math.ceil(c / across) * (h + 1))), 12);
  const rows = Array.from({ length: c }, (_, k) => k + 1).map((down) => Math.ceil(c / down));
  const full = rows.filter((across) => c % across === 0);
  return (full.some((across) => sideOf(across) > 2) ? full : rows).reduce((best, across) => (sideOf(across) > sideOf(best) ? across : best));
}

function sizeOf(grid: Grid, width: number, isMap: boolean): Cell {
  if (grid.tiled) {
    const side = clamp(Math.floor(Math.min(width / grid.columns, (isMap ? MAPS_ROOM : KERNELS_ROOM) / grid.rows)), 1, 12);
    return { w: side, h: side };
  }
  return { w: clamp(Math.floor(width / Math.max(1, grid.columns)), 2, WIDEST), h: clamp(Math.floor(ROOM / Math.max(1, grid.rows)), 2, HIGHEST) };
}

function widthOfNumbers(array: Arr): number {
  let letters = 0;
  for (let i = 0; i < array.values.length; i++) letters = Math.max(letters, short(array.values[i], array.largest).length);
  return letters * 5.7 + 4;
}

type Placed = Pick<Laid, "grid" | "cell" | "example" | "across">;

/** One example is shown first, except of matrices over which a gradient is summed. `example` null: all. */
function placed(figure: Figure, moment: Moment, example: number | null, batch: number, width: number): Placed {
  const { symbol, array } = figure;
  const isMap = array.shape.length === 4 && !isKernel(roleOf(symbol));
  const own = isBatched(figure, batch) && (moment.kind !== "gradients" || isMap) ? example : null;
  const across = isMap && own !== null ? tilesAcross(array.shape, width) : undefined;
  const grid = gridOf(array.shape, { kernel: isKernel(roleOf(symbol)), transposed: symbol.endsWith(".T"), example: own, across });
  return { grid, cell: sizeOf(grid, width, isMap), example: own, across };
}

export function layOut(figure: Figure, moment: Moment, example: number | null, batch: number, width: number): Laid {
  const { symbol, array, name } = figure;
  const found = placed(figure, moment, example, batch, width);
  const { w, h } = found.cell;
  const numbers = !found.grid.tiled && w >= 24 && h >= 16 && w >= widthOfNumbers(array);
  const image = array.shape.length === 4 && !isKernel(roleOf(symbol)) && /^x(@\d+)?$/.test(name) && [1, 3].includes(array.shape[3]);
  return { ...figure, ...found, cell: { w, h, numbers }, image };
}

/** The height of a column with these figures, in px, without decoding an array. */
export function heightOf(figures: Figure[], moment: Moment, example: number | null, batch: number, width: number): number {
  const lines = moment.equation.split("\n");
  const equation = lines.length > 1 || lines[0].length > 40 ? 26 + 26 * lines.length : 0; // below the name of the rule
  return figures.reduce((sum, figure) => {
    const { grid, cell } = placed(figure, moment, example, batch, width);
    return sum + CAPTION + grid.rows * cell.h;
  }, equation);
}
