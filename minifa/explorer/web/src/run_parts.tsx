// What chapters that show a training run have in common: its curves, and W beside B.

import type { ComponentChildren, JSX } from "preact";
import type { Series } from "./chart";
import { type LineStyle, plainStyle } from "./colours";
import { type Cell, Heat, type HeatProps } from "./heat";
import { degrees, isNumber } from "./numbers";
import type { Arr, Band, LayerSnapshot, Snapshot } from "./types";

export const thousands = (value: number) => value.toLocaleString("en-US");
export const share = (accuracy: number | null | undefined) => (isNumber(accuracy) ? `${Math.round(100 * accuracy)} %` : "–");

/** The angles between two unrelated matrices of so many entries, mean and two standard deviations. */
export function chanceBand(entries: number): Band {
  const sd = 180 / Math.PI / Math.sqrt(entries);
  return [90 - 2 * sd, 90 + 2 * sd];
}

/** One number of every snapshot. */
export const curveOf = (name: string, run: readonly Snapshot[], pick: (one: Snapshot) => unknown, style: LineStyle, chosen = false): Series => ({
  name, style, chosen, points: run.map((one) => [one.update, pick(one)] as const).map(([update, value]) => [update, isNumber(value) ? value : null] as const),
});

export const accuracyIn = ({ accuracy }: Snapshot) => (isNumber(accuracy) ? 100 * accuracy : null); // percent
export const lossIn = ({ loss }: Snapshot) => loss;

/** The angle of every layer that has it. */
export function angleCurves(run: readonly Snapshot[], which: "weight_angle" | "true_angle"): Series[] {
  const names = Object.keys(run[0]?.layers ?? {}).filter((name) => run.some((one) => isNumber(one.layers[name][which])));
  return names.map((name, k) => curveOf(name, run, (one) => one.layers[name][which], plainStyle(k)));
}

export interface PairProps {
  name: string;
  layer: LayerSnapshot | undefined;
  B: Arr | undefined;
  /** The letter of the feedback: B, for direct rules F. */
  letter?: string;
  note?: ComponentChildren;
  cell?: Cell;
  onPaint?: HeatProps["onPaint"];
}

/** W and B of one layer on one scale of colours; either may be missing. */
export function WeightPair({ name, layer, B, letter = "B", note, cell, onPaint }: PairProps): JSX.Element {
  const W = layer?.W.array;
  const shared = { limit: Math.max(W?.largest ?? 0, B?.largest ?? 0), cell, width: 190, height: 190 };
  return (
    <div key={name}>
      <h3>{name}{W && B ? `: ${degrees(layer!.weight_angle)}` : ""}</h3>
      {note}
      <div class="row">
        {W && <Heat array={W} symbol="W" name={`${name}.W`} role="weight" {...shared} />}
        {B && <div class={onPaint && "paint"}><Heat array={B} symbol={letter} name={`${name}.${letter}`} role="feedback" onPaint={onPaint} {...shared} /></div>}
      </div>
    </div>
  );
}
