// The network: activity to the right on the upper line, the error to the left on the lower line or in arcs. Blocks are
// folded into one node until they are opened.

import type { JSX } from "preact";
import { useCallback, useContext, useEffect, useMemo, useRef } from "preact/hooks";
import { useWidth } from "../chart";
import { AppContext } from "../context";
import { clamp, times } from "../numbers";
import type { Content, Film, LayerInfo, Moment } from "../types";
import { isArray } from "./expression";
import { arrivesAt, blockOf, isInside } from "./film";

const CURVED = ["relu", "leakyrelu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid"];
const [UP, DOWN] = [56, 88];

interface Node extends Partial<LayerInfo> { name: string; width: number; x: number; middle: number; folded?: boolean }
type Status = "" | "now" | "done";

const shortName = (name: string) => name.split(".").pop()!;
const isWeighted = (name: string, film: Film) => Object.hasOwn(film[0].new, `${name}.W`);

/** The layers in a row between x and the loss; `blocks` are drawn around their layers. */
function placeNodes(content: Content, film: Film, opened: ReadonlySet<string>, room: number): { nodes: Node[]; blocks: LayerInfo[] } {
  const isBlock = (one: LayerInfo) => content.layers.some((other) => isInside(other.name, one.name));
  const hidden = (name: string) => {
    const block = blockOf(name, content);
    return block !== null && !opened.has(block);
  };
  const isOpen = (one: LayerInfo) => isBlock(one) && (one.name.includes(".") || opened.has(one.name));
  const layers = content.layers.filter((one) => !hidden(one.name) && !isOpen(one));
  const width = (one: LayerInfo) => Math.max(isWeighted(one.name, film) ? 70 : 50, shortName(one.name).length * 6.8 + 14);
  const x = film[0].terms.x;
  const nodes: Node[] = [
    { name: "x", width: 40, shape: isArray(x) ? [...(x.of ?? x.array.shape)].slice(1) : null, x: 0, middle: 0 },
    ...layers.map((one) => ({ ...one, width: width(one), x: 0, middle: 0, folded: isBlock(one) })),
    { name: "loss", width: 46, x: 0, middle: 0 },
  ];
  let left = 62; // after the labels of the two lines
  const total = nodes.reduce((sum, node) => sum + node.width, left + 4);
  const gap = clamp((room - total) / (nodes.length - 1), 18, 60);
  for (const node of nodes) {
    node.x = left;
    node.middle = left + node.width / 2;
    left += node.width + gap;
  }
  const around = content.layers.filter((one) => !one.name.includes(".") && isBlock(one) && opened.has(one.name));
  return { nodes, blocks: around };
}

/** The paths of errors in this moment, as pairs of names. */
function routesOf(moment: Moment, film: Film, content: Content): [string, string][] {
  const arriving = Object.keys(moment.new).filter((name) => name.endsWith(".delta")).map((name) => name.slice(0, -6));
  const routes = arriving.flatMap((to) => sourcesOf(moment, to).map((from): [string, string] => [from, to]));
  const secondPass = Object.keys(moment.new).some((name) => name.endsWith("@2")) && moment.layer === content.layers[0].name;
  return secondPass && Object.hasOwn(film[0].new, "input.B") ? [...routes, ["loss", "x"]] : routes; // the error changes the input
}

function sourcesOf(moment: Moment, to: string): string[] {
  if (moment.kind === "loss" || moment.kind === "forward") return ["loss"];
  if (moment.kind !== "teach") return [moment.layer];
  return Object.entries(moment.terms).flatMap(([symbol, term]) => {
    const name = isArray(term) ? term.name : "";
    if (symbol === "e" || name === "t") return ["loss"];
    const from = name.match(/^(.*)\.(delta|t)$/)?.[1];
    return from && from !== to ? [from] : [];
  });
}

export interface MapProps {
  film: Film;
  at: number;
  onGo: (at: number) => void;
  opened: ReadonlySet<string>;
  onOpen: (block: string) => void;
}

/** A picture with a description; the list of moments is its equivalent for the keyboard. */
export function NetworkMap({ film, at, onGo, opened, onOpen }: MapProps): JSX.Element {
  const { content } = useContext(AppContext);
  const box = useRef<HTMLDivElement>(null);
  const [measure, room] = useWidth(1160);
  const place = useCallback((element: HTMLDivElement | null) => measure(box.current = element), [measure]);
  const { nodes, blocks } = useMemo(() => placeNodes(content, film, opened, room), [content, film, opened, room]);
  const moment = film[at];
  const nameHere = { batch: "x", loss: "loss" }[moment.kind] ?? moment.layer;
  const here = nodes.find(({ name, folded }) => name === nameHere || (folded && isInside(nameHere, name)));
  useEffect(() => {
    if (box.current && here) box.current.scrollLeft = here.middle - box.current.clientWidth / 2;
  }, [here?.middle, room]);

  const status = (i: number): Status => (i < 0 || i > at ? "" : i === at ? "now" : "done");
  const goTo = (node: Node) => {
    if (node.folded) onOpen(node.name);
    const isThere = (one: Moment) => one.layer === node.name || isInside(one.layer, node.name) || one.kind === node.name || (node.name === "x" && one.kind === "batch");
    const order = film.map((_, i) => (at + 1 + i) % film.length);
    const found = order.find((i) => isThere(film[i]));
    if (found !== undefined) onGo(found);
  };
  const wires = wiresOf(nodes, film, content, status, at);
  const width = nodes.at(-1)!.x + nodes.at(-1)!.width + 4;
  const height = 110 + (wires.depth ? 8 + 12 * wires.depth : 0) + (blocks.length ? 26 : 0);
  const words = `The network: ${nodes.map(({ name, folded }) => `${name}${folded ? " (a block)" : ""}`).join(", ")}. Now: ${moment.title}.${flowOf(moment)}`;
  return (
    <div class="map" ref={place} {...(width > room ? { tabIndex: 0, role: "group", "aria-label": "Map of the network" } as const : {})}>
      <svg width={width} height={height + 4} viewBox={`0 -4 ${width} ${height + 4}`} role="img" aria-label={words}>
        <text x={0} y={UP + 4}>activity</text>
        <text x={0} y={DOWN + 4}>error</text>
        {blocks.map(({ name }) => {
          const inside = nodes.filter((node) => isInside(node.name, name));
          const [left, right] = [inside[0].x - 8, inside.at(-1)!.x + inside.at(-1)!.width + 8];
          return (
            <g class="opened" onClick={() => onOpen(name)}>
              <rect class="block" x={left} y={-3} width={right - left} height={122} rx={12} />
              <text x={left + 6} y={134}>{name} (fold)</text>
            </g>
          );
        })}
        {wires.shapes}
        {nodes.map((node) => (
          <MapNode key={node.name} node={node} film={film} at={at} isHere={node === here} status={status} onClick={() => goTo(node)} />
        ))}
      </svg>
    </div>
  );
}

/** What flows where, for the description of the picture. */
function flowOf(moment: Moment): string {
  if (moment.kind === "forward") return ` The activity reaches ${moment.layer}.`;
  const goal = arrivesAt(moment);
  return goal ? ` The error arrives at the output of ${goal}.` : "";
}

function wiresOf(nodes: Node[], film: Film, content: Content, status: (i: number) => Status, at: number): { shapes: JSX.Element[]; depth: number } {
  const shapes: JSX.Element[] = [];
  const wire = (line: string, tip: string, role: string, how: Status) =>
    shapes.push(<g class={how} data-role={role}><path class="wire" d={line} /><path class="tip" d={tip} /></g>);
  nodes.slice(1).forEach((to, i) => {
    const from = nodes[i];
    const [one, other] = [from, to].map((node) => node.name.split(".").slice(0, -1).join("."));
    if (one && other && one !== other) return; // two branches of a block: one is not the input of the other
    const arrives = (moment: Moment) => (to.name === "loss" ? moment.kind === "loss" : moment.kind === "forward" && moment.layer === to.name);
    wire(`M${from.x + from.width} ${UP}H${to.x - 5}`, `M${to.x} ${UP}l-8 -4.5v9z`, "activity", arrives(film[at]) ? "now" : status(film.findIndex(arrives)));
  });
  let depth = 0; // of the arcs below
  const holds = (node: Node, name: string) => node.name === name || isInside(node.name, name) || (node.folded && isInside(name, node.name));
  film.forEach((moment, i) => {
    for (const [source, target] of routesOf(moment, film, content)) {
      const from = nodes.findIndex((node) => holds(node, source)); // a block's first layer
      const to = nodes.findLastIndex((node) => holds(node, target));
      if (from <= to || to < 0) continue;
      const [a, b] = [nodes[from], nodes[to]];
      if (from === to + 1) {
        wire(`M${a.x} ${DOWN}H${b.x + b.width + 5}`, `M${b.x + b.width} ${DOWN}l8 -4.5v9z`, "error", status(i));
        continue;
      }
      depth += 1;
      const [start, end, low] = [a.middle - 5 * (depth - 1), b.middle, 114 + 12 * depth];
      wire(`M${start} 106V${low - 8}q0 8 -8 8H${end + 8}q-8 0 -8 -8V113`, `M${end} 107l-4.5 8h9z`, moment.kind === "teach" ? "feedback" : "error", status(i));
    }
  });
  return { shapes, depth };
}

interface NodeProps { node: Node; film: Film; at: number; isHere: boolean; status: (i: number) => Status; onClick: () => void }

function MapNode({ node, film, at, isHere, status, onClick }: NodeProps): JSX.Element {
  return (
    <g class={isHere ? "node here" : "node"} onClick={onClick}>
      <rect class="body" x={node.x} y={16} width={node.width} height={90} rx={9} />
      {node.folded && <rect class="body" x={node.x + 3} y={19} width={node.width - 6} height={84} rx={7} />}
      <text class="name" x={node.middle} y={33} text-anchor="middle">{shortName(node.name)}</text>
      {node.shape && <text class="size" x={node.middle} y={11} text-anchor="middle">{times(node.shape)}</text>}
      {platesOf(node, film, at, status)}
    </g>
  );
}

/** The symbols in a node: on the upper line what the layer computes, on the lower one what carries the error. */
function platesOf(node: Node, film: Film, at: number, status: (i: number) => Status): JSX.Element[] {
  const is = (...kinds: string[]) => (moment: Moment) =>
    kinds.includes(moment.kind) && (moment.layer === node.name || Boolean(node.folded && isInside(moment.layer, node.name)));
  const isNow = (...kinds: string[]) => is(...kinds)(film[at]);
  const statusAt = (...kinds: string[]) => (isNow(...kinds) ? "now" : status(film.findIndex(is(kinds[0]))));
  const plate = (text: string, y: number, role: string, how: string) => (
    <g class={`plate ${how}`} data-role={role}>
      <rect x={node.middle - 17} y={y - 13} width={34} height={26} rx={6} />
      <text x={node.middle} y={y + 5}>{text}</text>
    </g>
  );
  const line = (y: number, role: string, how: string) => (
    <g class={how} data-role={role}><path class="wire" d={`M${node.x + 8} ${y}H${node.x + node.width - 8}`} /></g>
  );
  if (node.name === "x") return [plate("x", UP, "activity", status(0))];
  if (node.name === "loss") {
    const told = status(film.findIndex((moment) => moment.kind === "loss"));
    return [plate("L", UP, "activity", told), plate("e", DOWN, "error", told)];
  }
  if (isWeighted(node.name, film)) {
    const up = isNow("gradients") ? plate("dW", UP, "gradient", "now") : plate("W", UP, "weight", statusAt("forward", "update", "constrain"));
    const asked = film.find(is("feedback"));
    if (!asked && film.some(({ kind, terms }) => kind === "feedback" && isArray(terms.B))) return [up, <text x={node.middle} y={DOWN + 4} text-anchor="middle">no B</text>]; // the first layer
    if (!asked) return [up];
    const { W, B } = asked.terms;
    if (!isArray(B)) return [up, plate("–", DOWN, "feedback", "none")];
    const isW = isArray(W) && W.array === B.array; // backpropagation
    return [up, plate(isW ? "W" : "B", DOWN, isW ? "weight" : "feedback", statusAt("feedback", "carry", "feedback_update"))];
  }
  const goesBack = film.some(is("backward", "carry"));
  if (CURVED.includes(node.kind ?? "")) return [plate("f", UP, "activity", statusAt("forward")), ...(goesBack ? [plate("f ′", DOWN, "error", statusAt("backward"))] : [])];
  return [line(UP, "activity", statusAt("forward")), ...(goesBack ? [line(DOWN, "error", statusAt("backward", "carry"))] : [])];
}
