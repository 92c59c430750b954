// A training run in sentences.

import { degrees, isNumber, percent, short } from "../numbers";
import type { Content, Film, LayerSnapshot, Matrix, RuleInfo, Snapshot } from "../types";

/** The feedback matrix of a layer, if it has the place and the shape of W. */
export interface Pair { B: Matrix | undefined; isPair: boolean }

/** The shape of a matrix, also where the page holds only a part of it. */
export const shapeOf = ({ array, of }: Matrix) => of ?? array.shape;

export function pairOf(rule: RuleInfo, snapshot: Snapshot, layer: string): Pair {
  const B = rule.paired ? snapshot.feedback[layer] : undefined;
  const W = snapshot.layers[layer].W;
  return { B, isPair: B !== undefined && shapeOf(B).join() === shapeOf(W).join() };
}

export interface Place { rule: RuleInfo; layer: string; index: number }

const change = (moved: Matrix["moved"]) => (isNumber(moved) && moved >= 10 ? `${short(moved, 100)} times its initial norm` : `${percent(moved)} of its initial norm`);

export function story(content: Content, { rule, layer, index }: Place): string {
  const run = content.runs[rule.name];
  const snapshot = run[index];
  const { W, weight_angle: angle } = snapshot.layers[layer];
  const { B, isPair } = pairOf(rule, snapshot, layer);
  const start = run[0].layers[layer].weight_angle;
  const updates = snapshot.update;
  const when = updates === 0 ? "Before training" : `After ${updates} update${updates > 1 ? "s" : ""}`;
  const moved = updates === 0 ? `${when}, W of ${layer} has its initial values` : `${when}, W of ${layer} has changed by ${change(W.moved)}`;
  const isEnd = run.length < content.at.length && index === run.length - 1;
  const end = isEnd ? " The run ended here, because its loss was no longer finite." : "";
  if (Object.keys(snapshot.feedback).length === 0) return `${moved}. ${rule.name} has no feedback matrices: no error is carried down through the layers.${end}`;
  if (!rule.paired) return `${moved}. Under ${rule.name} the feedback matrices have no counterpart among the weights, so no angle of W and B is defined.${end}`;
  if (!B) return `${moved}. Under ${rule.name} no error is carried down through this layer, so it has no B.${end}`;
  if (B.array === W.array) return `${moved}. W itself carries the error: B is W, and the angle between them is 0.${end}`;
  const other = B.moved === 0 ? "B has not changed" : `B has changed by ${change(B.moved)}`;
  if (!isPair) return `${moved}; ${other}. B and W have different shapes, so no angle is defined.${end}`;
  if (updates === 0) return `${when}, W and B of ${layer} stand at ${degrees(angle)} to each other. Press play; the charts below already show the whole run.${end}`;
  const isCloser = isNumber(angle) && isNumber(start) && angle < start - 1;
  const turned = isCloser ? `They have turned towards each other: from ${degrees(start)} to ${degrees(angle)}` : `The angle between them is ${degrees(angle)}; it was ${degrees(start)}`;
  const what = isCloser && B.moved === 0 ? turned.replace("They have turned towards each other", "W has turned towards it") : turned;
  return `${moved}; ${other}. ${what}.${end}`;
}

export interface Jump { from: Snapshot; to: Snapshot }

/** The largest jump of the loss: above 1.3 times the lowest loss before, by more than a tenth of the first loss. */
export function jumpOf(run: readonly Snapshot[]): Jump | null {
  let lowest = run[0];
  let found: Jump | null = null;
  const [first] = run;
  for (const one of run) {
    if (!isNumber(one.loss) || !isNumber(lowest.loss) || !isNumber(first.loss)) continue;
    const rise = one.loss - lowest.loss;
    const least = found ? Number(found.to.loss) - Number(found.from.loss) : 0.1 * first.loss;
    if (rise > least && one.loss > 1.3 * lowest.loss) found = { from: lowest, to: one };
    if (one.loss < lowest.loss) lowest = one;
  }
  return found;
}

/** Whether the run is stable, as a caption: a learner must not take a large rate for the nature of a rule. */
export function stability(content: Content, rule: string): string {
  const run = content.runs[rule];
  const jump = jumpOf(run);
  const rate = /learning rate ([\d.e-]+)/.exec(content.facts.join(", "))?.[1];
  const at = rate ? `At this rate (${rate})` : "At this rate";
  if (!jump) return run.length < content.at.length ? `${at} the loss of ${rule} does not stay finite. A smaller rate may train it.` : `${at} the loss of ${rule} falls without large jumps from snapshot to snapshot.`;
  const [from, to] = [jump.from, jump.to].map((one) => `${short(Number(one.loss))} (update ${one.update})`);
  return `${at} the loss of ${rule} jumps from ${from} to ${to}: the jump comes from the learning rate, which is large for ${rule} here. A smaller rate avoids or reduces it.`;
}

/** The letter that the rule's equation gives to the feedback of a layer: B, for direct rules F. */
export function letterOf(film: Film | undefined, layer: string): string {
  for (const moment of film ?? [])
    for (const [symbol, term] of Object.entries(moment.terms))
      if (typeof term === "object" && term.name === `${layer}.B`) return symbol;
  return "B";
}

const SHOWN = new Set(["W", "b", "weight_angle", "true_angle", "sign_agreement"]); // b is an array, not a number
const NAMES: Record<string, string> = {
  gradient_angle: "angle of the gradient to backpropagation's",
  "local_error angle": "angle of the layer's own error to backpropagation's",
  "local_error size": "size of the layer's own error, relative to backpropagation's",
  "targets angle": "angle of activity minus target to backpropagation's direction",
  "targets size": "size of activity minus target, relative to the activity",
};
const readable = (key: string) => NAMES[key] ?? key.replaceAll("_", " ");

/** Numbers of a layer beyond those that every rule has, each with its name: targets, local errors, noise. */
export function moreOf(layer: LayerSnapshot): [name: string, value: number | null][] {
  const numbers = (key: string, value: unknown): [string, number | null][] => {
    if (value === null || typeof value === "number") return [[key, value as number | null]];
    if (typeof value !== "object" || Array.isArray(value)) return [];
    return Object.entries(value as object).flatMap(([inner, one]) => numbers(`${key} ${inner}`, one));
  };
  return Object.entries(layer).filter(([key]) => !SHOWN.has(key)).flatMap(([key, value]) => numbers(key, value)).map(([key, value]) => [readable(key), value]);
}

export const isAngle = (name: string) => /angle/.test(name);
