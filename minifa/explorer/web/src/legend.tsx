// The colours of numbers beside the largest of them.

import type { JSX } from "preact";
import { useContext } from "preact/hooks";
import { gradient } from "./colours";
import { AppContext } from "./context";
import { short } from "./numbers";

/** entries: what has these colours ("W, B and W − B"), and its largest magnitude. */
export function Legend({ entries }: { entries: [text: string, limit: number][] }): JSX.Element {
  const { theme } = useContext(AppContext);
  return (
    <div class="scale" role="group" aria-label="Colours">
      {entries.map(([text, limit]) => <span key={text}>{text}: −{short(limit)} <i style={`background:${gradient(theme)}`} /> {short(limit)}</span>)}
    </div>
  );
}
