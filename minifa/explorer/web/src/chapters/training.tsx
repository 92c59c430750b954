// How W turns towards B: a training run, snapshot by snapshot.

import type { JSX } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { writeAddress } from "../address";
import { Chart, type ChartProps, type Series, useFrames } from "../chart";
import { ruleStyle } from "../colours";
import { makeArr } from "../content";
import { AppContext } from "../context";
import { Choice, Player } from "../controls";
import { Gauge } from "../gauge";
import { type Grid, gridOf } from "../grid";
import { Heat } from "../heat";
import { Legend } from "../legend";
import { clamp, degrees, exact, isNumber, percent, short, times } from "../numbers";
import { isAlone } from "../pointer";
import { curveOf } from "../run_parts";
import { MathLine, explained, isKernel, roleOf } from "../symbols";
import type { Arr, Band, Content, LayerSnapshot, Matrix, Snapshot } from "../types";
import { Cloud } from "./cloud";
import { type Place, isAngle, letterOf, moreOf, pairOf, stability, story } from "./story";

const SNAPSHOT_MS = 420;
type Angle = "weight_angle" | "true_angle";

/** What the address says, or the first layer and rule for which an angle of W and B turns. */
export function readPlace(content: Content, parts: string[]): Place {
  const known = content.rules.filter(({ name }) => content.runs[name]?.length);
  const layers = Object.keys(content.runs[known[0].name][0].layers);
  const turns = (rule: string, layer: string) => {
    const angles = content.runs[rule].map((one) => one.layers[layer]?.weight_angle);
    return angles.some((angle) => isNumber(angle) && angle > 1);
  };
  const rule = known.find(({ name }) => name === parts[0]) ?? known.find(({ name }) => layers.some((layer) => turns(name, layer))) ?? known[0];
  const layer = layers.find((name) => name === parts[1]) ?? layers.find((name) => turns(rule.name, name)) ?? layers[0];
  const run = content.runs[rule.name];
  const wanted = Number(parts[2] ?? 0);
  return { rule, layer, index: Math.max(0, run.findLastIndex((one) => one.update <= wanted)) };
}

export function Training({ parts }: { parts: string[] }): JSX.Element {
  const { content, say, go, address } = useContext(AppContext);
  const { rule, layer, index } = useMemo(() => readPlace(content, parts), [content, parts.join("/")]);
  const run = content.runs[rule.name];
  const snapshot = run[index];
  const layers = Object.keys(run[0].layers);
  const [playing, setPlaying] = useState(false);
  const waited = useRef(0);
  const words = story(content, { rule, layer, index });
  const isHere = address.startsWith("training/");
  const show = (name: string, where: string, update: number, replace: boolean) => go(writeAddress("training", name, where, update), replace || !isHere);
  const goTo = (k: number) => show(rule.name, layer, run[clamp(k, 0, run.length - 1)].update, true);
  useFrames(playing, (elapsed) => {
    waited.current += elapsed;
    if (waited.current < SNAPSHOT_MS) return;
    waited.current = 0;
    if (index >= run.length - 1) setPlaying(false);
    else goTo(index + 1);
  });
  useEffect(() => {
    if (isHere) say(words);
  }, [words]);
  const play = (on: boolean) => {
    waited.current = 0;
    if (on && index === run.length - 1) goTo(0);
    setPlaying(on);
  };
  const keys = (event: KeyboardEvent) => {
    const target = event.target as Element;
    if (event.key !== " " || !isAlone(event) || target.closest("button, input, a, select, summary")) return;
    event.preventDefault();
    play(!playing);
  };
  const names = content.rules.map(({ name }) => name).filter((name) => content.runs[name]?.length);
  const place = { rule, layer, index };
  return (
    <div onKeyDown={keys}>
      <div class="card training">
        <div class="bar">
          <Choice label="Rule" labelled options={names} chosen={rule.name} onChoose={(name) => show(name, layer, snapshot.update, false)} />
          <Choice label="Layer" labelled options={layers} chosen={layer} onChoose={(name) => show(rule.name, name, snapshot.update, false)} />
        </div>
        <p class="soft rule-line">{rule.title}{rule.equation && ": "}{rule.equation.split("\n").map((line, k) => <MathLine mathml={rule.mathml?.[k]} text={line} key={line} />)} {explained(rule.equation)}</p>
        <p class="story">{words}</p>
        <Player playing={playing} onPlay={play} at={index} count={run.length} onGo={(k) => { setPlaying(false); goTo(k); }} text={`update ${snapshot.update}`} label="Snapshot of the run" />
        <Turning place={place} key={`${rule.name} ${layer}`} />
      </div>
      <div class="card">
        <Charts place={place} names={names} onCursor={(update) => { setPlaying(false); show(rule.name, layer, update, true); }} />
        <p class="note fixed">{stability(content, rule.name)} The charts show the whole run; the vertical line marks the update above, and a click chooses another one. The updates are on a logarithmic axis.</p>
        <p class="note">{chanceOf(content)} The gradient of one layer may stand at more than 90° to backpropagation's, uphill for this layer alone, while that of all layers together still goes down. A layer's own error is computed at the layer, not carried down from the layer above.</p>
      </div>
    </div>
  );
}

/** Where the grey bands come from. */
const chanceOf = ({ chance_how: how }: Content) =>
  `Grey: chance. For W and B it comes ${how?.weight_angle ?? "from the number of entries"}, for errors ${how?.true_angle ?? "from 40 other draws of B"}.`;

/** The last layer, where every rule computes the error from the loss itself. */
const isOutputLayer = (content: Content, layer: string) => {
  const runs = Object.values(content.runs).filter((run) => run.length);
  return Object.keys(runs[0][0].layers).at(-1) === layer && runs.every(([{ layers }]) => !isNumber(layers[layer].true_angle) || layers[layer].true_angle! < 0.1);
};

/** The size of a cell that holds for the whole run, so that nothing moves while it plays. */
function cellFor(grid: Grid, width: number, height: number) {
  const side = clamp(Math.floor(Math.min(width / grid.columns, height / grid.rows)), 1, 18);
  return { w: side, h: side };
}

/** "of 512 × 512" where the page holds only the first rows and columns. */
const partOf = ({ of }: Matrix) => (of ? `of ${times(of)}` : "");

const largestOf = (matrices: (Matrix | undefined)[]) => matrices.reduce((most, one) => Math.max(most, one?.array.largest ?? 0), 0);

function Turning({ place }: { place: Place }): JSX.Element {
  const { content } = useContext(AppContext);
  const { rule, layer, index } = place;
  const run = content.runs[rule.name];
  const snapshot = run[index];
  const { W } = snapshot.layers[layer];
  const { B, isPair } = pairOf(rule, snapshot, layer);
  const isSame = isPair && B!.array === W.array;
  const [pointed, setPointed] = useState<{ row: number; column: number; index: number } | null>(null);
  const limit = useMemo(() => largestOf(run.flatMap((one) => [one.layers[layer].W, isPair ? one.feedback[layer] : undefined])), [run, layer, isPair]);
  const difference = useMemo(() => (isPair ? minusArr(W.array, B!.array) : null), [W.array, B?.array, isPair]);
  const grid = gridOf(W.array.shape, { kernel: isKernel(roleOf("W")) });
  const cell = cellFor(grid, 146, 210);
  const shown: [string, string, Arr][] = [["W", `${layer}.W`, W.array]];
  if (isPair && !isSame) shown.push(["B", `${layer}.B`, B!.array], ["W − B", `W − B of ${layer}`, difference!]);
  const marks = pointed ? [pointed] : [];
  return (
    <>
      <div class="turning">
        <div class="heats">
          {shown.map(([symbol, name, array]) => (
            <Heat key={name} array={array} symbol={symbol} name={name} role={symbol === "B" ? "feedback" : "weight"} limit={limit} cell={cell} marks={marks} onPoint={setPointed} note={partOf(W)} />
          ))}
          <OtherFeedback place={place} isPair={isPair} />
        </div>
        {isPair && !isSame && <Cloud W={W.array} B={B!.array} limit={limit} pointed={pointed?.index} />}
        <Gauges place={place} isPair={isPair} />
      </div>
      <Legend entries={[[shown.length > 1 ? "W, B and W − B of this run" : "W of this run", limit]]} />
      <p class="note weight-readout">{pointed ? readout(W.array, isPair ? B!.array : null, pointed.index, grid) : "Point at a weight, or move through the cells with the arrow keys from a matrix's letter, to read its numbers."}</p>
    </>
  );
}

function minusArr(a: Arr, b: Arr): Arr {
  return makeArr(a.shape, Float64Array.from({ length: a.values.length }, (_, i) => a.values[i] - b.values[i]));
}

function readout(W: Arr, B: Arr | null, index: number, grid: Grid): string {
  const at = grid.label(index);
  return `W${at} = ${exact(W.values[index], W.single)}${B ? `, B${at} = ${exact(B.values[index], B.single)}, W − B = ${short(W.values[index] - B.values[index])}` : ""}`;
}

/** Feedback without a counterpart among the weights (direct rules), or of another module; each on its own scale. */
function OtherFeedback({ place: { rule, layer, index }, isPair }: { place: Place; isPair: boolean }): JSX.Element {
  const { content } = useContext(AppContext);
  const run = content.runs[rule.name];
  const all = Object.entries(run[index].feedback);
  const shown = all.filter(([name]) => name.includes("/") || (rule.paired ? name === layer && !isPair : true)); // "tanh1/A"
  return (
    <>
      {shown.map(([name, matrix]) => {
        const [owner, part] = name.split("/");
        const letter = part ?? letterOf(content.films[rule.name], owner);
        const limit = largestOf(run.map((one) => one.feedback[name]));
        return (
          <div key={name}>
            <Heat array={matrix.array} symbol={letter} name={`${owner}.${letter}`} role="feedback" limit={limit} cell={cellFor(gridOf(matrix.array.shape, { kernel: true }), 146, 210)} note={`for ${owner.replace("<-", " from ")} ${partOf(matrix)}`} />
            <Legend entries={[[`${letter}, its own scale`, limit]]} />
          </div>
        );
      })}
    </>
  );
}

function Gauges({ place: { rule, layer, index }, isPair }: { place: Place; isPair: boolean }): JSX.Element {
  const { content } = useContext(AppContext);
  const snapshot = content.runs[rule.name][index];
  const numbers = snapshot.layers[layer];
  const more = moreOf(numbers);
  const hasError = content.runs[rule.name].some((one) => isNumber(one.layers[layer].true_angle));
  const gauge = (key: Angle, label: string) => (
    <Gauge label={label} angle={numbers[key]} band={content.chance[rule.name]?.[layer]?.[key]} />
  );
  return (
    <div class="gauges">
      {isPair && gauge("weight_angle", "W and B")}
      {!hasError ? <p class="note by-definition">Under {rule.name}, {layer} receives no error that could be compared with backpropagation's.</p>
        : isOutputLayer(content, layer)
        ? <p class="note by-definition">{layer} is the output layer: its error comes from the loss itself under every rule here, so the angle to backpropagation's is 0 by definition. The layers below show the difference.</p>
        : gauge("true_angle", "error and bp's")}
      <dl class="layer-numbers">
        {isPair && <><dt>signs of W and B that agree</dt><dd>{percent(numbers.sign_agreement)}</dd></>}
        {more.map(([name, value]) => <><dt>{name}</dt><dd>{isAngle(name) ? degrees(value) : isNumber(value) ? short(value) : "not defined"}</dd></>)}
      </dl>
    </div>
  );
}

function Charts({ place: { rule, layer, index }, names, onCursor }: { place: Place; names: string[]; onCursor: (update: number) => void }): JSX.Element {
  const { content } = useContext(AppContext);
  const series = (pick: (one: Snapshot) => unknown): Series[] =>
    names.map((name) => curveOf(name, content.runs[name], pick, ruleStyle(name, content.rules), name === rule.name)).filter((one) => one.points.some(([, value]) => value !== null));
  const at = (one: Snapshot): LayerSnapshot | undefined => one.layers[layer];
  const bands = content.chance[rule.name]?.[layer] ?? {};
  const angles = (key: Angle): Partial<ChartProps> => ({ unit: "°", to: 100, band: (bands[key] as Band | undefined) ?? null, bandLabel: "chance", guide: { at: 90, label: "90°" } });
  const extra = [...new Set(names.flatMap((name) => content.runs[name].flatMap((one) => moreOf(one.layers[layer]).map(([key]) => key))))];
  const all: [string, Series[], Partial<ChartProps>][] = useMemo(() => [
    [`Angle of W and B, ${layer}`, series((one) => at(one)?.weight_angle), angles("weight_angle")],
    [`Angle of the error to backpropagation's, ${layer}`, series((one) => at(one)?.true_angle), angles("true_angle")],
    ["Accuracy, test examples", series((one) => (isNumber(one.accuracy) ? 100 * one.accuracy : null)), { from: 0, to: 100, unit: " %" }],
    ["Loss, test examples", series((one) => one.loss), {}],
    ...extra.map((key): [string, Series[], Partial<ChartProps>] =>
      [`${key[0].toUpperCase()}${key.slice(1)}, ${layer}`, series((one) => moreOf(one.layers[layer]).find(([name]) => name === key)?.[1]), isAngle(key) ? { unit: "°", to: 100, guide: { at: 90, label: "90°" } } : {}]),
  ], [content, rule, layer]);
  const update = content.runs[rule.name][index].update;
  return (
    <div class="run-charts">
      {all.filter(([, curves]) => curves.length > 1 || curves.some(({ chosen }) => chosen)).map(([title, curves, options]) => (
        <Chart key={title} title={title} series={curves} xLabel="updates" xLog cursor={update} onCursor={onCursor} {...options} />
      ))}
    </div>
  );
}
