import type { JSX } from "preact";
import type { ChapterProps } from "../app";

export function Why(_: ChapterProps): JSX.Element {
  return <p>Chapter 3.</p>;
}
