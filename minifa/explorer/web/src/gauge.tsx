// A protractor: 0 degrees is the same direction, 180 the opposite one; the band of angles that chance gives is shaded.

import type { JSX } from "preact";
import { beside, clamp, degrees, isNumber } from "./numbers";
import type { Band } from "./types";

export interface GaugeProps {
  label: string;
  angle: number | null;
  band?: Band | null;
  /** Where the band comes from: "from the number of entries", "from 40 other draws of B". */
  how?: string;
  /** The same angle under other rules. */
  others?: [name: string, angle: number][];
  /** Below the dial, instead of the number alone: "0.0°: B is W". */
  value?: string;
  /** Without the words below, for small places. */
  bare?: boolean;
  /** A small dial with the number and the words beside it; `where` and `stale` complete the words. */
  compact?: boolean;
  where?: string;
  /** The angle was measured at an earlier moment, or is not known yet. */
  stale?: boolean;
  /** What is said instead of an angle that does not exist yet. */
  missing?: string;
}

const MOST_LETTERS = 110; // three lines beside a small dial: the other rules' angles are left out where they do not fit

export function Gauge({ label, angle, band, how, others = [], value: text, bare = false, compact = false, where = "", stale = false, missing }: GaugeProps): JSX.Element {
  const [x, y, radius] = [88, 88, 62];
  const at = (degree: number, r = radius) =>
    [x + r * Math.cos((degree * Math.PI) / 180), y - r * Math.sin((degree * Math.PI) / 180)].map((one) => one.toFixed(2)).join(" ");
  const arc = (from: number, to: number) => `M${at(from)}A${radius} ${radius} 0 0 0 ${at(to)}`;
  const isKnown = isNumber(angle);
  const words = missing ?? beside(angle, band);
  const source = band && how && words.includes("chance") ? ` (${how})` : "";
  const listed = others.map(([name, degree]) => `${name} ${degrees(degree)}`).join(", ").replace(/^(?=.)/, "○ ");
  const elsewhere = words.length + source.length + listed.length <= MOST_LETTERS ? listed : "";
  const value = isKnown ? degrees(angle) : "–"; // the words say why
  const told = `Angle of ${label}${where && `, ${where}`}: ${missing !== undefined ? missing : `${degrees(angle)}${words && `, ${words}`}`}`;
  return (
    <figure class={`gauge${compact ? " compact" : ""}${stale ? " stale" : ""}`}>
      <svg viewBox={compact ? "10 10 156 84" : "0 0 176 122"} role="img" aria-label={told}>
        <path class="arc" d={arc(0, 180)} />
        {band && <path class="band" d={arc(clamp(band[0], 0, 180), clamp(band[1], 0, 180))} />}
        {isKnown && angle > 0.5 && <path class="part" d={arc(0, Math.min(angle, 179.99))} />}
        {others.map(([, degree]) => {
          const [cx, cy] = at(degree).split(" ");
          return <circle class="other" cx={cx} cy={cy} r={3.4} />;
        })}
        {!compact && (
          <>
            <text x={166} y={104}>0</text>
            <text x={88} y={14}>90</text>
            <text x={12} y={104}>180</text>
          </>
        )}
        <path class="needle" d={`M${x} ${y}L${at(0, radius - 9)}`} />
        {isKnown && <path class="needle" d={`M${x} ${y}L${at(angle, radius - 9)}`} />}
        <circle cx={x} cy={y} r={3.5} fill="currentColor" />
        {!compact && <text class="big" x={88} y={116}>{isKnown ? text ?? degrees(angle) : "–"}</text>}
      </svg>
      {compact && (
        <figcaption>
          <strong>{value}</strong>
          <b>{label}</b>
          <span class="where">{where}</span>
          <span class="words">{words + source}{elsewhere && <span class="others">{words && "; "}{elsewhere}</span>}</span>
        </figcaption>
      )}
      {!bare && !compact && (
        <figcaption>
          <b>{label}</b>
          {words && <p>{words}{source}</p>}
          {elsewhere && <p>{elsewhere}</p>}
        </figcaption>
      )}
    </figure>
  );
}
