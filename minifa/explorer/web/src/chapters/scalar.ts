// The smallest network that learns by feedback alignment: y = w1 w2 with the input 1, the target 1 and one fixed number b
// in the place of w2 on the way back. Its learning is a flow in a plane (minifa/theory.py, equations 3; tutorial 04):
//     e = w1 w2 - 1      w2' = -e w1      w1' = -e b (feedback alignment) or -e w2 (backpropagation)

export type ScalarRule = "fa" | "bp";
export type Point = readonly [w1: number, w2: number];

export const errorAt = ([w1, w2]: Point) => w1 * w2 - 1;
export const lossAt = (point: Point) => errorAt(point) ** 2 / 2;

/** The velocity of the weights. */
export function velocity(rule: ScalarRule, [w1, w2]: Point, b: number): Point {
  const e = w1 * w2 - 1;
  return [-e * (rule === "bp" ? w2 : b), -e * w1];
}

export interface Path { points: Point[]; times: number[]; losses: number[] }

const STEP = 0.02;

/** From a start until the weights rest or the time is over (Runge-Kutta of order 4). */
export function trajectory(rule: ScalarRule, start: Point, b: number, until = 30): Path {
  const path: Path = { points: [start], times: [0], losses: [lossAt(start)] };
  const moved = ([w1, w2]: Point, [d1, d2]: Point, by: number): Point => [w1 + by * d1, w2 + by * d2];
  let at = start;
  for (let k = 1; k * STEP <= until; k++) {
    const v1 = velocity(rule, at, b);
    if (Math.hypot(...v1) < 1e-5) break;
    const v2 = velocity(rule, moved(at, v1, STEP / 2), b);
    const v3 = velocity(rule, moved(at, v2, STEP / 2), b);
    const v4 = velocity(rule, moved(at, v3, STEP), b);
    at = [0, 1].map((i) => at[i] + (STEP / 6) * (v1[i] + 2 * v2[i] + 2 * v3[i] + v4[i])) as unknown as Point;
    path.points.push(at);
    path.times.push(k * STEP);
    path.losses.push(lossAt(at));
  }
  return path;
}

export interface Rise { from: number; to: number; time: number }

/** The largest increase of the loss on the way, or null if it never rises by more than `least`. */
export function riseOf({ losses, times }: Path, least = 0.005): Rise | null {
  let [lowest, best]: [number, Rise | null] = [losses[0], null];
  losses.forEach((loss, k) => {
    lowest = Math.min(lowest, loss);
    if (loss - lowest > (best ? best.to - best.from : least)) best = { from: lowest, to: loss, time: times[k] };
  });
  return best;
}

/** The time at which w2 takes the sign of b for good, or null if it has had it from the start or never gets it. */
export function turnOf({ points, times }: Path, b: number): number | null {
  const last = points.findLastIndex(([, w2]) => w2 * b < 0);
  return last < 0 || last === points.length - 1 ? null : times[last + 1];
}
