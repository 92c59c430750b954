// A dot for every weight: B across, W up. If W turns towards B, the dots gather along a line.

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { short } from "../numbers";
import type { Arr } from "../types";

const SIZE = 236;
const MIDDLE = SIZE / 2;
const REACH = MIDDLE - 22;
const MOST = 4000;

export interface CloudProps {
  W: Arr;
  B: Arr;
  /** Both axes reach from -limit to limit. */
  limit: number;
  /** The index of the weight that is pointed at. */
  pointed?: number | null;
}

export function Cloud({ W, B, limit, pointed }: CloudProps): JSX.Element {
  const place = useRef<SVGPathElement>(null);
  const [w, b] = [W.values, B.values];
  const at = (value: number) => (value / (limit || 1)) * REACH;
  const every = Math.ceil(w.length / MOST);
  useEffect(() => {
    let dots = "";
    for (let i = 0; i < w.length; i += every) dots += `M${(MIDDLE + at(b[i])).toFixed(1)} ${(MIDDLE - at(w[i])).toFixed(1)}h0`;
    place.current?.setAttribute("d", dots);
  }, [W, B, limit]);
  return (
    <figure class="cloud">
      <svg viewBox={`0 0 ${SIZE} ${SIZE}`} width={SIZE} height={SIZE} role="img" aria-label="A dot for every weight: B across, W up">
        <path class="axis" d={`M${MIDDLE - REACH} ${MIDDLE}H${MIDDLE + REACH}M${MIDDLE} ${MIDDLE - REACH}V${MIDDLE + REACH}`} />
        <path class="dots" ref={place} />
        {pointed != null && <circle class="this" cx={MIDDLE + at(b[pointed])} cy={MIDDLE - at(w[pointed])} r={6} />}
        <text x={MIDDLE + REACH} y={SIZE - 6} text-anchor="end">across: B, up to {short(limit)}</text>
        <text x={MIDDLE} y={14} text-anchor="middle">up: W, up to {short(limit)}</text>
      </svg>
      <figcaption>{every > 1 ? `a dot for every ${every}th weight` : "a dot for every weight shown"}</figcaption>
    </figure>
  );
}
