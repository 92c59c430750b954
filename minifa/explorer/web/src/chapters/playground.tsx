// Chapter 5: the reader chooses rule, rate, size, wrong labels and cells of B, and the network trains at once.

import type { JSX } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ChapterProps } from "../app";
import { Chart } from "../chart";
import { plainStyle, ruleStyle } from "../colours";
import { makeArr } from "../content";
import { AppContext } from "../context";
import { Choice, Slider } from "../controls";
import { DigitPad } from "../digit_pad";
import { RULES } from "../live";
import type { LiveSource } from "../live_source";
import { clamp, degrees, isNumber, percent } from "../numbers";
import { WeightPair, accuracyIn, angleCurves, chanceBand, curveOf, lossIn, share, thousands } from "../run_parts";
import { pythonFor } from "../script";
import type { Served } from "../serve";
import { type Choices, MOST_NOISE, type Painted, RATES, type Settings, type Sign, hiddenOf, paramsOf, readSettings, rounded, writeSettings } from "../settings";
import type { Arr, Content, RunParams, Snapshot, Source } from "../types";
import { Training } from "../training";
import { type Run, useRun } from "../use_run";

const TITLES: Record<string, string> = {
  bp: "backpropagation", fa: "feedback alignment", usf: "uniform sign-concordant", frsf: "fixed random magnitudes, W's signs",
  brsf: "new random magnitudes, W's signs", dfa: "direct feedback alignment", kolen_pollack: "Kolen-Pollack",
};
const CLASSES = 10;
const BATCHES = 180; // updates of an epoch of the digits
const SETTLED_MS = 300; // after the last change, before the network trains again
const SIZES: Choices = { rules: Object.keys(RULES), depths: [1, 2, 3], widths: [8, 16, 32], seeds: [0, 1, 2], epochs: [1, 2, 3, 6] };

/** The number of cells of each matrix that the rule keeps, by the name that minifa gives it. */
function cellsOf(settings: Settings): Record<string, number> {
  const hidden = hiddenOf(settings);
  const { stored } = RULES[settings.rule] ?? {};
  if (stored === "F") return Object.fromEntries(hidden.map((units, k) => [`relu${k + 1}`, units * CLASSES]));
  if (stored === "B") return Object.fromEntries(hidden.map((units, k) => [`linear${k + 2}`, units * (hidden[k + 1] ?? CLASSES)]));
  return {};
}

/** What the run shows, in a sentence or two; what went wrong comes first. */
export function summary(run: Run, params: RunParams, title: string): string {
  const { snapshots } = run;
  if (run.state === "failed") return run.message;
  if (run.state === "waiting") return "The network is being trained.";
  if (!snapshots.length) return "Training diverged before the first update.";
  const [first, last] = [snapshots[0], snapshots.at(-1)!];
  const losses = snapshots.map((one) => Number(one.loss));
  const [least, end] = [Math.min(...losses), losses.at(-1)!];
  const guessing = Math.log(CLASSES);
  if (run.state === "done" && last.update < params.updates)
    return `Training diverged: between updates ${thousands(last.update)} and ${thousands(params.updates)} the loss stopped being a finite number. With ${title}, the learning rate ${params.lr} is too large here.`;
  const accuracy = `${share(last.accuracy)} of the test digits are right`;
  if (run.state !== "done") return `Update ${thousands(last.update)}: ${accuracy}.`;
  const [start, peak] = [Number(first.loss), Math.max(...losses)];
  if (end > Math.max(guessing, start) || (end > 0.9 * guessing && peak > 2 * start))
    return `Training diverged: the loss rose to ${peak.toPrecision(3)} and ended at ${end.toPrecision(3)}, where guessing has ${guessing.toFixed(2)}. The learning rate ${params.lr} is too large for this network and rule.`;
  const after = `After ${thousands(last.update)} updates under ${title}, ${accuracy}.`;
  const worst = Math.max(...losses.slice(losses.indexOf(least)));
  if (worst > 2 * least && worst > least + 0.5)
    return `${after} The loss jumped from ${least.toFixed(2)} to ${worst.toFixed(2)} on the way: the learning rate ${params.lr} is near the limit of stability.`;
  if (end > 0.9 * guessing) return `${after} The loss, ${end.toFixed(2)}, is still close to the ${guessing.toFixed(2)} of guessing.`;
  return `${after} ${anglesInWords(last, params.rule)}`;
}

function anglesInWords({ layers }: Snapshot, rule: string): string {
  const known = Object.entries(layers).filter(([, one]) => isNumber(one.weight_angle));
  if (rule === "bp") return "B is W, so all errors are the true ones.";
  if (known.length) return `Between B and W: ${known.map(([name, one]) => `${degrees(one.weight_angle)} in ${name}`).join(", ")}.`;
  const lowest = Object.entries(layers).find(([, one]) => isNumber(one.true_angle));
  return lowest ? `In ${lowest[0]} the error is ${degrees(lowest[1].true_angle)} away from backpropagation's.` : "";
}

export function Playground({ parts }: ChapterProps): JSX.Element {
  const { content, source, live } = useContext(AppContext);
  const own = typeof live === "string" ? null : (live as LiveSource);
  const engine = source.kind === "baked" ? own : source;
  if (source.kind !== "baked" && !(own && hasSizes(content as Served))) return <Training engine={source} />;
  return (
    <>
      <p class="lead">
        {engine && engine.kind !== "live" ? "Change anything and press Train: minifa trains the network. " : "Change anything: the network trains again at once. "}
        Set cells of B yourself, and see how the network reads a digit that you draw.
      </p>
      {engine ? <Trained parts={parts} engine={engine} own={own} /> : <Stored content={content} reason={String(live)} />}
    </>
  );
}

/** Whether the page's own network is the one that this chapter describes, with a choice of depth and width. */
const hasSizes = ({ can, defaults }: Served) => can.hidden === true && Array.isArray(defaults.hidden);

/** The runs that were computed when the page was written. */
function Stored({ content, reason }: { content: Content; reason: string }): JSX.Element {
  const series = Object.entries(content.runs).map(([name, run]) => curveOf(name, run, accuracyIn, ruleStyle(name, content.rules)));
  return (
    <section class="card">
      <p class="story">{reason} To train your own networks, run minifa explore --serve. These are the runs that were stored when the page was written.</p>
      <Chart title="Test examples that are right" series={series} xLabel="updates" unit=" %" to={100} height={260} />
    </section>
  );
}

/** The settings, which follow the address and write it after a while. */
function useSettings(parts: string[], choices: Choices): [Settings, (change: Partial<Settings>) => void] {
  const { go } = useContext(AppContext);
  const [settings, setSettings] = useState(() => readSettings(parts, choices));
  const written = useRef(parts.join("/"));
  useEffect(() => {
    if (parts.join("/") === written.current) return;
    written.current = parts.join("/");
    setSettings(readSettings(parts, choices));
  }, [parts.join("/")]);
  useEffect(() => {
    const timer = setTimeout(() => {
      const address = writeSettings(settings);
      const rest = address.split("/").slice(1).map(decodeURIComponent).join("/");
      if (rest === written.current) return;
      written.current = rest;
      go(address, true);
    }, SETTLED_MS);
    return () => clearTimeout(timer);
  }, [settings]);
  return [settings, (change) => setSettings((now) => ({ ...now, ...change }))];
}

interface TrainedProps { parts: string[]; engine: Source; own: LiveSource | null }

function Trained({ parts, engine, own }: TrainedProps): JSX.Element {
  const { content, say } = useContext(AppContext);
  const isLive = engine.kind === "live";
  const choices = useMemo(() => {
    const rules = [...new Set([...Object.keys(RULES), ...(isLive ? [] : content.rules.map((one) => one.name))])];
    const { depths, widths, seeds } = own?.start ?? SIZES;
    return { ...SIZES, rules, depths, widths, seeds };
  }, [own, content]);
  const [settings, change] = useSettings(parts, choices);
  const params = paramsOf(settings, cellsOf(settings), BATCHES);
  const [wanted, setWanted] = useState<RunParams | null>(isLive ? params : null);
  const key = JSON.stringify(params);
  useEffect(() => {
    if (!isLive) return undefined;
    const timer = setTimeout(() => setWanted(params), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [key]);
  const can = engine.can(params);
  const [attempt, setAttempt] = useState(0);
  const run = useRun(engine, can === true ? wanted : null, attempt);
  const title = content.rules.find((one) => one.name === settings.rule)?.title ?? TITLES[settings.rule] ?? settings.rule;
  const before = useBefore(run, wanted);
  const style = ruleStyle(settings.rule, choices.rules.map((name) => ({ name })));
  const changed = !isLive && wanted !== null && JSON.stringify(wanted) !== key;
  const words = can !== true ? can : !wanted ? "Choose, then press Train." : changed ? "The settings have changed: press Train." : summary(run, wanted, title);
  useEffect(() => {
    if (run.state === "done" || run.state === "failed") say(words);
  }, [run.state, words]);
  const last = run.snapshots.at(-1);
  const to = wanted?.updates ?? params.updates;
  const curves = (pick: (one: Snapshot) => unknown) =>
    [curveOf("run before", before, pick, plainStyle(2)), curveOf(settings.rule, run.snapshots, pick, style, true)];
  return (
    <div class="playground">
      <section class="card controls">
        <Controls settings={settings} choices={choices} change={change} titleOf={(rule) => content.rules.find((one) => one.name === rule)?.title ?? TITLES[rule] ?? rule} />
        {!isLive && <button class="button main" onClick={() => { setWanted(params); setAttempt(attempt + 1); }}>Train</button>}
        {!isLive && run.state === "running" && <button class="button" onClick={() => setWanted(null)}>Stop</button>}
      </section>
      <div class="results">
        <p class="story">{words}</p>
        <div class="charts">
          <Chart title="Test digits that are right" xLabel="updates" xTo={to} unit=" %" to={100} height={220}
            series={curves(accuracyIn)} />
          <Chart title="Loss on the test digits" xLabel="updates" xTo={to} height={220}
            series={curves(lossIn)} />
          <Angles run={run} rule={settings.rule} to={to} />
        </div>
        {last && <Matrices run={run} settings={settings} change={change} />}
      </div>
      <div class="below">
        {last && own && <DigitPad snapshot={last} data={own.data} />}
        <Share params={params} epochs={settings.epochs} settings={settings} />
        <p class="note">{own && isLive ? `Trained in this page, which ${own.agreement.text}.` : "Trained by minifa."} 1,437 training digits of 8 × 8 pixels, batches of 8, one epoch is {BATCHES} updates; 360 test digits.</p>
      </div>
    </div>
  );
}

/** The snapshots of the last run with other parameters. */
function useBefore(run: Run, params: RunParams | null): readonly Snapshot[] {
  const kept = useRef<{ key: string; last: readonly Snapshot[]; before: readonly Snapshot[] }>({ key: "", last: [], before: [] });
  const key = JSON.stringify(params);
  if (kept.current.key !== key) kept.current = { key, last: [], before: kept.current.last.length ? kept.current.last : kept.current.before };
  else if (run.state === "done") kept.current.last = run.snapshots;
  return kept.current.before;
}

function Angles({ run, rule, to }: { run: Run; rule: string; to: number }): JSX.Element {
  const first = run.snapshots[0];
  const ofWeights = rule !== "bp" && Object.values(first?.layers ?? {}).some((layer) => isNumber(layer.weight_angle));
  const series = angleCurves(run.snapshots, ofWeights ? "weight_angle" : "true_angle");
  const least = Math.min(...series.map(({ name }) => first.layers[name].W.array.values.length));
  return (
    <Chart title={ofWeights ? "Angle between W and B" : "Angle between the errors and backpropagation's"} series={series} xLabel="updates" xTo={to} unit="°" to={ofWeights ? 120 : 100}
      band={ofWeights && series.length ? chanceBand(least) : null} bandLabel="chance" height={220} />
  );
}

interface ControlsProps { settings: Settings; choices: Choices; change: (to: Partial<Settings>) => void; titleOf: (rule: string) => string }

function Controls({ settings, choices, change, titleOf }: ControlsProps): JSX.Element {
  const { rule, rate, noise, angle } = settings;
  const numbers = <K extends "depth" | "width" | "seed" | "epochs">(key: K, label: string, options: number[]) => (
    <Choice label={label} labelled options={options.map(String)} chosen={String(settings[key])} onChoose={(to) => change({ [key]: Number(to), ...(key === "depth" || key === "width" ? { painted: {} } : {}) })} />
  );
  return (
    <>
      <label class="rule">
        <span>Rule</span>
        <select value={rule} onChange={(event) => change({ rule: event.currentTarget.value, painted: {}, angle: null })}>
          {choices.rules.map((one) => <option key={one} value={one}>{titleOf(one)} ({one})</option>)}
        </select>
      </label>
      <Slider label="Learning rate" value={Math.log10(rate)} min={Math.log10(RATES.least)} max={Math.log10(RATES.most)} step={0.05} text={String(rate)}
        onInput={(to) => change({ rate: rounded(10 ** to) })} ends={["0.001", "1"]} />
      {rule === "fa" && (
        <>
          <Choice label="B" labelled options={["random", "at an angle"]} chosen={angle === null ? "random" : "at an angle"} onChoose={(to) => change({ angle: to === "random" ? null : 90, painted: {} })} />
          {angle !== null && <Slider label="Angle between B and W at the start" value={angle} min={0} max={180} step={5} text={`${angle}°`} onInput={(to) => change({ angle: to })} />}
        </>
      )}
      {numbers("depth", "Hidden layers", choices.depths)}
      {numbers("width", "Units in each", choices.widths)}
      <Slider label="Wrong training labels" value={noise} min={0} max={MOST_NOISE} step={0.05} text={percent(noise)} onInput={(to) => change({ noise: rounded(to) })} />
      {numbers("epochs", "Epochs", choices.epochs)}
      {numbers("seed", "Seed", choices.seeds)}
    </>
  );
}

const BRUSHES = ["+", "0", "−"] as const;
const SIGNS: Record<(typeof BRUSHES)[number], Sign> = { "+": 1, "0": 0, "−": -1 };

/** The array with the painted cells, and what a painted cell has: the root mean square of the drawn entries. */
function withCells(array: Arr, painted: Painted | undefined): Arr {
  if (!painted) return array;
  const values = Float32Array.from(array.values);
  for (const [index, sign] of Object.entries(painted.cells)) if (Number(index) < values.length) values[Number(index)] = sign * painted.size;
  return makeArr(array.shape, values);
}
const sizeOf = ({ values }: Arr) => rounded(Math.sqrt(Array.from(values, (one) => one * one).reduce((a, b) => a + b, 0) / values.length) || 1);

function Matrices({ run, settings, change }: { run: Run; settings: Settings; change: (to: Partial<Settings>) => void }): JSX.Element | null {
  const [brush, setBrush] = useState<(typeof BRUSHES)[number]>("+");
  const [first, last] = [run.snapshots[0], run.snapshots.at(-1)!];
  const names = Object.keys(last.feedback);
  if (!names.length) return null;
  const canPaint = Object.keys(cellsOf(settings)).length > 0;
  const sizeIn = (name: string) => settings.painted[name]?.size ?? sizeOf(first.feedback[name].array);
  const zeros = () => change({ painted: Object.fromEntries(Object.entries(cellsOf(settings)).map(([name, cells]) =>
    [name, { size: sizeIn(name), cells: Object.fromEntries(Array.from({ length: cells }, (_, index) => [index, 0 as Sign])) }])) });
  const count = Object.values(settings.painted).reduce((sum, { cells }) => sum + Object.keys(cells).length, 0);
  const paint = (name: string, array: Arr, index: number) => {
    const { size, cells } = settings.painted[name] ?? { size: sizeOf(array), cells: {} };
    if (cells[index] === SIGNS[brush]) return;
    change({ painted: { ...settings.painted, [name]: { size, cells: { ...cells, [index]: SIGNS[brush] } } } });
  };
  return (
    <section class="card">
      <div class="bar">
        <h2>{canPaint ? "Set cells of B" : "W and B"}</h2>
        {canPaint && <Choice label="Set cells to" labelled options={BRUSHES} chosen={brush} onChoose={setBrush} />}
        {canPaint && <button class="button" onClick={zeros}>All cells to 0</button>}
        {canPaint && <button class="button" disabled={!count} onClick={() => change({ painted: {} })}>{count ? `Undo ${count} ${count === 1 ? "cell" : "cells"}` : "Undo"}</button>}
      </div>
      <p class="note">
        {canPaint
          ? `Press or drag on B, or take the arrow keys and Enter; the network then trains again. + and − set a cell to the size of a typical entry: ${names.map((name) => `±${sizeIn(name)} in ${name}`).join(", ")}. `
          : `The rule ${settings.rule} computes B from W at every update, so no cell can be set. `}
        {settings.rule === "kolen_pollack" ? "B is shown as it is before training; this rule changes it. " : ""}
      </p>
      <div class="pairs">
        {names.map((name) => {
          const B = canPaint ? withCells(first.feedback[name].array, settings.painted[name]) : last.feedback[name].array;
          const side = clamp(Math.floor(180 / B.shape[1]), 6, 12);
          return (
            <WeightPair key={name} name={name} layer={last.layers[name]} B={B} letter={settings.rule === "dfa" ? "F" : "B"} cell={{ w: side, h: Math.min(side, 11) }}
              onPaint={canPaint ? ({ index }) => paint(name, first.feedback[name].array, index) : undefined} />
          );
        })}
      </div>
    </section>
  );
}

function Share({ params, epochs, settings }: { params: RunParams; epochs: number; settings: Settings }): JSX.Element {
  const { say } = useContext(AppContext);
  const [told, setTold] = useState("");
  const code = pythonFor(params, epochs);
  useEffect(() => told ? say(told) : undefined, [told]);
  const copy = async (text: string, what: string) => {
    try {
      await navigator.clipboard.writeText(text);
      setTold(`${what} copied.`);
    } catch {
      setTold(`This browser does not let the page copy. Here it is: ${text}`);
    }
  };
  return (
    <section class="card share">
      <div class="bar">
        <h2>Link and Python</h2>
        <div class="row">
          <button class="button" onClick={() => copy(`${location.href.split("#")[0]}#${writeSettings(settings)}`, "The link is")}>Copy the link</button>
          <button class="button" onClick={() => copy(code, "The script is")}>Copy the Python</button>
        </div>
      </div>
      {told && <p class="note">{told}</p>}
      <details>
        <summary>The same run in Python</summary>
        <pre tabIndex={0}>{code}</pre>
      </details>
    </section>
  );
}
