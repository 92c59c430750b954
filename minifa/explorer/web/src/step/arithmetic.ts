// How one number of a moment comes from others: the sum in full, and the entries it uses. A sum is shown only if it adds up
// to the number that the engine computed.

import { placeIn as place } from "../grid";
import { short } from "../numbers";
import type { Arr, Moment, NamedArr } from "../types";
import { Evaluation, type Node, type Terms, isArray, parse, written } from "./expression";

/** Entries of arrays by symbol. */
export type Marks = Map<string, Iterable<number>>;
export interface Worked {
  marks: Marks;
  /** "= 0.5 · 0.2 + 0.1", or null. */
  sum: string | null;
  /** Why there is no sum, or what the number is used for. */
  note: string;
}

const NOT_WORKED = "How this number is computed is not worked out here.";
const DRAWN = "It was drawn at random.";
const PARTIAL = "It needs numbers that the page leaves out, so it is not worked out here.";
const PRECISION = 1e-4; // relative to the sizes that are added: the engine computes with float32

export const lastIndex = (array: Arr, at: number) => at % (array.shape.at(-1) ?? 1);

const indexOf = (shape: readonly number[], at: readonly number[]) => at.reduce((index, one, k) => index * shape[k] + one, 0);

interface Line { result: string; right: string }

function linesOf(moment: Moment): Line[] {
  return moment.equation.split("\n").flatMap((line) => {
    const [left, ...rest] = line.split(" = ");
    return rest.length ? [{ result: left.trim(), right: rest.join(" = ").trim() }] : [];
  });
}

/** What is known about the entry `index` of the array `symbol` of this moment. */
export function work(moment: Moment, symbol: string, index: number): Worked {
  const { terms } = moment;
  const lines = linesOf(moment);
  const own = lines.find((line) => line.result === symbol && isArray(terms[symbol]));
  if (own) return workResult(own, terms, index);
  for (const line of lines) {
    const found = isArray(terms[line.result]) && workOperand(line, terms, symbol, index);
    if (found) return { marks: found, sum: null, note: `The marked numbers of ${line.result} depend on it.` };
  }
  return { marks: new Map(), sum: null, note: "" };
}

function workResult({ result, right }: Line, terms: Terms, index: number): Worked {
  const term = terms[result];
  if (!isArray(term)) return { marks: new Map(), sum: null, note: "" };
  const convolution = convolutionOf(right);
  const found = convolution
    ? workConvolution(convolution, term.array, terms, index)
    : workPicked(right, term.array, terms, index) ?? workExpression(right, term.array, terms, index);
  if (found) return { ...found, note: "" };
  const isPartial = term.of !== undefined || [...right.matchAll(/[A-Za-z]\w*/g)].some(([name]) => isArray(terms[name]) && (terms[name] as NamedArr).partial);
  return { marks: new Map(), sum: null, note: isPartial ? PARTIAL : /\bdrawn\b/.test(right) ? DRAWN : NOT_WORKED };
}

type Found = { marks: Marks; sum: string | null } | null;

// Expressions

/** "in the shape of y": the result as a matrix, one row for each example. */
const SHAPED = / in the shape of \w+$/;

function workExpression(right: string, result: Arr, terms: Terms, index: number): Found {
  const tree = parse(right.replace(SHAPED, ""), terms);
  if (!tree) return null;
  const shape = SHAPED.test(right) ? [result.shape[0], result.values.length / result.shape[0]] : result.shape;
  const at = place(shape, index);
  const total = result.values[index];
  for (const over of ["channel", "example"] as const) {
    const evaluation = new Evaluation(terms, over);
    const own = evaluation.shape(tree);
    if (!own || !reaches(own, shape)) continue;
    const value = evaluation.value(tree, at);
    if (!(Math.abs(value - total) <= PRECISION * evaluation.size(tree, at) + 1e-12)) continue;
    const parts = addends(tree).flatMap((one) => (one.op === "@" ? evaluation.products(one, at) : [[evaluation.value(one, at)]]));
    const summed = tree.op === "call" && tree.name === "sum" ? termsOfSum(tree.of[0], evaluation, at) : null;
    const hasProduct = addends(tree).some((one) => one.op === "@");
    const sum = hasProduct ? worked(parts, total) : summed ? worked(summed, total) : `= ${written(tree, evaluation, at)}`;
    return { marks: evaluation.used, sum };
  }
  return null;
}

/** Whether a value of this shape has the result's entries. The page may keep fewer examples of the result. */
function reaches(own: readonly number[], result: readonly number[]): boolean {
  const lead = result.length - own.length;
  return lead >= 0 && own.every((size, k) => size === 1 || size === result[lead + k] || (lead + k === 0 && size > result[0]));
}

const addends = (node: Node): Node[] => (node.op === "+" ? [...addends(node.left), ...addends(node.right)] : [node]);

function termsOfSum(node: Node, evaluation: Evaluation, at: readonly number[]): number[][] | null {
  const shape = evaluation.shape(node)!;
  if (evaluation.over !== "channel") return null;
  const parts: number[][] = [];
  const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  for (let row = 0; row < rows; row++) {
    const here = [...place(shape.slice(0, -1), row), at.at(-1)!];
    parts.push(node.op === "*" ? [evaluation.value(node.left, here), evaluation.value(node.right, here)] : [evaluation.value(node, here)]);
  }
  return parts;
}

/** The sum in full, or its largest terms first if there are many; null if it is not the number in the array. */
export function worked(parts: number[][], total: number): string | null {
  const product = (part: number[]) => part.reduce((a, b) => a * b, 1);
  let [sum, size] = [0, 0];
  for (const part of parts) {
    sum += product(part);
    size += Math.abs(product(part));
  }
  if (!(Math.abs(sum - total) <= PRECISION * size + 1e-12)) return null;
  const counting = parts.filter((part) => product(part) !== 0);
  const largestFirst = [...counting].sort((a, b) => Math.abs(product(b)) - Math.abs(product(a)));
  const shown = counting.length > 8 ? largestFirst.slice(0, 6) : counting;
  const rest = sum - shown.reduce((all, part) => all + product(part), 0);
  const bracket = (value: number) => (value < 0 ? `(${short(value)})` : short(value));
  const words = shown.map((part) => part.map(bracket).join(" · "));
  const zeros = parts.length - counting.length;
  if (shown.length < counting.length) words.push(`${counting.length - shown.length} smaller terms, sum ${bracket(rest)}`);
  if (!counting.length) words.push("only zeros");
  else if (zeros) words.push(`${zeros} zero${zeros > 1 ? "s" : ""}`);
  return `= ${words.join(" + ")}`;
}

// Numbers that are taken over: shapes, pooling

function workPicked(right: string, result: Arr, terms: Terms, index: number): Found {
  const padded = right.match(/^(\w+) (with appended channels of zeros|without the appended channels)$/)?.[1];
  if (padded) return workPadded(padded, result, terms, index);
  const source = right.match(/^each example of (\w+) as one row$/)?.[1] ?? right.match(/^(\w+) in the shape of \w+$/)?.[1];
  const pooled = right.match(/^(max|mean) of each (window|channel) of (\w+)$/);
  const spread = right.match(/^(\w+)( at the maximum of each window, 0 elsewhere| \/ size at each .*)$/);
  const term = terms[source ?? pooled?.[3] ?? spread?.[1] ?? ""];
  if (!isArray(term)) return null;
  const from = term.array;
  const total = result.values[index];
  if (source)
    return from.values[index] === total ? { marks: new Map([[source, [index]]]), sum: `= ${source}, in another shape` } : null;
  if (pooled) return workPooled(pooled[1] === "max", pooled[2] === "channel", pooled[3], from, result, index);
  const above = ownerOf(result.shape, from.shape, index);
  if (above === null || !spread) return null;
  const marks = new Map([[spread[1], [above]]]);
  const carried = from.values[above];
  if (spread[2].startsWith(" at")) {
    if (carried === total) return { marks, sum: `= ${short(carried)}, because it was the largest of its window` };
    return total === 0 ? { marks, sum: "= 0, because it was not the largest of a window" } : null;
  }
  const positions = (shape: readonly number[]) => (shape.length === 4 ? shape[1] * shape[2] : 1);
  const size = positions(result.shape) / positions(from.shape);
  return isNear(carried / size, total, [carried]) ? { marks, sum: `= ${short(carried)} / ${size}` } : null;
}

function workPooled(isMax: boolean, isChannel: boolean, symbol: string, from: Arr, result: Arr, index: number): Found {
  const total = result.values[index];
  for (const side of isChannel ? [0] : [0, 1]) { // adjacent windows, or single numbers at a stride
    const cells = windowOf(result.shape, from.shape, index, isChannel, side);
    if (!cells) continue;
    const values = cells.map((at) => from.values[at]);
    const marks = new Map([[symbol, cells]]);
    if (isMax && Math.max(...values) === total) return { marks, sum: `= max(${listed(values, ", ")})` };
    const sum = values.reduce((a, b) => a + b, 0);
    if (!isMax && isNear(sum / values.length, total, values)) return { marks, sum: `= (${listed(values, " + ")}) / ${values.length}` };
  }
  return null;
}

/** Channels of zeros that are appended, and the error without them. */
function workPadded(symbol: string, result: Arr, terms: Terms, index: number): Found {
  const term = terms[symbol];
  if (!isArray(term)) return null;
  const [own, from] = [result.shape.at(-1)!, term.array.shape.at(-1)!];
  const channel = index % own;
  if (channel >= from) return result.values[index] === 0 ? { marks: new Map(), sum: "= 0, an appended channel" } : null;
  const at = Math.floor(index / own) * from + channel;
  return term.array.values[at] === result.values[index] ? { marks: new Map([[symbol, [at]]]), sum: `= ${symbol} at the same place` } : null;
}

const isNear = (value: number, total: number, sizes: number[]) => Math.abs(value - total) <= PRECISION * Math.max(...sizes.map(Math.abs)) + 1e-12;
const listed = (values: number[], between: string) => (values.length > 12 ? `${values.length} numbers` : values.map((one) => short(one)).join(between));

/** The entries of maps (N, H, W, C) below one entry of the pooled maps; null if windows overlap or leave a border.
 * `side`: of a window; 0: windows are adjacent. */
function windowOf(small: readonly number[], large: readonly number[], index: number, isChannel: boolean, side: number): number[] | null {
  if (large.length !== 4) return null;
  const [, H, W, C] = large;
  const [n, y, x] = isChannel ? [Math.floor(index / C), 0, 0] : place(small, index);
  const [high, wide] = isChannel ? [H, W] : [H / small[1], W / small[2]];
  if (!Number.isInteger(high) || !Number.isInteger(wide)) return null;
  const cells: number[] = [];
  for (let a = 0; a < (side || high); a++) for (let b = 0; b < (side || wide); b++) cells.push(indexOf(large, [n, y * high + a, x * wide + b, index % C]));
  return cells;
}

/** The entry of the pooled maps above one entry of the maps. */
function ownerOf(large: readonly number[], small: readonly number[], index: number): number | null {
  if (large.length !== 4) return null;
  const [n, y, x, c] = place(large, index);
  if (small.length === 2) return indexOf(small, [n, c]);
  const [high, wide] = [large[1] / small[1], large[2] / small[2]];
  return Number.isInteger(high) && Number.isInteger(wide) ? indexOf(small, [n, Math.floor(y / high), Math.floor(x / wide), c]) : null;
}

// Convolutions: y[n, i, j, o] = sum over a, b, c of x[n, i s + a - p, j s + b - p, c] W[a, b, c, o]

interface Convolution { kind: "forward" | "carry" | "gradient"; maps: string; other: string; bias?: string }

function convolutionOf(right: string): Convolution | null {
  const forward = right.match(/^columns\((\w+)\) @ (\w+)(?: \+ (\w+))?$/);
  if (forward) return { kind: "forward", maps: forward[1], other: forward[2], bias: forward[3] };
  const carry = right.match(/^uncolumns\((\w+) @ (\w+)\.T\)$/);
  if (carry) return { kind: "carry", maps: carry[1], other: carry[2] };
  const gradient = right.match(/^columns\((\w+)\)\.T @ (\w+)$/);
  return gradient ? { kind: "gradient", maps: gradient[1], other: gradient[2] } : null;
}

interface Geometry { stride: number; border: number }
type Pair = [a: number, b: number]; // entries whose product is a term

/** The arrays of a convolution in their three places: maps below, kernel, maps above. */
interface Setting { below: Arr; kernel: Arr; above: Arr }

function settingOf({ kind, maps, other }: Convolution, result: Arr, terms: Terms): Setting | null {
  const [one, two] = [terms[maps], terms[other]];
  if (!isArray(one) || !isArray(two)) return null;
  const setting = {
    forward: { below: one.array, kernel: two.array, above: result },
    carry: { below: result, kernel: two.array, above: one.array },
    gradient: { below: one.array, kernel: result, above: two.array },
  }[kind];
  const { below, kernel, above } = setting;
  if ([below, kernel, above].some((array) => array.shape.length !== 4)) return null;
  const left = [below.shape[3] - kernel.shape[2], above.shape[3] - kernel.shape[3]]; // channels that the kernel lacks
  const fits = kind === "gradient" ? left.every((more) => more >= 0) : left.every((more) => more === 0); // the page may keep fewer
  return fits && below.shape[0] === above.shape[0] ? setting : null;
}

/** The pairs of entries (in the arrays that the convolution reads) whose products add up to entry `index` of the result. */
function pairsOf(kind: Convolution["kind"], { below, kernel, above }: Setting, { stride, border }: Geometry, index: number): Pair[] {
  const [N, H, W, C] = below.shape;
  const [kh, kw, , O] = kernel.shape;
  const [, h, w] = above.shape;
  const pairs: Pair[] = [];
  const down = (n: number, y: number, x: number, c: number) => ((n * H + y) * W + x) * C + c;
  const up = (n: number, i: number, j: number, o: number) => ((n * h + i) * w + j) * O + o;
  const tap = (a: number, b: number, c: number, o: number) => ((a * kw + b) * C + c) * O + o;
  if (kind === "gradient") {
    const [a, b, c, o] = place(kernel.shape, index);
    for (let n = 0; n < N; n++)
      for (let i = 0; i < h; i++)
        for (let j = 0; j < w; j++) {
          const [y, x] = [i * stride + a - border, j * stride + b - border];
          if (y >= 0 && y < H && x >= 0 && x < W) pairs.push([down(n, y, x, c), up(n, i, j, o)]);
        }
    return pairs;
  }
  const [n, row, column, channel] = place(kind === "forward" ? above.shape : below.shape, index);
  for (let a = 0; a < kh; a++)
    for (let b = 0; b < kw; b++) {
      if (kind === "forward") {
        const [y, x] = [row * stride + a - border, column * stride + b - border];
        if (y < 0 || y >= H || x < 0 || x >= W) continue;
        for (let c = 0; c < C; c++) pairs.push([down(n, y, x, c), tap(a, b, c, channel)]);
      } else {
        const [i, j] = [(row + border - a) / stride, (column + border - b) / stride];
        if (!Number.isInteger(i) || !Number.isInteger(j) || i < 0 || i >= h || j < 0 || j >= w) continue;
        for (let o = 0; o < O; o++) pairs.push([up(n, i, j, o), tap(a, b, channel, o)]);
      }
    }
  return pairs;
}

const known = new WeakMap<Arr, { result: Arr; geometry: Geometry | null }>(); // by kernel or kernel gradient

/** Stride and border, found from the sizes and tried out on some entries, because the page does not hold them. */
function geometryOf(kind: Convolution["kind"], setting: Setting, result: Arr, sumOf: (geometry: Geometry, index: number) => string | null): Geometry | null {
  const before = known.get(setting.kernel);
  if (before?.result === result) return before.geometry;
  const { below: { shape: [, H, W] }, kernel: { shape: [kh, kw] }, above: { shape: [, h, w] } } = setting;
  const size = kind === "gradient" ? result.values.length : result.values.length / setting.below.shape[0]; // of one example
  const tried = Array.from({ length: 12 }, (_, k) => Math.floor(((k + 0.5) / 12) * size));
  let found: Geometry | null = null;
  for (let stride = 1; stride <= Math.max(kh, 4) && !found; stride++)
    for (let border = 0; border < Math.max(kh, kw) && !found; border++) {
      const fits = (large: number, small: number, k: number) => Math.floor((large + 2 * border - k) / stride) + 1 === small;
      if (fits(H, h, kh) && fits(W, w, kw) && tried.every((index) => sumOf({ stride, border }, index) !== null)) found = { stride, border };
    }
  known.set(setting.kernel, { result, geometry: found });
  return found;
}

function workConvolution(convolution: Convolution, result: Arr, terms: Terms, index: number): Found {
  const { kind, maps, other, bias } = convolution;
  const setting = settingOf(convolution, result, terms);
  if (!setting) return null;
  const [first, second] = [terms[maps] as { array: Arr }, terms[other] as { array: Arr }];
  const added = bias ? terms[bias] : null;
  const sumOf = (geometry: Geometry, at: number) => {
    const parts = pairsOf(kind, setting, geometry, at).map(([a, b]) => [first.array.values[a], second.array.values[b]]);
    if (isArray(added)) parts.push([added.array.values[lastIndex(result, at)]]);
    return worked(parts, result.values[at]);
  };
  const geometry = geometryOf(kind, setting, result, sumOf);
  const sum = geometry && sumOf(geometry, index);
  if (!geometry || sum === null) return null;
  const pairs = pairsOf(kind, setting, geometry, index);
  const marks: Marks = new Map([[maps, pairs.map(([a]) => a)], [other, pairs.map(([, b]) => b)]]);
  if (bias && isArray(added)) marks.set(bias, [lastIndex(result, index)]);
  return { marks, sum };
}

// Operands: the entries of the result that depend on one entry of them

function workOperand({ result, right }: Line, terms: Terms, symbol: string, index: number): Marks | null {
  const [of, to] = [terms[symbol], terms[result]];
  if (!isArray(of) || !isArray(to)) return null;
  const convolution = convolutionOf(right);
  if (convolution) return [convolution.maps, convolution.other].includes(symbol) ? convolved(convolution, result, to.array, terms, symbol, index) : null;
  const tree = parse(right.replace(SHAPED, ""), terms);
  if (!tree) return null;
  for (const product of addends(tree)) {
    if (product.op !== "@" || to.array.shape.length !== 2) continue;
    const [left, second] = [namesIn(product.left), namesIn(product.right)];
    const found = [...left, ...second].find((one) => one.name === symbol);
    if (!found || of.array.shape.length !== 2) continue;
    const [row, column] = found.transposed ? place(of.array.shape, index).reverse() : place(of.array.shape, index);
    const [rows, columns] = to.array.shape;
    if (left.includes(found)) {
      const marks: Marks = new Map([[result, Array.from({ length: columns }, (_, c) => row * columns + c)]]);
      return marksAcross(marks, second, terms, column, "row");
    }
    const marks: Marks = new Map([[result, Array.from({ length: rows }, (_, r) => r * columns + column)]]);
    return marksAcross(marks, left, terms, row, "column");
  }
  const isLike = namesIn(tree).some((one) => one.name === symbol && !one.transposed) && String(of.array.shape) === String(to.array.shape);
  return isLike && !/[@]|sum|mean|softmax/.test(right) ? new Map([[result, [index]]]) : null;
}

function marksAcross(marks: Marks, names: { name: string; transposed: boolean }[], terms: Terms, at: number, axis: "row" | "column"): Marks {
  for (const { name, transposed } of names) {
    const term = terms[name];
    if (!isArray(term) || term.array.shape.length !== 2) continue;
    const [rows, columns] = term.array.shape;
    const isRow = (axis === "row") !== transposed;
    marks.set(name, isRow ? Array.from({ length: columns }, (_, c) => at * columns + c) : Array.from({ length: rows }, (_, r) => r * columns + at));
  }
  return marks;
}

function namesIn(node: Node): { name: string; transposed: boolean }[] {
  if (node.op === "symbol") return [node];
  if (node.op === "number") return [];
  if (node.op === "call") return node.of.flatMap(namesIn);
  return node.op === "minus" ? namesIn(node.of) : [...namesIn(node.left), ...namesIn(node.right)];
}

/** Of a map: the entries of the result that its windows reach; of a kernel's tap: its two channels. */
function convolved(convolution: Convolution, result: string, to: Arr, terms: Terms, symbol: string, index: number): Marks | null {
  const { kind, maps, other } = convolution;
  const setting = settingOf(convolution, to, terms);
  if (!setting || kind === "gradient" || symbol !== other) return null;
  const channels = place(setting.kernel.shape, index);
  const [inside, outside] = kind === "forward" ? [channels[2], channels[3]] : [channels[3], channels[2]];
  const channelOf = (array: Arr, channel: number) => Array.from({ length: array.values.length / array.shape[3] }, (_, k) => k * array.shape[3] + channel);
  const first = terms[maps];
  return isArray(first) ? new Map([[maps, channelOf(first.array, inside)], [result, channelOf(to, outside)]]) : null;
}
