// Buttons, choices and sliders with names that a screen reader says and keys that work.

import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import { keepFocus } from "./playback";

export interface SliderProps {
  label: string;
  value: number;
  min: number;
  max: number;
  step?: number;
  /** The value in words, "30 degrees". */
  text: string;
  onInput: (value: number) => void;
  /** A line of words below the ends: left, middle, right. */
  ends?: string[];
  disabled?: boolean;
}

export function Slider({ label, value, min, max, step = 1, text, onInput, ends, disabled }: SliderProps): JSX.Element {
  const id = useId();
  return (
    <div class="slider">
      <label for={id}>{label}</label>
      <output for={id}>{text}</output>
      <input id={id} type="range" min={min} max={max} step={step} value={value} aria-valuetext={text} disabled={disabled} onInput={(event) => onInput(Number(event.currentTarget.value))} />
      {ends && <div class="ends" aria-hidden="true">{ends.map((one) => <span>{one}</span>)}</div>}
    </div>
  );
}

export interface ChoiceProps<T extends string> {
  label: string;
  options: readonly T[];
  chosen: T;
  onChoose: (option: T) => void;
  /** What is shown instead of the option itself. */
  show?: (option: T) => ComponentChildren;
  /** The label is shown, not only said. */
  labelled?: boolean;
}

/** Radio buttons in a row. */
export function Choice<T extends string>({ label, options, chosen, onChoose, show, labelled }: ChoiceProps<T>): JSX.Element {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend class={labelled ? undefined : "hush"}>{label}</legend>
      {options.map((option) => (
        <label key={option} onMouseDown={keepFocus}>
          <input type="radio" name={name} value={option} checked={option === chosen} onChange={() => onChoose(option)} />
          <span>{show ? show(option) : option}</span>
        </label>
      ))}
    </fieldset>
  );
}

export const ICONS = {
  first: "M4 4h2.4v12H4zM17 4v12L7.5 10z",
  back: "M14.5 3.5v13L5 10z",
  play: "M6 3.5v13L16.5 10z",
  pause: "M5 4h3.5v12H5zM11.5 4H15v12h-3.5z",
  next: "M5.5 3.5v13L15 10z",
  last: "M13.6 4H16v12h-2.4zM3 4v12l9.5-6z",
  close: "M4 5.5 5.5 4 10 8.5 14.5 4 16 5.5 11.5 10 16 14.5 14.5 16 10 11.5 5.5 16 4 14.5 8.5 10z",
  restart: "M10 3.5a6.5 6.5 0 1 1-6.2 4.6l1.9.6A4.5 4.5 0 1 0 10 5.5V9L5.2 4.9 10 1z",
} as const;

export interface IconProps { icon: keyof typeof ICONS; label: string; onClick: () => void; disabled?: boolean; main?: boolean }

export function IconButton({ icon, label, onClick, disabled, main }: IconProps): JSX.Element {
  return (
    <button class={main ? "icon play" : "icon"} aria-label={label} title={label} disabled={disabled} onClick={onClick}>
      <svg viewBox="0 0 20 20" aria-hidden="true"><path d={ICONS[icon]} /></svg>
    </button>
  );
}

export interface PlayerProps {
  playing: boolean;
  onPlay: (on: boolean) => void;
  at: number;
  count: number;
  onGo: (at: number) => void;
  /** "3 of 24", "update 100". */
  text: string;
  label: string;
  /** A CSS background for the track: the phases of a film. */
  track?: string;
  /** Names below the track: each begins at this fraction of it. */
  parts?: [name: string, from: number][];
  children?: ComponentChildren;
}

/** Play, pause, first, previous, next, last and a slider. The space bar and the arrow keys are handled by usePlayerKeys. */
export function Player({ playing, onPlay, at, count, onGo, text, label, track, parts, children }: PlayerProps): JSX.Element {
  return (
    <div class="player" role="group" aria-label="Playback" onMouseDown={(event) => (event.target as Element).closest("button") && keepFocus(event)}>
      <IconButton icon="first" label="First" disabled={at === 0} onClick={() => onGo(0)} />
      <IconButton icon="back" label="Previous" disabled={at === 0} onClick={() => onGo(at - 1)} />
      <IconButton icon={playing ? "pause" : "play"} label={playing ? "Pause" : "Play"} main onClick={() => onPlay(!playing)} />
      <IconButton icon="next" label="Next" disabled={at === count - 1} onClick={() => onGo(at + 1)} />
      <IconButton icon="last" label="Last" disabled={at === count - 1} onClick={() => onGo(count - 1)} />
      <div class="track">
        <input type="range" min={0} max={count - 1} step={1} value={at} aria-label={label} aria-valuetext={text} style={track ? `--track:${track}` : undefined} onInput={(event) => onGo(Number(event.currentTarget.value))} />
        {parts && <div class="parts" aria-hidden="true">{parts.map(([name, from]) => <span style={{ left: `${100 * from}%` }}>{name}</span>)}</div>}
      </div>
      <output class="where">{text}</output>
      {children}
    </div>
  );
}
