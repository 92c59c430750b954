// Playing through moments or snapshots: a clock, and the keys that work everywhere in a chapter.

import { useCallback, useContext, useEffect, useRef, useState } from "preact/hooks";
import { AppContext } from "./context";
import { clamp } from "./numbers";

export interface Playback {
  playing: boolean;
  play: (on: boolean) => void;
}

/** Plays from `at` to the last of `count` places, one every `pace` milliseconds; from the start if it stands at the end. */
export function usePlayback(at: number, count: number, go: (to: number) => void, pace: number): Playback {
  const [playing, setPlaying] = useState(false);
  useEffect(() => {
    if (!playing) return undefined;
    if (at >= count - 1) {
      setPlaying(false);
      return undefined;
    }
    const timer = setTimeout(() => go(at + 1), pace);
    return () => clearTimeout(timer);
  }, [playing, at, count, go, pace]);
  const play = useCallback((on: boolean) => {
    if (on && at >= count - 1) go(0);
    setPlaying(on);
  }, [at, count, go]);
  return { playing, play };
}

/** Elements that use the space bar themselves; a chosen radio button and a slider do not. */
const USES_SPACE = "button, summary, select, textarea, a[href], dialog, [contenteditable], input:not([type=range], [type=radio])";
const USES_ARROWS = "select, textarea, dialog, [contenteditable], input";

/** Space plays or pauses; the arrow keys, Home and End move. */
export function usePlayerKeys(at: number, count: number, onGo: (to: number) => void, playing: boolean, onPlay: (on: boolean) => void): void {
  const { keys } = useContext(AppContext);
  const latest = useRef({ at, count, onGo, playing, onPlay });
  latest.current = { at, count, onGo, playing, onPlay };
  useEffect(() => {
    const places: Record<string, (at: number, last: number) => number> = {
      ArrowRight: (now) => now + 1, ArrowLeft: (now) => now - 1, Home: () => 0, End: (_, last) => last,
    };
    const listen = (event: Event) => {
      if (!(event instanceof KeyboardEvent)) return;
      const target = event.composedPath()[0]; // inside a notebook's shadow root
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !(target instanceof Element)) return;
      const now = latest.current;
      if (event.key === " " && !target.closest(USES_SPACE)) now.onPlay(!now.playing);
      else if (event.key in places && !target.closest(USES_ARROWS)) now.onGo(clamp(places[event.key](now.at, now.count - 1), 0, now.count - 1));
      else return;
      event.preventDefault();
    };
    keys.addEventListener("keydown", listen);
    return () => keys.removeEventListener("keydown", listen);
  }, [keys]);
}

/** For buttons beside a player: a click with the mouse leaves the focus, and so the space bar, where it was. */
export const keepFocus = (event: Event) => event.preventDefault();
