/** A multilayer perceptron in the page, for runs that a reader changes. It is never a second truth: its start, its
 * random matrices and the order of its batches come from the engine, and it is compared with the engine in
 * tests/explorer/test_live.py and whenever the page opens (`checkLive`).
 *
 *     y = x W + b      delta = act'(y) (delta_above B^T)      dW = x^T delta      W <- W - lr (dW + decay W)
 *
 * State is float32, as in the engine; sums are float64. Matrices are row-major, of the engine's shapes. */

import type { LayerSnapshot } from "./types";

export type Floats = Float32Array<ArrayBufferLike>;
export type Cells = [index: number, value: number][];

/** What a run starts from. Lists have one entry for each linear layer; a layer whose rule has no matrix has []. */
export interface Start {
  sizes: number[]; // inputs, hidden widths, outputs
  activation: string;
  W: Floats[];
  b: Floats[];
  M: Floats[]; // drawn for the rule, of W's shape
  N: Floats[]; // drawn, orthogonal to W, of W's norm
  F: Floats[]; // direct feedback: (units of the layer, outputs)
  redrawn: (step: number, layer: number) => Floats; // M of an update, for a rule that draws it anew
}
export interface Examples {
  x: Floats; // (n, inputs)
  y: ArrayLike<number>; // classes
}
type Measures = Pick<LayerSnapshot, "weight_angle" | "true_angle" | "sign_agreement">;
type Activation = { f: (x: number) => number; slope: (y: number) => number }; // the slope from the output y = f(x)
interface LiveRule {
  matrix?: (net: Net, layer: number) => Floats; // B, of W's shape
  stored?: "B" | "F"; // the matrices that stay in place, and can be painted
  learns?: boolean; // B receives the update of W
  decay?: number; // the rule's weight decay
}

const ACTIVATIONS: Record<string, Activation> = {
  relu: { f: (x) => (x > 0 ? x : 0), slope: (y) => (y > 0 ? 1 : 0) },
  tanh: { f: Math.tanh, slope: (y) => 1 - y * y },
};

export const RULES: Record<string, LiveRule> = {
  bp: { matrix: (net, layer) => net.W[layer] },
  fa: { matrix: (net, layer) => net.B[layer], stored: "B" },
  usf: { matrix: (net, layer) => signed(net.W[layer], uniform(net.W[layer])) },
  frsf: { matrix: (net, layer) => signed(net.W[layer], net.start.M[layer]) },
  brsf: { matrix: (net, layer) => signed(net.W[layer], net.start.redrawn(net.step, layer)) },
  dfa: { stored: "F" },
  kolen_pollack: { matrix: (net, layer) => net.B[layer], stored: "B", learns: true, decay: 0.01 },
};

export class Net {
  W: Floats[];
  b: Floats[];
  B: Floats[];
  F: Floats[];
  step = 0;
  rule: LiveRule;
  act: Activation;

  /** angle: degrees between B and the initial W, for stored matrices of W's shape; null: B is M. */
  constructor(readonly start: Start, rule: string, angle: number | null = null, painted: Record<number, Cells> = {}) {
    this.rule = RULES[rule];
    this.act = ACTIVATIONS[start.activation];
    const copy = (arrays: Floats[]) => arrays.map((array) => array.slice());
    [this.W, this.b, this.F] = [copy(start.W), copy(start.b), copy(start.F)];
    this.B = angle === null ? copy(start.M) : start.N.map((N, layer) => atAngle(start.W[layer], N, angle));
    const stored = this.rule.stored === "F" ? this.F : this.B;
    for (const [layer, cells] of Object.entries(painted)) for (const [i, value] of cells) stored[+layer][i] = value;
  }

  /** The activities of all layers for n examples: the inputs, those of the hidden layers, the outputs. */
  forward(x: Floats, n: number): Floats[] {
    const all = [x];
    this.W.forEach((W, layer) => {
      const [rows, cols] = this.start.sizes.slice(layer, layer + 2);
      const y = product(n, rows, cols, [all[layer], rows, 1], [W, cols, 1]);
      const f = layer < this.W.length - 1 ? this.act.f : (value: number) => value;
      for (let i = 0; i < y.length; i++) y[i] = f(Math.fround(y[i] + this.b[layer][i % cols]));
      all.push(y);
    });
    return all;
  }

  /** The errors at the outputs of all linear layers, from the error at the outputs (n, outputs). */
  errors(all: Floats[], error: Floats, n: number, rule: LiveRule): Floats[] {
    const { sizes } = this.start;
    const deltas: Floats[] = [];
    const top = this.W.length - 1;
    deltas[top] = error;
    for (let layer = top; layer > 0; layer--) {
      const [units, above] = rule.matrix ? [sizes[layer], sizes[layer + 1]] : [sizes[layer], sizes[top + 1]];
      const [from, matrix] = rule.matrix ? [deltas[layer], rule.matrix(this, layer)] : [error, this.F[layer - 1]];
      const delta = product(n, above, units, [from, above, 1], [matrix, 1, above]);
      for (let i = 0; i < delta.length; i++) delta[i] *= this.act.slope(all[layer][i]);
      deltas[layer - 1] = delta;
    }
    return deltas;
  }

  /** One update with the mean gradient of a batch. */
  update({ x, y }: Examples, lr: number): void {
    const n = y.length;
    const all = this.forward(x, n);
    const deltas = this.errors(all, softmaxError(all[this.W.length], y, n).error, n, this.rule);
    const ones = new Float32Array(n).fill(1);
    const [rate, decay] = [Math.fround(lr), this.rule.decay ?? 0];
    const move = (array: Floats, gradient: Floats) =>
      gradient.forEach((one, i) => (array[i] -= rate * Math.fround(one + decay * array[i])));
    this.W.forEach((W, layer) => {
      const [rows, cols] = this.start.sizes.slice(layer, layer + 2);
      const gradient = product(rows, n, cols, [all[layer], 1, rows], [deltas[layer], cols, 1]);
      if (this.rule.learns && layer > 0) move(this.B[layer], gradient);
      move(W, gradient);
      move(this.b[layer], product(1, n, cols, [ones, n, 1], [deltas[layer], cols, 1]));
    });
    this.step += 1;
  }

  /** The mean loss and the accuracy. */
  score({ x, y }: Examples): { loss: number; accuracy: number } {
    const output = this.forward(x, y.length)[this.W.length];
    const right = Array.from(y).filter((label, i) => largest(output, i, this.start.sizes.at(-1)!) === label);
    return { loss: softmaxError(output, y, y.length).loss, accuracy: right.length / y.length };
  }

  /** Angles and signs of every layer; true_angle is the mean over these examples. */
  alignment({ x, y }: Examples): Measures[] {
    const all = this.forward(x, y.length);
    const { error } = softmaxError(all[this.W.length], y, y.length);
    const [own, bp] = [this.rule, RULES.bp].map((rule) => this.errors(all, error, y.length, rule));
    return this.W.map((W, layer) => {
      const B = layer > 0 && this.rule.matrix ? this.rule.matrix(this, layer) : null;
      const units = this.start.sizes[layer + 1];
      const angles = Array.from(y, (_, i) => angle(own[layer], bp[layer], i * units, units));
      const known = angles.filter((one) => !Number.isNaN(one));
      return {
        weight_angle: B && finite(angle(W, B)),
        true_angle: finite(known.reduce((a, b) => a + b, 0) / known.length),
        sign_agreement: B && W.reduce((sum, w, i) => sum + (Math.sign(w) === Math.sign(B[i]) ? 1 : 0), 0) / W.length,
      };
    });
  }
}

type Strided = [array: Floats, row: number, col: number]; // entry [i, j] is array[i * row + j * col]

/** a (rows, inner) times b (inner, cols). */
function product(rows: number, inner: number, cols: number, left: Strided, right: Strided): Floats {
  const [[a, aRow, aCol], [b, bRow, bCol]] = [left, right];
  const out = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++) {
      let sum = 0;
      for (let k = 0, i = row * aRow, j = col * bCol; k < inner; k++, i += aCol, j += bRow) sum += a[i] * b[j];
      out[row * cols + col] = sum;
    }
  return out;
}

/** Softmax cross-entropy of outputs (n, classes): the mean loss, and its derivative by the outputs. */
function softmaxError(output: Floats, y: ArrayLike<number>, n: number): { loss: number; error: Floats } {
  const classes = output.length / n;
  const error = new Float32Array(output.length);
  let loss = 0;
  for (let i = 0; i < n; i++) {
    const row = output.subarray(i * classes, (i + 1) * classes);
    const top = row.reduce((a, b) => (b > a || Number.isNaN(b) ? b : a));
    const total = row.reduce((sum, one) => sum + Math.exp(one - top), 0);
    loss -= row[y[i]] - top - Math.log(total);
    row.forEach((one, k) => (error[i * classes + k] = (Math.exp(one - top) / total - (k === y[i] ? 1 : 0)) / n));
  }
  return { loss: loss / n, error };
}

/** Degrees between two arrays, or between `count` entries of them; as Kahan computes it. NaN if one is zero. */
export function angle(a: Floats, b: Floats, from = 0, count = a.length): number {
  const [u, v] = [a, b].map((array) => array.subarray(from, from + count));
  const [sizeU, sizeV] = [norm(u), norm(v)];
  let [minus, plus] = [0, 0];
  for (let i = 0; i < count; i++) {
    minus += (u[i] / sizeU - v[i] / sizeV) ** 2;
    plus += (u[i] / sizeU + v[i] / sizeV) ** 2;
  }
  return (Math.atan2(Math.sqrt(minus), Math.sqrt(plus)) * 360) / Math.PI;
}

export const norm = (array: Floats) => Math.sqrt(array.reduce((sum, one) => sum + one * one, 0));
const finite = (value: number) => (Number.isNaN(value) ? null : value);
const signed = (W: Floats, M: Floats) => W.map((w, i) => Math.sign(w) * Math.abs(M[i]));
const uniform = (W: Floats) => W.slice().fill(norm(W) / Math.sqrt(Math.max(1, W.filter((w) => w !== 0).length)));
function atAngle(W: Floats, N: Floats, degrees: number): Floats {
  const [cos, sin] = [Math.cos, Math.sin].map((f) => f((degrees * Math.PI) / 180));
  return N.map((one, i) => cos * W[i] + sin * one);
}
export function largest(rows: Floats, row: number, count: number): number {
  const part = rows.subarray(row * count, (row + 1) * count);
  return part.indexOf(Math.max(...part));
}
