// Training of a network that the page does not know beforehand: your own objects in a notebook, or any model behind
// `minifa explore --serve`. Everything that is shown comes from the engine.

import type { JSX } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { Chart } from "./chart";
import { ruleStyle } from "./colours";
import { AppContext } from "./context";
import { Choice, Slider } from "./controls";
import { beside, percent } from "./numbers";
import { WeightPair, accuracyIn, angleCurves, curveOf, lossIn } from "./run_parts";
import type { Served } from "./serve";
import { rounded } from "./settings";
import type { RunParams, Snapshot, Source } from "./types";
import { type Run, useRun } from "./use_run";

const LENGTHS = ["100", "1000", "5000"] as const;
const SEEDS = ["0", "1", "2", "3", "4"] as const;
const RATES = { least: -4, most: 0 }; // exponents of 10

const updates = (count: number) => `${count} ${count === 1 ? "update" : "updates"}`;

/** What the run shows, in sentences; what went wrong comes first. */
function summary({ snapshots, state, message }: Run, rule: string, length: number): string {
  if (state === "failed") return message;
  const [first, last] = [snapshots[0], snapshots.at(-1)];
  if (!last) return "The network is being trained.";
  const score = last.accuracy === null ? `the loss is ${Number(last.loss).toPrecision(3)}` : `${percent(last.accuracy)} of the examples are right`;
  if (state === "running") return `Update ${last.update}: ${score}.`;
  if (last.update < length) return `Training ended after ${updates(last.update)}: it diverged, or was stopped. Where it diverged, choose a smaller learning rate.`;
  const before = first.accuracy === null ? Number(first.loss).toPrecision(3) : percent(first.accuracy);
  return `After ${updates(last.update)} under ${rule}, ${score}; before training it was ${before}.`;
}

export function Training({ engine }: { engine: Source }): JSX.Element {
  const { content, say } = useContext(AppContext);
  const { can, defaults } = content as Served;
  const names = content.rules.map(({ name }) => name);
  const [rule, setRule] = useState(names[0]);
  const [rate, setRate] = useState(defaults.lr);
  const [noise, setNoise] = useState(0);
  const [seed, setSeed] = useState(String(defaults.seed));
  const [length, setLength] = useState(LENGTHS.find((one) => Number(one) >= defaults.train_updates) ?? LENGTHS[1]);
  const [wanted, setWanted] = useState<RunParams | null>(null);
  const params = { rule, lr: rate, noise, seed: Number(seed), updates: Number(length), hidden: [], angle: null, feedback: {} };
  const possible = engine.can(params);
  const [attempt, setAttempt] = useState(0);
  const run = useRun(engine, wanted, attempt);
  const title = content.rules.find(({ name }) => name === wanted?.rule)?.title ?? "";
  const words = wanted ? summary(run, `${wanted.rule} (${title})`, wanted.updates) : possible === true ? "Choose a rule and a learning rate, then press Train." : possible;
  useEffect(() => {
    if (run.state === "done" || run.state === "failed") say(words);
  }, [run.state, words]);
  return (
    <div class="playground">
      <section class="card controls">
        <Choice label="Rule" labelled options={names} chosen={rule} onChoose={setRule} />
        <Slider label="Learning rate" value={Math.log10(rate)} min={RATES.least} max={RATES.most} step={0.05} text={String(rate)} onInput={(to) => setRate(rounded(10 ** to))} ends={["0.0001", "1"]} />
        <Choice label="Updates" labelled options={LENGTHS} chosen={length} onChoose={setLength} />
        {can.noise === true && <Slider label="Wrong training labels" value={noise} min={0} max={1} step={0.05} text={percent(noise)} onInput={(to) => setNoise(rounded(to))} />}
        {can.seed === true && <Choice label="Seed" labelled options={SEEDS.includes(seed as "0") ? SEEDS : [seed, ...SEEDS]} chosen={seed} onChoose={setSeed} />}
        <div class="row">
          <button class="button main" disabled={possible !== true} onClick={() => { setWanted(params); setAttempt(attempt + 1); }}>Train</button>
          <button class="button" disabled={run.state !== "running" || !wanted} onClick={() => setWanted(null)}>Stop</button>
        </div>
      </section>
      <div class="results">
        <p class="story">{words}</p>
        {wanted && run.snapshots.length > 0 && <Results run={run} wanted={wanted} />}
      </div>
    </div>
  );
}

function Results({ run: { snapshots }, wanted }: { run: Run; wanted: RunParams }): JSX.Element {
  const { content } = useContext(AppContext);
  const [at, setAt] = useState<number | null>(null);
  const shown = snapshots.find(({ update }) => update === at) ?? snapshots.at(-1)!;
  const [weights, errors] = [angleCurves(snapshots, "weight_angle"), angleCurves(snapshots, "true_angle")];
  const chance = content.chance[wanted.rule] ?? {};
  const curve = (pick: (one: Snapshot) => unknown) => curveOf(wanted.rule, snapshots, pick, ruleStyle(wanted.rule, content.rules), true);
  const common = { xLabel: "updates", xLog: true, xTo: wanted.updates, height: 210, cursor: shown.update, onCursor: setAt };
  return (
    <>
      <div class="charts">
        {snapshots[0].accuracy !== null && <Chart title="Examples that are right" series={[curve(accuracyIn)]} unit=" %" to={100} {...common} />}
        <Chart title="Loss" series={[curve(lossIn)]} {...common} />
        {weights.length > 0 && <Chart title="Angle between W and B" series={weights} unit="°" to={100} band={chance[weights[0].name]?.weight_angle} {...common} />}
        {errors.length > 0 && <Chart title="Angle between the errors and backpropagation's" series={errors} unit="°" to={100} band={chance[errors[0].name]?.true_angle} {...common} />}
      </div>
      <section class="card">
        <h2>W and B after {updates(shown.update)}</h2>
        <p class="note">The two share a scale of colours. Choose another update in a chart; without a choice, the last one is shown.</p>
        <div class="pairs">
          {Object.entries(shown.layers).map(([name, { weight_angle }]) => {
            const band = chance[name]?.weight_angle;
            const B = shown.feedback[name]?.array;
            return <WeightPair key={name} name={name} layer={shown.layers[name]} B={B} note={B && band && <p class="note">{beside(weight_angle, band)}</p>} />;
          })}
        </div>
      </section>
    </>
  );
}
