// The two drawings of chapter 1: a layer on the way forward, and below it the same layer on the way back.

import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { largestOf } from "../content";
import { clamp, short } from "../numbers";
import { ARROWS, fractionAt, isAlone } from "../pointer";
import type { Layer } from "./twin-model";

export const MOST_ROWS = 12;
export const MOST_COLUMNS = 12;
const [LEAST_GAP, MOST_GAP, ROOM] = [20, 44, 288]; // between units
const HEAD = 34;
const HALF = 64; // of the longest text above the bars

export type Synapse = readonly [row: number, column: number];

export interface NetProps {
  layer: Layer;
  /** The weights of the way back. */
  copies: ArrayLike<number>;
  chosen: Synapse;
  onChoose: (synapse: Synapse) => void;
  /** Activities of one example below and above; the error at the outputs; the one that arrives, and backpropagation's. */
  inputs: ArrayLike<number> | null;
  outputs: ArrayLike<number> | null;
  error: ArrayLike<number>;
  delta: ArrayLike<number>;
  truth: ArrayLike<number>;
  /** Names of the outputs, or null. */
  names: readonly string[] | null;
  width: number;
}

const signOf = (value: number) => (value < 0 ? "minus" : "plus");

/** Two layers of units with lines between them; the right one has fewer or more units and is centred. */
function placesOf(layer: Layer, width: number) {
  const [rows, columns] = [Math.min(layer.rows, MOST_ROWS), Math.min(layer.columns, MOST_COLUMNS)];
  const zone = clamp(Math.round(width / 6), 44, 130); // of the bars on either side
  const most = Math.max(rows, columns);
  const gap = clamp(ROOM / most, LEAST_GAP, MOST_GAP);
  const at = (k: number, count: number) => HEAD + gap * (k + 0.5 + (most - count) / 2);
  return {
    rows, columns, zone,
    left: zone + 30,
    right: width - zone - 30,
    height: HEAD + gap * most + 24,
    leftAt: (i: number) => at(i, rows),
    rightAt: (j: number) => at(j, columns),
  };
}
type Places = ReturnType<typeof placesOf>;

function Lines({ places, weights, limit, chosen, near, original }: {
  places: Places; weights: (i: number, j: number) => number; limit: number; chosen: Synapse; near: Synapse | null;
  original?: (i: number, j: number) => number;
}): JSX.Element {
  const lines: JSX.Element[] = [];
  const { left, right, leftAt, rightAt } = places;
  for (let i = 0; i < places.rows; i++)
    for (let j = 0; j < places.columns; j++) {
      const value = weights(i, j);
      const is = ([row, column]: Synapse) => row === i && column === j;
      const isWrong = original !== undefined && original(i, j) !== value;
      const classes = ["synapse", signOf(value), isWrong && "wrong", is(chosen) && "chosen", near && is(near) && "near"];
      const thick = 0.4 + (3.4 * Math.min(1, Math.abs(value) / limit));
      lines.push(
        <line key={`${i} ${j}`} class={classes.filter(Boolean).join(" ")} x1={left} y1={leftAt(i)} x2={right} y2={rightAt(j)} stroke-width={is(chosen) ? thick + 2.4 : thick} />);
    }
  const [row, column] = chosen;
  lines.push(lines.splice(row * places.columns + column, 1)[0]); // on top
  return <g>{lines}</g>;
}

/** A bar for every unit, from a line at zero: to the left below zero, to the right above. `marks` are thin lines across. */
function Bars({ x, zone, at, values, limit, role, marks }: {
  x: number; zone: number; at: (k: number) => number; values: number[]; limit: number; role: string; marks?: number[];
}): JSX.Element {
  const middle = x + zone / 2;
  const scale = (value: number) => (clamp(value / limit, -1, 1) * (zone - 6)) / 2;
  return (
    <g data-role={role} class="bars">
      <line class="zero" x1={middle} x2={middle} y1={at(0) - 10} y2={at(values.length - 1) + 10} />
      {values.map((value, k) => <rect x={middle + Math.min(0, scale(value))} width={Math.max(0.5, Math.abs(scale(value)))} y={at(k) - 6} height={12} />)}
      {marks?.map((value, k) => <line class="tick" x1={middle + scale(value)} x2={middle + scale(value)} y1={at(k) - 9} y2={at(k) + 9} />)}
    </g>
  );
}

function Units({ places, chosen, names }: { places: Places; chosen: Synapse; names: readonly string[] | null }): JSX.Element {
  const unit = (x: number, y: number, text: string, isChosen: boolean) => (
    <g class={isChosen ? "unit chosen" : "unit"}>
      <circle cx={x} cy={y} r={9.5} />
      <text x={x} y={y + 4}>{text}</text>
    </g>
  );
  return (
    <g>
      {Array.from({ length: places.rows }, (_, i) => unit(places.left, places.leftAt(i), String(i), i === chosen[0]))}
      {Array.from({ length: places.columns }, (_, j) => unit(places.right, places.rightAt(j), names?.every((name) => name.length <= 2) ? names[j] : String(j), j === chosen[1]))}
    </g>
  );
}

function Value({ places, chosen, text }: { places: Places; chosen: Synapse; text: string }): JSX.Element {
  const along = 0.5;
  const [x, y] = [places.left + along * (places.right - places.left), places.leftAt(chosen[0]) * (1 - along) + places.rightAt(chosen[1]) * along];
  return <text class="value" x={x} y={y - 7}>{text}</text>;
}

const largest = (values: ArrayLike<number>) => Math.max(1e-12, largestOf(values));

/** The synapse whose line is nearest to a point of a drawing. */
function nearest({ rows, columns, left, right, leftAt, rightAt }: Places, x: number, y: number): Synapse {
  let best: Synapse = [0, 0];
  let least = Infinity;
  const t = clamp((x - left) / (right - left), 0, 1);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      const slope = (rightAt(j) - leftAt(i)) / (right - left);
      const distance = Math.abs(leftAt(i) + t * (rightAt(j) - leftAt(i)) - y) / Math.hypot(1, slope);
      if (distance < least) [least, best] = [distance, [i, j]];
    }
  return best;
}

export function Net(props: NetProps): JSX.Element {
  const { layer, copies, chosen, onChoose, width } = props;
  const places = useMemo(() => placesOf(layer, width), [layer, width]);
  const [near, setNear] = useState<Synapse | null>(null);
  const { rows, columns, height, zone } = places;
  const weight = (i: number, j: number) => layer.W[i * layer.columns + j];
  const copy = (i: number, j: number) => copies[i * layer.columns + j];
  const limit = largest(layer.W);
  const first = (values: ArrayLike<number>, count: number) => Array.from({ length: count }, (_, k) => values[k]);
  const most = Math.max(1.6 * largest(props.truth), largest(props.delta)); // the scale moves only for errors beyond it
  const synapseAt = (event: MouseEvent) => {
    const [x, y] = fractionAt(event);
    return nearest(places, x * width, (y * 2 * height) % height);
  };
  const keys = (event: KeyboardEvent) => {
    if (!(event.key in ARROWS) || !isAlone(event)) return;
    event.preventDefault();
    const [down, across] = ARROWS[event.key];
    onChoose([clamp(chosen[0] + down, 0, rows - 1), clamp(chosen[1] + across, 0, columns - 1)]);
  };
  const [i, j] = chosen;
  const shared = { places, limit, chosen, near };
  const forward = useMemo(() => <Lines {...shared} weights={weight} />, [places, i, j, near]);
  const top = (text: string) => <text class="head" x={width / 2} y={16} text-anchor="middle">{text}</text>;
  const side = (below: string, above: string) => zone > 80 && [below, above].map((text, k) => (
    <text class="side" x={k ? width - Math.max(zone / 2, HALF) : Math.max(zone / 2, HALF)} y={16} text-anchor="middle">{text}</text>
  ));
  return (
    <div class="net" role="group" tabIndex={0} onKeyDown={keys} aria-label="The synapses of the layer; arrow keys choose one: up and down its lower unit, left and right its upper unit">
      <svg width={width} height={2 * height} viewBox={`0 0 ${width} ${2 * height}`} role="img"
        aria-label={`Above: activity through ${rows} times ${columns} weights. Below: the error comes back through as many copies. The weight from unit ${i} to output ${j} is ${short(weight(i, j))}, its twin ${short(copy(i, j))}.`}
        onPointerMove={(event) => event.pointerType === "mouse" && setNear(synapseAt(event))} onPointerLeave={() => setNear(null)} onClick={(event) => onChoose(synapseAt(event))}>
        <g>
          {top("Forward: activity →")}
          {side("inputs", "outputs")}
          {forward}
          {props.inputs && <Bars x={0} zone={zone} at={places.leftAt} values={first(props.inputs, rows)} limit={largest(props.inputs)} role="activity" />}
          {props.outputs && <Bars x={width - zone} zone={zone} at={places.rightAt} values={first(props.outputs, columns)} limit={largest(props.outputs)} role="activity" />}
          <Units places={places} chosen={chosen} names={props.names} />
          <Value places={places} chosen={chosen} text={short(weight(i, j))} />
        </g>
        <g transform={`translate(0 ${height})`}>
          {top("← Back: error")}
          {side("error that arrives", "error at the outputs")}
          <Lines {...shared} weights={copy} original={weight} />
          <Bars x={0} zone={zone} at={places.leftAt} values={first(props.delta, rows)} limit={most} role="error" marks={first(props.truth, rows)} />
          <Bars x={width - zone} zone={zone} at={places.rightAt} values={first(props.error, columns)} limit={largest(props.error)} role="error" />
          <Units places={places} chosen={chosen} names={props.names} />
          <Value places={places} chosen={chosen} text={short(copy(i, j))} />
        </g>
      </svg>
    </div>
  );
}
