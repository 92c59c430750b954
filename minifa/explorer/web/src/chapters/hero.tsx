// Chapter 0: backpropagation and feedback alignment train side by side, from the same weights and on the same batches. The
// reader chooses how far the fixed B is from the initial W.

import type { JSX } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import type { ChapterProps } from "../app";
import { Chart, isCalm, useFrames, useWidth } from "../chart";
import { type LineStyle, ruleStyle } from "../colours";
import { AppContext } from "../context";
import { Player, Slider } from "../controls";
import { Gauge } from "../gauge";
import { Heat } from "../heat";
import type { LiveSource } from "../live_source";
import { clamp, degrees, isNumber } from "../numbers";
import { accuracyIn, chanceBand, curveOf, share, thousands } from "../run_parts";
import { SymbolText } from "../symbols";
import type { Arr, Band, Content, RunParams, Snapshot, Source } from "../types";
import { type Run, useRun } from "../use_run";
import { type RunGrid, controlOf, finalScore } from "./fails-data";

const [LR, WIDTH, EPOCHS] = [0.02, 16, 6]; // stable for both rules and for every angle, on each of the page's seeds
// Accuracy of bp and fa (90 degrees) at the end: seed 0 0.94 and 0.95, seed 1 0.96 and 0.91, seed 2 0.95 and 0.93. Seed 2
// shows the means, 0.95 and 0.93.
const SEED = 2;
const FILM_MS = 11_000; // of the whole run
const LEAST_FRAMES = 30; // while the runs are not complete
const SETTLED_MS = 500; // after the slider moved, before the film starts

interface Pair { W: Arr; B: Arr; angle: number | null; layer: string }

/** W and B of the highest layer through which an error is carried. */
function pairOf(snapshot: Snapshot | undefined): Pair | null {
  const layer = Object.keys(snapshot?.feedback ?? {}).at(-1);
  if (!snapshot || layer === undefined || !(layer in snapshot.layers)) return null;
  const { W, weight_angle } = snapshot.layers[layer];
  return { W: W.array, B: snapshot.feedback[layer].array, angle: weight_angle, layer };
}

const kindOf = (angle: number) =>
  angle === 0 ? "a copy of W" : angle < 90 ? "partly W" : angle === 90 ? "unrelated to W" : angle < 180 ? "partly opposite" : "the opposite of W";

/** The sentence below the pictures: what moves now, with the numbers of this moment. `things`: "digits", "examples". */
export function caption(bp: Snapshot, fa: Snapshot, angle: number, isLast: boolean, things: string): string {
  const pair = pairOf(fa)!;
  const [low, high] = chanceBand(pair.B.values.length);
  const scores = `${share(bp.accuracy)} of the test ${things} are right on the left, ${share(fa.accuracy)} on the right`;
  if (fa.update === 0)
    return angle === 0
      ? "Both networks start from the same weights. On the left, the error returns through W itself. On the right, it returns through B: a copy of W at the start that is never updated."
      : `Both networks start from the same weights and see the same ${things}. On the left, the error returns through W itself. On the right, it returns through B, ${degrees(angle)} away from W and never changed.`;
  const now = pair.angle ?? angle;
  const turned = Math.abs(angle - now);
  if (isLast) {
    const end = `After ${thousands(fa.update)} updates, backpropagation has ${share(bp.accuracy)} of the test ${things} right, and the network with the wrong weights ${share(fa.accuracy)}.`;
    return now < angle
      ? `${end} B is the same as at the start. W has turned towards it, from ${degrees(angle)} to ${degrees(now)}${now < 90 ? ". That is enough: below 90°, the error that returns points on average to the same side as the true one (see “Why it works”)" : ""}.`
      : `${end} B is the same as at the start, but W has left it: ${degrees(now)} lie between them now.`;
  }
  const start = `Update ${thousands(fa.update)}: ${scores}.`;
  if (now > angle + 1) return `${start} B stays where W was at the start, and W moves away from it: ${degrees(now)}.`;
  if (now > high) return `${start} B still points away from W, ${degrees(now)}: the hidden units are told the opposite of what would help.`;
  if (now >= low && angle > low) return `${start} The needle stands at ${degrees(now)}, as between two unrelated matrices (${degrees(low)} to ${degrees(high)}).`;
  return turned < 1 ? `${start} W has hardly turned yet.` : `${start} Learning turns W towards B, by ${degrees(turned)} so far. Nothing but the ${things} and the fixed B told it to.`;
}

interface PanelProps {
  title: string;
  snapshot: Snapshot;
  /** What B is, in a few words. */
  note: string;
  text: string;
  /** The colours of W and B reach from -limit to limit. */
  limit: number;
  band: Band | null;
  style: LineStyle;
  width: number;
}

function Panel({ title, snapshot, note, text, limit, band, style, width }: PanelProps): JSX.Element {
  const pair = pairOf(snapshot)!;
  const isCopy = pair.angle !== null && pair.angle < 0.05;
  const cell = { w: clamp(Math.floor((width - 56) / 2 / pair.W.shape[1]), 5, 14), h: width < 240 ? 7 : 10 };
  return (
    <section class="card side" style={`--rule:${style.colour}`}>
      <div class="top">
        <div>
          <h2>{title}</h2>
          <p class="score"><b>{share(snapshot.accuracy)}</b> right</p>
        </div>
        <Gauge label={`W and B, ${title}`} angle={pair.angle} band={band} bare value={isCopy ? `${degrees(0)}: B is W` : undefined} />
      </div>
      <div class="wires">
        <div>
          <Heat array={pair.W} symbol="W" name={`${title}: W`} role="weight" limit={limit} cell={cell} />
          <p>forward</p>
        </div>
        <div>
          <Heat array={pair.B} symbol="B" name={`${title}: B`} role="feedback" limit={limit} cell={cell} />
          <p>{note}</p>
        </div>
      </div>
      <p class="soft">{text}</p>
    </section>
  );
}

const SHAPE: Omit<RunParams, "rule" | "angle"> = { lr: LR, hidden: [WIDTH], seed: SEED, updates: 180 * EPOCHS, noise: 0, feedback: {} };

/** Whether the page has something to train, or runs to show. */
export const hasFilm = ({ runs: { bp, fa } }: Content, live: Source | string) =>
  typeof live !== "string" || Boolean(bp?.length && fa?.length && pairOf(fa[0]));

export function Hero(_: ChapterProps): JSX.Element {
  const { content, live } = useContext(AppContext);
  return (
    <>
      <p class="lead">
        A network learns from its errors. Backpropagation carries them back through an exact copy of every forward weight. No way is
        known in which a brain could keep such copies. Call the matrix on the way back <i>B</i>: backpropagation needs <i>B</i> = <i>W</i>. What happens
        if the errors return through another <i>B</i>?
      </p>
      <p class="sub single">The angle between two matrices is that of their entries read as one long vector; unrelated ones stand near 90° (grey: chance).</p>
      {typeof live === "string" ? <Stored content={content} reason={live} /> : <Trained live={live as LiveSource} />}
    </>
  );
}

/** Direct feedback through a matrix of zeros: no error reaches the hidden layer, and only the output layer learns. */
const withoutError = (units: number) => ({
  rule: "dfa", angle: null, feedback: { relu1: Array.from({ length: 10 * units }, (_, cell) => [cell, 0] as [number, number]) },
});
const isDone = (...runs: Run[]) => runs.every((run) => run.state === "done");

/** Trains both networks again whenever the slider moves. */
function Trained({ live }: { live: LiveSource }): JSX.Element {
  const [angle, setAngle] = useState(90);
  const bp = useRun(live, { ...SHAPE, rule: "bp", angle: null });
  const fa = useRun(live, { ...SHAPE, rule: "fa", angle });
  const [shallow, setShallow] = useState<number | null>(null); // the same for every angle
  const isWanted = shallow === null && isDone(bp, fa);
  const control = useRun(live, isWanted ? { ...SHAPE, ...withoutError(WIDTH) } : null);
  useEffect(() => {
    if (isDone(control)) setShallow(control.snapshots.at(-1)!.accuracy);
  }, [control.state]);
  const failed = [bp, fa].find((run) => run.state === "failed");
  const slider = (
    <Slider
      label="How wrong is B?" value={angle} min={0} max={180} step={5} text={`${angle}°, ${kindOf(angle)}`}
      onInput={setAngle} ends={["0° a copy of W", "90° random", "180° the opposite"]}
    />
  );
  if (failed) return <p class="story">{failed.message}</p>;
  return (
    <Film bp={bp.snapshots} fa={fa.snapshots} last={SHAPE.updates} angle={fa.params?.angle ?? angle} slider={slider} shallow={shallow} things="digits"
      note={`Trained in this page on 8 × 8 digits, with ${WIDTH} hidden units, ${EPOCHS} epochs and learning rate ${LR}; the page ${live.agreement.text}; minifa is the engine that made this page.`} />
  );
}

/** The runs that were computed when the page was written. */
function Stored({ content, reason }: { content: Content; reason: string }): JSX.Element {
  const { bp, fa } = content.runs;
  const angle = pairOf(fa[0])!.angle ?? 90;
  const slider = <Slider label="How wrong is B?" value={Math.round(angle)} min={0} max={180} text={degrees(angle)} onInput={() => {}} disabled />;
  return <Film bp={bp} fa={fa} last={fa.at(-1)!.update} angle={angle} slider={slider} things="examples" note={`${reason} These runs were stored when the page was written, so the slider is fixed.`} />;
}

interface FilmProps {
  bp: readonly Snapshot[];
  fa: readonly Snapshot[];
  last: number;
  angle: number;
  slider: JSX.Element;
  note: string;
  things: string;
  /** The accuracy of a network of which only the output layer learns. */
  shallow?: number | null;
}

/** Why the control of chapter 4 ends higher: a larger network, longer training. */
function aboutControl(content: Content): string {
  const grid = content.grid as RunGrid | undefined;
  const cell = grid?.cells.find(({ family, depth, rule }) => family === "mlp" && depth === 1 && rule === controlOf(grid));
  if (!grid || !cell) return "";
  return ` In “Where it fails” it reaches ${share(finalScore(cell).mean)} with one hidden layer: there it has 64 hidden units instead of ${WIDTH}, ${grid.meta.epochs} epochs instead of ${EPOCHS} and the learning rate that suits it best.`;
}

function Film({ bp, fa, last, angle, slider, note, things, shallow }: FilmProps): JSX.Element {
  const { content, say } = useContext(AppContext);
  const [frame, setFrame] = useState(isCalm() ? Infinity : 0); // Infinity: the last one, whichever that is
  const [playing, setPlaying] = useState(false);
  const [measure, width] = useWidth(1200);
  const column = (width - 32) / (width > 1060 ? 3 : 2); // as in live.css
  const count = Math.min(bp.length, fa.length); // both runs have the same updates
  const isWhole = count > 0 && Math.min(bp[count - 1].update, fa[count - 1].update) >= last;
  const at = clamp(Math.floor(frame), 0, Math.max(0, count - 1));

  useEffect(() => {
    setPlaying(false);
    setFrame(isCalm() ? Infinity : 0);
    if (isCalm()) return undefined;
    const timer = setTimeout(() => setPlaying(true), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [angle]);
  useFrames(playing, (elapsed) => {
    const frames = isWhole ? count : Math.max(count, LEAST_FRAMES);
    if (isWhole && frame >= count - 1) setPlaying(false);
    else setFrame((now) => (now === Infinity ? now : Math.min(now + (elapsed * frames) / FILM_MS, Math.max(0, count - 1))));
  });

  const [styleOfBp, styleOfFa] = ["bp", "fa"].map((name) => ruleStyle(name, content.rules));
  const [left, right] = [bp[at], fa[at]];
  const words = left && right ? caption(left, right, angle, isWhole && at === count - 1, things) : "";
  useEffect(() => {
    if (!playing && words) say(words);
  }, [playing, words]);
  if (!left || !right) return <p class="story">The two networks are being trained.</p>;
  const first = pairOf(fa[0])!;
  const limit = Math.max(...[first.W, first.B, pairOf(fa[count - 1])!.W, pairOf(bp[count - 1])!.W].map((array) => array.largest));
  const curve = (name: string, run: readonly Snapshot[], k: number) => curveOf(name, run.slice(0, at + 1), accuracyIn, k ? styleOfFa : styleOfBp, k === 1);
  return (
    <div class="hero">
      <div class="controls">
        {slider}
        <Player
          playing={playing} at={at} count={Math.max(count, 2)} label="Update" text={`update ${thousands(right.update)}`}
          onPlay={(on) => { if (on && isWhole && at === count - 1) setFrame(0); setPlaying(on); }}
          onGo={(to) => { setPlaying(false); setFrame(to >= count - 1 ? Infinity : to); }}
        />
      </div>
      <p class="story">{words}</p>
      <div class="sides" ref={measure}>
        <Panel title="Backpropagation" snapshot={left} style={styleOfBp} limit={limit} band={null} width={column} note="back: W itself"
          text="The error returns through W itself." />
        <Panel title="Feedback alignment" snapshot={right} style={styleOfFa} limit={limit} band={chanceBand(first.B.values.length)} width={column} note="back: fixed"
          text="The error returns through B, which stays as it is. Grey: chance." />
        <section class="card curves">
          <Chart title={`Test ${things} that are right`} series={[curve("backpropagation", bp, 0), curve("feedback alignment", fa, 1)]}
            xLabel="updates" xTo={last} unit=" %" to={100} height={width > 1060 ? 352 : 280}
            guide={isNumber(shallow) ? { at: 100 * shallow, label: "output layer only", below: true } : null} />
        </section>
      </div>
      <p class="note">
        <SymbolText symbol="W" /> and <SymbolText symbol="B" /> of {first.layer}: one row for each hidden unit, one column for each {things === "digits" ? "digit" : "class"}. Blue is negative, orange positive. {note}
        {isNumber(shallow) && ` “Output layer only” is the control: its hidden weights stay as they were drawn.${aboutControl(content)}`}
      </p>
    </div>
  );
}
