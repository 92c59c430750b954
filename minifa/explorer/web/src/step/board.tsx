// All arrays that the step has computed so far as small pictures; the others are hatched.

import type { JSX } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { AppContext } from "../context";
import { gridOf } from "../grid";
import { paint } from "../heat";
import { clamp, short } from "../numbers";
import { SymbolText, isKernel, roleOf } from "../symbols";
import type { Arr, Film } from "../types";

const REST = "the batch and its loss";

export function Board({ film, at }: { film: Film; at: number }): JSX.Element {
  const [open, setOpen] = useState(false);
  const known = new Map(film.slice(0, at + 1).flatMap((moment) => Object.entries(moment.new)));
  const all = new Set(film.flatMap((moment) => Object.keys(moment.new)));
  return (
    <details class="card board" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{`Computed so far: ${known.size} of ${all.size} arrays${known.size < all.size ? "; hatched: not computed yet" : ""}`}</summary>
      {open && <Thumbs known={known} all={all} film={film} at={at} />}
    </details>
  );
}

function Thumbs({ known, all, film, at }: { known: Map<string, Arr>; all: Set<string>; film: Film; at: number }): JSX.Element {
  const { content } = useContext(AppContext);
  const layers = content.layers.map((layer) => layer.name);
  const longestFirst = [...layers].sort((a, b) => b.length - a.length);
  const groups = new Map<string, [string, string][]>([REST, ...layers].map((name) => [name, []]));
  for (const name of all) {
    const owner = longestFirst.find((layer) => name.startsWith(layer) && /^[.<@]/.test(name.slice(layer.length)));
    groups.get(owner ?? REST)!.push([name, owner ? name.slice(owner.length).replace(/^\./, "") : name]);
  }
  return (
    <div class="groups">
      {[...groups].filter(([, entries]) => entries.length).map(([owner, entries]) => (
        <section key={owner} class={owner === film[at].layer ? "here" : undefined}>
          <h3>{owner}</h3>
          <div class="thumbs">
            {entries.map(([name, label]) => <Thumb key={name} name={name} label={label} array={known.get(name)} isNew={Object.hasOwn(film[at].new, name)} />)}
          </div>
        </section>
      ))}
    </div>
  );
}

function Thumb({ name, label, array, isNew }: { name: string; label: string; array?: Arr; isNew: boolean }): JSX.Element {
  const app = useContext(AppContext);
  const canvas = useRef<HTMLCanvasElement>(null);
  const symbol = label.split("@")[0].split(".").pop()!;
  const role = roleOf(symbol) ?? "activity";
  const more = label.includes("@") ? label.slice(label.indexOf("@")) : label.startsWith("<") ? label.split(".")[0] : "";
  useEffect(() => {
    if (!array || !canvas.current) return;
    const kernel = isKernel(role);
    const grid = gridOf(array.shape, { kernel, example: array.shape.length === 4 && !kernel ? 0 : null });
    const size = clamp(Math.floor(Math.min(90 / grid.columns, 48 / grid.rows)), 1, 12);
    paint(canvas.current, array, grid, { w: size, h: size }, array.largest, app.theme, false, `board ${role}`);
  }, [array, app.theme]);
  const caption = <span><SymbolText symbol={symbol} lit={false} /> {more}<span class="hush">{` ${name}: as a table`}</span></span>;
  if (!array)
    return <div class="thumb" data-role={role}><div class="missing" role="img" aria-label={`${name}: not computed yet`} /><SymbolText symbol={symbol} lit={false} /> {more}</div>;
  return (
    <button class={isNew ? "thumb new" : "thumb"} data-role={role} onClick={() => app.showTable({ array, name, symbol })}>
      {array.shape.length ? <canvas ref={canvas} aria-hidden="true" /> : <b>{short(array.values[0])}</b>}
      {caption}
    </button>
  );
}
