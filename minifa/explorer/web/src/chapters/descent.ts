// A quadratic loss, and steps at an angle to its steepest descent.

import type { Point } from "./scalar";

const CURVATURE: Point = [0.6, 2];
export const START: Point = [2.5, 1.15];
export const RADIANS = Math.PI / 180;

/** L = 0.3 u^2 + v^2. */
export const bowl = ([u, v]: Point) => (CURVATURE[0] * u * u + CURVATURE[1] * v * v) / 2;
export const gradientAt = ([u, v]: Point): Point => [CURVATURE[0] * u, CURVATURE[1] * v];
export const halfAxes = (loss: number): Point => [Math.sqrt((2 * loss) / CURVATURE[0]), Math.sqrt((2 * loss) / CURVATURE[1])];

/** The unit vector at `degrees` to the steepest descent, counterclockwise. */
export function direction(at: Point, degrees: number): Point {
  const [gu, gv] = gradientAt(at);
  const size = Math.hypot(gu, gv) || 1;
  const [cos, sin] = [Math.cos(degrees * RADIANS), Math.sin(degrees * RADIANS)];
  return [-(cos * gu - sin * gv) / size, -(sin * gu + cos * gv) / size];
}

/** The point after a step of rate x norm of the gradient, and its length. */
export function stepFrom(at: Point, degrees: number, rate: number): { to: Point; length: number } {
  const [du, dv] = direction(at, degrees);
  const length = rate * Math.hypot(...gradientAt(at));
  return { to: [at[0] + length * du, at[1] + length * dv], length };
}

/** Points of several steps, each at the same angle to the steepest descent at its start; ends outside the picture. */
export function walk(degrees: number, rate: number, steps: number, isInside: (at: Point) => boolean): Point[] {
  const path: Point[] = [START];
  while (path.length <= steps && isInside(path.at(-1)!)) path.push(stepFrom(path.at(-1)!, degrees, rate).to);
  return path;
}

/** The decrease of the loss by one step, relative to a step of the same length along the steepest descent. */
export function shareOfBest(degrees: number, rate: number): number {
  const after = (angle: number) => bowl(START) - bowl(stepFrom(START, angle, rate).to);
  return after(degrees) / after(0);
}
