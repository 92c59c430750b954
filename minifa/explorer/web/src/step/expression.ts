// The right-hand side of an equation as a tree that can be evaluated for one entry of the result: NumPy's broadcasting,
// "@" and ".T". What cannot be read gives null; then no sum is shown.

import { minus, plain, short } from "../numbers";
import type { NamedArr, Term } from "../types";

export type Terms = Record<string, Term>;
type Binary = "+" | "-" | "*" | "/" | "^" | "@" | ">" | ">=";
export type Node =
  | { op: "number"; value: number }
  | { op: "symbol"; name: string; transposed: boolean }
  | { op: "call"; name: string; of: Node[] }
  | { op: "minus"; of: Node }
  | { op: Binary; left: Node; right: Node };

const FUNCTIONS: Record<string, (...values: number[]) => number> = {
  max: Math.max, min: Math.min, tanh: Math.tanh, exp: Math.exp, log: Math.log, sqrt: Math.sqrt, abs: Math.abs, sign: Math.sign,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  where: (condition, yes, no) => (condition ? yes : no),
};
const OVER_MANY = ["mean", "sum", "softmax"];
const LEVELS: Binary[][] = [[">=", ">"], ["+", "-"], ["*", "/", "@"]];
const levelOf = (node: Node) => (node.op === "minus" ? 2 : LEVELS.findIndex((level) => level.includes(node.op as Binary)));

export const isArray = (term: Term | undefined | null): term is NamedArr =>
  typeof term === "object" && term !== null;

/** The tree of a text, or null where it has a part that is not known. */
export function parse(text: string, terms: Terms): Node | null {
  const pieces = text.match(/\d+\.?\d*(?:e-?\d+)?|[A-Za-z]\w*(?:\.T)?|>=|[-+*/^@>(),]|\S/g) ?? [];
  let at = 0;
  const accept = (...wanted: string[]) => (wanted.includes(pieces[at]) ? pieces[at++] : null);
  const expect = (wanted: string) => {
    if (!accept(wanted)) throw new SyntaxError(text);
  };
  const level = (depth: number): Node => {
    if (depth === LEVELS.length) return signed();
    let left = level(depth + 1);
    for (let op = accept(...LEVELS[depth]); op; op = accept(...LEVELS[depth])) left = { op: op as Binary, left, right: level(depth + 1) };
    return left;
  };
  const signed = (): Node => (accept("-") ? { op: "minus", of: signed() } : power());
  const power = (): Node => {
    const left = atom();
    return accept("^") ? { op: "^", left, right: signed() } : left;
  };
  const atom = (): Node => {
    if (accept("(")) {
      const inside = level(0);
      expect(")");
      return inside;
    }
    const piece = pieces[at++] ?? "";
    if (/^\d/.test(piece)) return { op: "number", value: Number(piece) };
    if ((piece in FUNCTIONS || OVER_MANY.includes(piece)) && accept("(")) {
      const of = [level(0)];
      while (accept(",")) of.push(level(0));
      expect(")");
      return { op: "call", name: piece, of };
    }
    const name = piece.replace(/\.T$/, "");
    const term = terms[name];
    if (!(typeof term === "number" || isArray(term))) throw new SyntaxError(text);
    return { op: "symbol", name, transposed: piece.endsWith(".T") };
  };
  try {
    const tree = level(0);
    return at === pieces.length ? tree : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** What mean and sum run over: everything but the last axis (a channel, a unit), or everything but the first (an example). */
export type Over = "channel" | "example";
type Shape = readonly number[];

function broadcast(a: Shape, b: Shape): Shape | null {
  const [long, other] = a.length >= b.length ? [a, b] : [b, a];
  const lead = long.length - other.length;
  const sizes = long.map((size, k) => (k < lead || other[k - lead] === 1 ? size : size === 1 ? other[k - lead] : size === other[k - lead] ? size : -1));
  return sizes.includes(-1) ? null : sizes;
}

/** Evaluates entries of a tree and notes which entries of which arrays it has used. */
export class Evaluation {
  readonly used = new Map<string, Set<number>>();
  private many = new Map<string, number>(); // means and sums, each computed once

  constructor(readonly terms: Terms, readonly over: Over) {}

  /** The shape of the value, or null if the arrays do not fit. Arrays of more than two axes are matrices in a product. */
  shape(node: Node): Shape | null {
    switch (node.op) {
      case "number": return [];
      case "minus": return this.shape(node.of);
      case "symbol": {
        const term = this.terms[node.name];
        if (!isArray(term)) return [];
        return node.transposed ? (term.array.shape.length === 2 ? [...term.array.shape].reverse() : null) : term.array.shape;
      }
      case "call": {
        const shapes = node.of.map((one) => this.shape(one));
        const all = shapes.reduce((a, b) => a && b && broadcast(a, b), []);
        if (!all || !["mean", "sum"].includes(node.name)) return all;
        return this.over === "channel" ? all.slice(-1) : all.map((size, k) => (k ? 1 : size));
      }
      default: {
        const [left, right] = [this.shape(node.left), this.shape(node.right)];
        if (!left || !right) return null;
        if (node.op !== "@") return broadcast(left, right);
        return left.length === 2 && right.length === 2 && left[1] === right[0] ? [left[0], right[1]] : null;
      }
    }
  }

  value(node: Node, at: readonly number[]): number {
    switch (node.op) {
      case "number": return node.value;
      case "minus": return -this.value(node.of, at);
      case "symbol": return this.entry(node.name, node.transposed, at);
      case "call": {
        if (node.name === "softmax") return this.softmax(node.of[0], at);
        if (OVER_MANY.includes(node.name)) return this.reduced(node, at);
        return FUNCTIONS[node.name](...node.of.map((one) => this.value(one, at)));
      }
      case "@": return this.products(node, at).reduce((sum, [a, b]) => sum + a * b, 0);
      default: {
        const [a, b] = [this.value(node.left, at), this.value(node.right, at)];
        switch (node.op) {
          case "+": return a + b;
          case "-": return a - b;
          case "*": return a * b;
          case "/": return a / b;
          case "^": return a ** b;
          case ">": return Number(a > b);
          case ">=": return Number(a >= b);
        }
      }
    }
  }

  /** The pairs of factors of one entry of a matrix product. */
  products(node: { left: Node; right: Node }, at: readonly number[]): [number, number][] {
    const [r, c] = at.slice(-2);
    return Array.from({ length: this.shape(node.right)![0] }, (_, k) => [this.value(node.left, [r, k]), this.value(node.right, [k, c])]);
  }

  /** A bound of the sizes that were added up, to judge rounding. */
  size(node: Node, at: readonly number[]): number {
    if (node.op === "minus") return this.size(node.of, at);
    if (node.op === "+" || node.op === "-") return this.size(node.left, at) + this.size(node.right, at);
    if (node.op === "*") return this.size(node.left, at) * this.size(node.right, at);
    if (node.op === "/") return this.size(node.left, at) / Math.abs(this.value(node.right, at));
    if (node.op === "@") return this.products(node, at).reduce((sum, [a, b]) => sum + Math.abs(a * b), 0);
    if (node.op === "call" && ["mean", "sum"].includes(node.name)) return this.reduced(node, at, true);
    return Math.abs(this.value(node, at));
  }

  private entry(name: string, transposed: boolean, at: readonly number[]): number {
    const term = this.terms[name];
    if (!isArray(term)) return Number(term);
    const { shape, values } = term.array;
    const place = at.slice(at.length - shape.length);
    if (transposed) place.reverse();
    let index = 0;
    for (let k = 0; k < shape.length; k++) index = index * shape[k] + (shape[k] === 1 ? 0 : place[k]);
    const used = this.used.get(name) ?? new Set();
    this.used.set(name, used.add(index));
    return values[index];
  }

  private reduced(node: { name: string; of: Node[] }, at: readonly number[], isSize = false): number {
    const shape = this.shape(node.of[0])!;
    const fixed = this.over === "channel" ? shape.length - 1 : 0;
    const here = at.slice(at.length - shape.length)[fixed] ?? at[at.length - 1];
    const key = `${JSON.stringify(node)} ${here} ${isSize}`;
    const known = this.many.get(key);
    if (known !== undefined) return known;
    let [sum, count] = [0, 0];
    const place = shape.map((_, k) => (k === fixed ? here : 0));
    for (let more = true; more; ) {
      sum += isSize ? this.size(node.of[0], place) : this.value(node.of[0], place);
      count += 1;
      more = false;
      for (let k = shape.length - 1; k >= 0 && !more; k--) {
        if (k === fixed) continue;
        more = ++place[k] < shape[k];
        if (!more) place[k] = 0;
      }
    }
    const result = node.name === "mean" ? sum / count : sum;
    this.many.set(key, result);
    return result;
  }

  private softmax(node: Node, at: readonly number[]): number {
    const units = this.shape(node)!.at(-1)!;
    const all = Array.from({ length: units }, (_, k) => Math.exp(this.value(node, [...at.slice(0, -1), k])));
    return all[at.at(-1)!] / all.reduce((a, b) => a + b, 0);
  }
}

/** The tree with the numbers of one entry. */
export function written(node: Node, evaluation: Evaluation, at: readonly number[], first = true): string {
  const again = (one: Node, isFirst = false) => written(one, evaluation, at, isFirst);
  const bracket = (one: Node, least: number, isFirst = false) => {
    const level = levelOf(one);
    return level >= 0 && level < least ? `(${again(one, true)})` : again(one, isFirst);
  };
  switch (node.op) {
    case "number": return plain(node.value);
    case "minus": return `−${bracket(node.of, 2)}`;
    case "symbol": {
      const isCell = isArray(evaluation.terms[node.name]);
      const value = evaluation.value(node, at);
      const text = isCell ? short(value) : plain(value);
      return text.startsWith("−") && !first ? `(${text})` : text;
    }
    case "call":
      if (OVER_MANY.includes(node.name)) {
        const text = short(evaluation.value(node, at));
        return text.startsWith("−") && !first ? `(${text})` : text;
      }
      return `${node.name}(${node.of.map((one) => again(one, true)).join(", ")})`;
    case "^": return `${bracket(node.left, 3)}${node.right.op === "number" && node.right.value === 2 ? "²" : `^${again(node.right)}`}`;
    default: {
      const level = levelOf(node);
      const sign = { "*": "·", "-": "−" }[node.op as string] ?? node.op;
      return minus(`${bracket(node.left, level, first)} ${sign} ${bracket(node.right, level + 1)}`);
    }
  }
}
