// The angles of the step, always at the same place: the value of this moment, or the last one before it.

import type { JSX } from "preact";
import { useContext } from "preact/hooks";
import { AppContext } from "../context";
import { Gauge } from "../gauge";
import { isNumber } from "../numbers";
import type { Content, Film, Moment } from "../types";
import { arrivesAt } from "./film";

// The last two are equal where the error above is still the same under both rules.
const SHOWN: [label: string, shown: string][] = [
  ["W and B", "W and B"],
  ["what B and W carry", "δ Bᵀ and δ Wᵀ"],
  ["this delta and backpropagation's", "this error and bp's"],
];

/** Where an angle is measured. */
function placeOf(label: string, moment: Moment): string {
  const goal = arrivesAt(moment);
  return label.startsWith("this delta") && goal !== null ? `at ${goal}` : `of ${moment.layer}`;
}

/** The same angle under the other rules: of the same layer, or of the error at the same layer. */
function othersOf(label: string, moment: Moment, rule: string, content: Content): [string, number][] {
  const goal = label.startsWith("this delta") ? arrivesAt(moment) : null;
  const isLike = (one: Moment) => label in one.angles && (goal ? arrivesAt(one) === goal : one.layer === moment.layer);
  return content.rules.flatMap(({ name }): [string, number][] => {
    const angle = name !== rule && content.films[name]?.find(isLike)?.angles[label];
    return isNumber(angle) ? [[name, angle]] : [];
  });
}

export function Angles({ rule, film, at }: { rule: string; film: Film; at: number }): JSX.Element | null {
  const { content } = useContext(AppContext);
  const known = new Set(Object.values(content.films).concat([film]).flatMap((one) => one.flatMap((moment) => Object.keys(moment.angles))));
  const labels = [...SHOWN, ...[...known].flatMap((label): [string, string][] => (SHOWN.some(([one]) => one === label) ? [] : [[label, label]]))].filter(([label]) => known.has(label));
  if (!labels.length) return null;
  return (
    <div class="angles">
      {labels.map(([label, shown]) => {
        const place = film.slice(0, at + 1).findLastIndex((moment) => label in moment.angles);
        const isComing = film.some((moment) => label in moment.angles);
        if (place < 0) return <Gauge compact stale key={label} label={shown} angle={null} missing={isComing ? "not computed yet" : `not defined under ${rule}`} />;
        const moment = film[place];
        return (
          <Gauge compact key={label} label={shown} where={placeOf(label, moment)} stale={place < at} angle={moment.angles[label]} band={moment.chance[label]}
            how={moment.chance_how?.[label]} others={othersOf(label, moment, rule, content)} />
        );
      })}
    </div>
  );
}
