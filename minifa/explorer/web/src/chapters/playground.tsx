import type { JSX } from "preact";
import type { ChapterProps } from "../app";

export function Playground(_: ChapterProps): JSX.Element {
  return <p>Chapter 5.</p>;
}
