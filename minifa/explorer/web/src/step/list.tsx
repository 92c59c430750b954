// All moments of the step by phase: buttons beside the moment, or one select where there is no room (the style sheet shows
// one of the two, so that none can get lost).

import type { JSX } from "preact";
import { useContext, useEffect, useRef } from "preact/hooks";
import { AppContext } from "../context";
import { keepFocus } from "../playback";
import type { Content, Film } from "../types";
import { PHASES, blockOf, phaseOf } from "./film";

interface Entry { block: string | null; places: number[] }

/** The moments of each phase in order; neighbours inside the same block belong together. */
function entriesOf(film: Film, content: Content): [string, Entry[]][] {
  const phases: [string, Entry[]][] = [];
  film.forEach((moment, i) => {
    const phase = phaseOf(moment);
    if (phases.at(-1)?.[0] !== phase) phases.push([phase, []]);
    const entries = phases.at(-1)![1];
    const block = blockOf(moment.layer, content);
    if (block !== null && entries.at(-1)?.block === block) entries.at(-1)!.places.push(i);
    else entries.push({ block, places: [i] });
  });
  return phases;
}

export interface ListProps {
  film: Film;
  at: number;
  onGo: (at: number) => void;
  opened: ReadonlySet<string>;
  onOpen: (block: string) => void;
}

export function MomentList({ film, at, onGo, opened, onOpen }: ListProps): JSX.Element {
  const { content } = useContext(AppContext);
  const nav = useRef<HTMLElement>(null);
  useEffect(() => {
    const list = nav.current!;
    const above = list.parentElement!.getBoundingClientRect().top - list.closest(".mf")!.getBoundingClientRect().top;
    list.style.setProperty("--above", `${Math.round(above)}px`); // the list ends above the player also before the page is scrolled
    const current = list.querySelector<HTMLElement>("[aria-current=step]");
    if (current) list.scrollTop = current.offsetTop - list.clientHeight / 2;
  }, [at, film]);
  const button = (i: number, title: string) => (
    <button key={i} class={i < at ? "past" : undefined} aria-current={i === at ? "step" : undefined} onMouseDown={keepFocus} onClick={() => onGo(i)}>{title}</button>
  );
  return (
    <>
      <nav class="moments" aria-label="Moments of the step" ref={nav}>
        {entriesOf(film, content).map(([phase, entries], k) => (
          <section key={`${phase} ${k}`}>
            <h2>{phase}</h2>
            {entries.map(({ block, places }) => {
              if (block === null) return button(places[0], film[places[0]].title);
              const isOpen = opened.has(block);
              const isHere = places.includes(at);
              return (
                <div class="folder" key={`${block} ${places[0]}`}>
                  <button class={places.at(-1)! < at ? "past" : undefined} aria-expanded={isOpen} aria-current={isHere && !isOpen ? "step" : undefined} onMouseDown={keepFocus} onClick={() => onOpen(block)}>
                    {`${isOpen ? "▾" : "▸"} ${block}: ${isHere && !isOpen ? `moment ${places.indexOf(at) + 1} of ${places.length}` : `${places.length} moments`}`}
                  </button>
                  {isOpen && places.map((i) => button(i, film[i].title.replaceAll(`${block}.`, "")))}
                </div>
              );
            })}
          </section>
        ))}
      </nav>
      <label class="moments-narrow">
        <span>Moment</span>
        <select value={at} onChange={(event) => onGo(Number(event.currentTarget.value))}>
          {Object.keys(PHASES).map((phase) => (
            <optgroup label={phase} key={phase}>
              {film.map((moment, i) => phaseOf(moment) === phase && <option value={i}>{`${i + 1}. ${moment.title}`}</option>)}
            </optgroup>
          ))}
        </select>
      </label>
    </>
  );
}
