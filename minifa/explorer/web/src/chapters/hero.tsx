import type { JSX } from "preact";
import type { ChapterProps } from "../app";

export function Hero(_: ChapterProps): JSX.Element {
  return <p>Chapter 0.</p>;
}
