// Where it fails: finished runs over depth, rule, convolution and batch norm, each at the rate that was best for it.

import { Fragment } from "preact";
import type { JSX } from "preact";
import { useContext, useRef } from "preact/hooks";
import { writeAddress } from "../address";
import type { ChapterProps } from "../app";
import { Chart, type Series } from "../chart";
import { type LineStyle, plainStyle, ruleStyle } from "../colours";
import { AppContext } from "../context";
import { Choice } from "../controls";
import { clamp, degrees, isNumber } from "../numbers";
import type { Band } from "../types";
import { mean as meanOf } from "../vectors";
import {
  type Cell, type Choice as Chosen, type Family, type Quantity, type RunGrid, besideControl, caption, cellOf, chosenCells,
  controlOf, familyOf, finalScore, meanCurve, networkName, score,
  worstCell,
} from "./fails-data";

const CHAPTER = "chapter-4";
const ALL = "all"; // in an address: all depths, or all rules

/** The choice in an address ("cnn/6/fa", "cnn/all/fa", "cnn/6/all"); where it has none, the cell that fails most. */
function readChoice(grid: RunGrid, [family, depth, rule]: string[]): Chosen {
  const known = grid.families.find((one) => one.name === family);
  const deep = known?.depths.find((one) => String(one) === depth) ?? null;
  const named = grid.rules.find((one) => one.name === rule)?.name ?? null;
  if (!known || (deep === null && depth !== ALL) || (named === null && rule !== ALL) || (deep === null && named === null))
    return worstCell(grid);
  return { family: known.name, depth: deep, rule: named };
}

const addressOf = ({ family, depth, rule }: Chosen) => `${CHAPTER}/${writeAddress(family, depth ?? ALL, rule ?? ALL)}`;

/** The strength of a cell's colour, 0 to 100: most steps where most cells are, between 60 % and 100 %. */
const strength = (accuracy: number) => Math.round(100 * (1 - Math.sqrt(clamp((1 - accuracy) / 0.45, 0, 1))));
const KEY = [0.55, 0.7, 0.8, 0.9, 0.95, 0.98];

const SPAN = 56; // width of the strip of seeds, in pixels for accuracies from 0 to 1

/** The seeds as ticks from 0 to 1, with the control as a dotted line. */
function Strip({ cell, control }: { cell: Cell; control: number }): JSX.Element {
  const at = (value: number) => 1 + value * (SPAN - 2);
  return (
    <svg class="strip" viewBox={`0 0 ${SPAN} 10`} width={SPAN} height={10} aria-hidden="true">
      <line class="axis" x1={0} x2={SPAN} y1={9.5} y2={9.5} />
      {cell.accuracy.map((run) => <line class="seed" x1={at(run[run.length - 1])} x2={at(run[run.length - 1])} y1={2} y2={9} />)}
      <line class="control" x1={at(control)} x2={at(control)} y1={0} y2={10} />
    </svg>
  );
}

const MARKS = { "-1": "▼", "0": "", "1": "" } as const;
const WORDS = { "-1": "below the control", "0": "not different from the control", "1": "above the control" } as const;

interface MatrixProps { grid: RunGrid; family: Family; chosen: Chosen; onChoose: (choice: Chosen, byKey: boolean) => void }

/** One family: a row for each rule, a column for each depth; headers choose a whole row or column. */
function Matrix({ grid, family, chosen, onChoose }: MatrixProps): JSX.Element {
  const place = useRef<HTMLTableElement>(null);
  const isHere = chosen.family === family.name;
  const control = controlOf(grid);
  // One cell of a matrix is reached by Tab, the others by arrow keys; -1 is the header.
  const row = chosen.rule === null ? -1 : grid.rules.findIndex((one) => one.name === chosen.rule);
  const depths = familyOf(grid, chosen.family).depths;
  const column = chosen.depth === null ? -1 : Math.min(depths.indexOf(chosen.depth), family.depths.length - 1);
  const choiceAt = (r: number, c: number): Chosen =>
    ({ family: family.name, depth: c < 0 ? null : family.depths[c], rule: r < 0 ? null : grid.rules[r].name });

  const move = (event: KeyboardEvent, r: number, c: number) => {
    const [last, right] = [grid.rules.length - 1, family.depths.length - 1];
    const to = ({
      ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1],
      Home: event.ctrlKey ? [0, 0] : [r, 0], End: event.ctrlKey ? [last, right] : [r, right],
    } as Record<string, number[]>)[event.key];
    if (!to || event.altKey || event.metaKey) return;
    event.preventDefault();
    const [down, across] = [clamp(to[0], -1, last), clamp(to[1], -1, right)];
    if (down < 0 && across < 0) return;
    onChoose(choiceAt(down, across), true);
    place.current?.querySelector<HTMLButtonElement>(`[data-at="${down} ${across}"]`)?.focus();
  };
  const button = (r: number, c: number, label: string | undefined, pressed: boolean, body: JSX.Element | string) => (
    <button
      data-at={`${r} ${c}`} tabIndex={r === row && c === column ? 0 : -1} aria-label={label} aria-pressed={pressed}
      onClick={() => onChoose(choiceAt(r, c), false)} onKeyDown={(event) => move(event, r, c)}
    >
      {body}
    </button>
  );
  const isChosen = (r: number, c: number) => isHere && r === row && c === column;
  return (
    <table class="runs" role="grid" aria-label={family.title} ref={place}>
      <thead>
        <tr>
          <th scope="col" class="corner">{family.units}</th>
          {family.depths.map((depth, c) => (
            <th scope="col" key={depth}>
              {button(-1, c, `${networkName(family, depth)}, all rules`, isChosen(-1, c), String(depth))}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {grid.rules.map(({ name, title }, r) => (
          <tr key={name}>
            <th scope="row">{button(r, -1, `${name} ${title}, all depths, ${family.title}`, isChosen(r, -1), <>{name} <span class="full">{title}</span></>)}</th>
            {family.depths.map((depth, c) => {
              const cell = cellOf(grid, family.name, depth, name);
              const { mean, low, high } = finalScore(cell);
              const other = finalScore(cellOf(grid, family.name, depth, control)).mean;
              const beside = besideControl(grid, cell);
              const words = name === control ? "the control" : WORDS[beside];
              const inChoice = isHere && (row < 0 || r === row) && (column < 0 || c === column);
              return (
                <td key={depth} class={inChoice ? "chosen" : undefined} style={`--reached:${strength(mean)}`}>
                  {button(r, c, `${score(mean)}: ${name}, ${networkName(family, depth)}; seeds ${score(low)} to ${score(high)}; ${words}`, isChosen(r, c), (
                    <>
                      <span class="score">{score(mean)}{name === control ? "" : <i>{MARKS[beside]}</i>}</span>
                      <Strip cell={cell} control={other} />
                    </>
                  ))}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The style that a rule has in the other chapters; rules that the page does not train follow after these. */
function useStyles(grid: RunGrid): (rule: string) => LineStyle {
  const { content } = useContext(AppContext);
  const more = grid.rules.filter(({ name }) => !content.rules.some((one) => one.name === name));
  return (rule) => ruleStyle(rule, [...content.rules, ...more]);
}

const points = (values: readonly (number | null)[]) => values.map((value, epoch) => [epoch, value] as const);

/** The curves of a choice: of a cell its seeds, beside the first rule and the control; of a row or column the means. */
function seriesOf(grid: RunGrid, chosen: Chosen, what: Quantity, styleOf: (rule: string) => LineStyle): Series[] {
  const cells = chosenCells(grid, chosen);
  const scale = what === "accuracy" ? 100 : 1; // in %
  const scaled = (values: readonly (number | null)[]) => points(values.map((one) => (one === null ? null : scale * one)));
  const curve = (cell: Cell) => scaled(meanCurve(cell[what]));
  if (chosen.rule === null) return cells.map((cell) => ({ name: cell.rule, points: curve(cell), style: styleOf(cell.rule) }));
  if (chosen.depth === null) {
    const { colour } = styleOf(chosen.rule);
    return cells.map((cell, k) => ({ name: `depth ${cell.depth}`, points: curve(cell), style: { ...plainStyle(k), colour } }));
  }
  const [cell] = cells;
  const seeds = (cell[what] ?? []).map((run, k) => (
    { name: `seed ${grid.meta.seeds[k]}`, points: scaled(run), style: styleOf(cell.rule), quiet: true }));
  const others = [grid.rules[0].name, controlOf(grid)].filter((name) => name !== cell.rule && what === "accuracy");
  return [
    ...others.map((name) => ({ name, points: curve(cellOf(grid, cell.family, cell.depth, name)), style: styleOf(name) })),
    ...seeds,
    { name: cell.rule, points: curve(cell), style: styleOf(cell.rule), chosen: true },
  ];
}

/** The angles of chance of all chosen cells that have an angle. */
function bandOf(cells: Cell[], what: "true_angle" | "weight_angle"): Band | null {
  const bands = cells.filter((one) => one[what] && one.chance[what]).map((one) => one.chance[what]!);
  return bands.length ? [Math.min(...bands.map((one) => one[0])), Math.max(...bands.map((one) => one[1]))] : null;
}

/** The axis of an angle: from the tens below all curves and the band, to the tens above. */
function rangeOf(series: Series[], band: Band | null): { from: number; to: number } {
  const values = [...series.flatMap((one) => one.points.map(([, y]) => y)), ...(band ?? [])].filter((y) => typeof y === "number");
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return values.length ? { from: Math.max(0, 10 * Math.floor((low - 1) / 10)), to: 10 * Math.ceil((high + 1) / 10) } : { from: 0, to: 100 };
}

function Angles({ grid, chosen, what, title }: { grid: RunGrid; chosen: Chosen; what: "true_angle" | "weight_angle"; title: string }): JSX.Element {
  const series = seriesOf(grid, chosen, what, useStyles(grid));
  const band = bandOf(chosenCells(grid, chosen), what);
  return <Chart title={title} series={series} xLabel="epoch" unit="°" {...rangeOf(series, band)} band={band} bandLabel="chance" />;
}

function Curves({ grid, chosen }: { grid: RunGrid; chosen: Chosen }): JSX.Element {
  const styleOf = useStyles(grid);
  const cells = chosenCells(grid, chosen);
  const layers = [...new Set(cells.map((one) => one.layers.weight_angle))];
  return (
    <div class="row curves">
      <Chart title="Test accuracy" series={seriesOf(grid, chosen, "accuracy", styleOf)} xLabel="epoch" unit=" %" from={0} to={100} />
      <Angles grid={grid} chosen={chosen} what="true_angle" title={`Angle between the error at ${cells[0].layers.true_angle} and the true one`} />
      <Angles grid={grid} chosen={chosen} what="weight_angle" title={`Angle between W and B, ${layers.join(" or ")}`} />
    </div>
  );
}

const angle = (values: (number | null)[][] | null) => {
  const last = meanCurve(values).at(-1);
  return isNumber(last) ? degrees(last) : "–";
};
const range = (band: Band | null) => (band ? band.map(degrees).join(" to ") : "–");

function Table({ grid }: { grid: RunGrid }): JSX.Element {
  return (
    <details class="as-table">
      <summary>As a table</summary>
      <div class="scroll" role="region" aria-label="All runs as a table" tabIndex={0}>
        <table>
          <thead>
            <tr>
              {["network", "rule", "rate", "accuracy, %", "seeds, %", "PyTorch, %", "error, true one", "chance", "W, B", "chance"].map((name, k) => (
                <th scope="col" class={k < 2 ? "text" : undefined}>{name}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {grid.families.map((family) => (
              <Fragment key={family.name}>
                {grid.cells.filter((one) => one.family === family.name).map((cell) => {
                  const { mean, low, high } = finalScore(cell);
                  return (
                    <tr key={`${cell.depth} ${cell.rule}`}>
                      <th scope="row" class="text">{networkName(family, cell.depth)}</th>
                      <td class="text">{cell.rule}</td>
                      <td>{cell.lr}</td>
                      <td>{(100 * mean).toFixed(1)}</td>
                      <td>{(100 * low).toFixed(1)} to {(100 * high).toFixed(1)}</td>
                      <td>{cell.peer ? (100 * meanOf(cell.peer)).toFixed(1) : "–"}</td>
                      <td>{angle(cell.true_angle)}</td>
                      <td>{range(cell.true_angle && cell.chance.true_angle)}</td>
                      <td>{angle(cell.weight_angle)}</td>
                      <td>{range(cell.weight_angle && cell.chance.weight_angle)}</td>
                    </tr>
                  );
                })}
              </Fragment>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function Origin({ grid }: { grid: RunGrid }): JSX.Element {
  const { meta } = grid;
  const [first, last] = [meta.search_seeds[0], meta.search_seeds[meta.search_seeds.length - 1]];
  return (
    <details class="as-table">
      <summary>How these runs were made</summary>
      <p class="note">
      Every run: {meta.data}, {meta.train} training and {meta.test} test examples, {meta.epochs} epochs, batches
      of {meta.batch_size}, {meta.optimizer}, seeds {meta.seeds.join(", ")}. Each network and rule has its own learning rate, the best on
      a held-out {Math.round(100 * meta.held_out)} % of the training examples under the seeds {first} to {last}: a rule does not fail here
      because of a rate that suits another one. Grey in the charts: angles by chance, mean ± 2 standard deviations; for errors of 40
      other draws of B in the network before training, for weights from their number. Made with minifa {meta.minifa}, commit {meta.commit}, {meta.date}, by <code>{meta.command}</code>
      {meta.torch && `; the peer in the table is PyTorch ${meta.torch}, with its own draws`}.
      </p>
    </details>
  );
}

/** The chapter's summary, with the numbers of the deepest networks. */
function lead(grid: RunGrid): string {
  const reached = (family: string, rule: string) => score(finalScore(cellOf(grid, family, familyOf(grid, family).depths.at(-1)!, rule)).mean);
  const signed = grid.cells.filter(({ rule }) => rule === "usf" || rule === "frsf").map((cell) => finalScore(cell).mean);
  const deep = networkName({ ...familyOf(grid, "cnn"), kind: "" }, familyOf(grid, "cnn").depths.at(-1)!);
  return "With one hidden layer the rules hardly differ: even the control, output layer only (shallow), whose hidden weights stay as " +
    "they were drawn, does well. With more layers the control falls, and so does feedback alignment. Little is lost if B has the signs of W " +
    `(usf, frsf): at least ${score(Math.min(...signed))} in every network. Batch norm brings feedback alignment back to ${reached("cnn-batch-norm", "fa")} with ${deep}, ` +
    `the control only to ${reached("cnn-batch-norm", controlOf(grid))}; fully connected networks were run without it.`;
}

export function Fails({ parts }: ChapterProps): JSX.Element {
  const { content, go, say } = useContext(AppContext);
  const grid = content.grid as RunGrid;
  const chosen = readChoice(grid, parts);
  const text = caption(grid, chosen);
  const choose = (next: Chosen, byKey: boolean) => {
    go(addressOf(next), byKey);
    say(caption(grid, next));
  };
  const toFamily = (name: string) => {
    const [from, to] = [familyOf(grid, chosen.family).depths, familyOf(grid, name).depths];
    choose({ ...chosen, family: name, depth: chosen.depth === null ? null : to[Math.min(from.indexOf(chosen.depth), to.length - 1)] }, true);
  };
  const family = familyOf(grid, chosen.family);
  const names = grid.families.map((one) => one.name);
  return (
    <div class="fails">
      <p class="lead">{lead(grid)}</p>
      <p class="sub single">Choose a cell, a rule or a depth, by mouse or with the arrow keys.</p>
      <div class="card">
        <div class="families">
          <Choice label="Networks" options={names} chosen={chosen.family} onChoose={toFamily} show={(name) => familyOf(grid, name).title} />
          {grid.families.map((one) => (
            <section class={one.name === chosen.family ? "family here" : "family"} key={one.name} aria-label={one.title}>
              <h2>{one.title}</h2>
              <Matrix grid={grid} family={one} chosen={chosen} onChoose={choose} />
            </section>
          ))}
        </div>
        <p class="note legend-of-runs">
          Test accuracy, mean of {grid.meta.seeds.length} seeds. <span class="shades">{KEY.map((one) => <span style={`--reached:${strength(one)}`}>{score(one)}</span>)}</span> The
          line below a number goes from 0 to 100 %: each solid tick is a seed, the dotted one is the mean of the control. <i>▼</i> Every
          seed is below every seed of the control: the rule does worse than hidden layers that stay as they were drawn.
        </p>
      </div>
      <div class="card">
        <h2>{chosen.rule === null ? "All rules" : `${chosen.rule}: ${grid.rules.find((one) => one.name === chosen.rule)!.title}`}, {chosen.depth === null ? family.title.replace(/^./, (letter) => letter.toLowerCase()) : networkName(family, chosen.depth)}</h2>
        <p class="story">{text}</p>
        <Curves grid={grid} chosen={chosen} />
        <p class="note">{chosen.rule !== null && chosen.depth !== null ? `Thin: the seeds ${grid.meta.seeds.join(", ")}. Thick: their mean.` : "Each curve is the mean of the seeds."} Grey: chance.</p>
      </div>
      <Table grid={grid} />
      <Origin grid={grid} />
    </div>
  );
}
