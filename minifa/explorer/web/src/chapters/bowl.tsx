// Why a wrong direction can be good enough: an arrow in a bowl that the reader turns.

import type { JSX } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Chart, isCalm, useFrames, useWidth } from "../chart";
import { plainStyle } from "../colours";
import { AppContext } from "../context";
import { Slider } from "../controls";
import { clamp, minus } from "../numbers";
import { fractionAt, isAlone, useDrag } from "../pointer";
import { RADIANS, START, bowl, direction, gradientAt, halfAxes, shareOfBest, stepFrom, walk } from "./descent";
import type { Point } from "./scalar";

const [WIDE, HIGH]: Point = [3.5, 2.9]; // half of the picture, in units of the plane
const REACH = 0.5; // least distance of the handle that turns the arrow
const STEPS = 14;
const STEP_MS = 220;
const LEVELS = [0.05, 0.2, 0.45, 0.8, 1.25, 1.8, 2.45, 3.2, 4.05, 5];

const isInside = ([u, v]: Point) => Math.abs(u) < WIDE && Math.abs(v) < HIGH;
const two = (value: number) => minus(value.toFixed(2));
const hundred = (value: number) => minus(`${Math.round(100 * value)} %`);
const turned = (degrees: number) => ((degrees + 540) % 360) - 180; // into -180..180

function sentence(degrees: number, rate: number): string {
  const [angle, before] = [Math.abs(degrees), bowl(START)];
  const { to, length } = stepFrom(START, degrees, rate);
  const after = bowl(to);
  const cosine = Math.cos(angle * RADIANS);
  const step = `The arrow's step, ${two(length)} long, takes the loss from ${two(before)} to ${two(after)}`;
  if (angle === 0) return `Along the steepest descent the loss falls as fast as it can. ${step}.`;
  if (angle === 90) return `At 90° a small step changes nothing: it runs along the slope. ${step}, because a longer step leaves the slope.`;
  if (angle > 90) return `At ${angle}° every step, however small, goes uphill. ${step}.`;
  const small = `At ${angle}° to the steepest descent, a very small step lowers the loss by cos ${angle}° = ${hundred(cosine)} of what the same step along the steepest descent would.`;
  if (after >= before) return `${small} ${step}: it is too long. Make it shorter, and the loss falls.`;
  return `${small} ${step}.`;
}

function after(path: Point[], degrees: number): string {
  const steps = path.length - 1;
  const [first, last] = [bowl(path[0]), bowl(path.at(-1)!)];
  const where = isInside(path.at(-1)!) ? "" : " and the path has left the picture";
  return `After ${steps} steps, each at ${Math.abs(degrees)}° to the steepest descent at its start, the loss is ${two(last)}${where}; it was ${two(first)}. The first step is the arrow; the later ones are shorter where the slope is less steep.`;
}

export function Bowl(): JSX.Element {
  const { say } = useContext(AppContext);
  const [place, measured] = useWidth(560);
  const [degrees, setDegrees] = useState(60);
  const [rate, setRate] = useState(0.25);
  const [shown, setShown] = useState(STEPS); // steps of the path, while the ball runs
  const [running, setRunning] = useState(false);
  const waited = useRef(0);
  const path = useMemo(() => walk(degrees, rate, STEPS, isInside), [degrees, rate]);
  const words = sentence(degrees, rate);
  useEffect(() => say(words), [words]);
  useFrames(running, (elapsed) => {
    waited.current += elapsed;
    if (waited.current < STEP_MS) return;
    waited.current = 0;
    if (shown >= path.length - 1) setRunning(false);
    else setShown(shown + 1);
  });
  const turn = (to: number) => {
    setRunning(false);
    setShown(STEPS);
    setDegrees(turned(Math.round(to)));
  };
  const run = () => {
    waited.current = 0;
    if (isCalm()) return setShown(STEPS);
    setShown(0);
    setRunning(true);
  };
  const curve = (share: (angle: number) => number) => Array.from({ length: 37 }, (_, k) => [5 * k, share(5 * k)] as const);
  const side = degrees < 0 ? -1 : 1;
  const shares = useMemo(() => [
    { name: "small step: cos", points: curve((angle) => Math.cos(angle * RADIANS)), style: plainStyle(1) },
    { name: "this step", points: curve((angle) => shareOfBest(side * angle, rate)), style: plainStyle(0), chosen: true },
  ], [rate, side]);
  return (
    <div class="card why-part">
      <div class="why-picture" ref={place}>
        <Picture width={clamp(measured, 240, 720)} degrees={degrees} length={stepFrom(START, degrees, rate).length} path={path.slice(0, shown + 1)} onTurn={turn} onRelease={run} />
      </div>
      <div class="why-side">
        <p class="story">{words}</p>
        <Slider label="Angle to the steepest descent" value={degrees} min={-180} max={180} step={5} text={`${minus(String(degrees))}°`} onInput={turn} ends={["−180°", "0°: steepest descent", "180°"]} />
        <Slider label="Length of the step" value={rate} min={0.02} max={0.8} step={0.02} text={two(stepFrom(START, degrees, rate).length)} onInput={setRate} ends={["short", "long"]} />
        <div class="buttons">
          <button class="button" onClick={run}>Take {STEPS} steps</button>
        </div>
        <p class="note fixed">{after(path, degrees)}</p>
        <Chart title="Decrease of the loss; 1: along the steepest descent" series={shares} xLabel="angle in degrees" from={-1} to={1} guide={{ at: 0, label: "no change" }} cursor={Math.abs(degrees)} cursorLabel={`arrow: ${Math.abs(degrees)}°`} onCursor={(angle) => turn(side * angle)} height={160} />
      </div>
    </div>
  );
}

const KEYS: Record<string, number> = { ArrowLeft: 5, ArrowUp: 5, ArrowRight: -5, ArrowDown: -5, PageUp: 30, PageDown: -30 };

/** The loss as ellipses, the steepest descent, the half of directions that go uphill, the reader's arrow and its steps. */
function Picture({ width, degrees, length, path, onTurn, onRelease }: { width: number; degrees: number; length: number; path: Point[]; onTurn: (degrees: number) => void; onRelease: () => void }): JSX.Element {
  const scale = width / (2 * WIDE);
  const height = 2 * HIGH * scale;
  const x = (u: number) => (u + WIDE) * scale;
  const y = (v: number) => (HIGH - v) * scale;
  const spot = ([u, v]: Point) => `${x(u).toFixed(1)} ${y(v).toFixed(1)}`;
  const tip = (angle: number, size = length): Point => {
    const [du, dv] = direction(START, angle);
    return [START[0] + size * du, START[1] + size * dv];
  };
  const name = tip(0, Math.min(length / 2, 0.35)); // where the steepest descent is named
  const grip = tip(degrees, Math.max(length + 0.13, REACH));
  const angleAt = (event: PointerEvent): number => {
    const [across, down] = fractionAt(event);
    const [u, v] = [(2 * across - 1) * WIDE - START[0], (1 - 2 * down) * HIGH - START[1]];
    const [gu, gv] = gradientAt(START);
    return (Math.atan2(v, u) - Math.atan2(-gv, -gu)) / RADIANS;
  };
  const keys = (event: KeyboardEvent) => {
    if (!isAlone(event)) return;
    if (event.key in KEYS) onTurn(degrees + KEYS[event.key]);
    else if (event.key === "Home") onTurn(0);
    else if (event.key === "End") onTurn(180);
    else if (event.key === "Enter" || event.key === " ") onRelease();
    else return;
    event.preventDefault();
  };
  const [left, right] = [tip(90, 9), tip(-90, 9)];
  const far: Point = [2 * START[0] - tip(0, 9)[0], 2 * START[1] - tip(0, 9)[1]];
  const uphill = [left, [left[0] + far[0] - START[0], left[1] + far[1] - START[1]], [right[0] + far[0] - START[0], right[1] + far[1] - START[1]], right] as Point[];
  return (
    <svg class="bowl" width={width} height={height} viewBox={`0 0 ${width} ${height}`} {...useDrag((event) => onTurn(angleAt(event)), onRelease)}>
      <path class="uphill" d={`M${uphill.map(spot).join("L")}Z`} />
      {LEVELS.map((loss) => {
        const [a, b] = halfAxes(loss);
        return <ellipse class="level" cx={x(0)} cy={y(0)} rx={a * scale} ry={b * scale} />;
      })}
      <path class="least" d={`M${x(0) - 5} ${y(0)}h10M${x(0)} ${y(0) - 5}v10`} />
      <text x={x(0)} y={y(0.335) + 4} text-anchor="middle">least loss</text>
      <text x={width - 8} y={18} text-anchor="end" class="up">uphill</text>
      <Arrow from={spot(START)} to={spot(tip(0))} name="steepest" />
      {path.length > 1 && <path class="steps" d={`M${path.map(spot).join("L")}`} />}
      {path.slice(1).map((at) => <circle class="stop" cx={x(at[0])} cy={y(at[1])} r={3.4} />)}
      <text x={x(name[0]) - 10} y={y(name[1]) + 4} text-anchor="end">steepest descent</text>
      <path class="reach" d={`M${spot(tip(degrees))}L${spot(grip)}`} />
      <Arrow from={spot(START)} to={spot(tip(degrees))} name="own" />
      <circle class="grip" cx={x(grip[0])} cy={y(grip[1])} r={13} role="slider" tabindex={0} aria-label="Direction of the step, degrees from the steepest descent" aria-valuemin={-180} aria-valuemax={180} aria-valuenow={degrees} aria-valuetext={`${degrees} degrees`} onKeyDown={keys} />
      <circle class="ball" cx={x(path.at(-1)![0])} cy={y(path.at(-1)![1])} r={6.5} />
    </svg>
  );
}

function Arrow({ from, to, name }: { from: string; to: string; name: string }): JSX.Element {
  const [[x0, y0], [x1, y1]] = [from, to].map((text) => text.split(" ").map(Number));
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
  const size = Math.min(11, length / 2);
  const barb = (side: number) => `${x1 - size * (ux - side * uy / 2)} ${y1 - size * (uy + side * ux / 2)}`;
  return <path class={`arrow ${name}`} d={`M${from}L${to}M${barb(1)}L${to}L${barb(-1)}`} />;
}
