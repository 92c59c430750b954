// A pad on which the reader draws a digit. The drawing becomes an image as those of the UCI digits were made: a bitmap of
// 32 x 32, filled by the digit, of which each block of 4 x 4 gives one pixel, the number of its dots, 0 to 16.

import type { JSX } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { makeArr } from "./content";
import { AppContext } from "./context";
import { Heat } from "./heat";
import { type Floats, Net, largest } from "./live";
import type { LiveData } from "./live_source";
import { clamp, percent } from "./numbers";
import type { Snapshot } from "./types";

export type Stroke = (readonly [x: number, y: number])[];

const [BITMAP, PIXELS, MOST] = [32, 8, 16];
const BLOCK = BITMAP / PIXELS;
const [MARGIN, RADIUS] = [1, 2]; // dots: around the digit, and half of a stroke's width
const PAD = 168; // CSS pixels

function distance([x, y]: readonly [number, number], [ax, ay]: readonly [number, number], [bx, by]: readonly [number, number]): number {
  const [dx, dy] = [bx - ax, by - ay];
  const along = clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1), 0, 1);
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}

/** The image (64 values, 0 to 16) of strokes in any unit; null if there are none. */
export function imageOf(strokes: readonly Stroke[]): Float32Array | null {
  const points = strokes.flat();
  if (!points.length) return null;
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const room = BITMAP - 2 * (MARGIN + RADIUS);
  const size = Math.max(right - left, bottom - top);
  const scale = size > 0 ? room / size : 0;
  const place = ([x, y]: readonly [number, number]) =>
    [BITMAP / 2 + (x - (left + right) / 2) * scale, BITMAP / 2 + (y - (top + bottom) / 2) * scale] as const;
  const lines = strokes.flatMap((stroke) => stroke.map((point, i) => [place(stroke[Math.max(0, i - 1)]), place(point)] as const));
  const image = new Float32Array(PIXELS * PIXELS);
  for (let row = 0; row < BITMAP; row++)
    for (let column = 0; column < BITMAP; column++) {
      const dot = [column + 0.5, row + 0.5] as const;
      if (lines.some(([from, to]) => distance(dot, from, to) <= RADIUS)) image[Math.floor(row / BLOCK) * PIXELS + Math.floor(column / BLOCK)] += 1;
    }
  return image;
}

/** The network of a snapshot. */
function netOf(snapshot: Snapshot, activation: string): Net | null {
  const layers = Object.values(snapshot.layers);
  const biases = layers.map((layer) => (layer.b as { values: ArrayLike<number> } | undefined)?.values);
  if (biases.some((b) => b === undefined)) return null;
  const W = layers.map((layer) => Float32Array.from(layer.W.array.values));
  const sizes = [layers[0].W.array.shape[0], ...layers.map((layer) => layer.W.array.shape[1])];
  const b = biases.map((values) => Float32Array.from(values!));
  return new Net({ sizes, activation, W, b, M: [], N: [], F: [], redrawn: () => new Float32Array(0) }, "bp");
}

/** The probabilities of the classes. */
function classify(net: Net, x: Floats): number[] {
  const outputs = Array.from(net.forward(x, 1).at(-1)!);
  const exponents = outputs.map((one) => Math.exp(one - Math.max(...outputs)));
  return exponents.map((one) => one / exponents.reduce((a, b) => a + b, 0));
}

export function DigitPad({ snapshot, data }: { snapshot: Snapshot; data: LiveData }): JSX.Element | null {
  const { say, theme } = useContext(AppContext);
  const [low, high] = useMemo(() => [data.train.x.reduce((a, b) => Math.min(a, b)), data.train.x.reduce((a, b) => Math.max(a, b))], [data]);
  const example = (k: number) => data.test.x.slice(k * PIXELS ** 2, (k + 1) * PIXELS ** 2).map((x) => Math.round((MOST * (x - low)) / (high - low)));
  const [image, setImage] = useState<Floats>(() => example(0));
  const [tested, setTested] = useState<number | null>(0); // the test example that is shown
  const [strokes, setStrokes] = useState<Stroke[]>([]);
  const canvas = useRef<HTMLCanvasElement>(null);
  const ink = useRef(MOST); // of the current stroke on the pixels
  const net = useMemo(() => netOf(snapshot, data.live.activation), [snapshot, data]);

  const show = (to: Floats, k: number | null) => {
    setImage(to);
    setTested(k);
  };
  const draw = (to: Stroke[]) => {
    setStrokes(to);
    show(imageOf(to) ?? new Float32Array(PIXELS ** 2), null);
  };
  useEffect(() => {
    const pen = canvas.current!.getContext("2d")!;
    pen.clearRect(0, 0, PAD, PAD);
    Object.assign(pen, { lineWidth: (2 * RADIUS * PAD) / BITMAP, lineCap: "round", lineJoin: "round", strokeStyle: getComputedStyle(canvas.current!).color });
    for (const stroke of strokes) {
      pen.beginPath();
      pen.moveTo(stroke[0][0] - 0.01, stroke[0][1]); // a single point is drawn, too
      for (const [x, y] of stroke) pen.lineTo(x, y);
      pen.stroke();
    }
  }, [strokes, theme]);

  const chances = net && classify(net, image.map((value) => low + ((high - low) * value) / MOST));
  const answer = chances ? largest(Float32Array.from(chances), 0, chances.length) : null;
  const truth = tested === null ? "" : ` It is a ${data.test.y[tested]} of the test set.`;
  const words = chances && answer !== null ? `The network says ${answer}, with ${percent(chances[answer])}.${truth}` : "";
  useEffect(() => {
    if (words) say(words);
  }, [image]);
  const pointAt = (event: PointerEvent) => [event.offsetX, event.offsetY] as const;
  if (!chances) return null;
  return (
    <section class="card digits">
      <div class="bar">
        <h2>Draw a digit</h2>
        <div class="row">
          <button class="button" onClick={() => draw([])}>Clear</button>
          <button class="button" onClick={() => { const next = ((tested ?? -1) + 1) % data.test.y.length; setStrokes([]); show(example(next), next); }}>Next test digit</button>
        </div>
      </div>
      <div class="row">
        <figure class="place">
          {strokes.length === 0 && <span class="draw-here" aria-hidden="true">Draw here</span>}
          <canvas
            class="pad" ref={canvas} width={PAD} height={PAD} role="img" aria-label="A pad to draw on with a pointer; the pixels beside it can be set with the keyboard"
            onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); draw([...strokes, [pointAt(event)]]); }}
            onPointerMove={(event) => event.currentTarget.hasPointerCapture(event.pointerId) && strokes.length && draw([...strokes.slice(0, -1), [...strokes.at(-1)!, pointAt(event)]])}
          />
        </figure>
        <figure class="paint">
          <Heat
            array={makeArr([PIXELS, PIXELS], image)} symbol="x" name="what the network sees" role="activity" image limit={MOST} cell={{ w: 20, h: 20 }}
            onPaint={({ index, start }) => {
              if (start) ink.current = image[index] > MOST / 2 ? 0 : MOST;
              show(image.map((value, i) => (i === index ? ink.current : value)), null);
            }}
          />
          <figcaption class="note">What the network sees. {tested === null ? "" : "Until you draw, this is a digit of the test set. "}Arrow keys and Enter set pixels, too.</figcaption>
        </figure>
        <div class="bars">
          <p class="story">{words}</p>
          <ol aria-label="Probability of each digit">
            {chances.map((chance, k) => (
              <li key={k} class={k === answer ? "chosen" : undefined}>
                <span>{k}</span><i style={`width:${(100 * chance).toFixed(1)}%`} /><span>{Math.round(100 * chance)} %</span>
              </li>
            ))}
          </ol>
        </div>
      </div>
    </section>
  );
}
