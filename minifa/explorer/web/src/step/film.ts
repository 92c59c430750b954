// Films: their moments, how those of two rules correspond, and what of a moment is shown.

import { useContext, useEffect, useMemo, useState } from "preact/hooks";
import { AppContext } from "../context";
import { messageOf } from "../numbers";
import { roleOf } from "../symbols";
import type { Arr, Content, Film, Moment } from "../types";
import { isArray } from "./expression";

/** The film of a rule: from the page, or from the source; a sentence if there is none; null while it is on its way. */
export function useFilm(rule: string | null): Film | string | null {
  const { content, source } = useContext(AppContext);
  const own = rule !== null && Object.hasOwn(content.films, rule) ? content.films[rule] : null;
  const [fetched, setFetched] = useState<{ rule: string; film: Film | string } | null>(null);
  useEffect(() => {
    if (rule === null || own) return undefined;
    let wanted = true;
    const keep = (film: Film | string) => wanted && setFetched({ rule, film });
    source.film({ rule }).then(keep, (error: unknown) => keep(messageOf(error)));
    return () => {
      wanted = false;
    };
  }, [rule, own, source]);
  return own ?? (fetched?.rule === rule ? fetched.film : null);
}

export const isFilm = (film: Film | string | null): film is Film => Array.isArray(film);

export const PHASES: Record<string, string[]> = {
  Forward: ["batch", "forward", "noise"],
  Backward: ["loss", "gradients", "feedback", "carry", "teach", "backward"],
  Update: ["clip", "update", "constrain", "feedback_update"],
};
export const phaseOf = (moment: Moment) => Object.keys(PHASES).find((phase) => PHASES[phase].includes(moment.kind)) ?? "Backward";

/** The name of the layer at whose output an error arrives in this moment. */
export const arrivesAt = (moment: Moment) => Object.keys(moment.new).find((name) => name.endsWith(".delta"))?.slice(0, -6) ?? null;

/** The index under another rule of the last moment up to `at` that both rules have. */
export function placeOf(from: Film, at: number, to: Film): number {
  const places = new Map(to.map((moment, place) => [moment.key, place]));
  for (let i = Math.min(at, from.length - 1); i >= 0; i--) {
    const place = places.get(from[i].key);
    if (place !== undefined) return place;
  }
  return 0;
}

/** The moment of a film with the same key, or else the one in which an error arrives at the same place. */
export function counterpart(film: Film, moment: Moment): Moment | null {
  const same = film.find((one) => one.key === moment.key);
  if (same) return same;
  const goal = arrivesAt(moment);
  return (goal !== null && film.find((one) => arrivesAt(one) === goal)) || null;
}

export const isInside = (name: string, block: string) => name.startsWith(`${block}.`);
/** The outermost block around a layer, or null. */
export function blockOf(layer: string, content: Content): string | null {
  return content.layers.find(({ name }) => isInside(layer, name) && !name.includes("."))?.name ?? null;
}

/** An array of a moment as it is shown: its symbol as in the equation, its name in the step. */
export interface Figure { symbol: string; name: string; array: Arr; whole?: number[] }

const bare = (symbol: string) => symbol.replace(/\.T$/, "");
export const bareSymbol = bare;
const COMPARED = ["W", "delta_bp"]; // what backpropagation's own column shows

/** The arrays of the equation in order, then the other arrays of the moment. */
export function figuresOf(moment: Moment, besideBp: boolean): Figure[] {
  const figures: Figure[] = [];
  const add = (symbol: string, name: string, array: Arr, whole?: number[]) => {
    if (array.shape.length && !figures.some((one) => bare(one.symbol) === bare(symbol) && one.array === array)) figures.push({ symbol, name: name || symbol, array, whole });
  };
  const written = moment.kind === "batch" ? [] : [...moment.equation.matchAll(/[A-Za-z]\w*(?:\.T)?/g)].map(([symbol]) => symbol);
  for (const symbol of written) {
    const term = moment.terms[bare(symbol)];
    if (isArray(term)) add(symbol, term.name, term.array, term.of);
  }
  const mentioned = new Set(written.map(bare));
  for (const [symbol, term] of Object.entries(moment.terms))
    if (isArray(term) && !mentioned.has(symbol) && !(besideBp && COMPARED.includes(symbol))) add(symbol, term.name, term.array, term.of);
  if (moment.kind === "batch") return figures;
  for (const [name, array] of Object.entries(moment.new)) {
    const symbol = name.split("@")[0].split(".").pop()!;
    const isShown = figures.some((one) => one.array === array || one.name === name) || (symbol === "delta_bp" && besideBp);
    if (!isShown && !(symbol === "delta_bp" && figures.some((one) => bare(one.symbol) === symbol))) add(symbol, name, array, moment.cut?.[name]);
  }
  return figures;
}

/** The numbers of the equation that are no arrays, as text. */
export function numbersOf(moment: Moment): [string, string | number][] {
  const mentioned = new Set([...moment.equation.matchAll(/[A-Za-z]\w*/g)].map(([symbol]) => symbol));
  return Object.entries(moment.terms).flatMap(([symbol, term]) => (!isArray(term) && mentioned.has(symbol) ? [[symbol, term] as [string, string | number]] : []));
}

export type Group = "target" | "activity" | "weight" | "error" | "gradient";
// Weights and feedback share one colour scale, and so do all errors; it is the same under every rule.
export const GROUPS: Record<Group, string> = { target: "targets", activity: "activity", weight: "weights and feedback", error: "errors", gradient: "gradients" };

export function groupOf(symbol: string, content: Content): Group {
  if (content.classes.length && ["t", "targets"].includes(symbol)) return "target";
  const role = roleOf(symbol) ?? "activity";
  return role === "feedback" ? "weight" : role === "truth" ? "error" : role;
}

/** By group, the largest magnitude in these moments under any of these films. */
export function useLimits(films: Film[], moments: (Moment | null)[], content: Content): Record<string, number> {
  const keys = moments.map((one) => one?.key ?? "").join("\n"); // two rules may have different moments side by side
  return useMemo(() => {
    const limits: Record<string, number> = {};
    for (const moment of films.flatMap((film) => film.filter((one) => keys.split("\n").includes(one.key))))
      for (const { symbol, array } of figuresOf(moment, false)) {
        const group = groupOf(bare(symbol), content);
        limits[group] = Math.max(limits[group] ?? 0, array.largest);
      }
    return limits;
  }, [films, keys, content]);
}
