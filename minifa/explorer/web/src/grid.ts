// The position of every number of an array in its picture.

export interface Grid {
  rows: number;
  columns: number;
  /** The index into the array's values, or -1 in the gap between two tiles. */
  indexAt(row: number, column: number): number;
  /** "[2, 0]": the indices of a value in the array. */
  label(index: number): string;
  tiled: boolean;
  plain: boolean;
}

export interface GridOptions {
  /** Four dimensions are kernels (kH, kW, C_in, C_out), not feature maps (N, H, W, C). */
  kernel?: boolean;
  /** The transpose: of a matrix rows become columns; of kernels, tiles [in, out] become tiles [out, in], each turned by
   * 180 degrees, because the error is carried by the transposed convolution. */
  transposed?: boolean;
  /** Only this example of feature maps. */
  example?: number | null;
}

/** Matrices as they are; maps as rows of images, one row per example; kernels as tiles, one row per input channel. */
export function gridOf(shape: readonly number[], { kernel = false, transposed = false, example = null }: GridOptions = {}): Grid {
  const size = shape.reduce((a, b) => a * b, 1);
  const label = (index: number) => {
    const parts: number[] = [];
    for (let k = shape.length - 1; k >= 0; k--) {
      parts.unshift(index % shape[k]);
      index = Math.floor(index / shape[k]);
    }
    return `[${parts.join(", ")}]`;
  };
  if (shape.length !== 4) {
    const across = shape.length ? shape[shape.length - 1] : 1;
    const down = across ? size / across : 0;
    return {
      rows: transposed ? across : down,
      columns: transposed ? down : across,
      indexAt: transposed ? (r, q) => q * across + r : (r, q) => r * across + q,
      label,
      tiled: false,
      plain: shape.length <= 2,
    };
  }
  const [n, h, w, c] = shape;
  const inRow = !kernel && c === 1 && example === null; // grey images: all examples in one row
  let [down, across, high, wide] = [n, c, h, w];
  if (kernel) [down, across, high, wide] = transposed ? [c, w, n, h] : [w, c, n, h];
  else if (example !== null) down = 1;
  else if (inRow) [down, across] = [1, n];
  return {
    rows: down * (high + 1) - 1,
    columns: across * (wide + 1) - 1,
    indexAt: (r, q) => {
      const [i, y] = [Math.floor(r / (high + 1)), r % (high + 1)];
      const [j, x] = [Math.floor(q / (wide + 1)), q % (wide + 1)];
      if (y === high || x === wide) return -1;
      if (kernel && transposed) return (((n - 1 - y) * h + (h - 1 - x)) * w + j) * c + i;
      if (kernel) return ((y * h + x) * w + i) * c + j;
      return (((example ?? (inRow ? j : i)) * h + y) * w + x) * c + (inRow ? 0 : j);
    },
    label,
    tiled: true,
    plain: false,
  };
}
