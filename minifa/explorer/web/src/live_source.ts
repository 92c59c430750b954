// The source "live": runs of the engine in the page (live.ts), from the start that the engine wrote into the page
// (minifa/explorer/live_start.py describes it). It is offered only if it agrees with the engine's own runs.

import { makeArr } from "./content";
import { type Examples, type Floats, Net, RULES, type Start, norm } from "./live";
import type { Arr, Content, Film, LayerSnapshot, Matrix, RunParams, Snapshot, Source } from "./types";
import { gaussian, uniform } from "./vectors";

interface StartLayer { name: string; sd: number; W: number; M: number | null; N: number | null; F: number | null }
interface StartNet { seed: number; depth: number; width: number; layers: StartLayer[] }
interface RuleCheck { rule: string; angle: number | null; after: { W: number[]; b: number[] }[] }
interface Checks {
  lr: number;
  seed: number;
  depth: number;
  width: number;
  updates: number[];
  M_t: (number | null)[];
  tolerance: number[];
  rules: RuleCheck[];
}
export interface LiveStart {
  format: number;
  data: string;
  classes: number;
  inputs: number;
  batch_size: number;
  activation: string;
  x: number;
  y: number;
  test_x: number;
  test_y: number;
  seeds: number[];
  depths: number[];
  widths: number[];
  orders: Record<string, number>;
  noise: Record<string, { order: number; labels: number }>;
  starts: StartNet[];
  checks: Checks;
}
export interface Agreement { agrees: boolean; /** The largest relative error. */ worst: number; text: string }
export interface LiveSource extends Source { kind: "live"; agreement: Agreement; start: LiveStart; data: LiveData }

const MEASURED_ON = 256; // as in minifa/experiments/experiment.py
const SNAPSHOTS = 90;
const SLICE_MS = 12; // of work before the page may draw and answer

/** The numbers of updates at which a live run is shown: close together at its start, where most happens. */
export function liveUpdates(updates: number): number[] {
  return [...new Set(Array.from({ length: SNAPSHOTS + 1 }, (_, k) => Math.round(updates * (k / SNAPSHOTS) ** 1.5)))];
}

/** The examples, orders and arrays of a LiveStart. */
export class LiveData {
  readonly train: Examples;
  readonly test: Examples;

  constructor(readonly live: LiveStart, private readonly table: Arr[]) {
    this.train = { x: this.floats(live.x), y: this.values(live.y) };
    this.test = { x: this.floats(live.test_x), y: this.values(live.test_y) };
  }

  values(at: number): ArrayLike<number> {
    return this.table[at].values;
  }

  floats(at: number | null): Floats {
    return at === null ? new Float32Array(0) : Float32Array.from(this.values(at));
  }

  /** The most updates for which the page has batches. */
  get mostUpdates(): number {
    const n = this.train.y.length;
    return Math.ceil(n / this.live.batch_size) * (this.values(this.live.orders[this.live.seeds[0]]).length / n);
  }

  find(seed: number, depth: number, width: number): StartNet | undefined {
    return this.live.starts.find((one) => one.seed === seed && one.depth === depth && one.width === width);
  }

  startOf(net: StartNet, redrawn?: (step: number, layer: number) => Floats): Start {
    const all = (key: "W" | "M" | "N" | "F") => net.layers.map((layer) => this.floats(layer[key]));
    const shapes = net.layers.map((layer) => this.table[layer.W].shape);
    return {
      sizes: [shapes[0][0], ...shapes.map((shape) => shape[1])],
      activation: this.live.activation,
      W: all("W"),
      b: shapes.map((shape) => new Float32Array(shape[1])),
      M: all("M"),
      N: all("N"),
      F: all("F"),
      redrawn: redrawn ?? ((step, layer) => drawn(net, step, layer, shapes[layer])),
    };
  }

  /** The batch of an update, with a share of wrong labels. */
  batch(seed: number, update: number, noise = 0): Examples {
    const { batch_size: size, inputs } = this.live;
    const n = this.train.y.length;
    const perEpoch = Math.ceil(n / size);
    const first = Math.floor(update / perEpoch) * n + (update % perEpoch) * size;
    const order = this.values(this.live.orders[seed]);
    const rows = Array.from({ length: Math.min(size, n - (update % perEpoch) * size) }, (_, i) => order[first + i]);
    const labels = this.labels(seed, noise);
    const x = new Float32Array(rows.length * inputs);
    rows.forEach((row, i) => x.set(this.train.x.subarray(row * inputs, (row + 1) * inputs), i * inputs));
    return { x, y: rows.map((row) => labels[row]) };
  }

  private known = { key: "", labels: [] as ArrayLike<number> };

  private labels(seed: number, noise: number): ArrayLike<number> {
    const key = `${seed} ${noise}`;
    if (this.known.key !== key) {
      const labels = Array.from(this.train.y);
      const [order, wrong] = [this.live.noise[seed].order, this.live.noise[seed].labels].map((at) => this.values(at));
      for (let i = 0; i < Math.floor(noise * labels.length + 0.5); i++) labels[order[i]] = wrong[order[i]];
      this.known = { key, labels };
    }
    return this.known.labels;
  }
}

/** Numbers from a normal distribution for brsf, which draws its magnitudes for every update: the page's own draws. */
function drawn(net: StartNet, step: number, layer: number, [rows, cols]: readonly number[]): Floats {
  const seed = (net.seed + 1) * 0x9e3779b1 + step * 0x85ebca6b + layer * 0xc2b2ae35;
  return Float32Array.from(gaussian(rows * cols, net.layers[layer].sd, uniform(seed)));
}

/** Repeats the runs that the engine wrote into the page and compares all weights and biases. */
export function checkLive(data: LiveData, version: string): Agreement {
  const { checks } = data.live;
  const net = data.find(checks.seed, checks.depth, checks.width);
  if (!net) return { agrees: false, worst: Infinity, text: "The page has no start for the checks of its own engine." };
  let [worst, agrees] = [0, true];
  const drawn = checks.M_t.map((at) => data.floats(at)); // of all updates, one after the other
  const start = data.startOf(net, (step, layer) => {
    const size = drawn[layer].length / checks.updates.at(-1)!;
    return drawn[layer].subarray(step * size, (step + 1) * size);
  });
  for (const { rule, angle, after } of checks.rules) {
    const live = new Net(start, rule, angle);
    checks.updates.forEach((updates, k) => {
      while (live.step < updates) live.update(data.batch(checks.seed, live.step), checks.lr);
      for (const key of ["W", "b"] as const)
        live[key].forEach((array, layer) => {
          const engine = data.floats(after[k][key][layer]);
          const error = norm(array.map((value, i) => value - engine[i])) / (norm(engine) || 1);
          worst = Math.max(worst, error);
          agrees &&= error <= checks.tolerance[k];
        });
    });
  }
  const size = worst.toExponential(0);
  const bad = `differs from minifa ${version} by ${size}, which is too much, and is switched off`;
  return { agrees, worst, text: agrees ? `agrees with minifa ${version} to ${size}` : bad };
}

/** Lets the page draw and answer before the promise is kept. */
const pause = () =>
  new Promise<void>((resume) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resume();
    };
    port2.postMessage(null);
  });

/** The snapshots of one run; a matrix has moved from where it was in the first of them. */
class Snapshots {
  private readonly first: Record<string, Floats> = {};
  private readonly measured: Examples;

  /** names: of the linear layers, and of the activations that direct feedback teaches. */
  constructor(
    private readonly net: Net,
    private readonly data: LiveData,
    private readonly names: string[],
    private readonly taught: string[],
  ) {
    const { x, y } = data.train;
    this.measured = { x: x.subarray(0, MEASURED_ON * data.live.inputs), y: Array.from(y).slice(0, MEASURED_ON) };
  }

  take(): Snapshot {
    const { net, names, taught } = this;
    const { sizes } = net.start;
    const aligned = net.alignment(this.measured);
    const layers: Record<string, LayerSnapshot> = {};
    names.forEach((name, k) => {
      const b = makeArr([net.b[k].length], net.b[k].slice());
      layers[name] = { W: this.matrix(`${name}.W`, net.W[k], sizes[k + 1]), b, ...aligned[k] };
    });
    const { matrix } = net.rule;
    const feedback = matrix
      ? names.slice(1).map((name, k) => [name, this.matrix(name, matrix(net, k + 1), sizes[k + 2])])
      : taught.map((name, k) => [name, this.matrix(name, net.F[k], sizes.at(-1)!)]);
    return { update: net.step, ...net.score(this.data.test), layers, feedback: Object.fromEntries(feedback) };
  }

  private matrix(name: string, current: Floats, columns: number): Matrix {
    const array = current.slice();
    const start = (this.first[name] ??= array);
    const [size, change] = [norm(start), norm(array.map((value, i) => value - start[i]))];
    return { array: makeArr([array.length / columns, columns], array), moved: size ? change / size : null };
  }
}

class Live implements LiveSource {
  readonly kind = "live" as const;

  constructor(readonly start: LiveStart, readonly data: LiveData, readonly agreement: Agreement) {}

  async film(): Promise<Film> {
    throw new Error("The engine in the page trains whole runs; it has no steps to show.");
  }

  can({ rule, hidden, seed, updates, angle, feedback }: RunParams): true | string {
    const known = RULES[rule];
    if (!known) return `The engine in the page has no rule ${rule}: it has ${Object.keys(RULES).join(", ")}.`;
    if (new Set(hidden).size > 1 || !this.data.find(seed, hidden.length, hidden[0]))
      return `This page has no start for hidden layers of ${hidden.join(", ")} and seed ${seed}.`;
    const most = this.data.mostUpdates;
    if (updates > most) return `This page has batches for ${most} updates, not for ${updates}.`;
    if (angle !== null && rule !== "fa") return `Only feedback alignment (fa) has an angle to choose, not ${rule}.`;
    if (Object.keys(feedback).length && !known.stored) return `The rule ${rule} computes B from W: no cell can be set.`;
    return true;
  }

  async *run(params: RunParams): AsyncIterable<Snapshot> {
    const reason = this.can(params);
    if (reason !== true) throw new Error(reason);
    const { rule, lr, hidden, seed, updates, noise, angle, feedback } = params;
    const start = this.data.find(seed, hidden.length, hidden[0])!;
    const names = start.layers.map((layer) => layer.name);
    const taught = hidden.map((_, i) => `${this.start.activation}${i + 1}`);
    const places = RULES[rule].stored === "F" ? taught : names;
    const painted = Object.fromEntries(Object.entries(feedback).map(([name, cells]) => [places.indexOf(name), cells]));
    const net = new Net(this.data.startOf(start), rule, angle, painted);
    const snapshots = new Snapshots(net, this.data, names, taught);
    let began = performance.now();
    for (const at of liveUpdates(updates)) {
      while (net.step < at) {
        net.update(this.data.batch(seed, net.step, noise), lr);
        if (performance.now() - began > SLICE_MS) {
          await pause();
          began = performance.now();
        }
      }
      const snapshot = snapshots.take();
      if (!Number.isFinite(snapshot.loss)) return; // diverged, as in minifa
      yield snapshot;
    }
  }
}

/** The engine in the page for chapters 0 and 5, whose sentences and scripts are about the digits, or why there is none. */
export function digitsOf(content: Content): LiveSource | string {
  const { data } = (content.live ?? { data: "digits" }) as LiveStart;
  return data === "digits" ? liveOf(content) : `The engine in the page trains on the digits, and this page is about ${data}.`;
}

/** The engine in the page, or the reason why this page has none. */
export function liveOf(content: Content): LiveSource | string {
  const start = content.live as LiveStart | undefined;
  if (!start || !content.table) return "This page was written without the start of a network that it may train itself.";
  if (start.format !== 1) return `The engine in the page reads format 1 of its start, and this page has ${start.format}.`;
  const data = new LiveData(start, content.table);
  const agreement = checkLive(data, content.version);
  return agreement.agrees ? new Live(start, data, agreement) : `The engine in the page ${agreement.text}.`;
}
