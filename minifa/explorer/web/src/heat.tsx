// An array as a picture of coloured cells on a canvas, with its numbers where there is room, and as a table.

import type { ComponentChildren, JSX } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { AppContext } from "./context";
import { type Theme, grey, shade } from "./colours";
import { type Grid, gridOf } from "./grid";
import { clamp, exact, short, times } from "./numbers";
import { ARROWS, isAlone } from "./pointer";
import { type Role, SymbolText, isKernel, roleOf } from "./symbols";
import type { Arr } from "./types";

export interface Cell { w: number; h: number; numbers?: boolean }
/** A marked rectangle of cells. */
export interface Mark { row: number; column: number; rows?: number; columns?: number }

export const NUMBER_FONT = "11px 'Helvetica Neue', Helvetica, 'Segoe UI', Roboto, Arial, sans-serif";

/** The size of a cell that holds its number; null if there are too many numbers, or images. */
export function numberCell(array: Arr, grid: Grid, most = 600): Cell | null {
  if (grid.tiled || array.values.length > most) return null;
  let letters = 0;
  for (let i = 0; i < array.values.length; i++) letters = Math.max(letters, short(array.values[i], array.largest).length);
  return { w: Math.max(24, Math.round(letters * 5.7 + 7)), h: 24, numbers: true };
}

/** The largest cell with which the picture fits into the room; with numbers if they fit. */
export function fitCell(array: Arr, grid: Grid, width: number, height: number, most = 26): Cell {
  const numbers = numberCell(array, grid);
  if (numbers && grid.columns * numbers.w <= width && grid.rows * numbers.h <= height) return numbers;
  const side = clamp(Math.floor(Math.min(width / grid.columns, height / grid.rows)), 1, most);
  return { w: side, h: side };
}

// One pixel for each number. The same picture is drawn at most once for each array, scale and theme.
const dots = new WeakMap<Arr, Map<string, OffscreenCanvas>>();

function dotsOf(array: Arr, grid: Grid, key: string, limit: number, theme: Theme, image: boolean): OffscreenCanvas {
  const known = dots.get(array) ?? new Map<string, OffscreenCanvas>();
  dots.set(array, known);
  const whole = `${key} ${limit} ${theme} ${image}`;
  let canvas = known.get(whole);
  if (!canvas) {
    canvas = new OffscreenCanvas(Math.max(1, grid.columns), Math.max(1, grid.rows));
    const picture = new ImageData(canvas.width, canvas.height);
    const colour = image ? grey : shade;
    const { values } = array;
    for (let r = 0, at = 0; r < grid.rows; r++)
      for (let c = 0; c < grid.columns; c++, at += 4) {
        const index = grid.indexAt(r, c);
        if (index < 0) continue;
        const { rgb } = colour(values[index], limit, theme);
        picture.data[at] = rgb[0];
        picture.data[at + 1] = rgb[1];
        picture.data[at + 2] = rgb[2];
        picture.data[at + 3] = 255;
      }
    canvas.getContext("2d")!.putImageData(picture, 0, 0);
    known.set(whole, canvas);
  }
  return canvas;
}

/** Draws the picture of an array on a canvas. */
export function paint(canvas: HTMLCanvasElement, array: Arr, grid: Grid, cell: Cell, limit: number, theme: Theme, image: boolean, key: string) {
  const [width, height] = [grid.columns * cell.w, grid.rows * cell.h];
  const scale = width * height > 2e6 ? 1 : Math.max(1, devicePixelRatio);
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  const pen = canvas.getContext("2d")!;
  pen.scale(scale, scale);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(dotsOf(array, grid, key, limit, theme, image), 0, 0, width, height);
  if (cell.w >= 9 && !image) {
    for (let c = 1; c <= grid.columns; c++) pen.clearRect(c * cell.w - 1, 0, 1, height);
    for (let r = 1; r <= grid.rows; r++) pen.clearRect(0, r * cell.h - 1, width, 1);
  }
  if (!cell.numbers) return;
  Object.assign(pen, { font: NUMBER_FONT, textAlign: "center", textBaseline: "middle" });
  for (let r = 0; r < grid.rows; r++)
    for (let c = 0; c < grid.columns; c++) {
      const value = array.values[grid.indexAt(r, c)];
      pen.fillStyle = shade(value, limit, theme).ink;
      pen.fillText(short(value, array.largest), (c + 0.5) * cell.w - 0.5, (r + 0.5) * cell.h);
    }
}

export interface HeatProps {
  array: Arr;
  /** "W", "B.T", "delta_below": role, colour, transposition. */
  symbol: string;
  /** The name that the step gives the array, "linear2.W". */
  name?: string;
  role?: Role;
  /** The colours reach from -limit to limit (default: the array's own largest magnitude). */
  limit?: number;
  /** Only this example of feature maps, or this row of a matrix. */
  example?: number | null;
  /** The channels of one example in rows of this many tiles. */
  across?: number;
  /** The shape of the whole array, if the page keeps only a part of it. */
  whole?: readonly number[];
  /** A grey picture from 0 to limit, for images. */
  image?: boolean;
  /** The size of a cell; default: fitted into width x height. */
  cell?: Cell;
  width?: number;
  height?: number;
  caption?: boolean;
  note?: ComponentChildren;
  marks?: Mark[];
  /** The cell under the pointer or the keyboard, or null. */
  onPoint?: (cell: { row: number; column: number; index: number } | null) => void;
  /** A press or drag on a cell (also Enter or Space on the pointed cell): for cells that the reader may change. */
  onPaint?: (cell: { row: number; column: number; index: number; start: boolean }) => void;
}

/** A figure: caption (name, shape; opens the table), the picture, marks. One tab stop; the arrow keys move through cells. */
export function Heat(props: HeatProps): JSX.Element {
  const { array, symbol, name = symbol, example = null, across, image = false, caption = true, marks = [], onPoint, onPaint } = props;
  const app = useContext(AppContext);
  const role = props.role ?? roleOf(symbol) ?? "activity";
  const transposed = symbol.endsWith(".T");
  const grid = useMemo(
    () => gridOf(array.shape, { kernel: isKernel(role), transposed, example, across }),
    [array, role, transposed, example, across]);
  const limit = props.limit ?? array.largest;
  const cell = props.cell ?? fitCell(array, grid, props.width ?? 320, props.height ?? 320);
  const canvas = useRef<HTMLCanvasElement>(null);
  const key = `${role === "weight" || isKernel(role)} ${transposed} ${example} ${across}`;
  const [pointed, setPointed] = useState<{ row: number; column: number } | null>(null);
  const pressed = useRef(false);

  useEffect(() => {
    if (canvas.current) paint(canvas.current, array, grid, cell, limit, app.theme, image, key);
  }, [array, grid, cell.w, cell.h, cell.numbers, limit, app.theme, image, key]);

  const turned = (shape: readonly number[]) => (transposed && grid.plain ? [...shape].reverse() : shape);
  const ofBatch = example !== null && array.shape.length > 1;
  const own = (shape: readonly number[]) => (ofBatch ? shape.slice(1) : turned(shape));
  const isWhole = !props.whole || (example !== null && String(props.whole.slice(1)) === String(array.shape.slice(1))); // of one example
  const numbers = (isWhole ? times(own(props.whole ?? array.shape)) : `${times(own(array.shape))} of ${times(own(props.whole!))}`) + (ofBatch && array.shape.length === 2 ? " numbers" : "");
  const size = ofBatch ? `example ${Math.min(example, array.shape[0] - 1) + 1} (of ${(props.whole ?? array.shape)[0]}), ${numbers}` : numbers;
  const pale = array.largest === 0 ? "all zero" : array.largest < 0.04 * limit ? `at most ${short(array.largest)}` : "";
  const words = `${name}${transposed ? " transposed" : ""}, ${size || "a number"}`;
  const summary = `${words}, from ${rangeOf(array)}`;

  const point = (row: number, column: number, tell: boolean) => {
    if (row < 0 || column < 0 || row >= grid.rows || column >= grid.columns) return false;
    const index = grid.indexAt(row, column);
    if (index < 0) return false;
    setPointed({ row, column });
    onPoint?.({ row, column, index });
    if (tell) app.say(`${name}${grid.label(index)} = ${exact(array.values[index], array.single)}`);
    return true;
  };
  const leave = () => {
    setPointed(null);
    onPoint?.(null);
    pressed.current = false;
  };
  const cellAt = (event: PointerEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return [Math.floor((event.clientY - box.top) / cell.h), Math.floor((event.clientX - box.left) / cell.w)] as const;
  };
  const change = (row: number, column: number, start: boolean) => {
    const index = grid.indexAt(row, column);
    if (index >= 0) onPaint?.({ row, column, index, start });
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === "Escape" && pointed) leave();
    else if ((event.key === "Enter" || event.key === " ") && onPaint && pointed) change(pointed.row, pointed.column, true);
    else if (event.key in ARROWS && isAlone(event)) {
      const [down, across] = ARROWS[event.key];
      const at = pointed ?? { row: -down, column: -across };
      if (!point(at.row + down, at.column + across, true)) point(at.row + 2 * down, at.column + 2 * across, true); // over a gap
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const picture = (
    <div
      class="field"
      onPointerMove={(event) => {
        const [r, c] = cellAt(event);
        if (point(r, c, false) && pressed.current) change(r, c, false);
      }}
      onPointerDown={(event) => {
        const [r, c] = cellAt(event);
        if (!point(r, c, false)) return;
        pressed.current = Boolean(onPaint);
        if (onPaint) change(r, c, true);
      }}
      onPointerUp={() => (pressed.current = false)}
      onPointerCancel={leave}
      onPointerLeave={(event) => event.pointerType === "mouse" && leave()}
    >
      <canvas ref={canvas} role="img" aria-label={summary} />
      {[...marks, ...(pointed && pointed.row < grid.rows && pointed.column < grid.columns ? [pointed as Mark] : [])].map(({ row, column, rows = 1, columns = 1 }) => (
        <div
          class={rows * columns > 1 ? "mark band" : "mark"}
          style={{ left: `${column * cell.w}px`, top: `${row * cell.h}px`, width: `${columns * cell.w - 1}px`, height: `${rows * cell.h - 1}px` }}
        />
      ))}
    </div>
  );
  return (
    <figure class={grid.tiled ? "matrix tiles" : "matrix"} data-role={role} data-symbol={symbol} data-name={name}>
      {caption && (
        <figcaption>
          <button class="name" title="As a table; arrow keys move through the cells" onClick={() => app.showTable({ array, name, symbol })} onKeyDown={keys} onBlur={leave}>
            <SymbolText symbol={symbol} />
            <span class="hush">{` ${name}: as a table`}</span>
          </button>
          <span>{[size, pale].filter(Boolean).join(", ")} {props.note}</span>
        </figcaption>
      )}
      <div class="scroll" tabIndex={caption ? undefined : 0} role={caption ? undefined : "group"} aria-label={caption ? undefined : `${words}; arrow keys move through the cells`} onKeyDown={caption ? undefined : keys}>
        {picture}
      </div>
    </figure>
  );
}

export function rangeOf(array: Arr): string {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < array.values.length; i++) {
    low = Math.min(low, array.values[i]);
    high = Math.max(high, array.values[i]);
  }
  return array.values.length ? `${short(low, array.largest)} to ${short(high, array.largest)}` : "nothing to nothing";
}
