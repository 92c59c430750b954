// Curves over updates, epochs or anything else. Nothing is cut off: an axis whose values differ by more than a factor of 50
// is logarithmic, and says so. Every curve has a colour, a dash, markers and its name at its end.

import { extent } from "d3-array";
import { type ScaleContinuousNumeric, scaleLinear, scaleLog, scaleSymlog } from "d3-scale";
import { type SymbolType, line, symbol, symbolCircle, symbolCross, symbolDiamond, symbolPlus, symbolSquare, symbolStar, symbolTriangle, symbolWye } from "d3-shape";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { LineStyle } from "./colours";
import { clamp, isNumber, minus } from "./numbers";
import { fractionAt } from "./pointer";
import type { Band } from "./types";

export interface Series {
  name: string;
  /** x and y; undefined or not finite values are left out. */
  points: readonly (readonly [x: number, y: number | null | undefined])[];
  style: LineStyle;
  /** Drawn thicker and on top. */
  chosen?: boolean;
  /** A thin curve without markers and name, beside a curve that names it: one seed beside the mean of all. */
  quiet?: boolean;
}

export interface ChartProps {
  title: string;
  series: Series[];
  xLabel: string;
  /** Updates: 0, 1, 10, 100 at equal distances. */
  xLog?: boolean;
  /** The horizontal axis reaches at least to here, for curves that are still growing; their names move along. */
  xTo?: number;
  unit?: string;
  /** The least range of the vertical axis. */
  from?: number;
  to?: number;
  band?: Band | null;
  /** Shown at the end of the band, as the names of the curves. */
  bandLabel?: string;
  /** A dashed line with its label: above its left end, or below its right end. */
  guide?: { at: number; label: string; below?: boolean } | null;
  /** x of the vertical line; `onCursor` is called with the x that the reader chose by mouse or keyboard. */
  cursor?: number | null;
  onCursor?: (x: number) => void;
  /** Above the vertical line. */
  cursorLabel?: string;
  height?: number;
  /** Fixed width; default: the width of the place. */
  width?: number;
}

const SHAPES: Record<LineStyle["marker"], SymbolType> = {
  circle: symbolCircle, square: symbolSquare, triangle: symbolTriangle, diamond: symbolDiamond,
  cross: symbolCross, plus: symbolPlus, star: symbolStar, wye: symbolWye,
};
const RATIO = 50;

/** The width of the place in pixels, also after it changed. */
export function useWidth(start = 320): [(place: HTMLElement | null) => void, number] {
  const [width, setWidth] = useState(start);
  const observer = useRef<ResizeObserver | null>(null);
  const set = useRef((place: HTMLElement | null) => {
    observer.current?.disconnect();
    if (!place) return;
    const measure = () => setWidth(Math.floor(place.clientWidth));
    observer.current = new ResizeObserver(measure);
    observer.current.observe(place);
    measure();
  });
  return [set.current, width];
}

/** "650 M", "1.2 k", "0.5": short enough for an axis. */
export function tick(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e12 || (size > 0 && size < 1e-3)) return minus(value.toExponential(0));
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const)
    if (size >= unit) return minus(`${Number((value / unit).toPrecision(3))} ${letter}`);
  return minus(String(Number(value.toPrecision(3))));
}

function scaleOf(values: number[], { from, to, band }: ChartProps, bottom: number, top: number) {
  const [low = 0, high = 1] = extent(band ? [...values, ...band] : values);
  const positive = values.filter((value) => value > 0);
  const wide = to === undefined && positive.length === values.length && high / Math.min(...positive) > RATIO;
  if (wide) return { y: scaleLog([low, high], [bottom, top]).nice(), log: true };
  const least = Math.min(from ?? 0, low);
  const most = Math.max(to ?? high, high);
  return { y: scaleLinear([least, most > least ? most : least + 1], [bottom, top]).nice(4), log: false };
}

/** Heights for names at the ends of curves, moved apart so that they do not overlap. */
function spread(wanted: number[], top: number, bottom: number, gap: number): number[] {
  const order = [...wanted.keys()].sort((a, b) => wanted[a] - wanted[b]);
  const found = [...wanted];
  order.forEach((k, i) => (found[k] = Math.max(found[k], i ? found[order[i - 1]] + gap : top)));
  for (let i = order.length - 1, floor = bottom; i >= 0; i--, floor -= gap) found[order[i]] = Math.min(found[order[i]], floor);
  return found;
}

export function Chart(props: ChartProps): JSX.Element {
  const [place, measured] = useWidth();
  const width = props.width ?? measured;
  const shown = props.series.map((one) => ({ ...one, points: one.points.filter((p): p is readonly [number, number] => isNumber(p[1])) }));
  const drawn = shown.filter((one) => one.points.length);
  const values = drawn.flatMap((one) => one.points.map(([, y]) => y));
  const named = [...drawn.keys()].filter((k) => !drawn[k].quiet);
  const bandName = props.band && props.bandLabel ? [props.bandLabel] : [];
  const longest = Math.max(2, ...[...named.map((k) => drawn[k].name), ...bandName].map((name) => Math.min(name.length, 20)));
  const gap = 15;
  const height = Math.max(props.height ?? 190, (named.length + bandName.length) * gap + 44);
  const { y, log } = scaleOf(values.length ? values : [0, 1], props, height - 38, 12);
  const ticks = log ? y.ticks(4).filter((value) => Math.abs(Math.log10(value) % 1) < 1e-9) : y.ticks(4);
  const rows = ticks.length > 1 ? ticks : y.ticks(3);
  const texts = rows.map((value) => tick(value) + (props.unit ?? ""));
  const left = 12 + 7 * Math.max(...texts.map((text) => text.length));
  const right = Math.max(left + 40, width - 22 - 6.8 * longest);
  const xs = drawn.flatMap((one) => one.points.map(([x]) => x));
  const [first = 0, end = 1] = extent(xs);
  const last = Math.max(end, props.xTo ?? end);
  const x: ScaleContinuousNumeric<number, number> = (props.xLog ? scaleSymlog().constant(1) : scaleLinear())
    .domain([first, last > first ? last : first + 1]).range([left, right]);
  const columns = props.xLog ? [0, 1, 10, 100, 1000, 1e4, 1e5].filter((one) => one <= last && one >= first) : x.ticks(clamp(Math.floor((right - left) / 60), 2, 8));
  const ends = drawn.map((one) => y(one.points.at(-1)![1]));
  const bandEnds = bandName.map(() => y((props.band![0] + props.band![1]) / 2));
  const moved = spread([...named.map((k) => ends[k]), ...bandEnds], 12, height - 42, gap);
  const heights = new Map(named.map((k, i) => [k, moved[i]]));
  const order = [...drawn.keys()].sort((a, b) => Number(drawn[a].chosen ?? false) - Number(drawn[b].chosen ?? false));
  const words = named.map((k) => drawn[k]).map(({ name, points }) => `${name}: from ${tick(points[0][1])} to ${tick(points.at(-1)![1])}`);

  const all = [...new Set(xs)].sort((a, b) => a - b);
  const choose = (event: MouseEvent) => {
    const at = fractionAt(event)[0] * width;
    props.onCursor?.(all.reduce((best, one) => (Math.abs(x(one) - at) < Math.abs(x(best) - at) ? one : best), all[0]));
  };
  return (
    <figure class="chart" ref={props.width ? undefined : place}>
      <figcaption class="title">{props.title}{log ? " (logarithmic axis)" : ""}</figcaption>
      {drawn.length === 0 ? <p class="missing nothing"><span>not defined here</span></p> : (
        <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`${props.title}. ${words.join("; ")}`} onClick={props.onCursor && choose} style={props.onCursor ? "cursor:pointer" : undefined}>
          {rows.map((value, k) => (
            <g>
              <line class="grid" x1={left} x2={right} y1={y(value)} y2={y(value)} />
              <text x={left - 6} y={y(value) + 4} text-anchor="end">{texts[k]}</text>
            </g>
          ))}
          {columns.map((value) => <text x={x(value)} y={height - 20} text-anchor="middle">{tick(value)}</text>)}
          <text x={(left + right) / 2} y={height - 4} text-anchor="middle" class="axis-name">{props.xLabel}</text>
          {props.band && <rect class="band" x={left} width={right - left} y={y(props.band[1])} height={Math.max(1, y(props.band[0]) - y(props.band[1]))} />}
          {props.guide && <line class="guide" x1={left} x2={right} y1={y(props.guide.at)} y2={y(props.guide.at)} />}
          {props.guide && (props.guide.below
            ? <text class="guide" x={right} y={y(props.guide.at) + 15} text-anchor="end">{props.guide.label}</text>
            : <text class="guide" x={left + 4} y={y(props.guide.at) - 5}>{props.guide.label}</text>)}
          {bandName.map((name) => <text class="end of-band" x={x(end) + 12} y={moved[named.length] + 4}>{name}</text>)}
          {order.map((k) => <Curve key={drawn[k].name} curve={drawn[k]} x={x} y={y} nameAt={heights.get(k)} end={x(end)} />)}
          {isNumber(props.cursor) && <line class="cursor" x1={x(props.cursor)} x2={x(props.cursor)} y1={8} y2={height - 36} />}
          {isNumber(props.cursor) && props.cursorLabel && <text class="at-cursor" x={x(props.cursor) + (x(props.cursor) > (left + right) / 2 ? -5 : 5)} y={17} text-anchor={x(props.cursor) > (left + right) / 2 ? "end" : "start"}>{props.cursorLabel}</text>}
        </svg>
      )}
    </figure>
  );
}

type AxisScale = ScaleContinuousNumeric<number, number>;

interface CurveProps {
  curve: Omit<Series, "points"> & { points: readonly (readonly [number, number])[] };
  x: AxisScale;
  y: AxisScale;
  /** The height of its name, and where the curves end. */
  nameAt: number | undefined;
  end: number;
}

function Curve({ curve: { name, points, style, chosen, quiet }, x, y, nameAt, end }: CurveProps): JSX.Element {
  const every = Math.max(1, Math.ceil(points.length / 5));
  const marked = quiet ? [] : points.filter((_, i) => i === points.length - 1 || i % every === 0);
  const path = line<readonly [number, number]>().x(([at]) => x(at)).y(([, value]) => y(value));
  const mark = symbol(SHAPES[style.marker], chosen ? 60 : 40)() ?? "";
  const [lastX, lastY] = [x(points.at(-1)![0]), y(points.at(-1)![1])];
  return (
    <g class={quiet ? "quiet" : chosen ? "this" : undefined} style={`--curve:${style.colour}`}>
      <path class="curve" d={path(points)!} stroke-dasharray={style.dash || undefined} />
      {marked.map(([at, value]) => (
        <path class={style.marker === "plus" ? "marker of-lines" : "marker"} d={mark} transform={`translate(${x(at)} ${y(value)})`} />
      ))}
      {nameAt !== undefined && Math.abs(nameAt - lastY) > 3 && <path class="leader" d={`M${lastX + 5} ${lastY}L${end + 8} ${nameAt}`} />}
      {nameAt !== undefined && <text class="end" x={end + 12} y={nameAt + 4}>{name.length > 20 ? `${name.slice(0, 19)}…` : name}</text>}
    </g>
  );
}

/** Whether the reader asked for less motion. */
export const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Calls back on every frame with the milliseconds since the last one, while `on`. With reduced motion, about 4 times a second. */
export function useFrames(on: boolean, step: (elapsed: number) => void): void {
  const latest = useRef(step);
  latest.current = step;
  useEffect(() => {
    if (!on) return undefined;
    const calm = isCalm();
    let [frame, before] = [0, performance.now()];
    const tick = (now: number) => {
      if (!calm || now - before > 250) {
        latest.current(clamp(now - before, 0, 500)); // a first frame may have begun before `before`
        before = now;
      }
      frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [on]);
}
