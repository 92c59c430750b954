// The position of every number of an array in its picture.

export interface Grid {
  rows: number;
  columns: number;
  /** The index into the array's values, or -1 in the gap between two tiles. */
  indexAt(row: number, column: number): number;
  /** The place of a value in the picture; null if it is not shown. */
  positionOf(index: number): { row: number; column: number } | null;
  /** "[2, 0]": the indices of a value in the array. */
  label(index: number): string;
  /** The size of a tile with its gap; that of the whole picture if there are no tiles. */
  tile: { rows: number; columns: number };
  tiled: boolean;
  plain: boolean;
}

export interface GridOptions {
  /** Four dimensions are kernels (kH, kW, C_in, C_out), not feature maps (N, H, W, C). */
  kernel?: boolean;
  /** The transpose: of a matrix rows become columns; of kernels, tiles [in, out] become tiles [out, in], each turned by
   * 180 degrees, because the error is carried by the transposed convolution. */
  transposed?: boolean;
  /** Only this example: of feature maps, or one row of a matrix (one column of its transpose). */
  example?: number | null;
  /** The channels of one example in rows of this many tiles. */
  across?: number;
}

/** Matrices as they are; maps as rows of images, one row per example; kernels as tiles, one row per input channel. */
export function gridOf(shape: readonly number[], options: GridOptions = {}): Grid {
  return shape.length === 4 ? tiledGrid(shape, options) : plainGrid(shape, options);
}

/** The indices of a value in an array of this shape. */
export function placeIn(shape: readonly number[], index: number): number[] {
  const at: number[] = [];
  for (let k = shape.length - 1; k >= 0; k--) {
    at.unshift(index % shape[k]);
    index = Math.floor(index / shape[k]);
  }
  return at;
}

export const labelOf = (shape: readonly number[], index: number) => `[${placeIn(shape, index).join(", ")}]`;

function plainGrid(shape: readonly number[], { transposed = false, example = null }: GridOptions): Grid {
  const across = shape.length ? shape[shape.length - 1] : 1;
  const all = across ? shape.reduce((a, b) => a * b, 1) / across : 0;
  const only = shape.length === 2 && example !== null ? Math.min(example, all - 1) : null;
  const [down, first] = only === null ? [all, 0] : [1, only];
  const [rows, columns] = transposed ? [across, down] : [down, across];
  return {
    rows,
    columns,
    indexAt: transposed ? (r, q) => (first + q) * across + r : (r, q) => (first + r) * across + q,
    positionOf: (index) => {
      const [r, q] = [Math.floor(index / across) - first, index % across];
      if (r < 0 || r >= down) return null;
      return transposed ? { row: q, column: r } : { row: r, column: q };
    },
    label: (index) => labelOf(shape, index),
    tile: { rows, columns },
    tiled: false,
    plain: shape.length <= 2,
  };
}

function tiledGrid(shape: readonly number[], { kernel = false, transposed = false, example = null, across: wished }: GridOptions): Grid {
  const [n, h, w, c] = shape;
  const inRow = !kernel && c === 1 && example === null; // grey images: all examples in one row
  let [down, across, high, wide] = [n, c, h, w];
  if (kernel) [down, across, high, wide] = transposed ? [c, w, n, h] : [w, c, n, h];
  else if (example !== null) [down, across] = [Math.ceil(c / (wished ?? c)), Math.min(wished ?? c, c)];
  else if (inRow) [down, across] = [1, n];
  const only = example === null ? null : Math.min(example, n - 1);
  const at = (i: number, y: number, j: number, x: number) => ({ row: i * (high + 1) + y, column: j * (wide + 1) + x });
  return {
    rows: down * (high + 1) - 1,
    columns: across * (wide + 1) - 1,
    indexAt: (r, q) => {
      const [i, y] = [Math.floor(r / (high + 1)), r % (high + 1)];
      const [j, x] = [Math.floor(q / (wide + 1)), q % (wide + 1)];
      if (y === high || x === wide) return -1;
      if (kernel && transposed) return (((n - 1 - y) * h + (h - 1 - x)) * w + j) * c + i;
      if (kernel) return ((y * h + x) * w + i) * c + j;
      const channel = only === null ? (inRow ? 0 : j) : i * across + j;
      return channel < c ? (((only ?? (inRow ? j : i)) * h + y) * w + x) * c + channel : -1;
    },
    positionOf: (index) => {
      const [first, second, third, last] = [Math.floor(index / (h * w * c)), Math.floor(index / (w * c)) % h, Math.floor(index / c) % w, index % c];
      if (kernel && transposed) return at(last, n - 1 - first, third, h - 1 - second);
      if (kernel) return at(third, first, last, second);
      if (only !== null) return first === only ? at(Math.floor(last / across), second, last % across, third) : null;
      return inRow ? at(0, second, first, third) : at(first, second, last, third);
    },
    label: (index) => labelOf(shape, index),
    tile: { rows: high + 1, columns: wide + 1 },
    tiled: true,
    plain: false,
  };
}
