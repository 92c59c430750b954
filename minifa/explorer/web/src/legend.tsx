// The colours of numbers beside the largest of them.

import type { JSX } from "preact";
import { useContext } from "preact/hooks";
import { gradient } from "./colours";
import { AppContext } from "./context";
import { short } from "./numbers";

export interface LegendProps {
  /** "W, B and W − B". */
  text: string;
  limit: number;
}

export function Legend({ text, limit }: LegendProps): JSX.Element {
  const { theme } = useContext(AppContext);
  return <p class="scale"><span>{text}: −{short(limit)}</span> <i style={`background:${gradient(theme)}`} /> <span>{short(limit)}</span></p>;
}
