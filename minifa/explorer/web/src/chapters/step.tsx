// Chapter 2: one training step as a film of moments, under backpropagation and under another rule side by side.

import type { JSX } from "preact";
import { useCallback, useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { writeAddress } from "../address";
import type { ChapterProps } from "../app";
import { useWidth } from "../chart";
import { AppContext } from "../context";
import { Choice, Player } from "../controls";
import { clamp } from "../numbers";
import { usePlayback, usePlayerKeys } from "../playback";
import { MathLine, explained } from "../symbols";
import type { Film, RuleInfo } from "../types";
import { Angles } from "../step/angles";
import { Board } from "../step/board";
import { isArray } from "../step/expression";
import { PHASES, isFilm, phaseOf, placeOf, useFilm } from "../step/film";
import { MomentList } from "../step/list";
import { NetworkMap } from "../step/map";
import { BatchView, type Focus, Readout, Stage, highest, said, sidesOf } from "../step/stage";

const TALLEST = 420; // px that are reserved for the columns, or what the window has
const WIDEST = 600; // px of a column that stands alone
const PACE = 1800; // ms for a moment at speed 1
const SPEEDS: [number, string][] = [[0.5, "half speed"], [1, "speed 1"], [2, "speed 2"], [4, "speed 4"]];
const PHASE_SHADES: Record<string, string> = { Forward: "var(--line)", Backward: "var(--edge)", Update: "var(--soft)" };

/** The rule in the address, or the first that is not backpropagation. */
function ruleOf(parts: string[], names: string[]): string {
  return names.includes(parts[0]) ? parts[0] : names.find((name) => name !== "bp") ?? names[0];
}

export function Step({ parts }: ChapterProps): JSX.Element {
  const { content } = useContext(AppContext);
  const names = content.rules.map(({ name }) => name);
  const rule = ruleOf(parts, names);
  const film = useFilm(rule);
  const bp = useFilm(names.includes("bp") && rule !== "bp" ? "bp" : null);
  const anchor = useRef<Anchor | null>(null);
  if (film === null) return <p class="story" role="status">The step is being computed.</p>;
  if (!isFilm(film)) return <p class="story" role="alert">{film}</p>;
  return <Moments rule={rule} names={names} film={film} bp={isFilm(bp) ? bp : null} wanted={parts[1]} anchor={anchor} />;
}

/** The moment that the reader chose last, to which a change of the rule and back returns. */
interface Anchor { film: Film; at: number }

interface MomentsProps {
  rule: string;
  names: string[];
  film: Film;
  bp: Film | null;
  /** From the address; without it, the moment that corresponds to the anchor. */
  wanted?: string;
  anchor: { current: Anchor | null };
}

function Moments({ rule, names, film, bp, wanted, anchor }: MomentsProps): JSX.Element {
  const { content, go, say } = useContext(AppContext);
  const at = wanted === undefined && anchor.current ? placeOf(anchor.current.film, anchor.current.at, film) : clamp(Math.round(Number(wanted)) - 1 || 0, 0, film.length - 1);
  const moment = film[at];
  const [speed, setSpeed] = useState(1);
  const [example, setExample] = useState<number | null>(0);
  const [hovered, setHovered] = useState<Focus | null>(null);
  const [pinned, setPinned] = useState<Focus | null>(null);
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  const [body, width] = useColumnWidth(bp !== null || rule === "bp");

  const move = useCallback((to: number) => go(writeAddress("step", rule, to + 1), true), [go, rule]);
  const { playing, play } = usePlayback(at, film.length, move, PACE / speed);
  const choose = (to: number, keep = false) => {
    play(false);
    anchor.current = null;
    go(writeAddress("step", rule, clamp(to, 0, film.length - 1) + 1), !keep);
  };
  usePlayerKeys(at, film.length, choose, playing, play);
  const chooseRule = (name: string) => {
    play(false);
    const from = (anchor.current ??= { film, at });
    const to = Object.hasOwn(content.films, name) ? content.films[name] : null;
    go(to ? writeAddress("step", name, placeOf(from.film, from.at, to) + 1) : writeAddress("step", name));
  };
  const open = (block: string) => setOpened((before) => {
    const after = new Set(before);
    if (!after.delete(block)) after.add(block);
    return after;
  });

  const titleOf = (name: string) => content.rules.find((one) => one.name === name)?.title ?? "";
  const sides = useMemo(() => sidesOf(film, at, rule, bp, titleOf), [film, at, rule, bp]);
  useEffect(() => {
    setHovered(null);
    setPinned(null);
  }, [sides]);
  useEffect(() => { // a film that had to be fetched: the address names its moment from now on
    if (wanted === undefined && anchor.current) go(writeAddress("step", rule, at + 1), true);
  }, [rule, wanted]);
  useEffect(() => say(playing ? moment.title : `${moment.title}. ${moment.why}`), [moment, playing]);
  const focus = hovered ?? pinned;
  const inspectNow = (one: Focus | null) => {
    setHovered(one);
    if (one) play(false);
  };
  const pin = (one: Focus) => {
    play(false);
    setPinned(one);
    say(said(sides, one));
  };

  const { x } = film[0].terms;
  const examples = isArray(x) ? x.array.shape[0] : 1;
  const batch = isArray(x) ? (x.of ?? x.array.shape)[0] : 1;
  const films = useMemo(() => [...new Set([...Object.values(content.films), film])], [content, film]);
  const least = useMemo(() => highest(bp ? [film, bp] : [film], example, batch, width, bp !== null, Infinity), [film, bp, example, batch, width]);
  const isBatch = moment.kind === "batch";
  return (
    <div class="step">
      <div class="choices">
        <Choice label={bp || rule === "bp" ? "Compare bp with" : "Rule"} labelled options={names} chosen={rule} onChoose={chooseRule} show={(name) => <span class="named" title={titleOf(name)}>{name}</span>} />
        <AboutRule rule={content.rules.find((one) => one.name === rule)!} />
      </div>
      <Angles rule={rule} film={film} at={at} />
      <NetworkMap film={film} at={at} onGo={(to) => choose(to, true)} opened={opened} onOpen={open} />
      <div class="film">
        <MomentList film={film} at={at} onGo={(to) => choose(to, true)} opened={opened} onOpen={open} />
        <div class="card moment" id="moment">
          <div class="top">
            <div>
              <h2>{moment.title}</h2>
              <p class="why">{moment.why}</p>
            </div>
            <ExampleChoice example={example} examples={examples} batch={batch} onChoose={setExample} />
          </div>
          <div ref={body} class="stage" style={{ minHeight: `min(${least + 90}px, max(${TALLEST}px, 100vh - 480px))` }}>
            {isBatch && <Start rule={titleOf(rule)} film={film} isTwo={bp !== null} />}
            {isBatch && <BatchView moment={moment} example={example} onChoose={setExample} width={width} />}
            {!(isBatch && isArray(x) && x.array.shape.length === 4) && (
              <Stage sides={sides} films={films} example={example} batch={batch} width={width} focus={focus} onFocus={inspectNow} onPin={pin} />
            )}
          </div>
        </div>
      </div>
      <div class="dock" onKeyDown={(event) => event.key === "Escape" && setPinned(null)}>
        <div class={sides.length > 1 ? "readout two" : "readout"} tabIndex={0} role="group" aria-label="The chosen number"><Readout sides={sides} focus={focus} pinned={pinned !== null} onClear={() => setPinned(null)} /></div>
        <Player playing={playing} onPlay={play} at={at} count={film.length} onGo={choose} text={`${at + 1} of ${film.length}`} label="Moment of the step" track={phasesOf(film)} parts={partsOf(film)}>
          <select aria-label="Speed" value={speed} onChange={(event) => setSpeed(Number(event.currentTarget.value))}>
            {SPEEDS.map(([value, text]) => <option value={value}>{text}</option>)}
          </select>
        </Player>
      </div>
      <Board film={film} at={at} />
    </div>
  );
}

function Start({ rule, film, isTwo }: { rule: string; film: Film; isTwo: boolean }): JSX.Element {
  const withB = new Set(film.filter(({ kind, terms }) => kind === "feedback" && isArray(terms.B)).map(({ layer }) => layer));
  const [lowest, ...more] = Object.keys(film[0].new).filter((name) => name.endsWith(".W") && !withB.has(name.slice(0, -2))).map((name) => name.slice(0, -2));
  const noB = withB.size && lowest && !more.length ? ` ${lowest} has no B: no error is needed below the first layer.` : "";
  const two = `Left: backpropagation. Right: ${rule}. Both start from the same weights and the same batch; what differs is how the error is carried down.`;
  return (
    <p class="begin">
      {`One training step follows in ${film.length} moments: forward, backward, update. ${isTwo ? two : ""}${noB} Press play, use the arrow keys, or choose a moment.`}
    </p>
  );
}

/** The width of a column's pictures, in px, and where to measure it. */
function useColumnWidth(isTwo: boolean): [(element: HTMLDivElement | null) => void, number] {
  const [place, whole] = useWidth(920);
  const isStacked = matchMedia("(max-width: 820px)").matches; // one column below the other, as in the style sheet
  const width = isStacked || !isTwo ? Math.min(whole, WIDEST) : (whole - 20) / 2;
  return [place, Math.floor(width) - 10];
}

function AboutRule({ rule }: { rule: RuleInfo }): JSX.Element {
  const sentences = [rule.needs && `Needs ${rule.needs}.`, rule.paper && `${rule.paper}.`]; // a rule of one's own may have neither
  return (
    <p class="about">
      <b>{`${rule.title} (${rule.name})`}</b> <MathLine text={rule.equation} mathml={rule.mathml?.[0]} />{" "}
      {explained(rule.equation)}
      <span class="needs">{sentences.filter(Boolean).join(" ")}</span>
    </p>
  );
}

interface ExampleProps { example: number | null; examples: number; batch: number; onChoose: (example: number | null) => void }

function ExampleChoice({ example, examples, batch, onChoose }: ExampleProps): JSX.Element | null {
  if (batch < 2) return null;
  return (
    <label class="example">
      Shown{" "}
      <select value={example ?? -1} onChange={(event) => onChoose(Number(event.currentTarget.value) < 0 ? null : Number(event.currentTarget.value))}>
        {Array.from({ length: examples }, (_, n) => <option value={n}>{`example ${n + 1}`}</option>)}
        <option value={-1}>{examples < batch ? `all ${examples} that the page keeps` : `all ${examples}`}</option>
      </select>
    </label>
  );
}

/** The phases of the film, and where on the track they begin. */
function partsOf(film: Film): [string, number][] {
  const begins = Object.keys(PHASES).map((phase): [string, number] => [phase.toLowerCase(), film.findIndex((one) => phaseOf(one) === phase) / film.length]);
  return begins.filter(([, from]) => from >= 0);
}

/** The phases along the track of the player. */
function phasesOf(film: Film): string {
  const part = (k: number) => `${PHASE_SHADES[phaseOf(film[k])]} ${(100 * k) / film.length}% ${(100 * (k + 1)) / film.length}%`;
  return `linear-gradient(to right, ${film.map((_, k) => part(k)).join(",")})`;
}
