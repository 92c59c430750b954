// Chapter 1: every weight has a twin on the way back. The reader cuts the copies and sees the error turn away.

import type { ComponentChildren, JSX } from "preact";
import { useContext, useEffect, useMemo, useState } from "preact/hooks";
import type { ChapterProps } from "../app";
import { useWidth } from "../chart";
import { largestOf } from "../content";
import { AppContext } from "../context";
import { Choice, Slider } from "../controls";
import { Gauge } from "../gauge";
import { Heat } from "../heat";
import { clamp, degrees, short } from "../numbers";
import { useFilm } from "../step/film";
import type { Arr, Film } from "../types";
import { angleOf } from "../vectors";
import { type Layer, carried, chanceBand, disagreement, layersOf, rowOf, ruleForTwin, strongest, wrongTwins } from "./twin-model";
import { MOST_COLUMNS, MOST_ROWS, Net, type Synapse } from "./twin-net";

const AGREES = 1e-5; // relative: float32 on the engine's side
const SINGLE = 2000; // the seed of random weights for one twin at a time
const DIGIT = 80; // the width of the example in pixels
const REACH = 1.5; // the slider reaches 1.5 times the largest weight

export function Twin(_: ChapterProps): JSX.Element {
  const { content } = useContext(AppContext);
  const film = useFilm(ruleForTwin(content) ?? null) ?? "The step is being computed.";
  const layers = useMemo(() => (typeof film === "string" ? [] : layersOf(film)), [film]);
  const [name, setName] = useState<string | null>(null);
  const layer = layers.find((one) => one.name === name) ?? layers[0];
  if (typeof film === "string") return <p class="lead">{film}</p>;
  if (!layer) return <p class="lead">This chapter needs a step with a linear layer below the output; the step on this page has none.</p>;
  return (
    <>
      <p class="lead">
        Backpropagation sends the error back through the same weights that carried the activity forward. A synapse conducts in one
        direction only, so the way back needs a second synapse with the same weight: a twin for every weight.
      </p>
      <Board layer={layer} film={film} key={layer.name}>
        {layers.length > 1 && <Choice label="Layer" labelled options={layers.map((one) => one.name)} chosen={layer.name} onChoose={setName} />}
      </Board>
    </>
  );
}

const arrayIn = (film: Film, symbol: string): Arr | null => {
  const term = film[0]?.terms[symbol];
  return typeof term === "object" ? term.array : null;
};

const inputsOf = (film: Film): Arr | null => {
  const array = arrayIn(film, "x");
  return array?.shape.length === 4 && array.shape[3] === 1 && array.shape[1] > 1 ? array : null;
};

/** Everything that the reader has done to the copies of one layer. */
interface Cuts { set: Record<number, number>; wrong: number; draw: number }
const INTACT: Cuts = { set: {}, wrong: 0, draw: 1 };

function copiesOf(layer: Layer, cuts: Cuts): Float64Array {
  const copies = Float64Array.from(layer.W);
  const { values, order } = wrongTwins(layer, cuts.draw);
  for (const index of order.slice(0, cuts.wrong)) copies[index] = values[index];
  for (const [index, value] of Object.entries(cuts.set)) copies[Number(index)] = value;
  return copies;
}

function Board({ layer, film, children }: { layer: Layer; film: Film; children: ComponentChildren }): JSX.Element {
  const { content, say } = useContext(AppContext);
  const [place, width] = useWidth(640);
  const [example, setExample] = useState(0);
  const [cuts, setCuts] = useState<Cuts>(INTACT);
  const [tries, setTries] = useState(0);
  const { rows, columns, W } = layer;
  const [shownRows, shownColumns] = [Math.min(rows, MOST_ROWS), Math.min(columns, MOST_COLUMNS)];
  const error = useMemo(() => rowOf(layer.errors, example, columns), [layer, example]);
  const truth = useMemo(() => carried(error, W, rows), [layer, error]);
  const band = useMemo(() => chanceBand(layer, error, truth), [layer, error]);
  const off = useMemo(() => disagreement(layer), [layer]);
  const [chosen, setChosen] = useState<Synapse>(() => strongest(layer, example, shownRows, shownColumns));
  const draws = useMemo(() => wrongTwins(layer, SINGLE), [layer]);
  const copies = useMemo(() => copiesOf(layer, cuts), [layer, cuts]);
  const delta = useMemo(() => carried(error, copies, rows), [error, copies]);
  const at = chosen[0] * columns + chosen[1];
  const angle = angleOf(delta, truth);
  const wrong = copies.reduce((count, value, k) => count + Number(value !== W[k]), 0);
  const limit = REACH * Math.max(1e-6, largestOf(W));
  const isCut = copies[at] !== W[at];
  const words = sentence(layer, chosen, copies, wrong, angle, band);
  useEffect(() => say(words), [words]);

  const setTwin = (value: number) => setCuts({ ...cuts, set: { ...cuts.set, [at]: value } });
  const names = layer.isOutput && content.classes.length === columns ? content.classes : null;
  const isPart = shownRows < rows || shownColumns < columns;
  return (
    <>
      <div class="card twin">
        <div class="twin-picture" ref={place}>
          <Net layer={layer} copies={copies} chosen={chosen} onChoose={setChosen} inputs={layer.inputs && rowOf(layer.inputs, example, rows)} outputs={layer.outputs && rowOf(layer.outputs, example, columns)} error={error} delta={delta} truth={truth} names={names} width={clamp(width, 280, 760)} />
          <p class="note">
            Lines: <span class="key plus" /> weight above zero, <span class="key minus" /> below zero, thicker where larger. <span class="key block" /> Value of a unit:
            to the right of its thin line above zero, to the left below zero. <span class="key tick" /> Backpropagation's error. {aboutError(layer, film)}
            {layer.of && ` The page holds the first ${rows} of the ${layer.of[0]} units below; errors and angles are those of this part.`}
            {isPart && ` Drawn are the first ${shownRows} of ${rows} and ${shownColumns} of ${columns} units; all of them are computed.`}
          </p>
        </div>
        <div class="twin-side">
          <Example film={film} layer={layer} example={example} onChoose={setExample} names={names} />
          {children}
          <Gauge label="the error that arrives and backpropagation's error" angle={angle} band={band} />
          <p class="note">Grey: chance, the angles of errors that arrive through random twins only (40 draws).</p>
          <p class="story">{words}</p>
          <div class="cut one">
            <Slider label={`Twin of the weight from unit ${chosen[0]} to ${names ? `class ${names[chosen[1]]}` : `unit ${chosen[1]}`}`} value={copies[at]} min={-limit} max={limit} step={limit / 100} text={short(copies[at])} onInput={setTwin} />
            <div class="buttons">
              <button class="button" onClick={() => { setTwin(draws.values[tries % W.length]); setTries(tries + 1); }}>Random weight instead</button>
              <button class="button" disabled={!isCut} onClick={() => setTwin(W[at])}>Reconnect</button>
            </div>
          </div>
          <div class="cut">
            <Slider label="How many twins are wrong" value={cuts.wrong} min={0} max={W.length} text={`${cuts.wrong} of ${W.length}`} onInput={(count) => setCuts({ ...cuts, set: {}, wrong: count })} ends={["none", "all"]} />
            <div class="buttons">
              <button class="button" title="For the wrong twins" disabled={cuts.wrong === 0} onClick={() => setCuts({ ...cuts, draw: cuts.draw + 1 })}>Other random weights</button>
              <button class="button" disabled={wrong === 0} onClick={() => setCuts(INTACT)}>Reconnect all</button>
            </div>
          </div>
        </div>
      </div>
      <p class="note">
        {off <= AGREES
          ? `With all twins intact the products computed here agree with minifa's own error: relative difference ${off.toExponential(0)}.`
          : `The products computed here differ from minifa's own error by ${off.toExponential(1)} of its norm; do not trust this picture.`}
      </p>
      <p class="lead question">{updateSentence(layer)} Must the way back be a copy of <i>W</i>? What if it is a matrix <i>B</i> of fixed random numbers?</p>
    </>
  );
}

function Example({ film, layer, example, onChoose, names }: { film: Film; layer: Layer; example: number; onChoose: (n: number) => void; names: readonly string[] | null }): JSX.Element {
  const image = inputsOf(film);
  const count = Math.min(layer.examples, 8);
  const labels = arrayIn(film, "targets");
  const scores = layer.outputs && rowOf(layer.outputs, example, layer.columns);
  const target = names && labels?.shape.length === 1 ? names[labels.values[example]] : null;
  const answer = names && scores ? names[scores.indexOf(Math.max(...scores))] : null;
  return (
    <div class="twin-example">
      {image && example < image.shape[0] && <Heat array={image} symbol="x" name={`example ${example + 1}`} example={example} image caption={false} cell={{ w: Math.max(1, Math.round(DIGIT / image.shape[2])), h: Math.max(1, Math.round(DIGIT / image.shape[2])) }} />}
      <div>
        {count > 1 && <Choice label="Example" options={Array.from({ length: count }, (_, k) => String(k + 1))} chosen={String(example + 1)} onChoose={(one) => onChoose(Number(one) - 1)} />}
        {target !== null && answer !== null && <p class="note">Class {target}; the network says {answer}.</p>}
      </div>
    </div>
  );
}

function sentence(layer: Layer, [i, j]: Synapse, copies: ArrayLike<number>, wrong: number, angle: number | null, band: [number, number] | null): string {
  const { W, columns } = layer;
  const at = i * columns + j;
  const all = W.length;
  if (wrong === 0) return `Every one of the ${all} twins holds the number of its weight. The error that arrives is exactly that of backpropagation: ${degrees(angle)}.`;
  if (angle === null) return `${wrong} of ${all} twins are wrong, and no error arrives: no angle is defined.`;
  if (wrong === 1 && copies[at] !== W[at])
    return `The weight is ${short(W[at])}, its twin ${short(copies[at])}. One wrong twin of ${all} turns the error that arrives by ${degrees(angle)}.`;
  const turned = angle < 15 ? "That is nearly the same." : angle < 90 ? "It still points to the same side." : "It points to the other side.";
  const isChance = band !== null && angle >= band[0] && angle <= band[1] && wrong > all / 2;
  return `${wrong} of ${all} twins ${wrong === 1 ? "is" : "are"} wrong: ${degrees(angle)} lie between the error that arrives and backpropagation's. ${isChance ? "That is chance." : turned}`;
}

function aboutError({ isOutput }: Layer, film: Film): string {
  if (!isOutput) return "The error at the outputs of this layer came back from the layer above.";
  const isSoftmax = film.some(({ kind, equation }) => kind === "loss" && equation.includes("softmax"));
  return `The error at the outputs is output minus target${isSoftmax ? ": the probability of a class minus 1 for the right class, minus 0 for the others, divided by the number of examples" : ""}.`;
}

function updateSentence({ W, after, batch }: Layer): string {
  if (!after || after.length !== W.length) return "Every update changes the weights, and every twin has to change with its weight.";
  const changed = Array.from(W).filter((value, k) => value !== after[k]).length;
  return `The update on this batch of ${batch} examples changes ${changed} of the ${W.length} weights, and each of their twins has to change by the same number, without being told.`;
}
