// Decodes the JSON of the page, the server or the notebook: references to arrays become Arr objects.

import type { Arr, Content, Film, Moment, Snapshot, Term } from "./types";

export type Packed = [shape: number[], kind: string, base64: string, table?: string];
type Raw = any; // JSON before its references are resolved

const TYPES = { f4: Float32Array, f8: Float64Array, u1: Uint8Array, u2: Uint16Array } as const;

function bytesOf(base64: string): ArrayBuffer {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
}

class LazyArr implements Arr {
  readonly shape: number[];
  readonly single: boolean;
  private packed: Packed | null;
  private decoded: InstanceType<(typeof TYPES)[keyof typeof TYPES]> | null = null;
  private most: number | null = null;

  constructor(packed: Packed) {
    this.packed = packed;
    this.shape = packed[0];
    this.single = packed[1].endsWith("f4");
  }

  get values(): ArrayLike<number> {
    if (!this.decoded) {
      const [, kind, base64, table] = this.packed!;
      if (table) { // one code for each value, and the table of values
        const values = new TYPES[this.single ? "f4" : "f8"](bytesOf(table));
        const codes = new Uint8Array(bytesOf(base64));
        this.decoded = new TYPES[this.single ? "f4" : "f8"](codes.length);
        for (let i = 0; i < codes.length; i++) this.decoded[i] = values[codes[i]];
      } else this.decoded = new TYPES[kind as keyof typeof TYPES](bytesOf(base64));
      this.packed = null;
    }
    return this.decoded;
  }

  get largest(): number {
    return (this.most ??= largestOf(this.values));
  }
}

export function largestOf(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]);
    if (size > largest && size < Infinity) largest = size;
  }
  return largest;
}

export function makeArr(shape: readonly number[], values: ArrayLike<number>): Arr {
  return { shape, values, largest: largestOf(values), single: values instanceof Float32Array };
}

/** The arrays of one message or page, each decoded when it is first used. */
export function tableOf(packed: Packed[]): Arr[] {
  return packed.map((one) => new LazyArr(one));
}

const mapped = <A, B>(from: Record<string, A>, change: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(from).map(([key, value]) => [key, change(value)]));

/** The MathML of a moment's or rule's equation. A page has that of every line once, by its text. */
const spelled = (one: Raw, mathml: Record<string, string>): string[] =>
  one.mathml ?? one.equation.split("\n").map((line: string) => mathml[line] ?? "");

export function decodeFilm(raw: Raw[], arrays: Arr[], mathml: Record<string, string> = {}): Film {
  const term = (value: Raw): Term =>
    value !== null && typeof value === "object" ? { ...value, array: arrays[value.array] } : value;
  return raw.map((one) => ({ ...one, mathml: spelled(one, mathml), terms: mapped(one.terms, term), new: mapped(one.new, (at: number) => arrays[at]) }) as Moment);
}

export function decodeSnapshot(raw: Raw, arrays: Arr[], update: number): Snapshot {
  const matrix = (value: Raw) => ({ ...value, array: arrays[value.array] });
  return {
    update,
    ...raw,
    layers: mapped(raw.layers, (one: Raw) => ({ ...one, W: matrix(one.W), ...("b" in one ? { b: arrays[one.b] } : {}) })),
    feedback: mapped(raw.feedback, matrix),
  };
}

export function decodeContent(raw: Raw): Content {
  const arrays = tableOf(raw.arrays ?? []);
  const mathml = raw.mathml ?? {};
  return {
    ...raw,
    rules: raw.rules.map((rule: Raw) => ({ ...rule, mathml: spelled(rule, mathml) })),
    films: mapped(raw.films, (film: Raw[]) => decodeFilm(film, arrays, mathml)),
    runs: mapped(raw.runs, (run: Raw[]) => run.map((one, i) => decodeSnapshot(one, arrays, raw.at[i]))),
    table: arrays, // for content.live, whose references live.ts resolves
  };
}
