// Why W turns towards B: the smallest network, whose two weights are a point in a plane, and a start that the reader moves.

import type { JSX } from "preact";
import { useContext, useEffect, useMemo, useState } from "preact/hooks";
import { Chart, isCalm, useFrames, useWidth } from "../chart";
import { ruleStyle } from "../colours";
import { AppContext } from "../context";
import { Choice } from "../controls";
import { clamp, minus } from "../numbers";
import { ARROWS, fractionAt, isAlone, useDrag } from "../pointer";
import { MathLine } from "../symbols";
import { type Path, type Point, type ScalarRule, errorAt, lossAt, riseOf, trajectory, turnOf, velocity } from "./scalar";

const [LEFT, RIGHT, LOW, TOP] = [-2.4, 2.4, -2, 2.2];
const FAR = 40; // beyond the picture
const RUN_S = 4; // the seconds in which the points run along their paths
const TIMES = [2, 4, 8]; // of the chart: the first at which both losses have reached their ends
const FLAT = 0.01;
const NAMES: Record<ScalarRule, string> = { fa: "feedback alignment", bp: "backpropagation" };
const STYLES: Record<ScalarRule, ReturnType<typeof ruleStyle>> = { fa: ruleStyle("fa", []), bp: ruleStyle("bp", []) };

const two = (value: number) => minus((Math.abs(value) < 0.005 ? 0 : value).toFixed(2));
const of = ([w1, w2]: Point) => `w₁ = ${two(w1)}, w₂ = ${two(w2)}`;

/** What the two trajectories do, in sentences computed from them. */
export function tellPaths(fa: Path, bp: Path, b: number): string[] {
  const [start, end] = [fa.points[0], fa.points.at(-1)!];
  const [rise, turn] = [riseOf(fa), turnOf(fa, b)];
  const sign = start[1] === 0 ? "w₂ starts at 0" : `w₂ starts at ${two(start[1])}, ${start[1] * b < 0 ? "with the other sign than b" : "with the sign of b"}`;
  const told = [];
  if (Math.abs(errorAt(start)) < 0.01) return ["The error is 0 at this start: both rules stay here."];
  if (rise) {
    const why = start[1] * b < 0 ? "the error reaches w₁ with the wrong sign" : "w₁ first draws w₂ to the other sign than b";
    told.push(`${sign}: ${why}, and the loss rises from ${two(rise.from)} to ${two(rise.to)} (time ${rise.time.toFixed(1)}).`);
    if (turn !== null) told.push(`But w₁ has changed and turns w₂: from time ${turn.toFixed(1)} on w₂ has the sign of b, and the loss falls to ${two(fa.losses.at(-1)!)}.`);
    else told.push(`Then the loss falls to ${two(fa.losses.at(-1)!)}.`);
  } else if (end[1] * b < 0) told.push(`${sign}, and keeps it: w₁ is so large that w₂ alone removes the error, and the loss falls without alignment.`);
  else if (turn !== null) told.push(`${sign}. w₁ turns it: from time ${turn.toFixed(1)} on w₂ has the sign of b, and the loss falls all the way.`);
  else if (start[0] === 0 && start[1] === 0) told.push("Both weights start at 0. b carries the error to w₁, and the changed w₁ then moves w₂ in the direction of b, before the target is learned.");
  else told.push(`${sign}: the error reaches w₁ with the right sign, and the loss falls from ${two(fa.losses[0])} to ${two(fa.losses.at(-1)!)}.`);
  told.push(`Feedback alignment ends at ${of(end)}; ${tellEnd(bp)}`);
  return told;
}

const isFlat = ({ times, losses }: Path, time: number) => times.every((one, k) => one < time || Math.abs(losses[k] - losses.at(-1)!) < FLAT);

function tellEnd(bp: Path): string {
  const end = bp.points.at(-1)!;
  if (bp.points.length === 1 && Math.abs(errorAt(end)) > 0.01) return "backpropagation stays where it is, because both of its gradients are 0.";
  if (lossAt(end) > 0.4) return "backpropagation runs into the saddle at 0, where both gradients vanish.";
  return `backpropagation ends at ${of(end)}.`;
}

const math = (inner: string) => `<math xmlns="http://www.w3.org/1998/Math/MathML">${inner}</math>`;
const weight = (index: number, dot = false) => `<msub>${dot ? "<mover><mi>w</mi><mo>˙</mo></mover>" : "<mi>w</mi>"}<mn>${index}</mn></msub>`;
const product = (...factors: string[]) => `<mrow><mo>−</mo><mi data-symbol="e">e</mi><mspace width="0.15em"/>${factors.join("")}</mrow>`;
const B = `<mi data-symbol="B">b</mi>`;
const EQUATIONS = {
  error: [math(`<mrow><mi data-symbol="e">e</mi><mo>=</mo>${weight(1)}${weight(2)}<mo>−</mo><mn>1</mn></mrow>`), "e = w1 w2 - 1"],
  second: [math(`<mrow>${weight(2, true)}<mo>=</mo>${product(weight(1))}</mrow>`), "w2' = -e w1"],
  fa: [math(`<mrow>${weight(1, true)}<mo>=</mo>${product(B)}</mrow>`), "w1' = -e b"],
  bp: [math(`<mrow>${weight(1, true)}<mo>=</mo>${product(weight(2))}</mrow>`), "w1' = -e w2"],
};

const Key = ({ rule }: { rule: ScalarRule }) => <span class="key" style={{ borderTop: `3px ${STYLES[rule].dash ? "dashed" : "solid"} ${STYLES[rule].colour}` }} />;

const PRESETS: [string, (b: number) => Point][] = [
  ["From zero", () => [0, 0]],
  ["w₂ against b", (b) => [0, -b]],
  ["Large w₁", (b) => [-2.2 * Math.sign(b), -0.2 * b]],
];

export function Portrait(): JSX.Element {
  const { say } = useContext(AppContext);
  const [place, measured] = useWidth(560);
  const [start, setStart] = useState<Point>([0, -1]);
  const [b, setB] = useState(1);
  const [field, setField] = useState<ScalarRule>("fa");
  const [time, setTime] = useState(Infinity); // of the running points; Infinity: at the end
  const fa = useMemo(() => trajectory("fa", start, b), [start, b]);
  const bp = useMemo(() => trajectory("bp", start, b), [start]);
  const words = tellPaths(fa, bp, b);
  useEffect(() => say(words.join(" ")), [words.join(" ")]);
  const until = TIMES.find((one) => isFlat(fa, one) && isFlat(bp, one)) ?? TIMES.at(-1)!;
  useFrames(time < until, (elapsed) => setTime(time + (elapsed / 1000) * (until / RUN_S)));
  const run = () => setTime(isCalm() ? Infinity : 0);
  const move = (to: Point) => {
    setTime(Infinity);
    setStart([clamp(Math.round(to[0] * 20) / 20, LEFT, RIGHT), clamp(Math.round(to[1] * 20) / 20, LOW, TOP)]);
  };
  const losses = useMemo(() => ([["fa", fa], ["bp", bp]] as const).map(([rule, path]) => ({
    name: rule,
    points: [...path.times.keys()].filter((k) => k % 5 === 0 && path.times[k] <= until).map((k) => [path.times[k], path.losses[k]] as const).concat(path.times.at(-1)! < until ? [[until, path.losses.at(-1)!]] : []),
    style: STYLES[rule],
    chosen: rule === "fa",
  })), [fa, bp, until]);
  return (
    <div class="card why-part">
      <div class="why-picture" ref={place}>
        <Plane width={clamp(measured, 240, 640)} start={start} b={b} field={field} paths={{ fa, bp }} time={time} onMove={move} />
        <p class="note">
          <span class="key perfect" /> no error: w₁ w₂ = 1. <span class="patch" /> here a step of {NAMES[field]} raises the loss{field === "bp" ? " (nowhere)" : ""}. Thin lines: where the
          weights go, from any start. <Key rule="fa" /> fa, <Key rule="bp" /> bp from your start (ring) to their ends (filled).
        </p>
      </div>
      <div class="why-side">
        <p class="equations">
          {[EQUATIONS.error, EQUATIONS.second, EQUATIONS.fa].map(([mathml, text]) => <MathLine mathml={mathml} text={text} key={text} />)}
          <span class="soft">(backpropagation: <MathLine mathml={EQUATIONS.bp[0]} text={EQUATIONS.bp[1]} />)</span>
          <span class="note">A dot over a weight: its change per unit of time.</span>
        </p>
        <div class="story four">{words.map((one) => <p>{one}</p>)}</div>
        <div class="buttons tight">
          {PRESETS.map(([name, at]) => <button class="button" aria-pressed={String(at(b).map(Number)) === String(start)} onClick={() => { setStart(at(b)); run(); }}>{name}</button>)}
          <button class="button" onClick={run}>Run again</button>
        </div>
        <div class="buttons">
          <Choice label="b" labelled options={["1", "-1"]} chosen={String(b)} onChoose={(one) => setB(Number(one))} show={minus} />
          <Choice label="Thin lines of" labelled options={["fa", "bp"]} chosen={field} onChoose={(one) => setField(one as ScalarRule)} />
        </div>
        <Chart title="Loss on the way" series={losses} from={0} to={1} xLabel="time: learning rate × steps" height={170} cursor={time < until ? time : null} />
      </div>
    </div>
  );
}

/** w2 on a flow line of feedback alignment (2 b w2 - w1^2 stays constant) at this w1. */
const parabola = (constant: number, b: number) => (w1: number): Point => [w1, (constant + w1 * w1) / (2 * b)];
const steps = (from: number, to: number, count: number) => Array.from({ length: count + 1 }, (_, k) => from + ((to - from) * k) / count);

/** The curves on which the weights move: parabolas, or for backpropagation hyperbolas (w1^2 - w2^2 stays constant). */
function flowLines(rule: ScalarRule, b: number): Point[][] {
  if (rule === "fa") return steps(-9, 5, 20).map((constant) => steps(LEFT, RIGHT, 60).map(parabola(constant, b)));
  return steps(-4.5, 4.5, 12).flatMap((constant) =>
    [1, -1].map((side) => steps(-2, 2, 60).map((t): Point => {
      const size = side * Math.sqrt(Math.abs(constant));
      if (constant === 0) return [t * 1.3, side * t * 1.3];
      return constant > 0 ? [size * Math.cosh(t), size * Math.sinh(t)] : [size * Math.sinh(t), size * Math.cosh(t)];
    })));
}

const HEADS = 92; // px between two arrowheads on a thin line

/** Points on a line, the same distance apart; the lines begin differently, so that their arrowheads do not form rows. */
function headsOn(points: Point[], scale: number, place: number): Point[] {
  let left = 20 + ((place * 37) % HEADS);
  return points.filter(([w1, w2], k) => {
    if (!k || w1 < LEFT || w1 > RIGHT || w2 < LOW || w2 > TOP) return false;
    left -= scale * Math.hypot(w1 - points[k - 1][0], w2 - points[k - 1][1]);
    if (left > 0) return false;
    left = HEADS;
    return true;
  });
}

interface PlaneProps {
  width: number;
  start: Point;
  b: number;
  field: ScalarRule;
  paths: Record<ScalarRule, Path>;
  time: number;
  onMove: (to: Point) => void;
}

function Plane({ width, start, b, field, paths, time, onMove }: PlaneProps): JSX.Element {
  const scale = (width - 34) / (RIGHT - LEFT);
  const height = scale * (TOP - LOW) + 30;
  const x = (w1: number) => 30 + (w1 - LEFT) * scale;
  const y = (w2: number) => 4 + (TOP - w2) * scale;
  const line = (points: readonly Point[]) => `M${points.map(([w1, w2]) => `${x(clamp(w1, -FAR, FAR)).toFixed(1)} ${y(clamp(w2, -FAR, FAR)).toFixed(1)}`).join("L")}`;
  const pointAt = (event: PointerEvent): Point => {
    const [across, down] = fractionAt(event);
    return [LEFT + (across * width - 30) / scale, TOP - (down * height - 4) / scale];
  };
  const keys = (event: KeyboardEvent) => {
    if (!(event.key in ARROWS) || !isAlone(event)) return;
    event.preventDefault();
    const [down, across] = ARROWS[event.key];
    onMove([start[0] + 0.1 * across, start[1] - 0.1 * down]);
  };
  const lines = useMemo(() => flowLines(field, b), [field, b]);
  const background = useMemo(() => (
    <g>
      {field === "fa" && <path class="uphill" d={`${line(steps(LEFT, RIGHT, 60).map((w1): Point => [w1, (-w1 * w1) / b]))}${[[RIGHT, -FAR * Math.sign(b)], [LEFT, -FAR * Math.sign(b)]].map(([w1, w2]) => `L${x(w1)} ${y(w2)}`).join("")}Z`} />}
      {lines.map((points) => <path class="level" d={line(points)} />)}
      {lines.flatMap((points, place) => headsOn(points, scale, place).map(([w1, w2]) => {
        const [d1, d2] = velocity(field, [w1, w2], b);
        const size = Math.hypot(d1, d2);
        return size > 1e-6 && <path class="flow" d="M-7 -3.4L0 0L-7 3.4" transform={`translate(${x(w1)} ${y(w2)}) rotate(${(-Math.atan2(d2, d1) * 180) / Math.PI})`} />;
      }))}
      <path class="zero" d={`M${x(LEFT)} ${y(0)}H${x(RIGHT)}M${x(0)} ${y(LOW)}V${y(TOP)}`} />
      {[1, -1].map((side) => <path class="perfect" d={line(steps(0.3, RIGHT, 50).map((w1): Point => [side * w1, side / w1]))} />)}
    </g>
  ), [width, b, field]);
  const now = (path: Path) => path.points[Math.min(path.points.length - 1, time === Infinity ? Infinity : Math.round(time / 0.02))];
  const [sx, sy] = [x(start[0]), y(start[1])];
  return (
    <svg class="plane" width={width} height={height} viewBox={`0 0 ${width} ${height}`} {...useDrag((event) => onMove(pointAt(event)))}>
      <svg x={x(LEFT)} y={y(TOP)} width={x(RIGHT) - x(LEFT)} height={y(LOW) - y(TOP)} viewBox={`${x(LEFT)} ${y(TOP)} ${x(RIGHT) - x(LEFT)} ${y(LOW) - y(TOP)}`}>
        {background}
        {(["bp", "fa"] as const).map((rule) => (
          <g class="way" style={`--way:${STYLES[rule].colour}`}>
            <path stroke-dasharray={STYLES[rule].dash || undefined} d={line(paths[rule].points.filter((_, k) => k % 3 === 0).concat([paths[rule].points.at(-1)!]))} />
            <circle cx={x(now(paths[rule])[0])} cy={y(now(paths[rule])[1])} r={6.5} />
          </g>
        ))}
      </svg>
      <rect class="frame" x={x(LEFT)} y={y(TOP)} width={x(RIGHT) - x(LEFT)} height={y(LOW) - y(TOP)} />
      {[-2, -1, 0, 1, 2].map((value) => <text x={x(value)} y={height - 10} text-anchor="middle">{minus(String(value))}</text>)}
      {[-1, 0, 1, 2].map((value) => <text x={25} y={y(value) + 4} text-anchor="end">{minus(String(value))}</text>)}
      <text class="name" x={x(1.5)} y={height - 10} text-anchor="middle">w₁</text>
      <text class="name" x={25} y={y(1.5) + 4} text-anchor="end">w₂</text>
      <circle class="start" cx={sx} cy={sy} r={5} />
      <circle class="grip" cx={sx} cy={sy} r={13} role="slider" tabindex={0} aria-label="Start: w1 across, w2 up; the arrow keys move it" aria-valuemin={LOW} aria-valuemax={TOP} aria-valuenow={start[1]} aria-valuetext={of(start)} onKeyDown={keys} />
    </svg>
  );
}
