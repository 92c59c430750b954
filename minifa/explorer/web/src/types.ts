// What the page shows, and the one interface of its four sources: baked, live, serve, widget.

/** An array of the engine, bit for bit. Equal arrays of one table are the same object. */
export interface Arr {
  readonly shape: readonly number[];
  readonly values: ArrayLike<number>;
  /** The largest finite magnitude. */
  readonly largest: number;
  /** Whether the values are float32; they are printed with the fewest digits that identify them. */
  readonly single: boolean;
}

export type Band = readonly [low: number, high: number];

/** A number, or text for one that JSON does not have ("nan", "inf"), or an array with the name that the step gives it. */
export interface NamedArr {
  array: Arr;
  name: string;
  /** The shape of the whole array, of which the page has only the first rows and columns, or examples. */
  of?: number[];
  /** Whether the equation needs more of it than the page has, so that it cannot be worked out here. */
  partial?: boolean;
}
export type Term = number | string | NamedArr;

export interface Moment {
  kind: string;
  layer: string;
  /** The same for corresponding moments of different rules. */
  key: string;
  title: string;
  why: string;
  /** One or more lines. */
  equation: string;
  /** MathML of each line. */
  mathml?: string[];
  terms: Record<string, Term>;
  new: Record<string, Arr>;
  /** The shapes of new arrays of which the page has only a part. */
  cut?: Record<string, number[]>;
  angles: Record<string, number | null>;
  chance: Record<string, Band>;
  chance_how?: Record<string, string>;
}
export type Film = Moment[];

export interface Matrix { array: Arr; /** Relative change since the start. */ moved: number | string | null; /** As in NamedArr. */ of?: number[] }

export interface LayerSnapshot {
  W: Matrix;
  weight_angle: number | null;
  true_angle: number | null;
  sign_agreement: number | null;
  [more: string]: unknown;
}

export interface Snapshot {
  update: number;
  loss: number | string;
  accuracy: number | null;
  layers: Record<string, LayerSnapshot>;
  feedback: Record<string, Matrix>;
}

export interface RuleInfo { name: string; title: string; equation: string; mathml?: string[]; paper: string; needs: string; paired: boolean }
export interface LayerInfo { name: string; kind: string; shape: number[] | null }

/** By rule, layer and angle ("weight_angle", "true_angle"): the angles that chance gives. */
export type Chance = Record<string, Record<string, Record<string, Band>>>;

export interface Content {
  version: string;
  facts: string[];
  classes: string[];
  rules: RuleInfo[];
  layers: LayerInfo[];
  films: Record<string, Film>;
  at: number[];
  runs: Record<string, Snapshot[]>;
  chance: Chance;
  chance_how?: Record<string, string>;
  /** The start of networks that the page may train itself; see live.ts. */
  live?: unknown;
  /** All arrays of the page, for the references in `live`. */
  table?: Arr[];
  /** Precomputed runs by depth, rule, convolution and batch norm; see chapters/fails.tsx. */
  grid?: unknown;
}

export interface FilmParams { rule: string; updates?: number }

export interface RunParams {
  rule: string;
  lr: number;
  /** The widths of the hidden layers; none: the network as it is, for an engine behind the page. */
  hidden: number[];
  seed: number;
  updates: number;
  /** The fraction of training labels that are wrong. */
  noise: number;
  /** Degrees between the fixed B and the initial W; null: B as the rule draws it. */
  angle: number | null;
  /** Cells of B set by the reader, by layer: [index, value]. */
  feedback: Record<string, [number, number][]>;
}

export type SourceKind = "baked" | "live" | "serve" | "widget";

export interface Source {
  readonly kind: SourceKind;
  film(params: FilmParams): Promise<Film>;
  /** Snapshots as they come. The iteration may be left early, which stops the run, also between two snapshots by the
      signal. Errors are sentences for the reader. */
  run(params: RunParams, signal?: AbortSignal): AsyncIterable<Snapshot>;
  /** true, or the reason, as a sentence, why this run is not possible here. */
  can(params: RunParams): true | string;
}
