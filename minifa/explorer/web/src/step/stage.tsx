// One moment under backpropagation and under the chosen rule, side by side, and the arithmetic of one number below.

import type { JSX } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { AppContext } from "../context";
import { type Grid, labelOf } from "../grid";
import { Heat, type Mark } from "../heat";
import { Legend } from "../legend";
import { degrees, exact, plain } from "../numbers";
import { MathLine, SymbolText } from "../symbols";
import type { Arr, Film, Moment } from "../types";
import { angleOf, norm } from "../vectors";
import { type Worked, work } from "./arithmetic";
import { isArray } from "./expression";
import { type Figure, GROUPS, arrivesAt, bareSymbol, counterpart, figuresOf, groupOf, numbersOf, useLimits } from "./film";
import { type Laid, heightOf, layOut } from "./layout";

/** The number that is inspected: an entry of the array with this symbol. */
export interface Focus { symbol: string; name: string; index: number }

/** One column: what it shows of the moment. */
export interface Side { rule: string; title: string; moment: Moment | null; besideBp: boolean }

export function sidesOf(film: Film, at: number, rule: string, bp: Film | null, titleOf: (rule: string) => string): Side[] {
  const own = { rule, title: titleOf(rule), moment: film[at], besideBp: bp !== null };
  return bp ? [{ rule: "bp", title: titleOf("bp"), moment: counterpart(bp, film[at]), besideBp: true }, own] : [own];
}

/** The figure of a column that the focus means: the same symbol, or else the array with the same name. */
function focused(figures: Figure[], focus: Focus): Figure | null {
  return figures.find((one) => bareSymbol(one.symbol) === focus.symbol) ?? figures.find((one) => one.name === focus.name) ?? null;
}

interface Inspected { figure: Figure; index: number; worked: Worked }

export function inspect(side: Side, focus: Focus | null): Inspected | null {
  if (!focus || !side.moment) return null;
  const figure = focused(figuresOf(side.moment, side.besideBp), focus);
  if (!figure || focus.index >= figure.array.values.length) return null;
  return { figure, index: focus.index, worked: work(side.moment, bareSymbol(figure.symbol), focus.index) };
}

/** Rectangles around the marked entries, one in each tile. */
function rectangles(grid: Grid, indices: Iterable<number>): Mark[] {
  const boxes = new Map<string, [number, number, number, number]>();
  for (const index of indices) {
    const place = grid.positionOf(index);
    if (!place) continue;
    const { row, column } = place;
    const key = `${Math.floor(row / grid.tile.rows)} ${Math.floor(column / grid.tile.columns)}`;
    const [top, left, bottom, right] = boxes.get(key) ?? [row, column, row, column];
    boxes.set(key, [Math.min(top, row), Math.min(left, column), Math.max(bottom, row), Math.max(right, column)]);
  }
  return [...boxes.values()].map(([row, column, bottom, right]) => ({ row, column, rows: bottom - row + 1, columns: right - column + 1 }));
}

export interface StageProps {
  sides: Side[];
  films: Film[];
  /** null: all examples. */
  example: number | null;
  batch: number;
  width: number;
  focus: Focus | null;
  onFocus: (focus: Focus | null) => void;
  onPin: (focus: Focus) => void;
}

export function Stage({ sides, films, example, batch, width, focus, onFocus, onPin }: StageProps): JSX.Element {
  const { content } = useContext(AppContext);
  const [own] = sides.slice(-1);
  const limits = useLimits(films, sides.map(({ moment }) => moment), content);
  const laid = useMemo(
    () => sides.map(({ moment, besideBp }) => (moment ? figuresOf(moment, besideBp).map((one) => layOut(one, moment, example, batch, width)) : [])),
    [sides, example, batch, width]);
  const shown = [...new Set(laid.flat().filter(({ image }) => !image).map(({ symbol }) => groupOf(bareSymbol(symbol), content)))];
  return (
    <>
      <div class={sides.length > 1 || own.rule === "bp" ? "sides two" : "sides"}>
        {sides.map((side, k) => (
          <Column key={side.rule} side={side} other={sides.length > 1 ? sides[1 - k] : null} figures={laid[k]} limits={limits} focus={focus} onFocus={onFocus} onPin={onPin} />
        ))}
        {sides.length === 1 && own.rule === "bp" && <p class="alone soft">Backpropagation alone. Choose another rule above to see it beside.</p>}
      </div>
      <Legend entries={shown.map((group) => [GROUPS[group], limits[group] ?? 0])} />
    </>
  );
}

/** The largest height of a column over the whole film, so that what is below does not jump; at most `most`. */
export function highest(films: Film[], example: number | null, batch: number, width: number, besideBp: boolean, most: number): number {
  const heights = films.flatMap((film) => film.map((moment) => heightOf(figuresOf(moment, besideBp), moment, example, batch, width)));
  return Math.min(most, Math.max(0, ...heights));
}

interface ColumnProps {
  side: Side;
  other: Side | null;
  figures: Laid[];
  limits: Record<string, number>;
  focus: Focus | null;
  onFocus: (focus: Focus | null) => void;
  onPin: (focus: Focus) => void;
}

function Column({ side, other, figures, limits, focus, onFocus, onPin }: ColumnProps): JSX.Element {
  const { content } = useContext(AppContext);
  const { moment } = side;
  const inspected = useMemo(() => inspect(side, focus), [side, focus]);
  const marksOf = (figure: Laid): Mark[] => {
    if (!inspected) return [];
    const indices = new Set(inspected.worked.marks.get(bareSymbol(figure.symbol)) ?? []);
    const own = inspected.figure.symbol === figure.symbol && inspected.figure.array === figure.array ? rectangles(figure.grid, [inspected.index]) : [];
    return [...rectangles(figure.grid, indices), ...own];
  };
  return (
    <section class="side" data-rule={side.rule}>
      <header>
        <h3><b>{side.title}</b> <span>{side.rule}</span></h3>
        {moment && <Equation moment={moment} />}
      </header>
      <p class="compared">{moment && other?.moment ? compare(side, other) : ""}</p>
      {!moment && <NoMoment side={side} other={other} />}
      {figures.map((figure) => {
        const symbol = bareSymbol(figure.symbol);
        const point = (index: number): Focus => ({ symbol, name: figure.name, index });
        return (
          <Heat
            key={`${figure.symbol} ${figure.name}`} array={figure.array} symbol={figure.symbol} name={figure.name} whole={figure.whole} example={figure.example} across={figure.across}
            image={figure.image} cell={figure.cell} limit={figure.image ? undefined : limits[groupOf(symbol, content)]} marks={marksOf(figure)} note={partOf(moment!, symbol)}
            onPoint={(cell) => onFocus(cell && point(cell.index))} onPaint={({ index, start }) => start && onPin(point(index))}
          />
        );
      })}
      {moment?.kind === "feedback" && !isArray(moment.terms.B) && <div class="missing nothing"><span>no feedback matrix</span></div>}
    </section>
  );
}

/** Whether the equation computes the array, or computes from it. */
function partOf({ kind, equation }: Moment, symbol: string): JSX.Element | null {
  if (kind === "batch") return null;
  const has = (text: string) => [...text.matchAll(/[A-Za-z]\w*/g)].some(([one]) => one === symbol);
  const sides = equation.split("\n").map((line) => line.split("=")).filter((line) => line.length > 1);
  const part = sides.some(([left]) => has(left)) ? "result" : sides.some((line) => line.slice(1).some(has)) ? "from" : "";
  return part ? <b class="part">{part}</b> : null;
}

function NoMoment({ side, other }: { side: Side; other: Side | null }): JSX.Element {
  return <div class="missing nothing"><span>{`${side.rule} has no moment "${other?.moment?.title ?? ""}"`}</span></div>;
}

function Equation({ moment }: { moment: Moment }): JSX.Element | null {
  const box = useRef<HTMLDivElement>(null);
  const [isWide, setWide] = useState(false); // then it is scrolled, with the keyboard, too
  useEffect(() => setWide(box.current !== null && box.current.scrollWidth > box.current.clientWidth));
  if (moment.kind === "batch") return null;
  const numbers = numbersOf(moment);
  return (
    <div class="equation" ref={box} tabIndex={isWide ? 0 : undefined} role={isWide ? "group" : undefined} aria-label={isWide ? "Equation" : undefined}>
      {moment.equation.split("\n").map((line, i) => <div key={line}><MathLine text={line} mathml={moment.mathml?.[i]} known={moment.terms} /></div>)}
      {numbers.length > 0 && (
        <p class="note">{"with "}{numbers.map(([symbol, value], i) => <span key={symbol}>{i > 0 && ", "}<SymbolText symbol={symbol} lit={false} /> = {plain(value)}</span>)}</p>
      )}
    </div>
  );
}

function isEqual(a: Arr, b: Arr): boolean {
  if (a === b) return true;
  if (String(a.shape) !== String(b.shape)) return false;
  for (let i = 0; i < a.values.length; i++) if (a.values[i] !== b.values[i]) return false;
  return true;
}

/** One sentence about the two columns, with numbers from them. */
function compare(side: Side, { rule, moment: theirs }: Side): string {
  const mine = side.moment!;
  if (side.rule === "bp") {
    if (theirs?.key !== mine.key) return `Under bp this error comes from: ${mine.title}.`;
    const { B, W } = mine.terms;
    return isArray(B) && isArray(W) && isEqual(B.array, W.array) ? `${mine.equation.includes("delta @ B.T") ? "δ Bᵀ = δ Wᵀ: " : ""}B is W itself.` : "";
  }
  if (mine.kind === "feedback") {
    const [B, W] = [mine.terms.B, theirs?.terms.B];
    if (!isArray(B) || !isArray(W) || String(B.array.shape) !== String(W.array.shape)) return "";
    if (isEqual(B.array, W.array)) return "B is W itself.";
    let agree = 0;
    for (let i = 0; i < B.array.values.length; i++) agree += Number(Math.sign(B.array.values[i]) === Math.sign(W.array.values[i]));
    return `The signs of B and W agree in ${agree} of ${B.array.values.length} entries.`;
  }
  const goal = arrivesAt(mine);
  const error = goal !== null ? mine.new[`${goal}.delta`] : undefined;
  const truth = goal !== null && theirs ? theirs.new[`${goal}.delta`] : undefined;
  if (error && truth && !isEqual(error, truth)) return `This error has ${plain(Number((norm(error.values) / norm(truth.values)).toPrecision(3)))} times the norm of ${rule}'s${mine.cut?.[`${goal}.delta`] ? ", in the examples kept here" : ""}.`;
  if (theirs?.key !== mine.key) return "";
  const gradient = Object.keys(mine.terms).find((symbol) => /^d[A-Za-z]+$/.test(symbol) && symbol in theirs.terms);
  const [one, two] = [mine.terms[gradient ?? ""], theirs.terms[gradient ?? ""]];
  if (isArray(one) && isArray(two) && !one.of && !isEqual(one.array, two.array)) return `The angle between this gradient and ${rule}'s is ${degrees(angleOf(one.array.values, two.array.values))}.`;
  const pairs = Object.entries(mine.terms).flatMap(([symbol, one]) => {
    const two = theirs.terms[symbol];
    return isArray(one) && isArray(two) ? [[one.array, two.array]] : [];
  });
  if (!pairs.length) return "";
  return pairs.every(([one, two]) => isEqual(one, two)) ? `The same numbers as under ${rule}.` : `Other numbers than under ${rule}.`;
}

/** The value under inspection and its sum in every column, at a place of its own. */
export function Readout({ sides, focus, pinned, onClear }: { sides: Side[]; focus: Focus | null; pinned: boolean; onClear: () => void }): JSX.Element {
  const found = sides.map((side) => inspect(side, focus));
  if (!focus || found.every((one) => !one))
    return <p class="hint">Point at a number, or click on it to keep it: its exact value and the sum behind it appear here, under both rules.
      <span class="dials">The dials compare the two matrices; one error δ, carried through B and through W; the error that arrives and bp's. ○: another rule. Pale: an earlier moment.</span></p>;
  return (
    <>
      {sides.map((side, k) => {
        const one = found[k];
        return (
          <div class="worked" key={side.rule}>
            <b>{side.rule}</b>{" "}
            {one ? (
              <>
                <span class="value">{`${nameOf(one)} = ${exact(one.figure.array.values[one.index], one.figure.array.single)}`}</span>{" "}
                {one.worked.sum ? <span class="eq">{one.worked.sum}</span> : <span class="soft">{one.worked.note}</span>}
              </>
            ) : <span class="soft">has no such number at this moment.</span>}
          </div>
        );
      })}
      {pinned && <button class="clear" onClick={onClear}>Clear</button>}
    </>
  );
}

function nameOf({ figure, index }: Inspected): string {
  return figure.name + labelOf(figure.array.shape, index);
}

/** What a screen reader hears about the number. */
export function said(sides: Side[], focus: Focus): string {
  return sides.flatMap((side) => {
    const one = inspect(side, focus);
    return one ? [`${side.rule}: ${nameOf(one)} = ${exact(one.figure.array.values[one.index], one.figure.array.single)} ${one.worked.sum ?? ""}`] : [];
  }).join(". ");
}

const LEAST_IMAGE = 48; // px

/** The examples of the batch as pictures or rows; one is chosen for the whole film. */
export function BatchView({ moment, example, onChoose, width }: { moment: Moment; example: number | null; onChoose: (example: number) => void; width: number }): JSX.Element | null {
  const { content } = useContext(AppContext);
  const { x, targets } = moment.terms;
  if (!isArray(x)) return null;
  const { array } = x;
  const target = (n: number) => {
    const one = isArray(targets) && targets.array.shape.length === 1 ? targets.array.values[n] : null;
    return one === null ? "" : `target ${content.classes[one] ?? one}`;
  };
  if (array.shape.length !== 4 || ![1, 3].includes(array.shape[3])) return null;
  const side = Math.max(Math.ceil(LEAST_IMAGE / array.shape[2]), Math.min(10, Math.floor(Math.min(120, width / 4 - 20) / array.shape[2])));
  return (
    <div class="images">
      {Array.from({ length: array.shape[0] }, (_, n) => (
        <div class={n === example ? "image chosen" : "image"} key={n}>
          <Heat array={array} symbol="x" name="x" example={n} image caption={false} cell={{ w: side, h: side }} />
          <button class="pick" aria-pressed={n === example} onClick={() => onChoose(n)}>{`Example ${n + 1}${target(n) && `: ${target(n)}`}`}</button>
        </div>
      ))}
      {x.of && x.of[0] > array.shape[0] && <p class="note">{`The page keeps the numbers of ${array.shape[0]} of the ${x.of[0]} examples.`}</p>}
    </div>
  );
}
